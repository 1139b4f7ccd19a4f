"""Two signals end the process, whatever runs: native code that keeps the interpreter's lock, or gives it back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from tessera.cli.watchdog import watch_signals
from tessera.native.build import LIBRARY

WORK = {
    "keeps the lock": "collections.deque(itertools.repeat(0), maxlen=0)",
    "gives the lock back": "hashlib.pbkdf2_hmac('sha1', b'', b'', 2**31 - 1)",
}
CODE = """
import collections, hashlib, itertools, sys
from tessera.cli.stopping import stop_signals
from tessera.cli.watchdog import watch_signals

with watch_signals(natively={natively}), stop_signals() as stop, stop.patiently():
    print("ready", flush=True)
    {work}
"""


def start(work: str, *, natively: bool) -> subprocess.Popen[bytes]:
    code = CODE.format(natively=natively, work=work)
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    time.sleep(0.2)  # until it is in the native call
    return process


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize(
    ("work", "natively"),
    [("keeps the lock", True), ("gives the lock back", True), ("gives the lock back", False)],
)
@pytest.mark.parametrize(
    ("first", "second", "code"), [(signal.SIGINT, signal.SIGINT, 130), (signal.SIGINT, signal.SIGTERM, 143)]
)
def test_a_native_call_that_never_returns_is_ended_by_the_second_signal(
    work: str, natively: bool, first: int, second: int, code: int
) -> None:
    if natively:
        assert LIBRARY.exists(), "build the kernels: python -m tessera.native.build"
    process = start(WORK[work], natively=natively)
    process.send_signal(first)
    time.sleep(0.2)
    assert process.poll() is None
    process.send_signal(second)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert b"tessera: ended, because the work did not stop." in err
    assert b"Traceback" not in err


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_the_signals_of_a_forked_worker_do_not_count_for_its_parent() -> None:
    """Ctrl-C reaches all processes of a terminal: that of each worker is not a second one."""
    work = (
        "import os, signal, time\n    child = os.fork()\n    os.kill(os.getpid(), signal.SIGINT)\n    time.sleep(0.1)\n"
        "    if child: os.waitpid(child, 0); time.sleep(6); print('alive', flush=True)\n"
    )
    process = start(work, natively=True)
    out, _ = process.communicate(timeout=60)
    assert out == b"alive\n"
    assert process.returncode == 0


def test_the_wake_up_descriptor_is_put_back() -> None:
    before = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(before)
    with watch_signals():
        pass
    after = signal.set_wakeup_fd(before)
    assert after == before
