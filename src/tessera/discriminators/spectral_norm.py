"""A convolution whose kernel is divided by its largest singular value (Miyato 2018, algorithm 1).

Names and values are those of `torch.nn.utils.spectral_norm`, which the published weights were trained with: the kernel
`weight_orig` and the two singular vectors `weight_u` and `weight_v`, refined by one power iteration each time the layer
runs in training mode.

Shapes: B pictures in a batch, I input channels, O output channels, K the kernel's sides, H rows, W columns.
"""

from contextlib import AbstractContextManager, nullcontext
from math import sqrt

import torch
from torch import Tensor, nn
from torch.nn import functional as F

EPS = 1e-12


def _disable_autocast(device_type: str) -> AbstractContextManager[object]:
    """Disable mixed precision, which would cause an error of a hundredth in the norm."""
    if torch.amp.is_autocast_available(device_type):
        return torch.autocast(device_type, enabled=False)
    return nullcontext()


class SpectralConv2d(nn.Module):
    """A convolution whose kernel, as a matrix (O, I*K*K), has spectral norm one.

    (B, I, H, W) -> (B, O, H', W'). With the same seed, the initial weights equal those of PyTorch's own layer. In
    training mode each run updates `weight_u` and `weight_v` by one step, even if the weights are frozen; in eval mode
    nothing changes. Each run keeps its own copy for the backward pass, so that a network can run on real and generated
    pictures before one backward pass.
    """

    weight_u: Tensor
    weight_v: Tensor

    def __init__(
        self, inputs: int, outputs: int, kernel: int, *, stride: int = 1, padding: int = 0, bias: bool = False
    ) -> None:
        super().__init__()
        self.stride, self.padding = stride, padding
        self.weight_orig = nn.Parameter(torch.empty(outputs, inputs, kernel, kernel))
        nn.init.kaiming_uniform_(self.weight_orig, a=sqrt(5))
        if bias:
            reach = 1 / sqrt(inputs * kernel**2)
            self.bias = nn.Parameter(torch.empty(outputs).uniform_(-reach, reach))
        else:
            self.register_parameter("bias", None)
        self.register_buffer("weight_u", F.normalize(torch.randn(outputs), dim=0, eps=EPS))
        self.register_buffer("weight_v", F.normalize(torch.randn(inputs * kernel**2), dim=0, eps=EPS))

    def normalize_weight(self) -> Tensor:
        """Compute the kernel (O, I, K, K) divided by its spectral norm; in training mode, refine the estimate first."""
        with _disable_autocast(self.weight_orig.device.type):
            matrix = self.weight_orig.flatten(1)
            if self.training:
                self._iterate(matrix)
            u, v = self.weight_u.clone(), self.weight_v.clone()
            return self.weight_orig / torch.dot(u, torch.mv(matrix, v))

    @torch.no_grad()
    def _iterate(self, matrix: Tensor) -> None:
        # In place, so that references to the buffers (data-parallel copies) see the change.
        self.weight_v.copy_(F.normalize(torch.mv(matrix.t(), self.weight_u), dim=0, eps=EPS))
        self.weight_u.copy_(F.normalize(torch.mv(matrix, self.weight_v), dim=0, eps=EPS))

    def forward(self, x: Tensor) -> Tensor:
        """Convolve with the normalized kernel."""
        return F.conv2d(x, self.normalize_weight(), self.bias, self.stride, self.padding)
