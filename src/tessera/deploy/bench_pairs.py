"""A folder of references as pairs under a protocol, in memory: what goes in, and what it is compared with.

Shapes: C channels, H rows, W columns of the input, s the scale.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from tessera.deploy.held_out import Pair, make_pair, read_levels, read_photograph
from tessera.errors import UsageError
from tessera.evaluate.protocol import Protocol
from tessera.evaluate.resampling import downsample, resize_to
from tessera.generators import GeneratorConfig
from tessera.images.formats import is_picture_name


def bench_pairs(
    folder: Path, config: GeneratorConfig, protocol: Protocol, *, side: int | None = None, most: int = 100
) -> list[Pair]:
    """The first pictures of a folder by name as pairs (1, C, H, W) and (1, C, s*H, s*W) in [0, 1].

    `side` takes the middle of a picture with an input of so many pixels, where the protocol does not resize pictures.
    Raises UsageError for a folder without pictures, and for a protocol whose sizes are not those of this scale.
    """
    if not folder.is_dir():
        raise UsageError(f"no such folder: {folder}", field="bench")
    paths = sorted(path for path in folder.iterdir() if path.is_file() and is_picture_name(path))[:most]
    if not paths:
        raise UsageError(f"no pictures in {folder}", field="bench")
    sizes = protocol.lq_size, protocol.gt_size
    if None not in sizes and tuple(config.scale * length for length in sizes[0] or ()) != sizes[1]:
        raise UsageError(
            f"inputs and references of {protocol.name} have fixed sizes, {sizes[0]} and {sizes[1]}, which do not fit an"
            f" x{config.scale} network. Choose the protocol paper.",
            field="protocol",
        )
    with tempfile.TemporaryDirectory() as place:
        pairs = [_make_pair(path, config, protocol, side, Path(place)) for path in paths]
    found = [pair for pair in pairs if pair is not None]
    if not found:
        raise UsageError(f"no picture in {folder} has at least {16 * config.scale} pixels a side.", field="bench")
    return found


def _make_pair(path: Path, config: GeneratorConfig, protocol: Protocol, side: int | None, place: Path) -> Pair | None:
    whole = read_photograph(path, config.in_channels)
    if protocol.lq_size is None or protocol.gt_size is None:
        return make_pair(whole, config, max(whole.size) if side is None else side)
    small, lq, gt = (place / f"{name}.png" for name in ("small", "lq", "gt"))
    downsample(path, small, config.scale, protocol.lq_kernel)
    resize_to(small, lq, protocol.lq_size, "area")
    resize_to(path, gt, protocol.gt_size, "area")
    one, other = (read_levels(each, config.in_channels)[None] for each in (lq, gt))
    return Pair(path.name, one, other, whole.sha256)
