"""How a number is measured: every choice that equal names hide, as a named value that is printed beside the number.

Sources: BasicSR's metrics and test options; A-ESRGAN's NIQE script; VastModelZOO's vamp_eval; esrdgan's test mode;
IQA-PyTorch's defaults.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
from dataclasses import dataclass
from typing import Literal

from tessera.errors import UsageError

Channels = Literal["y", "y-full", "rgb"]
NiqeGray = Literal["y", "gray", "pil-l"]
LqKernel = Literal["bicubic", "area", "lanczos3", "bilinear"]


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """All choices behind PSNR, SSIM and NIQE."""

    name: str
    channels: Channels
    """What PSNR and SSIM compare: BT.601 luma in 16..235 (MATLAB), in 0..255 (YIQ, JPEG), or all three channels.

    With "y", references of one channel are compared as they are, because the scripts behind papers' tables convert
    color pictures only; bridge in Set14 scores 1.32 dB less than its Y would.
    """
    crop: int | Literal["scale"]
    """Pixels cut from each side before comparing; "scale" cuts as many as the factor."""
    rounded: bool
    """Whether results are whole levels of 255 before they are compared."""
    averaging: Literal["pictures", "pixels"] = "pictures"
    """A mean of decibels, one for each picture; or decibels of the mean error of all."""
    eps: float = 0.0
    """Added to the mean squared error, in levels of 255 squared; equal pictures score infinity without."""
    lq_kernel: LqKernel = "bicubic"
    """How inputs are made from references where a data set has none, and how outputs are shrunk for LR consistency."""
    niqe_gray: NiqeGray = "y"
    """BT.601 luma as MATLAB has it, OpenCV's gray, or Pillow's "L"; rounded to whole levels."""
    niqe_crop: int | Literal["scale"] = 0
    lq_size: tuple[int, int] | None = None
    """Inputs are shrunk by area to this (H, W), the aspect lost."""
    gt_size: tuple[int, int] | None = None
    """References likewise."""
    enlarge_originals: bool = False
    """Whether models enlarge the references themselves (scores without reference only)."""

    def crop_of(self, scale: int) -> int:
        """Pixels to cut from each side before PSNR and SSIM."""
        return scale if self.crop == "scale" else self.crop

    def niqe_crop_of(self, scale: int) -> int:
        """Pixels to cut from each side before NIQE."""
        return scale if self.niqe_crop == "scale" else self.niqe_crop

    def in_words(self, scale: int | None) -> dict[str, str]:
        """Every choice as a name and a sentence."""
        channels = {
            "y": "Y of BT.601 in 16..235, unrounded (MATLAB); references of one channel as they are",
            "y-full": "Y of YIQ in 0..255, unrounded",
            "rgb": "R, G and B together",
        }
        grays = {
            "y": "Y of BT.601 in 16..235, rounded",
            "gray": "OpenCV's gray in 0..255, rounded",
            "pil-l": "Pillow's L in 0..255, whole numbers",
        }
        words = {
            "protocol": self.name,
            "PSNR and SSIM on": channels[self.channels],
            "levels": "of 255, results rounded to whole ones" if self.rounded else "of 255, results not rounded",
            "crop": self._crop_in_words(self.crop, scale),
            "PSNR averaged": "mean of the decibels of each picture"
            if self.averaging == "pictures"
            else "decibels of the mean error",
            "PSNR of equal pictures": f"{48.1308 - 10 * math.log10(self.eps):.1f} dB (eps {self.eps:g})"
            if self.eps
            else "infinite (eps 0)",
            "SSIM": "Gaussian window 11, sigma 1.5, inside the picture, biased variances, mean of channels (Wang 2004)",
            "inputs made by": f"{_KERNELS[self.lq_kernel]}, whole levels after height and after width, edges repeated,"
            " where the data set has none",
            "NIQE on": f"{grays[self.niqe_gray]}; crop {self._crop_in_words(self.niqe_crop, scale)}",
        }
        if self.lq_size is not None:
            words["inputs resized"] = f"to {self.lq_size[1]}x{self.lq_size[0]} by covered area (OpenCV INTER_AREA)"
        if self.gt_size is not None:
            words["references resized"] = f"to {self.gt_size[1]}x{self.gt_size[0]} by covered area (OpenCV INTER_AREA)"
        if self.enlarge_originals:
            words["models enlarge"] = "the originals themselves, so only scores without reference have a meaning"
        return words

    @staticmethod
    def _crop_in_words(crop: int | str, scale: int | None) -> str:
        if crop == "scale":
            return f"{scale} pixels of each side (the scale)" if scale is not None else "the scale, of each side"
        return f"{crop} pixels of each side" if crop else "none"


_KERNELS = {
    "bicubic": "MATLAB's bicubic, antialiased",
    "area": "covered area",
    "lanczos3": "Lanczos of 3 lobes, antialiased",
    "bilinear": "bilinear, antialiased",
}

PROTOCOLS: tuple[Protocol, ...] = (
    Protocol(name="paper", channels="y", crop="scale", rounded=True),
    Protocol(name="basicsr", channels="rgb", crop="scale", rounded=True),
    Protocol(name="a-esrgan", channels="y", crop=0, rounded=True, niqe_gray="pil-l", enlarge_originals=True),
    Protocol(
        name="vacc", channels="rgb", crop=0, rounded=True, lq_kernel="area", lq_size=(128, 128), gt_size=(512, 512)
    ),
    Protocol(name="esrdgan", channels="rgb", crop=0, rounded=False, eps=1e-8),
    Protocol(name="pyiqa", channels="y-full", crop=0, rounded=True, eps=1e-8 * 255**2),
)


def find_protocol(name: str, **overrides: object) -> Protocol:
    """A protocol by name, with single fields changed (its name then says so). Raises UsageError."""
    found = next((protocol for protocol in PROTOCOLS if protocol.name == name), None)
    if found is None:
        names = [protocol.name for protocol in PROTOCOLS]
        near = difflib.get_close_matches(name, names, 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise UsageError(f"--protocol {name}: there are {', '.join(names)}{hint}")
    changed = {field: value for field, value in overrides.items() if value is not None}
    changed = {field: value for field, value in changed.items() if getattr(found, field) != value}
    if not changed:
        return found
    words = ", ".join(f"{field} {value}" for field, value in sorted(changed.items()))
    return dataclasses.replace(found, name=f"{name} with {words}", **changed)  # pyright: ignore[reportArgumentType]
