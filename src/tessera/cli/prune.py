"""`tessera prune`: a network with fewer blocks, those that add least on one's own pictures taken out."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tessera.cli import print_progress, printable
from tessera.cli.reports import check_reports, write_report
from tessera.errors import UsageError

if TYPE_CHECKING:
    from tessera.pruning.cutting import Pruned

app = typer.Typer(add_completion=False, rich_markup_mode=None)

_Opt = typer.Option
Model = Annotated[str, typer.Argument(metavar="MODEL", help="A name of `tessera models list`, a file, or a mix.")]
Blocks = Annotated[int, _Opt("--blocks", min=1, help="How many blocks stay.")]
Calibration = Annotated[
    Path, _Opt("--calibration", help="Pictures like those that you will enlarge: a folder, a list or a store.")
]
Output = Annotated[Path, _Opt("-o", "--output", help="The weights file to write: NAME.safetensors.")]
Pictures = Annotated[int, _Opt("--pictures", min=1, max=1024, help="Pictures that are looked at, at most.")]
Size = Annotated[int, _Opt("--size", min=16, max=1024, help="Side of what is looked at in the middle of each.")]
Report = Annotated[Path | None, _Opt("--report", help="Write here, as JSON, what each block adds and which went when.")]
Overwrite = Annotated[bool, _Opt("--overwrite", help="Replace the output if it exists.")]
Offline = Annotated[bool, _Opt("--offline", help="Never download weights; say instead where they belong.")]


@app.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}, no_args_is_help=True)
def prune(
    model: Model,
    blocks: Blocks,
    calibration: Calibration,
    output: Output,
    pictures: Pictures = 8,
    size: Size = 64,
    report: Report = None,
    overwrite: Overwrite = False,
    offline: Offline = False,
) -> None:
    """Take the blocks out of an RRDBNet that add least: `tessera prune MODEL --blocks 8 --calibration DIR -o FILE`.

    Each block, and each dense block inside, is left out alone, and the output is compared with the whole network's.
    Then the least important goes, what is left is measured anew, and so on. The file is a beginning for
    `tessera train`, which makes good what was lost. Exit code: 0 written, 1 not, 2 wrong usage.
    """
    _check_output(output, overwrite=overwrite)
    check_reports({"--report": report})
    from tessera.dataset.sources import list_pictures
    from tessera.pruning.calibration import read_middles
    from tessera.pruning.cutting import origin_of, prunable
    from tessera.pruning.cutting import prune as prune_network
    from tessera.weights.files import save_weights
    from tessera.zoo.models import load_model

    loaded = load_model(model, offline=offline)
    config = prunable(loaded)
    middles = read_middles(list_pictures([calibration]).gt, config, pictures=pictures, side=size)

    def told(out: int, total: int) -> None:
        print_progress(f"block {out} of {total} is out")

    pruned = prune_network(loaded, blocks, middles, on_drop=told)
    save_weights(output, pruned.config, pruned.state, metadata=origin_of(loaded, pruned))
    write_report(report, json.dumps(_as_values(pruned), indent=1) + "\n")
    for line in _lines(pruned):
        typer.echo(line)
    looked = f"{sum(map(len, middles))} pictures of {size} pixels a side"
    typer.echo(
        printable(
            f"{output}: {len(pruned.kept)} of {config.blocks} blocks of {loaded.name},"
            f" {pruned.config.multiply_adds(64, 64) / config.multiply_adds(64, 64):.2f} of its cost,"
            f" {pruned.psnr_db:.1f} dB to it on {looked}."
        )
    )


def _check_output(output: Path, *, overwrite: bool) -> None:
    from tessera.weights.described_file import check_name

    check_name(output)
    if not output.absolute().parent.is_dir():
        raise UsageError(f"-o {output}: there is no folder {output.absolute().parent}; make it first.")
    if os.path.lexists(output) and not overwrite:
        raise UsageError(f"{output} exists already. Choose another name, or replace it with --overwrite.")


def _lines(pruned: Pruned) -> Iterator[str]:
    """A row for each block: PSNR to the whole network without it, without each dense block, and when it went."""
    gone = {each.block: (number, each.psnr_db) for number, each in enumerate(pruned.dropped, 1)}
    yield "block  without it  without dense block 1, 2, 3    taken out"
    for each in pruned.found:
        dense = "  ".join(map(_decibels, each.dense_psnr_db))
        went = gone.get(each.block)
        fate = "stays" if went is None else f"as number {went[0]}, then {_decibels(went[1]).strip()} dB"
        yield f"{each.block:5}  {_decibels(each.psnr_db)} dB    {dense}         {fate}"


def _decibels(value: float) -> str:
    return f"{value:7.1f}" if math.isfinite(value) else "   same"


def _as_values(pruned: Pruned) -> dict[str, object]:
    def number(value: float) -> float | None:
        return round(value, 3) if math.isfinite(value) else None

    return {
        "kept": list(pruned.kept),
        "blocks": [
            {
                "block": each.block,
                "psnr_db_without": number(each.psnr_db),
                "psnr_db_without_dense": list(map(number, each.dense_psnr_db)),
            }
            for each in pruned.found
        ],
        "dropped": [{"block": each.block, "psnr_db": number(each.psnr_db)} for each in pruned.dropped],
    }
