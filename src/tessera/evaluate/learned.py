"""Metrics that need weights of their own, loaded once for an evaluation: LPIPS, DISTS, FID's network, PI's Ma.

Shapes: B pictures, H height, W width; RGB in [0, 1].
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tessera.errors import UsageError
from tessera.evaluate.scores import MetricInfo
from tessera.metrics.dists import DistsModel, dists
from tessera.metrics.fid import inception_features
from tessera.metrics.lpips import LpipsModel, Net, lpips
from tessera.metrics.perceptual_index import ma_from_command, ma_from_file, ma_of
from tessera.trunks import Trunk, load_trunk

LEARNED_METRICS: tuple[MetricInfo, ...] = (
    *(
        MetricInfo(
            name=f"lpips-{net}",
            title=f"LPIPS ({net})",
            higher_is_better=False,
            needs=("gt",),
            range="0 to about 1",
            source="Zhang et al. 2018, heads v0.1",
        )
        for net in ("alex", "vgg", "squeeze")
    ),
    MetricInfo(
        name="dists",
        title="DISTS",
        higher_is_better=False,
        needs=("gt",),
        range="0 to about 1",
        source="Ding et al. 2020, at the pictures' own size",
    ),
    MetricInfo(
        name="pi",
        title="PI",
        higher_is_better=False,
        needs=(),
        range="about 2 to 10",
        source="((10 - Ma) + NIQE) / 2, NIQE on Y with 4 pixels cropped; Ma as given (PIRM 2018)",
    ),
    MetricInfo(
        name="fid",
        title="FID",
        higher_is_better=False,
        needs=("gt",),
        range="0 upwards",
        source="Heusel et al. 2017, Inception pool3, bilinear to 299x299; one number for the whole set",
        decimals=3,
    ),
)


@dataclass(frozen=True, kw_only=True)
class Learned:
    """What is needed for the learned metrics of an evaluation, by metric."""

    compared: Mapping[str, Callable[[Tensor, Tensor], float]] = field(
        default_factory=dict[str, Callable[[Tensor, Tensor], float]]
    )
    """Metrics of a pair (1, 3, H, W)."""
    inception: Trunk | None = None
    ma: Callable[[Path], float] | None = None

    def features(self, picture: Tensor) -> npt.NDArray[np.float64]:
        """FID's features of a picture (1, 3, H, W) -> (1, 2048)."""
        assert self.inception is not None
        with torch.inference_mode():
            return np.asarray(inception_features(self.inception, picture).double())


def load_learned(names: Sequence[str], *, ma: str | None, offline: bool = False) -> Learned:
    """Load the weights that these metrics want. Raises UsageError, and what fetching and reading weights raises."""
    compared: dict[str, Callable[[Tensor, Tensor], float]] = {}
    for name in names:
        if name.startswith("lpips-"):
            compared[name] = _lpips(LpipsModel.load(cast(Net, name.removeprefix("lpips-")), offline=offline))
        elif name == "dists":
            compared[name] = _dists(DistsModel.load(offline=offline))
    return Learned(
        compared=compared,
        inception=load_trunk("inception", offline=offline) if "fid" in names else None,
        ma=ma_source(ma) if "pi" in names else None,
    )


def ma_source(text: str | None) -> Callable[[Path], float]:
    """Where Ma comes from: a command with {picture} in it, or a table of scores. Raises UsageError."""
    if text is None:
        raise UsageError(
            "--metrics pi needs Ma: --ma names a table (picture, score) or a command with {picture} in it."
        )
    if "{picture}" in text:
        return lambda path: ma_from_command(text, path)
    table = ma_from_file(Path(text))
    return lambda path: ma_of(path, table)


def _lpips(model: LpipsModel) -> Callable[[Tensor, Tensor], float]:
    def measure(sr: Tensor, gt: Tensor) -> float:
        with torch.inference_mode():
            return float(lpips(sr, gt, model))

    return measure


def _dists(model: DistsModel) -> Callable[[Tensor, Tensor], float]:
    def measure(sr: Tensor, gt: Tensor) -> float:
        with torch.inference_mode():
            return float(dists(sr, gt, model))

    return measure
