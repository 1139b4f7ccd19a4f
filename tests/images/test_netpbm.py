"""PPM, PGM, PBM and PAM as netpbm's manual pages describe them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pictures import random_pixels
from tessera.errors import PictureError
from tessera.images.codecs import netpbm
from tessera.images.formats import recognize_format
from tessera.images.picture import read_picture
from tessera.images.reader import PictureReader


def written(folder: Path, content: bytes, name: str = "a.ppm") -> Path:
    (folder / name).write_bytes(content)
    return folder / name


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"P1\n3 2\n1 0 1\n0 1 0\n", [[0, 255, 0], [255, 0, 255]]),
        (b"P1 3 2 101010", [[0, 255, 0], [255, 0, 255]]),
        (b"P1\n# a comment 1 1\n3 2\n1 0 1 # 111\n0 1 0\n", [[0, 255, 0], [255, 0, 255]]),
        (b"P4\n3 2\n\xa0\x40", [[0, 255, 0], [255, 0, 255]]),
        (b"P4 9 1\n\x00\x80", [[255] * 8 + [0]]),
        (b"P2\n2 1\n15\n0 15\n", [[0, 255]]),
        (b"P2\n2 1\n255\n7 255", [[7, 255]]),
        (b"P2\n2 1\n65535\n256 65535", [[256, 65_535]]),
        (b"P2\n2 1\n1000\n500 1000", [[32_768, 65_535]]),
        (b"P5\n2 1\n255\n\x07\xff", [[7, 255]]),
        (b"P5 2 1 1\n\x00\x01", [[0, 255]]),
        (b"P5\n2 1\n100\n\x32\x64", [[128, 255]]),
        (b"P5\n2 1\n65535\n\x01\x00\xff\xff", [[256, 65_535]]),
        (b"P5\n#one\n2#two\n1\n#three\n255\n\x07\xff", [[7, 255]]),
        (b"P5\r\n2 1\r255\n\x07\xff", [[7, 255]]),
        (b"P5\n2 1\n255\n#\n", [[35, 10]]),
        (b"P3\n1 1\n255\n1 2 3", [[[1, 2, 3]]]),
        (b"P6\n1 1\n255\n\x01\x02\x03", [[[1, 2, 3]]]),
        (b"P6\n1 1\n256\n\x00\x00\x00\x80\x01\x00", [[[0, 32_768, 65_535]]]),
        (b"P7\nWIDTH 1\nHEIGHT 1\nDEPTH 4\nMAXVAL 255\nTUPLTYPE RGB_ALPHA\nENDHDR\n\x01\x02\x03\x04", [[[1, 2, 3, 4]]]),
        (b"P7\n# hi\nHEIGHT 1\nWIDTH 1\nMAXVAL 1\nDEPTH 1\nTUPLTYPE BLACKANDWHITE\nENDHDR\n\x01", [[255]]),
        (b"P7\nWIDTH 1\nHEIGHT 1\nDEPTH 2\nMAXVAL 65535\nENDHDR\n\x01\x00\x02\x00", [[[256, 512]]]),
    ],
)
def test_every_kind_is_read_and_stretched_to_the_whole_range(
    tmp_path: Path, content: bytes, expected: list[object]
) -> None:
    pixels = read_picture(written(tmp_path, content)).pixels
    assert pixels.tolist() == expected
    assert pixels.dtype == (np.uint16 if np.max(pixels) > 255 else np.uint8)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"P6\n", "malformed"),
        (b"P6\nx 1 255\n", "malformed at byte 3"),
        (b"P6\n-1 1 255\n\x00", "malformed"),
        (b"P6\n99999999999 1 255\n\x00", "malformed"),
        (b"P6\n0 1 255\n\x00", "0x1"),
        (b"P6\n1 0 255\n\x00", "1x0"),
        (b"P6\n1 1 0\n\x00\x00\x00", "maximum 0"),
        (b"P6\n1 1 65536\n\x00\x00\x00", "maximum 65536"),
        (b"P6\n2 2 255\n\x00\x00\x00", "cut short: 2x2 needs 12 bytes"),
        (b"P6\n9999999999 9999999999 255\n\x00", "cut short"),
        (b"P4\n17 2\n\x00\x00\x00", "needs 6 bytes"),
        (b"P3\n1 1\n255\n1 2 x", "text other than numbers"),
        (b"P3\n1 1\n255\n1 2    ", "3 samples expected, 2 found"),
        (b"P3\n1 1\n255\n1 -2 3", "numbers"),
        (b"P2\n1 1\n255\n999999999999999999999999", "numbers"),
        (b"P2\n1 1\n255\n1_0", "numbers"),
        (b"P1\n3 1\n1 x", "text other than numbers"),
        (b"P1\n3 1\n1 2 1", "numbers other than 0 and 1"),
        (b"P1\n3 1\n1 1 ", "3 samples expected, 2 found"),
        (b"P7\nWIDTH 1\nHEIGHT 1\nDEPTH 4\nMAXVAL 255\n", "PAM header is malformed"),
        (b"P7\nWIDTH 1\nHEIGHT 1\nMAXVAL 255\nENDHDR\n\x00", "PAM header is malformed"),
        (b"P7\nWIDTH 1\nHEIGHT 1\nDEPTH 5\nMAXVAL 255\nENDHDR\n" + b"\x00" * 9, "DEPTH 1 to 4"),
        (b"P7\nWIDTH -1\nHEIGHT 1\nDEPTH 1\nMAXVAL 255\nENDHDR\n\x00", "-1x1"),
        (b"P7\nWIDTH " + b"9" * 5000 + b"\nENDHDR\n\x00", "malformed"),
        (b"P5\n#" + b"c" * 9000 + b"\n1 1\n255\n\x00", "malformed"),
    ],
    ids=lambda value: repr(value[:24]) if isinstance(value, bytes) else "",
)
def test_a_malformed_file_is_one_sentence(tmp_path: Path, content: bytes, words: str) -> None:
    path = written(tmp_path, content)
    with pytest.raises(PictureError) as caught:
        read_picture(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_1_bit_file_says_that_it_was_expanded(tmp_path: Path) -> None:
    for content in (b"P4\n3 2\n\xa0\x40", b"P1 3 2 101010"):
        info = read_picture(written(tmp_path, content)).info
        assert info is not None
        assert info.notes == ("Its 1-bit pixels were expanded to 8 bits.",)


def test_another_formats_name_is_noted(tmp_path: Path) -> None:
    info = read_picture(written(tmp_path, b"P5\n2 1\n255\n\x07\xff", "a.jpg")).info
    assert info is not None
    assert info.notes == ("Its name says JPEG but it is a PPM file.",)


def test_what_only_begins_like_netpbm_is_not_taken_for_it() -> None:
    for start in (b"P", b"P6", b"P8\n", b"P6x", b"PK\x03\x04", b"P0 "):
        assert recognize_format(start) is not netpbm.NETPBM
    for start in (b"P6#", b"P1\t", b"P7\n", b"P3\r", b"P5 "):
        assert recognize_format(start) is netpbm.NETPBM


def test_trailing_bytes_are_left_alone(tmp_path: Path) -> None:
    assert read_picture(written(tmp_path, b"P5\n2 1\n255\n\x07\xffmore")).pixels.tolist() == [[7, 255]]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    height=st.integers(1, 20),
    width=st.integers(1, 20),
    channels=st.sampled_from((1, 3)),
    maximum=st.sampled_from((1, 7, 100, 255, 256, 1000, 65_535)),
    seed=st.integers(0, 999),
)
def test_the_plain_and_the_raw_form_are_the_same_picture(
    tmp_path: Path, height: int, width: int, channels: int, maximum: int, seed: int
) -> None:
    values = np.random.default_rng(seed).integers(0, maximum, (height, width, channels), endpoint=True)
    head = b"\n%d %d\n%d\n" % (width, height, maximum)
    plain = written(tmp_path, b"P%d" % (2 if channels == 1 else 3) + head + " ".join(map(str, values.ravel())).encode())
    raw_type = ">u2" if maximum > 255 else "u1"
    raw = written(tmp_path, b"P%d" % (5 if channels == 1 else 6) + head + values.astype(raw_type).tobytes(), "b.ppm")
    one, other = read_picture(plain).pixels, read_picture(raw).pixels
    assert np.array_equal(one, other)
    full = 255 if maximum < 256 else 65_535
    assert np.array_equal(one.reshape(values.shape), (2 * values * full + maximum) // (2 * maximum))


def test_a_plain_file_of_several_megabytes_is_read_in_pieces(tmp_path: Path) -> None:
    values = random_pixels(700, 700, 3, np.uint8)
    text = " ".join(map(str, values.ravel().tolist())).encode()
    assert len(text) > 4 * 2**20
    assert np.array_equal(read_picture(written(tmp_path, b"P3\n700 700\n255\n" + text)).pixels, values)
    lines = text.replace(b" ", b"\n").replace(b"\n7\n", b" # seven 8 9\n7\n", 50)
    assert np.array_equal(read_picture(written(tmp_path, b"P3\n700 700\n255\n" + lines)).pixels, values)
    with pytest.raises(PictureError, match="numbers"):
        read_picture(written(tmp_path, b"P2\n4 4\n255\n" + b"1" * (6 * 2**20)))


def test_a_header_written_is_a_header_read(tmp_path: Path) -> None:
    for channels in (1, 2, 3, 4):
        for dtype in (np.dtype(np.uint8), np.dtype(np.uint16)):
            pixels = random_pixels(3, 5, channels, dtype)
            path = written(tmp_path, netpbm.encode_header(3, 5, channels, dtype) + netpbm.encode_pixels(pixels))
            header = netpbm.read_header(path)
            assert (header.height, header.width, header.channels, header.dtype) == (3, 5, channels, dtype)
            with PictureReader(path) as reader:
                assert np.array_equal(reader.read_rows(1, 2), pixels[1:])


def test_a_plain_file_is_parsed_once_for_all_its_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, b"P2\n4 50\n255\n" + b"7 " * 200)
    calls: list[int] = []
    original = Path.open

    def count(self: Path, *arguments: Any, **options: Any) -> Any:
        calls.append(1)
        return original(self, *arguments, **options)

    with PictureReader(path) as reader:
        monkeypatch.setattr(Path, "open", count)
        reader.measure_ranges()
        reader.measure_ranges()
    assert len(calls) == 1


def test_a_file_that_shrinks_while_it_is_read_is_one_sentence(tmp_path: Path) -> None:
    path = written(tmp_path, b"P5\n10 10\n255\n" + b"x" * 100)
    with PictureReader(path) as reader:
        reader.read_rows(0, 5)
        path.write_bytes(path.read_bytes()[:60])
        with pytest.raises(PictureError, match="cut short at row 5 of 10"):
            reader.read_rows(5, 5)
