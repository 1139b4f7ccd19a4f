"""Each format is declared once: a toy added to the tuple is found, read, upscaled, written and listed in help texts."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from typer.testing import CliRunner

from pictures import ramp
from stand_ins import FunctionEngine, nearest, repeated
from tessera.dataset.sources import list_pictures
from tessera.errors import LimitError, PictureError
from tessera.images import formats
from tessera.images.formats import FORMATS, describe_extensions, describe_qualities, is_picture_name, recognize_format
from tessera.images.libvips import read_image_rows
from tessera.images.metadata import Metadata
from tessera.images.picture import read_picture
from tessera.images.picture_format import (
    MetadataKind,
    OpenPicture,
    PictureFormat,
    PictureInfo,
    ReadOptions,
    SaveOptions,
)
from tessera.images.writer import write_picture
from tessera.upscaling.upscaler import Upscaler

DOCS = Path(__file__).parents[2] / "docs"


# --- the toy: "TOY", height and width as one byte each, RGB bytes, optional quality byte at the end ----------------


def _matches(start: bytes) -> bool:
    return start[:3] == b"TOY"


def _open(path: Path, options: ReadOptions) -> OpenPicture:
    data = path.read_bytes()
    height, width = data[3], data[4]
    options.limits.check_input(path, height, width)
    if len(data) < 6 + height * width * 3:
        raise PictureError(f"{path}: is cut short.")
    pixels = np.frombuffer(data, np.uint8, height * width * 3, 5).reshape(height, width, 3)
    info = PictureInfo(
        name=path.name, format_name="TOY", height=height, width=width, channels=3, depth=8, color_space="sRGB"
    )
    return OpenPicture(info=info, metadata=Metadata(), read_rows=lambda first, count: pixels[first : first + count])


def _save(image: Any, path: Path, options: SaveOptions) -> None:
    rows = b"".join(rows.tobytes() for rows in read_image_rows(image))
    path.write_bytes(b"TOY" + bytes((options.height, options.width)) + rows + bytes((options.quality or 0,)))


TOY = PictureFormat(
    name="TOY",
    extensions=(".toy",),
    matches=_matches,
    open=_open,
    save=_save,
    quality=77,
    alpha=False,
    longest_side=255,
)


def encode_toy(pixels: np.ndarray) -> bytes:
    height, width = pixels.shape[:2]
    return b"TOY" + bytes((height, width)) + pixels.tobytes() + b"\x00"


@pytest.fixture
def _toy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "FORMATS", (*FORMATS, TOY))


@pytest.mark.usefixtures("_toy")
def test_a_toy_file_is_found_recognized_and_read(tmp_path: Path) -> None:
    pixels = ramp(7, 9)
    (tmp_path / "a.toy").write_bytes(encode_toy(pixels))
    (tmp_path / "b.png").write_bytes(encode_toy(pixels))
    assert is_picture_name(Path("a.TOY"))
    assert recognize_format(b"TOY..") is TOY
    assert [Path(ref.place).name for ref in list_pictures([tmp_path]).gt] == ["a.toy", "b.png"]
    picture = read_picture(tmp_path / "a.toy")
    assert np.array_equal(picture.pixels, pixels)
    assert picture.info is not None
    assert picture.info.format_name == "TOY"
    misnamed = read_picture(tmp_path / "b.png").info
    assert misnamed is not None
    assert misnamed.notes == ("Its name says PNG but it is a TOY file.",)


@pytest.mark.usefixtures("_toy")
@pytest.mark.parametrize("quality", [None, 5])
def test_a_toy_file_is_upscaled_and_written(tmp_path: Path, quality: int | None) -> None:
    pixels = ramp(7, 9)
    (tmp_path / "a.toy").write_bytes(encode_toy(pixels))
    upscaler = Upscaler(nearest(4), engine=FunctionEngine(repeated(4)), quality=quality)
    upscaler.upscale_file(tmp_path / "a.toy", tmp_path / "out.toy")
    data = (tmp_path / "out.toy").read_bytes()
    assert data[:5] == b"TOY" + bytes((28, 36))
    assert data[5:-1] == pixels.repeat(4, axis=0).repeat(4, axis=1).tobytes()
    assert data[-1] == (quality or 77)


@pytest.mark.usefixtures("_toy")
def test_what_the_toy_cannot_hold_is_converted_or_refused(tmp_path: Path) -> None:
    transparent = np.zeros((4, 4, 4), np.uint16)
    write_picture(transparent, tmp_path / "white.toy")
    assert read_picture(tmp_path / "white.toy").pixels.tolist() == [[[255] * 3] * 4] * 4
    with pytest.raises(LimitError, match="TOY allows at most 255 pixels per side"):
        write_picture(np.zeros((2, 256, 3), np.uint8), tmp_path / "wide.toy")
    assert [path.name for path in tmp_path.iterdir()] == ["white.toy"]


@pytest.mark.usefixtures("_toy")
def test_help_texts_name_the_toy() -> None:
    assert describe_extensions().endswith("gif, ppm or toy")
    assert describe_qualities() == "JPEG (95), WebP (95), AVIF (90) and TOY (77)"


# --- the documentation ----------------------------------------------------------------------------------------------


def test_the_help_of_upscale_lists_the_formats() -> None:
    from tessera.cli.upscale import app

    words = " ".join(CliRunner().invoke(app, ["--help"], env={"COLUMNS": "300"}).output.split())
    assert "jpg, png, webp, tif, avif, gif or ppm" in words
    assert "JPEG (95), WebP (95) and AVIF (90)" in words


def read_table() -> dict[str, dict[str, str]]:
    """The table of formats in the documentation: row -> format -> cell."""
    text = (DOCS / "howto" / "formats.md").read_text(encoding="utf-8")
    lines = text[text.index("| | JPEG |") :].split("\n\n")[0].splitlines()
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    return {row[0]: dict(zip(cells[0][1:], row[1:], strict=True)) for row in cells[2:]}


@pytest.mark.parametrize("form", [form for form in FORMATS if form.save is not None], ids=lambda form: form.name)
def test_the_table_in_the_documentation_says_what_the_declaration_says(form: PictureFormat) -> None:
    cells = {row: by_format[form.name] for row, by_format in read_table().items()}
    assert cells["bits per channel"].split()[0] == ("8" if form.colors else str(form.deepest))
    assert cells["alpha"].startswith("no" if not form.alpha else "on or off" if form.alpha_levels == 2 else "yes")
    assert cells["gray stays one channel"] == ("yes" if form.gray else "no")
    assert cells["ICC"] == ("yes" if "ICC profile" in form.metadata else "converted to sRGB")
    rows = {
        "texts with keywords": "texts with keywords (PNG)",
        "gain map": "gain map (Ultra HDR)",
        "georeference": "georeference (GeoTIFF)",
        "color coding": "color coding (CICP)",
    }
    for kind in set(get_args(MetadataKind)) - {"ICC profile", "ICC profile of gray"}:
        assert cells[rows.get(str(kind), str(kind))] == ("yes" if kind in form.metadata else "no")
    assert cells["all frames (`--frames`)"] == ("yes" if form.animated else "")
    assert cells["pixels per side, at most"] == f"{form.longest_side:,}"
    assert cells["default `--quality`"] == ("" if form.quality is None else str(form.quality))
    assert cells["written row by row"] == ("no" if form.whole_in_memory else "yes")


def test_the_documentation_lists_every_format_that_is_read_or_written() -> None:
    text = (DOCS / "howto" / "formats.md").read_text(encoding="utf-8")
    readable = [form.name for form in FORMATS if form.save is not None or not form.hint]
    assert all(name in text for name in readable)
