"""The training data set: sample number -> crop of a picture or pair.

Shapes: H height, W width, P side of a ground-truth crop, p = P / s side of an input crop.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import NotRequired, TypedDict

from torch import Tensor
from torch.utils.data import Dataset

from tessera.dataset.cache import Cache, DiskCache, MemoryCache
from tessera.dataset.config import DataConfig
from tessera.dataset.crops import CropDraw, Pixels, derive_sample_rng, draw_crop, pad_and_orient, scale_crop
from tessera.dataset.decoding import ALPHA_NOTE, open_ref, read_rgb, read_rgb_rows, to_chw
from tessera.dataset.sampling import choose_picture
from tessera.dataset.sources import Listing, PictureRef
from tessera.errors import PictureError, UsageError

_MOST_ATTEMPTS = 64


class Sample(TypedDict):
    """One crop: `gt` (3, P, P) and, for pairs, `lq` (3, p, p), uint8, or float32 in [0, 1] for 16-bit files.

    `number` is the sample's, `picture` its index in the listing; `problem` has messages, one per line.
    """

    gt: Tensor
    lq: NotRequired[Tensor]
    number: int
    picture: int
    problem: str


@dataclass(frozen=True)
class _OpenPicture:
    """An opened picture: its size (H, W), and `rows(first, count)` -> (count, W, 3), to be called once."""

    size: tuple[int, int]
    had_alpha: bool
    rows: Callable[[int, int], Pixels]


class CropDataset(Dataset[Sample]):
    """Crops of the pictures of a listing; sample `number` is always the same, in every process.

    An unreadable picture is replaced by the next one in the order of its epoch, with a message in the sample. Without a
    cache only the rows down to the crop are decoded, so damage below them is not noticed. All random draws follow from
    `seed` and the number; `writers` processes share the limit of the cache.

    Raises UsageError for no pictures or a patch that is not a multiple of the scale; PictureError, from an item, if
    many pictures in a row are unreadable.
    """

    def __init__(self, listing: Listing, config: DataConfig, *, seed: int, scale: int = 1, writers: int = 1) -> None:
        if not len(listing):
            raise UsageError("No pictures to train on.")
        if listing.lq is not None and config.patch % scale:
            raise UsageError(f"data.patch: expected a multiple of the scale, {scale}; found {config.patch}.")
        self.listing = listing
        self._config = config
        self._seed = seed
        self._scale = scale
        self._writers = max(1, writers)
        self._cache: Cache | None = None

    def __len__(self) -> int:
        return len(self.listing)

    def __getitem__(self, number: int) -> Sample:
        problems: list[str] = []
        for attempt in range(min(len(self.listing), _MOST_ATTEMPTS)):
            picture = choose_picture(number, len(self.listing), self._seed, attempt=attempt)
            try:
                if self.listing.lq is None:
                    gt, had_alpha = self._read_gt(number, self.listing.gt[picture])
                    sample = Sample(gt=gt, number=number, picture=picture, problem="")
                else:
                    gt, lq, had_alpha = self._read_pair(number, self.listing.gt[picture], self.listing.lq[picture])
                    sample = Sample(gt=gt, lq=lq, number=number, picture=picture, problem="")
            except PictureError as error:
                problems.append(str(error).replace("\n", " "))
                continue
            sample["problem"] = "\n".join([*problems, ALPHA_NOTE] if had_alpha else problems)
            return sample
        raise PictureError(f"{len(problems)} pictures in a row could not be read; the first: {problems[0]}")

    def _read_gt(self, number: int, ref: PictureRef) -> tuple[Tensor, bool]:
        with self._open(ref) as gt:
            draw = self._draw(number, gt.size, grid=1)
            part = _read_part(gt, draw, self._config.patch, gt.size)
            return to_chw(pad_and_orient(part, draw, self._config.patch, paired=False)), gt.had_alpha

    def _read_pair(self, number: int, gt_ref: PictureRef, lq_ref: PictureRef) -> tuple[Tensor, Tensor, bool]:
        patch, scale = self._config.patch, self._scale
        with self._open(gt_ref) as gt, self._open(lq_ref) as lq:
            lq_size = _find_common_size(gt_ref, gt.size, lq_ref, lq.size, scale)
            gt_size = (lq_size[0] * scale, lq_size[1] * scale)
            draw = self._draw(number, gt_size, grid=scale)
            lq_draw = scale_crop(draw, scale)
            gt_part = _read_part(gt, draw, patch, gt_size)
            lq_part = _read_part(lq, lq_draw, patch // scale, lq_size)
            return (
                to_chw(pad_and_orient(gt_part, draw, patch, paired=True)),
                to_chw(pad_and_orient(lq_part, lq_draw, patch // scale, paired=True)),
                gt.had_alpha or lq.had_alpha,
            )

    def _draw(self, number: int, size: tuple[int, int], *, grid: int) -> CropDraw:
        config, rng = self._config, derive_sample_rng(self._seed, "crop", number)
        return draw_crop(size, config.patch, rng, flips=config.flips, rotations=config.rotations, grid=grid)

    @contextlib.contextmanager
    def _open(self, ref: PictureRef) -> Generator[_OpenPicture]:
        """Open a picture from the cache, or its file down to the requested rows."""
        cache = self._open_cache()
        if cache is None:
            with open_ref(ref) as reader:
                size = (reader.info.height, reader.info.width)
                yield _OpenPicture(
                    size, reader.info.has_alpha, lambda first, count: read_rgb_rows(reader, first, count).pixels
                )
            return
        decoded = cache.get(ref, read_rgb)
        pixels = decoded.pixels
        height, width = pixels.shape[:2]
        yield _OpenPicture((height, width), decoded.had_alpha, lambda first, count: pixels[first : first + count])

    def _open_cache(self) -> Cache | None:
        """Open the cache on first use: each worker fills its own share of it."""
        if self._cache is None and self._config.cache != "none":
            limit = int(self._config.cache_gib * 2**30)
            if self._config.cache == "memory":
                self._cache = MemoryCache(limit // self._writers)
            else:
                assert self._config.cache_folder is not None
                self._cache = DiskCache(self._config.cache_folder, limit, writers=self._writers)
        return self._cache


def _read_part(opened: _OpenPicture, draw: CropDraw, patch: int, size: tuple[int, int]) -> Pixels:
    """Read the part of the crop that lies within `size` (H, W)."""
    rows = opened.rows(draw.top, min(patch, size[0] - draw.top))
    return rows[:, draw.left : min(draw.left + patch, size[1])]


def _find_common_size(
    gt_ref: PictureRef, gt: tuple[int, int], lq_ref: PictureRef, lq: tuple[int, int], scale: int
) -> tuple[int, int]:
    """Size (H, W) of the input that the ground truth covers: without a last row made from less than `scale` rows."""
    for truth, side in zip(gt, lq, strict=True):
        if side not in (truth // scale, -(-truth // scale)) or truth < scale:
            raise PictureError(f"{lq_ref}: is {lq[1]}x{lq[0]}, expected {gt_ref} ({gt[1]}x{gt[0]}) divided by {scale}.")
    return min(lq[0], gt[0] // scale), min(lq[1], gt[1] // scale)
