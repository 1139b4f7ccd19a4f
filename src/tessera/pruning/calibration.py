"""Pictures that blocks are measured on: the middle of each, as the network will get it.

Shapes: B pictures of one size, h and w their middles.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tessera.dataset.decoding import open_ref, rgb_rows, to_chw
from tessera.dataset.loading import to_unit
from tessera.dataset.sources import PictureRef
from tessera.errors import UsageError
from tessera.generators import GeneratorConfig


def read_middles(refs: Sequence[PictureRef], config: GeneratorConfig, *, pictures: int, side: int) -> list[Tensor]:
    """Read the middles of at most so many pictures, spread over all of them -> batches (B, 3, h, w) in [0, 1].

    A middle is up to `side` pixels high and wide; those of one size make a batch. Raises PictureError for a picture
    that cannot be read, UsageError where the network is not for RGB.
    """
    if config.in_channels != 3:
        raise UsageError(f"The network takes {config.in_channels} channels, and pictures are read as RGB.")
    by_size: dict[tuple[int, ...], list[Tensor]] = {}
    for ref in spread(refs, pictures):
        middle = _middle(ref, config.multiple, side)
        by_size.setdefault(tuple(middle.shape), []).append(middle)
    return [torch.stack(middles).to(memory_format=torch.channels_last) for middles in by_size.values()]


def spread(refs: Sequence[PictureRef], count: int) -> list[PictureRef]:
    """At most so many of a list, at equal distances, the first among them."""
    count = min(count, len(refs))
    return [refs[index * len(refs) // count] for index in range(count)]


def _middle(ref: PictureRef, multiple: int, side: int) -> Tensor:
    """(3, h, w)"""
    with open_ref(ref) as reader:
        height, width = (min(length, side) // multiple * multiple for length in (reader.info.height, reader.info.width))
        if not height or not width:
            raise UsageError(f"{ref}: is too small; at least {multiple} pixels a side are needed.")
        top, left = (reader.info.height - height) // 2, (reader.info.width - width) // 2
        pixels = rgb_rows(reader, top, height).pixels[:, left : left + width]
        return to_unit(to_chw(pixels))
