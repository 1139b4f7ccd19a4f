"""Fixtures that many tests share."""

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# Two threads when pytest runs alone; one in each worker of pytest-xdist, which starts a worker per core.
THREADS = 1 if int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")) > 1 else 2
os.environ.setdefault("OMP_NUM_THREADS", str(THREADS))


def pin_worker() -> None:
    """Give each worker of pytest-xdist its own core, so that no library starts threads that wait for each other."""
    worker, workers = os.environ.get("PYTEST_XDIST_WORKER", ""), int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    if worker and hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        if workers == len(cores):
            with contextlib.suppress(OSError):
                os.sched_setaffinity(0, {cores[int(worker.removeprefix("gw"))]})


def pytest_configure() -> None:
    pin_worker()

    from hypothesis import settings

    with contextlib.suppress(ModuleNotFoundError):  # `make test-core` has no PyTorch
        import torch

        torch.set_num_threads(THREADS)
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # a shell sets this for background jobs
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # No deadlines: timing depends on the machine. The default run tries the same cases every time, so that a failure
    # comes from the change under test; `make test-slow` searches for new cases.
    settings.register_profile("shared machine", deadline=None, derandomize="TESSERA_SEARCH" not in os.environ)
    settings.load_profile("shared machine")


@pytest.fixture(scope="session", autouse=True)
def _cache_of_these_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Plans and other cached files go to a temporary folder, not to the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TESSERA_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def assets() -> Path:
    """The folder of real weights, test sets and photographs."""
    named = os.environ.get("TESSERA_ASSETS")
    if not named or not Path(named).is_dir():
        pytest.skip("TESSERA_ASSETS does not name a folder of weights, test sets and photographs")
    return Path(named)


@pytest.fixture(autouse=True)
def _threads_of_these_tests() -> None:
    """PyTorch has one number of threads per process; an engine that a test opens changes it for all later ones."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.get_num_threads() != THREADS:
        torch.set_num_threads(THREADS)
