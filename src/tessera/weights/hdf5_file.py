"""HDF5 as Keras writes weights in it: groups within groups, numbers in one piece, read without the HDF5 library.

Only what such files hold is read: a superblock of version 0 or 1, groups of the old kind (a B-tree and a heap of
names), object headers of version 1, floating-point numbers that are neither cut into chunks nor compressed. Everything
else gets a sentence. Source: HDF5 File Format Specification, version 1.1.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tessera.errors import WeightsError
from tessera.weights.checkpoint import LIMIT_BYTES

SIGNATURE = b"\x89HDF\r\n\x1a\n"
_DATASPACE, _DATATYPE, _LAYOUT, _CONTINUATION, _SYMBOL_TABLE = 0x01, 0x03, 0x08, 0x10, 0x11
_FLOATS = {2: 5, 4: 8, 8: 11}
"""Bytes of a floating-point number -> bits of its exponent (IEEE 754)."""
_MAX_DEPTH = 32
_MAX_ITEMS = 100_000


def is_hdf5(path: Path) -> bool:
    """Whether a file begins as HDF5 does. Raises OSError."""
    with path.open("rb") as file:
        return file.read(len(SIGNATURE)) == SIGNATURE


def read_hdf5(path: Path) -> dict[str, Tensor]:
    """Give the floating-point arrays of a file by their path in it (`block1/vars/0`), each in its own type.

    Raises WeightsError (without the name of the file) where it is damaged, larger than is read, or written in another
    of HDF5's ways.
    """
    try:
        size = path.stat().st_size
        if size > LIMIT_BYTES:
            raise WeightsError(f"it has {size} bytes, and at most {LIMIT_BYTES} are read.")
        return _Reader(path.read_bytes()).read()
    except OSError as error:
        raise WeightsError(f"this file cannot be read ({error.strerror or error}).") from error
    except (struct.error, IndexError, UnicodeDecodeError, OverflowError) as error:
        raise WeightsError(f"this is not a whole HDF5 file ({error}). Fetch it again.") from error


class _Reader:
    """The bytes of a file and where in them the next thing lies."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._items = 0
        self._taken = 0

    def read(self) -> dict[str, Tensor]:
        if self._slice(0, 8) != SIGNATURE:
            raise WeightsError("this is not an HDF5 file: it begins otherwise.")
        version, offset_bytes, length_bytes = self._content[8], self._content[13], self._content[14]
        if version > 1:
            raise WeightsError(
                f"its HDF5 superblock has version {version}, and 0 or 1 is read. Save it with libver='earliest'."
            )
        if (offset_bytes, length_bytes) != (8, 8):
            raise WeightsError(f"its HDF5 addresses have {offset_bytes} and {length_bytes} bytes, and 8 are read.")
        start = 24 if version == 0 else 28
        base, _, end = self._numbers("QQQ", start)
        if base:
            raise WeightsError(f"its HDF5 part begins at byte {base}, and a file that is HDF5 from the start is read.")
        if end > len(self._content):
            raise WeightsError(f"it should have {end} bytes, and has {len(self._content)}. Fetch it again.")
        (root,) = self._numbers("Q", start + 40)
        return dict(self._under(root, "", 0))

    def _under(self, address: int, path: str, depth: int) -> Iterator[tuple[str, Tensor]]:
        """Every array at and under an object header."""
        self._count()
        if depth > _MAX_DEPTH:
            raise WeightsError(f"its groups lie more than {_MAX_DEPTH} deep within each other. Fetch it again.")
        messages = dict(self._messages(address))
        table = messages.get(_SYMBOL_TABLE)
        if table is not None:
            tree, heap = struct.unpack_from("<QQ", table)
            (names,) = self._numbers("Q", self._at(heap, b"HEAP") + 24)
            for name, child in self._children(tree, names, 0):
                yield from self._under(child, f"{path}/{name}" if path else name, depth + 1)
        elif _LAYOUT in messages:
            array = self._array(messages, path)
            if array is not None:
                yield path, array

    def _messages(self, address: int) -> Iterator[tuple[int, bytes]]:
        """The messages of an object header, each of which says one thing about the object."""
        version, count, _, size = self._numbers("BxHII", address)
        if version != 1:
            raise WeightsError(f"an object in it has a header of version {version}, and version 1 is read.")
        parts = [(address + 16, size)]
        for position, length in parts:  # continuations add to the list
            end = position + length
            while position + 8 <= end and count > 0:
                kind, content_bytes = self._numbers("HH", position)
                content = self._slice(position + 8, content_bytes)
                if kind == _CONTINUATION:
                    self._count()
                    parts.append(struct.unpack_from("<QQ", content))
                yield kind, content
                position, count = position + 8 + content_bytes, count - 1

    def _children(self, tree: int, names: int, depth: int) -> Iterator[tuple[str, int]]:
        """The members of a group: their names and where their headers lie."""
        self._count()
        if depth > _MAX_DEPTH:
            raise WeightsError(f"a group in it is a tree more than {_MAX_DEPTH} levels high. Fetch it again.")
        node = self._at(tree, b"TREE")
        level, entries = self._numbers("BH", node + 5)
        for entry in range(entries):
            (child,) = self._numbers("Q", node + 24 + 8 + 16 * entry)
            if level > 0:
                yield from self._children(child, names, depth + 1)
                continue
            (count,) = self._numbers("H", self._at(child, b"SNOD") + 6)
            for symbol in range(count):
                self._count()
                name, header = self._numbers("QQ", child + 8 + 40 * symbol)
                yield self._name(names + name), header

    def _array(self, messages: dict[int, bytes], path: str) -> Tensor | None:
        """The array that these messages describe; None where its numbers are no floating-point ones."""
        dtype = _number_type(messages.get(_DATATYPE, b""))
        if dtype is None:
            return None
        shape = _shape(messages.get(_DATASPACE, b""))
        version, kind = messages[_LAYOUT][:2]
        if version != 3 or kind != 1:
            raise WeightsError(f"its array {path} lies in pieces or is compressed, and one in one piece is read.")
        address, size = struct.unpack_from("<QQ", messages[_LAYOUT], 2)
        expected = math.prod(shape) * dtype.itemsize
        if size != expected:
            raise WeightsError(
                f"its array {path} of the shape {shape} should have {expected} bytes, and has {size}. Fetch it again."
            )
        self._taken += size
        if self._taken > len(self._content):
            raise WeightsError("its arrays have more bytes than the file. Fetch it again.")
        array = np.frombuffer(self._slice(address, size), dtype).reshape(shape)
        return torch.from_numpy(array.astype(dtype.newbyteorder("="), copy=True))

    def _count(self) -> None:
        self._items += 1
        if self._items > _MAX_ITEMS:
            raise WeightsError(f"it lists more than {_MAX_ITEMS} things. Fetch it again.")

    def _at(self, address: int, signature: bytes) -> int:
        if self._slice(address, 4) != signature:
            raise WeightsError(f"at byte {address} of it {signature.decode()} was expected. Fetch it again.")
        return address

    def _numbers(self, layout: str, position: int) -> tuple[int, ...]:
        return struct.unpack_from(f"<{layout}", self._content, self._inside(position))

    def _slice(self, position: int, count: int) -> bytes:
        end = self._inside(position) + count
        if end > len(self._content):
            raise IndexError(f"byte {end} is needed, and there are {len(self._content)}")
        return self._content[position:end]

    def _name(self, position: int) -> str:
        end = self._content.find(b"\0", self._inside(position), position + 1024)
        if end < 0:
            raise IndexError("a name without an end")
        return self._content[position:end].decode("utf-8")

    def _inside(self, position: int) -> int:
        if not 0 <= position < len(self._content):
            raise IndexError(f"byte {position} is needed, and there are {len(self._content)}")
        return position


def _number_type(message: bytes) -> np.dtype[np.floating] | None:
    if len(message) < 20 or message[0] & 0x0F != 1:
        return None
    (size,) = struct.unpack_from("<I", message, 4)
    if _FLOATS.get(size) != message[13]:
        return None
    return np.dtype(f"{'>' if message[1] & 1 else '<'}f{size}")


def _shape(message: bytes) -> tuple[int, ...]:
    version, rank = message[0], message[1]
    if version not in (1, 2) or rank > 32:
        raise WeightsError(f"an array in it has a shape of version {version} with {rank} sides. Fetch it again.")
    return struct.unpack_from(f"<{rank}Q", message, 8 if version == 1 else 4)
