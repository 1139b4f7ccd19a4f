"""Pictures as the NumPy archives of accelerator tools: `input_0` in, `output_0` out.

The format is that of VastModelZOO's scripts: one archive per picture, RGB, planes first, 8 bits in, [0, 1] out; and a
text file that lists the archives in order. A model can be run on them here, as such a tool would run it.

Shapes: C channels, H rows, W columns, s the scale.
"""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Callable, Sequence
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
from tessera.storage.files import write_bytes
from tessera.weights.pickle_walk import DAMAGE

INPUT_KEY, OUTPUT_KEY = "input_0", "output_0"
LIST_NAME = "datalist.txt"
_LARGEST_BYTES = 4 << 30
_MOST_EXPANSION = 64

Run = Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]


def pack(folder: Path, output: Path, *, size: tuple[int, int] | None = None) -> list[Path]:
    """Write an archive for each picture of a folder, and their list -> the archives.

    (H, W) or (H, W, 2 to 4), 8 or 16 bits -> `input_0` (3, H, W) uint8, RGB; alpha is left out, gray repeated. With
    `size` each is resized to it by area averaging, ignoring the aspect, as the vacc protocol does. Raises UsageError,
    PictureError.
    """
    pictures = _list_files(folder, is_picture_name, "pictures")
    _check_names(pictures)
    _create_folder(output)
    packed: list[Path] = []
    for path in pictures:
        planes = np.ascontiguousarray(_resize(_to_rgb(read_picture(path).pixels), size).transpose(2, 0, 1))
        packed.append(output / f"{path.stem}.npz")
        _write_archive(packed[-1], {INPUT_KEY: planes})
    names = "".join(f"{path}\n" for path in packed)
    _write(output / LIST_NAME, names.encode(errors="surrogateescape"))
    return packed


def unpack(folder: Path, output: Path, *, suffix: str = "") -> list[Path]:
    """Write a picture for each archive of a folder -> the pictures.

    `output_0` (3, H, W) or (1, 3, H, W), RGB, [0, 1] -> PNG of 8 bits: clipped, times 255, rounded. Raises UsageError,
    PictureError for an archive without such an array.
    """
    archives = _list_files(folder, _is_archive, "archives (.npz)")
    _create_folder(output)
    pictures: list[Path] = []
    for path in archives:
        planes = _to_planes(read_array(path, OUTPUT_KEY), path)
        if planes.dtype.kind != "f":
            raise PictureError(f"{path}: `{OUTPUT_KEY}` holds {planes.dtype}, and results are floats in [0, 1].")
        if not np.isfinite(planes).all():
            raise PictureError(f"{path}: `{OUTPUT_KEY}` holds values that are not finite.")
        pixels = np.rint(np.clip(planes.astype(np.float64), 0, 1) * 255).astype(np.uint8)
        pictures.append(output / f"{path.stem}{suffix}.png")
        write_picture(np.ascontiguousarray(pixels.transpose(1, 2, 0)), pictures[-1])
    return pictures


def run_model(run: Run, folder: Path, output: Path, *, multiple: int = 1) -> list[Path]:
    """Run a model on a folder of archives, as an accelerator would -> the archives of results.

    `input_0` (3, H, W) uint8, or float in [0, 1] -> `output_0` (1, 3, s*H, s*W) float32, not clipped. `run` takes
    (1, 3, H, W) in [0, 1]. Raises UsageError, and PictureError for an archive without such an array.
    """
    archives = _list_files(folder, _is_archive, "archives (.npz)")
    if output.exists() and output.samefile(folder):
        raise UsageError(f"{output}: results have the names of the inputs; choose another folder.", field="output")
    _create_folder(output)
    results: list[Path] = []
    for path in archives:
        planes = _to_planes(read_array(path, INPUT_KEY), path)
        height, width = planes.shape[1:]
        if height % multiple or width % multiple:
            raise PictureError(f"{path}: {width}x{height}, and both sides have to divide by {multiple} for this model.")
        results.append(output / path.name)
        _write_archive(results[-1], {OUTPUT_KEY: run(_to_colors(planes, path)[None])})
    return results


def read_array(path: Path, key: str) -> npt.NDArray[Any]:
    """Read one array of an archive; nothing in it is executed, and its size is checked before memory is taken.

    An array has at most 4 GiB, and at most 64 times the size of its file, compressed or not: pictures do not compress
    further, and a file of 3 MB cannot take 3 GB.

    Raises PictureError for other files, and for arrays of other types.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name.removesuffix(".npy") for name in archive.namelist()]
            if key not in names:
                held = ", ".join(names[:5]) or "nothing"
                raise PictureError(f"{path}: no array `{key}` in this archive; it holds {held}.")
            _check_expansion(archive.getinfo(f"{key}.npy").file_size, path, key)
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
        raise PictureError(f"{path}: `{key}` holds {dtype}, expected integers or floats.")
    size = math.prod(int(side) for side in shape) * dtype.itemsize
    if size > _LARGEST_BYTES:
        raise PictureError(f"{path}: `{key}` has the shape {shape}, and at most {_LARGEST_BYTES >> 30} GiB are read.")
    _check_expansion(size, path, key)


def _check_expansion(size: int, path: Path, key: str) -> None:
    held = path.stat().st_size
    if size > _MOST_EXPANSION * held:
        raise PictureError(
            f"{path}: `{key}` unpacks to {size:,} bytes from a file of {held:,}; expected at most {_MOST_EXPANSION}"
            " times as many. Write it without compression (`numpy.savez`)."
        )


def _to_planes(array: npt.NDArray[Any], path: Path) -> npt.NDArray[Any]:
    """(3, H, W), also from (1, 3, H, W)."""
    planes = array[0] if array.ndim == 4 and array.shape[0] == 1 else array
    if planes.ndim != 3 or planes.shape[0] != 3 or 0 in planes.shape:
        raise PictureError(f"{path}: its array has the shape {array.shape}; expected (3, height, width), RGB.")
    return planes


def _to_colors(planes: npt.NDArray[Any], path: Path) -> npt.NDArray[np.float32]:
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


def _to_rgb(pixels: Pixels) -> Pixels:
    """(H, W) or (H, W, 2 to 4), 8 or 16 bits -> (H, W, 3) uint8."""
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    colors = pixels[..., : pixels.shape[2] - (pixels.shape[2] in (2, 4))]
    if colors.dtype == np.uint16:
        colors = np.rint(colors / 257).astype(np.uint8)
    return np.repeat(colors, 3, 2) if colors.shape[2] == 1 else colors


def _resize(pixels: Pixels, size: tuple[int, int] | None) -> Pixels:
    if size is None or size == pixels.shape[:2]:
        return pixels
    planes = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1))).to(torch.float64)[None]
    resized = resize(planes, size=size, kernel="area")[0].round().clamp(0, 255).to(torch.uint8)
    return resized.permute(1, 2, 0).numpy()


def _is_archive(path: Path) -> bool:
    return path.suffix.lower() == ".npz"


def _list_files(folder: Path, matches: Callable[[Path], bool], what: str) -> list[Path]:
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder.")
    found = sorted(path for path in folder.iterdir() if path.is_file() and matches(path))
    if not found:
        raise UsageError(f"{folder}: no {what} in this folder.")
    return found


def _check_names(paths: Sequence[Path]) -> None:
    seen: dict[str, Path] = {}
    for path in paths:
        if path.stem in seen:
            raise UsageError(
                f"{path} and {seen[path.stem].name} would both become {path.stem}.npz; rename one of them."
            )
        seen[path.stem] = path


def _create_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot create {folder} ({error.strerror or error}).", field="output") from error


def _write_archive(path: Path, arrays: dict[str, npt.NDArray[Any]]) -> None:
    """Write an archive; the same arrays give the same bytes."""
    content = io.BytesIO()
    np.savez(content, allow_pickle=False, **arrays)
    _write(path, content.getvalue())


def _write(path: Path, data: bytes) -> None:
    try:
        write_bytes(path, data)
    except OSError as error:
        raise TesseraError(f"{path}: cannot write this file ({error.strerror or error}).") from error
