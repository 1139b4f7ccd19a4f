"""`tessera deploy-table`: what each precision of a model costs and is worth, as a table and a page."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tessera.cli import make_printable, print_progress
from tessera.cli.measuring import ProtocolOption
from tessera.cli.reports import check_reports, write_report
from tessera.cli.shared_options import MarkdownFile, NiqeModel, Offline, Threads
from tessera.errors import UsageError

if TYPE_CHECKING:
    from tessera.deploy.held_out import Pair
    from tessera.deploy.table import PrecisionFile, Row
    from tessera.evaluate.protocol import Protocol
    from tessera.metrics.niqe import PristineModel
    from tessera.weights.loaded_generator import LoadedGenerator

app = typer.Typer(add_completion=False, rich_markup_mode=None)

_Opt = typer.Option
Models = Annotated[list[str], typer.Argument(metavar="MODEL...", help="Model names or weights files.")]
Bench = Annotated[Path, _Opt("--bench", help="Folder of reference pictures; inputs are downscaled from them.")]
Int8Files = Annotated[
    list[Path] | None,
    _Opt("--int8", help="int8 file (.xml) of `tessera quantize`; repeatable. [default: next to the models]"),
]
Rounds = Annotated[int, _Opt("--rounds", min=1, max=1000, help="Rounds per precision.")]
Size = Annotated[
    int | None, _Opt("--size", min=16, help="Input side of the centered crop to measure. [default: whole pictures]")
]
Limit = Annotated[int, _Opt("--limit", min=1, help="Maximum number of pictures.")]
JsonFile = Annotated[Path | None, _Opt("--json", help="Write all figures to this JSON file.")]
HtmlFile = Annotated[Path | None, _Opt("--html", help="Write an HTML page with a plot of quality against speed.")]


@app.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
def deploy_table(
    models: Models,
    bench: Bench,
    protocol: ProtocolOption = "paper",
    int8: Int8Files = None,
    rounds: Rounds = 7,
    threads: Threads = None,
    size: Size = None,
    limit: Limit = 100,
    niqe_model: NiqeModel = None,
    json_file: JsonFile = None,
    html_file: HtmlFile = None,
    markdown_file: MarkdownFile = None,
    offline: Offline = False,
) -> None:
    """Compare fp32, fp16, bf16 and int8 of models: cost, size, quality, speed and memory.

    fp32, fp16 and bf16 are exported to OpenVINO and run there; int8 is the file next to the model, if there is one. The
    precisions of a model are timed in turn, so that their times are comparable.
    """
    from tessera.bench.surroundings import describe_machine
    from tessera.deploy.bench_pairs import bench_pairs
    from tessera.deploy.table_pages import as_dict, as_html, as_markdown
    from tessera.evaluate.protocol import find_protocol
    from tessera.generators import find_generator
    from tessera.metrics.niqe import load_pristine_model
    from tessera.upscaling.doctor import examine
    from tessera.zoo.models import load_model

    check_reports({"--json": json_file, "--html": html_file, "--markdown": markdown_file})
    chosen = find_protocol(protocol)
    loaded = [load_model(name, offline=offline) for name in models]
    for each in loaded:
        if find_generator(each.config) is None:
            raise UsageError(f"{each.name}: only networks of the ESRGAN family can be exported in other precisions.")
    whole = _find_int8_files(loaded, int8 or ())
    found = examine()
    count = threads or found.cores.usable
    surroundings = describe_machine(found, count)
    pristine = load_pristine_model(niqe_model)
    rows: list[Row] = []
    for each in loaded:
        pairs = bench_pairs(bench, each.config, chosen, side=size, most=limit)
        _refuse_seen(whole.get(each.sha256), pairs)
        rows += _measure(each, whole.get(each.sha256), pairs, chosen, pristine, rounds=rounds, threads=count)
    text = as_markdown(rows, chosen, surroundings)
    for line in text.splitlines():
        typer.echo(make_printable(line))
    write_report(markdown_file, text)
    write_report(json_file, json.dumps(as_dict(rows, chosen, surroundings), indent=2) + "\n")
    write_report(html_file, "".join(as_html(rows, chosen, surroundings)))


def _measure(
    loaded: LoadedGenerator,
    int8: Path | None,
    pairs: Sequence[Pair],
    protocol: Protocol,
    pristine: PristineModel | None,
    *,
    rounds: int,
    threads: int,
) -> list[Row]:
    """Measure a model in each precision, in files that are deleted afterwards."""
    from tessera.deploy.table import list_deployed_forms, measure_model

    with tempfile.TemporaryDirectory() as place:
        return measure_model(
            loaded,
            list_deployed_forms(loaded, Path(place), int8),
            pairs,
            protocol,
            folder=Path(place),
            make_command=_make_command,
            rounds=rounds,
            threads=threads,
            pristine=pristine,
            told=print_progress,
        )


def _make_command(form: PrecisionFile, source: Path, output: Path) -> tuple[str, ...]:
    """What a user would type to upscale one picture with a form."""
    precision = "exact" if form.products == "fp32" else "auto"
    options = ("-o", str(output), "-n", str(form.path), "--precision", precision, "--offline", "--overwrite")
    return (sys.executable, "-m", "tessera", "upscale", str(source), *options)


def _find_int8_files(models: Sequence[LoadedGenerator], named: Sequence[Path]) -> dict[str, Path]:
    """The int8 file of each model, by the model's sha256: the one that was named, or the one next to the model."""
    from tessera.weights.files import load_weights
    from tessera.zoo.int8_file import QUANTIZED_FROM_KEY, find_int8

    found: dict[str, Path] = {}
    for model in models:
        beside = find_int8(model)
        if beside is not None and beside.path.suffix == ".xml":
            found[model.sha256] = beside.path
    known = {model.sha256 for model in models}
    for path in named:
        source = load_weights(path).metadata.get(QUANTIZED_FROM_KEY)
        if source not in known:
            raise UsageError(f"--int8 {path}: it was quantized from none of these models.")
        found[source] = path
    return found


def _refuse_seen(file: Path | None, pairs: Sequence[Pair]) -> None:
    """Raise UsageError where an int8 file would be measured on pictures that it was made with."""
    from tessera.zoo.int8_file import read_openvino_metadata, was_calibrated_on

    if file is None:
        return
    metadata = read_openvino_metadata(file)
    seen = [pair.name for pair in pairs if was_calibrated_on(metadata, pair.sha256)]
    if seen:
        raise UsageError(
            f"--bench: {file} was calibrated on {seen[0]}, so its loss would be too small ({len(seen)} of {len(pairs)}"
            " pictures are of its calibration). Measure on others."
        )
