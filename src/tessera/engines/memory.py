"""Running out of memory, which each library tells in words of its own.

Nothing here imports a library.
"""

from __future__ import annotations

from tessera.engines import Tiles
from tessera.errors import OutOfMemoryError


class without_memory_errors:  # noqa: N801 - reads as a statement
    """Turn every way of running out of memory into OutOfMemoryError; a context manager."""

    def __init__(self, tiles: Tiles) -> None:
        self._shape = tuple(tiles.shape)

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if error is not None and is_memory_error(error):
            raise OutOfMemoryError(f"Memory ran out on a batch of tiles {self._shape}.") from error


def is_memory_error(error: BaseException) -> bool:
    """Whether an exception of PyTorch, OpenVINO or Python means that memory ran out."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # PyTorch's, of GPUs
        return True
    text = str(error).lower()
    known = ("can't allocate memory", "out of memory", "bad_alloc", "failed to allocate", "could not allocate")
    return isinstance(error, RuntimeError) and any(words in text for words in known)
