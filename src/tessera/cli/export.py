"""`tessera export`: write a model for other programs, verified before it gets its name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tessera.cli import make_printable
from tessera.errors import UsageError

if TYPE_CHECKING:
    from tessera.deploy.checking import ExportDifference

app = typer.Typer(add_completion=False, rich_markup_mode=None)

_Opt = typer.Option
Model = Annotated[str | None, typer.Argument(metavar="[MODEL]", help="Model name, weights file, or blend A@0.5+B@0.5.")]
Output = Annotated[Path, _Opt("-o", "--output", help="Output file; the extension selects the format.")]
FormatName = Annotated[
    str | None, _Opt("--format", help="onnx, openvino, torchscript, ncnn or safetensors. [default: by the extension]")
]
Precision = Annotated[
    str | None, _Opt("--precision", help="Type of the stored weights: fp32, fp16 or bf16. [default: fp32]")
]
Shape = Annotated[
    str | None, _Opt("--shape", help="dynamic, or HEIGHTxWIDTH for a fixed input size. [default: dynamic]")
]
Opset = Annotated[int | None, _Opt("--opset", help="ONNX opset, 11 to 22. [default: 17]")]
Check = Annotated[Path | None, _Opt("--check", help="Folder of pictures to compare on, besides the built-in ones.")]
Build = Annotated[Path | None, _Opt("--build", help="Build file (.toml) with model, precision and shape.")]
Overwrite = Annotated[bool, _Opt("--overwrite", help="Overwrite an existing output file.")]
Offline = Annotated[bool, _Opt("--offline", help="Never download; print where to put the file instead.")]


@app.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
def export(
    output: Output,
    model: Model = None,
    format_name: FormatName = None,
    precision: Precision = None,
    shape: Shape = None,
    opset: Opset = None,
    check: Check = None,
    build: Build = None,
    overwrite: Overwrite = False,
    offline: Offline = False,
) -> None:
    """Export a model to ONNX, OpenVINO, TorchScript, ncnn or safetensors, and verify the file.

    The file is run and compared with PyTorch fp32 on a built-in chart, on photographs and on your pictures (--check); a
    file that differs too much is deleted. Use exported files with `tessera upscale -n FILE`. Exit codes: 0 written and
    verified, 1 failed, 2 wrong usage.
    """
    from tessera.deploy.build_file import read_build
    from tessera.deploy.exporting import export as export_model
    from tessera.deploy.settings import parse_settings
    from tessera.zoo.models import load_model

    asked = None if build is None else read_build(build)
    name = model or ("" if asked is None else asked.model)
    if not name:
        raise UsageError("Nothing to export: name a model, as in `tessera export realesrgan-x4plus -o model.onnx`.")
    settings = parse_settings(
        output,
        format_name=format_name,
        precision=precision or ("fp32" if asked is None else asked.precision),
        shape=shape or ("dynamic" if asked is None or asked.shape is None else "x".join(map(str, asked.shape))),
        opset=opset,
    )
    loaded = load_model(name, offline=offline)
    done = export_model(loaded, output, settings, check=check, overwrite=overwrite)
    for each in done.differences:
        typer.echo(make_printable(_format_line(each)))
    files = " and ".join(path.name if number else str(path) for number, path in enumerate(done.paths))
    typer.echo(make_printable(f"{files}: {done.bytes:,} bytes, {settings.precision}, run with {done.runtime}"))
    if not settings.form.has_metadata:
        license = loaded.license or "unknown"
        typer.echo(
            f"note: {settings.form.called}'s files have no room for metadata; these weights' license is {license}."
        )


def _format_line(found: ExportDifference) -> str:
    if found.largest_levels == 0:
        return f"  {found.picture}: identical"
    return (
        f"  {found.picture}: largest difference {found.largest_levels:.3g} levels of 255, mean"
        f" {found.mean_levels:.2g}, PSNR {found.psnr_db:.1f} dB"
    )
