"""The maps of one fixed picture while a discriminator is trained: one sheet for the board, numbers for the record."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from tessera.explain.agreement import averaged_down, edge_strength, gate_numbers
from tessera.explain.colormaps import Colormap, colored, mixed
from tessera.explain.looking import attention_maps, enlarged, gates_of
from tessera.explain.sheets import Cell, grid
from tessera.explain.subject import Shown, as_pixels, read_rgb

LIVE_SIDE = 256
PUBLISHED_MIX = 0.7


@dataclass(frozen=True)
class LiveMaps:
    """The maps of all gates over one picture, and what they are in numbers."""

    sheet: Shown
    """(H', W', 3): a row for each network, in it the picture and A1, A2, A3 over it."""
    numbers: dict[str, float]
    """For each gate NAME_mean, NAME_spread, NAME_entropy, NAME_edges_rank, NAME_edges_roc; without what is unknown."""


def live_picture(path: Path, side: int = LIVE_SIDE) -> Tensor:
    """The middle of a picture, at most `side` pixels across and down: (1, 3, h, w), RGB in [0, 1].

    Raises PictureError.
    """
    whole = read_rgb(path)
    top, left = (max(0, length - side) // 2 for length in whole.shape[-2:])
    return whole[..., top : top + side, left : left + side].contiguous()


def live_maps(
    discriminator: nn.Module, picture: Tensor, *, colormap: Colormap = "jet", mix: float = PUBLISHED_MIX
) -> LiveMaps:
    """Look at one picture (1, 3, H, W), RGB in [0, 1], through the gates of a discriminator in training.

    The network stays what it is: weights, buffers, gradients, the mode of each part, and no random number is drawn.
    Raises UsageError for a network without gates.
    """
    given = next(discriminator.parameters())
    with torch.autocast(given.device.type, enabled=False):
        maps = attention_maps(discriminator, picture.to(given.device, torch.float32))
    size = (picture.shape[-2], picture.shape[-1])
    pixels, edges = as_pixels(picture), edge_strength(picture)
    rows: dict[int, list[Cell]] = {}
    numbers: dict[str, float] = {}
    for gate in gates_of(discriminator.config):  # pyright: ignore[reportArgumentType] - attention_maps has checked it
        small = maps[gate.name].float().cpu()
        found = gate_numbers(small, averaged_down(edges, gate.divisor), None)
        numbers |= {f"{gate.name}_{name}": value for name, value in found.as_json().items() if value is not None}
        heat = colored(enlarged(small, gate.divisor, size)[0, 0].numpy(), colormap)
        row = rows.setdefault(gate.scale, [("picture", pixels)])
        row.append((gate.name, mixed(pixels, heat, mix)))
    return LiveMaps(grid(list(rows.values())), numbers)
