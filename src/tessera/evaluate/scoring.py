"""One result against its reference and its input: files read in strips, every metric fed with the same rows.

What needs a whole picture at once (LPIPS, DISTS) gets it after the strips. Shapes: h rows at a time, W width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tessera.errors import TesseraError
from tessera.evaluate.learned import LEARNED_METRICS, Learned
from tessera.evaluate.levels import Levels, rows_at_a_time
from tessera.evaluate.protocol import Channels, Protocol
from tessera.evaluate.scores import MetricInfo
from tessera.evaluate.sinks import (
    Alignment,
    Compared,
    Consistency,
    Niqe,
    PerceptualIndex,
    Sink,
    Whole,
    Work,
    opened,
)
from tessera.metrics.niqe import PristineModel

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
        work = Work(result.path)
        size = result.height, result.width
        reference: Levels | None = None
        if gt is not None and any(name in _WITH_REFERENCE for name in self.metrics):
            reference = opened(gt, work)
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

    def _sinks(self, work: Work, size: tuple[int, int], reference: Levels | None, lq: Path | None) -> list[Sink]:
        protocol, sinks = self.protocol, list[Sink]()
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
                sinks.append(Compared(wanted, protocol, channels, crop, size, work))
                sinks.append(Alignment(size))
                learned = {name: run for name, run in self.learned.compared.items() if name in self.metrics}
                inception = self.learned if "fid" in self.metrics and self.learned.inception is not None else None
                if learned or inception is not None:
                    sinks.append(Whole(learned, inception, protocol, crop, size))
        if "niqe" in self.metrics and self.pristine is not None:
            sinks.append(Niqe(self.pristine, protocol, protocol.niqe_crop_of(self.scale), size))
        if "pi" in self.metrics and self.pristine is not None and self.learned.ma is not None:
            sinks.append(PerceptualIndex(self.pristine, protocol, size, self.learned.ma))
        if "lr-psnr" in self.metrics and lq is not None:
            consistency = Consistency.open(lq, protocol, self.scale, size, work)
            if consistency is not None:
                sinks.append(consistency)
        return sinks


_WITH_REFERENCE = frozenset(metric.name for metric in METRICS if "gt" in metric.needs)
