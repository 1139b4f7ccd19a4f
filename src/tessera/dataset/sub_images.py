"""Pictures cut into overlapping windows, as BasicSR prepares DF2K, optionally of smaller versions as Real-ESRGAN does.

Training reads pictures of any size without this; windows pay off if the disk is slow or pictures are very large.

Shapes: H height, W width, C channels.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, Field, ValidationError

from tessera.dataset.decoding import open_ref
from tessera.dataset.processes import process_each
from tessera.dataset.sources import PictureRef
from tessera.errors import FileError, PictureError, UsageError
from tessera.images.libvips import vips
from tessera.images.resample import resample_array
from tessera.storage.files import read_bytes, write_bytes, write_text

Pixels = npt.NDArray[np.unsignedinteger]

SETTINGS_FILE = "crops.json"
_MAX_SETTINGS_BYTES = 1 << 16
_SCALE_MARK = re.compile(r"[_-]?x[2348]$", re.IGNORECASE)
_LONGEST_MARK = 4
_SMALLER = (("T0", 0.75), ("T1", 0.5), ("T2", 1 / 3))
_SMALLEST_EDGE = ("T3", 400)


class CropsConfig(BaseModel, frozen=True, extra="forbid"):
    """How pictures are cut; the defaults are BasicSR's."""

    size: int = Field(default=480, ge=8, le=16384)
    step: int = Field(default=240, ge=1, le=16384)
    threshold: int = Field(default=0, ge=0, le=16384)
    compression: int = Field(default=3, ge=0, le=9)
    multiscale: bool = False


class Cut(BaseModel, frozen=True):
    """Result for one picture."""

    windows: int
    there_before: bool = False
    smaller_than_size: bool = False


def list_window_starts(length: int, size: int, step: int, threshold: int) -> list[int]:
    """List the starts of windows along a side, with a last one at the border if more than `threshold` pixels remain.

    >>> list_window_starts(1000, 480, 240, 0)
    [0, 240, 480, 520]
    >>> list_window_starts(1000, 480, 240, 40), list_window_starts(300, 480, 240, 0)
    ([0, 240, 480], [0])
    """
    if length < size:
        return [0]
    starts = list(range(0, length - size + 1, step))
    if length - (starts[-1] + size) > threshold:
        starts.append(length - size)
    return starts


def find_mark_length(refs: Sequence[PictureRef]) -> int:
    """Find the scale mark that all names end in -> its length; windows leave it out, so that LR and HR windows match.

    A mark that only some names have is part of a name (`box2`). Raises UsageError if two pictures would have windows
    of equal names, or if one's name is another's with a scale mark.

    >>> find_mark_length([PictureRef("0001x4.png"), PictureRef("0002x4.png")])
    2
    >>> find_mark_length([PictureRef("box2.png"), PictureRef("cat.png")])
    0
    """
    stems = [ref.stem for ref in refs]
    found = [_SCALE_MARK.search(stem[-_LONGEST_MARK:]) for stem in stems]
    marks = {match[0].casefold() if match is not None else "" for match in found}
    without = [stem[: -len(match[0])] if match is not None else stem for stem, match in zip(stems, found, strict=True)]
    is_common = len(marks) == 1 and all(without)
    taken: dict[str, PictureRef] = {}
    for ref, stem in zip(refs, without if is_common else stems, strict=True):
        other = taken.setdefault(stem.casefold(), ref)
        if other is not ref:
            raise _build_name_error(other, ref)
    for ref, stem in zip(refs, without, strict=True):
        other = taken.get(stem.casefold(), ref)
        if other is not ref:
            raise _build_name_error(other, ref)
    return len(next(iter(marks))) if is_common else 0


def _build_name_error(one: PictureRef, other: PictureRef) -> UsageError:
    return UsageError(f"{one} and {other} would give crops of the same names: cut them into different folders.")


def cut_all(
    refs: Sequence[PictureRef], out: Path, config: CropsConfig, *, workers: int = 1, resume: bool = False
) -> Iterator[tuple[PictureRef, Cut | PictureError]]:
    """Cut pictures into `out`/NAME_s001.png and so on -> the result for each picture.

    Windows are written atomically, and `resume` writes the missing ones. Raises UsageError, before anything is written,
    if the folder is not empty or has windows of other settings, or if two pictures have the same name.
    """
    mark_length = find_mark_length(refs)
    _prepare_folder(out, config, resume)
    return process_each(partial(_cut_picture, mark_length=mark_length, out=out, config=config), refs, workers=workers)


def _cut_picture(ref: PictureRef, *, mark_length: int, out: Path, config: CropsConfig) -> Cut:
    """Cut one picture: 8 or 16 bits, gray, RGB and alpha as they are, upright, as PNG. Raises PictureError."""
    stem = ref.stem[: len(ref.stem) - mark_length]
    with open_ref(ref) as reader:
        height, width = reader.info.height, reader.info.width
        versions = _list_versions(height, width, config)
        names = [
            out / f"{stem}{suffix}_s{number:03d}.png"
            for suffix, size in versions
            for number in range(1, len(_list_windows(size, config)) + 1)
        ]
        small = min(height, width) < config.size
        if all(name.exists() for name in names):
            return Cut(windows=len(names), there_before=True, smaller_than_size=small)
        pixels = reader.read_rows(0, height)
    missing = iter(names)
    for _, size in versions:
        version = pixels if size == (height, width) else resample_array(pixels, size)
        for top, left in _list_windows(size, config):
            name = next(missing)
            if not name.exists():
                _write(version[top : top + config.size, left : left + config.size], name, config.compression)
    return Cut(windows=len(names), smaller_than_size=small)


def _list_versions(height: int, width: int, config: CropsConfig) -> list[tuple[str, tuple[int, int]]]:
    """List the picture and, with `multiscale`, its smaller versions: suffix of the name, and size (H, W).

    The last version has a short side of 400 pixels, unless that upscales: upscaled pictures are not ground truth.
    """
    versions = [("", (height, width))]
    if config.multiscale:
        versions += [(suffix, (max(1, int(height * s)), max(1, int(width * s)))) for suffix, s in _SMALLER]
        suffix, edge = _SMALLEST_EDGE
        if min(height, width) > edge:
            tall = width < height
            size = (int(height * edge / width), edge) if tall else (edge, int(width * edge / height))
            versions.append((suffix, size))
    return versions


def _list_windows(size: tuple[int, int], config: CropsConfig) -> list[tuple[int, int]]:
    rows, columns = (list_window_starts(side, config.size, config.step, config.threshold) for side in size)
    return [(top, left) for top in rows for left in columns]


def _write(pixels: Pixels, path: Path, compression: int) -> None:
    gray, deep = pixels.shape[2] < 3, pixels.dtype == np.uint16
    image = vips().Image.new_from_array(np.ascontiguousarray(pixels))
    image = image.copy(interpretation=("grey16" if gray else "rgb16") if deep else ("b-w" if gray else "srgb"))
    try:
        write_bytes(path, image.pngsave_buffer(compression=compression, filter="sub"))
    except OSError as error:
        raise PictureError(f"{path}: cannot be written: {error.strerror}.") from None


def _prepare_folder(out: Path, config: CropsConfig, resume: bool) -> None:
    """Create the folder with the settings in it, or check that it can be resumed."""
    settings = out / SETTINGS_FILE
    if os.path.lexists(out) and not out.is_dir():
        raise UsageError(f"{out} is a file; give a folder.", field="output")
    if out.is_dir() and any(out.iterdir()):
        if not resume:
            raise UsageError(f"{out} is not empty. Choose another, or continue in it with `resume`.", field="output")
        try:
            before = CropsConfig.model_validate_json(read_bytes(settings, max_bytes=_MAX_SETTINGS_BYTES))
        except (OSError, FileError, ValidationError):
            raise UsageError(f"{settings} does not record how the crops in {out} were made.", field="resume") from None
        if before.model_copy(update={"compression": config.compression}) != config:
            raise UsageError(
                f"the crops in {out} were made with {_describe(before)}, not {_describe(config)}. Use the same"
                " settings, or another folder.",
                field="resume",
            )
        return
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_text(settings, config.model_dump_json() + "\n")
    except OSError as error:
        raise UsageError(f"cannot create the folder {out} ({error.strerror}).", field="output") from None


def _describe(config: CropsConfig) -> str:
    multiscale = ", multiscale" if config.multiscale else ""
    return f"size {config.size}, step {config.step}, threshold {config.threshold}{multiscale}"
