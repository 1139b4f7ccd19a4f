"""The table of formats says what is true of each."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pictures import ramp
from tessera.images.formats import (
    FORMATS,
    find_format,
    is_picture_name,
    list_readable_extensions,
    list_writable_formats,
)
from tessera.images.picture import Picture, read_picture
from tessera.images.writer import write_picture


def test_each_extension_belongs_to_one_format_and_can_be_read() -> None:
    extensions = [extension for form in FORMATS for extension in form.extensions]
    assert len(extensions) == len(set(extensions))
    assert set(extensions) <= list_readable_extensions()
    assert all(extension == extension.lower() and extension.startswith(".") for extension in list_readable_extensions())


@pytest.mark.parametrize(
    ("extension", "name"),
    [(extension, form.name) for form in list_writable_formats() for extension in form.extensions],
)
def test_every_extension_is_written_in_its_format_and_read_back(tmp_path: Path, extension: str, name: str) -> None:
    for suffix in (extension, extension.upper()):
        pixels = ramp(20, 24, 1 if extension == ".pgm" else 3)
        write_picture(Picture(pixels), tmp_path / f"a{suffix}")
        again = read_picture(tmp_path / f"a{suffix}")
        assert again.info is not None
        assert again.info.format_name == name
        assert again.info.notes == ()
        assert again.pixels.shape[:2] == (20, 24)


@pytest.mark.parametrize("form", list_writable_formats(), ids=lambda form: form.name)
def test_depth_and_alpha_are_as_the_table_says(tmp_path: Path, form: object) -> None:
    named = next(each for each in list_writable_formats() if each is form)
    path = tmp_path / f"a{'.pam' if named.name == 'PPM' else named.extensions[0]}"
    pixels = ramp(32, 32, 4, np.uint16)
    pixels[:16, :16, 3] = 0
    write_picture(Picture(pixels), path)
    again = read_picture(path)
    assert again.info is not None
    assert again.info.depth == (16 if named.deepest > 8 else 8)
    assert again.info.has_alpha is named.alpha
    levels = len(np.unique(again.pixels[..., 0]))
    assert (levels > 256) is (named.deepest > 8)


@pytest.mark.parametrize("form", list_writable_formats(), ids=lambda form: form.name)
def test_the_estimate_of_a_photographs_size_is_not_too_small(tmp_path: Path, form: object) -> None:
    named = next(each for each in list_writable_formats() if each is form)
    rng = np.random.default_rng(0)
    pixels = np.clip(ramp(256, 256).astype(float) + rng.normal(0, 6, (256, 256, 3)), 0, 255).astype(np.uint8)
    path = tmp_path / f"a{named.extensions[0]}"
    write_picture(Picture(pixels), path)
    assert path.stat().st_size <= pixels.size * named.bytes_per_sample + 2**16


def test_the_levels_of_alpha_and_the_colors_are_as_the_table_says(tmp_path: Path) -> None:
    pixels = ramp(64, 64, 4)
    pixels[..., 3] = np.linspace(0, 255, 64)[None, :]
    for form in list_writable_formats():
        if form.alpha:
            path = tmp_path / f"a{'.pam' if form.name == 'PPM' else form.extensions[0]}"
            write_picture(Picture(pixels), path)
            levels = len(np.unique(read_picture(path).pixels[..., 3]))
            assert levels <= 2 if form.alpha_levels == 2 else levels > 40
    many = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    for form in list_writable_formats():
        path = tmp_path / f"b{form.extensions[0]}"
        write_picture(Picture(many), path)
        colors = len(np.unique(read_picture(path).pixels[..., :3].reshape(-1, 3), axis=0))
        assert colors <= form.colors if form.colors is not None else colors > 1000


def test_names_without_a_writable_extension_have_no_format() -> None:
    for name in ("a", "a.bmp", "a.heic", "a.jpg.txt", ".jpg", "a.", "a.jpg ", ""):
        assert find_format(Path(name)) is None
    for name in ("a.b.JPG", "-.jpeg", "a b.Jpe"):
        form = find_format(Path(name))
        assert form is not None
        assert form.name == "JPEG"


def test_a_folder_walk_takes_pictures_by_name_and_leaves_hidden_files() -> None:
    assert is_picture_name(Path("x/a.HEIC"))
    assert is_picture_name(Path("x/a.Png"))
    for name in ("x/.a.png", "x/desktop.ini", "x/a", "x/a.png.part", "x/.DS_Store", "x/Thumbs.db"):
        assert not is_picture_name(Path(name))
