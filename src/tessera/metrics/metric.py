"""The declaration of a metric: its facts, the rows it reads, and the function that starts it on a picture.

Rows are NumPy arrays; only the metrics with a network import PyTorch. Nothing here imports either, so option help,
tables and reports are built from declarations alone.

Shapes: C channels, H height, W width; h rows at a time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
else:  # option help reads the declarations, and importing NumPy takes a tenth of a second
    Floats = object

Rows = Literal["channels", "rgb", "whole", "gray", "pirm-gray", "input"]
"""The rows an accumulator receives; the protocol decides crop and rounding.

- `channels`: result and reference in the channels the protocol compares, (C, h, W) twice in levels of 255
- `rgb`: result and reference in RGB, (3, h, W) twice in levels of 255
- `whole`: result and reference in one call, (1, 3, H, W) twice, RGB in [0, 1]
- `gray`: the result in the protocol's gray, (h, W) in integer levels of 255
- `pirm-gray`: the result's Y with 4 pixels cropped, (h, W) in integer levels of 255 (PIRM 2018)
- `input`: the result downsampled to the input's size, and the input, (3, h, W) twice in levels of 255
"""

_REFERENCES: dict[Rows, tuple[Literal["gt", "lq"], ...]] = {
    "channels": ("gt",),
    "rgb": ("gt",),
    "whole": ("gt",),
    "gray": (),
    "pirm-gray": (),
    "input": ("lq",),
}


@dataclass(frozen=True, kw_only=True)
class Frame:
    """The picture that an accumulator is started for; sides are those of the rows it receives."""

    path: Path
    height: int
    width: int
    eps: float = 0.0
    """Added to the mean squared error, in levels of 255 squared."""


@dataclass(frozen=True, kw_only=True)
class Sources:
    """Sources of weights and external scores."""

    offline: bool = False
    niqe_model: Path | None = None
    """NIQE's statistics (.npz) instead of the published ones."""
    ma: str | None = None
    """Ma for PI: a table of scores, or a command that contains {picture}."""


@dataclass(frozen=True)
class Accumulator:
    """One metric on one picture: takes rows as they are read and returns the score at the end."""

    take: Callable[..., None]
    """Takes the next rows, as `Rows` describes them."""
    score: Callable[[], float] | None = None
    """The picture's score; None for a metric that scores whole sets only."""
    state: Callable[[], Any] | None = None
    """The picture's input to `Metric.pool`."""


Start = Callable[[Frame], Accumulator]


@dataclass(frozen=True, kw_only=True)
class MetricInfo:
    """The meaning of a metric's score."""

    name: str
    """The name in options and columns: psnr, ssim, niqe ..."""
    title: str
    """The heading of a table: PSNR (dB)."""
    summary: str
    """What it measures, in one sentence."""
    source: str
    """The paper and the variant that is implemented."""
    higher_is_better: bool
    lowest: float
    highest: float
    """The ends of its range."""
    typical: str = ""
    """Values to expect, in words."""
    unit: str = ""
    needs: tuple[Literal["gt", "lq"], ...] = ()
    """Pictures it reads besides the result: "gt" the reference, "lq" the input."""
    trunk: str | None = None
    """The pretrained network of a learned metric, by its name in `trunks`."""
    smallest_side: int = 1
    """Minimum side in pixels after cropping."""
    decimals: int = 4

    @property
    def range(self) -> str:
        """The range in words, such as "0 to 1" or "0 or more; photographs have 2 to 5"."""
        if not math.isinf(self.highest):
            ends = f"{self.lowest:g} to {self.highest:g}"
        else:
            ends = "" if math.isinf(self.lowest) else f"{self.lowest:g} or more"
        return "; ".join(part for part in (ends, self.typical) if part)

    @property
    def arrow(self) -> str:
        """↑ where higher is better, ↓ where lower is."""
        return "↑" if self.higher_is_better else "↓"


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A metric's one declaration; `catalog.METRICS` lists all of them."""

    info: MetricInfo
    rows: Rows
    load: Callable[[Sources], Start]
    """Loads weights, if any, and returns the function that starts the metric on a picture."""
    pool: Callable[[Sequence[Any]], float | None] | None = None
    """The score of a set from the `state` of its pictures, if it is not the mean of their scores.

    Used for metrics without a score per picture, and by protocols that average over pixels.
    """
    remark: Callable[[float, int], str] | None = None
    """A remark on the score of a set: (score, number of pictures) -> a sentence."""

    @property
    def is_of_sets(self) -> bool:
        """Whether it scores whole sets only, such as FID: without a name for a single picture's score."""
        return self.pool is not None and self.rows == "whole"

    def __post_init__(self) -> None:
        """Check that the rows match `info.needs`."""
        assert self.info.needs == _REFERENCES[self.rows], f"{self.info.name}: {self.rows} rows need other pictures"
