"""TIFF files with several directories, camera raw, and samples that libvips delivers as they are stored."""

from __future__ import annotations

import contextlib
import io
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from PIL import Image

from pictures import ramp
from tessera.errors import LimitError, PictureError
from tessera.images.picture import read_picture
from tessera.images.reader import PictureReader

SHORT, LONG, RATIONAL, BYTE, ASCII = 3, 4, 5, 1, 2
WORDS = {BYTE: "B", ASCII: "B", SHORT: "H", LONG: "I", RATIONAL: "II", 16: "Q"}


@dataclass
class Directory:
    """One image: its pixels as they are stored, and its tags as {tag: (type, values)}."""

    pixels: np.ndarray
    tags: Mapping[int, tuple[int, Sequence[int]]] = field(default_factory=dict[int, tuple[int, Sequence[int]]])
    below: list[Directory] = field(default_factory=list["Directory"])


def write_tiff(path: Path, pages: Sequence[Directory], *, order: Literal["<", ">"] = "<", big: bool = False) -> Path:
    """Write uncompressed images, one strip each (TIFF 6.0, section 2; BigTIFF as in libtiff)."""
    word, count_word = ("Q", "Q") if big else ("I", "H")
    body = bytearray(b"II" if order == "<" else b"MM")
    body += struct.pack(order + ("HHHQ" if big else "HI"), *((43, 8, 0, 0) if big else (42, 0)))
    link = len(body) - struct.calcsize(word)

    def put(data: bytes) -> int:
        body.extend(b"\0" * (-len(body) % 8))
        at = len(body)
        body.extend(data)
        return at

    def write(directory: Directory) -> tuple[int, int]:
        pixels = directory.pixels
        below = [write(each)[0] for each in directory.below]
        samples = 1 if pixels.ndim == 2 else pixels.shape[2]
        stored = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
        tags: dict[int, tuple[int, Sequence[int]]] = {
            256: (LONG, [pixels.shape[1]]),
            257: (LONG, [pixels.shape[0]]),
            258: (SHORT, [pixels.dtype.itemsize * 8] * samples),
            259: (SHORT, [1]),
            262: (SHORT, [2 if samples > 2 else 1]),
            273: (LONG, [put(stored)]),
            277: (SHORT, [samples]),
            278: (LONG, [pixels.shape[0]]),
            279: (LONG, [len(stored)]),
            **directory.tags,
        }
        if below:
            tags[330] = (16 if big else LONG, below)
        entries = b""
        for tag, (kind, values) in sorted(tags.items()):
            data = struct.pack(order + WORDS[kind] * (len(values) // len(WORDS[kind])), *values)
            count = len(values) // len(WORDS[kind])
            if len(data) > struct.calcsize(word):
                data = struct.pack(order + word, put(data))
            entries += struct.pack(order + "HH" + word, tag, kind, count) + data.ljust(struct.calcsize(word), b"\0")
        at = put(struct.pack(order + count_word, len(tags)) + entries + struct.pack(order + word, 0))
        return at, len(body) - struct.calcsize(word)

    for page in pages:
        at, after = write(page)
        struct.pack_into(order + word, body, link, at)
        link = after
    path.write_bytes(bytes(body))
    return path


def main_image() -> np.ndarray:
    return ramp(23, 31)


def thumbnail() -> np.ndarray:
    return ramp(6, 8)


REDUCED = {254: (LONG, [1])}
REDUCED_AS_IN_OLD_FILES = {255: (SHORT, [2])}
MASK = {254: (LONG, [4]), 262: (SHORT, [4]), 258: (SHORT, [8])}


@pytest.mark.parametrize(("order", "big"), [("<", False), (">", False), ("<", True), (">", True)])
@pytest.mark.parametrize(
    ("pages", "notes"),
    [
        ([Directory(thumbnail(), REDUCED), Directory(main_image())], ()),
        ([Directory(thumbnail(), REDUCED_AS_IN_OLD_FILES), Directory(main_image())], ()),
        ([Directory(thumbnail(), REDUCED), Directory(thumbnail(), REDUCED), Directory(main_image())], ()),
        ([Directory(thumbnail(), REDUCED, [Directory(thumbnail(), REDUCED), Directory(main_image())])], ()),
        ([Directory(main_image(), below=[Directory(thumbnail(), REDUCED)])], ()),
        ([Directory(main_image()), *[Directory(thumbnail(), REDUCED)] * 3], ()),
        ([Directory(main_image()), Directory(thumbnail())], ("Only the first of its 2 pages was used.",)),
        (
            [Directory(thumbnail(), REDUCED), Directory(main_image()), Directory(thumbnail())],
            ("Only the first of its 2 pages was used.",),
        ),
    ],
)
def test_the_picture_is_the_first_image_that_is_not_reduced(
    tmp_path: Path, pages: list[Directory], notes: tuple[str, ...], order: Literal["<", ">"], big: bool
) -> None:
    picture = read_picture(write_tiff(tmp_path / "a.tif", pages, order=order, big=big))
    assert np.array_equal(picture.pixels, main_image())
    assert picture.info is not None
    assert picture.info.notes == notes


def test_a_file_of_reduced_images_alone_is_read(tmp_path: Path) -> None:
    picture = read_picture(write_tiff(tmp_path / "a.tif", [Directory(thumbnail(), REDUCED)]))
    assert np.array_equal(picture.pixels, thumbnail())


def sensor(**tags: tuple[int, Sequence[int]]) -> Directory:
    values = np.random.default_rng(0).integers(0, 4096, (40, 56)).astype(np.uint16)
    return Directory(values, {262: (SHORT, [32803]), 254: (LONG, [0]), **{int(k[1:]): v for k, v in tags.items()}})


RAW: dict[str, list[Directory]] = {
    "nef": [Directory(thumbnail(), REDUCED, [Directory(thumbnail(), REDUCED), sensor(_259=(SHORT, [34713]))])],
    "arw": [Directory(thumbnail(), REDUCED, [sensor(_259=(SHORT, [32767]))]), Directory(thumbnail(), REDUCED)],
    "dng": [Directory(thumbnail(), {**REDUCED, 50706: (BYTE, [1, 4, 0, 0])}, [sensor()])],
    "linear": [Directory(main_image(), {50706: (BYTE, [1, 4, 0, 0]), 262: (SHORT, [34892])})],
    "pef": [sensor(_259=(SHORT, [65535]))],
    "without a sensor image": [Directory(thumbnail(), REDUCED), sensor()],
}


@pytest.mark.parametrize("kind", RAW)
@pytest.mark.parametrize("name", ["scan.tif", "photo.nef", "photo.DNG"])
def test_camera_raw_is_refused_whatever_its_name(tmp_path: Path, kind: str, name: str) -> None:
    path = write_tiff(tmp_path / name, RAW[kind], order=">" if kind == "nef" else "<")
    with pytest.raises(PictureError, match=rf"{name}: is a camera raw file .*Develop it"):
        read_picture(path)


def test_a_raw_name_with_previews_alone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PictureError, match=r"is a camera raw file \(CR2\)"):
        read_picture(write_tiff(tmp_path / "photo.cr2", [Directory(thumbnail())]))


@pytest.mark.parametrize(
    "start",
    [
        *(b"II*\0\x10\0\0\0CR\x02\0", b"II*\0\x08\0\0\0IIII", b"IIRO\x08\0\0\0", b"IIRS\x08\0\0\0", b"IIU\0\x18\0\0\0"),
        *(b"FUJIFILMCCD-RAW 0201", b"\0\0\0\x18ftypcrx \0\0\0\1", b"II\x1a\0\0\0HEAPCCDR", b"FOVb\0\0", b"\0MRM\0\0"),
    ],
)
@pytest.mark.parametrize("name", ["a.tif", "a.jpg"])
def test_raw_formats_are_recognized_by_their_first_bytes(tmp_path: Path, start: bytes, name: str) -> None:
    (tmp_path / name).write_bytes(start.ljust(400, b"\0"))
    with pytest.raises(PictureError, match="is a camera raw file"):
        read_picture(tmp_path / name)


def test_directories_in_a_circle_end(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "a.tif", [Directory(main_image(), {330: (LONG, [0, 0])}), Directory(thumbnail())])
    data = bytearray(path.read_bytes())
    (first,) = struct.unpack_from("<I", data, 4)
    count = struct.unpack_from("<H", data, first)[0]
    (second,) = struct.unpack_from("<I", data, first + 2 + 12 * count)
    entry = next(at for at in range(first + 2, first + 2 + 12 * count, 12) if bytes(data[at : at + 2]) == b"\x4a\x01")
    (values,) = struct.unpack_from("<I", data, entry + 8)
    struct.pack_into("<II", data, values, first, second)  # sub-images that are the page itself and the next one
    struct.pack_into("<I", data, second + 2 + 12 * struct.unpack_from("<H", data, second)[0], first)
    path.write_bytes(data)
    try:
        pixels = read_picture(path).pixels
    except PictureError:  # libtiff may refuse the loop
        return
    assert np.array_equal(pixels, main_image())


@pytest.mark.parametrize("tags", [{262: (SHORT, [8])}, {262: (SHORT, [6]), 530: (SHORT, [1, 1])}, {338: (SHORT, [1])}])
def test_damage_is_one_sentence_and_never_a_traceback(
    tmp_path: Path, tags: Mapping[int, tuple[int, Sequence[int]]], capfd: pytest.CaptureFixture[str]
) -> None:
    pixels = np.dstack([main_image(), main_image()[..., :1]]) if 338 in tags else main_image()
    below = [Directory(thumbnail(), REDUCED)]
    whole = write_tiff(tmp_path / "a.tif", [Directory(pixels, tags, below)], big=338 in tags).read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(120):
        harmed = bytearray(whole)
        for _ in range(int(rng.integers(1, 4))):
            harmed[int(rng.integers(len(whole) - 400, len(whole)))] = int(rng.integers(256))
        (tmp_path / "a.tif").write_bytes(harmed)
        with contextlib.suppress(PictureError, LimitError), PictureReader(tmp_path / "a.tif") as reader:
            for _ in reader.read_all():
                pass
    assert "Traceback" not in capfd.readouterr().err


# --- samples ---------------------------------------------------------------------------------------------------------


def as_ycbcr(rgb: np.ndarray) -> np.ndarray:
    """Full range with the coefficients of BT.601 (TIFF 6.0, section 21)."""
    luma = rgb @ [0.299, 0.587, 0.114]
    cb, cr = (rgb[..., 2] - luma) / 1.772, (rgb[..., 0] - luma) / 1.402
    return np.rint(np.stack([luma, cb + 128, cr + 128], -1)).clip(0, 255).astype(np.uint8)


def apart(path: Path, expected: np.ndarray) -> int:
    pixels = read_picture(path).pixels
    assert pixels.shape == expected.shape
    return int(np.abs(pixels.astype(int) - expected).max())


@pytest.mark.parametrize("order", "<>")
def test_uncompressed_ycbcr_is_converted(tmp_path: Path, order: Literal["<", ">"]) -> None:
    rgb = main_image()
    page = Directory(as_ycbcr(rgb), {262: (SHORT, [6]), 530: (SHORT, [1, 1])})
    assert apart(write_tiff(tmp_path / "a.tif", [page], order=order), rgb) <= 2


def test_ycbcr_in_studio_range_with_coefficients_of_bt709_is_converted(tmp_path: Path) -> None:
    """Expected values from the equations of TIFF 6.0, section 21."""
    rgb = main_image().astype(float)
    y = rgb @ [0.2126, 0.7152, 0.0722]
    cb, cr = (rgb[..., 2] - y) / (2 - 2 * 0.0722), (rgb[..., 0] - y) / (2 - 2 * 0.2126)
    stored = np.rint(np.stack([16 + y * 219 / 255, 128 + cb * 112 / 127, 128 + cr * 112 / 127], -1)).astype(np.uint8)
    tags: Mapping[int, tuple[int, Sequence[int]]] = {
        262: (SHORT, [6]),
        530: (SHORT, [1, 1]),
        529: (RATIONAL, [2126, 10_000, 7152, 10_000, 722, 10_000]),
        532: (RATIONAL, [16, 1, 235, 1, 128, 1, 240, 1, 128, 1, 240, 1]),
    }
    assert apart(write_tiff(tmp_path / "a.tif", [Directory(stored, tags)]), main_image()) <= 3


def test_subsampled_ycbcr_has_no_transparency(tmp_path: Path) -> None:
    rgb = np.full((8, 12, 3), (200, 90, 40), np.uint8)
    ycc = as_ycbcr(rgb)
    luma = ycc[..., 0].reshape(4, 2, 6, 2).swapaxes(1, 2).reshape(4, 6, 4)
    units = np.concatenate((luma, ycc[::2, ::2, 1:]), axis=-1)
    page = Directory(ycc, {262: (SHORT, [6]), 530: (SHORT, [2, 2])})
    path = write_tiff(tmp_path / "a.tif", [page])
    data = path.read_bytes().replace(ycc.tobytes(), units.tobytes().ljust(ycc.nbytes, b"\0"))
    path.write_bytes(data)
    assert apart(path, rgb) <= 2


@pytest.mark.parametrize(("photometric", "signed"), [(8, True), (9, False)])
def test_lab_of_eight_bits_is_converted(tmp_path: Path, photometric: int, signed: bool) -> None:
    """Expected values from the definition of CIE L*a*b* and sRGB under D65 (CIE 15:2004; IEC 61966-2-1)."""
    lab = np.zeros((9, 11, 3))
    lab[..., 0] = np.linspace(20, 90, 99).reshape(9, 11)
    lab[..., 1], lab[..., 2] = np.mgrid[-20:25:5, -25:30:5]
    codes = np.rint(lab * [2.55, 1, 1])
    stored = np.where(codes < 0, codes + 256, codes) if signed else codes + np.array([0, 128, 128])
    page = Directory(stored.astype(np.uint8), {262: (SHORT, [photometric])})
    path = write_tiff(tmp_path / "a.tif", [page])
    fy = (codes[..., 0] / 2.55 + 16) / 116
    f = np.stack([fy + codes[..., 1] / 500, fy, fy - codes[..., 2] / 200], -1)
    xyz = np.where(f > 6 / 29, f**3, (f - 4 / 29) * 108 / 841) * [0.95047, 1, 1.08883]
    matrix = [[3.2406, -1.5372, -0.4986], [-0.9689, 1.8758, 0.0415], [0.0557, -0.2040, 1.0570]]
    linear = (xyz @ np.transpose(matrix)).clip(0, 1)
    srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    assert apart(path, np.rint(srgb * 255)) <= 2
    info = read_picture(path).info
    assert info is not None
    assert "CIE Lab was converted to 8-bit sRGB." in info.notes


UNDECLARED = "Its extra channel, whose meaning the file does not declare, was taken for transparency."
LEFT_OUT = "Its extra channel is not declared as transparency (ExtraSamples) and was left out."


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("colors", [1, 3])
@pytest.mark.parametrize(
    ("extra", "channels", "notes"),
    [
        ([0], 0, (LEFT_OUT,)),
        ([2], 1, ()),
        ([1], 1, ()),
        (None, 1, (UNDECLARED,)),
        ([0, 2], 1, (LEFT_OUT,)),
    ],
)
def test_only_channels_declared_as_alpha_are_transparency(
    tmp_path: Path, extra: list[int] | None, channels: int, notes: tuple[str, ...], colors: int, dtype: Any
) -> None:
    full = np.iinfo(dtype).max
    rgb = ramp(21, 33, colors, dtype)
    alpha = np.linspace(full // 4, full, 21 * 33).astype(dtype).reshape(21, 33, 1)
    count = 1 if extra is None else len(extra)
    others = [np.zeros_like(alpha) for _ in range(count - channels)]
    stored = np.rint(rgb * (alpha / full)).astype(dtype) if extra == [1] else rgb  # premultiplied
    pixels = np.concatenate([stored, *others, *([alpha] * channels)], axis=-1)
    tags = {} if extra is None else {338: (SHORT, extra)}
    kind = {262: (SHORT, [2 if colors == 3 else 1])}
    picture = read_picture(write_tiff(tmp_path / "a.tif", [Directory(pixels, {**tags, **kind})]))
    expected = np.concatenate([rgb, *([alpha] * channels)], axis=-1)
    expected = expected[..., 0] if expected.shape[2] == 1 else expected
    assert picture.pixels.shape == expected.shape
    assert np.abs(picture.pixels.astype(int) - expected).max() <= (3 if extra == [1] else 0)
    assert picture.info is not None
    assert picture.info.notes == notes


@pytest.mark.parametrize(("photometric", "extra"), [(2, []), (1, [0, 0])])
@pytest.mark.parametrize("others", [0, 1, 2])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_rgb_that_is_declared_as_gray_with_more_channels_is_rgb(
    tmp_path: Path, photometric: int, extra: list[int], others: int, dtype: Any
) -> None:
    rgb = ramp(12, 15, 3, dtype)
    pixels = np.concatenate([rgb, np.zeros((12, 15, others), dtype)], axis=-1)
    tags = {262: (SHORT, [photometric]), 338: (SHORT, [*extra, *[0] * others])}
    if not tags[338][1]:
        del tags[338]
    picture = read_picture(write_tiff(tmp_path / "a.tif", [Directory(pixels, tags)]))
    assert np.array_equal(picture.pixels, rgb)
    assert picture.info is not None
    two = "2 extra channels are not declared as transparency (ExtraSamples) and were left out."
    assert picture.info.notes == ((), (LEFT_OUT,), (two,))[others]


@pytest.mark.parametrize(("tags", "words"), [({262: (SHORT, [10])}, "ITU Lab"), ({332: (SHORT, [2])}, "inks other")])
def test_other_color_spaces_are_refused(
    tmp_path: Path, tags: Mapping[int, tuple[int, Sequence[int]]], words: str
) -> None:
    pixels = ramp(9, 9, 4 if 332 in tags else 3)
    page = Directory(pixels, {262: (SHORT, [5]), **tags} if 332 in tags else tags)
    with pytest.raises(PictureError, match=f"holds {words}"):
        read_picture(write_tiff(tmp_path / "a.tif", [page]))


@pytest.mark.parametrize("compression", ["jpeg", "tiff_lzw", "tiff_adobe_deflate", None])
def test_files_of_other_programs_are_read_as_pillow_reads_them(tmp_path: Path, compression: str | None) -> None:
    for mode in ("RGB", "L", "CMYK", "RGBA", "P"):
        if compression == "jpeg" and mode in ("RGBA", "P"):
            continue
        stored = io.BytesIO()
        Image.fromarray(main_image()).convert(mode).save(stored, "TIFF", compression=compression)
        (tmp_path / "a.tif").write_bytes(stored.getvalue())
        with PictureReader(tmp_path / "a.tif") as reader:
            notes = [note for note in reader.info.notes if "CMYK" not in note and "palette" not in note]
        assert notes == []
        if mode != "CMYK":
            expected = np.asarray(Image.open(tmp_path / "a.tif").convert("RGB" if mode == "P" else mode))
            assert apart(tmp_path / "a.tif", expected) <= (1 if compression == "jpeg" else 0)
