"""Published files in the models folder: found, verified, downloaded if missing and allowed.

The environment is read on each call, never on import: `TESSERA_MODELS` (the models folder), `TESSERA_MIRROR` (a base
address that is tried before the published ones) and `TESSERA_OFFLINE` (1: never download).
"""

from __future__ import annotations

import os
import urllib.parse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tessera.errors import DownloadError, ModelNotFoundError
from tessera.machine import data_folder, expand_home
from tessera.storage.checksum import compute_sha256
from tessera.weights.published import RemoteFile
from tessera.zoo.pinning import pin_path, read_pin, write_pin

if TYPE_CHECKING:
    from tessera.storage.download import Progress


def models_folder() -> Path:
    """Return the folder of downloaded models: `TESSERA_MODELS`, or the system's folder for user data."""
    chosen = os.environ.get("TESSERA_MODELS")
    return expand_home(chosen) if chosen else data_folder() / "models"


@dataclass(frozen=True)
class Found:
    """A weights file that was found."""

    path: Path
    digest: str | None = None
    """The digest of the model, if it had to be computed."""
    unpinned: bool = False
    """Whether it is a published model's file that no checksum confirms."""
    downloaded: bool = False


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
    return fetch_remote(
        remote,
        folder or models_folder(),
        what=what,
        package=package,
        offline=offline,
        mirror=mirror,
        on_progress=on_progress,
    ).path


def fetch_remote(
    remote: RemoteFile,
    folder: Path,
    *,
    what: str,
    package: str,
    offline: bool,
    mirror: str | None,
    on_progress: Progress | None,
    sha256: str | None = None,
) -> Found:
    """Find a published file in a folder, verified, or download it. Raises ModelNotFoundError and DownloadError."""
    path = folder / remote.name
    expected = remote.sha256 or (frozenset({sha256.lower()}) if sha256 is not None else read_pin(path))
    downloaded = not path.is_file()
    if downloaded:
        mirror = mirror or os.environ.get("TESSERA_MIRROR")
        urls = ([f"{mirror.rstrip('/')}/{urllib.parse.quote(remote.name)}"] if mirror else []) + list(remote.urls)
        _check_available(what, package, remote, folder, urls, offline=offline)
        from tessera.storage.download import download  # imports HTTP and TLS only for a download

        digest = download(urls, path, sha256=expected or None, size=remote.bytes, on_progress=on_progress)
    else:
        digest = _verify(path, remote, expected)
    if sha256 is not None and not remote.sha256:
        write_pin(path, digest)
    return Found(path, digest, unpinned=not expected, downloaded=downloaded)


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


def _verify(path: Path, remote: RemoteFile, expected: frozenset[str]) -> str:
    """Verify an existing file -> its SHA-256."""
    digest = compute_sha256(path)
    if expected and digest not in expected:
        known = "published" if remote.sha256 else "pinned"
        forget = "" if remote.sha256 else f" (or {pin_path(path).name}, if you replaced it on purpose)"
        raise DownloadError(
            f"{path} is not the file that was {known}: SHA-256 expected {' or '.join(sorted(expected))}, found"
            f" {digest}. Delete it{forget}; it is downloaded again when it is needed."
        )
    return digest
