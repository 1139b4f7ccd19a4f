"""Color coded outside ICC profiles (CICP) and premultiplied alpha, against boxes and chunks parsed here."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pictures import ramp
from stand_ins import FunctionEngine, nearest, repeated
from tessera import Upscaler
from tessera.images.codecs.heif_boxes import add_color_coding, read_heif_facts
from tessera.images.metadata import ColorCoding, Metadata
from tessera.images.picture import Picture, read_picture
from tessera.images.writer import write_picture

PIXELS = ramp(40, 56)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_with_coding(path: Path, *codes: int) -> Path:
    write_picture(Picture(PIXELS), path)
    whole = path.read_bytes()
    path.write_bytes(whole[:33] + chunk(b"cICP", bytes(codes)) + whole[33:])
    return path


def avif_with_coding(path: Path, primaries: int, transfer: int) -> Path:
    """Pillow's AVIF, whose color box has fixed code points, which are replaced."""
    Image.fromarray(PIXELS).save(path, quality=100, subsampling="4:4:4")
    data = bytearray(path.read_bytes())
    at = data.index(b"nclx")
    struct.pack_into(">HH", data, at + 4, primaries, transfer)
    path.write_bytes(data)
    return path


def avif_with_coding_in_stream(path: Path, primaries: int, transfer: int) -> Path:
    """Pillow's AVIF without its color box, and other code points in the AV1 stream: 24 bits somewhere."""
    Image.fromarray(PIXELS).save(path, quality=100, subsampling="4:4:4")
    data = path.read_bytes()
    codes = struct.unpack_from(">HHH", data, data.index(b"nclx") + 4)
    data = data.replace(b"colrnclx", b"freenclx")
    declared = "1" + "".join(f"{code:08b}" for code in codes)
    changed = "1" + "".join(f"{code:08b}" for code in (primaries, transfer, codes[2]))
    bits = f"{int.from_bytes(data, 'big'):0{8 * len(data)}b}"
    assert declared in bits
    path.write_bytes(int(bits.replace(declared, changed), 2).to_bytes(len(data), "big"))
    return path


def coding_in_png(path: Path) -> tuple[int, ...] | None:
    data, at = path.read_bytes(), 8
    while at < len(data):
        (size,) = struct.unpack_from(">I", data, at)
        if data[at + 4 : at + 8] == b"IDAT":
            return None
        if data[at + 4 : at + 8] == b"cICP":
            return tuple(data[at + 8 : at + 8 + size])
        at += 12 + size
    return None


def coding_in_avif(path: Path) -> tuple[int, ...] | None:
    data = path.read_bytes()
    at = data.find(b"colrnclx")
    return None if at < 0 else struct.unpack_from(">HHH", data, at + 8)


def upscale(source: Path, output: Path) -> tuple[str, ...]:
    return Upscaler(nearest(), engine=FunctionEngine(repeated())).upscale_file(source, output).notes


@pytest.mark.parametrize(("primaries", "transfer", "words"), [(12, 13, "Display P3"), (9, 16, "PQ"), (9, 18, "HLG")])
@pytest.mark.parametrize("source", [".png", ".avif"])
@pytest.mark.parametrize("target", [".png", ".avif"])
def test_a_color_coding_stays_in_formats_that_store_one(
    tmp_path: Path, source: str, target: str, primaries: int, transfer: int, words: str
) -> None:
    path = tmp_path / f"a{source}"
    if source == ".png":
        png_with_coding(path, primaries, transfer, 0, 1)
    else:
        avif_with_coding(path, primaries, transfer)
    output = tmp_path / f"b{target}"
    notes = upscale(path, output)
    assert any("color coding" in note and words in note for note in notes)
    if target == ".png":
        assert coding_in_png(output) == (primaries, transfer, 0, 1)
    else:
        assert coding_in_avif(output) == (primaries, transfer, 6)
    again = read_picture(output)
    assert again.metadata.color_coding == ColorCoding(primaries, transfer)
    assert again.info is not None
    assert "assumed" not in again.info.color_space
    small = again.pixels.reshape(40, 4, 56, 4, 3)[:, 2, :, 2].astype(int)
    assert np.abs(small - read_picture(path).pixels).max() <= 6  # the values are not converted


def test_pillow_reads_an_avif_with_an_added_coding_and_exif(tmp_path: Path) -> None:
    """The offsets of pixels and metadata are still right."""
    exif = Image.Exif()
    exif[0x13B] = "Ann"
    Image.fromarray(PIXELS).save(tmp_path / "e.jpg", exif=exif)
    metadata = Metadata(
        color_coding=ColorCoding(12, 13), xmp=b"<x:xmpmeta/>", exif=read_picture(tmp_path / "e.jpg").metadata.exif
    )
    for pixels in (PIXELS, np.dstack([PIXELS, np.full((40, 56), 99, np.uint8)])):
        write_picture(Picture(pixels, metadata), tmp_path / "a.avif", quality=100)
        with Image.open(tmp_path / "a.avif") as image:
            assert np.abs(np.asarray(image).astype(int) - pixels).max() <= 4
            assert image.getexif()[0x13B] == "Ann"


@pytest.mark.parametrize("suffix", [".jpg", ".webp", ".tif"])
def test_display_p3_becomes_a_profile_where_no_coding_can_be_stored(tmp_path: Path, suffix: str) -> None:
    notes = upscale(png_with_coding(tmp_path / "a.png", 12, 13, 0, 1), tmp_path / f"b{suffix}")
    assert any("an ICC profile of the same colors was attached" in note for note in notes)
    profile = read_picture(tmp_path / f"b{suffix}").metadata.icc_profile
    assert profile is not None
    assert b"P3" in profile or "P3".encode("utf-16-be") in profile


def test_display_p3_is_converted_for_a_format_without_profiles(tmp_path: Path) -> None:
    """The greatest red of Display P3 lies outside sRGB; gray stays gray (SMPTE EG 432-1)."""
    pixels = np.full((40, 56, 3), 128, np.uint8)
    pixels[:, 28:] = (200, 120, 90)
    write_picture(Picture(pixels, Metadata(color_coding=ColorCoding(12, 13))), tmp_path / "a.ppm")
    converted = read_picture(tmp_path / "a.ppm").pixels
    assert np.abs(converted[20, 10].astype(int) - 128).max() <= 1
    assert np.abs(converted[20, 40].astype(int) - (212, 117, 84)).max() <= 3


def test_hdr_in_a_format_without_coding_is_named(tmp_path: Path) -> None:
    notes = upscale(png_with_coding(tmp_path / "a.png", 9, 16, 0, 1), tmp_path / "b.jpg")
    assert "JPEG cannot carry the color coding (primaries 9 (BT.2020), transfer 16 (PQ))." in notes


@pytest.mark.parametrize(("primaries", "transfer"), [(12, 13), (9, 16), (9, 18)])
def test_a_color_coding_that_stands_only_in_the_av1_stream_is_kept(
    tmp_path: Path, primaries: int, transfer: int
) -> None:
    path = avif_with_coding_in_stream(tmp_path / "a.avif", primaries, transfer)
    upscale(path, tmp_path / "b.png")
    assert coding_in_png(tmp_path / "b.png") == (primaries, transfer, 0, 1)


@pytest.mark.parametrize("codes", [(1, 13), (1, 1), (2, 2)])
def test_what_viewers_show_as_srgb_needs_no_note(tmp_path: Path, codes: tuple[int, int]) -> None:
    for path in (png_with_coding(tmp_path / "a.png", *codes, 0, 1), avif_with_coding(tmp_path / "a.avif", *codes)):
        assert upscale(path, tmp_path / "b.jpg") == ()


def test_premultiplied_alpha_becomes_straight(tmp_path: Path) -> None:
    """The reference "prem" says that colors were multiplied by alpha (ISO/IEC 23008-12, 6.5.8)."""
    alpha = np.tile(np.linspace(60, 255, 56).astype(np.uint8), (40, 1))[..., None]
    stored = np.rint(PIXELS * (alpha / 255)).astype(np.uint8)
    Image.fromarray(np.dstack([stored, alpha])).save(tmp_path / "a.avif", quality=100, subsampling="4:4:4")
    data = bytearray((tmp_path / "a.avif").read_bytes())
    at = data.index(b"auxl")  # alpha item -> color item, replaced by color item -> alpha item
    source, count, target = struct.unpack_from(">HHH", data, at + 4)
    reference = struct.pack(">4sHHH", b"auxl", source, count, target)
    assert data[at : at + 10] == reference
    plain = read_picture(tmp_path / "a.avif").pixels
    assert np.abs(plain[..., :3].astype(int) - stored).max() <= 6
    (tmp_path / "a.avif").write_bytes(with_premultiplied_reference(bytes(data), target, source))
    assert read_heif_facts(tmp_path / "a.avif").is_premultiplied
    straight = read_picture(tmp_path / "a.avif").pixels
    assert np.abs(straight[..., :3].astype(int) - PIXELS).max() <= 20  # one level at alpha 60 is four
    assert np.abs(straight[..., :3].astype(int) - PIXELS).mean() < 2


def with_premultiplied_reference(data: bytes, color: int, alpha: int) -> bytes:
    """Add a reference of kind "prem"; the offsets of all items are absolute and move by its length."""
    reference = struct.pack(">I4sHHH", 14, b"prem", color, 1, alpha)
    references = data.index(b"iref") - 4
    meta = data.index(b"meta") - 4
    changed = bytearray(data)
    for box in (references, meta):
        (size,) = struct.unpack_from(">I", data, box)
        struct.pack_into(">I", changed, box, size + len(reference))
    locations = data.index(b"iloc") + 8
    assert data[data.index(b"iloc") + 4] == 0
    assert data[locations] == 0x44
    assert data[locations + 1] == 0
    (items,) = struct.unpack_from(">H", data, locations + 2)
    at = locations + 4
    for _ in range(items):
        (extents,) = struct.unpack_from(">H", data, at + 4)
        assert extents == 1
        (offset,) = struct.unpack_from(">I", data, at + 6)
        struct.pack_into(">I", changed, at + 6, offset + len(reference))
        at += 14
    return bytes(changed[: references + 12] + reference + changed[references + 12 :])


def test_boxes_that_are_damaged_are_left_alone(tmp_path: Path) -> None:
    write_picture(Picture(PIXELS), tmp_path / "a.avif")
    data = (tmp_path / "a.avif").read_bytes()
    for end in range(0, 400, 3):
        (tmp_path / "b.avif").write_bytes(data[:end])
        assert not read_heif_facts(tmp_path / "b.avif").is_premultiplied
        add_color_coding(data[:end], ColorCoding(9, 16), matrix=6)
    rng = np.random.default_rng(0)
    for _ in range(300):
        harmed = bytearray(data[:500])
        harmed[int(rng.integers(len(harmed)))] = int(rng.integers(256))
        (tmp_path / "b.avif").write_bytes(harmed)
        read_heif_facts(tmp_path / "b.avif")
        add_color_coding(bytes(harmed), ColorCoding(9, 16), matrix=6)
