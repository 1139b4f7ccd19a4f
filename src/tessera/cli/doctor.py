"""`tessera doctor`: what this machine has for upscaling, and what is wrong with it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from tessera.cli import make_printable
from tessera.errors import UsageError
from tessera.wording import format_bytes

if TYPE_CHECKING:
    from tessera.engines.devices import Device
    from tessera.engines.engine import Precision
    from tessera.upscaling.doctor import EngineState, ExtraState, Findings

app = typer.Typer(add_completion=False, rich_markup_mode=None)

_COLUMNS = ("engine", "device", "precision", "s/megapixel", "distance to fp32", "verdict")

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of lines; sizes are in bytes.")]
MakePlans = Annotated[
    bool, typer.Option("--plan", help=("Measure all engines with each model now, instead of on first use."))
]
Models = Annotated[
    list[str] | None, typer.Option("-n", "--model", help="With --plan: model name or weights file; repeatable.")
]
PlanPrecision = Annotated[
    Literal["exact", "auto", "fast"], typer.Option("--precision", help="With --plan: the precision to plan for.")
]


@app.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
def doctor(
    as_json: AsJson = False, plan: MakePlans = False, model: Models = None, precision: PlanPrecision = "auto"
) -> None:
    """Check the installation and hardware: cores, memory, devices, engines, weights, versions.

    With --plan instead: time every engine on every device, compare each with fp32, and cache what to use.

    Exit codes: 0 pictures can be upscaled here, 1 they cannot.
    """
    if model and not plan:
        raise UsageError("-n belongs to --plan: `tessera doctor --plan -n MODEL`.")
    if plan:
        _print_plans(model or (), precision, as_json=as_json)
        return
    from tessera.upscaling.doctor import as_dict, examine, list_warnings

    found = examine()
    if as_json:
        typer.echo(json.dumps(as_dict(found), indent=2, default=str))
    else:
        for heading, text in lines(found):
            typer.echo(make_printable(f"{heading:<12}{text}").rstrip())
        for warning in list_warnings(found):
            typer.echo(make_printable(f"! {warning}"))
    if not found.can_upscale:
        raise typer.Exit(1)


def _print_plans(models: Sequence[str], precision: Precision, *, as_json: bool) -> None:
    """Print a table for each model as soon as it is planned, or one JSON list at the end."""
    from rich.console import Console
    from rich.table import Table

    from tessera.upscaling.planned import plan_models

    listed: list[dict[str, object]] = []
    failed = False
    for planned in plan_models(models, precision):
        failed = failed or planned.problem is not None
        if as_json:
            rows = [dict(zip(_COLUMNS, row, strict=True)) for row in planned.rows()]
            listed.append({"model": planned.name, "problem": planned.problem, "candidates": rows})
            continue
        typer.echo(make_printable(planned.name if planned.problem is None else f"{planned.name}: {planned.problem}"))
        if planned.plan is not None:
            table = Table(box=None, pad_edge=False)
            for column in _COLUMNS:
                table.add_column(column, no_wrap=True)
            for row in planned.rows():
                table.add_row(*(make_printable(cell) for cell in row))
            # A pipe has no width: one line for each candidate, so that grep finds it whole.
            Console(width=None if sys.stdout.isatty() else 300, highlight=False, markup=False).print(table)
            typer.echo(make_printable(planned.plan.describe(planned.choice)) + "\n")
    if as_json:
        typer.echo(json.dumps(listed, indent=2))
    if failed and models:
        raise typer.Exit(1)


def describe_device(device: Device) -> str:
    """A line about a device: its name, what it is, and why it cannot be used."""
    if not device.usable:
        return f"{device.name}: not usable. {device.why_not or ''}".rstrip()
    parts = [
        device.title,
        format_bytes(device.memory_bytes) if device.memory_bytes is not None else "",
        f"driver {device.driver}" if device.driver else "",
        *(name for name, has in (("fp16", device.fp16), ("int8", device.int8)) if has),
        "software, never chosen by auto" if device.software else "",
    ]
    return f"{device.name}: {', '.join(part for part in parts if part)}"


def lines(found: Findings) -> Iterator[tuple[str, str]]:
    """Yield (heading, text), a line each; the heading of a line that goes on is empty."""
    processor, cores, memory = found.processor, found.cores, found.memory
    yield "system", f"{found.system}, {processor.architecture}"
    yield "processor", processor.name or "of unknown name"
    if processor.features is not None:
        yield "", ", ".join(processor.features) or "none of the features that upscaling makes use of"
    quota = "" if cores.quota is None else f", limited to {cores.quota:g} processors' time"
    yield "cores", f"{cores.usable} to use ({cores.installed} installed, {cores.allowed} allowed{quota})"
    if found.threads.pytorch is not None:
        omp = found.threads.omp_num_threads
        yield "threads", f"{found.threads.pytorch} in PyTorch" + ("" if omp is None else f" (OMP_NUM_THREADS={omp})")
    sizes = ((memory.available_bytes, "free"), (memory.total_bytes, "in all"), (memory.limit_bytes, "allowed"))
    yield "memory", ", ".join(f"{format_bytes(size)} {what}" for size, what in sizes if size is not None) or "unknown"
    if memory.swap_total_bytes:
        yield "", f"{format_bytes(memory.swap_used_bytes or 0)} of {format_bytes(memory.swap_total_bytes)} swap in use"
    for number, device in enumerate(found.devices):
        yield ("" if number else "devices"), describe_device(device)
    for number, engine in enumerate(found.engines):
        yield ("" if number else "engines"), _describe_engine(engine)
    for number, extra in enumerate(found.extras):
        yield ("" if number else "extras"), _describe_extra(extra)
    for number, weights in enumerate(found.weights):
        place = "package" if weights.packaged else "folder"
        yield ("" if number else "weights"), f"{weights.name} ({place}, {format_bytes(weights.size_bytes)})"
    if not found.weights:
        yield "weights", "none"
    for heading, folder in (("models", found.models_folder), ("cache", found.cache_folder)):
        free = "" if folder.free_bytes is None else f", {format_bytes(folder.free_bytes)} free"
        yield heading, f"{folder.path}{free}"
    yield "versions", ", ".join(f"{name} {version}" for name, version in found.versions.items() if version is not None)


def _describe_extra(extra: ExtraState) -> str:
    """A line about an extra: what it is for, and the line to type if a part of it is missing."""
    if not extra.missing:
        return f"{extra.name}: installed, to {extra.purpose}"
    some = "" if len(extra.missing) == len(extra.packages) else f" ({', '.join(extra.missing)} missing)"
    return f"{extra.name}: to {extra.purpose}{some}: {extra.install}"


def _describe_engine(engine: EngineState) -> str:
    if engine.problem is not None:
        return f"{engine.name}: no. {engine.problem} {engine.install}".rstrip()
    products = engine.products
    if len(set(products.values())) == 1:
        uses = f"{products['exact']} at every precision"
    else:
        uses = ", ".join(f"{precision} in {product}" for precision, product in products.items())
    return f"{engine.name} {engine.version or ''}: {uses}"
