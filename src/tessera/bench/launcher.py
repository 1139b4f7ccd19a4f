"""Runs one program and records its time and memory: `python -I -S launcher.py FILE PROGRAM ARGUMENT ...`.

A separate, small process: on Linux the peak memory of a new program starts at that of its parent, so a parent that has
loaded PyTorch would distort every candidate. It imports only the standard library.
"""

import json
import os
import signal
import sys
import time


def main() -> int:
    """Return the program's exit code; write `seconds`, `cpu_seconds`, `peak_bytes` (None if unknown) to FILE."""
    report, *command = sys.argv[1:]
    began = time.perf_counter()
    if hasattr(os, "wait4"):
        child = os.posix_spawnp(command[0], command, os.environ)
        # Forward the signal to the program.
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
