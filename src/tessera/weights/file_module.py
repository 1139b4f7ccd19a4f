"""A file that a runtime runs, as a PyTorch module: for code that computes with tensors.

Shapes: B pictures, C channels, H rows, W columns, s the scale.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn


class FileModule(nn.Module):
    """A function of arrays as a module: (B, C, H, W) -> (B, C, s*H, s*W) float32, on the device of the input."""

    def __init__(self, run: Callable[[NDArray[np.float32]], NDArray[np.float32]]) -> None:
        super().__init__()
        self._run = run

    def forward(self, x: Tensor) -> Tensor:
        """Upscale a batch; there are no gradients."""
        return torch.from_numpy(self._run(x.detach().to("cpu", torch.float32).contiguous().numpy())).to(x.device)
