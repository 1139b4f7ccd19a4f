"""HDF5 files as Keras writes weights into them: groups within groups, with arrays at their ends.

They are read with h5py, which comes with the extra `hdf5`. Only hard links are followed, and only arrays whose values
lie uncompressed in the file itself are read, so that a file can neither name another one nor unpack to more than its
own size.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tessera.errors import WeightsError
from tessera.libraries import find_install, import_library
from tessera.weights.arrays import Array
from tessera.weights.checkpoint import LIMIT_BYTES

SIGNATURE = b"\x89HDF\r\n\x1a\n"
MAX_OBJECTS = 100_000
INSTALL = find_install("h5py")


def is_hdf5(path: Path) -> bool:
    """Tell whether a file begins like HDF5. Raises OSError."""
    with path.open("rb") as file:
        return file.read(len(SIGNATURE)) == SIGNATURE


def read_hdf5(path: Path) -> dict[str, Array]:
    """Read the floating-point arrays of a file by their path in it (`block1/vars/0`), each in its own type.

    Raises WeightsError (without the name of the file) where h5py is missing, and where the file is damaged, holds more
    than is read, or keeps values in other files.
    """
    try:
        if not is_hdf5(path):
            raise WeightsError("not an HDF5 file: its signature is missing. Download it again.")
    except OSError as error:
        raise WeightsError(f"cannot read this file ({error.strerror or error}).") from error
    try:
        h5py = import_library("h5py")
    except ImportError as error:
        raise WeightsError(f"reading HDF5 files needs the package h5py ({error}): {INSTALL}.") from error
    try:
        with h5py.File(path, "r") as file:
            return _read_arrays(h5py, file, path.stat().st_size)
    except (OSError, KeyError, RuntimeError, ValueError) as error:
        raise WeightsError(f"not a complete HDF5 file ({error}). Download it again.") from error


def _read_arrays(h5py: Any, file: Any, size: int) -> dict[str, Array]:
    arrays: dict[str, Any] = {}
    visited = 0

    def note(name: str, item: Any) -> None:
        nonlocal visited
        visited += 1
        if visited > MAX_OBJECTS:
            raise WeightsError(f"it holds more than {MAX_OBJECTS:,} groups and arrays.")
        if isinstance(item, h5py.Dataset) and item.dtype.kind == "f" and item.dtype.itemsize in (2, 4, 8):
            arrays[name] = item

    file.visititems(note)  # by hard links only, each object once
    total = sum(int(item.nbytes) for item in arrays.values())
    if total > LIMIT_BYTES:
        raise WeightsError(f"its arrays have {total:,} bytes; expected at most {LIMIT_BYTES:,}.")
    if total > size:
        raise WeightsError(
            f"its arrays have {total:,} bytes, more than the file ({size:,}). Save it without compression."
        )
    found: dict[str, Array] = {}
    for name, item in arrays.items():
        if item.is_virtual or item.external:
            raise WeightsError(f"`{name}` has its values in another file. Give a file that holds them itself.")
        values = np.asarray(item[()])
        found[name] = values.astype(values.dtype.newbyteorder("="), copy=True)
    return found
