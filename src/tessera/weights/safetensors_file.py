"""The safetensors container: its header is compared with the file's size before it is read; written atomically."""

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from tessera.errors import WeightsError
from tessera.storage.files import replace_file
from tessera.weights.checkpoint import LIMIT_BYTES
from tessera.weights.signatures import describe_other_file

MAX_HEADER_BYTES = 16 << 20
DTYPE_NAMES = {
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float64: "F64",
    torch.int64: "I64",
}
"""Types of weights."""
_ALL_DTYPES = DTYPE_NAMES | {torch.uint8: "U8", torch.int32: "I32", torch.bool: "BOOL"}
"""Types that can be written; the last three occur in checkpoints."""


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read a safetensors file -> its tensors, its metadata. Raises WeightsError, without the name of the file."""
    damaged = "this is not a complete safetensors file"
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(512)
            header_bytes = int.from_bytes(head[:8], "little")
            other = None if head[8:9] == b"{" else describe_other_file(head, size)
            if other is not None:
                raise WeightsError(other)
            if head.startswith((b"PK\x03\x04", b"\x80\x02")):
                raise WeightsError("this is a PyTorch checkpoint, not a safetensors file.")
            if len(head) < 8 or not 2 <= header_bytes <= min(size - 8, MAX_HEADER_BYTES):
                raise WeightsError(
                    f"{damaged}: its header declares {header_bytes:,} bytes, and the file has {size:,}. Download it"
                    " again."
                )
        with safe_open(path, framework="pt", device="cpu") as file:
            names: list[str] = list(file.keys())
            total = size - 8 - header_bytes
            if total > LIMIT_BYTES:
                raise WeightsError(f"it holds {total} bytes of tensors, and at most {LIMIT_BYTES} are read.")
            metadata: dict[str, str] = dict(file.metadata() or {})
            return {name: file.get_tensor(name) for name in names}, metadata
    except OSError as error:
        raise WeightsError(f"this file cannot be read ({error.strerror or error}).") from error
    except (SafetensorError, ValueError, TypeError, RuntimeError, AttributeError, KeyError) as error:
        raise WeightsError(f"{damaged} ({error}). Download it again.") from error


def write_safetensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write tensors on the CPU, contiguous, of the types above; the same ones give the same bytes. Raises OSError.

    By hand, because the format's own writer puts the metadata in a different order each time.
    """
    header: dict[str, Any] = {"__metadata__": dict(sorted(metadata.items()))}
    position = 0
    order = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    for name in order:
        tensor = tensors[name]
        end = position + tensor.numel() * tensor.element_size()
        header[name] = {
            "dtype": _ALL_DTYPES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [position, end],
        }
        position = end
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    with replace_file(path) as file:
        file.write(struct.pack("<Q", len(text)))
        file.write(text)
        for name in order:
            file.write(tensors[name].reshape(-1).view(torch.uint8).numpy().data)
