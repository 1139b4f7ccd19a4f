"""Reading what `torch.save` wrote without running any of it.

A `.pth` file is a program: unpickling it imports whatever it names and calls that. Here the program is only read. A
small machine goes through its instructions and notes what each would make: containers, numbers, and descriptions of
tensors (which storage, from where, which sizes and strides). It imports nothing and calls nothing. Any name that
tensors have no need of stops the reading, and the error quotes it. The tensors are then made by this module from the
bytes of the storages, after every declared size was compared with the bytes that are really there; `torch.load` is
never called, so its faults (and the ways in which its archive reader differs from other ones) do not matter.

Two formats are known: the ZIP archive that PyTorch writes since 1.6 and the older one, a row of pickles followed by the
storages.
"""

import io
import pickletools
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import IO, Any, Literal

import torch
from torch import Tensor

from tessera.errors import UnsafeWeightsError, WeightsError

LIMIT_BYTES = 4 << 30
MAX_PICKLE_BYTES = 64 << 20
MAX_INSTRUCTIONS = 3_000_000
MAX_DEPTH = 32
MAX_DIMENSIONS = 16
MAX_SIZE = 1 << 48

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_PROTOCOL = 1001

STORAGE_DTYPES: dict[str, torch.dtype] = {
    "BFloat16Storage": torch.bfloat16,
    "BoolStorage": torch.bool,
    "ByteStorage": torch.uint8,
    "CharStorage": torch.int8,
    "ComplexDoubleStorage": torch.complex128,
    "ComplexFloatStorage": torch.complex64,
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "IntStorage": torch.int32,
    "LongStorage": torch.int64,
    "ShortStorage": torch.int16,
    "UntypedStorage": torch.uint8,
}
STORAGE_MODULES = ("torch", "torch.cuda", "torch.storage")
DTYPES: dict[str, torch.dtype] = {str(dtype): dtype for dtype in STORAGE_DTYPES.values()}
# Kept as descriptions that nothing reads: they occur beside the weights, in what trainers save with them.
INERT = frozenset(
    {
        "_codecs.encode",
        "builtins.set",
        "__builtin__.set",
        "numpy.core.multiarray.scalar",
        "numpy._core.multiarray.scalar",
        "numpy.dtype",
        "torch.device",
    }
)
DICTIONARIES = frozenset({"collections.OrderedDict", "collections.Counter"})
REBUILDERS = frozenset(
    {
        "torch._utils._rebuild_tensor",
        "torch._utils._rebuild_tensor_v2",
        "torch._utils._rebuild_tensor_v3",
        "torch._utils._rebuild_parameter",
        "torch._utils._rebuild_parameter_with_state",
    }
)

# What pickletools, zipfile and broken structures can raise on bytes that are not what they say.
DAMAGE = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    NotImplementedError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    Warning,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)


class _MalformedError(Exception):
    """The bytes contradict themselves; the text says how."""


@dataclass(frozen=True)
class Checkpoint:
    """What a file held: containers, numbers and tensors. Anything else is an `Inert` that only has a name."""

    content: Any
    format: Literal["zip", "legacy"]


@dataclass(frozen=True)
class Inert:
    """Something that the file names and that was not made."""

    name: str


@dataclass(frozen=True)
class _Global:
    name: str


@dataclass(frozen=True)
class _Storage:
    key: str
    dtype: torch.dtype
    elements: int

    @property
    def bytes(self) -> int:
        return self.elements * self.dtype.itemsize


@dataclass(frozen=True)
class _Tensor:
    storage: _Storage
    dtype: torch.dtype
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def bytes(self) -> int:
        return prod(self.size) * self.dtype.itemsize


_Walked = tuple[Any, dict[str, _Storage], list[_Tensor]]


def read_checkpoint(path: Path, *, limit_bytes: int = LIMIT_BYTES) -> Checkpoint:
    """Read a `.pth`, `.pt` or `.ckpt` file; nothing in it is executed.

    Raises UnsafeWeightsError when the file names anything that tensors have no need of, and WeightsError when it is
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
            reader = _Reader(_Clipped(file, size), limit_bytes)
            if head.startswith(b"PK\x03\x04"):
                return reader.read_zip()
            return reader.read_legacy()
    except OSError as error:
        raise WeightsError(f"{path}: this file cannot be read ({error.strerror or error}).") from error
    except UnsafeWeightsError as error:
        raise UnsafeWeightsError(f"{path}: {error}") from None
    except _MalformedError as error:
        raise WeightsError(
            f"{path}: this is not a whole PyTorch checkpoint: {error}. Fetch it again, and compare its sha256 with the "
            "one its author gives."
        ) from error


def describe_other_file(head: bytes, size: int) -> str | None:
    """Say in a sentence what a file is that cannot hold weights, from its first bytes; None when it may hold some."""
    if size == 0:
        return "this file is empty (0 bytes); its download or its writing did not finish. Fetch it again."
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith(b"version https://git-lfs"):
        return (
            "this is a Git LFS pointer, a small text that stands for the real file. Run `git lfs pull` where it came "
            "from, or download the file itself."
        )
    if text.startswith((b"<!doctype", b"<html", b"<head", b"<?xml")):
        return (
            "this is a web page, not weights; the address gave a page (a login, an error or a preview) in place of the "
            "file. Download it again by its direct address."
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
    if len(head) > 9 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= size:
        return "this is a safetensors file under another name. Rename it so that it ends in `.safetensors`."
    if text.startswith((b"{", b"[")) and _is_text(head):
        return "this is a JSON text, not weights. Give the weights file itself."
    return None


def _is_text(head: bytes) -> bool:
    return all(byte in b"\t\r\n" or 32 <= byte < 127 for byte in head)


class _Clipped(io.RawIOBase):
    """A file that never tries to read, and so to allocate, more than it has."""

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
    """Reads one file; the limit holds for all that it declares together."""

    def __init__(self, file: _Clipped, limit_bytes: int) -> None:
        self.file = file
        self.limit_bytes = limit_bytes

    def read_zip(self) -> Checkpoint:
        try:
            with zipfile.ZipFile(self.file) as archive:
                members = self._check_members(archive)
                prefix = _find_prefix(members)
                order = members.get(f"{prefix}/byteorder")
                if order is not None and (order.file_size > 16 or archive.read(order).strip() != b"little"):
                    raise _MalformedError("it was written on a big-endian machine, which this program does not read")
                pickle = members[f"{prefix}/data.pkl"]
                if pickle.file_size > MAX_PICKLE_BYTES:
                    raise _MalformedError(f"its list of tensors alone takes {pickle.file_size} bytes")
                walker = Walker()
                walker.walk(io.BytesIO(archive.read(pickle)))
                content, storages, tensors = walker.result()
                self._check_total(storages.values(), tensors)
                names = {key: f"{prefix}/data/{key}" for key in storages}
                for key, storage in storages.items():
                    member = members.get(names[key])
                    if member is None:
                        raise _MalformedError(f"storage {key!r} is declared but not in the archive")
                    if member.file_size != storage.bytes:
                        raise _MalformedError(
                            f"storage {key!r} declares {storage.bytes} bytes and has {member.file_size}"
                        )
                return Checkpoint(_make(content, lambda storage: archive.read(members[names[storage.key]])), "zip")
        except DAMAGE as error:
            raise _MalformedError(f"its archive is damaged ({error or type(error).__name__})") from error

    def _check_members(self, archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
        members: dict[str, zipfile.ZipInfo] = {}
        for info in archive.infolist():
            if info.filename in members:
                raise _MalformedError(f"its archive holds {info.filename!r} twice")
            if info.flag_bits & 0x1:
                raise _MalformedError(f"its archive member {info.filename!r} is encrypted")
            if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size:
                raise _MalformedError(
                    f"its archive member {info.filename!r} is compressed, which PyTorch never does; if you repacked it "
                    "yourself, pack it without compression (`zip -0`)"
                )
            members[info.filename] = info
        if sum(info.file_size for info in members.values()) > self.file.size:
            raise _MalformedError("its archive members overlap: together they are larger than the file")
        return members

    def read_legacy(self) -> Checkpoint:
        walker = Walker()
        try:
            walker.walk(self.file)
            if walker.value != LEGACY_MAGIC:
                while self.file.left():  # further pickles: only to name what they would have imported
                    walker.walk(self.file)
        except DAMAGE as error:
            walker.refuse_foreign()
            raise _MalformedError(
                f"it begins with neither of the two formats that PyTorch writes ({error or type(error).__name__})"
            ) from error
        walker.refuse_foreign()
        if walker.value != LEGACY_MAGIC:
            raise _MalformedError("it is a pickle, but not one that `torch.save` wrote")
        try:
            return self._read_after_magic()
        except DAMAGE as error:
            raise _MalformedError(f"its list of tensors is damaged ({error or type(error).__name__})") from error

    def _read_after_magic(self) -> Checkpoint:
        header = Walker()
        header.walk(self.file)
        protocol = header.value
        header.walk(self.file)
        system = header.value
        header.refuse_foreign()
        if protocol != LEGACY_PROTOCOL or not isinstance(system, dict):
            raise _MalformedError("its header is not that of a checkpoint")
        if system.get("little_endian") is not True:  # pyright: ignore[reportUnknownMemberType]
            raise _MalformedError("it was written on a big-endian machine, which this program does not read")

        walker = Walker(legacy=True)
        walker.walk(self.file)
        content, storages, tensors = walker.result()
        keys_walker = Walker()
        keys_walker.walk(self.file)
        keys_walker.refuse_foreign()
        keys: Any = keys_walker.value
        if not isinstance(keys, list) or sorted(map(str, keys)) != sorted(storages):
            raise _MalformedError("the storages it lists are not those that its tensors use")
        self._check_total(storages.values(), tensors)
        places: dict[str, int] = {}
        for key in map(str, keys):
            storage = storages[key]
            count = self.file.read(8)
            if len(count) != 8 or int.from_bytes(count, "little", signed=True) != storage.elements:
                raise _MalformedError(f"storage {key!r} is cut off or not as long as declared")
            if storage.bytes > self.file.left():
                raise _MalformedError(
                    f"storage {key!r} declares {storage.bytes} bytes, and only {self.file.left()} are left in the file"
                )
            places[key] = self.file.tell()
            self.file.seek(storage.bytes, io.SEEK_CUR)

        def read(storage: _Storage) -> bytes:
            self.file.seek(places[storage.key])
            return self.file.read(storage.bytes)

        return Checkpoint(_make(content, read), "legacy")

    def _check_total(self, storages: Iterable[_Storage], tensors: list[_Tensor]) -> None:
        total = max(sum(storage.bytes for storage in storages), sum(tensor.bytes for tensor in tensors))
        if total > self.limit_bytes:
            raise _MalformedError(f"it declares {total} bytes of tensors, and at most {self.limit_bytes} are read")


def _find_prefix(members: dict[str, zipfile.ZipInfo]) -> str:
    found = [name.removesuffix("/data.pkl") for name in members if name.endswith("/data.pkl") and name.count("/") == 1]
    if len(found) != 1:
        raise _MalformedError(
            "it is a ZIP archive without the list of tensors that PyTorch puts into one (`data.pkl`)"
            if not found
            else "its archive holds more than one list of tensors"
        )
    prefix = found[0]
    if f"{prefix}/constants.pkl" in members or any(name.startswith(f"{prefix}/code/") for name in members):
        raise _MalformedError(
            "it is a TorchScript program, which is code and not only weights; where you trust it, export its state "
            "dict by `torch.save(torch.jit.load(file).state_dict(), 'weights.pth')`"
        )
    return prefix


def _make(content: Any, read: Callable[[_Storage], bytes]) -> Any:
    """Turn the description of a file into containers and tensors; each container and each storage once."""
    made: dict[int, Any] = {}
    storages: dict[str, Tensor] = {}

    def storage_of(storage: _Storage) -> Tensor:
        if storage.key not in storages:
            data = bytearray(read(storage))
            if len(data) != storage.bytes:
                raise _MalformedError(f"storage {storage.key!r} is cut off")
            storages[storage.key] = torch.frombuffer(data, dtype=torch.uint8) if data else torch.empty(0).byte()
        return storages[storage.key]

    def tensor_of(tensor: _Tensor) -> Tensor:
        flat = storage_of(tensor.storage)
        if tensor.dtype is torch.bool:
            flat = flat != 0
        elif tensor.dtype is not torch.uint8:
            flat = flat.view(tensor.dtype)
        return flat.as_strided(tensor.size, tensor.stride, tensor.offset)

    def value_of(value: Any, depth: int) -> Any:
        if isinstance(value, _Tensor):
            return tensor_of(value)
        if isinstance(value, (_Global, _Storage)):
            return Inert(value.name if isinstance(value, _Global) else "storage")
        if not isinstance(value, (dict, list, tuple)):
            return value
        if depth > MAX_DEPTH:
            return Inert("nested deeper than weights are")
        if id(value) not in made:
            if isinstance(value, dict):
                container: Any = {}
                made[id(value)] = container
                for key, item in value.items():
                    container[key] = value_of(item, depth + 1)
            else:
                container = []
                made[id(value)] = container
                container.extend(value_of(item, depth + 1) for item in value)
        return made[id(value)]

    return value_of(content, 0)


_MARK = object()


@dataclass
class Walker:
    """Goes through the instructions of a pickle and notes what they would make, without making it.

    `names` collects what the file would import that tensors have no need of. One walker reads one or more pickles in a
    row; `value` is what the last of them described.
    """

    legacy: bool = False
    value: Any = None
    names: list[str] = field(default_factory=list[str])
    storages: dict[str, _Storage] = field(default_factory=dict[str, _Storage])
    tensors: list[_Tensor] = field(default_factory=list[_Tensor])
    stack: list[Any] = field(default_factory=list[Any])
    memo: dict[int, Any] = field(default_factory=dict[int, Any])
    instructions: int = 0

    def walk(self, file: Any) -> None:
        """Read one pickle, up to its STOP, from where the file stands."""
        self.stack, self.memo, self.value = [], {}, None
        try:
            for opcode, argument, _ in pickletools.genops(file):
                self.instructions += 1
                if self.instructions > MAX_INSTRUCTIONS:
                    raise _MalformedError(f"its list of tensors has more than {MAX_INSTRUCTIONS} instructions")
                self._step(opcode.name, argument)
        except (*DAMAGE, _MalformedError):
            self.refuse_foreign()
            raise

    def result(self) -> _Walked:
        """Return the content, its storages and its tensors, or refuse names that do not belong there."""
        self.refuse_foreign()
        return self.value, self.storages, self.tensors

    def refuse_foreign(self) -> None:
        """Raise UnsafeWeightsError when the file names anything that tensors have no need of."""
        if not self.names:
            return
        quoted = ", ".join(f"`{name[:120]}`" for name in self.names[:5])
        more = f" and {len(self.names) - 5} more" if len(self.names) > 5 else ""
        raise UnsafeWeightsError(
            f"this file would import {quoted}{more} when opened, which tensors have no need of, so it was not opened "
            "further and nothing in it ran. If it is a whole pickled network or training state that you trust, save "
            "only its `state_dict()`; otherwise ask for a `.safetensors` file, and delete this one."
        )

    def _step(self, name: str, argument: Any) -> None:
        stack = self.stack
        match name:
            case "PROTO" | "FRAME":
                pass
            case "STOP":
                self.value = self._pop()
            case "NONE":
                stack.append(None)
            case "NEWTRUE" | "NEWFALSE":
                stack.append(name == "NEWTRUE")
            case "MARK":
                stack.append(_MARK)
            case "EMPTY_DICT":
                stack.append({})
            case "EMPTY_LIST" | "EMPTY_SET":
                stack.append([])
            case "EMPTY_TUPLE":
                stack.append(())
            case "POP":
                stack.pop()
            case "POP_MARK":
                self._pop_to_mark()
            case "DUP":
                stack.append(self._top())
            case "TUPLE" | "FROZENSET":
                stack.append(tuple(self._pop_to_mark()))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                stack.append(tuple(self._pop_many(int(name[-1]))))
            case "LIST":
                stack.append(self._pop_to_mark())
            case "DICT":
                items = self._pop_to_mark()
                stack.append({})
                self._fill_dict(items)
            case "APPEND":
                item = self._pop()
                self._fill_list([item])
            case "APPENDS" | "ADDITEMS":
                self._fill_list(self._pop_to_mark())
            case "SETITEM":
                self._fill_dict(self._pop_many(2))
            case "SETITEMS":
                self._fill_dict(self._pop_to_mark())
            case "PUT" | "BINPUT" | "LONG_BINPUT":
                self.memo[argument] = self._top()
            case "MEMOIZE":
                self.memo[len(self.memo)] = self._top()
            case "GET" | "BINGET" | "LONG_BINGET":
                stack.append(self.memo[argument])
            case "GLOBAL":
                stack.append(self._global(argument.replace(" ", ".", 1)))
            case "STACK_GLOBAL":
                module, attribute = self._pop_many(2)
                stack.append(self._global(f"{_text(module)}.{_text(attribute)}"))
            case "INST":
                arguments = tuple(self._pop_to_mark())
                stack.append(self._call(self._global(argument.replace(" ", ".", 1)), arguments))
            case "OBJ":
                called, *arguments = self._pop_to_mark()
                stack.append(self._call(called, tuple(arguments)))
            case "REDUCE" | "NEWOBJ":
                called, arguments = self._pop_many(2)
                stack.append(self._call(called, arguments))
            case "NEWOBJ_EX":
                called, arguments, _ = self._pop_many(3)
                stack.append(self._call(called, arguments))
            case "BUILD":
                self._pop()
                if not isinstance(self._top(), (dict, Inert)):
                    raise _MalformedError("it sets attributes of something that has none")
            case "BINPERSID":
                stack.append(self._storage(self._pop()))
            case _:
                self._push_literal(name, argument)

    def _push_literal(self, name: str, argument: Any) -> None:
        if argument is None or not isinstance(argument, (bool, int, float, str, bytes, bytearray)):
            raise _MalformedError(f"it uses the pickle instruction {name}, which checkpoints have no need of")
        if name in {"PERSID", "EXT1", "EXT2", "EXT4"}:
            raise _MalformedError(f"it uses the pickle instruction {name}, which checkpoints have no need of")
        self.stack.append(argument)

    def _pop(self) -> Any:
        value = self.stack.pop()
        if value is _MARK:
            raise _MalformedError("its instructions are out of order")
        return value

    def _top(self) -> Any:
        if self.stack[-1] is _MARK:
            raise _MalformedError("its instructions are out of order")
        return self.stack[-1]

    def _pop_many(self, count: int) -> list[Any]:
        return [self._pop() for _ in range(count)][::-1]

    def _pop_to_mark(self) -> list[Any]:
        items: list[Any] = []
        while (item := self.stack.pop()) is not _MARK:
            items.append(item)
        return items[::-1]

    def _fill_list(self, items: list[Any]) -> None:
        target = self._top()
        if isinstance(target, list):
            target.extend(items)
        elif not isinstance(target, Inert):
            raise _MalformedError("it appends to something that is no list")

    def _fill_dict(self, items: list[Any]) -> None:
        target = self._top()
        if isinstance(target, Inert):
            return
        if not isinstance(target, dict) or len(items) % 2:
            raise _MalformedError("it puts items into something that is no dictionary")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not (key is None or isinstance(key, (str, int, float, bytes))):
                raise _MalformedError("a key of one of its dictionaries is neither text nor number")
            target[key] = value

    def _global(self, name: str) -> _Global | Inert:
        module, _, attribute = name.rpartition(".")
        known = name in DICTIONARIES or name in REBUILDERS or name in DTYPES or name == "torch.Size"
        if known or (module in STORAGE_MODULES and attribute in STORAGE_DTYPES):
            return _Global(name)
        if name not in INERT and name not in self.names:
            self.names.append(name)
        return Inert(name)

    def _call(self, called: Any, arguments: Any) -> Any:
        if isinstance(called, Inert):
            return called
        if not isinstance(called, _Global) or not isinstance(arguments, tuple):
            raise _MalformedError("it calls something that cannot be called")
        given: tuple[Any, ...] = arguments
        if called.name in DICTIONARIES:
            return _dictionary(given)
        if called.name == "torch.Size":
            return tuple(given[0])
        if called.name.startswith("torch._utils._rebuild_parameter"):
            if not isinstance(given[0], _Tensor):
                raise _MalformedError("one of its parameters is no tensor")
            return given[0]
        if called.name in REBUILDERS:
            return self._tensor(given, called.name)
        raise _MalformedError(f"it calls `{called.name}`, which is no function that makes tensors")

    def _tensor(self, given: tuple[Any, ...], rebuilder: str) -> _Tensor:
        storage, offset, size, stride = given[:4]
        dtype = storage.dtype
        if rebuilder.endswith("_v3"):
            dtype = DTYPES[given[6].name]
        if not isinstance(storage, _Storage):
            raise _MalformedError("one of its tensors has no storage")
        numbers = (offset, *size, *stride)
        if len(size) != len(stride) or len(size) > MAX_DIMENSIONS:
            raise _MalformedError(f"one of its tensors has {len(size)} sizes and {len(stride)} strides")
        if any(type(number) is not int or not 0 <= number < MAX_SIZE for number in numbers):
            raise _MalformedError("one of its tensors has sizes that are no whole numbers, or absurd ones")
        tensor = _Tensor(storage, dtype, offset, tuple(size), tuple(stride))
        last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
        outside = prod(size) > 0 and (last + 1) * dtype.itemsize > storage.bytes
        if outside or tensor.bytes > storage.bytes or offset * dtype.itemsize > storage.bytes:
            raise _MalformedError(f"a tensor of size {tuple(size)} reaches outside its storage {storage.key!r}")
        self.tensors.append(tensor)
        return tensor

    def _storage(self, identity: Any) -> _Storage:
        if not isinstance(identity, tuple) or len(identity) != (6 if self.legacy else 5) or identity[0] != "storage":
            raise _MalformedError("it refers to something outside the file that is no storage")
        _, kind, key, _, elements = identity[:5]
        if self.legacy and identity[5] is not None:
            raise _MalformedError("its storages are views of other storages, as only PyTorch before 0.4 wrote them")
        attribute = kind.name.rpartition(".")[2] if isinstance(kind, _Global) else ""
        if attribute not in STORAGE_DTYPES or not isinstance(key, str) or type(elements) is not int:
            raise _MalformedError("one of its storages is not described as PyTorch describes them")
        if not 0 <= elements < MAX_SIZE:
            raise _MalformedError(f"storage {key!r} declares an absurd length")
        storage = _Storage(key, STORAGE_DTYPES[attribute], elements)
        if self.storages.setdefault(key, storage) != storage:
            raise _MalformedError(f"storage {key!r} is declared twice, differently")
        return storage


def _text(value: Any) -> str:
    return value if isinstance(value, str) else f"<{type(value).__name__}>"


def _dictionary(given: tuple[Any, ...]) -> dict[Any, Any]:
    if not given:
        return {}
    walker = Walker()
    walker.stack.append({})
    pairs: Any = list(given[0].items()) if isinstance(given[0], dict) else given[0]
    for pair in pairs:
        key, value = pair
        walker._fill_dict([key, value])  # pyright: ignore[reportPrivateUsage]
    return walker.stack[0]
