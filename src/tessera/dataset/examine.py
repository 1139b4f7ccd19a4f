"""One picture, or a pair, examined on its own: read whole, in strips, each strip seen by every meter.

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

from tessera.dataset.alignment import WINDOW, shift_between
from tessera.dataset.blemishes import STRIP, BlankMeter, BlockMeter, DetailMeter, Luma
from tessera.dataset.decoding import Pixels, open_ref, rgb_rows
from tessera.dataset.fingerprint import SIDE, area_weights
from tessera.dataset.sources import PictureRef
from tessera.errors import PictureError
from tessera.images.libvips import vips
from tessera.images.resize import resize

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True)
class Job:
    """A picture to examine, with its input if there is one; `fully` looks for blemishes as well."""

    gt: PictureRef
    lq: PictureRef | None = None
    scale: int = 1
    fully: bool = True

    def __str__(self) -> str:
        """What it is called in sentences."""
        return str(self.gt)


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What was seen of one picture. `digest` is of the pixels; `thumb` (32, 32) is luma in levels of 255."""

    size: tuple[int, int]
    digest: bytes
    thumb: npt.NDArray[np.float32]
    orientation: int = 1
    near_blank: bool = False
    finest: float | None = None
    blockiness: float = 0.0


@dataclass(frozen=True)
class Examined:
    """A picture's survey or the sentence about why there is none; of its input too, and how far that is shifted."""

    gt: Survey | str
    lq: Survey | str | None = None
    shift: tuple[int, int] | None = None


def examine(job: Job) -> Examined:
    """Read a picture, and its input, to the last row. What cannot be read becomes a sentence."""
    gt = _surveyed(job.gt, fully=job.fully)
    if job.lq is None:
        return Examined(gt)
    lq = _surveyed(job.lq, fully=False)
    if isinstance(gt, str) or isinstance(lq, str) or not sizes_fit(gt.size, lq.size, job.scale):
        return Examined(gt, lq)
    return Examined(gt, lq, _shift(job.gt, job.lq, lq.size, job.scale))


def sizes_fit(gt: tuple[int, int], lq: tuple[int, int], scale: int) -> bool:
    """Whether an input (H, W) has the size of its truth divided by the scale, rounded down or up."""
    return all(side in (truth // scale, -(-truth // scale)) for truth, side in zip(gt, lq, strict=True))


def _surveyed(ref: PictureRef, *, fully: bool) -> Survey | str:
    try:
        return survey(ref, fully=fully)
    except PictureError as error:
        return str(error)
    except Exception as error:  # one file in 22,000 that breaks something new may not end the search
        return f"{ref}: could not be examined ({type(error).__name__}: {error})."


def survey(ref: PictureRef, *, fully: bool = True) -> Survey:
    """Read a picture to the last row and measure it. Raises PictureError when it cannot be read."""
    with open_ref(ref) as reader:
        height, width = reader.info.height, reader.info.width
        rows_into, columns_into = area_weights(height), area_weights(width).T
        thumb = np.zeros((SIDE, SIDE), np.float32)
        digest = hashlib.blake2b(f"{height} {width} {reader.info.depth}".encode(), digest_size=20)
        detail, blocks, blank = DetailMeter(), BlockMeter(), BlankMeter()
        for first in range(0, height, STRIP):
            pixels = np.ascontiguousarray(rgb_rows(reader, first, min(STRIP, height - first)).pixels)
            digest.update(pixels.data)
            luma = _luma(pixels)
            thumb += rows_into[:, first : first + len(luma)] @ (luma @ columns_into)
            blank.take(luma)
            if fully:
                detail.take(luma)
                blocks.take(luma)
    return Survey(
        size=(height, width),
        digest=digest.digest(),
        thumb=thumb,
        orientation=1 if ref.key else _orientation_tag(Path(ref.place)),
        near_blank=blank.near_blank,
        finest=detail.finest,
        blockiness=blocks.blockiness,
    )


def _luma(pixels: Pixels) -> Luma:
    """(h, W, 3) -> (h, W) in levels of 255."""
    return (pixels @ _LUMA) * np.float32(255 / np.iinfo(pixels.dtype).max)


def _orientation_tag(path: Path) -> int:
    """What the file says about how it must be turned: 1, as it is, to 8."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    try:
        image = vips().Image.new_from_source(vips().Source.new_from_descriptor(descriptor), "", access="sequential")
        return int(image.get("orientation")) if image.get_typeof("orientation") else 1
    except vips().Error:  # formats that are read without libvips have no such tag
        return 1
    finally:
        os.close(descriptor)


def _shift(gt_ref: PictureRef, lq_ref: PictureRef, lq_size: tuple[int, int], scale: int) -> tuple[int, int] | None:
    """How far, in pixels of the truth, the middle of the input lies from where it should."""
    side = min(*lq_size, -(-WINDOW // scale))
    top, left = ((length - side) // 2 for length in lq_size)
    with open_ref(lq_ref) as reader:
        lq = _luma(rgb_rows(reader, top, side).pixels)[:, left : left + side]
    with open_ref(gt_ref) as reader:
        last = min(reader.info.height, (top + side) * scale)
        gt = _luma(rgb_rows(reader, top * scale, last - top * scale).pixels)
        gt = gt[:, left * scale : (left + side) * scale]
    enlarged = resize(torch.from_numpy(np.ascontiguousarray(lq)), scale=scale)[: gt.shape[0], : gt.shape[1]]
    return shift_between(enlarged, torch.from_numpy(np.ascontiguousarray(gt)))
