"""Static reader of pickles: interprets the instructions without executing any of them.

The result describes what the pickle would build: containers, numbers, and tensors (storage, offset, sizes, strides).
Nothing is imported or called. Every name that tensors do not need is recorded, so that the error can quote it.
"""

import pickletools
import struct
import zipfile
import zlib
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np

from tessera.errors import UnsafeWeightsError
from tessera.weights.arrays import BFLOAT16, format_dtype

MAX_INSTRUCTIONS = 3_000_000
"""Instructions, plus items and characters that one instruction copies from objects that are already there."""
MAX_NAMES = 1000
MAX_KEY_BITS = 128
MAX_DIMENSIONS = 16
MAX_SIZE = 1 << 48

STORAGE_DTYPES: dict[str, np.dtype[Any]] = {
    "BFloat16Storage": BFLOAT16,
    "BoolStorage": np.dtype(np.bool_),
    "ByteStorage": np.dtype(np.uint8),
    "CharStorage": np.dtype(np.int8),
    "ComplexDoubleStorage": np.dtype("<c16"),
    "ComplexFloatStorage": np.dtype("<c8"),
    "DoubleStorage": np.dtype("<f8"),
    "FloatStorage": np.dtype("<f4"),
    "HalfStorage": np.dtype("<f2"),
    "IntStorage": np.dtype("<i4"),
    "LongStorage": np.dtype("<i8"),
    "ShortStorage": np.dtype("<i2"),
    "UntypedStorage": np.dtype(np.uint8),
}
STORAGE_MODULES = ("torch", "torch.cuda", "torch.storage")
DTYPES: dict[str, np.dtype[Any]] = {f"torch.{format_dtype(dtype)}": dtype for dtype in STORAGE_DTYPES.values()}
# Allowed, but never built: trainers save these objects next to the weights.
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

# Exceptions that pickletools, zipfile and broken structures raise on damaged files.
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


class MalformedError(Exception):
    """A malformed file; the message describes the contradiction."""


@dataclass(frozen=True)
class Inert:
    """An object that the file names and that is not built."""

    name: str


@dataclass(frozen=True)
class Global:
    """A class or function that tensors need."""

    name: str


@dataclass(frozen=True)
class Storage:
    """A storage (flat array) as the file declares it."""

    key: str
    dtype: np.dtype[Any]
    elements: int

    @property
    def bytes(self) -> int:
        """Size in the file."""
        return self.elements * self.dtype.itemsize


@dataclass(frozen=True)
class Strided:
    """A tensor: a strided view of a storage."""

    storage: Storage
    dtype: np.dtype[Any]
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def bytes(self) -> int:
        """Size as a contiguous tensor."""
        return prod(self.size) * self.dtype.itemsize


Walked = tuple[Any, dict[str, Storage], list[Strided]]


_MARK = object()


@dataclass
class Walker:
    """Interprets the instructions of a pickle and describes the objects, without building them.

    `names` collects the imports that tensors do not need. One walker reads one or more consecutive pickles; `value`
    describes the last of them. `work` counts instructions and copied items, so that a few bytes that copy a large
    object again and again use up the budget.
    """

    legacy: bool = False
    value: Any = None
    names: dict[str, None] = field(default_factory=dict[str, None])
    storages: dict[str, Storage] = field(default_factory=dict[str, Storage])
    tensors: list[Strided] = field(default_factory=list[Strided])
    stack: list[Any] = field(default_factory=list[Any])
    memo: dict[int, Any] = field(default_factory=dict[int, Any])
    work: int = 0

    def walk(self, file: Any) -> None:
        """Read one pickle, up to its STOP, from the current position of the file."""
        self.stack, self.memo, self.value = [], {}, None
        try:
            for opcode, argument, _ in pickletools.genops(file):
                self._spend(1)
                self._step(opcode.name, argument)
        except (*DAMAGE, MalformedError):
            self.refuse_foreign()
            raise

    def _spend(self, items: int) -> None:
        self.work += items
        if self.work > MAX_INSTRUCTIONS:
            raise MalformedError(f"reading its list of tensors takes more than {MAX_INSTRUCTIONS:,} steps")

    def result(self) -> Walked:
        """Return content, storages and tensors. Raises UnsafeWeightsError for names that tensors do not need."""
        self.refuse_foreign()
        return self.value, self.storages, self.tensors

    def refuse_foreign(self) -> None:
        """Raise UnsafeWeightsError when the file imports anything that tensors do not need."""
        if not self.names:
            return
        quoted = ", ".join(f"`{name[:120]}`" for name in list(self.names)[:5])
        more = f" and {len(self.names) - 5} more" if len(self.names) > 5 else ""
        raise UnsafeWeightsError(
            f"this file would import {quoted}{more} when opened, which tensors do not need, so reading stopped and "
            "nothing in it ran. If it is a pickled network or training state that you trust, save only its "
            "`state_dict()`; otherwise ask for a `.safetensors` file, and delete this one."
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
                module, attribute = map(_text, self._pop_many(2))
                self._spend(len(module) + len(attribute))
                stack.append(self._global(f"{module}.{attribute}"))
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
                    raise MalformedError("it sets attributes of an object that has none")
            case "BINPERSID":
                stack.append(self._storage(self._pop()))
            case _:
                self._push_literal(name, argument)

    def _push_literal(self, name: str, argument: Any) -> None:
        if argument is None or not isinstance(argument, (bool, int, float, str, bytes, bytearray)):
            raise MalformedError(f"it uses the pickle instruction {name}, which checkpoints do not need")
        if name in {"PERSID", "EXT1", "EXT2", "EXT4"}:
            raise MalformedError(f"it uses the pickle instruction {name}, which checkpoints do not need")
        self.stack.append(argument)

    def _pop(self) -> Any:
        value = self.stack.pop()
        if value is _MARK:
            raise MalformedError("its instructions are out of order")
        return value

    def _top(self) -> Any:
        if self.stack[-1] is _MARK:
            raise MalformedError("its instructions are out of order")
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
            raise MalformedError("it appends to an object that is not a list")

    def _fill_dict(self, items: list[Any]) -> None:
        target = self._top()
        if isinstance(target, Inert):
            return
        if not isinstance(target, dict) or len(items) % 2:
            raise MalformedError("it sets items of an object that is not a dictionary")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not (key is None or isinstance(key, (str, int, float, bytes))):
                raise MalformedError("a key of one of its dictionaries is neither a string nor a number")
            if isinstance(key, (str, bytes)):  # two equal long texts are compared each time
                self._spend(len(key) >> 4)
            if isinstance(key, int) and key.bit_length() > MAX_KEY_BITS:  # hashed each time, unlike text
                raise MalformedError(f"a key of one of its dictionaries has {key.bit_length()} bits")
            target[key] = value

    def _global(self, name: str) -> Global | Inert:
        module, _, attribute = name.rpartition(".")
        known = name in DICTIONARIES or name in REBUILDERS or name in DTYPES or name == "torch.Size"
        if known or (module in STORAGE_MODULES and attribute in STORAGE_DTYPES):
            return Global(name)
        if name not in INERT and len(self.names) < MAX_NAMES:
            self.names[name] = None
        return Inert(name)

    def _call(self, called: Any, arguments: Any) -> Any:
        if isinstance(called, Inert):
            return called
        if not isinstance(called, Global) or not isinstance(arguments, tuple):
            raise MalformedError("it calls an object that is not callable")
        given: tuple[Any, ...] = arguments
        if called.name in DICTIONARIES:
            return self._copy_dictionary(given)
        if called.name == "torch.Size":
            self._spend(len(given[0]))
            return tuple(given[0])
        if called.name.startswith("torch._utils._rebuild_parameter"):
            if not isinstance(given[0], Strided):
                raise MalformedError("one of its parameters is not a tensor")
            return given[0]
        if called.name in REBUILDERS:
            return self._tensor(given, called.name)
        raise MalformedError(f"it calls `{called.name}`, which is not a function that builds tensors")

    def _copy_dictionary(self, given: tuple[Any, ...]) -> dict[Any, Any]:
        """Describe the dictionary that is built from another one, or from a list of pairs."""
        if not given:
            return {}
        pairs: Any = given[0].items() if isinstance(given[0], dict) else given[0]
        self._spend(len(pairs))
        self.stack.append({})
        for key, value in pairs:
            self._fill_dict([key, value])
        return self._pop()

    def _tensor(self, given: tuple[Any, ...], rebuilder: str) -> Strided:
        storage, offset, size, stride = given[:4]
        dtype = storage.dtype
        if rebuilder.endswith("_v3"):
            dtype = DTYPES[given[6].name]
        if not isinstance(storage, Storage):
            raise MalformedError("one of its tensors has no storage")
        if len(size) != len(stride) or len(size) > MAX_DIMENSIONS:
            raise MalformedError(f"one of its tensors has {len(size)} sizes and {len(stride)} strides")
        numbers = (offset, *size, *stride)
        if any(type(number) is not int or not 0 <= number < MAX_SIZE for number in numbers):
            raise MalformedError("one of its tensors has sizes that are not integers, or are out of range")
        tensor = Strided(storage, dtype, offset, tuple(size), tuple(stride))
        last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
        outside = prod(size) > 0 and (last + 1) * dtype.itemsize > storage.bytes
        if outside or tensor.bytes > storage.bytes or offset * dtype.itemsize > storage.bytes:
            raise MalformedError(f"a tensor of size {tuple(size)} reaches outside its storage {storage.key!r}")
        self.tensors.append(tensor)
        return tensor

    def _storage(self, identity: Any) -> Storage:
        if not isinstance(identity, tuple) or len(identity) != (6 if self.legacy else 5) or identity[0] != "storage":
            raise MalformedError("it has a persistent ID that is not a storage")
        _, kind, key, _, elements = identity[:5]
        if self.legacy and identity[5] is not None:
            raise MalformedError("its storages are views of other storages, as only PyTorch before 0.4 wrote them")
        attribute = kind.name.rpartition(".")[2] if isinstance(kind, Global) else ""
        if attribute not in STORAGE_DTYPES or not isinstance(key, str) or type(elements) is not int:
            raise MalformedError("one of its storages is not described as PyTorch describes them")
        if not 0 <= elements < MAX_SIZE:
            raise MalformedError(f"storage {key!r} declares a length out of range")
        self._spend(len(key) >> 4)
        storage = Storage(key, STORAGE_DTYPES[attribute], elements)
        if self.storages.setdefault(key, storage) != storage:
            raise MalformedError(f"storage {key!r} is declared twice with different contents")
        return storage


def _text(value: Any) -> str:
    return value if isinstance(value, str) else f"<{type(value).__name__}>"
