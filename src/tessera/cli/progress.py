"""How a batch is shown while it runs: a bar for people, JSON lines for programs, nothing in a pipe."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from tessera.batch import FileResult, Task


class BarWatcher:
    """A bar on standard error: the file, its tiles, input pixels a second, time left; a context manager."""

    def __init__(self, files: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self._files = files
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[tiles]} tiles  {task.fields[speed]}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._line: Any = None
        self._began = 0.0
        self._pixels = 0

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def begin(self, index: int, task: Task) -> None:
        """A new file."""
        count = f"[{index + 1}/{self._files}] " if self._files > 1 else ""
        self._line = self._bar.add_task(
            f"{count}{task.source.name}".replace("[", r"\["), total=None, tiles="-", speed=""
        )
        self._began, self._pixels = time.monotonic(), 0

    def tile(self, index: int, done: int, total: int, pixels: int) -> None:
        """One more tile."""
        self._pixels += pixels
        speed = self._pixels / max(time.monotonic() - self._began, 1e-9)
        self._bar.update(
            self._line, total=total, completed=done, tiles=f"{done}/{total}", speed=f"{speed / 1e3:,.0f} kpx/s"
        )

    def end(self, index: int, result: FileResult) -> None:
        """The file is through."""
        self._bar.remove_task(self._line)


class JsonWatcher:
    """One JSON object a line on standard output: begin, tile, end (and a summary from the command)."""

    def __init__(self, files: int) -> None:
        self._files = files
        self._began = 0.0

    def begin(self, index: int, task: Task) -> None:
        """A new file."""
        self._began = time.monotonic()
        self._print("begin", index, input=str(task.source), output=str(task.output))

    def tile(self, index: int, done: int, total: int, pixels: int) -> None:
        """One more tile."""
        seconds = time.monotonic() - self._began
        left = seconds / done * (total - done)
        self._print("tile", index, tiles=done, of=total, pixels=pixels, seconds_left=round(left, 2))

    def end(self, index: int, result: FileResult) -> None:
        """The file is through."""
        self._print("end", index, state=result.state, message=result.message, seconds=round(result.seconds, 3))

    def _print(self, event: str, index: int, **values: Any) -> None:
        print(json.dumps({"event": event, "file": index + 1, "files": self._files, **values}), flush=True)
        sys.stdout.flush()
