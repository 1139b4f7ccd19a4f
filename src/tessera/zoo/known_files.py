"""Cached facts about weights files, so that the next process reads the tensors late or not at all.

The key is the checksum of the file and everything else that affects how it is read, so a changed file is read again.
Not cached: ONNX and OpenVINO files, networks outside the family, and blends.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, Field, ValidationError

from tessera.errors import WeightsError
from tessera.generators import GeneratorConfig, config_from_json, find_generator
from tessera.storage.cache import Key, read_cached, remove_cached, write_cached
from tessera.version import __version__
from tessera.weights.license import find_license
from tessera.weights.loaded_generator import LoadedGenerator, NetworkWeights
from tessera.weights.names import (
    ONNX_SUFFIX,
    OPENVINO_SUFFIX,
    WEIGHTS_SUFFIXES,
    derive_name,
    find_scale,
)
from tessera.weights.parts import compute_digest

if TYPE_CHECKING:
    from tessera.weights.arrays import State

FOLDER = "known-files"
FORMAT = 3
"""Incremented whenever files are read differently, which makes older records invalid."""


class _FileRecord(BaseModel, frozen=True, extra="forbid"):
    """Facts about a file, without its tensors."""

    config: str
    """As JSON."""
    dialect: str
    wrapper: str
    metadata: dict[str, str]
    notes: tuple[str, ...]
    choices: tuple[str, ...]
    state_sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


def open_weights(path: Path, *, scale: int | None = None, digest: str | None = None) -> LoadedGenerator:
    """Open a weights file; the tensors of a known file are read only when they are needed.

    `scale` is as for `weights.load_weights`; `digest` is the digest of its files (`weights.parts`) if it was just
    computed. Raises WeightsError that says what is wrong with the file.
    """
    path = Path(path)
    key = _build_key(path, scale, digest)
    known = None if key is None else _find_known(path, scale, key)
    if known is not None:
        return known
    from tessera.weights.files import load_weights  # only where a file is read

    loaded = load_weights(path, scale=scale)
    # The file may have been replaced between the checksum and the reading.
    if key is not None and _build_key(path, scale, loaded.sha256) == key:
        _store(loaded, key)
    return loaded


def _build_key(path: Path, scale: int | None, digest: str | None) -> Key | None:
    """Everything that affects how a file is read; None if that is not cached, or the file cannot be read."""
    suffix = path.suffix.lower()
    if suffix not in WEIGHTS_SUFFIXES or suffix in (ONNX_SUFFIX, OPENVINO_SUFFIX):
        return None
    try:
        weights = digest or compute_digest(path)
    except (OSError, WeightsError):
        return None
    return {
        "format": FORMAT,
        "tessera": __version__,
        "weights": weights,
        "suffix": suffix,
        "scale": scale,
        "named_scale": find_scale(path.stem),
    }


def _find_known(path: Path, scale: int | None, key: Key) -> LoadedGenerator | None:
    try:
        record = _FileRecord.model_validate(read_cached(FOLDER, key), strict=False)
        config = config_from_json(record.config)
    except (ValidationError, WeightsError):
        return None
    sha256 = str(key["weights"])
    return LoadedGenerator(
        config=config,
        network=NetworkWeights(_defer_reading(path, scale, key, config), record.state_sha256),
        name=derive_name(path),
        source=path,
        sha256=sha256,
        dialect=record.dialect,
        wrapper=record.wrapper,
        metadata=record.metadata,
        notes=record.notes,
        choices=record.choices,
        license=find_license(sha256, record.metadata),
    )


def _defer_reading(path: Path, scale: int | None, key: Key, config: GeneratorConfig) -> Callable[[], State]:
    def read() -> State:
        from tessera.weights.files import load_weights

        loaded = load_weights(path, scale=scale)
        if _build_key(path, scale, loaded.sha256) != key:
            raise WeightsError(f"{path}: changed after it was opened. Run the same command again to use it as it is.")
        if loaded.config != config:
            remove_cached(FOLDER, key)
            raise WeightsError(
                f"{path}: its cached facts were wrong and have been deleted. Run the same command again."
            )
        return loaded.arrays

    return read


def _store(loaded: LoadedGenerator, key: Key) -> None:
    if find_generator(loaded.config) is None:
        return
    record = _FileRecord(
        config=loaded.config.model_dump_json(),
        dialect=loaded.dialect,
        wrapper=loaded.wrapper,
        metadata=dict(loaded.metadata),
        notes=loaded.notes,
        choices=loaded.choices,
        state_sha256=loaded.state_sha256,
    )
    write_cached(FOLDER, key, record.model_dump(mode="json"))
