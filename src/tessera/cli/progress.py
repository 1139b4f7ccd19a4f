"""Progress of a batch: a bar on a terminal, JSON lines for programs, a line now and then in a pipe or a log file."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from tessera.cli import make_printable, print_error
from tessera.cli.heartbeat import Heartbeat
from tessera.cli.options import show_options
from tessera.cli.streams import write_line

if TYPE_CHECKING:
    from tessera.upscaling.batch_report import FileResult
    from tessera.upscaling.batch_run import Watcher
    from tessera.upscaling.finding import Task


@dataclass
class _UnderWay:
    """A file in the network, or being written while the next one is in it."""

    line: Any = None
    pixels: int = 0
    tiles: int = 0
    of: int = 0
    _began: float = field(default_factory=time.monotonic)

    def seconds(self) -> float:
        """Seconds since it entered the network, never 0."""
        return max(time.monotonic() - self._began, 1e-9)


class LineWatcher:
    """For a pipe or a log file: failures at once, and a line now and then with what is left; a context manager."""

    def __init__(self, files: int) -> None:
        self._files, self._ended, self._began = files, 0, time.monotonic()
        self._under_way: dict[int, _UnderWay] = {}
        self._heartbeat = Heartbeat(self.describe)

    def __enter__(self) -> Self:
        self._heartbeat.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._heartbeat.stop()

    def begin(self, index: int, task: Task) -> None:
        """A new file."""
        self._under_way[index] = _UnderWay(line=task.source.name)

    def tile(self, index: int, done: int, total: int, pixels: int) -> None:
        """One more tile."""
        file = self._under_way[index]
        file.tiles, file.of = done, total

    def end(self, index: int, result: FileResult) -> None:
        """The file is finished."""
        self._under_way.pop(index, None)
        self._ended += 1
        if result.state == "failed":
            print_error(result.message)

    def describe(self) -> str:
        """What is done and what is left, in one line."""
        under_way = dict(self._under_way)
        if not under_way:
            return "preparing: reading pictures, choosing the engine" if not self._ended else "reading the next picture"
        index, file = min(under_way.items())
        words = [f"{file.line}: {file.tiles} of {file.of} tiles" if file.of else f"{file.line}: at the first tile"]
        if self._files > 1:
            words.insert(0, f"file {index + 1} of {self._files}")
        done = self._ended + sum(each.tiles / each.of for each in under_way.values() if each.of)
        if self._files == 1 and file.of and file.tiles == file.of:
            words.append("writing the file")
        elif file.of and done:
            left = (time.monotonic() - self._began) / done * (self._files - done)
            if self._files == 1:
                left = file.seconds() / file.tiles * (file.of - file.tiles)
            words.append(f"about {duration(left)} left")
        return ", ".join(words)


class BarWatcher:
    """A bar on standard error: the file, its tiles, input pixels a second, time left; a context manager.

    With several files there is a second bar for all of them. Failures are written above the bars as they happen.
    """

    def __init__(self, files: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self._files = files
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[count]}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._all: Any = self._bar.add_task("all", total=files, count="") if files > 1 else None
        self._under_way: dict[int, _UnderWay] = {}

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def begin(self, index: int, task: Task) -> None:
        """A new file."""
        name = make_printable(task.source.name)
        name = name if len(name) <= 40 else f"{name[:20]}…{name[-19:]}"
        self._under_way[index] = _UnderWay(line=self._bar.add_task(name, total=None, count=""))
        if self._all is not None:
            self._bar.update(self._all, completed=index, count=f"file {index + 1}/{self._files}")

    def tile(self, index: int, done: int, total: int, pixels: int) -> None:
        """One more tile."""
        file = self._under_way[index]
        file.pixels += pixels
        speed = file.pixels / file.seconds()
        self._bar.update(
            file.line, total=total, completed=done, count=f"{done}/{total} tiles  {speed / 1e3:,.0f} kpx/s"
        )

    def end(self, index: int, result: FileResult) -> None:
        """The file is finished."""
        self._bar.remove_task(self._under_way.pop(index).line)
        if self._all is not None:
            self._bar.update(self._all, completed=index + 1)
        if result.state == "failed":
            text = f"tessera: {make_printable(show_options(result.message))}"
            self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)


class JsonWatcher:
    """One JSON object a line on standard output: begin, tile, end (and a summary from the command)."""

    def __init__(self, files: int) -> None:
        self._files = files
        self._under_way: dict[int, _UnderWay] = {}

    def begin(self, index: int, task: Task) -> None:
        """A new file."""
        self._under_way[index] = _UnderWay()
        self._print("begin", index, input=str(task.source), output=str(task.output))

    def tile(self, index: int, done: int, total: int, pixels: int) -> None:
        """One more tile."""
        file = self._under_way[index]
        seconds = file.seconds()
        file.pixels += pixels
        self._print(
            "tile",
            index,
            tiles=done,
            of=total,
            pixels=file.pixels,
            pixels_per_second=round(file.pixels / seconds, 1),
            seconds_left=round(seconds / done * (total - done), 2),
        )

    def end(self, index: int, result: FileResult) -> None:
        """The file is finished; its extension may have changed (alpha goes to PNG)."""
        self._under_way.pop(index, None)
        self._print(
            "end",
            index,
            state=result.state,
            input=str(result.source),
            output=str(result.output),
            message=show_options(result.message),
            seconds=round(result.seconds, 3),
        )
        if result.state == "failed":
            print_error(result.message)

    def _print(self, event: str, index: int, **values: Any) -> None:
        print_json({"event": event, "file": index + 1, "files": self._files, **values})


def print_json(values: dict[str, Any]) -> None:
    """One JSON object on a line of standard output, at once (ASCII: any file name survives it)."""
    write_line(json.dumps(values))


def duration(seconds: float) -> str:
    """Seconds for people: 12.3 s, 4 min, 2.5 h."""
    if seconds < 90:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


@contextlib.contextmanager
def watch_progress(json_progress: bool, files: int) -> Generator[Watcher]:
    """The watcher that fits standard error, or JSON lines."""
    if json_progress:
        yield JsonWatcher(files)
    elif sys.stderr.isatty():
        with BarWatcher(files) as bar:
            yield bar
    else:
        with LineWatcher(files) as lines:
            yield lines
