"""How attention is shown."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import BaseModel, Field

from tessera.errors import UsageError
from tessera.explain.colormaps import Colormap


class ViewSettings(BaseModel, frozen=True, extra="forbid"):
    """Every choice about the pictures of attention; the defaults are those of the published pictures, in RGB."""

    colormap: Colormap = "jet"
    mix: Annotated[float, Field(ge=0.0, le=1.0)] = 0.7
    """The share of the heat map in what is laid over the picture."""
    stretch: bool = False
    """Whether each map goes from its least value to its greatest, which shows faint ones, and is not as published."""
    bgr: bool = False
    """Whether the discriminator is shown BGR, as the published scripts do, though it was trained on RGB."""
    real_only: bool = False
    """Whether no generated picture is made."""
    animation: Literal["webp", "gif", "none"] = "webp"
    device: str = "cpu"


def check_device(name: str) -> None:
    """Raise UsageError where nothing can be calculated on a device of this name."""
    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise UsageError(f"--device {name}: cannot be used here ({first}). Say cpu, cuda, cuda:1 or mps.") from None
