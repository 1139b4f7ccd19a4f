"""`tessera upscale`: options in, one batch, one line out.

Options for settings are derived from `tessera.tiling.settings`. Their names follow inference_realesrgan.py where it has
them (docs/howto/migrate.md has the whole table).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from tessera.cli.choosing import model_name
from tessera.cli.migration import MigratingCommand
from tessera.cli.shared_options import MaxPixels, Offline, Recursive
from tessera.cli.stopping import stop_signals
from tessera.errors import UsageError
from tessera.images.formats import describe_extensions, describe_qualities, list_writable_extensions
from tessera.tiling import settings as declarations
from tessera.tiling.settings import AlphaMode, Settings, find_setting

if TYPE_CHECKING:
    from tessera.engines.engine import Precision

app = typer.Typer(add_completion=False, rich_markup_mode=None)

_Opt = typer.Option


def _declare_option(name: str, *names: str, help: str | None = None) -> Any:
    """The option of a setting, with its declared help; without names it is the setting's own."""
    own = f"--{name.replace('_', '-')}"
    return _Opt(*(names or (own,)), help=help or find_setting(name).help)


Inputs = Annotated[list[str] | None, typer.Argument(metavar="IN", help="Pictures, folders, or quoted patterns.")]
MoreInputs = Annotated[list[str] | None, _Opt("-i", "--input", help="Alias of IN, compatible with Real-ESRGAN.")]
Output = Annotated[str, _Opt("-o", "--output", help="Output folder; or a file, for a single input.")]
Model = Annotated[
    str | None,
    _Opt("-n", "--model", "--model-name", "--model_name", help="Model name, weights file, or blend A@0.5+B@0.5."),
]
Fast = Annotated[
    bool,
    _Opt(
        "--fast",
        help="Alias of -n tessera-x4: many times faster than the default model; smooths skin, hair and small text.",
    ),
]
ModelPath = Annotated[str | None, _Opt("--model-path", "--model_path", help="A weights file.")]
OutScale = Annotated[str | None, _declare_option("outscale", "-s", "--outscale")]
Denoise = Annotated[
    float | None,
    _Opt("-dn", "--denoise-strength", "--denoise_strength", help="0 to 1, for realesr-general-x4v3."),
]
Suffix = Annotated[str, _Opt("--suffix", help="Suffix added to output names.")]
Ext = Annotated[
    str,
    _Opt(
        "--ext",
        help=f"Output format: {describe_extensions()}; auto: the input's.",
        autocompletion=lambda: ["auto", *list_writable_extensions()],
    ),
]
Quality = Annotated[
    declarations.QualitySetting, _declare_option("quality", help=f"1 to 100, for {describe_qualities()}.")
]
PrecisionOption = Annotated[declarations.PrecisionSetting, _declare_option("precision")]
Fp32 = Annotated[bool, _Opt("--fp32", help="Alias of --precision exact.")]
EngineOption = Annotated[declarations.EngineSetting, _declare_option("engine")]
Threads = Annotated[declarations.ThreadsSetting, _declare_option("threads")]
Device = Annotated[
    str,
    _declare_option(
        "device",
        "-g",
        "--device",
        "--gpu-id",
        "--gpu_id",
        help="auto (fastest), cpu, vulkan (any GPU), mps, 0 (CUDA); several: 0,1.",
    ),
]
Tile = Annotated[declarations.TileSetting, _declare_option("tile", "-t", "--tile")]
Overlap = Annotated[declarations.OverlapSetting, _declare_option("overlap", "--overlap", "--tile-pad", "--tile_pad")]
Alpha = Annotated[AlphaMode | None, _declare_option("alpha")]
AlphaUpsampler = Annotated[
    Literal["realesrgan", "bicubic"] | None,
    _Opt("--alpha-upsampler", "--alpha_upsampler", help="Alias of --alpha, compatible with Real-ESRGAN."),
]
FlatLock = Annotated[declarations.FlatLockSetting, _declare_option("flat_lock", "--flat-lock/--no-flat-lock")]
ColorLock = Annotated[declarations.ColorLockSetting, _declare_option("color_lock")]
KeepColorNoise = Annotated[declarations.KeepColorNoiseSetting, _declare_option("keep_color_noise")]
Seamless = Annotated[declarations.SeamlessSetting, _declare_option("seamless")]
Tta = Annotated[declarations.TtaSetting, _declare_option("tta", "--tta", "-x")]
Frames = Annotated[declarations.FramesSetting, _declare_option("frames")]
KeepTimes = Annotated[declarations.KeepTimesSetting, _declare_option("keep_times")]
Overwrite = Annotated[bool, _Opt("--overwrite", help="Re-process finished files and overwrite existing ones.")]
ReportFile = Annotated[Path | None, _Opt("--report", help="Write a JSON report to this file.")]
JsonProgress = Annotated[bool, _Opt("--json-progress", help="Progress as JSON lines on standard output.")]
DryRun = Annotated[bool, _Opt("--dry-run", help="Show expected outputs, time and memory; write nothing.")]
MaxOutput = Annotated[
    int | None, _Opt("--max-output-pixels", help="Largest output in pixels; 0 = no limit. [default: 2^32]")
]
Verbose = Annotated[bool, _Opt("-v", "--verbose", help="Show the plan: engine, tiles, measured speed.")]
Traceback = Annotated[bool, _Opt("--traceback", help="Show the traceback of bugs.")]


@app.command(cls=MigratingCommand, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
def upscale(
    inputs: Inputs = None,
    more_inputs: MoreInputs = None,
    output: Output = "results",
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
        from tessera.cli.upscale_run import Request, run_request
        from tessera.images.picture_format import Limits
        from tessera.upscaling.finding import Naming

        default = Limits()
        devices = _parse_devices(device)
        settings = Settings(
            outscale=None if outscale is None else declarations.OutScale.parse(outscale),
            precision=_choose_precision(precision, fp32),
            engine=engine,
            device=devices[0],
            threads=threads,
            tile=tile,
            overlap=overlap,
            alpha=_choose_alpha(alpha, alpha_upsampler),
            flat_lock=flat_lock,
            color_lock=color_lock,
            keep_color_noise=keep_color_noise,
            seamless=seamless,
            tta=tta,
            frames=frames,
            quality=quality,
            keep_times=keep_times,
            limits=Limits(
                max_pixels=_parse_limit("--max-pixels", max_pixels, default.max_pixels),
                max_output_pixels=_parse_limit("--max-output-pixels", max_output_pixels, default.max_output_pixels),
            ),
        )
        run_request(
            names,
            Request(
                naming=Naming(
                    output=Path(output), suffix=suffix, extension=ext, is_folder=output.endswith(("/", os.sep))
                ),
                model=model_name(model, model_path, denoise, fast=fast),
                settings=settings,
                devices=tuple(devices),
                recursive=recursive,
                overwrite=overwrite,
                report=report,
                dry_run=dry_run,
                offline=offline,
                json_progress=json_progress,
                verbose=verbose,
                show_traceback=show_traceback,
            ),
            stop,
        )


def _choose_precision(precision: Precision, fp32: bool) -> Precision:
    if fp32 and precision == "fast":
        raise UsageError("--fp32 and --precision fast contradict each other; leave one out.")
    return "exact" if fp32 else precision


def _parse_limit(option: str, value: int | None, default: int | None) -> int | None:
    if value is not None and value < 0:
        raise UsageError(f"{option} {value}: expected a number of pixels, or 0 for no limit.")
    return default if value is None else value or None


def _parse_devices(text: str) -> list[str]:
    """The devices of a list such as "0,1"; a number is a GPU, -1 the CPU."""
    from tessera.engines.devices import parse_device

    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise UsageError(f"--device {text}: expected a device, or several separated by commas, such as 0,1.")
    return [parse_device(name) for name in names]


def _choose_alpha(alpha: AlphaMode | None, alpha_upsampler: str | None) -> AlphaMode:
    if alpha_upsampler is None:
        return alpha or "auto"
    if alpha is not None:
        raise UsageError("--alpha_upsampler and --alpha contradict each other; leave one out.")
    return "model" if alpha_upsampler == "realesrgan" else "lanczos"
