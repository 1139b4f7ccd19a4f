"""The kernels' library: loads it, and creates, runs and frees networks through it.

Sizes and types are checked here and, before any pointer is used, in the library again. Its error codes become
messages.

Shapes: B pictures in a batch, C channels, h and w the picture, s the scale.
"""

from __future__ import annotations

import ctypes
import functools
import os
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tessera.errors import EngineError, OutOfMemoryError, UsageError
from tessera.native.build import LIBRARY

Kind = Literal["F4 fp32", "F2 bf16", "F4 bf16"]
"""How a convolution is computed: the size of Winograd's tiles and the type of the products."""
InstructionSet = Literal["portable", "avx2", "avx512", "avx512_bf16", "neon", "neon_bf16"]
SETS: tuple[InstructionSet, ...] = ("portable", "avx2", "avx512", "avx512_bf16", "neon", "neon_bf16")
"""As the library counts them; of those of one architecture, the best last."""
SET_VARIABLE = "TESSERA_KERNELS_SET"
"""The environment's say in which instruction set is used."""
BUILD = "python -m tessera.native.build"

_INTERFACE = 2
KINDS: tuple[Kind, ...] = ("F4 fp32", "F2 bf16", "F4 bf16")
_SAMPLES = {"float32": 0, "uint8": 1, "uint16": 2}
_NETWORKS = ("rrdbnet", "srvggnetcompact")
_BAD_SIZE, _NO_MEMORY = 3, 4
_SENTENCES = {
    1: "The kernels cannot run this network; use the pytorch engine.",
    2: "The kernels were given another number of weights than the network has.",
    _BAD_SIZE: "The kernels cannot run a picture of this size.",
    5: "The system did not start the requested threads; lower `threads`.",
    6: "This processor, or this build of the kernels, does not have the requested instruction set.",
}


@dataclass(frozen=True, kw_only=True)
class Description:
    """Structure and sizes of a network: everything that the library needs besides the weights."""

    network: Literal["rrdbnet", "srvggnetcompact"]
    in_channels: int
    out_channels: int
    features: int
    scale: int
    blocks: int
    """Blocks of RRDBNet, inner convolutions of SRVGGNetCompact."""
    growth: int = 0
    unshuffle: int = 1
    stages: tuple[int, ...] = ()
    learned_slopes: bool = False
    slope: float = 0.2


class _Description(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_int32) for name in ("network", "in_channels", "out_channels", "features", "growth")),
        *((name, ctypes.c_int32) for name in ("blocks", "unshuffle", "stages")),
        ("stage", ctypes.c_int32 * 4),
        ("scale", ctypes.c_int32),
        ("learned_slopes", ctypes.c_int32),
        ("slope", ctypes.c_float),
    )


def _as_structure(given: Description) -> _Description:
    if len(given.stages) > 4:
        raise EngineError("The kernels run networks with at most 4 upsampling stages; use the pytorch engine.")
    return _Description(
        network=_NETWORKS.index(given.network),
        in_channels=given.in_channels,
        out_channels=given.out_channels,
        features=given.features,
        growth=given.growth,
        blocks=given.blocks,
        unshuffle=given.unshuffle,
        stages=len(given.stages),
        stage=(ctypes.c_int32 * 4)(*given.stages),
        scale=given.scale,
        learned_slopes=int(given.learned_slopes),
        slope=given.slope,
    )


def pack_description(given: Description) -> bytes:
    """The bytes of `tk_description`, for a library in another process."""
    return bytes(_as_structure(given))


def pack_kinds(kinds: Sequence[Kind]) -> bytes:
    """One `tk_kind` for each entry."""
    return bytes(KINDS.index(kind) for kind in kinds)


@functools.cache
def library(path: Path = LIBRARY) -> Any:
    """Load the library and say what its functions take; raises EngineError when it is not there or does not fit."""
    if not path.exists():
        raise EngineError(
            f"The kernels are not built: {path.name} is missing. With a C compiler installed, build it: {BUILD}"
        )
    try:
        found: Any = ctypes.CDLL(str(path))
        interface = int(found.tk_interface())
    except (OSError, AttributeError) as error:
        raise EngineError(f"Cannot load the kernels ({error}); rebuild them: {BUILD}") from error
    if interface != _INTERFACE:
        raise EngineError(f"The kernels belong to another version of Tessera; rebuild them: {BUILD}")
    pointer, number, long = ctypes.c_void_p, ctypes.c_int32, ctypes.c_uint64
    described = ctypes.POINTER(_Description)
    for name, result, arguments in (
        ("tk_best_set", number, ()),
        ("tk_offers_set", number, (number,)),
        ("tk_has_set", number, (number,)),
        ("tk_has_bf16", number, (number,)),
        ("tk_count_weights", long, (described,)),
        (
            "tk_create",
            number,
            (described, pointer, long, ctypes.c_char_p, long, number, number, ctypes.POINTER(pointer)),
        ),
        ("tk_run", number, (pointer, number, pointer, long, pointer, long, number, number)),
        ("tk_working_bytes", long, (pointer, number, number)),
        ("tk_destroy", None, (pointer,)),
    ):
        function = getattr(found, name)
        function.restype, function.argtypes = result, arguments
    return found


def problem() -> str | None:
    """Why the kernels cannot be used here, as a sentence; None when they can."""
    try:
        library()
        choose_set()
    except EngineError as error:
        return str(error)
    return None


def sets_here() -> tuple[InstructionSet, ...]:
    """The instruction sets that the library has and this processor runs, best last."""
    return tuple(name for number, name in enumerate(SETS) if library().tk_has_set(number))


def sets_offered() -> tuple[InstructionSet, ...]:
    """The instruction sets that this processor and its system run, whether or not the library has them, best last."""
    return tuple(name for number, name in enumerate(SETS) if library().tk_offers_set(number))


def choose_set() -> InstructionSet:
    """The best instruction set here, or the one that `TESSERA_KERNELS_SET` names."""
    asked = os.environ.get(SET_VARIABLE)
    if not asked:
        return SETS[library().tk_best_set()]
    for name in sets_here():
        if name == asked:
            return name
    raise EngineError(f"{SET_VARIABLE} is {asked!r}, and the kernels here have {', '.join(sets_here())}.")


def has_bf16_here() -> bool:
    """Whether the instruction set that is used here multiplies bf16 in hardware; not where the kernels cannot run."""
    try:
        return multiplies_bf16(choose_set())
    except EngineError:
        return False


def multiplies_bf16(name: InstructionSet) -> bool:
    """Whether an instruction set multiplies bf16 in hardware."""
    return bool(library().tk_has_bf16(SETS.index(name)))


class Network:
    """A network in the library, on its own threads; safe to call from several threads, which then take turns.

    `arrays` are weights and biases (and slopes) in the order in which the network runs them. `kinds` has one for each
    block (or inner convolution) and one for the convolutions between them and the last; None is fp32 throughout.
    Raises EngineError when the library cannot run such a network.
    """

    def __init__(
        self,
        description: Description,
        arrays: Sequence[NDArray[np.float32]],
        kinds: Sequence[Kind] | None = None,
        *,
        threads: int = 1,
        instructions: InstructionSet | None = None,
    ) -> None:
        self.description = description
        self.instructions = instructions or choose_set()
        self._library = library()
        flat = [np.ascontiguousarray(array, np.float32).ravel() for array in arrays]
        weights = flat[0] if len(flat) == 1 else np.concatenate(flat)
        counted = pack_kinds(kinds or ("F4 fp32",) * (description.blocks + 1))
        handle = ctypes.c_void_p()
        status = self._library.tk_create(
            ctypes.byref(_as_structure(description)),
            weights.ctypes.data,
            weights.size,
            counted,
            len(counted),
            SETS.index(self.instructions),
            threads,
            ctypes.byref(handle),
        )
        _check(status, "making a network")
        self._handle = handle
        weakref.finalize(self, self._library.tk_destroy, handle)

    def run(self, pictures: NDArray[np.float32]) -> NDArray[np.float32]:
        """(B, C, h, w) float32 -> (B, C, s*h, s*w) float32, not clipped."""
        return self._run(pictures, np.float32, (0, 1, 2, 3))

    def run_pixels(self, pictures: NDArray[Any]) -> NDArray[Any]:
        """(B, h, w, C) uint8 or uint16 -> (B, s*h, s*w, C) of the same type, clipped and rounded to the nearest."""
        if str(pictures.dtype) not in ("uint8", "uint16"):
            raise UsageError(f"Pixels are uint8 or uint16, not {pictures.dtype}.")
        return self._run(pictures, pictures.dtype, (0, 3, 1, 2))

    def working_bytes(self, height: int, width: int) -> int:
        """Memory in bytes that a run takes besides the picture and the result."""
        return int(self._library.tk_working_bytes(self._handle, height, width))

    def _run(self, pictures: NDArray[Any], dtype: Any, axes: tuple[int, ...]) -> NDArray[Any]:
        """`axes`: where number, channel, row and column lie."""
        known = self.description
        if pictures.ndim != 4 or pictures.shape[axes[1]] != known.in_channels:
            raise UsageError(f"The network takes {known.in_channels} channels, and the shape is {pictures.shape}.")
        batch, _, height, width = (pictures.shape[axis] for axis in axes)
        if height % known.unshuffle or width % known.unshuffle:
            raise UsageError(f"Height and width have to divide by {known.unshuffle}, and are {height} and {width}.")
        shape = [batch, 0, 0, 0]
        for axis, size in zip(axes[1:], (known.out_channels, height * known.scale, width * known.scale), strict=True):
            shape[axis] = size
        try:
            given = np.ascontiguousarray(pictures, dtype)
            result: NDArray[Any] = np.empty(shape, dtype)
        except MemoryError as error:
            raise OutOfMemoryError(f"Memory ran out on a batch of tiles {tuple(shape)}.") from error
        for one, place in zip(given, result, strict=True):
            status = self._library.tk_run(
                self._handle,
                _SAMPLES[str(np.dtype(dtype))],
                one.ctypes.data,
                one.size,
                place.ctypes.data,
                place.size,
                height,
                width,
            )
            _check(status, f"a picture of {width}x{height} pixels")
        return result


def _check(status: int, what: str) -> None:
    if status == 0:
        return
    if status == _NO_MEMORY:
        raise OutOfMemoryError(f"Memory ran out in the kernels on {what}.")
    raise EngineError(_SENTENCES.get(status, f"The kernels gave the error {status} on {what}."))
