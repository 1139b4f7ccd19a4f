"""One helpful sentence for a file that cannot be read, from the reports of libvips and the operating system."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from collections.abc import Generator
from pathlib import Path

from tessera.errors import PictureError
from tessera.images.codecs.png_chunks import read_png_size
from tessera.images.formats import describe_formats, is_picture_name, recognize_format

_LONGEST_REASON = 150
_LONGEST_PNG_SIDE = 100_000_000  # libvips' VIPS_MAX_COORD
_CUT_SHORT = (
    *("truncated", "premature end", "end of stream", "unexpected end", "end of file", "not enough data", "eof"),
)


def check_regular_file(path: Path) -> None:
    """Raise PictureError unless the path is a regular file that is not empty."""
    with explain_errors(path):
        status = path.stat()  # before any open, because opening a pipe waits for a writer
    if stat.S_ISDIR(status.st_mode):
        raise PictureError(f"{path}: is a folder, not a picture.")
    if not stat.S_ISREG(status.st_mode):
        raise PictureError(f"{path}: is a pipe, a device or the like, not a regular file.")
    if status.st_size == 0:
        formats = "" if is_picture_name(path) else f", and its name is not a picture's; supported: {describe_formats()}"
        raise PictureError(f"{path}: is empty (0 bytes){formats}.")


@contextlib.contextmanager
def explain_errors(path: Path) -> Generator[None]:
    """Turn errors of libvips and of the operating system about a file into PictureError, MemoryError aside."""
    try:
        yield
    except PictureError:
        raise
    except FileNotFoundError:
        what = "is a link to a missing file" if path.is_symlink() else "no such file"
        raise PictureError(f"{path}: {what}.") from None
    except PermissionError:
        raise PictureError(f"{path}: no permission to read it.") from None
    except (OSError, ValueError) as error:
        raise PictureError(f"{path}: cannot be opened: {getattr(error, 'strerror', None) or error}.") from None
    except Exception as error:
        if not is_libvips_error(error):
            raise
        if is_out_of_memory(error):
            raise MemoryError(str(error)) from None
        raise PictureError(describe_damage(path, error)) from None


def is_libvips_error(error: BaseException) -> bool:
    """Whether libvips raised it, without importing libvips."""
    pyvips = sys.modules.get("pyvips")
    return pyvips is not None and isinstance(error, pyvips.Error)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether libvips says that it could not allocate memory, which no damage of a file causes."""
    return is_libvips_error(error) and "out of memory" in str(error).lower()


def describe_damage(path: Path, error: Exception) -> str:
    """Describe why libvips cannot read a file, in one sentence."""
    text = str(error)
    lowered = text.lower()
    start, end, size = _read_ends(path)
    kind = _guess_kind(start)
    if kind or "not in a known format" in lowered or "is not a known file format" in lowered:
        found = f" ({kind})" if kind else ""
        return f"{path}: is not a picture in a supported format{found}; supported: {describe_formats()}."
    claimed = read_png_size(start)
    if claimed is not None and not 0 < min(claimed) <= max(claimed) < 2**31:
        return f"{path}: is damaged: its header claims {claimed[1]}x{claimed[0]} pixels, which no PNG can have."
    if claimed is not None and max(claimed) > _LONGEST_PNG_SIDE:
        return (
            f"{path}: its header claims {claimed[1]}x{claimed[0]} pixels; PNG files of at most {_LONGEST_PNG_SIDE:,}"
            " pixels per side can be read."
        )
    lacks_its_end = (start[:4] == b"\x89PNG" and b"IEND" not in end) or (
        start[:4] == b"RIFF" and int.from_bytes(start[4:8], "little") + 8 > size
    )
    if lacks_its_end or any(word in lowered for word in _CUT_SHORT):
        return f"{path}: is cut short or damaged; the rest of the picture is missing."
    lines = [line.strip() for line in text.splitlines()[1:] if line.strip()]
    reason = (lines[-1] if lines else text.strip()).rstrip(".")[:_LONGEST_REASON]
    reason = "".join(letter if letter.isprintable() else "?" for letter in reason)
    if reason.startswith("unable to call"):
        return f"{path}: is damaged or unusual and cannot be decoded."
    return f"{path}: is damaged or unusual and cannot be decoded ({reason})."


def _read_ends(path: Path) -> tuple[bytes, bytes, int]:
    """Read the first and last bytes of a file, and its size."""
    with contextlib.suppress(OSError), path.open("rb") as file:
        start = file.read(64)
        size = path.stat().st_size
        file.seek(max(0, size - 64), os.SEEK_SET)
        return start, file.read(64), size
    return b"", b"", 0


def _guess_kind(start: bytes) -> str:
    if start.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"<":
        return "it looks like a web page or SVG"
    if start[:4] == b"%PDF":
        return "a PDF"
    if start[:2] == b"PK":
        return "a zip archive"
    form = recognize_format(start)
    if form is None and start[:2] == b"BM":
        return "a BMP file with an unknown header"
    return form.hint if form is not None else ""
