"""One result against its reference and its input: files read in strips, every metric fed with the same rows.

What needs a whole picture at once (LPIPS, DISTS) gets it after the strips. Shapes: h rows at a time, W width.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tessera.color import rgb_to_lab
from tessera.dataset.alignment import WINDOW, shift_between
from tessera.errors import TesseraError
from tessera.evaluate.learned import LEARNED_METRICS, Learned
from tessera.evaluate.levels import Levels, compared, gray_for_niqe, rows_at_a_time
from tessera.evaluate.protocol import Channels, NiqeGray, Protocol
from tessera.evaluate.scores import MetricInfo
from tessera.kernels import bands
from tessera.metrics.color_difference import ciede2000
from tessera.metrics.niqe import NiqeRows, PristineModel
from tessera.metrics.perceptual_index import perceptual_index
from tessera.metrics.psnr import SquaredError
from tessera.metrics.ssim import SMALLEST_SIDE, SMALLEST_SIDE_OF_FIVE, MsSsimRows, SsimRows
from tessera.resample import RowResizer

METRICS: tuple[MetricInfo, ...] = (
    MetricInfo(
        name="psnr",
        title="PSNR (dB)",
        higher_is_better=True,
        needs=("gt",),
        range="0 to infinity",
        source="10 log10(255^2 / MSE)",
    ),
    MetricInfo(
        name="ssim",
        title="SSIM",
        higher_is_better=True,
        needs=("gt",),
        range="-1 to 1",
        source="Wang et al. 2004",
        decimals=4,
    ),
    MetricInfo(
        name="ms-ssim",
        title="MS-SSIM",
        higher_is_better=True,
        needs=("gt",),
        range="0 to 1",
        source="Wang, Simoncelli, Bovik 2003",
    ),
    MetricInfo(
        name="rmse",
        title="RMSE (levels)",
        higher_is_better=False,
        needs=("gt",),
        range="0 to 255",
        source="PIRM 2018 (Blau et al.)",
        decimals=3,
    ),
    MetricInfo(
        name="delta-e",
        title="CIEDE2000",
        higher_is_better=False,
        needs=("gt",),
        range="0 to about 100; 1 can just be seen",
        source="CIE 142-2001, mean over the pixels",
        decimals=3,
    ),
    MetricInfo(
        name="niqe",
        title="NIQE",
        higher_is_better=False,
        needs=(),
        range="0 upwards; photographs have 2 to 5",
        source="Mittal et al. 2013",
    ),
    MetricInfo(
        name="lr-psnr",
        title="LR consistency (dB)",
        higher_is_better=True,
        needs=("lq",),
        range="0 to infinity",
        source="PSNR of the shrunken result and the input, RGB (Lugmayr et al. 2021)",
        decimals=2,
    ),
    *LEARNED_METRICS,
)


def metric_info(name: str) -> MetricInfo | None:
    """What is known of a metric, by its name."""
    return next((metric for metric in METRICS if metric.name == name), None)


@dataclass(frozen=True, kw_only=True)
class Measured:
    """The scores of one picture, and sentences about those it could not get."""

    scores: dict[str, float]
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    squared_error: float = math.nan
    """Mean squared error in levels, for the protocol that averages over pixels."""
    values: int = 0
    """How many values that is the mean of."""
    features: tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]] | None = None
    """FID's features of the result and of the reference, when "fid" is among the metrics."""


@dataclass(frozen=True, kw_only=True)
class Scorer:
    """Measures results under one protocol. `pristine` is NIQE's model, wanted when "niqe" is among the metrics."""

    metrics: Sequence[str]
    protocol: Protocol
    scale: int
    pristine: PristineModel | None = None
    learned: Learned = field(default_factory=Learned)

    def measure(self, sr: Path, *, gt: Path | None = None, lq: Path | None = None) -> Measured:
        """Score one result. What cannot be had gets a sentence; the other metrics are measured all the same."""
        try:
            with Levels(sr) as result:
                return self._measure(result, gt, lq)
        except TesseraError as error:
            return Measured(scores={}, problems=(str(error),))

    def _measure(self, result: Levels, gt: Path | None, lq: Path | None) -> Measured:
        work = _Work(result.path)
        size = result.height, result.width
        reference: Levels | None = None
        if gt is not None and any(name in _WITH_REFERENCE for name in self.metrics):
            reference = _opened(gt, work)
        if reference is not None:
            fault = self._size_fault(size, reference)
            if fault:
                work.problems.append(fault)
                reference.__exit__(None, None, None)
                reference = None
            elif (reference.height, reference.width) != size:
                work.notes.append(
                    f"{reference.path.name}: {reference.width}x{reference.height} was cut to {size[1]}x{size[0]},"
                    " as many pixels as a multiple of the scale leaves."
                )
        sinks = self._sinks(work, size, reference, lq)
        try:
            step = rows_at_a_time(max(result.width, reference.width if reference is not None else 0))
            for first in range(0, result.height, step):
                count = min(step, result.height - first)
                rows = result.read_rows(first, count)
                truth = reference.read_rows(first, count)[..., : result.width] if reference is not None else None
                for sink in sinks:
                    sink.take(rows, truth)
        finally:
            if reference is not None:
                reference.__exit__(None, None, None)
        for sink in sinks:
            try:
                sink.finish(work)
            except (ValueError, TesseraError) as error:
                work.problems.append(f"{result.path}: {error}.")
        return Measured(
            scores={name: work.scores[name] for name in self.metrics if name in work.scores},
            problems=tuple(work.problems),
            notes=tuple(work.notes),
            squared_error=work.squared_error,
            values=work.values,
            features=work.features,
        )

    def _size_fault(self, size: tuple[int, int], reference: Levels) -> str | None:
        beyond = reference.height - size[0], reference.width - size[1]
        if all(0 <= pixels < max(self.scale, 1) or pixels == 0 for pixels in beyond):
            return None
        return (
            f"{reference.path}: is {reference.width}x{reference.height}, and the result {size[1]}x{size[0]}; pictures"
            " must have one size to be compared."
        )

    def _sinks(self, work: _Work, size: tuple[int, int], reference: Levels | None, lq: Path | None) -> list[_Sink]:
        protocol, sinks = self.protocol, list[_Sink]()
        crop = protocol.crop_of(self.scale)
        inside = size[0] - 2 * crop, size[1] - 2 * crop
        if reference is not None:
            if min(inside) < 1:
                work.problems.append(
                    f"{work.path}: nothing is left of {size[1]}x{size[0]} after cutting {crop} pixels."
                )
            else:
                wanted = [name for name in ("psnr", "rmse", "ssim", "ms-ssim", "delta-e") if name in self.metrics]
                channels: Channels = "y-full" if protocol.channels == "y" and reference.is_gray else protocol.channels
                sinks.append(_Compared(wanted, protocol, channels, crop, size, work))
                sinks.append(_Alignment(size))
                learned = {name: run for name, run in self.learned.compared.items() if name in self.metrics}
                inception = self.learned if "fid" in self.metrics and self.learned.inception is not None else None
                if learned or inception is not None:
                    sinks.append(_Whole(learned, inception, protocol, crop, size))
        if "niqe" in self.metrics and self.pristine is not None:
            sinks.append(_Niqe(self.pristine, protocol, protocol.niqe_crop_of(self.scale), size))
        if "pi" in self.metrics and self.pristine is not None and self.learned.ma is not None:
            sinks.append(_PerceptualIndex(self.pristine, protocol, size, self.learned.ma))
        if "lr-psnr" in self.metrics and lq is not None:
            consistency = _Consistency.open(lq, protocol, self.scale, size, work)
            if consistency is not None:
                sinks.append(consistency)
        return sinks


_WITH_REFERENCE = frozenset(metric.name for metric in METRICS if "gt" in metric.needs)


@dataclass
class _Work:
    """What is found on the way."""

    path: Path
    scores: dict[str, float] = field(default_factory=dict[str, float])
    problems: list[str] = field(default_factory=list[str])
    notes: list[str] = field(default_factory=list[str])
    squared_error: float = math.nan
    values: int = 0
    features: tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]] | None = None


class _Sink:
    """Takes rows of the result and of the reference; gives scores at the end."""

    def take(self, rows: Tensor, truth: Tensor | None) -> None:
        raise NotImplementedError

    def finish(self, work: _Work) -> None:
        raise NotImplementedError


class _Compared(_Sink):
    """PSNR, RMSE, SSIM, MS-SSIM and CIEDE2000 of what the protocol leaves of both pictures."""

    def __init__(
        self,
        wanted: list[str],
        protocol: Protocol,
        channels: Channels,
        crop: int,
        size: tuple[int, int],
        work: _Work,
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

    def finish(self, work: _Work) -> None:
        work.squared_error, work.values = self._error.mean, self._error.count
        found: dict[str, Callable[[], float]] = {
            "psnr": lambda: self._error.psnr(data_range=255, eps=self._protocol.eps),
            "rmse": lambda: math.sqrt(self._error.mean),
            "ssim": lambda: self._ssim.score if self._ssim is not None else math.nan,
            "ms-ssim": lambda: self._ms_ssim.score if self._ms_ssim is not None else math.nan,
            "delta-e": lambda: self._color / self._count,
        }
        work.scores |= {name: found[name]() for name in self._wanted}


class _Alignment(_Sink):
    """Says when a result is shifted against its reference."""

    def __init__(self, size: tuple[int, int]) -> None:
        starts = [max(0, (length - WINDOW) // 2) for length in size]
        self._first, self._last = starts[0], min(size[0], starts[0] + WINDOW)
        self._columns = slice(starts[1], starts[1] + WINDOW)
        self._row = 0
        self._parts: list[Tensor] = []

    def take(self, rows: Tensor, truth: Tensor | None) -> None:
        assert truth is not None
        here = slice(max(0, self._first - self._row), max(0, self._last - self._row))
        self._row += rows.shape[1]
        if rows[:, here].shape[1]:
            self._parts.append(torch.stack([part[:, here, self._columns].mean(dim=0) for part in (rows, truth)]))

    def finish(self, work: _Work) -> None:
        shift = shift_between(*torch.cat(self._parts, dim=1))
        if shift is not None:
            down, right = shift
            ways = [(right, "right", "left"), (down, "down", "up")]
            where = " and ".join(f"{abs(by)} {plus if by > 0 else minus}" for by, plus, minus in ways if by)
            work.problems.append(
                f"{work.path}: seems shifted against its reference ({where}, in pixels); its scores are those of a"
                " picture that lies elsewhere."
            )


class _Niqe(_Sink):
    """NIQE of the result alone."""

    def __init__(self, pristine: PristineModel, protocol: Protocol, crop: int, size: tuple[int, int]) -> None:
        self._pristine = pristine
        self._gray: NiqeGray = protocol.niqe_gray
        self._first, self._last = crop, size[0] - crop
        self._columns = slice(crop, size[1] - crop)
        self._row = 0
        self._rows = NiqeRows(max(0, size[0] - 2 * crop), max(0, size[1] - 2 * crop))

    def take(self, rows: Tensor, truth: Tensor | None) -> None:
        here = slice(max(0, self._first - self._row), max(0, self._last - self._row))
        self._row += rows.shape[1]
        self._rows.take(gray_for_niqe(rows[:, here, self._columns], self._gray))

    def finish(self, work: _Work) -> None:
        work.scores["niqe"] = self._rows.score(self._pristine)


class _PerceptualIndex(_Niqe):
    """PI, as PIRM measures it: NIQE on Y with 4 pixels cropped, and Ma from outside."""

    def __init__(
        self, pristine: PristineModel, protocol: Protocol, size: tuple[int, int], ma: Callable[[Path], float]
    ) -> None:
        super().__init__(pristine, dataclasses.replace(protocol, niqe_gray="y"), 4, size)
        self._ma = ma

    def finish(self, work: _Work) -> None:
        score = self._rows.score(self._pristine)
        work.scores["pi"] = perceptual_index(ma=self._ma(work.path), niqe=score)


class _Whole(_Sink):
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
        assert truth is not None
        self._parts.append(torch.stack((rows.round() if self._rounded else rows, truth)).div(255).float())

    def finish(self, work: _Work) -> None:
        pair = torch.cat(self._parts, dim=2)[:, :, *self._inside]
        sr, gt = pair[:1], pair[1:]
        for name, measure in self._learned.items():
            try:
                work.scores[name] = measure(sr, gt)
            except TesseraError as error:
                work.problems.append(f"{work.path}: {error}")
        if self._inception is not None:
            work.features = self._inception.features(sr), self._inception.features(gt)


class _Consistency(_Sink):
    """The result shrunk again, beside what it was made from."""

    def __init__(self, lq: Levels, protocol: Protocol, size: tuple[int, int]) -> None:
        self._lq = lq
        down, across = (
            bands(long, short, short / long, protocol.lq_kernel)
            for long, short in zip(size, (lq.height, lq.width), strict=True)
        )
        self._resizer = RowResizer(down, across, np.float64)
        self._row = 0
        self._error = SquaredError()

    @staticmethod
    def open(path: Path, protocol: Protocol, scale: int, size: tuple[int, int], work: _Work) -> _Consistency | None:
        lq = _opened(path, work)
        if lq is None:
            return None
        if (lq.height * scale, lq.width * scale) != size:
            work.problems.append(
                f"{path}: {lq.width}x{lq.height} times {scale} is not {size[1]}x{size[0]}, so the result cannot be"
                " compared with its input."
            )
            return None
        return _Consistency(lq, protocol, size)

    def take(self, rows: Tensor, truth: Tensor | None) -> None:
        small = torch.from_numpy(self._resizer.take(rows.numpy()))
        if small.shape[1]:
            self._error.take(small, self._lq.read_rows(self._row, small.shape[1]))
            self._row += small.shape[1]

    def finish(self, work: _Work) -> None:
        self._lq.__exit__(None, None, None)
        work.scores["lr-psnr"] = self._error.psnr(data_range=255)


def _opened(path: Path, work: _Work) -> Levels | None:
    try:
        return Levels(path)
    except TesseraError as error:
        work.problems.append(str(error))
        return None
