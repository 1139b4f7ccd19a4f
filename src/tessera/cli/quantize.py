"""`tessera quantize`: an int8 model, its loss measured and limited by a budget."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tessera.cli import make_printable, print_progress
from tessera.cli.reports import check_reports, write_report
from tessera.cli.shared_options import Build, Offline, OptionalModel, Overwrite
from tessera.deploy.int8_settings import Int8Format, Method
from tessera.errors import UsageError

if TYPE_CHECKING:
    from tessera.deploy.build_file import CalibrationConfig
    from tessera.deploy.int8_settings import Int8Settings
    from tessera.deploy.quantizing import QuantizationReport, Quantized

app = typer.Typer(add_completion=False, rich_markup_mode=None)

_Opt = typer.Option
Output = Annotated[
    Path | None,
    _Opt("-o", "--output", help="Output file, .xml (OpenVINO) or .onnx. [default: where --precision fast looks]"),
]
Calibration = Annotated[Path | None, _Opt("--calibration", help="Folder of pictures like those to upscale.")]
MaxDrop = Annotated[float, _Opt("--max-drop", min=0, help="Largest allowed loss of PSNR to the ground truth, in dB.")]
Format = Annotated[Int8Format | None, _Opt("--format", help="File format. [default: by the extension]")]
MethodOption = Annotated[Method | None, _Opt("--method", help="How ranges are estimated. [default: max]")]
Percentile = Annotated[
    float | None, _Opt("--percentile", min=50.01, max=100, help="Percentile for --method percentile. [default: 99.99]")
]
PerChannel = Annotated[
    bool | None,
    _Opt("--per-channel/--per-tensor", help="Weight scales per output channel or per layer. [default: per channel]"),
]
Evaluation = Annotated[
    Path | None, _Opt("--eval", help="Evaluation pictures. [default: a held-out quarter of --calibration]")
]
Layers = Annotated[int | None, _Opt("--layers", min=0, help="Maximum number of layers in fp32. [default: no limit]")]
Limit = Annotated[
    int | None, _Opt("--limit", min=8, max=1024, help="Maximum number of calibration pictures. [default: 24]")
]
Size = Annotated[int, _Opt("--size", min=16, max=2048, help="Input side of the measured crop of each picture.")]
Report = Annotated[
    Path | None, _Opt("--report", help="JSON file for the cost of each unit and the layers kept in fp32.")
]


@app.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
def quantize(
    model: OptionalModel = None,
    output: Output = None,
    calibration: Calibration = None,
    max_drop: MaxDrop = 0.2,
    format_name: Format = None,
    method: MethodOption = None,
    percentile: Percentile = None,
    per_channel: PerChannel = None,
    evaluation: Evaluation = None,
    layers: Layers = None,
    limit: Limit = None,
    size: Size = 96,
    report: Report = None,
    build: Build = None,
    overwrite: Overwrite = False,
    offline: Offline = False,
) -> None:
    """Write a model in int8, with the most costly layers left in fp32 until the measured loss fits the budget.

    The loss of PSNR and SSIM (at most 0.02) is measured on held-out pictures: downscaled by bicubic, upscaled by the
    model, compared with the original. Pictures in both sets are refused. Use the file with `tessera upscale -n FILE`.
    Exit codes: 0 written and within the budget, 1 not written, 2 wrong usage.
    """
    from tessera.deploy.build_file import BuildConfig, CalibrationConfig, read_build
    from tessera.deploy.quantizing import OverBudgetError
    from tessera.deploy.quantizing import quantize as quantize_model
    from tessera.zoo.int8_file import list_int8_paths
    from tessera.zoo.models import load_model

    asked = BuildConfig(calibration=CalibrationConfig(method="max", count=24)) if build is None else read_build(build)
    given = asked.calibration
    name, folder = model or asked.model, calibration or (Path(given.pictures) if given.pictures else None)
    if not name:
        raise UsageError("Nothing to quantize: name a model, as in `tessera quantize realesrgan-x4plus`.")
    if folder is None:
        raise UsageError("int8 needs calibration pictures: --calibration FOLDER.")
    check_reports({"--report": report})
    settings = _choose_settings(
        given,
        *(output, format_name, method, percentile),
        per_channel=per_channel,
        max_drop=max_drop,
        layers=layers,
        limit=limit,
        size=size,
    )
    loaded = load_model(name, offline=offline)
    if output is None:
        output = _create_folder(list_int8_paths(loaded)[-1])
    try:
        done = quantize_model(
            loaded, output, settings, folder, evaluation=evaluation, overwrite=overwrite, told=print_progress
        )
    except OverBudgetError as error:  # the report shows which layers cost the most
        _write_findings(report, error.found)
        raise
    _write_findings(report, done)
    for line in _format_lines(done):
        typer.echo(make_printable(line))


def _choose_settings(
    given: CalibrationConfig,
    output: Path | None,
    format_name: Int8Format | None,
    method: Method | None,
    percentile: float | None,
    *,
    per_channel: bool | None,
    max_drop: float,
    layers: int | None,
    limit: int | None,
    size: int,
) -> Int8Settings:
    """The settings of the command line over those of the build file. Raises UsageError for options that contradict."""
    from tessera.deploy.int8_settings import Int8Settings, find_format
    from tessera.zoo.int8_file import ENDING

    if output is None and format_name not in (None, "openvino"):
        raise UsageError(f"--format {format_name}: name the output with -o; only OpenVINO files have a default place.")
    chosen = method or given.method
    if percentile is not None and chosen != "percentile":
        raise UsageError(f"--percentile {percentile:g}: applies to --method percentile only, found --method {chosen}.")
    return Int8Settings(
        format=find_format(output or Path(f"model{ENDING}"), format_name),
        method=chosen,
        percentile=percentile or Int8Settings().percentile,
        per_channel=given.per_channel if per_channel is None else per_channel,
        max_drop_db=max_drop,
        most_kept=layers,
        pictures=limit or min(max(given.count, 8), 1024),
        eval_side=size,
    )


def _create_folder(output: Path) -> Path:
    """Create the folder of an output, if it is missing -> the output. Raises UsageError when this fails."""
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"{output.parent}: cannot create this folder ({error.strerror}). Name another output with -o."
        ) from error
    return output


def _write_findings(report: Path | None, found: QuantizationReport) -> None:
    from tessera.deploy.quantizing import describe_findings

    write_report(report, json.dumps(describe_findings(found), indent=1) + "\n")


def _format_lines(done: Quantized) -> list[str]:
    from tessera.deploy.sensitivity import compute_shares

    drop, share = done.drop, compute_shares(done.sensitivities)
    most = ", ".join(f"{each.unit.name} {share[each.unit.name]:.0%}" for each in done.sensitivities[:5])
    kept = f"{len(done.kept)} of {done.layers} layers in fp32, so that the loss fits: {', '.join(done.kept)}"
    files = " and ".join(path.name if number else str(path) for number, path in enumerate(done.paths))
    return [
        f"  PSNR {drop.original.psnr_db:.3f} -> {drop.reduced.psnr_db:.3f} dB ({-drop.psnr_db:+.3f}), SSIM"
        f" {drop.original.ssim:.4f} -> {drop.reduced.ssim:.4f} ({-drop.ssim:+.4f}), on {drop.pictures} held out, Y",
        f"  to the original {drop.fidelity_db:.1f} dB",
        f"  loss of each unit alone, most costly first: {most}",
        f"  kept: {kept if done.kept else 'nothing, all layers are int8'}",
        f"{files}: {done.bytes:,} bytes, int8, run with {done.runtime}",
    ]
