"""Calibration pictures for measuring blocks: the center crop of each, as the network receives it.

Shapes: B pictures of one size, h and w their center crops.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tessera.dataset.decoding import open_ref, read_rgb_rows, to_chw
from tessera.dataset.loading import to_unit
from tessera.dataset.sources import PictureRef
from tessera.errors import UsageError
from tessera.generators import GeneratorConfig


def read_center_crops(refs: Sequence[PictureRef], config: GeneratorConfig, *, pictures: int, side: int) -> list[Tensor]:
    """Read center crops of at most `pictures` pictures, spread over the list -> batches (B, 3, h, w) in [0, 1].

    A crop is up to `side` pixels high and wide; crops of one size form a batch. Raises PictureError for an unreadable
    picture, UsageError if the network is not for RGB.
    """
    if config.in_channels != 3:
        raise UsageError(f"Pruning measures on RGB pictures, and the network takes {config.in_channels} channels.")
    by_size: dict[tuple[int, ...], list[Tensor]] = {}
    for ref in choose_evenly(refs, pictures):
        crop = _read_center_crop(ref, config.multiple, side)
        by_size.setdefault(tuple(crop.shape), []).append(crop)
    return [torch.stack(crops).to(memory_format=torch.channels_last) for crops in by_size.values()]


def choose_evenly(refs: Sequence[PictureRef], count: int) -> list[PictureRef]:
    """Choose at most `count` items at equal distances, starting with the first."""
    count = min(count, len(refs))
    return [refs[index * len(refs) // count] for index in range(count)]


def _read_center_crop(ref: PictureRef, multiple: int, side: int) -> Tensor:
    """(3, h, w)"""
    with open_ref(ref) as reader:
        height, width = (min(length, side) // multiple * multiple for length in (reader.info.height, reader.info.width))
        if not height or not width:
            raise UsageError(f"{ref}: expected at least {multiple} pixels a side, found less.", field="calibration")
        top, left = (reader.info.height - height) // 2, (reader.info.width - width) // 2
        pixels = read_rgb_rows(reader, top, height).pixels[:, left : left + width]
        return to_unit(to_chw(pixels))
