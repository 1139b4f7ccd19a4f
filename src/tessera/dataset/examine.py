"""Examination of one picture or pair: read completely, in strips, each measured by all meters.

Shapes: H height, W width.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from tessera.dataset.alignment import WINDOW, find_shift
from tessera.dataset.blemishes import STRIP, BlankMeter, BlockMeter, DetailMeter, Luma
from tessera.dataset.decoding import Pixels, open_ref, read_rgb_rows
from tessera.dataset.fingerprint import SIDE, compute_area_weights
from tessera.dataset.sources import PictureRef
from tessera.errors import PictureError
from tessera.images.libvips import vips
from tessera.images.resize import resize

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True)
class Examination:
    """A picture to examine, with its input if there is one; `fully` also looks for defects."""

    gt: PictureRef
    lq: PictureRef | None = None
    scale: int = 1
    fully: bool = True

    def __str__(self) -> str:
        """Name in messages."""
        return str(self.gt)


@dataclass(frozen=True, kw_only=True)
class Survey:
    """Measurements of one picture. `digest` is that of the pixels; `thumb` (32, 32) is luma from 0 to 255."""

    size: tuple[int, int]
    digest: bytes
    thumb: npt.NDArray[np.float32]
    orientation: int = 1
    near_blank: bool = False
    finest: float | None = None
    blockiness: float = 0.0


@dataclass(frozen=True)
class Examined:
    """Measurements of a picture and its input, or an error message; and the shift of the input."""

    gt: Survey | str
    lq: Survey | str | None = None
    shift: tuple[int, int] | None = None


def examine(job: Examination) -> Examined:
    """Read a picture and its input completely. Errors become sentences."""
    gt = _try_survey(job.gt, fully=job.fully)
    if job.lq is None:
        return Examined(gt)
    lq = _try_survey(job.lq, fully=False)
    if isinstance(gt, str) or isinstance(lq, str) or not has_expected_size(gt.size, lq.size, job.scale):
        return Examined(gt, lq)
    return Examined(gt, lq, _measure_shift(job.gt, job.lq, lq.size, job.scale))


def has_expected_size(gt: tuple[int, int], lq: tuple[int, int], scale: int) -> bool:
    """Whether an input (H, W) has the ground truth's size divided by the scale, rounded down or up."""
    return all(side in (truth // scale, -(-truth // scale)) for truth, side in zip(gt, lq, strict=True))


def _try_survey(ref: PictureRef, *, fully: bool) -> Survey | str:
    try:
        return survey(ref, fully=fully)
    except PictureError as error:
        return str(error)
    except Exception as error:  # one unexpected fault must not end a check of 22,000 files
        return f"{ref}: could not be examined ({type(error).__name__}: {error})."


def survey(ref: PictureRef, *, fully: bool = True) -> Survey:
    """Read a picture completely and measure it. Raises PictureError if it is unreadable."""
    with open_ref(ref) as reader:
        height, width = reader.info.height, reader.info.width
        rows_into, columns_into = compute_area_weights(height), compute_area_weights(width).T
        thumb = np.zeros((SIDE, SIDE), np.float32)
        digest = hashlib.blake2b(f"{height} {width} {reader.info.depth}".encode(), digest_size=20)
        detail, blocks, blank = DetailMeter(), BlockMeter(), BlankMeter()
        for first in range(0, height, STRIP):
            pixels = np.ascontiguousarray(read_rgb_rows(reader, first, min(STRIP, height - first)).pixels)
            digest.update(pixels.data)
            luma = _to_luma(pixels)
            thumb += rows_into[:, first : first + len(luma)] @ (luma @ columns_into)
            blank.take(luma)
            if fully:
                detail.take(luma)
                blocks.take(luma)
    return Survey(
        size=(height, width),
        digest=digest.digest(),
        thumb=thumb,
        orientation=1 if ref.key else _read_orientation(Path(ref.place)),
        near_blank=blank.near_blank,
        finest=detail.finest,
        blockiness=blocks.blockiness,
    )


def _to_luma(pixels: Pixels) -> Luma:
    """(h, W, 3) -> (h, W), from 0 to 255."""
    return (pixels @ _LUMA) * np.float32(255 / np.iinfo(pixels.dtype).max)


def _read_orientation(path: Path) -> int:
    """Read the EXIF orientation, from 1 (upright) to 8."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    try:
        image = vips().Image.new_from_source(vips().Source.new_from_descriptor(descriptor), "", access="sequential")
        return int(image.get("orientation")) if image.get_typeof("orientation") else 1
    except vips().Error:  # formats read without libvips have no such tag
        return 1
    finally:
        os.close(descriptor)


def _measure_shift(
    gt_ref: PictureRef, lq_ref: PictureRef, lq_size: tuple[int, int], scale: int
) -> tuple[int, int] | None:
    """Distance, in ground-truth pixels, of the input's center from its expected position."""
    side = min(*lq_size, -(-WINDOW // scale))
    top, left = ((length - side) // 2 for length in lq_size)
    with open_ref(lq_ref) as reader:
        lq = _to_luma(read_rgb_rows(reader, top, side).pixels)[:, left : left + side]
    with open_ref(gt_ref) as reader:
        last = min(reader.info.height, (top + side) * scale)
        gt = _to_luma(read_rgb_rows(reader, top * scale, last - top * scale).pixels)
        gt = gt[:, left * scale : (left + side) * scale]
    upscaled = resize(torch.from_numpy(np.ascontiguousarray(lq)), scale=scale)[: gt.shape[0], : gt.shape[1]]
    return find_shift(upscaled.numpy(), gt)
