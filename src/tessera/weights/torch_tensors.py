"""Between arrays and PyTorch's tensors: the only place where weights change from one to the other.

PyTorch is imported when there is a tensor to make, so that this module can be imported without it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from tessera.weights.arrays import BFLOAT16, Array

if TYPE_CHECKING:
    from torch import Tensor


def to_array(tensor: Tensor | Array) -> Array:
    """A tensor as an array, without a copy if it is on the CPU; an array as itself."""
    if isinstance(tensor, np.ndarray):
        return tensor
    import torch

    value = tensor.detach().cpu()
    if value.dtype is torch.bfloat16:
        return value.contiguous().view(torch.int16).numpy().view(BFLOAT16)
    return value.numpy()


def to_arrays(state: Mapping[str, Tensor] | Mapping[str, Array]) -> dict[str, Array]:
    """Weights as arrays, without copies of what is on the CPU."""
    return {name: to_array(value) for name, value in state.items()}


def to_tensor(array: Array | Tensor) -> Tensor:
    """An array as a tensor on the CPU, without a copy if the array can be written to; a tensor as itself."""
    import torch

    if isinstance(array, torch.Tensor):
        return array
    writable = array if array.flags.writeable else array.copy()
    if array.dtype == BFLOAT16:
        return torch.from_numpy(np.ascontiguousarray(writable).view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(writable)


def to_tensors(state: Mapping[str, Array]) -> dict[str, Tensor]:
    """Weights as tensors on the CPU, without copies of arrays that can be written to."""
    return {name: to_tensor(array) for name, array in state.items()}
