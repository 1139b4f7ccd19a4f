"""What takes a result's rows as they are read: one class per way of measuring, each fed with the same rows.

What needs a whole picture at once (LPIPS, DISTS, FID's features) keeps the rows until the end. Shapes: C channels, h
rows at a time, W width.
"""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tessera.dataset.alignment import WINDOW, shift_between
from tessera.errors import TesseraError
from tessera.evaluate.learned import Learned
from tessera.evaluate.levels import Levels, compared, gray_for_niqe
from tessera.evaluate.protocol import Channels, NiqeGray, Protocol
from tessera.images.color import rgb_to_lab
from tessera.images.filters import compute_bands
from tessera.images.resample import RowResizer
from tessera.metrics.color_difference import ciede2000
from tessera.metrics.niqe import NiqeRows, PristineModel
from tessera.metrics.perceptual_index import perceptual_index
from tessera.metrics.psnr import SquaredError
from tessera.metrics.ssim import SMALLEST_SIDE, SMALLEST_SIDE_OF_FIVE, MsSsimRows, SsimRows


@dataclass
class Work:
    """What is found on the way."""

    path: Path
    scores: dict[str, float] = field(default_factory=dict[str, float])
    problems: list[str] = field(default_factory=list[str])
    notes: list[str] = field(default_factory=list[str])
    squared_error: float = math.nan
    values: int = 0
    features: tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]] | None = None


class Sink(ABC):
    """Takes rows of the result and of the reference; gives scores at the end."""

    @abstractmethod
    def take(self, rows: Tensor, truth: Tensor | None) -> None:
        """Take the next rows (C, h, W) in levels, and those of the reference where there is one."""

    @abstractmethod
    def finish(self, work: Work) -> None:
        """Put what all rows gave into the scores, or why they gave nothing into the problems."""


class Compared(Sink):
    """PSNR, RMSE, SSIM, MS-SSIM and CIEDE2000 of what the protocol leaves of both pictures."""

    def __init__(
        self,
        wanted: list[str],
        protocol: Protocol,
        channels: Channels,
        crop: int,
        size: tuple[int, int],
        work: Work,
    ) -> None:
        self._wanted, self._protocol = wanted, protocol
        self._channels: Channels = channels
        self._first, self._last = crop, size[0] - crop
        self._columns = slice(crop, size[1] - crop)
        self._row = 0
        side = min(size) - 2 * crop
        for name, least in (("ssim", SMALLEST_SIDE), ("ms-ssim", SMALLEST_SIDE_OF_FIVE)):
            if name in wanted and side < least:
                work.problems.append(f"{work.path}: {name} needs {least} pixels a side, and {side} are left.")
                wanted.remove(name)
        self._error = SquaredError()
        self._ssim = SsimRows(data_range=255) if "ssim" in wanted else None
        self._ms_ssim = MsSsimRows(data_range=255) if "ms-ssim" in wanted else None
        self._color, self._count = 0.0, 0

    def take(self, rows: Tensor, truth: Tensor | None) -> None:
        """Add the squared error, the windows' similarity and the color difference of these rows."""
        assert truth is not None
        here = slice(max(0, self._first - self._row), max(0, self._last - self._row))
        self._row += rows.shape[1]
        sr, gt = (part[:, here, self._columns] for part in (rows, truth))
        if not sr.shape[1]:
            return
        sr = sr.round() if self._protocol.rounded else sr
        pair = [compared(part, self._channels) for part in (sr, gt)]
        self._error.take(*pair)
        if self._ssim is not None:
            self._ssim.take(*pair)
        if self._ms_ssim is not None:
            self._ms_ssim.take(*pair)
        if "delta-e" in self._wanted:
            apart = ciede2000(rgb_to_lab(sr / 255), rgb_to_lab(gt / 255))
            self._color += float(apart.sum())
            self._count += apart.numel()

    def finish(self, work: Work) -> None:
        """Put each score that was wanted."""
        work.squared_error, work.values = self._error.mean, self._error.count
        found: dict[str, Callable[[], float]] = {
            "psnr": lambda: self._error.psnr(data_range=255, eps=self._protocol.eps),
            "rmse": lambda: math.sqrt(self._error.mean),
            "ssim": lambda: self._ssim.score if self._ssim is not None else math.nan,
            "ms-ssim": lambda: self._ms_ssim.score if self._ms_ssim is not None else math.nan,
            "delta-e": lambda: self._color / self._count,
        }
        work.scores |= {name: found[name]() for name in self._wanted}


class Alignment(Sink):
    """Says when a result is shifted against its reference."""

    def __init__(self, size: tuple[int, int]) -> None:
        starts = [max(0, (length - WINDOW) // 2) for length in size]
        self._first, self._last = starts[0], min(size[0], starts[0] + WINDOW)
        self._columns = slice(starts[1], starts[1] + WINDOW)
        self._row = 0
        self._parts: list[Tensor] = []

    def take(self, rows: Tensor, truth: Tensor | None) -> None:
        """Keep what lies in the middle of the picture."""
        assert truth is not None
        here = slice(max(0, self._first - self._row), max(0, self._last - self._row))
        self._row += rows.shape[1]
        if rows[:, here].shape[1]:
            self._parts.append(torch.stack([part[:, here, self._columns].mean(dim=0) for part in (rows, truth)]))

    def finish(self, work: Work) -> None:
        """Put a problem when another place fits better."""
        shift = shift_between(*torch.cat(self._parts, dim=1))
        if shift is not None:
            down, right = shift
            ways = [(right, "right", "left"), (down, "down", "up")]
            where = " and ".join(f"{abs(by)} {plus if by > 0 else minus}" for by, plus, minus in ways if by)
            work.problems.append(
                f"{work.path}: seems shifted against its reference ({where}, in pixels); its scores are those of a"
                " picture that lies elsewhere."
            )


class Niqe(Sink):
    """NIQE of the result alone."""

    def __init__(self, pristine: PristineModel, protocol: Protocol, crop: int, size: tuple[int, int]) -> None:
        self._pristine = pristine
        self._gray: NiqeGray = protocol.niqe_gray
        self._first, self._last = crop, size[0] - crop
        self._columns = slice(crop, size[1] - crop)
        self._row = 0
        self._rows = NiqeRows(max(0, size[0] - 2 * crop), max(0, size[1] - 2 * crop))

    def take(self, rows: Tensor, truth: Tensor | None) -> None:
        """Give the rows inside the crop to NIQE, in gray."""
        here = slice(max(0, self._first - self._row), max(0, self._last - self._row))
        self._row += rows.shape[1]
        self._rows.take(gray_for_niqe(rows[:, here, self._columns], self._gray))

    def finish(self, work: Work) -> None:
        """Put the score."""
        work.scores["niqe"] = self._rows.score(self._pristine)


class PerceptualIndex(Niqe):
    """PI, as PIRM measures it: NIQE on Y with 4 pixels cropped, and Ma from outside."""

    def __init__(
        self, pristine: PristineModel, protocol: Protocol, size: tuple[int, int], ma: Callable[[Path], float]
    ) -> None:
        super().__init__(pristine, dataclasses.replace(protocol, niqe_gray="y"), 4, size)
        self._ma = ma

    def finish(self, work: Work) -> None:
        """Put the index."""
        score = self._rows.score(self._pristine)
        work.scores["pi"] = perceptual_index(ma=self._ma(work.path), niqe=score)


class Whole(Sink):
    """What needs both pictures whole: LPIPS, DISTS and FID's features, on RGB."""

    def __init__(
        self,
        learned: dict[str, Callable[[Tensor, Tensor], float]],
        inception: Learned | None,
        protocol: Protocol,
        crop: int,
        size: tuple[int, int],
    ) -> None:
        self._learned, self._inception, self._rounded = learned, inception, protocol.rounded
        self._inside = (slice(crop, size[0] - crop), slice(crop, size[1] - crop))
        self._parts: list[Tensor] = []

    def take(self, rows: Tensor, truth: Tensor | None) -> None:
        """Keep the rows, in [0, 1]."""
        assert truth is not None
        self._parts.append(torch.stack((rows.round() if self._rounded else rows, truth)).div(255).float())

    def finish(self, work: Work) -> None:
        """Run the networks on the whole pictures."""
        pair = torch.cat(self._parts, dim=2)[:, :, *self._inside]
        sr, gt = pair[:1], pair[1:]
        for name, measure in self._learned.items():
            try:
                work.scores[name] = measure(sr, gt)
            except TesseraError as error:
                work.problems.append(f"{work.path}: {error}")
        if self._inception is not None:
            work.features = self._inception.features(sr), self._inception.features(gt)


class Consistency(Sink):
    """The result shrunk again, beside what it was made from."""

    def __init__(self, lq: Levels, protocol: Protocol, size: tuple[int, int]) -> None:
        self._lq = lq
        down, across = (
            compute_bands(long, short, short / long, protocol.lq_kernel)
            for long, short in zip(size, (lq.height, lq.width), strict=True)
        )
        self._resizer = RowResizer(down, across, np.float64)
        self._row = 0
        self._error = SquaredError()

    @staticmethod
    def open(path: Path, protocol: Protocol, scale: int, size: tuple[int, int], work: Work) -> Consistency | None:
        """Open the input of a result; None, with a problem, where the two do not fit each other."""
        lq = opened(path, work)
        if lq is None:
            return None
        if (lq.height * scale, lq.width * scale) != size:
            work.problems.append(
                f"{path}: {lq.width}x{lq.height} times {scale} is not {size[1]}x{size[0]}, so the result cannot be"
                " compared with its input."
            )
            return None
        return Consistency(lq, protocol, size)

    def take(self, rows: Tensor, truth: Tensor | None) -> None:
        """Shrink these rows and add their squared error."""
        small = torch.from_numpy(self._resizer.take(rows.numpy()))
        if small.shape[1]:
            self._error.take(small, self._lq.read_rows(self._row, small.shape[1]))
            self._row += small.shape[1]

    def finish(self, work: Work) -> None:
        """Put the score."""
        self._lq.__exit__(None, None, None)
        work.scores["lr-psnr"] = self._error.psnr(data_range=255)


def opened(path: Path, work: Work) -> Levels | None:
    """Open a picture; None, with a problem, where it cannot be read."""
    try:
        return Levels(path)
    except TesseraError as error:
        work.problems.append(str(error))
        return None
