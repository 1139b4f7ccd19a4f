"""Pictures cut into overlapping windows, as BasicSR prepares DF2K, optionally of smaller versions as Real-ESRGAN does.

Training reads pictures of any size without this; it pays when the disk is slow or pictures are very large. Shapes: H
height, W width, C channels.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, Field

from tessera.dataset.decoding import open_ref
from tessera.dataset.processes import for_each
from tessera.dataset.sources import PictureRef
from tessera.errors import PictureError, UsageError
from tessera.images.libvips import vips
from tessera.images.resample import resample_array
from tessera.storage.atomic import choose_temporary_name

Pixels = npt.NDArray[np.unsignedinteger]

SETTINGS_FILE = "crops.json"
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
    """What became of one picture."""

    windows: int
    there_before: bool = False
    smaller_than_size: bool = False


def window_starts(length: int, size: int, step: int, threshold: int) -> list[int]:
    """Where windows begin along a side; a last one, flush with the border, if more than `threshold` would be lost.

    >>> window_starts(1000, 480, 240, 0)
    [0, 240, 480, 520]
    >>> window_starts(1000, 480, 240, 40), window_starts(300, 480, 240, 0)
    ([0, 240, 480], [0])
    """
    if length < size:
        return [0]
    starts = list(range(0, length - size + 1, step))
    if length - (starts[-1] + size) > threshold:
        starts.append(length - size)
    return starts


def sub_image_stem(stem: str) -> str:
    """A picture's name without x2, x3, x4, x8, so that windows of truths and inputs have one name.

    >>> sub_image_stem("0001x4")
    '0001'
    """
    for mark in ("x2", "x3", "x4", "x8"):
        stem = stem.replace(mark, "")
    return stem


def cut_all(
    refs: Sequence[PictureRef], out: Path, config: CropsConfig, *, workers: int = 1, resume: bool = False
) -> Iterator[tuple[PictureRef, Cut | PictureError]]:
    """Cut pictures into `out`/NAME_s001.png and on; gives what became of each.

    Windows appear whole or not at all, and `resume` does what is missing. Raises UsageError, before anything is
    written, when the folder holds something or was begun with other settings, or when two pictures have one name.
    """
    _refuse_equal_names(refs)
    _begin(out, config, resume)
    return for_each(partial(cut_picture, out=out, config=config), refs, workers=workers)


def cut_picture(ref: PictureRef, *, out: Path, config: CropsConfig) -> Cut:
    """Cut one picture: 8 or 16 bits, gray, RGB and alpha as they are, upright, as PNG. Raises PictureError."""
    stem = sub_image_stem(ref.stem)
    with open_ref(ref) as reader:
        height, width = reader.info.height, reader.info.width
        versions = _versions(height, width, config)
        names = [
            out / f"{stem}{suffix}_s{number:03d}.png"
            for suffix, size in versions
            for number in range(1, len(_windows(size, config)) + 1)
        ]
        small = min(height, width) < config.size
        if all(name.exists() for name in names):
            return Cut(windows=len(names), there_before=True, smaller_than_size=small)
        pixels = reader.read_rows(0, height)
    missing = iter(names)
    for _, size in versions:
        version = pixels if size == (height, width) else resample_array(pixels, size)
        for top, left in _windows(size, config):
            name = next(missing)
            if not name.exists():
                _write(version[top : top + config.size, left : left + config.size], name, config.compression)
    return Cut(windows=len(names), smaller_than_size=small)


def _versions(height: int, width: int, config: CropsConfig) -> list[tuple[str, tuple[int, int]]]:
    """The picture and, with `multiscale`, its smaller forms: suffix of the name, and size (H, W).

    The last of them, whose short side is 400 pixels, only where it does not enlarge: an enlarged picture is no truth.
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


def _windows(size: tuple[int, int], config: CropsConfig) -> list[tuple[int, int]]:
    rows, columns = (window_starts(side, config.size, config.step, config.threshold) for side in size)
    return [(top, left) for top in rows for left in columns]


def _write(pixels: Pixels, path: Path, compression: int) -> None:
    gray, deep = pixels.shape[2] < 3, pixels.dtype == np.uint16
    image = vips().Image.new_from_array(np.ascontiguousarray(pixels))
    image = image.copy(interpretation=("grey16" if gray else "rgb16") if deep else ("b-w" if gray else "srgb"))
    temporary = choose_temporary_name(path)
    try:
        temporary.write_bytes(image.pngsave_buffer(compression=compression, filter="sub"))
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise PictureError(f"{path}: cannot be written: {error.strerror}.") from None


def _begin(out: Path, config: CropsConfig, resume: bool) -> None:
    """Make the folder, with the settings in it, or find that it can be gone on with."""
    settings = out / SETTINGS_FILE
    if os.path.lexists(out) and not out.is_dir():
        raise UsageError(f"{out} is a file; give a folder.", field="output")
    if out.is_dir() and any(out.iterdir()):
        if not resume:
            raise UsageError(f"{out} is not empty. Choose another, or continue in it with `resume`.", field="output")
        try:
            before = CropsConfig(**json.loads(settings.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
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
        settings.write_text(config.model_dump_json() + "\n", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot create the folder {out} ({error.strerror}).", field="output") from None


def _describe(config: CropsConfig) -> str:
    multiscale = ", multiscale" if config.multiscale else ""
    return f"size {config.size}, step {config.step}, threshold {config.threshold}{multiscale}"


def _refuse_equal_names(refs: Sequence[PictureRef]) -> None:
    """Two pictures whose windows would have the same names, of which the later would replace the earlier."""
    taken: dict[str, PictureRef] = {}
    for ref in refs:
        name = sub_image_stem(ref.stem).casefold()
        if (other := taken.setdefault(name, ref)) is not ref:
            raise UsageError(f"{other} and {ref} would give crops of the same names: cut them into different folders.")
