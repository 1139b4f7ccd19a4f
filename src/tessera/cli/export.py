"""`tessera export`: write a model for other programs, verified before it gets its name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from tessera.cli import make_printable
from tessera.cli.shared_options import Build, Offline, OptionalModel, Overwrite
from tessera.deploy.settings import FormatName, Precision
from tessera.errors import UsageError

if TYPE_CHECKING:
    from tessera.deploy.checking import ExportDifference

app = typer.Typer(add_completion=False, rich_markup_mode=None)

_Opt = typer.Option
Output = Annotated[Path, _Opt("-o", "--output", help="Output file; the extension selects the format.")]
Format = Annotated[FormatName | None, _Opt("--format", help="File format. [default: by the extension]")]
StoredPrecision = Annotated[
    str | None,
    _Opt(
        "--precision",
        metavar=f"[{'|'.join(get_args(Precision))}]",
        help="Type of the stored weights; for int8: `tessera quantize`. [default: fp32]",
        autocompletion=lambda: list(get_args(Precision)),
    ),
]
Shape = Annotated[
    str | None, _Opt("--shape", help="dynamic, or HEIGHTxWIDTH for a fixed input size. [default: dynamic]")
]
Opset = Annotated[int | None, _Opt("--opset", help="ONNX opset, 11 to 22. [default: 17]")]
Check = Annotated[Path | None, _Opt("--check", help="Folder of pictures to compare on, besides the built-in ones.")]


@app.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
def export(
    output: Output,
    model: OptionalModel = None,
    format_name: Format = None,
    precision: StoredPrecision = None,
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
