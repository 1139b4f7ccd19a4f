"""What the files of generators and of discriminators share: safetensors with the whole configuration in the metadata.

A file that Tessera wrote names its network in its metadata; that is compared with its tensors when it is read.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Mapping
from pathlib import Path

import torch
from pydantic import BaseModel
from torch import Tensor

from tessera.errors import UsageError, WeightsError
from tessera.storage.leftovers import remove_leftovers
from tessera.weights.safetensors_file import DTYPE_NAMES, write_safetensors

FORMAT_KEY = "format"
VERSION_KEY = "tessera.format"
FORMAT_VERSION = "1"


@contextlib.contextmanager
def naming(path: Path) -> Generator[None, None, None]:
    """Put the file in front of what is wrong with it."""
    try:
        yield
    except WeightsError as error:
        raise type(error)(f"{path}: {error}") from error.__cause__


def plain(dtype: torch.dtype) -> str:
    """A type's name without the library's: `float16`."""
    return str(dtype).removeprefix("torch.")


def shown_metadata(metadata: Mapping[str, str], key: str) -> dict[str, str]:
    """What of the metadata is for people: all but the configuration and the container's own word."""
    return {name: value for name, value in metadata.items() if name not in (key, FORMAT_KEY)}


def check_weight(name: str, tensor: Tensor) -> None:
    """Raise WeightsError for a tensor with other than finite floating-point values."""
    if not tensor.dtype.is_floating_point:
        raise WeightsError(
            f"`{name}` holds {plain(tensor.dtype)} numbers, and weights are floating-point. A quantized file is "
            "of no use here; take the one it was made from."
        )
    if not bool(torch.isfinite(tensor.to(torch.float32)).all()):
        raise WeightsError(
            f"`{name}` holds values that are not finite (NaN or infinity), so every result would be ruined. The "
            "training that wrote it had failed; take an earlier file of it."
        )


def check_name(path: Path) -> None:
    """Refuse to write weights under a name that promises another format: raises UsageError."""
    if path.suffix.lower() != ".safetensors":
        raise UsageError(f"{path}: Tessera writes weights as safetensors. Let the name end in `.safetensors`.")


def write_described(
    path: Path, tensors: Mapping[str, Tensor], key: str, config: BaseModel, metadata: Mapping[str, str] | None
) -> None:
    """Write tensors with their network's configuration under `key`; the file appears whole or not at all.

    The same weights give the same bytes. Raises UsageError for tensors of a type that the format does not know, and
    WeightsError when the file cannot be written.
    """
    for name, tensor in tensors.items():
        if tensor.dtype not in DTYPE_NAMES:
            raise UsageError(f"{path}: `{name}` holds {plain(tensor.dtype)} numbers, and weights are floating-point.")
    described = {
        **(metadata or {}),
        FORMAT_KEY: "pt",
        VERSION_KEY: FORMAT_VERSION,
        key: config.model_dump_json(),
    }
    try:
        remove_leftovers(path.parent)
        write_safetensors(path, tensors, described)
    except OSError as error:
        raise WeightsError(
            f"{path}: the weights cannot be written here ({error.strerror or error}). "
            "Check the folder and its free space."
        ) from error
