"""Named protocols: every choice that affects a score, printed with the scores.

Sources: BasicSR's metrics and test options; A-ESRGAN's NIQE script; VastModelZOO's vamp_eval; esrdgan's test mode;
IQA-PyTorch's defaults.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Literal, get_args

from tessera.errors import UsageError

Channels = Literal["y", "y-full", "rgb"]
NiqeGray = Literal["y", "gray", "pil-l"]
Averaging = Literal["pictures", "pixels"]
LqKernel = Literal["bicubic", "area", "lanczos3", "bilinear"]


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """All choices of PSNR, SSIM and NIQE."""

    name: str
    channels: Channels
    """The channels of PSNR and SSIM: BT.601 luma in 16..235 (MATLAB), in 0..255 (YIQ, JPEG), or all three.

    With "y", references of one channel are compared as they are, because the scripts behind papers' tables convert
    color pictures only; bridge in Set14 scores 1.32 dB less than its Y would.
    """
    crop: int | Literal["scale"]
    """Pixels cropped from each side before comparing; "scale" is as many as the scale."""
    rounded: bool
    """Whether results are rounded to integer levels of 255 before they are compared."""
    rounded_channels: tuple[str, ...] = ()
    """Metrics whose channels are rounded to integer levels: IQA-PyTorch does so for SSIM and MS-SSIM, not for PSNR."""
    averaging: Averaging = "pictures"
    """The mean of the pictures' PSNRs, or the PSNR of the mean error of all pixels."""
    eps: float = 0.0
    """Added to the mean squared error, in levels of 255 squared; with 0, equal pictures have an infinite PSNR."""
    lq_kernel: LqKernel = "bicubic"
    """The kernel that makes missing inputs from references, and downsamples results for LR consistency."""
    niqe_gray: NiqeGray = "y"
    """BT.601 luma as in MATLAB, OpenCV's gray, or Pillow's "L"; rounded to integer levels."""
    niqe_crop: int | Literal["scale"] = 0
    lq_size: tuple[int, int] | None = None
    """Inputs are resized by area to this (H, W), whatever their aspect ratio."""
    gt_size: tuple[int, int] | None = None
    """References are resized in the same way to this (H, W)."""
    upscale_originals: bool = False
    """Whether models upscale the references themselves (scores without reference only)."""

    def get_crop(self, scale: int) -> int:
        """Pixels to crop from each side before PSNR and SSIM."""
        return scale if self.crop == "scale" else self.crop

    def get_niqe_crop(self, scale: int) -> int:
        """Pixels to crop from each side before NIQE."""
        return scale if self.niqe_crop == "scale" else self.niqe_crop

    @property
    def input_resampling(self) -> str:
        """The resampling of missing inputs, in words."""
        return f"{_KERNELS[self.lq_kernel]}, rounded after height and after width, edges repeated"

    def describe(self, scale: int | None, metrics: Collection[str] | None = None) -> dict[str, str]:
        """Describe every choice by a name and a sentence, or those that concern these metrics."""
        channels = {
            "y": "Y of BT.601 in 16..235, unrounded (MATLAB); references of one channel as they are",
            "y-full": "Y of YIQ in 0..255, unrounded",
            "rgb": "R, G and B together",
        }
        grays = {
            "y": "Y of BT.601 in 16..235, rounded",
            "gray": "OpenCV's gray in 0..255, rounded",
            "pil-l": "Pillow's L in 0..255, integers",
        }
        rounded = f"; rounded for {' and '.join(self.rounded_channels)}" if self.rounded_channels else ""
        words = {
            "protocol": self.name,
            "PSNR and SSIM on": channels[self.channels] + rounded,
            "levels": "of 255, results rounded to integers" if self.rounded else "of 255, results not rounded",
            "crop": self._describe_crop(self.crop, scale),
            "PSNR averaged": "mean of the pictures' PSNRs"
            if self.averaging == "pictures"
            else "PSNR of the mean error",
            "PSNR of equal pictures": f"{48.1308 - 10 * math.log10(self.eps):.1f} dB (eps {self.eps:g})"
            if self.eps
            else "infinite (eps 0)",
            "SSIM": "Gaussian window 11, sigma 1.5, inside the picture, biased variances, mean of channels (Wang 2004)",
            "inputs made by": f"{self.input_resampling}, where the test set has none",
            "NIQE on": f"{grays[self.niqe_gray]}; crop {self._describe_crop(self.niqe_crop, scale)}",
        }
        if self.lq_size is not None:
            words["inputs resized"] = f"to {self.lq_size[1]}x{self.lq_size[0]} by covered area (OpenCV INTER_AREA)"
        if self.gt_size is not None:
            words["references resized"] = f"to {self.gt_size[1]}x{self.gt_size[0]} by covered area (OpenCV INTER_AREA)"
        if self.upscale_originals:
            words["models upscale"] = "the originals themselves, so only scores without reference are meaningful"
        if metrics is None:
            return words
        return {key: value for key, value in words.items() if not _CONCERNS.get(key, set(metrics)).isdisjoint(metrics)}

    @staticmethod
    def _describe_crop(crop: int | str, scale: int | None) -> str:
        if crop == "scale":
            return f"{scale} pixels from each side (the scale)" if scale is not None else "the scale, from each side"
        return f"{crop} pixels from each side" if crop else "none"


_CONCERNS = {
    "PSNR and SSIM on": {"psnr", "ssim", "ms-ssim"},
    "PSNR averaged": {"psnr", "lr-psnr"},
    "PSNR of equal pictures": {"psnr", "lr-psnr"},
    "SSIM": {"ssim", "ms-ssim"},
    "NIQE on": {"niqe", "pi"},
}
"""The metrics that a choice concerns, where it does not concern all."""

_KERNELS = {
    "bicubic": "MATLAB's bicubic, antialiased",
    "area": "covered area",
    "lanczos3": "Lanczos of 3 lobes, antialiased",
    "bilinear": "bilinear, antialiased",
}

PROTOCOLS: tuple[Protocol, ...] = (
    Protocol(name="paper", channels="y", crop="scale", rounded=True),
    Protocol(name="basicsr", channels="rgb", crop="scale", rounded=True),
    Protocol(name="a-esrgan", channels="y", crop=0, rounded=True, niqe_gray="pil-l", upscale_originals=True),
    Protocol(
        name="vacc", channels="rgb", crop=0, rounded=True, lq_kernel="area", lq_size=(128, 128), gt_size=(512, 512)
    ),
    Protocol(name="esrdgan", channels="rgb", crop=0, rounded=False, eps=1e-8),
    Protocol(
        name="pyiqa",
        channels="y-full",
        crop=0,
        rounded=True,
        rounded_channels=("ssim", "ms-ssim"),
        eps=1e-8 * 255**2,
    ),
)


_CHOICES: dict[str, tuple[str, ...]] = {
    "channels": get_args(Channels),
    "averaging": get_args(Averaging),
    "lq_kernel": get_args(LqKernel),
    "niqe_gray": get_args(NiqeGray),
}


def find_protocol(name: str, **changes: Any) -> Protocol:
    """Find a protocol by name and change single fields (None: unchanged); its name then lists the changes.

    Raises UsageError for an unknown name, with the nearest one, and for invalid values.
    """
    found = next((protocol for protocol in PROTOCOLS if protocol.name == name), None)
    if found is None:
        names = [protocol.name for protocol in PROTOCOLS]
        near = difflib.get_close_matches(name, names, 1)
        hint = f"; did you mean {near[0]}?" if near else "."
        raise UsageError(f"unknown protocol {name!r}; known are {', '.join(names)}{hint}", field="protocol")
    for field, value in changes.items():
        if value is not None:
            _check_value(field, value)
    changed = {field: value for field, value in changes.items() if value not in (None, getattr(found, field))}
    if not changed:
        return found
    words = ", ".join(f"{field} {value}" for field, value in sorted(changed.items()))
    return dataclasses.replace(found, name=f"{name} with {words}", **changed)


def _check_value(field: str, value: Any) -> None:
    choices = _CHOICES.get(field)
    if choices is not None and value not in choices:
        raise UsageError(f"expected {', '.join(choices[:-1])} or {choices[-1]}, found {value!r}.", field=field)
    if field in ("crop", "niqe_crop") and value != "scale" and not (isinstance(value, int) and value >= 0):
        raise UsageError(f"expected a number of pixels, or scale, found {value!r}.", field=field)
    if field == "eps" and not (isinstance(value, float) and 0 <= value < math.inf):
        raise UsageError(f"expected a finite number of 0 or more, found {value}.", field=field)
