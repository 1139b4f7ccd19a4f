"""`tessera upscale --dry-run`: expected outputs, time, memory and disk space."""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from tessera.cli import make_printable
from tessera.cli.options import describe_error
from tessera.cli.progress import duration, print_json
from tessera.cli.streams import write_line
from tessera.errors import TesseraError
from tessera.machine import cores, process_seconds
from tessera.upscaling.batch import forecasts
from tessera.upscaling.estimating import Estimator
from tessera.wording import format_bytes

if TYPE_CHECKING:
    from tessera.upscaling.filejob import Forecast
    from tessera.upscaling.finding import Task
    from tessera.upscaling.journal import Journal
    from tessera.upscaling.upscaler import Upscaler


_SAMPLE_SIDE = 512


def print_forecast(
    tasks: Sequence[Task], upscaler: Upscaler, journal: Journal, overwrite: bool, json_progress: bool
) -> None:
    """Print the forecast of a run: the network's time from its plan, the rest timed now.

    The rest is the start of this process, a second preparation, and a small picture processed without the network.
    """
    total = process_seconds()
    coding, estimator, usable = _Coding(), Estimator(upscaler), cores().usable
    counts: Counter[str] = Counter()
    for task, found in forecasts(tasks, upscaler, journal, overwrite=overwrite):
        values: dict[str, Any] = {"event": "forecast", "input": str(task.source), "output": str(task.output)}
        if found is None:
            state, line = "skipped", "already done"
        elif isinstance(found, TesseraError):
            state, line = "failed", f"would fail: {describe_error(found)}"
            values["message"] = str(found)
        else:
            handling = estimator.handling_seconds(found) + coding.seconds(task.output, found)
            # One thread handles tiles while the network runs, and takes its share of the cores.
            seconds = estimator.network_seconds(found) + (handling / usable if found.tiles > 1 else handling)
            total += seconds
            state, line = "pending", _forecast_line(task, found, seconds)
            values |= {
                "input_size": [found.width, found.height],
                "output_size": [found.out_width, found.out_height],
                "tiles": found.tiles,
                "tile": found.tile,
                "seconds": round(seconds, 2),
                "memory_bytes": found.memory_bytes,
                "file_bytes": found.file_bytes,
            }
        counts[state] += 1
        if json_progress:
            print_json({**values, "state": state})
        else:
            write_line(make_printable(f"{task.source}: {line}" if state != "pending" else line))
    if counts["pending"]:
        total += estimator.opening_seconds()
    if json_progress:
        print_json({"event": "summary", "seconds": round(total, 2), **counts})
    else:
        done = f", {counts['skipped']} already done" if counts["skipped"] else ""
        write_line(f"{counts['pending']} to do{done}: about {duration(total)}; nothing was written.")
    if counts["failed"]:
        raise typer.Exit(1)


class _Coding:
    """Seconds to read and write, from a picture of this format written and read once."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[float, float]] = {}

    def seconds(self, output: Path, forecast: Forecast) -> float:
        """Seconds to read twice (a picture is checked before it is upscaled) and write once."""
        suffix = output.suffix.lower()
        if suffix not in self._known:
            self._known[suffix] = _time_format(suffix)
        read, written = self._known[suffix]
        pixels = forecast.height * forecast.width * forecast.frames
        return (2 * read * pixels + written * forecast.out_height * forecast.out_width * forecast.frames) / 1e6


def _time_format(suffix: str) -> tuple[float, float]:
    """Seconds per megapixel to read and to write a format."""
    import numpy as np

    from tessera.images.picture import Picture, read_picture
    from tessera.images.writer import write_picture
    from tessera.planning.chart import chart

    pixels = np.rint(chart(_SAMPLE_SIDE).transpose(1, 2, 0) * 255).astype(np.uint8)
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"sample{suffix}"
            began = time.monotonic()
            write_picture(Picture(pixels), path)
            written = time.monotonic()
            read_picture(path)
            read = time.monotonic()
    except (TesseraError, OSError):  # no folder for it, or the real picture will show the problem
        return 0.0, 0.0
    megapixels = _SAMPLE_SIDE**2 / 1e6
    return (read - written) / megapixels, (written - began) / megapixels


def _forecast_line(task: Task, forecast: Forecast, seconds: float) -> str:
    return (
        f"{task.source} -> {task.output}: {forecast.width}x{forecast.height} ->"
        f" {forecast.out_width}x{forecast.out_height}, {forecast.tiles} tiles of {forecast.tile},"
        f" about {duration(seconds)}, {format_bytes(forecast.memory_bytes)} of memory,"
        f" up to {format_bytes(forecast.file_bytes)} on the disk"
    )
