"""Common part of the files of generators and discriminators: safetensors with the configuration in the metadata.

The configuration is compared with the tensors when such a file is read.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Mapping
from pathlib import Path

from pydantic import BaseModel

from tessera.errors import UsageError, WeightsError
from tessera.storage.leftovers import remove_leftovers
from tessera.weights.arrays import Array, State, format_dtype, has_only_finite, is_floating
from tessera.weights.safetensors_file import WEIGHT_TYPES, write_safetensors

FORMAT_KEY = "format"
VERSION_KEY = "tessera.format"
FORMAT_VERSION = "1"


@contextlib.contextmanager
def prefix_errors(path: Path) -> Generator[None, None, None]:
    """Begin the messages of WeightsErrors with the file."""
    try:
        yield
    except WeightsError as error:
        raise type(error)(f"{path}: {error}") from error.__cause__


def select_metadata(metadata: Mapping[str, str], key: str) -> dict[str, str]:
    """Metadata for people: all but the configuration and the keys of the container."""
    return {name: value for name, value in metadata.items() if name not in (key, FORMAT_KEY)}


def check_weight(name: str, tensor: Array) -> None:
    """Raise WeightsError for a tensor with other than finite floating-point values."""
    if not is_floating(tensor.dtype):
        raise WeightsError(
            f"`{name}` has the type {format_dtype(tensor.dtype)}; expected floating-point weights. Give the"
            " original of this"
            " quantized file."
        )
    if not has_only_finite(tensor):
        raise WeightsError(
            f"`{name}` holds NaN or infinite values (not finite), which spoil every result. The training that wrote it"
            " had diverged; use an earlier file."
        )


def check_name(path: Path) -> None:
    """Raise UsageError for a name whose suffix belongs to another format."""
    if path.suffix.lower() != ".safetensors":
        raise UsageError(f"{path}: Tessera writes weights as safetensors; use the suffix `.safetensors`.")


def write_described(
    path: Path, tensors: State, key: str, config: BaseModel, metadata: Mapping[str, str] | None
) -> None:
    """Write tensors with the configuration of their network under `key`, atomically.

    The same weights give the same bytes. Raises UsageError for tensors of a type that the format does not support, and
    WeightsError when the file cannot be written.
    """
    for name, tensor in tensors.items():
        if format_dtype(tensor.dtype) not in WEIGHT_TYPES:
            raise UsageError(
                f"{path}: `{name}` has the type {format_dtype(tensor.dtype)}; expected floating-point weights."
            )
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
