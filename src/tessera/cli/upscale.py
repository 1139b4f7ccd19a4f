"""`tessera upscale`: options in, one batch, one line out.

Option names follow inference_realesrgan.py where it has them (docs/howto/migrate.md has the whole table).
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
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from tessera.cli import make_printable, print_error
from tessera.cli.choosing import device_batch, model_name, suggest_fast
from tessera.cli.migration import MigratingCommand
from tessera.cli.options import show_options
from tessera.cli.stopping import leave, stop_signals
from tessera.engines.opening import EngineName
from tessera.errors import EngineError, OutOfMemoryError, TesseraError, UsageError
from tessera.images.formats import describe_extensions, describe_qualities

if TYPE_CHECKING:
    from tessera.engines.engine import Precision
    from tessera.tiling.settings import AlphaMode, Settings
    from tessera.upscaling.batch import Watcher
    from tessera.upscaling.batch_report import BatchReport, State
    from tessera.upscaling.finding import Naming, Task
    from tessera.upscaling.upscaler import Upscaler

app = typer.Typer(add_completion=False, rich_markup_mode=None)

_Word = TypeVar("_Word", bound=str)

_Opt = typer.Option
Inputs = Annotated[list[str] | None, typer.Argument(metavar="IN", help="Pictures, folders, or patterns in quotes.")]
MoreInputs = Annotated[list[str] | None, _Opt("-i", "--input", help="The same, as Real-ESRGAN's users know it.")]
Output = Annotated[Path, _Opt("-o", "--output", help="A folder; or a file, when there is one input.")]
Model = Annotated[
    str | None,
    _Opt("-n", "--model-name", "--model_name", "--model", help="A name of `tessera models list`, a file, a mix."),
]
Fast = Annotated[bool, _Opt("--fast", help="The same as -n tessera-x4: many times faster than the default model.")]
ModelPath = Annotated[str | None, _Opt("--model-path", "--model_path", help="A weights file.")]
OutScale = Annotated[
    str | None, _Opt("-s", "--outscale", help="A factor (2, 1.5), 1920x or x1080. [default: the model's]")
]
Denoise = Annotated[
    float | None, _Opt("-dn", "--denoise-strength", "--denoise_strength", help="0 to 1, for realesr-general-x4v3.")
]
Suffix = Annotated[str, _Opt("--suffix", help="NAME_out.EXT; empty for none.")]
Ext = Annotated[str, _Opt("--ext", help=f"auto (the input's format) or {describe_extensions()}.")]
Quality = Annotated[int | None, _Opt("--quality", help=f"1 to 100, for {describe_qualities()}.")]
PrecisionOption = Annotated[
    str, _Opt("--precision", help="exact (fp32), auto (bf16 where that is fast) or fast (less accurate still).")
]
Fp32 = Annotated[bool, _Opt("--fp32", help="The same as --precision exact.")]
EngineOption = Annotated[EngineName, _Opt("--engine", help="auto: fastest on this machine, measured.")]
Threads = Annotated[
    int | None, _Opt("--threads", help="Threads of the engine on the processor. [default: as the plan has it]")
]
Device = Annotated[str, _Opt("-g", "--gpu-id", "--gpu_id", "--device", help="cpu, mps, 0 (the first GPU), 0,1 (both).")]
Tile = Annotated[
    int | None, _Opt("-t", "--tile", help="Longest side of a tile in input pixels; 0: one piece. [default: chosen]")
]
Overlap = Annotated[
    int | None, _Opt("--overlap", "--tile-pad", "--tile_pad", help="Context around a tile. [default: measured]")
]
Alpha = Annotated[str | None, _Opt("--alpha", help="auto, model or lanczos: what enlarges alpha. [default: auto]")]
AlphaUpsampler = Annotated[
    str | None, _Opt("--alpha-upsampler", "--alpha_upsampler", help="realesrgan (model) or bicubic (lanczos).")
]
FlatLock = Annotated[bool, _Opt("--flat-lock/--no-flat-lock", help="Flat areas keep their exact color.")]
ColorLock = Annotated[bool, _Opt("--color-lock", help="Give the input's low-frequency colors back.")]
Seamless = Annotated[bool, _Opt("--seamless", help="For textures that repeat.")]
Tta = Annotated[bool, _Opt("--tta", "-x", help="Mean over eight flips and turns: 8 times slower, a little better.")]
Frames = Annotated[bool, _Opt("--frames", help="All frames of a GIF or WebP animation.")]
Recursive = Annotated[bool, _Opt("-r", "--recursive", help="Folders below, too; the tree is kept.")]
Overwrite = Annotated[bool, _Opt("--overwrite", help="Do again what is done; replace files that are not ours.")]
ReportFile = Annotated[Path | None, _Opt("--report", help="Write a JSON report here.")]
JsonProgress = Annotated[bool, _Opt("--json-progress", help="Progress as JSON lines on standard output.")]
DryRun = Annotated[bool, _Opt("--dry-run", help="Say what it would take and make; write nothing.")]
Offline = Annotated[bool, _Opt("--offline", help="Never download weights; say instead where they belong.")]
MaxPixels = Annotated[int | None, _Opt("--max-pixels", help="Largest input, in pixels; 0 lifts it. [default: 2^28]")]
MaxOutput = Annotated[
    int | None, _Opt("--max-output-pixels", help="Largest output, in pixels; 0 lifts it. [default: 2^32]")
]
Verbose = Annotated[bool, _Opt("-v", "--verbose", help="Say what was planned and measured: engine, tiles, speed.")]
Traceback = Annotated[bool, _Opt("--traceback", help="Show where in the code a bug happened.")]


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
    device: Device = "cpu",
    threads: Threads = None,
    tile: Tile = None,
    overlap: Overlap = None,
    alpha: Alpha = None,
    alpha_upsampler: AlphaUpsampler = None,
    flat_lock: FlatLock = True,
    color_lock: ColorLock = False,
    seamless: Seamless = False,
    tta: Tta = False,
    frames: Frames = False,
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
    """Enlarge pictures: `tessera upscale photo.jpg` writes results/photo_out.jpg, four times as large.

    What is done is written down in the output folder, so the same command run again goes on where it stopped. Exit
    code: 0 all done, 1 some failed or the weights cannot be had, 2 wrong usage (also a model or a GPU that there is
    not), 130 or 143 stopped.
    """
    names = [*(inputs or ()), *(more_inputs or ())]
    if not names:
        raise UsageError("Nothing to upscale: name pictures or folders, as in `tessera upscale photo.jpg`.")
    with stop_signals() as stop:
        from tessera.images.picture_format import Limits
        from tessera.tiling.settings import OutScale as Size
        from tessera.tiling.settings import Settings
        from tessera.upscaling.batch import run_batch
        from tessera.upscaling.batch_report import report_problems
        from tessera.upscaling.finding import Naming, find_tasks
        from tessera.upscaling.journal import Journal

        default = Limits()
        devices = _devices(device)
        settings = Settings(
            outscale=None if outscale is None else Size.parse(outscale),
            precision=_precision(precision, fp32),
            engine=engine,
            device=devices[0],
            threads=threads,
            tile=tile,
            overlap=overlap,
            alpha=_alpha(alpha, alpha_upsampler),
            flat_lock=flat_lock,
            color_lock=color_lock,
            seamless=seamless,
            tta=tta,
            frames=frames,
            quality=quality,
            limits=Limits(
                max_pixels=_limit("--max-pixels", max_pixels, default.max_pixels),
                max_output_pixels=_limit("--max-output-pixels", max_output_pixels, default.max_output_pixels),
            ),
        )
        name = model_name(model, model_path, denoise, fast=fast)
        if dry_run and len(devices) > 1:
            raise UsageError(f"-g {device} with --dry-run: name one of the devices.")
        naming = Naming(output=output, suffix=suffix, extension=ext)
        _refuse_weights(names)
        journal = Journal(naming.journal_folder(names))
        tasks, ignored = find_tasks(names, naming, journal, recursive=recursive)
        if report is not None:
            _check_report(report, tasks, dry_run)
        if all(task.problem is not None for task in tasks):
            result = report_problems(tasks, name, ignored)
            for each in result.results:
                print_error(each.message)
        elif dry_run:
            from tessera.cli.forecast import print_forecast

            upscaler = _open(name, settings, offline)
            _announce(upscaler, tasks, overwrite=overwrite, verbose=verbose)
            print_forecast(tasks, upscaler, journal, overwrite, json_progress)
            return
        elif len(devices) > 1:
            from tessera.upscaling.devices import run_on_devices

            batch = device_batch(name, settings, offline, tasks, devices, journal.folder, overwrite, ignored)
            with _engine_errors_are_his(), _watcher(json_progress, len(tasks)) as watcher, stop.patiently():
                result = run_on_devices(
                    batch,
                    watcher=watcher,
                    stopped=lambda: stop.number is not None,
                    say=lambda line: print(make_printable(line), file=sys.stderr) if verbose else None,
                )
        else:
            upscaler = _open(name, settings, offline)
            _announce(upscaler, tasks, overwrite=overwrite, verbose=verbose)
            with _watcher(json_progress, len(tasks)) as watcher, stop.patiently():
                result = run_batch(
                    tasks,
                    upscaler,
                    journal,
                    ignored=ignored,
                    overwrite=overwrite,
                    watcher=watcher,
                    stopped=lambda: stop.number is not None,
                )
        _finish(result, naming, json_progress, show_traceback)
        if report is not None:
            _write_report(report, result)
        if stop.number is not None:
            print_error(f"stopped, {result.left} left to do; run the same command again to go on from here.")
            leave(128 + stop.number)
        if result.count("failed"):
            raise typer.Exit(1)


def _open(model: str, settings: Settings, offline: bool) -> Upscaler:
    from tessera.upscaling.upscaler import Upscaler

    with _engine_errors_are_his():
        return Upscaler(model, settings=settings, offline=offline)


def _announce(upscaler: Upscaler, tasks: Sequence[Task], *, overwrite: bool, verbose: bool) -> None:
    """Tell how much there is to do, which decides about the engine, and say what was decided."""
    from tessera.cli.forecast import pixels_of

    pixels = pixels_of(tasks, upscaler.settings)
    # What was made before does not take its time again; by name, since the journal is asked with the engine's.
    left = sum(overwrite or not task.output.exists() for task in tasks) / len(tasks)

    def on_plan(seconds: float) -> None:
        suggest_fast(upscaler, round(pixels * left), seconds * left)

    upscaler.expect(pixels, on_plan=on_plan if left else None)
    if verbose:
        with _engine_errors_are_his():
            for line in upscaler.plan_lines():
                print(make_printable(line), file=sys.stderr)


@contextmanager
def _engine_errors_are_his() -> Generator[None]:
    """-g or --engine asks for what this machine has not: that is wrong usage."""
    try:
        yield
    except OutOfMemoryError:
        raise
    except EngineError as error:
        raise UsageError(str(error)) from error


def _one_of(option: str, value: str, allowed: tuple[_Word, ...]) -> _Word:
    """Give the one of the allowed words that was written. Raises UsageError."""
    for word in allowed:
        if word == value:
            return word
    raise UsageError(f"{option} {value}: expected {', '.join(allowed[:-1])} or {allowed[-1]}.")


def _precision(precision: str, fp32: bool) -> Precision:
    if fp32 and precision == "fast":
        raise UsageError("--fp32 and --precision fast contradict each other; leave one out.")
    return "exact" if fp32 else _one_of("--precision", precision, ("exact", "auto", "fast"))


def _limit(option: str, value: int | None, default: int | None) -> int | None:
    if value is not None and value < 0:
        raise UsageError(f"{option} {value}: expected a number of pixels, or 0 for no limit.")
    return default if value is None else value or None


def _devices(text: str) -> list[str]:
    """The devices of a list such as "0,1"; a number is a GPU, -1 the processor."""
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise UsageError(f"-g {text}: expected a device, or several with commas between them, such as 0,1.")
    return ["cpu" if name == "-1" else f"cuda:{int(name)}" if name.isdecimal() else name for name in names]


def _alpha(alpha: str | None, alpha_upsampler: str | None) -> AlphaMode:
    if alpha_upsampler is None:
        return _one_of("--alpha", alpha or "auto", ("auto", "model", "lanczos"))
    if alpha is not None or alpha_upsampler not in ("realesrgan", "bicubic"):
        raise UsageError(f"--alpha_upsampler {alpha_upsampler}: expected realesrgan or bicubic, without --alpha.")
    return "model" if alpha_upsampler == "realesrgan" else "lanczos"


def _refuse_weights(names: Sequence[str]) -> None:
    """Catch joeyballentine's order of words, in which the model comes first."""
    for name in names:
        if name.lower().endswith((".pth", ".safetensors", ".param")) and Path(name).is_file():
            raise UsageError(f"{name} is a weights file, no picture; write -n {name}.")


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
    """Refuse before the work what could not be written after it."""
    if dry_run:
        raise UsageError("--report with --dry-run: nothing is done that could be reported; leave one out.")
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
    """Whether this is a device or a pipe, such as /dev/stdout, which is written to and must not be replaced."""
    return path.exists() and not path.is_file()


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}")


def _finish(result: BatchReport, naming: Naming, json_progress: bool, show_traceback: bool) -> None:
    """Print notes (equal ones once), tracebacks if asked for, and the line that sums up."""
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
        counts.append(f"{result.ignored} other files left alone")
    summary = f"{', '.join(counts)} in {duration(result.seconds)} with {result.model}; results in {naming.output}"
    print(make_printable(summary))
