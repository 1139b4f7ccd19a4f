"""The safetensors container: its header is compared with the file's size before it is read; written atomically."""

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from tessera.errors import WeightsError
from tessera.storage.files import replace_file
from tessera.weights.arrays import BFLOAT16, Array, State, format_dtype, view_bytes
from tessera.weights.checkpoint import LIMIT_BYTES
from tessera.weights.signatures import describe_other_file

MAX_HEADER_BYTES = 16 << 20
WEIGHT_TYPES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16", "float64": "F64", "int64": "I64"}
"""Types of weights, and their names in a file."""
_WRITTEN_TYPES = WEIGHT_TYPES | {"uint8": "U8", "int32": "I32", "bool": "BOOL"}
"""Types that can be written; the last three occur in checkpoints."""
_READ_TYPES = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": BFLOAT16,
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("i1"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype(np.bool_),
}


def read_safetensors(path: Path) -> tuple[dict[str, Array], dict[str, str]]:
    """Read a safetensors file -> its arrays, its metadata. Raises WeightsError, without the name of the file."""
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
        with safe_open(path, framework="np") as file:  # compares the header with the file
            names: list[str] = list(file.keys())
            metadata: dict[str, str] = dict(file.metadata() or {})
        total = size - 8 - header_bytes
        if total > LIMIT_BYTES:
            raise WeightsError(f"it holds {total} bytes of tensors, and at most {LIMIT_BYTES} are read.")
        return _read_arrays(path, 8 + header_bytes, names), metadata
    except OSError as error:
        raise WeightsError(f"this file cannot be read ({error.strerror or error}).") from error
    except (SafetensorError, ValueError, TypeError, RuntimeError, AttributeError, KeyError) as error:
        raise WeightsError(f"{damaged} ({error}). Download it again.") from error


def _read_arrays(path: Path, start: int, names: list[str]) -> dict[str, Array]:
    """Read the values, which begin at `start`; the header was checked."""
    found: dict[str, Array] = {}
    with path.open("rb") as file:
        header: dict[str, Any] = json.loads(file.read(start)[8:])
        for name in names:
            entry: dict[str, Any] = header[name]
            dtype = _READ_TYPES.get(entry["dtype"])
            if dtype is None:
                raise WeightsError(
                    f"`{name}` has the type {entry['dtype']}; expected one of {', '.join(_READ_TYPES)}. Convert the"
                    " file to one of those."
                )
            first, end = entry["data_offsets"]
            file.seek(start + first)
            values = bytearray(end - first)
            if file.readinto(values) != len(values):
                raise ValueError(f"`{name}` is cut off")
            found[name] = np.frombuffer(values, dtype).reshape(entry["shape"])
    return found


def write_safetensors(path: Path, tensors: State, metadata: Mapping[str, str]) -> None:
    """Write arrays of the types above; the same ones give the same bytes. Raises OSError.

    By hand, because the format's own writer puts the metadata in a different order each time.
    """
    header: dict[str, Any] = {"__metadata__": dict(sorted(metadata.items()))}
    position = 0
    order = sorted(tensors, key=lambda name: (-tensors[name].itemsize, name))
    for name in order:
        tensor = tensors[name]
        end = position + tensor.nbytes
        header[name] = {
            "dtype": _WRITTEN_TYPES[format_dtype(tensor.dtype)],
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
            file.write(view_bytes(tensors[name]))
