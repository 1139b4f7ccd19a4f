"""`tessera upscale`: options in, one batch, one line out.

Options for settings are derived from `tessera.tiling.settings`. Their names follow inference_realesrgan.py where it has
them (docs/howto/migrate.md has the whole table).
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import traceback
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from tessera.cli import make_printable, print_error
from tessera.cli.choosing import device_batch, model_name, report_missing_engines, suggest_fast
from tessera.cli.migration import MigratingCommand
from tessera.cli.options import show_options
from tessera.cli.stopping import leave, stop_signals
from tessera.errors import EngineError, OutOfMemoryError, TesseraError, UsageError
from tessera.images.formats import describe_extensions, describe_qualities
from tessera.tiling import settings as declarations
from tessera.tiling.settings import AlphaMode, Settings, declared_setting

if TYPE_CHECKING:
    from tessera.engines.engine import Precision
    from tessera.planning.preparing import Ready
    from tessera.upscaling.batch_report import BatchReport, State
    from tessera.upscaling.batch_run import Watcher
    from tessera.upscaling.finding import Naming, Task
    from tessera.upscaling.upscaler import Upscaler

app = typer.Typer(add_completion=False, rich_markup_mode=None)

_Opt = typer.Option


def _setting(name: str, *names: str, help: str | None = None) -> Any:
    """The option of a setting, with its declared help; without names it is the setting's own."""
    own = f"--{name.replace('_', '-')}"
    return _Opt(*(names or (own,)), help=help or declared_setting(name).help)


Inputs = Annotated[list[str] | None, typer.Argument(metavar="IN", help="Pictures, folders, or quoted patterns.")]
MoreInputs = Annotated[list[str] | None, _Opt("-i", "--input", help="Alias of IN, compatible with Real-ESRGAN.")]
Output = Annotated[Path, _Opt("-o", "--output", help="Output folder; or a file, for a single input.")]
Model = Annotated[
    str | None,
    _Opt("-n", "--model", "--model-name", "--model_name", help="Model name, weights file, or blend A@0.5+B@0.5."),
]
Fast = Annotated[bool, _Opt("--fast", help="Alias of -n tessera-x4, many times faster than the default model.")]
ModelPath = Annotated[str | None, _Opt("--model-path", "--model_path", help="A weights file.")]
OutScale = Annotated[str | None, _setting("outscale", "-s", "--outscale")]
Denoise = Annotated[
    float | None,
    _Opt("-dn", "--denoise-strength", "--denoise_strength", help="0 to 1, for realesr-general-x4v3."),
]
Suffix = Annotated[str, _Opt("--suffix", help="Suffix added to output names.")]
Ext = Annotated[str, _Opt("--ext", help=f"Output format: {describe_extensions()}; auto: the input's.")]
Quality = Annotated[declarations.QualitySetting, _setting("quality", help=f"1 to 100, for {describe_qualities()}.")]
PrecisionOption = Annotated[declarations.PrecisionSetting, _setting("precision")]
Fp32 = Annotated[bool, _Opt("--fp32", help="Alias of --precision exact.")]
EngineOption = Annotated[declarations.EngineSetting, _setting("engine")]
Threads = Annotated[declarations.ThreadsSetting, _setting("threads")]
Device = Annotated[
    str,
    _setting(
        "device",
        "-g",
        "--device",
        "--gpu-id",
        "--gpu_id",
        help="auto (fastest), cpu, vulkan (any GPU), mps, 0 (CUDA); several: 0,1.",
    ),
]
Tile = Annotated[declarations.TileSetting, _setting("tile", "-t", "--tile")]
Overlap = Annotated[declarations.OverlapSetting, _setting("overlap", "--overlap", "--tile-pad", "--tile_pad")]
Alpha = Annotated[AlphaMode | None, _setting("alpha")]
AlphaUpsampler = Annotated[
    Literal["realesrgan", "bicubic"] | None,
    _Opt("--alpha-upsampler", "--alpha_upsampler", help="Alias of --alpha, compatible with Real-ESRGAN."),
]
FlatLock = Annotated[declarations.FlatLockSetting, _setting("flat_lock", "--flat-lock/--no-flat-lock")]
ColorLock = Annotated[declarations.ColorLockSetting, _setting("color_lock")]
KeepColorNoise = Annotated[declarations.KeepColorNoiseSetting, _setting("keep_color_noise")]
Seamless = Annotated[declarations.SeamlessSetting, _setting("seamless")]
Tta = Annotated[declarations.TtaSetting, _setting("tta", "--tta", "-x")]
Frames = Annotated[declarations.FramesSetting, _setting("frames")]
KeepTimes = Annotated[declarations.KeepTimesSetting, _setting("keep_times")]
Recursive = Annotated[bool, _Opt("-r", "--recursive", help="Include subfolders; the folder tree is kept.")]
Overwrite = Annotated[bool, _Opt("--overwrite", help="Re-process finished files and overwrite existing ones.")]
ReportFile = Annotated[Path | None, _Opt("--report", help="Write a JSON report to this file.")]
JsonProgress = Annotated[bool, _Opt("--json-progress", help="Progress as JSON lines on standard output.")]
DryRun = Annotated[bool, _Opt("--dry-run", help="Show expected outputs, time and memory; write nothing.")]
Offline = Annotated[bool, _Opt("--offline", help="Never download weights.")]
MaxPixels = Annotated[int | None, _Opt("--max-pixels", help="Largest input in pixels; 0 = no limit. [default: 2^28]")]
MaxOutput = Annotated[
    int | None, _Opt("--max-output-pixels", help="Largest output in pixels; 0 = no limit. [default: 2^32]")
]
Verbose = Annotated[bool, _Opt("-v", "--verbose", help="Show the plan: engine, tiles, measured speed.")]
Traceback = Annotated[bool, _Opt("--traceback", help="Show the traceback of bugs.")]


@app.command(cls=MigratingCommand, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
def upscale(
    inputs: Inputs = None,
    more_inputs: MoreInputs = None,
    output: Output = Path("results"),
    model: Model = None,
    fast: Fast = False,
    model_path: ModelPath = None,
    outscale: OutScale = None,
    denoise: Denoise = None,
    suffix: Suffix = "out",
    ext: Ext = "auto",
    quality: Quality = None,
    precision: PrecisionOption = "auto",
    fp32: Fp32 = False,
    engine: EngineOption = "auto",
    device: Device = "auto",
    threads: Threads = None,
    tile: Tile = None,
    overlap: Overlap = None,
    alpha: Alpha = None,
    alpha_upsampler: AlphaUpsampler = None,
    flat_lock: FlatLock = True,
    color_lock: ColorLock = False,
    keep_color_noise: KeepColorNoise = False,
    seamless: Seamless = False,
    tta: Tta = False,
    frames: Frames = False,
    keep_times: KeepTimes = False,
    recursive: Recursive = False,
    overwrite: Overwrite = False,
    report: ReportFile = None,
    json_progress: JsonProgress = False,
    dry_run: DryRun = False,
    offline: Offline = False,
    max_pixels: MaxPixels = None,
    max_output_pixels: MaxOutput = None,
    verbose: Verbose = False,
    show_traceback: Traceback = False,
) -> None:
    """Upscale pictures: `tessera upscale photo.jpg` writes results/photo_out.jpg, four times as large.

    A journal in the output folder records finished files, so the same command resumes an interrupted run. Exit codes:
    0 all done, 1 some failed or weights unavailable, 2 wrong usage (including an unknown model or an unavailable GPU),
    130 or 143 stopped.
    """
    names = [*(inputs or ()), *(more_inputs or ())]
    if not names:
        raise UsageError("Nothing to upscale: name pictures or folders, as in `tessera upscale photo.jpg`.")
    with stop_signals() as stop:
        from tessera.images.picture_format import Limits
        from tessera.upscaling.batch import run_batch
        from tessera.upscaling.batch_report import report_problems
        from tessera.upscaling.batch_run import BatchOptions
        from tessera.upscaling.finding import Naming, find_tasks
        from tessera.upscaling.journal import Journal

        default = Limits()
        devices = _devices(device)
        settings = Settings(
            outscale=None if outscale is None else declarations.OutScale.parse(outscale),
            precision=_precision(precision, fp32),
            engine=engine,
            device=devices[0],
            threads=threads,
            tile=tile,
            overlap=overlap,
            alpha=_alpha(alpha, alpha_upsampler),
            flat_lock=flat_lock,
            color_lock=color_lock,
            keep_color_noise=keep_color_noise,
            seamless=seamless,
            tta=tta,
            frames=frames,
            quality=quality,
            keep_times=keep_times,
            limits=Limits(
                max_pixels=_limit("--max-pixels", max_pixels, default.max_pixels),
                max_output_pixels=_limit("--max-output-pixels", max_output_pixels, default.max_output_pixels),
            ),
        )
        name = model_name(model, model_path, denoise, fast=fast)
        if dry_run and len(devices) > 1:
            raise UsageError(f"--device {device} with --dry-run: name one of the devices.")
        naming = Naming(output=output, suffix=suffix, extension=ext)
        _refuse_weights(names)
        journal = Journal(naming.journal_folder(names))
        tasks, ignored, earlier = find_tasks(names, naming, journal, recursive=recursive)
        if earlier:
            pictures = "1 picture, an output" if earlier == 1 else f"{earlier:,} pictures, outputs"
            print_error(f"left out {pictures} of earlier runs; name a picture itself to upscale it again.")
        if report is not None:
            _check_report(report, tasks, dry_run)
        if all(task.problem is not None for task in tasks):
            result = report_problems(tasks, name, ignored)
            for each in result.results:
                print_error(each.message)
        elif dry_run:
            from tessera.cli.forecast import print_forecast

            upscaler = _open(name, settings, offline)
            _report_plan(upscaler, tasks, overwrite=overwrite, verbose=verbose)
            with _show_engine_errors_as_usage():
                print_forecast(tasks, upscaler, journal, overwrite, json_progress)
            return
        elif len(devices) > 1:
            from tessera.upscaling.devices import run_on_devices

            batch = device_batch(name, settings, offline, tasks, devices, journal.folder, overwrite, ignored)
            with _show_engine_errors_as_usage(), _watcher(json_progress, len(tasks)) as watcher, stop.patiently():
                result = run_on_devices(
                    batch,
                    watcher=watcher,
                    stopped=lambda: stop.number is not None,
                    say=lambda line: print(make_printable(line), file=sys.stderr) if verbose else None,
                )
        else:
            upscaler = _open(name, settings, offline)
            _report_plan(upscaler, tasks, overwrite=overwrite, verbose=verbose)
            with _show_engine_errors_as_usage(), _watcher(json_progress, len(tasks)) as watcher, stop.patiently():
                result = run_batch(
                    tasks,
                    upscaler,
                    journal,
                    BatchOptions(
                        existing="overwrite" if overwrite else "keep",
                        watcher=watcher,
                        stopped=lambda: stop.number is not None,
                    ),
                    ignored=ignored,
                )
        _finish(result, naming, json_progress, show_traceback)
        if report is not None:
            _write_report(report, result)
        if stop.number is not None:
            print_error(f"stopped, {result.left} left to do; run the same command again to resume.")
            leave(128 + stop.number)
        if result.count("failed"):
            raise typer.Exit(1)


def _open(model: str, settings: Settings, offline: bool) -> Upscaler:
    from tessera.upscaling.upscaler import Upscaler

    with _show_engine_errors_as_usage():
        return Upscaler(model, settings=settings, offline=offline)


def _report_plan(upscaler: Upscaler, tasks: Sequence[Task], *, overwrite: bool, verbose: bool) -> None:
    """Once the engine is chosen, show the plan and suggest a faster model."""
    # Finished files take no time again; judged by name, since reading the journal needs every checksum.
    left = sum(overwrite or not task.output.exists() for task in tasks) / len(tasks)

    def report(ready: Ready) -> None:
        if verbose:
            for line in ready.lines:
                print(make_printable(line), file=sys.stderr)
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


def _precision(precision: Precision, fp32: bool) -> Precision:
    if fp32 and precision == "fast":
        raise UsageError("--fp32 and --precision fast contradict each other; leave one out.")
    return "exact" if fp32 else precision


def _limit(option: str, value: int | None, default: int | None) -> int | None:
    if value is not None and value < 0:
        raise UsageError(f"{option} {value}: expected a number of pixels, or 0 for no limit.")
    return default if value is None else value or None


def _devices(text: str) -> list[str]:
    """The devices of a list such as "0,1"; a number is a GPU, -1 the CPU."""
    from tessera.engines.devices import parse_device

    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise UsageError(f"--device {text}: expected a device, or several separated by commas, such as 0,1.")
    return [parse_device(name) for name in names]


def _alpha(alpha: AlphaMode | None, alpha_upsampler: str | None) -> AlphaMode:
    if alpha_upsampler is None:
        return alpha or "auto"
    if alpha is not None:
        raise UsageError("--alpha_upsampler and --alpha contradict each other; leave one out.")
    return "model" if alpha_upsampler == "realesrgan" else "lanczos"


def _refuse_weights(names: Sequence[str]) -> None:
    """Catch the argument order of joeyballentine/ESRGAN, in which the model comes first."""
    for name in names:
        if name.lower().endswith((".pth", ".safetensors", ".param")) and Path(name).is_file():
            raise UsageError(f"{name} is a weights file, not a picture; write -n {name}.")


@contextmanager
def _watcher(json_progress: bool, files: int) -> Generator[Watcher]:
    from tessera.cli.progress import BarWatcher, JsonWatcher, QuietWatcher

    if json_progress:
        yield JsonWatcher(files)
    elif sys.stderr.isatty():
        with BarWatcher(files) as bar:
            yield bar
    else:
        yield QuietWatcher()


def _check_report(path: Path, tasks: Sequence[Task], dry_run: bool) -> None:
    """Refuse a report file that could not be written after the work."""
    if dry_run:
        raise UsageError("--report with --dry-run: a dry run has nothing to report; leave one out.")
    if path.is_dir():
        raise UsageError(f"--report {path}: is a folder; name a file, as in --report {path / 'report.json'}.")
    if path.exists() and any(path.samefile(task.source) for task in tasks if task.source.exists()):
        raise UsageError(f"--report {path}: is one of the inputs; name another file.")
    if _is_special(path):
        return
    temporary = _beside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch()
        temporary.unlink()
    except OSError as error:
        raise UsageError(f"--report {path}: cannot be written there: {error.strerror}.") from None


def _write_report(path: Path, result: BatchReport) -> None:
    temporary = path if _is_special(path) else _beside(path)
    try:
        temporary.write_text(json.dumps(result.as_json(), indent=2) + "\n", encoding="utf-8")
        if temporary != path:
            temporary.replace(path)
    except OSError as error:
        if temporary != path:
            with contextlib.suppress(OSError):
                temporary.unlink()
        raise TesseraError(f"{path}: the report cannot be written: {error.strerror}.") from None


def _is_special(path: Path) -> bool:
    """Whether this is a device or a pipe, such as /dev/stdout, which must not be replaced."""
    return path.exists() and not path.is_file()


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}")


def _finish(result: BatchReport, naming: Naming, json_progress: bool, show_traceback: bool) -> None:
    """Print notes (equal ones once), requested tracebacks, and the summary line."""
    from tessera.cli.progress import duration, print_json

    sources: dict[str, list[Path]] = {}
    for entry in result.results:
        notes = entry.outcome.notes if entry.outcome is not None else ()
        for note in (*notes, *([entry.message] if entry.state == "done" and entry.message else ())):
            sources.setdefault(note, []).append(entry.source)
        if show_traceback and entry.defect is not None:
            traceback.print_exception(entry.defect, file=sys.stderr)
    for note, noted in sources.items():
        more = f" (and {len(noted) - 1} more pictures)" if len(noted) > 1 else ""
        print(make_printable(f"{noted[0]}: {show_options(note)}{more}"), file=sys.stderr)
    if json_progress:
        print_json({"event": "summary", **{name: value for name, value in result.as_json().items() if name != "files"}})
        return
    counts = [f"{result.count('done')} done"]
    words: tuple[tuple[State, str], ...] = (("skipped", "already done"), ("failed", "failed"), ("dropped", "dropped"))
    counts += [f"{result.count(state)} {word}" for state, word in words if result.count(state)]
    if result.ignored:
        counts.append(f"{result.ignored} other files ignored")
    summary = f"{', '.join(counts)} in {duration(result.seconds)} with {result.model}; results in {naming.output}"
    print(make_printable(summary))
