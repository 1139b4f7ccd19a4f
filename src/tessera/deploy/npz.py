"""Pictures as the NumPy archives that accelerators' tools take and give: `input_0` in, `output_0` out.

As VastModelZOO's scripts have them: one archive for each picture, RGB, planes first, 8 bits in; colors in [0, 1] out;
and a text that lists the archives in order. What such a tool would do with them, a model can do here, too.

Shapes: C channels, H rows, W columns, s the scale.
"""

from __future__ import annotations

import contextlib
import io
import zipfile
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from numpy.lib import format as npy

from tessera.errors import PictureError, TesseraError, UsageError
from tessera.images.formats import is_picture_name
from tessera.images.picture import read_picture
from tessera.images.pixels import Pixels
from tessera.images.resize import resize
from tessera.images.writer import write_picture
from tessera.storage.atomic import choose_temporary_name, put_in_place
from tessera.weights.pickle_walk import DAMAGE

INPUT_KEY, OUTPUT_KEY = "input_0", "output_0"
LIST_NAME = "datalist.txt"
_LARGEST_BYTES = 4 << 30

Run = Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]


def pack(folder: Path, output: Path, *, size: tuple[int, int] | None = None) -> list[Path]:
    """Make an archive of each picture of a folder, and the list of them: returns the archives.

    (H, W) or (H, W, 2 to 4), 8 or 16 bits -> `input_0` (3, H, W) uint8, RGB; alpha is left out, gray repeated. With
    `size` each is resized to it by covered area, the aspect lost, as the vacc protocol does. Raises UsageError,
    PictureError.
    """
    pictures = _in(folder, is_picture_name, "pictures")
    _not_one_name(pictures)
    _make(output)
    packed: list[Path] = []
    for path in pictures:
        planes = np.ascontiguousarray(_resized(_rgb(read_picture(path).pixels), size).transpose(2, 0, 1))
        packed.append(output / f"{path.stem}.npz")
        _write_archive(packed[-1], {INPUT_KEY: planes})
    names = "".join(f"{path}\n" for path in packed)
    _put(output / LIST_NAME, lambda place: place.write_text(names, encoding="utf-8", errors="surrogateescape"))
    return packed


def unpack(folder: Path, output: Path, *, suffix: str = "") -> list[Path]:
    """Make a picture of each archive of a folder: returns the pictures.

    `output_0` (3, H, W) or (1, 3, H, W), RGB, [0, 1] -> PNG of 8 bits: clipped, times 255, rounded. Raises UsageError,
    PictureError for an archive without such an array.
    """
    archives = _in(folder, _is_archive, "archives (.npz)")
    _make(output)
    pictures: list[Path] = []
    for path in archives:
        planes = _planes(read_array(path, OUTPUT_KEY), path)
        if planes.dtype.kind != "f":
            raise PictureError(f"{path}: `{OUTPUT_KEY}` holds {planes.dtype}, and results are floats in [0, 1].")
        if not np.isfinite(planes).all():
            raise PictureError(f"{path}: `{OUTPUT_KEY}` holds values that are not finite.")
        pixels = np.rint(np.clip(planes.astype(np.float64), 0, 1) * 255).astype(np.uint8)
        pictures.append(output / f"{path.stem}{suffix}.png")
        write_picture(np.ascontiguousarray(pixels.transpose(1, 2, 0)), pictures[-1])
    return pictures


def run_model(run: Run, folder: Path, output: Path, *, multiple: int = 1) -> list[Path]:
    """Do with a folder of archives what an accelerator would: returns the archives of results.

    `input_0` (3, H, W) uint8, or float in [0, 1] -> `output_0` (1, 3, s*H, s*W) float32, not clipped. `run` takes
    (1, 3, H, W) in [0, 1]. Raises UsageError, and PictureError for an archive that holds no picture, or one in numbers
    of another type.
    """
    archives = _in(folder, _is_archive, "archives (.npz)")
    if output.exists() and output.samefile(folder):
        raise UsageError(f"{output}: results have the names of the inputs; choose another folder.", field="output")
    _make(output)
    results: list[Path] = []
    for path in archives:
        planes = _planes(read_array(path, INPUT_KEY), path)
        height, width = planes.shape[1:]
        if height % multiple or width % multiple:
            raise PictureError(f"{path}: {width}x{height}, and both sides have to divide by {multiple} for this model.")
        results.append(output / path.name)
        _write_archive(results[-1], {OUTPUT_KEY: run(_colors(planes, path)[None])})
    return results


def read_array(path: Path, key: str) -> npt.NDArray[Any]:
    """Read one array of an archive; nothing in it is executed, and its size is known before memory is taken.

    Raises PictureError for other files, and for arrays of other types.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name.removesuffix(".npy") for name in archive.namelist()]
            if key not in names:
                held = ", ".join(names[:5]) or "nothing"
                raise PictureError(f"{path}: no array `{key}` in this archive; it holds {held}.")
            with archive.open(f"{key}.npy") as file:
                _check_header(file, path, key)
            with archive.open(f"{key}.npy") as file:
                return npy.read_array(file, allow_pickle=False)
    except DAMAGE as error:
        raise PictureError(f"{path}: not a complete NumPy archive ({error or type(error).__name__}).") from error


def _check_header(file: Any, path: Path, key: str) -> None:
    version = npy.read_magic(file)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, _, dtype = read(file)
    if dtype.kind not in "uif":
        raise PictureError(f"{path}: `{key}` holds {dtype}, and pictures are numbers.")
    if int(np.prod([int(side) for side in shape], dtype=object)) * dtype.itemsize > _LARGEST_BYTES:
        raise PictureError(f"{path}: `{key}` has the shape {shape}, and at most {_LARGEST_BYTES >> 30} GiB are read.")


def _planes(array: npt.NDArray[Any], path: Path) -> npt.NDArray[Any]:
    """(3, H, W), also from (1, 3, H, W)."""
    planes = array[0] if array.ndim == 4 and array.shape[0] == 1 else array
    if planes.ndim != 3 or planes.shape[0] != 3 or 0 in planes.shape:
        raise PictureError(f"{path}: its array has the shape {array.shape}; expected (3, height, width), RGB.")
    return planes


def _colors(planes: npt.NDArray[Any], path: Path) -> npt.NDArray[np.float32]:
    """(3, H, W) uint8, or float in [0, 1] -> (3, H, W) float32 in [0, 1]."""
    if planes.dtype == np.uint8:
        return np.ascontiguousarray(planes.astype(np.float32) / np.float32(255))
    if planes.dtype.kind != "f":
        raise PictureError(
            f"{path}: `{INPUT_KEY}` holds {planes.dtype}, and inputs are uint8, or floats in [0, 1]; `tessera npz pack`"
            " makes such archives."
        )
    with np.errstate(over="ignore"):  # what float32 cannot hold is found below
        colors = np.ascontiguousarray(planes.astype(np.float32))
    if not np.isfinite(colors).all():
        raise PictureError(f"{path}: `{INPUT_KEY}` holds values that are not finite.")
    return colors


def _rgb(pixels: Pixels) -> Pixels:
    """(H, W) or (H, W, 2 to 4), 8 or 16 bits -> (H, W, 3) uint8."""
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    colors = pixels[..., : pixels.shape[2] - (pixels.shape[2] in (2, 4))]
    if colors.dtype == np.uint16:
        colors = np.rint(colors / 257).astype(np.uint8)
    return np.repeat(colors, 3, 2) if colors.shape[2] == 1 else colors


def _resized(pixels: Pixels, size: tuple[int, int] | None) -> Pixels:
    if size is None or size == pixels.shape[:2]:
        return pixels
    planes = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1))).to(torch.float64)[None]
    made = resize(planes, size=size, kernel="area")[0].round().clamp(0, 255).to(torch.uint8)
    return made.permute(1, 2, 0).numpy()


def _is_archive(path: Path) -> bool:
    return path.suffix.lower() == ".npz"


def _in(folder: Path, wanted: Callable[[Path], bool], what: str) -> list[Path]:
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder.")
    found = sorted(path for path in folder.iterdir() if path.is_file() and wanted(path))
    if not found:
        raise UsageError(f"{folder}: no {what} in this folder.")
    return found


def _not_one_name(paths: Sequence[Path]) -> None:
    seen: dict[str, Path] = {}
    for path in paths:
        if path.stem in seen:
            raise UsageError(
                f"{path} and {seen[path.stem].name} would both become {path.stem}.npz; rename one of them."
            )
        seen[path.stem] = path


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot create {folder} ({error.strerror or error}).", field="output") from error


def _write_archive(path: Path, arrays: dict[str, npt.NDArray[Any]]) -> None:
    """The same arrays give the same bytes."""
    content = io.BytesIO()
    np.savez(content, allow_pickle=False, **arrays)
    _put(path, lambda place: place.write_bytes(content.getvalue()))


def _put(path: Path, write: Callable[[Path], object]) -> None:
    with _removed_in_the_end(choose_temporary_name(path)) as temporary:
        try:
            write(temporary)
            put_in_place(temporary, path)
        except OSError as error:
            raise TesseraError(f"{path}: this file cannot be written ({error.strerror or error}).") from error


@contextlib.contextmanager
def _removed_in_the_end(path: Path) -> Generator[Path]:
    try:
        yield path
    finally:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
