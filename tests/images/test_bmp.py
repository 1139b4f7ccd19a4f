"""BMP: every kind of pixels against Pillow, which writes and reads them independently."""

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tessera import read_picture
from tessera.errors import PictureError, TesseraError
from tessera.images.reader import PictureReader


def textures(height: int, width: int, channels: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


def bmp(bits: int, pixels: bytes, width: int, height: int, *, compression: int = 0, extra: bytes = b"") -> bytes:
    """A file with the header that this kind has; `extra` is what follows it (masks, palette)."""
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, compression, len(pixels), 0, 0, 0, 0)
    offset = 14 + len(header) + len(extra)
    return struct.pack("<2sIHHI", b"BM", offset + len(pixels), 0, 0, offset) + header + extra + pixels


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB"])
@pytest.mark.parametrize("size", [(1, 1), (5, 3), (31, 17), (64, 40)])
def test_what_pillow_writes_is_read_as_pillow_reads_it(mode, size, tmp_path):
    picture = Image.fromarray(textures(size[1], size[0], 3)).convert(mode)
    picture.save(tmp_path / "a.bmp")
    expected = np.array(Image.open(tmp_path / "a.bmp").convert("L" if mode in ("1", "L") else "RGB"))
    np.testing.assert_array_equal(read_picture(tmp_path / "a.bmp").pixels, expected)


def test_rows_come_from_the_top_in_any_portions(tmp_path):
    pixels = textures(37, 13, 3)
    Image.fromarray(pixels).save(tmp_path / "a.bmp")
    with PictureReader(tmp_path / "a.bmp") as reader:
        parts = [reader.read_rows(first, min(5, 37 - first)) for first in range(0, 37, 5)]
        reader.rewind()
        assert reader.read_rows(0, 1).tolist() == pixels[:1].tolist()
    np.testing.assert_array_equal(np.concatenate(parts), pixels)


def test_rows_stored_from_the_top_down(tmp_path):
    pixels = textures(4, 3, 3)
    stored = b"".join(row[:, ::-1].tobytes() + bytes(3) for row in pixels)
    (tmp_path / "a.bmp").write_bytes(bmp(24, stored, 3, -4))
    np.testing.assert_array_equal(read_picture(tmp_path / "a.bmp").pixels, pixels)


def test_16_bits_with_masks(tmp_path):
    masks = struct.pack("<III", 0xF800, 0x07E0, 0x001F)
    stored = struct.pack("<HH", 0xFFFF, (31 << 11) | (32 << 5)) + struct.pack("<HH", 0, 31)
    (tmp_path / "a.bmp").write_bytes(bmp(16, stored, 2, 2, compression=3, extra=masks))
    expected = [[[0, 0, 0], [0, 0, 255]], [[255, 255, 255], [255, 130, 0]]]
    assert read_picture(tmp_path / "a.bmp").pixels.tolist() == expected


def test_32_bits_without_alpha_are_rgb_and_with_it_rgba(tmp_path):
    stored = bytes((1, 2, 3, 0, 4, 5, 6, 9))
    (tmp_path / "a.bmp").write_bytes(bmp(32, stored, 2, 1))
    assert read_picture(tmp_path / "a.bmp").pixels.tolist() == [[[3, 2, 1], [6, 5, 4]]]
    masks = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    (tmp_path / "b.bmp").write_bytes(bmp(32, stored, 2, 1, compression=6, extra=masks))
    assert read_picture(tmp_path / "b.bmp").pixels.tolist() == [[[3, 2, 1, 0], [6, 5, 4, 9]]]


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (bmp(8, bytes(16), 4, 4, compression=1, extra=bytes(1024)), "compressed with RLE"),
        (bmp(24, bytes(10), 4, 4), "cut short"),
        (bmp(24, b"", 0, 4), "0x4"),
        (bmp(7, bytes(64), 4, 4), "7 bits"),
        (bmp(8, bytes(16), 4, 4), "no palette"),
        (bmp(24, bytes(10), 2**31 - 1, 2**31 - 1), "cut short"),
        (bmp(24, bytes(48), 4, 4)[:40], "cut short"),
    ],
)
def test_damaged_files_get_a_sentence(data, sentence, tmp_path):
    (tmp_path / "a.bmp").write_bytes(data)
    with pytest.raises(PictureError, match=sentence):
        read_picture(tmp_path / "a.bmp")


@given(st.data())
def test_no_damage_is_more_than_a_sentence(tmp_path_factory, data):
    file = io.BytesIO()
    kind = data.draw(st.sampled_from(["1", "L", "P", "RGB"]))
    Image.fromarray(textures(9, 7, 3)).convert(kind).save(file, "BMP")
    damaged = bytearray(file.getvalue())
    for _ in range(data.draw(st.integers(1, 6))):
        damaged[data.draw(st.integers(2, min(70, len(damaged) - 1)))] = data.draw(st.integers(0, 255))
    path: Path = tmp_path_factory.mktemp("bmp") / "a.bmp"
    path.write_bytes(bytes(damaged[: data.draw(st.integers(1, len(damaged)))]))
    try:
        pixels = read_picture(path).pixels
    except TesseraError:
        return
    assert pixels.dtype == np.uint8
