"""Fixtures that many tests share."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "2")


def pytest_configure() -> None:
    import torch
    from hypothesis import settings

    torch.set_num_threads(2)
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # as a shell leaves it to what it starts in the background
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # How long a case takes is the machine's affair. The default run tries the same cases each time, so that a change is
    # judged by what it changes; `make test-slow` looks for new ones.
    settings.register_profile("shared machine", deadline=None, derandomize="TESSERA_SEARCH" not in os.environ)
    settings.load_profile("shared machine")


@pytest.fixture(scope="session", autouse=True)
def _cache_of_these_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:  # pyright: ignore[reportUnusedFunction]
    """Plans and whatever else is kept for this machine go to a folder of these tests, not into the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TESSERA_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def assets() -> Path:
    """The folder of real weights, test sets and photographs."""
    named = os.environ.get("TESSERA_ASSETS")
    if not named or not Path(named).is_dir():
        pytest.skip("TESSERA_ASSETS does not name the folder of weights, test sets and photographs")
    return Path(named)
