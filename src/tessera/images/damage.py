"""What libvips says about a file that it cannot read -> one sentence that helps."""

from __future__ import annotations

import contextlib
from pathlib import Path

from tessera.images.png_color import png_size

_LONGEST_REASON = 150
_LONGEST_PNG_SIDE = 100_000_000  # libvips' VIPS_MAX_COORD
_CUT_SHORT = (
    *("truncated", "premature end", "end of stream", "unexpected end", "end of file", "not enough data", "eof"),
)


def sentence(path: Path, error: Exception) -> str:
    """One sentence from libvips' report."""
    text = str(error)
    lowered = text.lower()
    start, end, size = _ends_of_file(path)
    kind = _guess(start)
    if kind or "not in a known format" in lowered or "is not a known file format" in lowered:
        return f"{path}: is not a picture that can be read here{f' ({kind})' if kind else ''}."
    claimed = png_size(start)
    if claimed is not None and not 0 < min(claimed) <= max(claimed) < 2**31:
        return f"{path}: is damaged: its header claims {claimed[1]}x{claimed[0]} pixels, which no PNG can have."
    if claimed is not None and max(claimed) > _LONGEST_PNG_SIDE:
        return (
            f"{path}: claims to be {claimed[1]}x{claimed[0]}, and a PNG of at most {_LONGEST_PNG_SIDE:,} pixels on a"
            " side can be read."
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


def _ends_of_file(path: Path) -> tuple[bytes, bytes, int]:
    """The first and last bytes of a file, and how many it has."""
    with contextlib.suppress(OSError), path.open("rb") as file:
        start = file.read(64)
        size = path.stat().st_size
        file.seek(max(0, size - 64))
        return start, file.read(64), size
    return b"", b"", 0


def _guess(start: bytes) -> str:
    if start.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"<":
        return "it looks like a web page or SVG"
    if start[:2] == b"BM":
        return "a BMP file with a header that is not known"
    if start[:4] == b"%PDF":
        return "a PDF"
    if start[:2] == b"PK":
        return "a zip archive"
    if start[4:12] in (b"ftypheic", b"ftypheix", b"ftypmif1"):
        return "HEIC, whose decoder the libvips wheel leaves out: convert it to JPEG, PNG or AVIF"
    if start[:10] == b"\x00\x00\x00\x0cJXL \r\n" or start[:2] == b"\xff\x0a":
        return "JPEG XL, which this libvips does not read: convert it to PNG"
    return ""
