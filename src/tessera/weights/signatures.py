"""How files of each format begin, and what a file is that cannot hold weights; without PyTorch."""

from __future__ import annotations

import re

from tessera.errors import WeightsError
from tessera.weights.ncnn_text import MAGIC as NCNN_MAGIC

ZIP_MAGIC = b"PK\x03\x04"
HEAD_BYTES = 4096
_IR_START = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml[^<>]{0,200}\?>\s*)?(?:<!--[^<>]{0,1000}-->\s*)?<net[\s>]")


def describe_other_file(head: bytes, size: int) -> str | None:
    """Describe a file that cannot hold weights, from its first bytes, in one sentence; None when it may hold some."""
    if size == 0:
        return "this file is empty (0 bytes); it was not downloaded or written completely. Download it again."
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith(b"version https://git-lfs"):
        return (
            "this is a Git LFS pointer, a small text file in place of the real file. Run `git lfs pull` in the "
            "repository it came from, or download the file itself."
        )
    if text.startswith((b"<!doctype", b"<html", b"<head", b"<?xml")):
        return (
            "this is a web page, not weights; the URL returned a page (a login, an error or a preview) in place of the "
            "file. Download it again from its direct URL."
        )
    for magic, what in (
        (b"\x89PNG", "a PNG picture"),
        (b"\xff\xd8\xff", "a JPEG picture"),
        (b"\x1f\x8b", "a gzip archive; unpack it first"),
        (b"7z\xbc\xaf", "a 7z archive; unpack it first"),
        (b"Rar!", "a RAR archive; unpack it first"),
        (b"\x89HDF", "an HDF5 file (Keras), which this program does not read"),
        (b"GGUF", "a GGUF file, which this program does not read"),
    ):
        if head.startswith(magic):
            return f"this is not weights but {what}."
    if looks_like_safetensors(head, size):
        return "this is a safetensors file, not a PyTorch checkpoint."
    if text.startswith((b"{", b"[")) and _is_text(head):
        return "this is a JSON file, not weights. Give the weights file itself."
    return None


def looks_like_safetensors(head: bytes, size: int) -> bool:
    """Tell from the first 9 bytes of a file of this size whether it is a safetensors file."""
    return head[8:9] == b"{" and 2 <= int.from_bytes(head[:8], "little") <= size - 8


def _is_text(head: bytes) -> bool:
    return all(byte in b"\t\r\n" or 32 <= byte < 127 for byte in head)


def require_openvino(head: bytes, size: int) -> None:
    """Refuse a file that does not begin like OpenVINO's `.xml`. Raises WeightsError, without the file's name."""
    if _IR_START.match(head):
        return
    problem = describe_other_file(head[:512], size)
    if problem is None or head.lstrip().startswith(b"<?xml"):
        problem = "this is not an OpenVINO model: expected XML that begins with `<net`"
        problem += f", found an ncnn model ({NCNN_MAGIC})." if head.startswith(NCNN_MAGIC.encode()) else "."
    raise WeightsError(f"{problem.rstrip('.')}. Give the `.xml` that OpenVINO or `tessera export` wrote.")
