"""Other files that an ONNX file refers to, found by walking its protobuf fields without a library.

An ONNX file may keep its tensors in files next to it ("external data"), so its own bytes do not determine the result.
The walk visits each field once and reads only the few that lead to tensors, so time and memory are linear in the number
of fields. Field numbers are from `onnx.proto` (ONNX 1.19).
"""

from __future__ import annotations

import io
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from tessera.errors import WeightsError

MAX_FIELDS = 5_000_000
MAX_LOCATION_BYTES = 4096

_CHILDREN: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "entry"},
}
"""Message -> the fields that lead to tensors, and the messages in them."""
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_IR_VERSION, _GRAPH = 1, 7


class _NotOnnxError(Exception):
    """The bytes are not an ONNX model; the text says why."""


def list_external_data(path: Path) -> tuple[Path, ...]:
    """List the files with external data of an ONNX file, sorted by name; empty for a file that holds all its tensors.

    Raises WeightsError, without the file's name, when it is not an ONNX model or refers to a file that is not in its
    own folder, and OSError when it cannot be read.
    """
    with path.open("rb") as file:
        size = file.seek(0, io.SEEK_END)
        try:
            locations = _FieldReader(file, size).find_locations()
        except _NotOnnxError as error:
            raise WeightsError(f"not an ONNX model: {error}. Give an ONNX file, or download it again.") from None
    return tuple(_locate(path, location) for location in sorted(locations))


def _locate(path: Path, location: str) -> Path:
    """The file at a location; links and folders above it are refused, because ONNX Runtime would follow them."""
    parts = PurePosixPath(location.replace("\\", "/"))
    outside = parts.is_absolute() or ".." in parts.parts or ":" in location or "\0" in location or not parts.parts
    data = path.parent / parts
    if outside or path.parent.resolve() not in data.resolve().parents:
        raise WeightsError(
            f"it refers to {location[:200]!r}, outside its own folder. Give a file whose data lie next to it."
        )
    if not data.is_file():
        raise WeightsError(f"it keeps tensors in {location[:200]!r}, which is missing. Download both files.")
    return data


class _FieldReader:
    """Reads the fields of a model one after another."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self.file, self.size = file, size
        self.fields = 0
        self.seen: set[int] = set()
        """Field numbers of the model itself."""
        self.locations: set[str] = set()

    def find_locations(self) -> set[str]:
        waiting = [(0, self.size, "model")]
        while waiting:
            waiting += self._read_message(*waiting.pop())
        if not {_IR_VERSION, _GRAPH} <= self.seen:
            raise _NotOnnxError("it has no version or no graph")
        return self.locations

    def _read_message(self, start: int, end: int, kind: str) -> list[tuple[int, int, str]]:
        """Read the fields of one message -> the messages in it to be read next."""
        children = _CHILDREN[kind]
        found: list[tuple[int, int, str]] = []
        place = start
        while place < end:
            self.fields += 1
            if self.fields > MAX_FIELDS:
                raise _NotOnnxError(f"it has more than {MAX_FIELDS:,} fields")
            tag, place = self._read_varint(place, end)
            field, wire = tag >> 3, tag & 7
            if kind == "model":
                self.seen.add(field)
            if wire == _VARINT:
                _, place = self._read_varint(place, end)
                continue
            length = {_FIXED64: 8, _FIXED32: 4}.get(wire)
            if wire == _BYTES:
                length, place = self._read_varint(place, end)
            if length is None or field == 0 or length > end - place:
                raise _NotOnnxError(f"its fields are damaged at byte {place:,}")
            child = children.get(field) if wire == _BYTES else None
            if child == "entry":
                self._read_entry(place, place + length)
            elif child is not None:
                found.append((place, place + length, child))
            place += length
        return found

    def _read_entry(self, start: int, end: int) -> None:
        """Read a pair of texts; note its value where the key is "location"."""
        texts = {1: b"", 2: b""}
        place = start
        while place < end:
            self.fields += 1
            tag, place = self._read_varint(place, end)
            length, place = self._read_varint(place, end)
            if tag & 7 != _BYTES or length > min(end - place, MAX_LOCATION_BYTES):
                raise _NotOnnxError(f"its external data are described wrongly at byte {place:,}")
            self.file.seek(place)
            texts[tag >> 3] = self.file.read(length)
            place += length
        if texts[1] == b"location":
            try:
                self.locations.add(texts[2].decode())
            except UnicodeDecodeError:
                raise _NotOnnxError("the name of a file with external data is not UTF-8 text") from None

    def _read_varint(self, place: int, end: int) -> tuple[int, int]:
        """Read an integer at a place -> the integer, the place after it."""
        self.file.seek(place)
        data = self.file.read(min(10, end - place))
        value = 0
        for number, byte in enumerate(data):
            value |= (byte & 0x7F) << (7 * number)
            if byte < 0x80:
                return value, place + number + 1
        raise _NotOnnxError(f"its fields are damaged at byte {place:,}")
