"""Camera raw: recognized and refused, because only a raw developer turns a sensor's values into a picture.

Most raw formats are TIFF files whose first image is a thumbnail, which must not be taken for the photograph.
"""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

from tessera.errors import PictureError
from tessera.images.picture_format import OpenPicture, PictureFormat, ReadOptions

_EXTENSIONS = frozenset(
    (
        *(".3fr", ".ari", ".arw", ".bay", ".cap", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".eip", ".erf", ".fff"),
        *(".gpr", ".iiq", ".k25", ".kdc", ".mdc", ".mef", ".mos", ".mrw", ".nef", ".nrw", ".orf", ".pef", ".ptx"),
        *(".raf", ".raw", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f"),
    )
)
_STARTS = (
    *(b"IIRO", b"IIRS", b"MMOR", b"IIU\x00"),  # Olympus; Panasonic and Leica
    *(b"FUJIFILMCCD-RAW", b"FOVb", b"\x00MRM"),  # Fujifilm; Sigma; Minolta
)


def has_raw_name(path: Path) -> bool:
    """Whether a file has the extension of a raw format."""
    return path.suffix.lower() in _EXTENSIONS


def refuse_raw(path: Path) -> NoReturn:
    """Raise PictureError for a camera raw file."""
    kind = path.suffix[1:].upper() if has_raw_name(path) else "such as DNG, NEF, CR2 or ARW"
    raise PictureError(
        f"{path}: is a camera raw file ({kind}): it holds a sensor's values, and its pictures are only previews."
        " Develop it with a raw converter and save a TIFF or PNG with 16 bits."
    )


def _matches(start: bytes) -> bool:
    return (
        start.startswith(_STARTS)
        or (start[:4] == b"II*\x00" and start[8:10] == b"CR")  # Canon CR2
        or (start[:4] == b"II*\x00" and start[8:12] == b"IIII")  # Phase One
        or start[4:12] == b"ftypcrx "  # Canon CR3
        or start[6:14] == b"HEAPCCDR"  # Canon CRW
    )


def _open(path: Path, options: ReadOptions) -> OpenPicture:
    refuse_raw(path)


CAMERA_RAW = PictureFormat(name="camera raw", extensions=(), matches=_matches, open=_open)
