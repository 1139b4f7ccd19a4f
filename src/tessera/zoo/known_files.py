"""What weights files were recognized as, kept for the next process: it needs the network's weights late or never.

A record is found by the bytes of the file and by whatever else decides what they are taken for, so a file that changed
is read again. Not kept are files of ONNX and OpenVINO, networks outside the family and mixtures.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, Field, ValidationError

from tessera.errors import WeightsError
from tessera.generators import GeneratorConfig, config_from_json, find_generator
from tessera.storage.cache import Key, read_cached, remove_cached, write_cached
from tessera.storage.checksum import compute_sha256
from tessera.version import __version__
from tessera.weights.license import license_of
from tessera.weights.loaded_generator import LoadedGenerator, Unread
from tessera.weights.names import (
    NCNN_SUFFIXES,
    ONNX_SUFFIX,
    OPENVINO_SUFFIX,
    WEIGHTS_SUFFIXES,
    generator_name,
    hashed_file,
    scale_in_name,
)

if TYPE_CHECKING:
    from torch import nn

FOLDER = "known-files"
FORMAT = 1
"""Goes up whenever files are read differently, so that what was kept before is not used."""


class _Record(BaseModel, frozen=True, extra="forbid"):
    """What there is to know about a file beside its bytes."""

    config: str
    """As JSON."""
    dialect: str
    wrapper: str
    metadata: dict[str, str]
    notes: tuple[str, ...]
    state_sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


def open_weights(path: Path, *, scale: int | None = None, sha256: str | None = None) -> LoadedGenerator:
    """Give the generator of a weights file; of one that is known here the network is read when it is first asked for.

    `scale` is as for `weights.load_weights`; `sha256` is that of the file (of the `.bin` for ncnn) where it has just
    been computed. Raises WeightsError, with the sentence that says what is wrong with the file.
    """
    path = Path(path)
    key = _key(path, scale, sha256)
    known = None if key is None else _known(path, scale, key)
    if known is not None:
        return known
    from tessera.weights.files import load_weights  # PyTorch: not before it is needed

    loaded = load_weights(path, scale=scale)
    # What was read has to be what was weighed before, also if somebody replaced a file in between.
    if key is not None and _key(path, scale, loaded.sha256) == key:
        _remember(loaded, key)
    return loaded


def _key(path: Path, scale: int | None, sha256: str | None) -> Key | None:
    """Everything that decides what a file is taken for; None when that is not kept, or the file cannot be read."""
    suffix = path.suffix.lower()
    if suffix not in WEIGHTS_SUFFIXES or suffix in (ONNX_SUFFIX, OPENVINO_SUFFIX):
        return None
    try:
        param = compute_sha256(path.with_suffix(".param")) if suffix in NCNN_SUFFIXES else None
        weights = sha256 or compute_sha256(hashed_file(path))
    except OSError:
        return None
    return {
        "format": FORMAT,
        "tessera": __version__,
        "weights": weights,
        "param": param,
        "suffix": suffix,
        "scale": scale,
        "named_scale": scale_in_name(path.stem),
    }


def _known(path: Path, scale: int | None, key: Key) -> LoadedGenerator | None:
    try:
        record = _Record.model_validate(read_cached(FOLDER, key), strict=False)
        config = config_from_json(record.config)
    except (ValidationError, WeightsError):
        return None
    sha256 = str(key["weights"])
    return LoadedGenerator(
        config=config,
        network=Unread(_reader(path, scale, key, config), record.state_sha256),
        name=generator_name(path),
        source=path,
        sha256=sha256,
        dialect=record.dialect,
        wrapper=record.wrapper,
        metadata=record.metadata,
        notes=record.notes,
        license=license_of(sha256, record.metadata),
    )


def _reader(path: Path, scale: int | None, key: Key, config: GeneratorConfig) -> Callable[[], nn.Module]:
    def read() -> nn.Module:
        from tessera.weights.files import load_weights

        loaded = load_weights(path, scale=scale)
        if _key(path, scale, loaded.sha256) != key:
            raise WeightsError(f"{path}: this file changed after it was opened. Run the same again to use it as it is.")
        if loaded.config != config:
            remove_cached(FOLDER, key)
            raise WeightsError(
                f"{path}: what was kept about this file in the cache was wrong and is forgotten. Run the same again."
            )
        return loaded.network

    return read


def _remember(loaded: LoadedGenerator, key: Key) -> None:
    if find_generator(loaded.config) is None:
        return
    record = _Record(
        config=loaded.config.model_dump_json(),
        dialect=loaded.dialect,
        wrapper=loaded.wrapper,
        metadata=dict(loaded.metadata),
        notes=loaded.notes,
        state_sha256=loaded.state_sha256,
    )
    write_cached(FOLDER, key, record.model_dump(mode="json"))
