"""Animations: each frame is turned by itself, and frames that are left out are named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from tessera.images.reader import PictureReader


def animation(path: Path, orientation: int, *, frames: int = 3, size: tuple[int, int] = (21, 34)) -> list[Image.Image]:
    """Save an animated WebP with an orientation -> its frames as stored; each has its own color and position."""
    stored: list[Image.Image] = []
    for number in range(frames):
        pixels = np.full((*size, 3), 255, np.uint8)
        pixels[3:10, 2 + 8 * number : 7 + 8 * number] = np.eye(3, dtype=np.uint8)[number % 3] * 200
        stored.append(Image.fromarray(pixels))
    exif = Image.Exif()
    exif[0x112] = orientation
    stored[0].save(
        path,
        save_all=True,
        append_images=stored[1:],
        duration=[100, 200, 300][:frames],
        exif=exif,
        lossless=True,
        minimize_size=False,
    )
    return stored


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_orientation_turns_each_frame_by_itself(tmp_path: Path, orientation: int) -> None:
    """The expected frames are Pillow's, turned by its own table of orientations (EXIF 2.32, 4.6.4)."""
    stored = animation(tmp_path / "a.webp", orientation)
    expected: list[np.ndarray] = []
    for frame in stored:
        frame.getexif()[0x112] = orientation
        expected.append(np.asarray(ImageOps.exif_transpose(frame)))
    with PictureReader(tmp_path / "a.webp", frames=True) as reader:
        assert (reader.info.height, reader.info.width) == expected[0].shape[:2]
        assert reader.info.frames == 3
        pixels = reader.read_rows(0, reader.height)[..., :3]
    assert np.array_equal(pixels, np.concatenate(expected))


def test_a_turned_animation_keeps_its_delays(tmp_path: Path) -> None:
    animation(tmp_path / "a.webp", 6)
    with PictureReader(tmp_path / "a.webp", frames=True) as reader:
        delays = {field.name: field.value for field in reader.metadata.animation}
    assert delays["delay"] == [100, 200, 300]
