"""`tessera upscale --dry-run`: what a run would make and take, said before it is begun."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import typer

from tessera.batch import forecasts
from tessera.cli import printable
from tessera.cli.progress import duration, print_json
from tessera.errors import TesseraError

if TYPE_CHECKING:
    from tessera.finding import Task
    from tessera.journal import Journal
    from tessera.upscaler import Forecast, Upscaler


def print_forecast(
    tasks: Sequence[Task], upscaler: Upscaler, journal: Journal, overwrite: bool, json_progress: bool
) -> None:
    """Say what a run would take. The time of one tile is measured, and taken to grow with its pixels."""
    seconds_per_pixel = 0.0
    total = 0.0
    counts: Counter[str] = Counter()
    for task, found in forecasts(tasks, upscaler, journal, overwrite=overwrite):
        values: dict[str, Any] = {"event": "forecast", "input": str(task.source), "output": str(task.output)}
        if found is None:
            state, line = "skipped", "already done"
        elif isinstance(found, TesseraError):
            state, line = "failed", f"would fail: {found}"
            values["message"] = str(found)
        else:
            if not seconds_per_pixel:
                side = min(found.tile, 256)
                seconds_per_pixel = upscaler.seconds_per_tile(side) / side**2
            seconds = seconds_per_pixel * found.runs * found.tile**2
            total += seconds
            state, line = "done", _forecast_line(task, found, seconds)
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
            print(printable(f"{task.source}: {line}" if state != "done" else line))
    if json_progress:
        print_json({"event": "summary", "seconds": round(total, 2), **counts})
    else:
        done = f", {counts['skipped']} already done" if counts["skipped"] else ""
        print(f"{counts['done']} to do{done}: about {duration(total)}; nothing was written.")
    if counts["failed"]:
        raise typer.Exit(1)


def _forecast_line(task: Task, forecast: Forecast, seconds: float) -> str:
    return (
        f"{task.source} -> {task.output}: {forecast.width}x{forecast.height} ->"
        f" {forecast.out_width}x{forecast.out_height}, {forecast.tiles} tiles of {forecast.tile},"
        f" about {duration(seconds)}, {forecast.memory_bytes / 2**20:,.0f} MiB of memory,"
        f" up to {forecast.file_bytes / 1e6:,.1f} MB on the disk"
    )
