"""Weights in the type that a file is to have."""

from __future__ import annotations

import torch
from torch import Tensor

from tessera.deploy.settings import Precision
from tessera.errors import UsageError

DTYPES: dict[Precision, torch.dtype] = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def cast_for_storage(name: str, tensor: Tensor, precision: Precision, *, all_tensors: bool = False) -> Tensor:
    """A tensor as it is stored: kernels of convolutions, or `all_tensors`, in the precision, the rest in fp32.

    Raises UsageError for a number that is too large for the type.
    """
    kept = all_tensors or tensor.ndim == 4
    dtype = DTYPES[precision] if kept else torch.float32
    result = tensor.detach().to("cpu", dtype).contiguous()
    if not bool(torch.isfinite(result).all()):
        largest = float(tensor.abs().max())
        raise UsageError(
            f"`{name}` has a weight of {largest:g}, out of range for {precision}; choose bf16 or fp32.",
            field="precision",
        )
    return result
