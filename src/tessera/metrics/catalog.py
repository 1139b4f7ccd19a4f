"""All metrics: one declaration each. A new metric is its own module and one entry of `METRICS`.

`tessera evaluate`, its option help, tables, reports and the documentation are built from this list. A metric's module
is imported when the metric is loaded, so that the list itself needs no PyTorch.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from typing import Any

from tessera.errors import UsageError
from tessera.metrics.metric import Metric, MetricInfo, Sources, Start

ALIASES = {"lpips": "lpips-alex"}


def _load_psnr(_: Sources) -> Start:
    from tessera.metrics.psnr import start_psnr

    return start_psnr


def _load_rmse(_: Sources) -> Start:
    from tessera.metrics.psnr import start_rmse

    return start_rmse


def _load_ssim(_: Sources) -> Start:
    from tessera.metrics.ssim import start_ssim

    return start_ssim


def _load_ms_ssim(_: Sources) -> Start:
    from tessera.metrics.ssim import start_ms_ssim

    return start_ms_ssim


def _load_delta_e(_: Sources) -> Start:
    from tessera.metrics.color_difference import start_color_difference

    return start_color_difference


def _load_niqe(sources: Sources) -> Start:
    from tessera.metrics.niqe import load_pristine_model, start_niqe

    return start_niqe(load_pristine_model(sources.niqe_model))


def _load_lpips_alex(sources: Sources) -> Start:
    from tessera.metrics.lpips import LpipsModel, start_lpips

    return start_lpips(LpipsModel.load("alex", offline=sources.offline))


def _load_lpips_vgg(sources: Sources) -> Start:
    from tessera.metrics.lpips import LpipsModel, start_lpips

    return start_lpips(LpipsModel.load("vgg", offline=sources.offline))


def _load_lpips_squeeze(sources: Sources) -> Start:
    from tessera.metrics.lpips import LpipsModel, start_lpips

    return start_lpips(LpipsModel.load("squeeze", offline=sources.offline))


def _load_dists(sources: Sources) -> Start:
    from tessera.metrics.dists import DistsModel, start_dists

    return start_dists(DistsModel.load(offline=sources.offline))


def _load_pi(sources: Sources) -> Start:
    from tessera.metrics.perceptual_index import open_ma, start_perceptual_index

    ma = open_ma(sources.ma)
    return start_perceptual_index(_load_niqe(sources), ma)


def _load_fid(sources: Sources) -> Start:
    from tessera.metrics.fid import load_features, start_fid

    return start_fid(load_features(offline=sources.offline))


def _pool_psnr(states: Sequence[Any]) -> float:
    from tessera.metrics.psnr import pool_psnr

    return pool_psnr(states)


def _pool_fid(states: Sequence[Any]) -> float | None:
    from tessera.metrics.fid import pool_fid

    return pool_fid(states)


def _describe_pirm_region(rmse: float, _: int) -> str:
    from tessera.metrics.perceptual_index import pirm_region

    region = pirm_region(rmse)
    words = f"region {region}" if region is not None else "beyond all regions"
    return f"RMSE {rmse:.2f} is {words} of PIRM 2018 (limits 11.5, 12.5 and 16)."


def _warn_of_few_pictures(_: float, count: int) -> str:
    return (
        f"FID of {count} pictures: its covariance has 2,048 rows, so papers use tens of thousands; compare only with"
        " values from as many pictures."
    )


METRICS: tuple[Metric, ...] = (
    Metric(
        info=MetricInfo(
            name="psnr",
            title="PSNR (dB)",
            summary="Peak signal-to-noise ratio: the mean squared error on a logarithmic scale.",
            source="10 log10(255² / MSE)",
            unit="dB",
            higher_is_better=True,
            lowest=0,
            highest=math.inf,
            needs=("gt",),
        ),
        rows="channels",
        load=_load_psnr,
        pool=_pool_psnr,
    ),
    Metric(
        info=MetricInfo(
            name="ssim",
            title="SSIM",
            summary="Structural similarity of luminance, contrast and structure in small windows.",
            source="Wang et al. 2004: Gaussian window 11, sigma 1.5, inside the picture",
            higher_is_better=True,
            lowest=-1,
            highest=1,
            needs=("gt",),
            smallest_side=11,
        ),
        rows="channels",
        load=_load_ssim,
    ),
    Metric(
        info=MetricInfo(
            name="ms-ssim",
            title="MS-SSIM",
            summary="SSIM over five scales, each half the size of the one before.",
            source="Wang, Simoncelli, Bovik 2003",
            higher_is_better=True,
            lowest=0,
            highest=1,
            needs=("gt",),
            smallest_side=161,
        ),
        rows="channels",
        load=_load_ms_ssim,
    ),
    Metric(
        info=MetricInfo(
            name="rmse",
            title="RMSE (levels)",
            summary="Root mean squared error in levels of 255.",
            source="PIRM 2018 (Blau et al.): regions to 11.5, 12.5 and 16",
            unit="levels of 255",
            higher_is_better=False,
            lowest=0,
            highest=255,
            needs=("gt",),
            decimals=3,
        ),
        rows="channels",
        load=_load_rmse,
        remark=_describe_pirm_region,
    ),
    Metric(
        info=MetricInfo(
            name="delta-e",
            title="CIEDE2000",
            summary="Perceived color difference, averaged over the pixels.",
            source="CIE 142-2001",
            higher_is_better=False,
            lowest=0,
            highest=math.inf,
            typical="1 is just noticeable",
            needs=("gt",),
            decimals=3,
        ),
        rows="rgb",
        load=_load_delta_e,
    ),
    Metric(
        info=MetricInfo(
            name="niqe",
            title="NIQE",
            summary="Distance of a picture's local statistics from those of undistorted photographs; no reference.",
            source="Mittal et al. 2013; two blocks of 96x96 pixels at least",
            higher_is_better=False,
            lowest=0,
            highest=math.inf,
            typical="photographs have 2 to 5",
        ),
        rows="gray",
        load=_load_niqe,
    ),
    Metric(
        info=MetricInfo(
            name="lr-psnr",
            title="LR consistency (dB)",
            summary="PSNR between the result, downsampled again, and the input it was made from.",
            source="Lugmayr et al. 2021, RGB",
            unit="dB",
            higher_is_better=True,
            lowest=0,
            highest=math.inf,
            needs=("lq",),
            decimals=2,
        ),
        rows="input",
        load=_load_psnr,
    ),
    Metric(
        info=MetricInfo(
            name="lpips-alex",
            title="LPIPS (alex)",
            summary="Perceptual distance in the feature maps of AlexNet.",
            source="Zhang et al. 2018, heads v0.1",
            higher_is_better=False,
            lowest=0,
            highest=math.inf,
            typical="usually below 1",
            needs=("gt",),
            trunk="alexnet",
            smallest_side=31,
        ),
        rows="whole",
        load=_load_lpips_alex,
    ),
    Metric(
        info=MetricInfo(
            name="lpips-vgg",
            title="LPIPS (vgg)",
            summary="Perceptual distance in the feature maps of VGG16.",
            source="Zhang et al. 2018, heads v0.1",
            higher_is_better=False,
            lowest=0,
            highest=math.inf,
            typical="usually below 1",
            needs=("gt",),
            trunk="vgg16",
            smallest_side=16,
        ),
        rows="whole",
        load=_load_lpips_vgg,
    ),
    Metric(
        info=MetricInfo(
            name="lpips-squeeze",
            title="LPIPS (squeeze)",
            summary="Perceptual distance in the feature maps of SqueezeNet.",
            source="Zhang et al. 2018, heads v0.1",
            higher_is_better=False,
            lowest=0,
            highest=math.inf,
            typical="usually below 1",
            needs=("gt",),
            trunk="squeezenet1_1",
            smallest_side=17,
        ),
        rows="whole",
        load=_load_lpips_squeeze,
    ),
    Metric(
        info=MetricInfo(
            name="dists",
            title="DISTS",
            summary="Similarity of structure and texture in the feature maps of VGG16, as a distance.",
            source="Ding et al. 2020, at the pictures' own size",
            higher_is_better=False,
            lowest=0,
            highest=math.inf,
            typical="usually below 1",
            needs=("gt",),
            trunk="vgg16",
        ),
        rows="whole",
        load=_load_dists,
    ),
    Metric(
        info=MetricInfo(
            name="pi",
            title="PI",
            summary="Perceptual index of PIRM 2018: the mean of NIQE and of 10 minus Ma, an external score.",
            source="((10 - Ma) + NIQE) / 2, NIQE on Y with 4 pixels cropped (Blau et al. 2018)",
            higher_is_better=False,
            lowest=-math.inf,
            highest=math.inf,
            typical="about 2 for photographs, 7 for bicubic x4",
        ),
        rows="pirm-gray",
        load=_load_pi,
    ),
    Metric(
        info=MetricInfo(
            name="fid",
            title="FID",
            summary="Distance between the feature distributions of all results and all references.",
            source="Heusel et al. 2017: Inception pool3, bilinear to 299x299; one value for the whole set",
            higher_is_better=False,
            lowest=0,
            highest=math.inf,
            needs=("gt",),
            trunk="inception",
            decimals=3,
        ),
        rows="whole",
        load=_load_fid,
        pool=_pool_fid,
        remark=_warn_of_few_pictures,
    ),
)


def metric_names() -> tuple[str, ...]:
    """The names of all metrics, in the order of the list."""
    return tuple(metric.info.name for metric in METRICS)


def find_metric(name: str) -> Metric:
    """Find a metric by its name or alias. Raises UsageError with the nearest name."""
    wanted = ALIASES.get(name, name)
    for metric in METRICS:
        if metric.info.name == wanted:
            return metric
    near = difflib.get_close_matches(name, metric_names(), 1)
    hint = f"; did you mean {near[0]}?" if near else "."
    raise UsageError(f"unknown metric {name!r}; known are {', '.join(metric_names())}{hint}", field="metrics")


def format_markdown() -> str:
    """The table of the documentation: name, range and unit, direction, requirements, source."""
    lines = ["| name | range | better | needs | source |", "|---|---|---|---|---|"]
    for metric in METRICS:
        info = metric.info
        needs = [{"gt": "reference", "lq": "input"}[need] for need in info.needs]
        needs += [f"{info.trunk} weights"] if info.trunk else []
        needs += [f"{info.smallest_side} pixels a side"] if info.smallest_side > 1 else []
        range_ = f"{info.range} {info.unit}".strip() if not info.typical else info.range
        better = "higher" if info.higher_is_better else "lower"
        lines.append(f"| `{info.name}` | {range_} | {better} | {', '.join(needs) or 'nothing'} | {info.source} |")
    return "\n".join(lines) + "\n"
