"""What the commands that measure share: protocols from options, and NIQE's table of statistics."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tessera.errors import UsageError

if TYPE_CHECKING:
    from tessera.evaluate.protocol import Protocol
    from tessera.metrics.niqe import PristineModel


def protocol_from_options(
    name: str,
    *,
    channels: str | None = None,
    crop: str | None = None,
    eps: float | None = None,
    averaging: str | None = None,
    lq_kernel: str | None = None,
    luma: str | None = None,
) -> Protocol:
    """The protocol of this name with what options change in it. Raises UsageError for values that mean nothing."""
    from tessera.evaluate.protocol import find_protocol

    pixels: int | str | None = crop
    if crop is not None and crop != "scale":
        if not crop.isdecimal():
            raise UsageError(f"--crop {crop}: expected a number of pixels, or scale.")
        pixels = int(crop)
    if eps is not None and not 0 <= eps < float("inf"):
        raise UsageError(f"--eps {eps}: expected a number from 0 up.")
    for option, value, allowed in (
        ("--channels", channels, ("y", "y-full", "rgb")),
        ("--averaging", averaging, ("pictures", "pixels")),
        ("--lq-kernel", lq_kernel, ("bicubic", "area", "lanczos3", "bilinear")),
        ("--luma", luma, ("y", "gray", "pil-l")),
    ):
        if value is not None and value not in allowed:
            raise UsageError(f"{option} {value}: expected {', '.join(allowed[:-1])} or {allowed[-1]}.")
    return find_protocol(
        name, channels=channels, crop=pixels, eps=eps, averaging=averaging, lq_kernel=lq_kernel, niqe_gray=luma
    )


def pristine_model(path: Path | None, *, offline: bool) -> PristineModel:
    """NIQE's statistics of undistorted photographs, from this file or the published one, fetched unless `offline`.

    Raises UsageError for a file that holds no such statistics, ModelNotFoundError where there is none.
    """
    from tessera.metrics.niqe import PristineModel
    from tessera.weights.published import NIQE_MODEL
    from tessera.zoo.models import fetch_file

    if path is not None and not path.is_file():
        raise UsageError(f"--niqe-model {path}: there is no such file.")
    found = path or fetch_file(NIQE_MODEL, what="NIQE's table of statistics", offline=offline)
    try:
        return PristineModel.load(found)
    except (ValueError, OSError) as error:
        raise UsageError(f"{found} holds no NIQE statistics: {error}.") from None
