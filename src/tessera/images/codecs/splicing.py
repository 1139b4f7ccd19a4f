"""Files that libvips writes as a stream while its bytes are changed on the way, so that no copy is needed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tessera.images.libvips import vips


class SplicedFile:
    """A file for a libvips target: `edit` gets each piece of the stream and returns what is written for it.

    `edit` returns None once nothing is left to change; from then on pieces pass through.
    """

    def __init__(self, path: Path, edit: Callable[[bytes], bytes | None]) -> None:
        self._file = path.open("wb", buffering=0)
        self._edit: Callable[[bytes], bytes | None] | None = edit
        self._error: OSError | MemoryError | None = None

    def save(self, encode: Callable[[Any], None]) -> None:
        """Run an encoder on a target that writes into the file. Raises OSError, MemoryError and libvips' error."""
        target = vips().TargetCustom()
        target.on_write(self._write)
        try:
            encode(target)
        except vips().Error:
            if self._error is not None:
                raise self._error from None
            raise
        finally:
            self._file.close()

    def _write(self, data: Any) -> int:
        """Take the next bytes; libvips stops at an answer of -1."""
        try:
            piece: Any = data
            if self._edit is not None:
                edited = self._edit(bytes(data))
                if edited is None:
                    self._edit = None
                else:
                    piece = edited
            while len(piece):
                piece = piece[self._file.write(piece) :]
            return len(data)
        except (OSError, MemoryError) as error:  # raised again by save, because no exception passes through libvips
            self._error = error
            return -1
