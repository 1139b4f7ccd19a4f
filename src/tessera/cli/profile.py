"""`tessera profile`: the cost of a network, counted from its layers."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tessera.cli import make_printable
from tessera.cli.shared_options import AsJson, Model, Offline
from tessera.errors import UsageError

if TYPE_CHECKING:
    from tessera.deploy.profile import Profile

app = typer.Typer(add_completion=False, rich_markup_mode=None)

_Opt = typer.Option
Shape = Annotated[str, _Opt("--shape", help="Input size as CHANNELSxHEIGHTxWIDTH or HEIGHTxWIDTH.")]

_BYTES = {"fp32": 4, "fp16, bf16": 2}


@app.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
def profile(model: Model, shape: Shape = "3x128x128", as_json: AsJson = False, offline: Offline = False) -> None:
    """Count parameters, multiply-adds by layer type and activation memory, for one input size.

    Prints two FLOP conventions: twice the multiply-adds of the convolutions, and that of VastModelZOO's tables, which
    also counts biases and leaky ReLUs and divides by 0.9e9.
    """
    from tessera.deploy.profile import profile_network
    from tessera.zoo.models import load_model

    channels, height, width = _parse_shape(shape)
    loaded = load_model(model, offline=offline)
    if channels not in (None, loaded.config.in_channels):
        raise UsageError(f"--shape {shape}: {loaded.name} takes {loaded.config.in_channels} channels, not {channels}.")
    found = profile_network(loaded.config, height, width)
    if as_json:
        typer.echo(json.dumps(_as_dict(loaded.name, found), indent=2))
        return
    for line in _format_lines(loaded.name, found):
        typer.echo(make_printable(line))


def _parse_shape(text: str) -> tuple[int | None, int, int]:
    match = re.fullmatch(r"(?:(\d{1,5})[xX])?(\d{1,5})[xX](\d{1,5})", text)
    if match is None:
        raise UsageError(f"--shape {text}: expected CHANNELSxHEIGHTxWIDTH, such as 3x128x128.")
    return (int(match[1]) if match[1] else None), int(match[2]), int(match[3])


def _format_lines(name: str, found: Profile) -> list[str]:
    channels, height, width = found.shape
    unit = 2**20
    memory = [
        f"{kind} {found.compute_peak_bytes(size) / unit:,.1f} MiB at peak,"
        f" {found.compute_sum_bytes(size) / unit:,.1f} MiB in total"
        for kind, size in _BYTES.items()
    ]
    lines = [
        f"{name}: {found.network} x{found.scale}, input {channels}x{height}x{width}",
        f"  parameters   {found.parameters:,}",
    ]
    if found.parameters_without_slopes != found.parameters:
        lines.append(f"               {found.parameters_without_slopes:,} without slopes of PReLU, as VACC counts")
    lines += [
        f"  work         {found.multiply_adds / 1e9:,.3f} G multiply-adds in convolutions"
        f" ({(found.multiply_adds + found.biases) / 1e9:,.3f} with biases)",
        f"  GFLOP        {found.gflop:,.1f}  two for each multiply-add of the convolutions",
        f"  VACC         {found.vacc_gflops:,.3f}  2 x (multiply-adds + biases + outputs of leaky ReLUs) / 0.9e9,"
        ' "Flops(G)" in VastModelZOO',
        f"  between layers  {'; '.join(memory)}",
        "",
        f"  {'layers':<14} {'count':>6} {'multiply-adds':>18} {'values written':>16}",
    ]
    lines += [
        f"  {each.kind:<14} {each.count:>6} {each.multiply_adds:>18,} {each.values:>16,}" for each in found.layers
    ]
    return lines


def _as_dict(name: str, found: Profile) -> dict[str, Any]:
    return {
        "model": name,
        "network": found.network,
        "scale": found.scale,
        "shape": list(found.shape),
        "parameters": found.parameters,
        "parameters_without_slopes": found.parameters_without_slopes,
        "multiply_adds": found.multiply_adds,
        "multiply_adds_with_biases": found.multiply_adds + found.biases,
        "gflop": found.gflop,
        "vacc_gflops": found.vacc_gflops,
        "activation_peak_bytes": {kind: found.compute_peak_bytes(size) for kind, size in _BYTES.items()},
        "activation_sum_bytes": {kind: found.compute_sum_bytes(size) for kind, size in _BYTES.items()},
        "layers": [
            {
                "kind": each.kind,
                "count": each.count,
                "multiply_adds": each.multiply_adds,
                "values_written": each.values,
            }
            for each in found.layers
        ],
    }
