"""Running out of memory: how Python and the libraries report it, and what helps.

A limit of the address space (`ulimit -v`, RLIMIT_AS) is met sooner than the memory of the machine: libraries cannot be
mapped, threads cannot start, and extensions fail without a message. Nothing here imports a library.
"""

from __future__ import annotations

import errno
import sys
from collections.abc import Iterator
from importlib.abc import MetaPathFinder
from typing import Any

from tessera.machine import address_space, find_address_limit
from tessera.wording import format_bytes

_WORDS = (
    *("can't allocate memory", "cannot allocate memory", "out of memory", "bad_alloc", "failed to allocate"),
    *("cl_out_of_resources", "cl_mem_object_allocation_failure", "cl_out_of_host_memory"),  # OpenCL's, of GPUs
    *("could not allocate", "failed to map segment", "can't start new thread", "not enough memory"),
)
_NEAR_LIMIT = 0.75
"""Share of the limit: a library of 400 MB that does not fit leaves the rest unused."""

_LEAST_BYTES = {"torch": 2**30, "openvino": 2**29, "onnxruntime": 2**28}
"""Address space of libraries that end the process without a message when it runs out while they load: measured 590, 290
and 145 MB for the import, and as much again for their threads and the first network."""


class _ImportGuard(MetaPathFinder):
    """Refuses a library for which there is too little address space left."""

    def find_spec(self, fullname: str, path: object, target: object = None) -> Any:
        """Find nothing, or raise MemoryError."""
        limit, used = find_address_limit(), address_space().get("VmSize")
        least = _LEAST_BYTES.get(fullname)
        if least is not None and limit is not None and used is not None and limit - used < least:
            raise MemoryError(f"{fullname} needs {format_bytes(least)} of address space")


def guard_imports() -> None:
    """Refuse large libraries from now on where a limit of the address space leaves no room for them."""
    if find_address_limit() is not None:
        sys.meta_path.insert(0, _ImportGuard())


def is_memory_error(error: BaseException) -> bool:
    """Whether an exception of Python, PyTorch, OpenVINO or the system, or its cause, means that memory ran out."""
    return any(_says_memory(each) for each in _chain(error))


def is_probably_memory_error(error: BaseException) -> bool:
    """Whether an unexpected exception comes from a lack of memory; any does in a process near its limit."""
    return is_memory_error(error) or is_near_address_limit()


def is_near_address_limit() -> bool:
    """Whether this process has, or had, nearly all of the address space that it may use."""
    limit, peak = find_address_limit(), address_space().get("VmPeak")
    return limit is not None and peak is not None and peak > _NEAR_LIMIT * limit


def advise_on_memory(otherwise: str = "close other programs") -> str:
    """What helps, as the end of a sentence: another limit of the address space if there is one, else `otherwise`."""
    limit = find_address_limit()
    if limit is None:
        return otherwise
    return f"raise the limit of this process's address space, which is {format_bytes(limit)} (`ulimit -v`)"


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The exception and its causes."""
    each: BaseException | None = error
    for _ in range(8):
        if each is None:
            return
        yield each
        each = each.__cause__


def _says_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # PyTorch's, of GPUs
        return True
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return True
    if isinstance(error, SystemError):  # an extension that failed without saying why
        return find_address_limit() is not None
    text = str(error).lower()
    return isinstance(error, RuntimeError | ImportError | OSError) and any(words in text for words in _WORDS)
