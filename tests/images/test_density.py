"""The physical density (dpi) of a file: kept if it declares one, never invented. Expected values come from Pillow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pictures import chunk, png_chunks, png_with_chunks, ramp, save
from tessera.images.picture import read_picture
from tessera.images.writer import write_picture

INPUTS = ("png", "jpg", "tif", "webp", "avif", "bmp")
OUTPUTS = ("png", "jpg", "tif", "webp", "avif")
NO_UNIT = 1
INCH = 2
PER_INCH = 1
"""Units in TIFF and EXIF, and in JFIF."""


def save_with_pillow(path: Path, dpi: tuple[float, float] | None, *, artist: str = "") -> Path:
    """A file with this density where its format has a place for one: in the container, else in EXIF."""
    exif = Image.Exif()
    if artist:
        exif[0x13B] = artist
    options: dict[str, Any] = {}
    if dpi is not None and path.suffix in (".webp", ".avif"):
        exif[282], exif[283], exif[296] = dpi[0], dpi[1], INCH
    elif dpi is not None:
        options["dpi"] = dpi
    if len(exif) and path.suffix != ".bmp":
        options["exif"] = exif
    if path.suffix == ".webp":
        options["lossless"] = True
    Image.fromarray(ramp(20, 30)).save(path, **options)
    return path


def read_dpi(path: Path) -> tuple[float, float] | None:
    """The density that Pillow finds in the container, or in the EXIF of formats that have no other place."""
    with Image.open(path) as image:
        tags = image.getexif()
        if path.suffix in (".png", ".bmp", ".tif"):
            return image.info.get("dpi")
        if 282 not in tags:
            return image.info["jfif_density"] if image.info.get("jfif_unit") == PER_INCH else None
        assert tags[296] == INCH
        return float(tags[282]), float(tags[283])


def copy(source: Path, suffix: str) -> Path:
    output = source.with_name(f"out.{suffix}")
    write_picture(read_picture(source), output)
    return output


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("source", INPUTS)
def test_a_picture_without_density_gets_none(tmp_path: Path, source: str, output: str) -> None:
    path = save_with_pillow(tmp_path / f"in.{source}", None)
    if source == "bmp":  # Pillow writes 96 per inch into every BMP
        data = bytearray(path.read_bytes())
        data[38:46] = bytes(8)
        path.write_bytes(data)
    assert read_picture(path).metadata.density is None
    copied = copy(path, output)
    assert read_dpi(copied) is None
    if output == "png":
        assert b"pHYs" not in dict(png_chunks(copied.read_bytes()))
    if output == "tif":
        with Image.open(copied) as image:
            assert image.getexif()[296] == NO_UNIT


@pytest.mark.parametrize("dpi", [(72, 72), (300, 150)])
@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("source", INPUTS)
def test_a_density_stays_the_same(tmp_path: Path, source: str, output: str, dpi: tuple[float, float]) -> None:
    path = save_with_pillow(tmp_path / f"in.{source}", dpi)
    assert read_dpi(copy(path, output)) == pytest.approx(dpi, rel=1e-3)


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("source", ["png", "jpg", "webp", "avif"])
def test_exif_gets_no_resolution_and_no_color_space_that_it_lacked(tmp_path: Path, source: str, output: str) -> None:
    path = save_with_pillow(tmp_path / f"in.{source}", None, artist="Ann")
    with Image.open(copy(path, output)) as image:
        tags = image.getexif()
        assert tags[0x13B] == "Ann"
        assert 0xA001 not in tags.get_ifd(0x8769)
        if output == "tif":
            assert tags[296] == NO_UNIT
        else:
            assert not {282, 283, 296} & set(tags)


def test_exif_keeps_the_resolution_and_the_color_space_that_it_had(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[282], exif[283], exif[296] = 240.0, 120.0, INCH
    exif.get_ifd(0x8769)[0xA001] = 1
    Image.fromarray(ramp(20, 30)).save(tmp_path / "in.jpg", exif=exif)
    for output in OUTPUTS:
        with Image.open(copy(tmp_path / "in.jpg", output)) as image:
            assert image.getexif().get_ifd(0x8769)[0xA001] == 1
        assert read_dpi(tmp_path / f"out.{output}") == pytest.approx((240, 120), rel=1e-3)


def test_an_aspect_ratio_in_a_png_is_not_a_density(tmp_path: Path) -> None:
    path = save(tmp_path / "in.png", ramp(20, 30), keep="none")
    plain = b"".join(
        [b"\x89PNG\r\n\x1a\n", *(chunk(kind, body) for kind, body in png_chunks(path.read_bytes()) if kind != b"pHYs")]
    )
    path.write_bytes(png_with_chunks(plain, chunk(b"pHYs", bytes((0, 0, 0, 2, 0, 0, 0, 1, 0)))))
    assert read_picture(path).metadata.density is None
    assert read_dpi(copy(path, "png")) is None
