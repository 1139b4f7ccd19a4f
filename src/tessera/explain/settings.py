"""How attention maps are drawn."""

from __future__ import annotations

from typing import Annotated, Literal, Self

import torch
from pydantic import BaseModel, Field, model_validator

from tessera.errors import UsageError
from tessera.explain.colormaps import Colormap

AnimationFormat = Literal["webp", "gif", "none"]
PUBLISHED_MIX = 0.7
GeneratorWeights = Literal["raw", "averaged"]


class ViewSettings(BaseModel, frozen=True, extra="forbid"):
    """Settings of attention pictures; the defaults are those of the published pictures, in RGB."""

    colormap: Colormap = "jet"
    mix: Annotated[float, Field(ge=0.0, le=1.0)] = PUBLISHED_MIX
    """Weight of the heat map in its blend with the picture."""
    stretch: bool = False
    """Whether to scale each map to its own range, which shows faint ones; the published maps are not scaled."""
    bgr: bool = False
    """Whether to feed BGR, as the published scripts do, although the discriminator was trained on RGB."""
    as_published: bool = False
    """Whether to reproduce A-ESRGAN's scripts: BGR, and the network in training mode."""
    answers: bool = True
    """Whether to compute the logits, which take most of the time."""
    generator: GeneratorWeights = "raw"
    """Weights of a checkpoint's generator: raw, which the discriminator saw in training, or averaged."""
    real_only: bool = False
    """Whether to use the real picture only."""
    animation: AnimationFormat = "webp"
    device: str = "cpu"

    @property
    def feeds_bgr(self) -> bool:
        """Whether the networks get BGR."""
        return self.bgr or self.as_published

    @model_validator(mode="after")
    def _check_published(self) -> Self:
        if self.as_published and (self.colormap != "jet" or self.mix != PUBLISHED_MIX or self.stretch):
            raise ValueError("expected the colormap jet, a mix of 0.7 and no stretch, as published")
        return self


def check_device(name: str) -> None:
    """Raise UsageError if PyTorch cannot use the device."""
    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise UsageError(f"{name} is unavailable ({first}). Use cpu, cuda, cuda:1 or mps.", field="device") from None
