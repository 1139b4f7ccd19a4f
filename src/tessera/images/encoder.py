"""A thread in which libvips encodes a picture while its rows are still being computed."""

from __future__ import annotations

import contextlib
import os
import queue
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tessera.errors import PictureError
from tessera.images.damage import is_libvips_error, is_out_of_memory
from tessera.images.libvips import vips

_WAIT_SECONDS = 0.2


class EncoderThread:
    """Passes the pieces of a PNG stream to libvips in another thread, where `save` writes the file.

    `path` is the name of the file for the user, in whose folder it is written.
    """

    def __init__(self, path: Path, save: Callable[[Any], None]) -> None:
        self._path, self._save = path, save
        self._error: BaseException | None = None
        self._pieces: queue.Queue[bytes | None] = queue.Queue(maxsize=2)
        self._stopped = threading.Event()
        self._piece = memoryview(b"")
        self._thread = threading.Thread(target=self._run, name=f"write {path.name}", daemon=True)
        self._thread.start()

    def put(self, piece: bytes | None) -> None:
        """Pass on the next piece, None at the end; waits while the encoder is behind.

        Raises PictureError if the encoder failed.
        """
        while True:
            if self._error is not None:
                raise self._describe_error(self._error)
            try:
                self._pieces.put(piece, timeout=_WAIT_SECONDS)
                return
            except queue.Full:
                continue

    def finish(self) -> None:
        """Wait until the file is encoded. Raises PictureError if that failed."""
        self.put(None)
        self._thread.join()
        if self._error is not None:
            raise self._describe_error(self._error)

    def stop(self) -> None:
        """End the thread, whatever it has written."""
        self._stopped.set()
        self._thread.join()

    def _describe_error(self, error: BaseException) -> BaseException:
        """Return the error for the caller: a sentence, unless it is a bug."""
        if isinstance(error, MemoryError) or is_out_of_memory(error):
            return MemoryError(str(error))
        if isinstance(error, OSError):
            reason = error.strerror or str(error)
        elif isinstance(error, PictureError) or is_libvips_error(error):
            lines = [line.strip().rstrip(".") for line in str(error).splitlines() if line.strip()]
            reason = lines[-1] if lines else type(error).__name__
        else:
            return error
        if _is_disk_full(self._path.parent):
            reason = "the disk is full"
        return PictureError(f"{self._path}: cannot be written: {reason}.")

    def _read(self, count: int) -> bytes:
        """Give libvips the next bytes of the stream."""
        while not self._piece:
            if self._stopped.is_set():
                return b""
            try:
                piece = self._pieces.get(timeout=_WAIT_SECONDS)
            except queue.Empty:
                continue
            if piece is None:
                return b""
            self._piece = memoryview(piece)
        taken, self._piece = self._piece[:count], self._piece[count:]
        return bytes(taken)

    def _run(self) -> None:
        try:
            source = vips().SourceCustom()
            source.on_read(self._read)
            self._save(vips().Image.new_from_source(source, "", access="sequential", fail_on="error"))
        except (OSError, PictureError) as error:
            self._error = error.with_traceback(None)  # which would keep the file open, and the disk full
        except BaseException as error:  # raised again in the caller's thread by put and finish
            self._error = error.with_traceback(None) if is_libvips_error(error) else error


def _is_disk_full(folder: Path) -> bool:
    with contextlib.suppress(OSError, AttributeError):
        space = os.statvfs(folder)
        return space.f_bavail * space.f_frsize < 2**20
    return False
