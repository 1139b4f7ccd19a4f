"""ZIP archives as PyTorch writes them: nothing compressed, so that they unpack to no more than their own size."""

from __future__ import annotations

import zipfile

from tessera.weights.pickle_walk import MalformedError


def check_members(archive: zipfile.ZipFile, size: int) -> dict[str, zipfile.ZipInfo]:
    """Check the members of an archive of this many bytes before any is read -> the members by name.

    Raises MalformedError for a member that is compressed, encrypted or there twice, and for members that overlap.
    """
    members: dict[str, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        if info.filename in members:
            raise MalformedError(f"its archive holds {info.filename[:120]!r} twice")
        if info.flag_bits & 0x1:
            raise MalformedError(f"its archive member {info.filename[:120]!r} is encrypted")
        if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size:
            raise MalformedError(
                f"its archive member {info.filename[:120]!r} is compressed, which PyTorch never does; if you repacked"
                " it yourself, pack it without compression (`zip -0`)"
            )
        members[info.filename] = info
    if sum(info.file_size for info in members.values()) > size:
        raise MalformedError("its archive members overlap: together they are larger than the file")
    return members
