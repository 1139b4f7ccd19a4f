"""`tessera upscale`: options in, one batch, one line out.

Option names follow inference_realesrgan.py where it has them (docs/upscale.md has the whole table).
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tessera.errors import TesseraError, UsageError

if TYPE_CHECKING:
    from tessera.batch import BatchReport, Naming, State, Task
    from tessera.settings import Settings
    from tessera.upscale import Forecast, Upscaler

app = typer.Typer(add_completion=False)

_INSTEAD = {
    "--face_enhance": "Faces are not treated apart. Leave it out.",
    "--pre_pad": "Borders need no padding here. Leave it out, or use --seamless for textures that repeat.",
    "--block": "The number of blocks is read from the weights file. Leave it out.",
    "--fps": "Videos are not read yet: extract the frames, upscale the folder, and join them again.",
}

_Opt = typer.Option
Inputs = Annotated[list[str] | None, typer.Argument(metavar="IN...", help="Pictures, folders, or patterns in quotes.")]
MoreInputs = Annotated[list[str] | None, _Opt("-i", "--input", help="The same, as Real-ESRGAN's users know it.")]
Output = Annotated[Path, _Opt("-o", "--output", help="A folder; or a file, when there is one input.")]
Model = Annotated[
    str | None,
    _Opt("-n", "--model-name", "--model_name", "--model", help="A name of `tessera models list`, a file, a mix."),
]
ModelPath = Annotated[str | None, _Opt("--model-path", "--model_path", help="A weights file.")]
OutScale = Annotated[
    str | None, _Opt("-s", "--outscale", help="A factor (2, 1.5), 1920x or x1080. [default: the model's]")
]
Denoise = Annotated[
    float | None, _Opt("-dn", "--denoise-strength", "--denoise_strength", help="0 to 1, for realesr-general-x4v3.")
]
Suffix = Annotated[str, _Opt("--suffix", help="NAME_out.EXT; empty for none.")]
Ext = Annotated[str, _Opt("--ext", help="auto (the input's), jpg, png, webp, tif, avif, gif, ppm.")]
Quality = Annotated[int | None, _Opt("--quality", help="1 to 100 for JPEG, WebP (95) and AVIF (90).")]
PrecisionOption = Annotated[
    str, _Opt("--precision", help="exact (fp32), auto or fast (bf16 where the processor has it).")
]
Fp32 = Annotated[bool, _Opt("--fp32", help="The same as --precision exact.")]
EngineOption = Annotated[str, _Opt("--engine", help="auto, pytorch or openvino.")]
Device = Annotated[str, _Opt("-g", "--gpu-id", "--gpu_id", "--device", help="cpu, 0 (the first GPU), 1, mps.")]
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
FlatLock = Annotated[bool, _Opt("--flat-lock/--no-flat-lock", help="Flat areas keep their exact colour.")]
ColorLock = Annotated[bool, _Opt("--color-lock", help="Give the input's low-frequency colours back.")]
Seamless = Annotated[bool, _Opt("--seamless", help="For textures that repeat.")]
Tta = Annotated[bool, _Opt("--tta", "-x", help="Mean over eight flips and turns: 8 times slower, a little better.")]
Frames = Annotated[bool, _Opt("--frames", help="All frames of a GIF or WebP animation.")]
Recursive = Annotated[bool, _Opt("-r", "--recursive", help="Folders below, too; the tree is kept.")]
Overwrite = Annotated[bool, _Opt("--overwrite", help="Do again what is done; replace files that are not ours.")]
ReportFile = Annotated[Path | None, _Opt("--report", help="Write a JSON report here.")]
JsonProgress = Annotated[bool, _Opt("--json-progress", help="Progress as JSON lines on standard output.")]
DryRun = Annotated[bool, _Opt("--dry-run", help="Say what it would take and make; write nothing.")]
Offline = Annotated[bool, _Opt("--offline", help="Never download weights.")]
MaxPixels = Annotated[int | None, _Opt("--max-pixels", help="Largest input, in pixels; 0 lifts it. [default: 2^28]")]
MaxOutput = Annotated[
    int | None, _Opt("--max-output-pixels", help="Largest output, in pixels; 0 lifts it. [default: 2^32]")
]
Traceback = Annotated[bool, _Opt("--traceback", help="Show where in the code a bug happened.")]
Unsupported = Annotated[list[str] | None, _Opt(*_INSTEAD, hidden=True)]


@app.command(context_settings={"help_option_names": ["-h", "--help"]})
def upscale(
    inputs: Inputs = None,
    more_inputs: MoreInputs = None,
    output: Output = Path("results"),
    model: Model = None,
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
    show_traceback: Traceback = False,
) -> None:
    """Enlarge pictures: `tessera upscale photo.jpg` writes results/photo_out.jpg, four times as large.

    What is done is written down in the output folder, so the same command run again goes on where it stopped. Exit
    code: 0 all done, 1 some failed, 2 wrong usage, 130 or 143 stopped.
    """
    from tessera.batch import Naming, find_tasks, journal_for, run_batch
    from tessera.picture import Limits
    from tessera.settings import OutScale as Size
    from tessera.settings import Settings

    names = [*(inputs or ()), *(more_inputs or ())]
    if not names:
        raise UsageError("Nothing to upscale: name pictures or folders, as in `tessera upscale photo.jpg`.")
    default = Limits()
    settings = Settings(
        outscale=None if outscale is None else Size.parse(outscale),
        precision=_precision(precision, fp32),
        engine=_one_of("--engine", engine, ("auto", "pytorch", "openvino")),
        device=_device(device),
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
            input_pixels=default.input_pixels if max_pixels is None else max_pixels or None,
            output_pixels=default.output_pixels if max_output_pixels is None else max_output_pixels or None,
        ),
    )
    naming = Naming(output=output, suffix=suffix, extension=ext)
    tasks, ignored = find_tasks(names, naming, recursive=recursive)
    with _stop_signals() as stop:
        upscaler = _open(_model_name(model, model_path, denoise), settings, offline)
        if dry_run:
            _print_forecast(tasks, upscaler)
            return
        with _watcher(json_progress, len(tasks)) as watcher:
            result = run_batch(
                tasks,
                upscaler,
                journal_for(names, naming),
                ignored=ignored,
                overwrite=overwrite,
                watcher=watcher,
                stopped=lambda: bool(stop),
            )
    if report is not None:
        _write_report(report, result)
    _finish(result, naming, json_progress, show_traceback, stop)


def _open(model: str, settings: Settings, offline: bool) -> Upscaler:
    from tessera.upscale import Upscaler

    return Upscaler(model, settings=settings, offline=offline)


def _one_of(option: str, value: str, allowed: tuple[str, ...]) -> Any:
    if value not in allowed:
        raise UsageError(f"{option} {value}: expected {', '.join(allowed[:-1])} or {allowed[-1]}.")
    return value


def _precision(precision: str, fp32: bool) -> Any:
    return "exact" if fp32 else _one_of("--precision", precision, ("exact", "auto", "fast"))


def _device(text: str) -> str:
    if text.isdecimal():
        return f"cuda:{int(text)}"
    return "cpu" if text == "-1" else text


def _alpha(alpha: str | None, alpha_upsampler: str | None) -> Any:
    if alpha_upsampler is not None:
        meaning = {"realesrgan": "model", "bicubic": "lanczos"}
        if alpha is not None or alpha_upsampler not in meaning:
            raise UsageError(f"--alpha_upsampler {alpha_upsampler}: expected realesrgan or bicubic, without --alpha.")
        return meaning[alpha_upsampler]
    return _one_of("--alpha", alpha or "auto", ("auto", "model", "lanczos"))


def _model_name(model: str | None, model_path: str | None, denoise: float | None) -> str:
    from tessera.zoo import DEFAULT_MODEL, find_model

    if model_path is not None:
        if denoise is not None:
            raise UsageError(
                "-dn mixes two published models: use it with -n realesr-general-x4v3, without --model_path."
            )
        if not Path(model_path).exists():
            raise UsageError(f"--model_path {model_path}: there is no such file.")
        return model_path
    name = model or DEFAULT_MODEL
    if denoise is None:
        return name
    if not 0 <= denoise <= 1:
        raise UsageError(f"-dn {denoise}: expected 0 (keeps noise) to 1 (removes it).")
    general, wdn = "realesr-general-x4v3", "realesr-general-wdn-x4v3"
    if find_model(name).name != general:
        raise UsageError(f"-dn works with -n {general} only; for other pairs mix files: -n A.pth@0.2+B.pth@0.8.")
    return general if denoise == 1 else f"{general}@{denoise}+{wdn}@{round(1 - denoise, 9)}"


@contextmanager
def _stop_signals() -> Generator[list[int]]:
    """Collect SIGINT and SIGTERM instead of dying from them; the second one of either kills."""
    received: list[int] = []

    def note(number: int, frame: object) -> None:
        received.append(number)
        signal.signal(number, signal.SIG_DFL)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _watcher(json_progress: bool, files: int) -> Generator[Any]:
    from tessera.cli.progress import BarWatcher, JsonWatcher

    if json_progress:
        yield JsonWatcher(files)
    elif sys.stderr.isatty():
        with BarWatcher(files) as bar:
            yield bar
    else:
        yield None


def _print_forecast(tasks: list[Task], upscaler: Upscaler) -> None:
    from tessera.batch import forecasts

    seconds_each: dict[int, float] = {}
    total = 0.0
    failed = 0
    for task, found in forecasts(tasks, upscaler):
        if isinstance(found, TesseraError):
            failed += 1
            typer.echo(f"{task.source}: would fail: {found}")
            continue
        forecast: Forecast = found
        if forecast.tile not in seconds_each:
            seconds_each[forecast.tile] = (
                upscaler.seconds_per_tile(min(forecast.tile, 256)) * (max(forecast.tile, 256) / 256) ** 2
            )
        seconds = seconds_each[forecast.tile] * forecast.tiles
        total += seconds
        typer.echo(
            f"{task.source} -> {task.output}: {forecast.width}x{forecast.height} ->"
            f" {forecast.out_width}x{forecast.out_height}, {forecast.tiles} tiles of {forecast.tile},"
            f" about {_duration(seconds)}, {forecast.memory_bytes / 2**20:,.0f} MiB of memory,"
            f" up to {forecast.file_bytes / 1e6:,.1f} MB on the disk"
        )
    typer.echo(f"{len(tasks) - failed} pictures would take about {_duration(total)}; nothing was written.")
    if failed:
        raise typer.Exit(1)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _write_report(path: Path, result: BatchReport) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(json.dumps(result.as_json(), indent=2) + "\n", encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise TesseraError(f"{path}: the report cannot be written: {error.strerror}.") from None


def _finish(result: BatchReport, naming: Naming, json_progress: bool, show_traceback: bool, stop: list[int]) -> None:
    for entry in result.results:
        for note in entry.outcome.notes if entry.outcome is not None else ():
            print(f"{entry.source}: {note}", file=sys.stderr)
        if entry.state == "failed":
            print(f"tessera: {entry.message}", file=sys.stderr)
            if show_traceback and entry.defect is not None:
                traceback.print_exception(entry.defect, file=sys.stderr)
    counts = [f"{result.count('done')} done"]
    words: tuple[tuple[State, str], ...] = (("skipped", "already done"), ("failed", "failed"), ("dropped", "dropped"))
    for state, word in words:
        if result.count(state):
            counts.append(f"{result.count(state)} {word}")
    if result.ignored:
        counts.append(f"{result.ignored} other files left alone")
    summary = f"{', '.join(counts)} in {_duration(result.seconds)} with {result.model}; results in {naming.output}"
    if json_progress:
        print(
            json.dumps({"event": "summary", **{k: v for k, v in result.as_json().items() if k != "files"}}), flush=True
        )
    else:
        typer.echo(summary)
    if stop or result.interrupted:
        print("tessera: stopped; run the same command again to go on from here.", file=sys.stderr)
        raise typer.Exit(128 + (stop[0] if stop else signal.SIGINT))
    if result.count("failed"):
        raise typer.Exit(1)
