"""Attention maps of one fixed picture during training: a sheet for the sample board, statistics for the metrics."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from tessera.explain.agreement import average_blocks, compute_edge_strength, measure_gate
from tessera.explain.colormaps import Colormap, apply_colormap, blend_heat
from tessera.explain.maps import compute_attention_maps, list_gates, upsample_map
from tessera.explain.settings import PUBLISHED_MIX
from tessera.explain.sheets import Cell, draw_grid
from tessera.explain.subject import Shown, read_rgb, to_pixels

LIVE_SIDE = 256


@dataclass(frozen=True)
class LiveMaps:
    """The maps of all gates over one picture, and their statistics."""

    sheet: Shown
    """(H', W', 3): a row for each network, with the picture and A1, A2, A3 blended with it."""
    numbers: dict[str, float]
    """For each gate NAME_mean, NAME_spread, NAME_entropy, NAME_edges_rank, NAME_edges_roc, where defined."""


def read_live_picture(path: Path, side: int = LIVE_SIDE) -> Tensor:
    """Read the center of a picture, at most `side` pixels wide and high: (1, 3, h, w), RGB in [0, 1].

    Raises PictureError.
    """
    whole = read_rgb(path)
    top, left = (max(0, length - side) // 2 for length in whole.shape[-2:])
    return whole[..., top : top + side, left : left + side].contiguous()


def compute_live_maps(
    discriminator: nn.Module, picture: Tensor, *, colormap: Colormap = "jet", mix: float = PUBLISHED_MIX
) -> LiveMaps:
    """Draw and measure the attention maps of one picture (1, 3, H, W), RGB in [0, 1], during training.

    Weights, buffers, gradients and modes of the network stay unchanged, and no random number is drawn.
    Raises UsageError for a network without gates.
    """
    given = next(discriminator.parameters())
    with torch.autocast(given.device.type, enabled=False):
        maps = compute_attention_maps(discriminator, picture.to(given.device, torch.float32))
    size = (picture.shape[-2], picture.shape[-1])
    pixels, edges = to_pixels(picture), compute_edge_strength(picture)
    rows: dict[int, list[Cell]] = {}
    numbers: dict[str, float] = {}
    for gate in list_gates(discriminator.config):  # pyright: ignore[reportArgumentType] - compute_attention_maps has checked it
        small = maps[gate.name].float().cpu()
        found = measure_gate(small, average_blocks(edges, gate.divisor), None)
        numbers |= {f"{gate.name}_{name}": value for name, value in found.as_json().items() if value is not None}
        heat = apply_colormap(upsample_map(small, gate.divisor, size)[0, 0].numpy(), colormap)
        row = rows.setdefault(gate.scale, [("picture", pixels)])
        row.append((gate.name, blend_heat(pixels, heat, mix)))
    return LiveMaps(draw_grid(list(rows.values())), numbers)
