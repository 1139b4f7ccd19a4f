"""TorchScript archives as Tessera writes them: a program for other tools, and weights that are read without it.

A TorchScript file is a program, and PyTorch's loader runs it, so it is never loaded here. The extra files of an archive
that Tessera wrote describe the network and list its tensors in order: the weights are read from the archive, and the
network is built here as from any other weights file. The program is ignored.

The archive: `data.pkl` (the object as a pickle), `data/0`, `data/1` ... (tensors, little-endian), `code/__torch__.py`
(the program), `constants.pkl`, `version`, `byteorder`, `extra/` (metadata as text). Nothing in it is compressed.
"""

from __future__ import annotations

import io
import json
import struct
import zipfile
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any, cast

import numpy as np

from tessera.errors import WeightsError
from tessera.weights.arrays import Array, State, format_dtype, parse_dtype, view_bytes
from tessera.weights.pickle_walk import DAMAGE, MalformedError
from tessera.weights.stored_archive import check_members

TENSORS_KEY = "tessera.tensors"
"""The extra file that lists name, type and shape of each tensor, in the order of the archive."""
_ROOT = "archive"
_STORAGES = {"float32": "FloatStorage", "float16": "HalfStorage", "bfloat16": "BFloat16Storage"}
_LARGEST_EXTRA_BYTES = 16 << 20
_PROGRAM_VERSION = b"3\n"


def is_torchscript(path: Path) -> bool:
    """Whether a file is an archive with a TorchScript program in it."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("/constants.pkl") for name in archive.namelist())
    except DAMAGE:
        return False


def read_own_torchscript(path: Path) -> tuple[dict[str, Array], dict[str, str]] | None:
    """Read tensors and metadata of an archive that Tessera wrote; None for other archives.

    Raises WeightsError, without the name of the file, when it is damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            prefix = f"{_ROOT}/extra/"
            extras = [info for info in archive.infolist() if info.filename.startswith(prefix)]
            if not any(info.filename == prefix + TENSORS_KEY for info in extras):
                return None
            check_members(archive, path.stat().st_size)
            metadata = {info.filename.removeprefix(prefix): _read_text(archive, info) for info in extras}
            listed = metadata.pop(TENSORS_KEY)
            return {
                name: _read_tensor(archive, number, name, kind, shape)
                for number, (name, kind, shape) in enumerate(_parse_tensor_list(listed))
            }, metadata
    except MalformedError as error:
        raise WeightsError(f"this TorchScript archive is damaged: {error}.") from error
    except DAMAGE as error:  # OSError is one of them
        raise WeightsError(f"this TorchScript archive is damaged ({error or type(error).__name__}).") from error


def _read_text(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> str:
    if info.file_size > _LARGEST_EXTRA_BYTES:
        raise WeightsError(
            f"{info.filename} in this archive: expected at most {_LARGEST_EXTRA_BYTES:,} bytes of metadata, found"
            f" {info.file_size:,}."
        )
    return archive.read(info).decode()


def _parse_tensor_list(text: str) -> list[tuple[str, str, tuple[int, ...]]]:
    found: list[tuple[str, str, tuple[int, ...]]] = []
    for entry in cast("list[Any]", json.loads(text)):
        name, kind, shape = entry
        sound = isinstance(name, str) and kind in _STORAGES and all(isinstance(each, int) for each in shape)
        if not sound or any(each < 1 for each in shape):
            raise ValueError("its list of tensors is damaged")
        found.append((name, kind, tuple(shape)))
    return found


def _read_tensor(archive: zipfile.ZipFile, number: int, name: str, kind: str, shape: tuple[int, ...]) -> Array:
    dtype = parse_dtype(kind)
    info = archive.getinfo(f"{_ROOT}/data/{number}")
    wanted = prod(shape) * dtype.itemsize
    if info.file_size != wanted or info.compress_type != zipfile.ZIP_STORED or info.compress_size != wanted:
        raise ValueError(f"`{name}`: expected {wanted} bytes, found {info.file_size}")
    return np.frombuffer(archive.read(info), dtype).reshape(shape)


# -------------------------------------------------------------------------------------------------------- writing


def name_attribute(name: str) -> str:
    """The attribute that holds a tensor in the program.

    >>> name_attribute("body.0.rdb1.conv1.weight")
    'body_0_rdb1_conv1_weight'
    """
    text = name.replace(".", "_")
    return text if text.isidentifier() else f"_{text}"


def build_torchscript(class_name: str, forward: str, tensors: State, metadata: Mapping[str, str]) -> bytes:
    """Build the archive of a module with these tensors and a method `forward(self, input)`, deterministically.

    `forward` is the body of the method, one statement per line; tensors are `self.` with the name of `name_attribute`.
    """
    names = {name: name_attribute(name) for name in tensors}
    assert len(set(names.values())) == len(names), "two tensors would have one name"
    listed = [[name, format_dtype(tensor.dtype), list(tensor.shape)] for name, tensor in tensors.items()]
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_STORED) as archive:

        def put(name: str, content: bytes) -> None:
            archive.writestr(zipfile.ZipInfo(f"{_ROOT}/{name}", (1980, 1, 1, 0, 0, 0)), content)

        put("data.pkl", _pickle_object(class_name, {names[name]: tensor for name, tensor in tensors.items()}))
        put("code/__torch__.py", _write_program(class_name, forward, list(names.values())).encode())
        put("constants.pkl", b"\x80\x02).")
        for number, tensor in enumerate(tensors.values()):
            put(f"data/{number}", view_bytes(tensor).tobytes())
        put("version", _PROGRAM_VERSION)
        put("byteorder", b"little")
        for key, value in sorted({**metadata, TENSORS_KEY: json.dumps(listed)}.items()):
            put(f"extra/{key}", value.encode())
    return whole.getvalue()


def _write_program(class_name: str, forward: str, attributes: list[str]) -> str:
    parameters = "".join(f'"{name}", ' for name in attributes)
    declared = "".join(f"  {name} : Tensor\n" for name in attributes)
    body = "".join(f"    {line}\n" for line in forward.splitlines())
    return (
        f"class {class_name}(Module):\n  __parameters__ = [{parameters}]\n  __buffers__ = []\n  training : bool\n"
        f"{declared}  def forward(self: __torch__.{class_name},\n    input: Tensor) -> Tensor:\n{body}"
    )


def _pickle_object(class_name: str, attributes: State) -> bytes:
    """The instructions that build the module: its class, and a dictionary of its attributes."""
    parts = [b"\x80\x02", _pickle_global("__torch__", class_name), b")\x81}(", _pickle_text("training"), b"\x89"]
    for number, (name, tensor) in enumerate(attributes.items()):
        kind = _STORAGES[format_dtype(tensor.dtype)]
        storage = (
            b"(" + _pickle_text("storage") + _pickle_global("torch", kind) + _pickle_text(str(number))
            + _pickle_text("cpu") + _pickle_integer(tensor.size) + b"tQ"
        )  # fmt: skip
        strides = [prod(tensor.shape[place + 1 :]) for place in range(tensor.ndim)]
        parts += [
            _pickle_text(name),
            _pickle_global("torch._utils", "_rebuild_tensor_v2"),
            b"(" + storage + _pickle_integer(0) + _pickle_tuple(tensor.shape) + _pickle_tuple(strides) + b"\x89",
            _pickle_global("collections", "OrderedDict") + b")RtR",
        ]
    return b"".join([*parts, b"ub."])


def _pickle_global(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def _pickle_text(text: str) -> bytes:
    return b"X" + struct.pack("<I", len(text.encode())) + text.encode()


def _pickle_integer(number: int) -> bytes:
    return b"J" + struct.pack("<i", number)


def _pickle_tuple(numbers: Sequence[int]) -> bytes:
    return b"(" + b"".join(_pickle_integer(number) for number in numbers) + b"t"
