"""How attention maps are drawn."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import BaseModel, Field

from tessera.errors import UsageError
from tessera.explain.colormaps import Colormap

AnimationFormat = Literal["webp", "gif", "none"]


class ViewSettings(BaseModel, frozen=True, extra="forbid"):
    """Settings of attention pictures; the defaults are those of the published pictures, in RGB."""

    colormap: Colormap = "jet"
    mix: Annotated[float, Field(ge=0.0, le=1.0)] = 0.7
    """Weight of the heat map in its blend with the picture."""
    stretch: bool = False
    """Whether to scale each map to its own range, which shows faint ones; the published maps are not scaled."""
    bgr: bool = False
    """Whether to feed BGR, as the published scripts do, although the discriminator was trained on RGB."""
    real_only: bool = False
    """Whether to use the real picture only."""
    animation: AnimationFormat = "webp"
    device: str = "cpu"


def check_device(name: str) -> None:
    """Raise UsageError if PyTorch cannot use the device."""
    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise UsageError(f"{name} is unavailable ({first}). Use cpu, cuda, cuda:1 or mps.", field="device") from None
