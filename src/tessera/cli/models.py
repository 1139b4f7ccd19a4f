"""`tessera models`: list models, inspect weights files, and download, convert and blend them."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tessera.cli import make_printable
from tessera.cli.shared_options import AsJson, Offline, Overwrite
from tessera.errors import UsageError

if TYPE_CHECKING:
    from tessera.storage.download import Progress
    from tessera.weights.files import LoadedGenerator, WeightsReport
    from tessera.weights.published import Model
    from tessera.zoo.training_files import TrainingFile

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    help="List, download, inspect, convert and blend weights.",
)

Half = Annotated[bool, typer.Option("--half", help="Store fp16: half the size, rounded.")]
Folder = Annotated[Path | None, typer.Option("--folder", help="The models folder. [default: the user's data folder]")]


@app.command("list")
def list_models(as_json: AsJson = False, folder: Folder = None) -> None:
    """Show the published models and which of them are on this machine."""
    from tessera.weights.published import DEFAULT_MODEL, MODELS
    from tessera.zoo import models as zoo
    from tessera.zoo.discriminators import locate_training_file
    from tessera.zoo.fetching import models_folder
    from tessera.zoo.training_files import TRAINING_FILES

    here = {model.name: zoo.locate(model, folder) for model in MODELS}
    others = {entry.name: locate_training_file(entry, folder) for entry in TRAINING_FILES}
    if as_json:
        listed = [_describe_model(model, here[model.name]) for model in MODELS]
        listed += [_training_file_as_dict(entry, others[entry.name]) for entry in TRAINING_FILES]
        typer.echo(json.dumps(listed, indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in ("name", "scale", "here", "good for", "license"):
        table.add_column(heading, no_wrap=heading in ("name", "scale", "here"))
    for model in MODELS:
        name = f"{model.name} (default)" if model.name == DEFAULT_MODEL else model.name
        table.add_row(name, f"x{model.scale}", _describe_place(model, here[model.name]), model.good_for, model.license)
    extra = Table(box=None, pad_edge=False)
    for heading in ("for training and measuring", "kind", "here", "good for", "license"):
        extra.add_column(heading, no_wrap=heading != "good for")
    for entry in TRAINING_FILES:
        is_here = "no" if others[entry.name] is None else "folder"
        extra.add_row(entry.name, entry.kind, is_here, entry.good_for, entry.license)
    # A pipe has no width: one line for each model, so that grep finds it whole.
    console = Console(width=None if sys.stdout.isatty() else 200)
    console.print(table, "", extra, sep="\n")
    typer.echo(f"Models folder: {folder or models_folder()}")


def _describe_place(model: Model, path: Path | None) -> str:
    if path is None:
        by_hand = model.remote is not None and not model.remote.urls
        return "by hand" if by_hand else "no"
    return "package" if model.packaged is not None and path.name == Path(model.packaged.path).name else "folder"


def _describe_model(model: Model, path: Path | None) -> dict[str, Any]:
    remote, packaged = model.remote, model.packaged
    return {
        "name": model.name,
        "kind": "generator",
        "aliases": list(model.aliases),
        "network": model.network,
        "scale": model.scale,
        "good_for": model.good_for,
        "licence": model.license,  # the key that scripts read and that files of blends have
        "here": str(path) if path is not None else None,
        "file": remote.name if remote is not None else None,
        "bytes": remote.bytes if remote is not None else None,
        "sha256": sorted(remote.sha256) if remote is not None else [],
        "addresses": list(remote.urls) if remote is not None else [],
        "package": packaged.install if packaged is not None else None,
        "notes": list(model.notes),
    }


def _training_file_as_dict(entry: TrainingFile, path: Path | None) -> dict[str, Any]:
    return {
        "name": entry.name,
        "kind": entry.kind,
        "aliases": list(entry.aliases),
        "good_for": entry.good_for,
        "licence": entry.license,  # as for models
        "here": str(path) if path is not None else None,
        "file": entry.remote.name,
        "bytes": entry.remote.bytes,
        "sha256": sorted(entry.remote.sha256),
        "addresses": list(entry.remote.urls),
    }


@app.command()
def inspect(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="Weights files, archives or model names.")],
    as_json: AsJson = False,
) -> None:
    """Show a weights file's network, scale, size, precision and license. Archives list their checkpoints.

    Exit codes: 0 all can be used, 1 one cannot, or is a model that is not on this machine, 2 no such file or model.
    """
    from tessera.zoo.inspecting import inspect as describe

    reports = [describe(name) for name in files]
    if as_json:
        typer.echo(json.dumps([_report_as_dict(report) for report in reports], indent=2))
    else:
        for report in reports:
            _print_report(report)
    if any(report.problem is not None for report in reports):
        raise typer.Exit(1)


def _report_as_dict(report: WeightsReport) -> dict[str, Any]:
    return {
        "path": str(report.path),
        "name": report.name,
        "kind": report.kind,
        "network": report.network,
        "scale": report.scale,
        "config": report.config.model_dump(mode="json") if report.config is not None else None,
        "dialect": report.dialect,
        "wrapper": report.wrapper,
        "parameters": report.parameters,
        "multiply_adds_128": report.multiply_adds_128,
        "size_bytes": report.size_bytes,
        "sha256": report.sha256,
        "licence": report.license,
        "dtypes": list(report.dtypes),
        "metadata": dict(report.metadata),
        "notes": list(report.notes),
        "problem": report.problem,
    }


def _print_report(report: WeightsReport) -> None:
    typer.echo(make_printable(f"{report.path}"))
    if report.problem is not None:
        typer.echo(make_printable(f"  cannot be used: {report.problem}"))
        return
    config = report.config.model_dump(mode="json", exclude={"network", "scale"}) if report.config is not None else {}
    work = f"{report.multiply_adds_128 / 1e9:.1f} G multiply-adds for 128 x 128" if report.multiply_adds_128 else None
    of_generators = {"scale": f"x{report.scale}", "work": work or "unknown"} if report.kind == "generator" else {}
    of_weights = {
        "network": f"{report.network} ({', '.join(f'{key} {value}' for key, value in config.items())})",
        "written as": f"{report.dialect}, {report.wrapper}",
        "parameters": f"{report.parameters:,}" if report.parameters is not None else "unknown",
        "precision": ", ".join(report.dtypes),
    }
    rows = {
        "kind": report.kind,
        **(of_weights if report.kind != "archive" else {}),
        **of_generators,
        "size": f"{report.size_bytes:,} bytes",
        "sha256": report.sha256 or "unknown",
        "license": report.license or "unknown",
        **report.metadata,
    }
    for key, value in rows.items():
        typer.echo(make_printable(f"  {key:<11} {value}"))
    for note in report.notes:
        typer.echo(make_printable(f"  note: {note}"))


@app.command()
def convert(
    source: Annotated[str, typer.Argument(metavar="IN", help="A weights file, or a model name.")],
    output: Annotated[Path, typer.Argument(metavar="OUT", help="The .safetensors file to write.")],
    half: Half = False,
    overwrite: Overwrite = False,
    offline: Offline = False,
) -> None:
    """Write weights of any kind as safetensors, with their configuration, origin and license inside.

    ncnn weights convert without loss: every fp16 value is exact in fp32.
    """
    _check_output(output, overwrite=overwrite)
    from tessera.zoo.models import load_model

    with _show_progress() as on_progress:
        loaded = load_model(source, offline=offline, on_progress=on_progress)
    _save(loaded, output, half=half)
    exact = " The ncnn weights were converted without loss." if loaded.dialect == "ncnn" and not half else ""
    rounded = " Weights were rounded to fp16." if half else ""
    typer.echo(
        f"{output}: {loaded.config.network} x{loaded.config.scale}, from {loaded.source or source}.{exact}{rounded}"
    )


@app.command()
def pull(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Names from `tessera models list`.")],
    folder: Folder = None,
    offline: Offline = False,
    sha256: Annotated[
        str | None,
        typer.Option("--sha256", help=("Expected checksum of the file; it is stored and required from now on.")),
    ] = None,
) -> None:
    """Download models, verify them, and print their paths; --folder prepares a folder for another machine.

    Archives of checkpoints and of test sets are unpacked; the folder is what `tessera attention --checkpoints` and
    `tessera evaluate --data` take.
    """
    from tessera.weights.published import Model, find_model
    from tessera.zoo import models as zoo
    from tessera.zoo.discriminators import fetch_training_file
    from tessera.zoo.training_files import find_training_file

    if sha256 is not None and len(names) != 1:
        raise UsageError(f"expected one model, found {len(names)}; each file has its own checksum.", field="sha256")
    entries = [find_training_file(name) or find_model(name) for name in names]  # before the first download
    for entry in entries:
        with _show_progress(entry.name) as on_progress:
            if not isinstance(entry, Model):
                found = fetch_training_file(entry, folder, sha256=sha256, offline=offline, on_progress=on_progress)
                path, pinned = found.path, found.digest
            else:
                path, pinned = zoo.pull(entry.name, folder, sha256=sha256, offline=offline, on_progress=on_progress)
        typer.echo(make_printable(f"{entry.name}: {path}"))
        if pinned is not None:
            typer.echo(f"  SHA-256 {pinned}, required from now on; its publisher states none.")


@app.command()
def interpolate(
    first: Annotated[str, typer.Argument(metavar="A", help="The model at alpha 0, usually the smooth one.")],
    second: Annotated[str, typer.Argument(metavar="B", help="The model at alpha 1, usually the sharp one.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The .safetensors file to write.")],
    alpha: Annotated[float, typer.Option(help="Share of B: (1 - alpha) A + alpha B.")] = 0.8,
    half: Half = False,
    overwrite: Overwrite = False,
    offline: Offline = False,
) -> None:
    """Interpolate the weights of two models with the same architecture: (1 - alpha) A + alpha B (ESRGAN, section 3.4).

    Both licenses apply to the blend; the file records them with the names and checksums of its parts.
    """
    _check_output(output, overwrite=overwrite)
    from tessera.zoo.interpolation import interpolate as interpolate_weights
    from tessera.zoo.models import load_model

    with _show_progress() as on_progress:
        ends = [load_model(name, offline=offline, on_progress=on_progress) for name in (first, second)]
    blended = interpolate_weights([(ends[0], 1 - alpha), (ends[1], alpha)])
    _save(blended, output, half=half)
    for note in blended.notes:
        typer.echo(f"note: {note}", err=True)
    typer.echo(f"{output}: {1 - alpha:g} x {ends[0].name} + {alpha:g} x {ends[1].name}")


def _check_output(output: Path, *, overwrite: bool) -> None:
    """Refuse what cannot be written before the work begins."""
    if output.suffix.lower() != ".safetensors":
        raise UsageError(f"{output}: weights are written as safetensors. Use a name that ends in .safetensors.")
    if output.exists() and not overwrite:
        raise UsageError(f"{output} already exists. Choose another name, or replace it with --overwrite.")
    if not output.parent.is_dir():
        raise UsageError(f"{output}: folder {output.parent} does not exist. Create it first, or choose another.")


def _save(loaded: LoadedGenerator, output: Path, *, half: bool) -> None:
    from tessera.deploy.passport import describe_provenance
    from tessera.weights.files import save_weights

    dtype = "float16" if half else None
    save_weights(output, loaded.config, loaded.arrays, metadata=describe_provenance(loaded), dtype=dtype)


@contextlib.contextmanager
def _show_progress(title: str = "download") -> Generator[Progress | None]:
    """Draw a bar on a terminal while something is downloaded; elsewhere stay silent."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TimeRemainingColumn, TransferSpeedColumn
    from rich.progress import Progress as Bar

    columns = ("{task.description}", BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=None, visible=False)
        yield lambda here, total: bar.update(task, completed=here, total=total, visible=True)
