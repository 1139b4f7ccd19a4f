"""GeoTIFF tags of a picture of another size, computed here from the definition of raster space."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2, TiffImageFile
from PIL.TiffTags import ASCII, DOUBLE, SHORT

from pictures import ramp
from stand_ins import FunctionEngine, nearest, repeated
from tessera import Upscaler

SCALE, TIE_POINTS, TRANSFORMATION, KEYS, TEXTS, NO_DATA = 33550, 33922, 34264, 34735, 34737, 42113
AREA, POINT = 1, 2


def geo_tiff(path: Path, tags: dict[int, Any], raster_type: int) -> Path:
    directory = ImageFileDirectory_v2()
    directory[KEYS] = (1, 1, 0, 2, 1024, 0, 1, 1, 1025, 0, 1, raster_type)
    directory.tagtype[KEYS] = SHORT
    for tag, value in {TEXTS: "WGS 84|", NO_DATA: "0", **tags}.items():
        directory[tag] = value
        directory.tagtype[tag] = ASCII if isinstance(value, str) else DOUBLE
    Image.fromarray(ramp(30, 40)).save(path, tiffinfo=directory)
    return path


def upscale(source: Path, output: Path, **settings: Any) -> tuple[str, ...]:
    return Upscaler(nearest(), engine=FunctionEngine(repeated()), **settings).upscale_file(source, output).notes


def locate(tags: Any, column: float, row: float, raster_type: int) -> tuple[float, float]:
    """Where the corner (column, row) of a pixel lies on Earth (GeoTIFF 1.1, section 7.1)."""
    shift = 0.5 if raster_type == POINT else 0.0
    column, row = column - shift, row - shift
    if TRANSFORMATION in tags:
        matrix = np.array(tags[TRANSFORMATION]).reshape(4, 4)
        x, y, *_ = matrix @ [column, row, 0, 1]
        return float(x), float(y)
    i, j, _, x, y, _ = tags[TIE_POINTS]
    across, down, _ = tags[SCALE]
    return x + (column - i) * across, y - (row - j) * down


@pytest.mark.parametrize("raster_type", [AREA, POINT])
@pytest.mark.parametrize("outscale", [None, "1.5", "0.5", "113x"])
@pytest.mark.parametrize(
    "tags",
    [
        {SCALE: (2.5, 3.0, 0.0), TIE_POINTS: (7.0, 5.0, 0.0, 440_720.0, 100_000.0, 0.0)},
        {TRANSFORMATION: (2.0, 0.5, 0.0, 100.0, -0.25, -3.0, 0.0, 900.0, *[0.0] * 4, 0.0, 0.0, 0.0, 1.0)},
    ],
)
def test_the_corners_stay_where_they_are_on_earth(
    tmp_path: Path, tags: dict[int, Any], raster_type: int, outscale: str | None
) -> None:
    notes = upscale(geo_tiff(tmp_path / "a.tif", tags, raster_type), tmp_path / "b.tif", outscale=outscale)
    assert notes == ()
    with TiffImageFile(tmp_path / "a.tif") as before, TiffImageFile(tmp_path / "b.tif") as after:
        old, new = before.tag_v2, after.tag_v2
        for column, row in ((0, 0), (1, 0), (0, 1), (1, 1)):
            expected = locate(old, column * before.width, row * before.height, raster_type)
            found = locate(new, column * after.width, row * after.height, raster_type)
            assert np.allclose(found, expected, rtol=0, atol=1e-6)
        assert new[KEYS] == old[KEYS]
        assert (new[TEXTS], new[NO_DATA]) == ("WGS 84|", "0")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
def test_other_formats_name_the_loss(tmp_path: Path, suffix: str) -> None:
    source = geo_tiff(tmp_path / "a.tif", {SCALE: (1.0, 1.0, 0.0)}, AREA)
    notes = upscale(source, tmp_path / f"b{suffix}")
    assert any("cannot carry" in note and "geo" in note.lower() for note in notes), notes


def test_tags_of_an_unexpected_form_do_not_fail_the_picture(tmp_path: Path) -> None:
    source = geo_tiff(tmp_path / "a.tif", {SCALE: (1.0, 2.0), TIE_POINTS: (1.0, 2.0, 3.0)}, AREA)
    assert upscale(source, tmp_path / "b.tif") == ()
    data = source.read_bytes()
    at = data.index(struct.pack("<H", KEYS))
    source.write_bytes(data[: at + 4] + struct.pack("<I", 2**31) + data[at + 8 :])
    upscale(source, tmp_path / "c.tif")
    with Image.open(tmp_path / "c.tif") as image:
        assert image.size == (160, 120)
