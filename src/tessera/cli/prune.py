"""`tessera prune`: remove the blocks of a network that matter least for the user's pictures."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tessera.cli import make_printable, print_progress
from tessera.cli.reports import check_reports, write_report
from tessera.cli.shared_options import Model, Offline, Overwrite
from tessera.errors import UsageError

if TYPE_CHECKING:
    from tessera.pruning.cutting import PrunedNetwork

app = typer.Typer(add_completion=False, rich_markup_mode=None)

_Opt = typer.Option
Blocks = Annotated[int, _Opt("--blocks", min=1, help="Number of blocks to keep.")]
Calibration = Annotated[
    Path, _Opt("--calibration", help="Pictures like those to upscale: a folder, a list (.txt) or a store.")
]
Output = Annotated[Path, _Opt("-o", "--output", help="Weights file to write: NAME.safetensors.")]
Limit = Annotated[int, _Opt("--limit", min=1, max=1024, help="Maximum number of calibration pictures.")]
Size = Annotated[int, _Opt("--size", min=16, max=1024, help="Input side of the measured center crop of each picture.")]
Report = Annotated[Path | None, _Opt("--report", help="JSON file for the importance of each block.")]


@app.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}, no_args_is_help=True)
def prune(
    model: Model,
    blocks: Blocks,
    calibration: Calibration,
    output: Output,
    limit: Limit = 8,
    size: Size = 64,
    report: Report = None,
    overwrite: Overwrite = False,
    offline: Offline = False,
) -> None:
    """Remove the least important blocks of an RRDBNet: `tessera prune MODEL --blocks 8 --calibration FOLDER -o FILE`.

    Each block, and each dense block inside, is removed alone, and the output is compared with the original network's.
    The least important block is removed, the rest is measured again, and so on. The result is a starting
    point for `tessera train`, which restores the quality. Exit codes: 0 written, 1 not written, 2 wrong usage.
    """
    _check_output(output, overwrite=overwrite)
    check_reports({"--report": report})
    from tessera.dataset.sources import list_pictures
    from tessera.pruning.calibration import read_center_crops
    from tessera.pruning.cutting import check_prunable, describe_origin
    from tessera.pruning.cutting import prune as prune_network
    from tessera.weights.files import save_weights
    from tessera.zoo.models import load_model

    loaded = load_model(model, offline=offline)
    config = check_prunable(loaded)
    crops = read_center_crops(list_pictures([calibration]).gt, config, pictures=limit, side=size)

    def show_removal(removed: int, total: int) -> None:
        print_progress(f"removed block {removed} of {total}")

    pruned = prune_network(loaded, blocks, crops, on_removal=show_removal)
    save_weights(output, pruned.config, pruned.state, metadata=describe_origin(loaded, pruned))
    write_report(report, json.dumps(_build_report(pruned), indent=1) + "\n")
    for line in _format_table(pruned):
        typer.echo(line)
    measured_on = f"{sum(map(len, crops))} crops of {size} pixels a side"
    typer.echo(
        make_printable(
            f"{output}: {len(pruned.kept)} of {config.blocks} blocks of {loaded.name},"
            f" {pruned.config.multiply_adds(64, 64) / config.multiply_adds(64, 64):.2f} of its cost,"
            f" {pruned.psnr_db:.1f} dB from it on {measured_on}."
        )
    )


def _check_output(output: Path, *, overwrite: bool) -> None:
    from tessera.weights.described_file import check_name

    check_name(output)
    if not output.absolute().parent.is_dir():
        raise UsageError(
            f"-o {output}: folder {output.absolute().parent} does not exist. Create it first, or choose another."
        )
    if os.path.lexists(output) and not overwrite:
        raise UsageError(f"{output} already exists. Choose another name, or replace it with --overwrite.")


def _format_table(pruned: PrunedNetwork) -> Iterator[str]:
    """A row for each block: PSNR to the original network without it or a dense block of it; order of removal."""
    removed = {each.block: (number, each.psnr_db) for number, each in enumerate(pruned.removed, 1)}
    yield "block  without it  without dense block 1, 2, 3    removed"
    for each in pruned.measured:
        dense = "  ".join(map(_format_decibels, each.dense_psnr_db))
        entry = removed.get(each.block)
        result = "kept" if entry is None else f"as number {entry[0]}, then {_format_decibels(entry[1]).strip()} dB"
        yield f"{each.block:5}  {_format_decibels(each.psnr_db)} dB    {dense}         {result}"


def _format_decibels(value: float) -> str:
    return f"{value:7.1f}" if math.isfinite(value) else "  equal"


def _build_report(pruned: PrunedNetwork) -> dict[str, object]:
    def round_number(value: float) -> float | None:
        return round(value, 3) if math.isfinite(value) else None

    return {
        "kept": list(pruned.kept),
        "blocks": [
            {
                "block": each.block,
                "psnr_db_without": round_number(each.psnr_db),
                "psnr_db_without_dense": list(map(round_number, each.dense_psnr_db)),
            }
            for each in pruned.measured
        ],
        "removed": [{"block": each.block, "psnr_db": round_number(each.psnr_db)} for each in pruned.removed],
    }
