"""ZIP archives, unpacked into a new folder after everything that they declare was checked.

An archive decides names, kinds and sizes of files, so nothing is written before the whole list passed: no name leads
out of the folder, no member is a link or a device, and count and sizes are bounded. All files go to a folder under a
temporary name, which is renamed at the end: the folder appears complete or not at all.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tessera.errors import FileError
from tessera.storage.atomic import choose_temporary_name, flush_folder
from tessera.storage.files import open_for_reading, replace_file
from tessera.storage.leftovers import remove_leftovers

MOST_FILES = 100_000
MOST_BYTES = 64 << 30
"""Limits for an archive: the largest published one has 70 checkpoints of 22 MB."""
_MOST_EXPANSION = 100
"""Largest ratio of unpacked to packed size; pictures and weights stay below 10."""
_SMALL_BYTES = 1 << 20
"""Files below this size may expand by any ratio: lists and empty pictures do."""
_LONGEST_NAME = 200
_BLOCK_BYTES = 1 << 20
_RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))}
_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError)
"""What zipfile raises for damaged or unsupported archives."""


@dataclass(frozen=True)
class ArchiveMember:
    """A file in an archive: its place below the folder, and its size unpacked."""

    path: PurePosixPath
    bytes: int
    info: zipfile.ZipInfo


def list_members(path: Path, *, most_files: int = MOST_FILES, most_bytes: int = MOST_BYTES) -> list[ArchiveMember]:
    """List the files of a ZIP archive, after checking all of them; macOS's own entries are left out.

    Raises:
        FileError: it is not a ZIP archive; a name leads out of the folder or appears twice; a member is a link, is
            encrypted or has an unknown compression; there are more than `most_files` or `most_bytes`.
        OSError: it cannot be read.
    """
    with _open_archive(path) as archive:
        return _check_members(path, archive.infolist(), most_files, most_bytes)


def unpack_archive(
    path: Path,
    folder: Path,
    *,
    most_files: int = MOST_FILES,
    most_bytes: int = MOST_BYTES,
    on_progress: Callable[[int, int | None], None] = lambda here, total: None,
) -> Path:
    """Unpack a ZIP archive into a new folder -> the folder, complete.

    Args:
        path: the archive.
        folder: the folder to create; an existing one is an error.
        most_files: the largest accepted number of files.
        most_bytes: the largest accepted sum of unpacked sizes.
        on_progress: called with the bytes written and their total.

    Raises:
        FileError: as `list_members`; the folder exists, the disk has too little space, or a member is damaged.
            Nothing is left behind then.
        OSError: the archive cannot be read, or the folder cannot be created.
    """
    if folder.exists() or folder.is_symlink():
        raise FileError(f"{folder} already exists. Delete it, or unpack into another folder.")
    members = list_members(path, most_files=most_files, most_bytes=most_bytes)
    total = sum(member.bytes for member in members)
    folder.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(folder.parent)
    free = shutil.disk_usage(folder.parent).free
    if free < total:
        raise FileError(f"{path}: unpacks to {total:,} bytes, and {folder.parent} has {free:,} free. Free space there.")
    temporary = choose_temporary_name(folder)
    temporary.mkdir()
    try:
        with _open_archive(path) as archive:
            written = 0
            for member in members:
                target = temporary.joinpath(*member.path.parts)
                target.parent.mkdir(parents=True, exist_ok=True)
                _unpack_member(path, archive, member, target)
                written += member.bytes
                on_progress(written, total)
        temporary.rename(folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    flush_folder(folder.parent)
    return folder


@contextlib.contextmanager
def _open_archive(path: Path) -> Generator[zipfile.ZipFile]:
    with os.fdopen(open_for_reading(path, max_bytes=MOST_BYTES), "rb") as file:
        try:
            archive = zipfile.ZipFile(file)
        except _DAMAGE as error:
            raise FileError(f"{path}: expected a ZIP archive, found a damaged or different file ({error}).") from None
        with archive:
            yield archive


def _check_members(
    path: Path, infos: Iterable[zipfile.ZipInfo], most_files: int, most_bytes: int
) -> list[ArchiveMember]:
    members: list[ArchiveMember] = []
    files: dict[str, str] = {}
    folders: set[str] = set()
    total = 0
    for info in infos:
        place = _check_name(path, info.filename)
        if place.parts[0] == "__MACOSX" or place.name == ".DS_Store":
            continue
        _check_kind(path, info)
        keys = [_fold("/".join(place.parts[:depth])) for depth in range(1, len(place.parts) + 1)]
        if info.is_dir() or info.filename.endswith("\\"):
            folders.update(keys)
            continue
        if keys[-1] in files:
            raise FileError(f"{path}: contains {place} and {files[keys[-1]]}, which are one file on some systems.")
        files[keys[-1]] = str(place)
        folders.update(keys[:-1])
        members.append(ArchiveMember(place, info.file_size, info))
        total += info.file_size
        if len(members) > most_files:
            raise FileError(f"{path}: contains more than {most_files:,} files, the limit.")
        if total > most_bytes:
            raise FileError(f"{path}: unpacks to more than {most_bytes:,} bytes, the limit.")
    for key in folders & files.keys():
        raise FileError(f"{path}: contains {files[key]} as a file and as a folder.")
    return members


def _check_name(path: Path, name: str) -> PurePosixPath:
    """The place of a member below the folder. Raises FileError for a name that leads elsewhere on any system."""
    shown = ascii(name[:120])
    # Some packers of Windows write backslashes; any system must read the same tree.
    parts = [part for part in name.replace("\\", "/").split("/") if part != "."]
    if parts and not parts[-1]:
        parts = parts[:-1]  # a folder
    for part in parts:
        plain = part.partition(".")[0].strip().lower()
        if (
            part in ("", "..")
            or ":" in part
            or part != part.rstrip(" .")
            or plain in _RESERVED
            or len(part.encode("utf-8", "replace")) > _LONGEST_NAME
            or any(unicodedata.category(letter) in ("Cc", "Cs") for letter in part)
        ):
            raise FileError(
                f"{path}: expected names of files inside the archive, found {shown}. Nothing was unpacked; get the"
                " archive from its author."
            )
    if not parts:
        raise FileError(f"{path}: expected names of files inside the archive, found {shown}. Nothing was unpacked.")
    return PurePosixPath(*parts)


def _check_kind(path: Path, info: zipfile.ZipInfo) -> None:
    """Raise FileError for a link, a device, an encrypted member or one that expands without measure."""
    shown = ascii(info.filename[:120])
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        found = "a link" if kind == stat.S_IFLNK else "a device or another special file"
        raise FileError(f"{path}: expected regular files, found {found}: {shown}. Nothing was unpacked.")
    if "\0" in info.orig_filename:
        raise FileError(f"{path}: the name {shown} is cut by a null character. Nothing was unpacked.")
    if info.flag_bits & 0x1:
        raise FileError(f"{path}: {shown} is encrypted. Unpack the archive yourself and name the folder.")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise FileError(
            f"{path}: {shown} is compressed by method {info.compress_type}; expected stored or deflated. Unpack the"
            " archive yourself and name the folder."
        )
    if info.file_size > max(_SMALL_BYTES, _MOST_EXPANSION * info.compress_size):
        raise FileError(
            f"{path}: {shown} unpacks from {info.compress_size:,} to {info.file_size:,} bytes; expected at most"
            f" {_MOST_EXPANSION} times its packed size. Nothing was unpacked."
        )


def _fold(name: str) -> str:
    """The name as file systems that ignore case and composition compare it."""
    return unicodedata.normalize("NFC", name).casefold()


def _unpack_member(path: Path, archive: zipfile.ZipFile, member: ArchiveMember, target: Path) -> None:
    written = 0
    try:
        with archive.open(member.info) as source, replace_file(target) as file:
            while block := source.read(_BLOCK_BYTES):
                written += len(block)
                if written > member.bytes:
                    raise EOFError("more data than declared")
                file.write(block)
            if written != member.bytes:
                raise EOFError(f"{written:,} of {member.bytes:,} bytes")
    except _DAMAGE as error:
        raise FileError(
            f"{path}: {member.path} is damaged ({error or type(error).__name__}). Download the archive again."
        ) from None
