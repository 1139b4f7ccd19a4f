"""How attention maps are drawn."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import BaseModel, Field

from tessera.errors import UsageError
from tessera.explain.colormaps import Colormap


class ViewSettings(BaseModel, frozen=True, extra="forbid"):
    """Settings of attention pictures; the defaults are those of the published ones, in RGB."""

    colormap: Colormap = "jet"
    mix: Annotated[float, Field(ge=0.0, le=1.0)] = 0.7
    """Weight of the heat map in its blend with the picture."""
    stretch: bool = False
    """Whether each map is scaled to its own range, which shows faint ones; the published maps are not."""
    bgr: bool = False
    """Whether the discriminator gets BGR, as in the published scripts, although it was trained on RGB."""
    real_only: bool = False
    """Whether only the real picture is used."""
    animation: Literal["webp", "gif", "none"] = "webp"
    device: str = "cpu"


def check_device(name: str) -> None:
    """Raise UsageError where PyTorch cannot use a device of this name."""
    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise UsageError(f"{name} is unavailable ({first}). Use cpu, cuda, cuda:1 or mps.", field="device") from None
