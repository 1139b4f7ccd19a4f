"""One run of `tessera upscale`: inputs found, a batch or a forecast, the summary line, the report."""

from __future__ import annotations

import traceback
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import typer

from tessera.cli import make_printable, print_error
from tessera.cli.choosing import device_batch, report_missing_engines, suggest_fast
from tessera.cli.forecast import print_forecast
from tessera.cli.options import show_options
from tessera.cli.progress import duration, print_json, watch_progress
from tessera.cli.stopping import Stop, leave
from tessera.cli.streams import write_line
from tessera.cli.upscale_report import check_report, write_report
from tessera.errors import EngineError, OutOfMemoryError, UsageError
from tessera.images.formats import is_picture_name
from tessera.planning.preparing import Ready
from tessera.tiling.settings import Settings
from tessera.upscaling.batch import run_batch
from tessera.upscaling.batch_report import BatchReport, State, report_problems
from tessera.upscaling.batch_run import BatchOptions
from tessera.upscaling.devices import run_on_devices
from tessera.upscaling.finding import FoundTasks, Naming, Task, find_tasks
from tessera.upscaling.journal import Journal
from tessera.upscaling.upscaler import Upscaler
from tessera.weights.names import WEIGHTS_SUFFIXES


@dataclass(frozen=True, kw_only=True)
class Request:
    """The command line without its inputs, checked and translated."""

    naming: Naming
    model: str
    settings: Settings
    devices: tuple[str, ...]
    recursive: bool
    overwrite: bool
    report: Path | None
    dry_run: bool
    offline: bool
    json_progress: bool
    verbose: bool
    show_traceback: bool


def run_request(inputs: Sequence[str], request: Request, stop: Stop) -> None:
    """Upscale the inputs, or forecast them, as the command line asks.

    Raises:
        UsageError: The command cannot be carried out as written.
        typer.Exit: The exit code, where it is not 0.
    """
    if request.dry_run and len(request.devices) > 1:
        raise UsageError(f"--device {','.join(request.devices)} with --dry-run: name one of the devices.")
    _refuse_wrong_places(inputs, request.model)
    journal = Journal(request.naming.journal_folder(inputs))
    found = find_tasks(inputs, request.naming, journal, recursive=request.recursive)
    if request.report is not None:
        check_report(request.report, found.tasks, journal, dry_run=request.dry_run)
    if found.earlier:
        pictures = "1 picture, an output" if found.earlier == 1 else f"{found.earlier:,} pictures, outputs"
        print_error(f"left out {pictures} of earlier runs; name a picture itself to upscale it again.")
    if all(task.problem is not None for task in found.tasks):
        result = report_problems(found.tasks, request.model, found.ignored)
        for each in result.results:
            print_error(each.message)
    elif request.dry_run:
        upscaler = _open(request)
        _report_plan(request, upscaler, found.tasks)
        with _show_engine_errors_as_usage():
            print_forecast(found.tasks, upscaler, journal, request.overwrite, request.json_progress)
        return
    else:
        result = _upscale(request, found, journal, stop)
    _print_summary(result, request)
    if request.report is not None:
        write_report(request.report, result)
    if stop.number is not None:
        print_error(f"stopped, {result.left} left to do; run the same command again to resume.")
        leave(128 + stop.number)
    if result.count("failed"):
        raise typer.Exit(1)


def _upscale(request: Request, found: FoundTasks, journal: Journal, stop: Stop) -> BatchReport:
    """The batch on one device, or on several."""
    with _show_engine_errors_as_usage(), watch_progress(request.json_progress, len(found.tasks)) as watcher:
        if len(request.devices) > 1:
            batch = device_batch(
                request.model,
                request.settings,
                request.offline,
                found.tasks,
                request.devices,
                journal.folder,
                request.overwrite,
                found.ignored,
            )
            with stop.patiently():
                return run_on_devices(
                    batch,
                    watcher=watcher,
                    stopped=lambda: stop.number is not None,
                    say=_print_plan_line if request.verbose else lambda line: None,
                )
        upscaler = _open(request)
        _report_plan(request, upscaler, found.tasks)
        options = BatchOptions(
            existing="overwrite" if request.overwrite else "keep",
            watcher=watcher,
            stopped=lambda: stop.number is not None,
        )
        with stop.patiently():
            return run_batch(found.tasks, upscaler, journal, options, ignored=found.ignored)


def _open(request: Request) -> Upscaler:
    with _show_engine_errors_as_usage():
        return Upscaler(request.model, settings=request.settings, offline=request.offline)


def _print_plan_line(line: str) -> None:
    write_line(make_printable(line), to_errors=True)


def _report_plan(request: Request, upscaler: Upscaler, tasks: Sequence[Task]) -> None:
    """Once the engine is chosen, show the plan and suggest a faster model."""
    # Finished files take no time again; judged by name, since reading the journal needs every checksum.
    left = sum(request.overwrite or not task.output.exists() for task in tasks) / len(tasks)

    def report(ready: Ready) -> None:
        if request.verbose:
            for line in ready.lines:
                _print_plan_line(line)
        if left and ready.choice is not None and ready.choice.seconds is not None:
            report_missing_engines(upscaler, ready.choice.seconds * left)
            suggest_fast(upscaler, round(ready.pixels * left), ready.choice.seconds * left)

    upscaler.on_plan(report)


@contextmanager
def _show_engine_errors_as_usage() -> Generator[None]:
    """An unavailable device or engine is wrong usage: --device or --engine names it."""
    try:
        yield
    except OutOfMemoryError:
        raise
    except EngineError as error:
        raise UsageError(str(error)) from error


def _refuse_wrong_places(inputs: Sequence[str], model_name: str) -> None:
    """Catch weights among the pictures (joeyballentine/ESRGAN names the model first), and a picture as the model."""
    for name in inputs:
        if name.lower().endswith((".pth", ".safetensors", ".param")) and Path(name).is_file():
            raise UsageError(f"{name} is a weights file, not a picture; write -n {name}.")
    model = Path(model_name)
    if is_picture_name(model) and model.suffix.lower() not in WEIGHTS_SUFFIXES and model.is_file():
        raise UsageError(f"-n {model}: is a picture, not weights; write `tessera upscale {model}` to upscale it.")


def _print_summary(result: BatchReport, request: Request) -> None:
    """Print notes (equal ones once), requested tracebacks, and the summary line."""
    sources: dict[str, list[Path]] = {}
    for entry in result.results:
        notes = entry.outcome.notes if entry.outcome is not None else ()
        for note in (*notes, *([entry.message] if entry.state == "done" and entry.message else ())):
            sources.setdefault(note, []).append(entry.source)
        if request.show_traceback and entry.defect is not None:
            for line in traceback.format_exception(entry.defect):
                write_line(line.rstrip("\n"), to_errors=True)
    for note, noted in sources.items():
        more = f" (and {len(noted) - 1} more pictures)" if len(noted) > 1 else ""
        write_line(make_printable(f"{noted[0]}: {show_options(note)}{more}"), to_errors=True)
    if request.json_progress:
        print_json({"event": "summary", **{name: value for name, value in result.as_json().items() if name != "files"}})
        return
    counts = [f"{result.count('done')} done"]
    words: tuple[tuple[State, str], ...] = (("skipped", "already done"), ("failed", "failed"), ("dropped", "dropped"))
    counts += [f"{result.count(state)} {word}" for state, word in words if result.count(state)]
    if result.ignored:
        counts.append(f"{result.ignored} other files ignored")
    there = f"; results in {request.naming.output}" if result.count("done") + result.count("skipped") else ""
    write_line(make_printable(f"{', '.join(counts)} in {duration(result.seconds)} with {result.model}{there}"))
