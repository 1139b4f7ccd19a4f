"""`tessera npz`: convert pictures to and from the NumPy archives of accelerator tools."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from tessera.cli import make_printable
from tessera.cli.shared_options import Model, Offline
from tessera.errors import UsageError
from tessera.wording import format_count

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    help="Convert pictures to and from the NumPy archives of accelerator tools: input_0 and output_0.",
)

Output = Annotated[Path, typer.Option("-o", "--output", help="Output folder.")]


@app.command()
def pack(
    folder: Annotated[Path, typer.Argument(metavar="PICTURES", help="Folder of pictures.")],
    output: Output,
    size: Annotated[str | None, typer.Option("--size", help="Resize to HEIGHTxWIDTH, ignoring the aspect.")] = None,
) -> None:
    """Write an archive per picture (`input_0`: RGB, channels first, 8 bits), and datalist.txt with their paths."""
    from tessera.deploy.npz import LIST_NAME
    from tessera.deploy.npz import pack as pack_folder

    made = pack_folder(folder, output, size=None if size is None else _parse_size(size))
    typer.echo(make_printable(f"{format_count(len(made), 'archive')} and {LIST_NAME} in {output}"))


@app.command()
def unpack(
    folder: Annotated[Path, typer.Argument(metavar="ARCHIVES", help="Folder of archives with results.")],
    output: Output,
    suffix: Annotated[str, typer.Option("--suffix", help="Suffix added to output names.")] = "",
) -> None:
    """Write a PNG per archive (`output_0`: RGB, channels first, [0, 1]; clipped and rounded)."""
    from tessera.deploy.npz import unpack as unpack_folder

    if re.search(r"[/\\\x00]", suffix):
        raise UsageError(f"--suffix {suffix!r}: expected text without path separators.")
    made = unpack_folder(folder, output, suffix=suffix)
    typer.echo(make_printable(f"{format_count(len(made), 'picture')} in {output}"))


@app.command()
def run(
    model: Model,
    folder: Annotated[Path, typer.Argument(metavar="ARCHIVES", help="Folder of archives with inputs.")],
    output: Output,
    offline: Offline = False,
) -> None:
    """Run a model on archives of inputs as an accelerator would: fp32, whole pictures, `output_0`."""
    from tessera.deploy.npz import run_model
    from tessera.engines.opening import open_engine
    from tessera.zoo.models import load_model

    loaded = load_model(model, offline=offline)
    if (loaded.config.in_channels, loaded.config.out_channels) != (3, 3):
        raise UsageError(
            f"{loaded.name}: archives hold RGB pictures; expected a model with 3 input and 3 output channels."
        )
    engine = open_engine(loaded, "exact")
    made = run_model(engine.run, folder, output, multiple=loaded.config.multiple)
    typer.echo(make_printable(f"{format_count(len(made), 'archive')} in {output}"))


def _parse_size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{1,5})[xX](\d{1,5})", text)
    if match is None or 0 in (int(match[1]), int(match[2])):
        raise UsageError(f"--size {text}: expected HEIGHTxWIDTH in pixels, such as 128x128.")
    return int(match[1]), int(match[2])
