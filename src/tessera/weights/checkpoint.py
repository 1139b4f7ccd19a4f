"""Safe reader of `torch.save` files: no code in the file is executed.

A `.pth` file is a program: unpickling imports the names it contains and calls them. Here `pickle_walk` only interprets
the program. Any name that tensors do not need stops the reading, and the error quotes it. This module then builds the
arrays from the bytes of the storages, after it has compared every declared size with the actual size. `torch.load` is
never called, so its vulnerabilities (and the differences between its archive reader and others) do not apply.

Two formats are supported: the ZIP archive that PyTorch writes since 1.6, and the older one, which is consecutive
pickles followed by the storages. Either may lie in a ZIP archive as the only weights file, as websites pack downloads.
"""

import dataclasses
import io
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import IO, Any, Literal, cast

import numpy as np

from tessera.errors import UnsafeWeightsError, WeightsError
from tessera.weights.arrays import Array
from tessera.weights.names import CHECKPOINT_SUFFIXES
from tessera.weights.pickle_walk import DAMAGE, Global, Inert, MalformedError, Storage, Strided, Walker
from tessera.weights.signatures import ZIP_MAGIC, describe_other_file
from tessera.weights.stored_archive import check_members

LIMIT_BYTES = 4 << 30
MAX_PICKLE_BYTES = 64 << 20
MAX_DEPTH = 32
MAX_EXPANSION = 8
"""Largest ratio of unpacked to packed size of a packed checkpoint; those of trained weights are below 2."""

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_PROTOCOL = 1001


@dataclass(frozen=True)
class CheckpointContent:
    """Content of a file: containers, numbers and arrays. Any other object is an `Inert`, which only has a name.

    Arrays are views of the storages as they were read: not writable, and several may share memory.
    """

    content: Any
    format: Literal["zip", "legacy"]
    packed_name: str | None = None
    """Name of the checkpoint inside a ZIP archive that holds it."""


def read_checkpoint(path: Path, *, limit_bytes: int = LIMIT_BYTES) -> CheckpointContent:
    """Read a `.pth`, `.pt` or `.ckpt` file; nothing in it is executed.

    Raises UnsafeWeightsError when the file imports anything that tensors do not need, and WeightsError when it is
    damaged, not a checkpoint, or declares more than `limit_bytes` of tensors.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, io.SEEK_END)
            file.seek(0)
            head = file.read(512)
            file.seek(0)
            problem = describe_other_file(head, size)
            if problem is not None:
                raise WeightsError(f"{path}: {problem}")
            packed = find_packed(file, head)
            if packed is not None:
                name, data = _unpack(file, packed, limit_bytes)
                found = _read_open(io.BytesIO(data), data[:512], len(data), limit_bytes)
                return dataclasses.replace(found, packed_name=name)
            return _read_open(file, head, size, limit_bytes)
    except OSError as error:
        raise WeightsError(f"{path}: this file cannot be read ({error.strerror or error}).") from error
    except UnsafeWeightsError as error:
        raise UnsafeWeightsError(f"{path}: {error}") from None
    except MalformedError as error:
        raise WeightsError(
            f"{path}: this is not a complete PyTorch checkpoint: {error}. Download it again, and compare its sha256 "
            "with the one its author publishes."
        ) from error


def _read_open(file: IO[bytes], head: bytes, size: int, limit_bytes: int) -> CheckpointContent:
    reader = _Reader(_Clipped(file, size), limit_bytes)
    return reader.read_zip() if head.startswith(ZIP_MAGIC) else reader.read_legacy()


def find_packed(file: IO[bytes], head: bytes) -> zipfile.ZipInfo | None:
    """Find the only checkpoint that a ZIP archive holds as a file; None for other files."""
    if not head.startswith(ZIP_MAGIC):
        return None
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
    except DAMAGE:
        return None
    finally:
        file.seek(0)
    if any(info.filename.endswith("/data.pkl") for info in members):
        return None
    found = [
        info
        for info in members
        if info.filename.lower().endswith(CHECKPOINT_SUFFIXES) and not info.filename.startswith("__MACOSX/")
    ]
    return found[0] if len(found) == 1 else None


def _unpack(file: IO[bytes], packed: zipfile.ZipInfo, limit_bytes: int) -> tuple[str, bytes]:
    """Read a packed checkpoint into memory -> its name and its bytes."""
    size, name = packed.file_size, packed.filename[:120]
    if size > min(MAX_EXPANSION * packed.compress_size, limit_bytes):
        raise MalformedError(f"{name!r} in it unpacks from {packed.compress_size:,} to {size:,} bytes")
    try:
        with zipfile.ZipFile(file) as archive, archive.open(packed) as member:
            data = member.read(size + 1)
    except DAMAGE as error:
        raise MalformedError(f"its archive is damaged ({error or type(error).__name__})") from error
    if len(data) != size:
        raise MalformedError(f"{name!r} in it declares {size:,} bytes and has {len(data):,}")
    return name, data


class _Clipped(io.RawIOBase):
    """A file that never reads, or allocates, more than its own size."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        super().__init__()
        self.file = file
        self.size = size

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.file.tell()

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self.file.seek(offset, whence)

    def left(self) -> int:
        return max(self.size - self.file.tell(), 0)

    def read(self, size: int | None = -1) -> bytes:
        left = self.left()
        return self.file.read(left if size is None or size < 0 else min(size, left))

    def readline(self, size: int | None = -1) -> bytes:
        longest = min(self.left(), MAX_PICKLE_BYTES)
        return self.file.readline(longest if size is None or size < 0 else min(size, longest))


class _Reader:
    """Reads one file; the limit applies to the total of all declared sizes."""

    def __init__(self, file: _Clipped, limit_bytes: int) -> None:
        self.file = file
        self.limit_bytes = limit_bytes

    def read_zip(self) -> CheckpointContent:
        try:
            with zipfile.ZipFile(self.file) as archive:
                members = check_members(archive, self.file.size)
                prefix = _find_prefix(members)
                order = members.get(f"{prefix}/byteorder")
                if order is not None and (order.file_size > 16 or archive.read(order).strip() != b"little"):
                    raise MalformedError("it was written on a big-endian machine, which this program does not read")
                pickle = members[f"{prefix}/data.pkl"]
                if pickle.file_size > MAX_PICKLE_BYTES:
                    raise MalformedError(f"its list of tensors alone takes {pickle.file_size} bytes")
                walker = Walker()
                walker.walk(io.BytesIO(archive.read(pickle)))
                content, storages, tensors = walker.result()
                self._check_total(storages.values(), tensors)
                names = {key: f"{prefix}/data/{key}" for key in storages}
                for key, storage in storages.items():
                    member = members.get(names[key])
                    if member is None:
                        raise MalformedError(f"storage {key!r} is declared but not in the archive")
                    if member.file_size != storage.bytes:
                        raise MalformedError(
                            f"storage {key!r} declares {storage.bytes} bytes and has {member.file_size}"
                        )
                return CheckpointContent(
                    _make(content, lambda storage: archive.read(members[names[storage.key]])), "zip"
                )
        except DAMAGE as error:
            raise MalformedError(f"its archive is damaged ({error or type(error).__name__})") from error

    def read_legacy(self) -> CheckpointContent:
        walker = Walker()
        try:
            walker.walk(self.file)
            if walker.value != LEGACY_MAGIC:
                while self.file.left():  # further pickles: only to report their imports
                    walker.walk(self.file)
        except DAMAGE as error:
            walker.refuse_foreign()
            raise MalformedError(
                f"it starts with neither of the two formats that PyTorch writes ({error or type(error).__name__})"
            ) from error
        walker.refuse_foreign()
        if walker.value != LEGACY_MAGIC:
            raise MalformedError("it is a pickle, but not one that `torch.save` wrote")
        try:
            return self._read_after_magic()
        except DAMAGE as error:
            raise MalformedError(f"its list of tensors is damaged ({error or type(error).__name__})") from error

    def _read_after_magic(self) -> CheckpointContent:
        header = Walker()
        header.walk(self.file)
        protocol = header.value
        header.walk(self.file)
        system = header.value
        header.refuse_foreign()
        if protocol != LEGACY_PROTOCOL or not isinstance(system, dict):
            raise MalformedError("its header is not that of a checkpoint")
        if system.get("little_endian") is not True:  # pyright: ignore[reportUnknownMemberType]
            raise MalformedError("it was written on a big-endian machine, which this program does not read")

        walker = Walker(legacy=True)
        walker.walk(self.file)
        content, storages, tensors = walker.result()
        keys_walker = Walker()
        keys_walker.walk(self.file)
        keys_walker.refuse_foreign()
        keys: Any = keys_walker.value
        if not isinstance(keys, list) or any(type(key) not in (str, int) for key in cast("list[Any]", keys)):
            raise MalformedError("its list of storages is not a list of names")
        if sorted(map(str, keys)) != sorted(storages):
            raise MalformedError("the storages it lists differ from those that its tensors use")
        self._check_total(storages.values(), tensors)
        places: dict[str, int] = {}
        for key in map(str, keys):
            storage = storages[key]
            count = self.file.read(8)
            if len(count) != 8 or int.from_bytes(count, "little", signed=True) != storage.elements:
                raise MalformedError(f"storage {key!r} is cut off or not as long as declared")
            if storage.bytes > self.file.left():
                raise MalformedError(
                    f"storage {key!r} declares {storage.bytes} bytes, and only {self.file.left()} are left in the file"
                )
            places[key] = self.file.tell()
            self.file.seek(storage.bytes, io.SEEK_CUR)

        def read(storage: Storage) -> bytes:
            self.file.seek(places[storage.key])
            return self.file.read(storage.bytes)

        return CheckpointContent(_make(content, read), "legacy")

    def _check_total(self, storages: Iterable[Storage], tensors: list[Strided]) -> None:
        total = max(sum(storage.bytes for storage in storages), sum(tensor.bytes for tensor in tensors))
        if total > self.limit_bytes:
            raise MalformedError(f"it declares {total} bytes of tensors, and at most {self.limit_bytes} are read")


def _find_prefix(members: dict[str, zipfile.ZipInfo]) -> str:
    found = [name.removesuffix("/data.pkl") for name in members if name.endswith("/data.pkl") and name.count("/") == 1]
    if len(found) != 1:
        raise MalformedError(
            "it is a ZIP archive without the list of tensors that PyTorch puts into one (`data.pkl`)"
            if not found
            else "its archive holds more than one list of tensors"
        )
    prefix = found[0]
    if f"{prefix}/constants.pkl" in members or any(name.startswith(f"{prefix}/code/") for name in members):
        raise MalformedError(
            "it is a TorchScript program, which is code and not only weights; if you trust it, export its state "
            "dict by `torch.save(torch.jit.load(file).state_dict(), 'weights.pth')`"
        )
    return prefix


def _make(content: Any, read: Callable[[Storage], bytes]) -> Any:
    """Build containers and arrays from the description of a file; each container and each storage once."""
    made: dict[int, Any] = {}
    storages: dict[str, bytes] = {}

    def read_once(storage: Storage) -> bytes:
        if storage.key not in storages:
            storages[storage.key] = data = read(storage)
            if len(data) != storage.bytes:
                raise MalformedError(f"storage {storage.key!r} is cut off")
        return storages[storage.key]

    def build_array(tensor: Strided) -> Array:
        data = read_once(tensor.storage)
        if not prod(tensor.size):
            return np.empty(tensor.size, tensor.dtype)
        stored = np.dtype(np.uint8) if tensor.dtype == np.bool_ else tensor.dtype
        size, strides = stored.itemsize, [step * stored.itemsize for step in tensor.stride]
        # NumPy compares sizes and strides with the buffer, too.
        view: Array = np.ndarray(tensor.size, stored, data, tensor.offset * size, strides)
        return view != 0 if tensor.dtype == np.bool_ else view

    def build_value(value: Any, depth: int) -> Any:
        if isinstance(value, Strided):
            return build_array(value)
        if isinstance(value, (Global, Storage)):
            return Inert(value.name if isinstance(value, Global) else "storage")
        if not isinstance(value, (dict, list, tuple)):
            return value
        if depth > MAX_DEPTH:
            return Inert("nested deeper than weights are")
        if id(value) not in made:
            if isinstance(value, dict):
                container: Any = {}
                made[id(value)] = container
                for key, item in value.items():
                    container[key] = build_value(item, depth + 1)
            else:
                container = []
                made[id(value)] = container
                container.extend(build_value(item, depth + 1) for item in value)
        return made[id(value)]

    return build_value(content, 0)
