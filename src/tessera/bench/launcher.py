"""Runs one program and writes down what it took: `python -I -S launcher.py FILE PROGRAM ARGUMENT ...`.

A process of its own, and a small one: on Linux a new program's peak memory begins with that of whoever started it, so
a benchmark that has loaded PyTorch would lend its own to every candidate. It imports nothing but the standard library.
"""

import json
import os
import signal
import sys
import time


def main() -> int:
    """Give the program's exit code; FILE gets `seconds`, `cpu_seconds`, `peak_bytes` (None where not known)."""
    report, *command = sys.argv[1:]
    began = time.perf_counter()
    if hasattr(os, "wait4"):
        child = os.posix_spawnp(command[0], command, os.environ)
        # Whoever stops this process means the program.
        signal.signal(signal.SIGTERM, lambda number, _frame: os.kill(child, number))
        _, status, usage = os.wait4(child, 0)
        seconds = time.perf_counter() - began
        code = os.waitstatus_to_exitcode(status)
        cpu_seconds: float | None = usage.ru_utime + usage.ru_stime
        unit = 1 if sys.platform == "darwin" else 1024
        peak_bytes: int | None = usage.ru_maxrss * unit
    else:
        import subprocess

        code = subprocess.run(command, check=False).returncode
        seconds, cpu_seconds, peak_bytes = time.perf_counter() - began, None, None
    with open(report, "w", encoding="ascii") as file:  # noqa: PTH123 - pathlib is an import that costs
        json.dump({"seconds": seconds, "cpu_seconds": cpu_seconds, "peak_bytes": peak_bytes}, file)
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main())
