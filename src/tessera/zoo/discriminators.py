"""Discriminators and series of their checkpoints, by name, file, archive or folder: found, downloaded, unpacked.

No checksums are published for them. A file is pinned (`zoo.pinning`) after it was read as what it should be: a
discriminator of the published kind, or an archive that passed `storage.archive` and has such files in it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tessera.errors import DownloadError, FileError, UnknownModelError, UsageError, WeightsError
from tessera.images.formats import is_picture_name
from tessera.storage.archive import list_members, unpack_archive
from tessera.storage.checksum import compute_sha256
from tessera.weights.names import ARCHIVE_SUFFIX, CHECKPOINT_SUFFIXES
from tessera.zoo.fetching import Found, fetch_remote, models_folder
from tessera.zoo.pinning import write_pin
from tessera.zoo.training_files import (
    PUBLISHED_DISCRIMINATORS,
    PublishedArchive,
    PublishedDiscriminator,
    TrainingFile,
    find_training_file,
)

if TYPE_CHECKING:
    from tessera.storage.download import Progress
    from tessera.weights.published import RemoteFile

UNPACKED = "unpacked"
"""The folder below the models folder that holds unpacked archives, by name and checksum."""
_SUFFIXES = (*CHECKPOINT_SUFFIXES, ".safetensors")
_MOST_OUTER = 8


@dataclass(frozen=True)
class FetchedFile:
    """A published file on this machine."""

    path: Path
    """The file; for an archive the folder of its files."""
    digest: str | None
    """Its SHA-256, if it was read in this call."""


def locate_training_file(entry: TrainingFile, folder: Path | None = None) -> Path | None:
    """Find the file of a discriminator or an archive on this machine, under any of its names; None if missing."""
    folder = folder or models_folder()
    names = (entry.remote.name, *(_add_suffix(alias, entry.remote.name) for alias in entry.aliases))
    return next((folder / name for name in names if (folder / name).is_file()), None)


def fetch_training_file(
    entry: TrainingFile,
    folder: Path | None = None,
    *,
    sha256: str | None = None,
    offline: bool = False,
    on_progress: Progress | None = None,
) -> FetchedFile:
    """Return the published file of a discriminator, or the unpacked folder of an archive, downloaded if missing.

    Raises ModelNotFoundError if it is missing and unavailable, DownloadError if the download fails or the file is not
    what was published, and FileError for an archive that must not be unpacked.
    """
    folder = folder or models_folder()
    found = fetch_remote(
        _choose_name(entry, folder),
        folder,
        what=entry.name,
        package="",
        offline=offline,
        mirror=None,
        on_progress=on_progress,
        sha256=sha256,
    )
    if found.unpinned:
        _check_first(entry, found)
        write_pin(found.path, found.digest or compute_sha256(found.path))
    if isinstance(entry, PublishedDiscriminator):
        return FetchedFile(found.path, found.digest)
    return FetchedFile(unpack(found.path, folder, digest=found.digest), found.digest)


def find_discriminator(
    spec: str | os.PathLike[str], *, offline: bool = False, on_progress: Progress | None = None
) -> Path:
    """Find the weights file of a discriminator: the path of a file, or a published name, downloaded if missing.

    Raises UnknownModelError for an unknown name or a missing file, and as `fetch_training_file`.
    """
    text = os.fspath(spec)
    path = Path(text)
    if path.is_file():
        return path
    entry = find_training_file(text)
    if isinstance(entry, PublishedDiscriminator):
        return fetch_training_file(entry, offline=offline, on_progress=on_progress).path
    names = ", ".join(each.name for each in PUBLISHED_DISCRIMINATORS)
    raise UnknownModelError(
        f"{text}: no such file, and no published discriminator of that name. Give the path of its weights, or one of"
        f" {names}."
    )


def find_checkpoint_place(
    spec: str | os.PathLike[str], *, offline: bool = False, on_progress: Progress | None = None
) -> Path:
    """Find checkpoints of discriminators: a file, a folder, a ZIP archive (unpacked once), or a published name.

    A folder whose only content is another folder stands for that one, because archives often have an outer folder.

    Raises UnknownModelError for other names, FileError for an archive that must not be unpacked, and as
    `fetch_training_file`.
    """
    text = os.fspath(spec)
    path = Path(text)
    if path.is_dir():
        return enter_outer_folder(path)
    if path.is_file():
        return enter_outer_folder(unpack(path)) if is_series_archive(path) else path
    entry = find_training_file(text)
    if isinstance(entry, PublishedArchive) and entry.contents == "checkpoints":
        return enter_outer_folder(fetch_training_file(entry, offline=offline, on_progress=on_progress).path)
    if isinstance(entry, PublishedArchive):
        raise UnknownModelError(f"{entry.name} contains {entry.contents}, expected checkpoints of a discriminator.")
    return find_discriminator(spec, offline=offline, on_progress=on_progress)


def is_series_archive(path: Path) -> bool:
    """Whether a file is a ZIP archive of checkpoint files; a single checkpoint is such an archive too, inside."""
    if path.suffix.lower() != ARCHIVE_SUFFIX or not zipfile.is_zipfile(path):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.lower().endswith(_SUFFIXES) for name in archive.namelist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return False


def unpack(path: Path, folder: Path | None = None, *, digest: str | None = None) -> Path:
    """Unpack an archive below the models folder, once for each content -> the folder with its files.

    Raises FileError for an archive that must not be unpacked, or a folder that cannot be written.
    """
    digest = digest or compute_sha256(path)
    target = (folder or models_folder()) / UNPACKED / f"{path.stem[:80]}-{digest[:12]}"
    if target.is_dir():
        return target
    try:
        return unpack_archive(path, target)
    except OSError as error:
        if target.is_dir():  # another process was faster
            return target
        raise FileError(
            f"{path}: cannot be unpacked into {target} ({error.strerror or error}). Choose another folder in"
            " TESSERA_MODELS, or unpack it yourself and name the folder."
        ) from None


def enter_outer_folder(folder: Path) -> Path:
    """Enter folders that contain one folder and nothing else."""
    for _ in range(_MOST_OUTER):
        try:
            inside = [each for each in folder.iterdir() if not each.name.startswith((".", "__MACOSX"))]
        except OSError as error:
            raise UsageError(f"{folder}: cannot list this folder ({error.strerror or error}).") from None
        if len(inside) != 1 or not inside[0].is_dir() or inside[0].name.isdecimal():
            break
        folder = inside[0]
    return folder


def _check_first(entry: TrainingFile, found: Found) -> None:
    """Check a file that no checksum confirms. Raises DownloadError; a downloaded file is deleted then."""
    try:
        if isinstance(entry, PublishedDiscriminator):
            from tessera.weights.discriminator_file import load_discriminator  # imports torch

            network = load_discriminator(found.path).config.network
            if network != entry.network:
                raise WeightsError(f"expected the discriminator {entry.network}, found {network}.")
        else:
            names = [member.path for member in list_members(found.path)]
            is_part = is_picture_name if entry.contents == "test sets" else _is_checkpoint
            if not any(is_part(Path(name)) for name in names):
                raise FileError(f"expected an archive of {entry.contents}, found none in it.")
    except (WeightsError, FileError, OSError) as error:
        if found.downloaded:
            with contextlib.suppress(OSError):
                found.path.unlink()
        after = "it was deleted" if found.downloaded else "delete it"
        raise DownloadError(f"{found.path} is not {entry.name}, {after}: {error}") from error


def _is_checkpoint(path: Path) -> bool:
    return path.suffix.lower() in _SUFFIXES


def _choose_name(entry: TrainingFile, folder: Path) -> RemoteFile:
    """The published file under the name that it has in this folder."""
    here = locate_training_file(entry, folder)
    return entry.remote if here is None else dataclasses.replace(entry.remote, name=here.name)


def _add_suffix(alias: str, name: str) -> str:
    suffix = Path(name).suffix
    return alias if alias.endswith(suffix) else alias + suffix
