"""What a picture carries besides pixels survives every format that can hold it, with the sizes in it made true."""

from __future__ import annotations

import contextlib
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pictures import (
    adobe_rgb,
    chunk,
    display_p3,
    exif_block,
    exif_of,
    exif_tiff,
    gray_profile,
    jpeg_segments,
    jpeg_with_segments,
    png_of,
    png_texts,
    png_with_chunks,
    ramp,
    save,
    walk_tiff,
    webp_chunks,
    with_exif,
)
from tessera.images.codecs.gif import GIF
from tessera.images.codecs.jpeg import JPEG
from tessera.images.codecs.netpbm import NETPBM
from tessera.images.codecs.png import PNG
from tessera.images.codecs.tiff import TIFF
from tessera.images.codecs.webp import WEBP
from tessera.images.correction import list_losses, prepare_metadata
from tessera.images.exif import MalformedExifError, correct_exif
from tessera.images.exif_tables import edit_tiff, read_tiff_metadata
from tessera.images.frames import PictureShape
from tessera.images.icc import read_profile_name
from tessera.images.libvips import vips
from tessera.images.metadata import Metadata, Text
from tessera.images.photoshop import join_resources, split_resources
from tessera.images.picture import Picture, read_picture
from tessera.images.reader import PictureReader
from tessera.images.writer import PictureWriter, require_format, write_picture
from tessera.images.xmp import correct_xmp

EXIF_FORMATS = (".jpg", ".png", ".webp", ".avif", ".tif")
XMP_FORMATS = (".jpg", ".png", ".webp", ".avif", ".tif")
ICC_FORMATS = (".jpg", ".png", ".webp", ".avif", ".tif")
PIXELS = ramp(40, 60)
XMP = (
    b'<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
    b'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
    b'xmlns:tiff="http://ns.adobe.com/tiff/1.0/" xmlns:exif="http://ns.adobe.com/exif/1.0/" '
    b'xmlns:xmp="http://ns.adobe.com/xap/1.0/" tiff:Orientation="6" tiff:ImageWidth="60" xmp:Rating="4">'
    b"<tiff:ImageLength>40</tiff:ImageLength><exif:PixelXDimension>60</exif:PixelXDimension>"
    b"<exif:PixelYDimension> 40</exif:PixelYDimension>"
    b"<xmp:Thumbnails><rdf:Alt><rdf:li>b2xk</rdf:li></rdf:Alt></xmp:Thumbnails>"
    b'</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
)
IPTC = b"\x1c\x02\x78\x00\x0eA hill at noon" + b"\x1c\x02\x50\x00\x0aA. Painter"


def resource(number: int, data: bytes) -> bytes:
    return b"8BIM" + struct.pack(">HHI", number, 0, len(data)) + data + b"\x00" * (len(data) % 2)


PHOTOSHOP = b"Photoshop 3.0\x00" + resource(0x0404, IPTC)


def doubled(picture: Picture) -> Picture:
    return picture.with_pixels(picture.pixels.repeat(2, axis=0).repeat(2, axis=1))


def upscaled(source: Path, suffix: str) -> Path:
    """The file that upscaling twice would leave."""
    output = source.with_name(f"out_{source.suffix[1:]}{suffix}")
    write_picture(doubled(read_picture(source)), output)
    return output


def turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """How a camera would store the upright picture, so that this orientation says how to set it right."""
    undone = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
        8: lambda a: np.rot90(a, -1),
    }
    return np.ascontiguousarray(undone[orientation](pixels))


def source_with_exif(folder: Path, suffix: str, orientation: int = 1, order: str = "<") -> Path:
    stored = turned(PIXELS, orientation)
    thumbnail = save(folder / "thumbnail.jpg", ramp(12, 16, seed=3)).read_bytes()
    height, width = stored.shape[:2]
    block = exif_block(orientation=orientation, width=width, height=height, order=order, thumbnail=thumbnail)
    path = folder / f"in{suffix}"
    if suffix == ".tif":
        path.write_bytes(exif_tiff(stored, block, orientation=orientation))
        return path
    return with_exif(path, stored, block)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
def test_orientation_is_applied_once_and_the_tag_is_reset(tmp_path: Path, suffix: str, orientation: int) -> None:
    source = source_with_exif(tmp_path, suffix, orientation)
    picture = read_picture(source)
    assert picture.pixels.shape == PIXELS.shape
    assert np.abs(picture.pixels.astype(int) - PIXELS).mean() < (2.5 if suffix == ".jpg" else 0.01)
    for output_suffix in EXIF_FORMATS:
        output = upscaled(source, output_suffix)
        assert exif_of(output)["0"].get(274, 1) == 1
        again = read_picture(output)
        assert again.pixels.shape == (80, 120, 3)
        assert np.abs(again.pixels[::2, ::2].astype(int) - picture.pixels).mean() < 4


def test_an_avif_with_an_orientation_in_its_exif_is_turned_only_by_its_own_box(tmp_path: Path) -> None:
    """In HEIF the turn is the `irot` box; EXIF repeats it for information (ISO 23008-12, 6.5.10)."""
    source = source_with_exif(tmp_path, ".avif", 1)
    assert read_picture(source).pixels.shape == PIXELS.shape
    assert exif_of(upscaled(source, ".jpg"))["0"][274] == 1


def test_an_impossible_orientation_is_taken_for_none(tmp_path: Path) -> None:
    source = with_exif(tmp_path / "in.jpg", PIXELS, exif_block(orientation=77))
    assert read_picture(source).pixels.shape == PIXELS.shape


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("output_suffix", EXIF_FORMATS)
@pytest.mark.parametrize("suffix", EXIF_FORMATS)
def test_exif_and_gps_survive_with_true_sizes_and_without_the_old_thumbnail(
    tmp_path: Path, suffix: str, output_suffix: str, order: str
) -> None:
    if suffix == ".tif" and order == ">":
        order = "<"  # a big-endian TIFF has its own test
    source = source_with_exif(tmp_path, suffix, 1, order)
    thumbnail = (tmp_path / "thumbnail.jpg").read_bytes()
    if suffix in (".jpg", ".png", ".webp"):
        assert thumbnail in source.read_bytes()
        assert exif_of(source)["exif"][40962] == 60
    output = upscaled(source, output_suffix)
    tags = exif_of(output)
    assert thumbnail not in output.read_bytes()
    assert thumbnail[20:200] not in output.read_bytes()
    assert "1" not in tags
    first, exif, gps = tags["0"], tags["exif"], tags["gps"]
    assert first[271] == b"Mosaic Works\x00"
    assert first[272] == b"Tessera One\x00"
    assert first[306] == b"2024:05:06 07:08:10\x00"
    assert first[315] == b"A. Painter\x00"
    assert first[33432].startswith(b"CC0")
    assert exif[33434] == (1, 250)
    assert exif[34855] == 400
    assert exif[36867] == b"2024:05:06 07:08:09\x00"
    assert exif[37510] == b"ASCII\x00\x00\x00on the hill"
    assert exif[42036] == b"Tessera 35mm f/2\x00"
    assert (exif[40962], exif[40963]) == (120, 80)
    assert (first.get(256, 120), first.get(257, 80)) == (120, 80)
    assert gps[1][:1] == b"N"
    assert gps[2] == (52, 1, 30, 1, 1234, 100)
    assert gps[4] == (13, 1, 24, 1, 3600, 100)
    assert tags["interop"][1] == b"R98\x00"


@pytest.mark.parametrize("output_suffix", EXIF_FORMATS)
def test_exif_is_not_invented_for_a_picture_that_had_none(tmp_path: Path, output_suffix: str) -> None:
    source = tmp_path / "in.png"
    rows = np.concatenate([np.zeros((40, 1), np.uint8), PIXELS.reshape(40, -1)], axis=1)
    source.write_bytes(png_of(60, 40, zlib.compress(rows.tobytes())))
    tags = exif_of(upscaled(source, output_suffix))
    assert "exif" not in tags
    assert "gps" not in tags
    assert tags.get("0", {}).get(271) is None


def test_a_broken_exif_block_does_not_keep_a_picture_from_being_upscaled(tmp_path: Path) -> None:
    block = bytearray(exif_block(thumbnail=b"\xff\xd8\xff\xd9"))
    for seed in range(60):
        broken = bytearray(block)
        rng = np.random.default_rng(seed)
        for at in rng.integers(0, len(broken), 12):
            broken[at] = int(rng.integers(0, 256))
        source = with_exif(tmp_path / "in.jpg", PIXELS, bytes(broken[: rng.integers(2, len(broken))]))
        for suffix in (".tif", ".jpg"):
            assert read_picture(upscaled(source, suffix)).pixels.shape[2] == 3


@pytest.mark.parametrize("output_suffix", XMP_FORMATS)
@pytest.mark.parametrize("suffix", XMP_FORMATS)
def test_xmp_survives_with_true_sizes_orientation_and_no_thumbnail(
    tmp_path: Path, suffix: str, output_suffix: str
) -> None:
    source = save(tmp_path / f"in{suffix}", PIXELS, blobs={"xmp-data": XMP})
    output = upscaled(source, output_suffix)
    packet = bytes(vips().Image.new_from_file(str(output)).get("xmp-data"))
    assert b'tiff:Orientation="1"' in packet
    assert b'tiff:ImageWidth="120"' in packet
    assert b"<tiff:ImageLength>80</tiff:ImageLength>" in packet
    assert b"<exif:PixelXDimension>120<" in packet
    assert b"<exif:PixelYDimension> 80<" in packet
    assert b'xmp:Rating="4"' in packet
    assert b"Thumbnails" not in packet
    data = output.read_bytes()
    assert packet in (png_texts(data) if output_suffix == ".png" else data)


def test_xmp_without_sizes_is_kept_to_the_byte() -> None:
    packet = b'<x:xmpmeta><rdf:Description dc:title="tiff:ImageWidth 60"/></x:xmpmeta>'
    assert correct_xmp(packet, height=9, width=9) == packet


@pytest.mark.parametrize("output_suffix", [".jpg", ".tif"])
@pytest.mark.parametrize("suffix", [".jpg", ".tif"])
def test_iptc_survives_in_the_form_that_each_format_wants(tmp_path: Path, suffix: str, output_suffix: str) -> None:
    source = tmp_path / f"in{suffix}"
    if suffix == ".jpg":
        save(source, PIXELS)
        source.write_bytes(jpeg_with_segments(source.read_bytes(), (0xED, PHOTOSHOP)))
    else:
        save(source, PIXELS, keep="none")
        edit_tiff(source, b"", iptc=IPTC)
    data = upscaled(source, output_suffix).read_bytes()
    if output_suffix == ".jpg":
        (segment,) = [body for marker, body in jpeg_segments(data) if marker == 0xED]
        assert segment == PHOTOSHOP
    else:
        assert walk_tiff(data)["0"][33723] == IPTC


def test_photoshops_thumbnail_of_the_old_picture_is_dropped() -> None:
    block = b"Photoshop 3.0\x00" + resource(1036, b"old picture") + resource(0x0404, IPTC) + resource(1033, b"older")
    assert split_resources(block) == (IPTC, b"")
    assert b"Photoshop 3.0\x00" + join_resources(IPTC, b"") == PHOTOSHOP
    assert split_resources(b"Photoshop 3.0\x008BIM\x04") == (b"", b"")
    other = resource(0x03ED, b"sixteen bytes...")
    assert split_resources(PHOTOSHOP + other) == (IPTC, other)


@pytest.mark.parametrize("profile", [display_p3(), adobe_rgb()], ids=["P3", "Adobe RGB"])
@pytest.mark.parametrize("output_suffix", ICC_FORMATS)
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif", ".avif"])
def test_a_wide_gamut_picture_keeps_its_values_and_its_profile_byte_for_byte(
    tmp_path: Path, suffix: str, output_suffix: str, profile: bytes
) -> None:
    lossless = {".webp": {"lossless": True}, ".jpg": {"Q": 100, "subsample_mode": "off"}, ".avif": {"lossless": True}}
    source = save(tmp_path / f"in{suffix}", PIXELS, blobs={"icc-profile-data": profile}, **lossless.get(suffix, {}))
    picture = read_picture(source)
    assert picture.metadata.icc_profile == profile
    assert np.abs(picture.pixels.astype(int) - PIXELS).max() <= (0 if suffix in (".png", ".tif", ".webp") else 8)
    assert picture.info is not None
    assert read_profile_name(profile) in picture.info.color_space
    again = read_picture(upscaled(source, output_suffix))
    assert again.metadata.icc_profile == profile
    assert np.abs(again.pixels[::2, ::2].astype(int) - picture.pixels).mean() < (
        0.01 if output_suffix in (".png", ".tif") else 3
    )


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif"])
def test_a_gray_picture_with_a_gray_profile_stays_gray_and_keeps_it(tmp_path: Path, suffix: str) -> None:
    profile = gray_profile()
    source = save(tmp_path / f"in{suffix}", ramp(30, 50, 1), blobs={"icc-profile-data": profile})
    for output_suffix in (".jpg", ".png", ".tif"):
        again = read_picture(upscaled(source, output_suffix))
        assert again.pixels.ndim == 2
        assert again.metadata.icc_profile == profile
        assert np.abs(again.pixels[::2, ::2].astype(int) - read_picture(source).pixels).max() <= 3


@pytest.mark.parametrize("suffix", [".gif", ".ppm", ".webp", ".avif"])
def test_a_profile_that_cannot_come_along_is_gone_through_instead(tmp_path: Path, suffix: str) -> None:
    """Display P3's (200, 100, 50) is a stronger orange in sRGB; gray of gamma 1.8 darkens when said in sRGB's curve."""
    if suffix in (".gif", ".ppm"):
        flat = np.full((16, 16, 3), (180, 100, 60), np.uint8)
        source = save(tmp_path / "in.png", flat, blobs={"icc-profile-data": display_p3()})
        write_picture(read_picture(source), tmp_path / f"out{suffix}")
        red, _, blue = read_picture(tmp_path / f"out{suffix}").pixels[8, 8, :3].astype(int)
        assert 188 <= red <= 198
        assert blue < 56
    else:
        source = save(tmp_path / "in.png", np.full((16, 16), 100, np.uint8), blobs={"icc-profile-data": gray_profile()})
        write_picture(read_picture(source), tmp_path / f"out{suffix}")
        middle = read_picture(tmp_path / f"out{suffix}").pixels.reshape(16, 16, -1)[8, 8]
        assert 118 <= int(middle[0]) <= 126  # (100/255)^1.8 = 0.185, which sRGB's curve writes as 0.468


def test_an_unnamed_or_broken_profile_is_named_so() -> None:
    assert read_profile_name(display_p3()) == "Display P3 Test"
    assert read_profile_name(b"") == "an unnamed profile"
    for cut in range(0, 600, 7):
        assert read_profile_name(display_p3()[:cut])


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif"])
def test_the_resolution_is_kept(tmp_path: Path, suffix: str) -> None:
    source = save(tmp_path / f"in{suffix}", PIXELS, xres=300 / 25.4, yres=150 / 25.4, keep="exif")
    assert read_picture(source).metadata.density == pytest.approx((300 / 25.4, 150 / 25.4), rel=0.01)
    for output_suffix in (".jpg", ".png", ".tif"):
        again = read_picture(upscaled(source, output_suffix))
        assert again.metadata.density == pytest.approx((300 / 25.4, 150 / 25.4), rel=0.01)
    for output_suffix in (".webp", ".avif"):
        tags = exif_of(upscaled(source, output_suffix))["0"]
        assert tags[282][0] / tags[282][1] == pytest.approx(300, rel=0.01)
        assert tags[283][0] / tags[283][1] == pytest.approx(150, rel=0.01)


def test_the_resolution_of_a_tiff_is_not_replaced_by_reading_its_exif(tmp_path: Path) -> None:
    source = source_with_exif(tmp_path, ".tif")
    picture = read_picture(source)
    assert picture.metadata.density == pytest.approx((300 / 25.4, 300 / 25.4), rel=0.01)
    again = read_picture(upscaled(source, ".tif"))
    assert again.metadata.density == pytest.approx((300 / 25.4, 300 / 25.4), rel=0.01)
    tags = exif_of(upscaled(source, ".jpg"))["0"]
    assert tags[282][0] / tags[282][1] == pytest.approx(300, rel=0.01)


def test_text_chunks_of_a_png_come_along_into_a_png(tmp_path: Path) -> None:
    source = save(tmp_path / "in.png", PIXELS, keep="none")
    added = (
        chunk(b"tEXt", b"parameters\x00masterpiece, Steps: 20"),
        chunk(b"tEXt", b"Title\x00A hill"),
        chunk(b"iTXt", b"Comment\x00\x00\x00de\x00Kommentar\x00" + "Ein Hügel".encode()),
    )
    source.write_bytes(png_with_chunks(source.read_bytes(), *added))
    found = png_texts(upscaled(source, ".png").read_bytes())
    assert b"parameters\x00masterpiece, Steps: 20" in found
    assert b"A hill" in found
    assert "Ein Hügel".encode() in found


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif", ".avif", ".gif", ".ppm"])
def test_very_large_metadata_never_fails_a_picture_and_a_loss_is_said(tmp_path: Path, suffix: str) -> None:
    """A JPEG segment holds 65,533 bytes; what is larger cannot be written into one."""
    xmp = XMP.replace(b"<xmp:Thumbnails>", b"<x>" + b"y" * 90_000 + b"</x><xmp:Thumbnails>")
    source = save(tmp_path / "in.png", PIXELS, blobs={"xmp-data": xmp})
    picture = read_picture(source)
    write_picture(picture, tmp_path / f"out{suffix}")
    with Image.open(tmp_path / f"out{suffix}") as again:
        again.load()
        kept = b"y" * 60_000 in (tmp_path / f"out{suffix}").read_bytes() or "xmp" in again.info
    assert kept != any("XMP" in kind for kind in list_losses(picture.metadata, require_format(Path(f"out{suffix}"))))


def test_large_exif_never_fails_a_jpeg_and_the_loss_is_said(tmp_path: Path) -> None:
    picture = Picture(PIXELS, Metadata(exif=grown(exif_block(), 90_000)))
    write_picture(picture, tmp_path / "out.jpg")
    assert read_picture(tmp_path / "out.jpg").pixels.shape == PIXELS.shape
    assert any("EXIF" in kind for kind in list_losses(picture.metadata, JPEG)) != (
        271 in exif_of(tmp_path / "out.jpg").get("0", {})
    )
    write_picture(picture, tmp_path / "out.png")
    assert exif_of(tmp_path / "out.png")["0"][271] == b"Mosaic Works\x00"
    write_picture(picture, tmp_path / "out.tif")
    assert len(exif_of(tmp_path / "out.tif")["exif"][37510]) > 90_000


def grown(block: bytes, size: int) -> bytes:
    """The same block with a user's comment of this size at its end."""
    entries = [struct.unpack_from("<HHII", block, 10 + 12 * index) for index in range(11)]
    (exif_at,) = [value for tag, _, _, value in entries if tag == 34665]
    (count,) = struct.unpack_from("<H", block, exif_at)
    out = bytearray(block)
    for index in range(count):
        at = exif_at + 2 + 12 * index
        if struct.unpack_from("<H", block, at)[0] == 37510:
            struct.pack_into("<II", out, at + 4, size + 8, len(block))
    return bytes(out) + b"ASCII\x00\x00\x00" + b"c" * size


def test_what_a_format_cannot_carry_is_said() -> None:
    metadata = Metadata(exif=exif_block(), xmp=b"<x/>", iptc=IPTC, photoshop=resource(1, b"2"), icc_profile=b"x")
    kinds = ("EXIF", "XMP", "IPTC", "Photoshop resources", "the ICC profile")
    assert list_losses(metadata, JPEG) == list_losses(metadata, TIFF) == list_losses(metadata, PNG) == ()
    assert list_losses(metadata, WEBP) == ("IPTC", "Photoshop resources")
    assert list_losses(metadata, GIF) == ("EXIF", "IPTC", "Photoshop resources", "the ICC profile")
    assert list_losses(metadata, NETPBM) == kinds
    assert list_losses(Metadata(), NETPBM) == ()
    written = prepare_metadata(metadata, WEBP, height=1, width=1).metadata
    assert (written.iptc, written.photoshop, written.xmp) == (b"", b"", b"<x/>")
    texts = (Text("Comment", "a"), Text("Title", "b"), Text("Author", "c"))
    assert list_losses(Metadata(texts=texts), PNG) == ()
    assert list_losses(Metadata(texts=texts), JPEG) == ("the texts Title, Author",)
    assert list_losses(Metadata(texts=texts[:2]), TIFF) == ("the comment", "the text Title")
    assert list_losses(Metadata(exif=b"II*\x00"), JPEG) == ("EXIF, which is damaged",)


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
@pytest.mark.parametrize("output_suffix", [".gif", ".webp"])
def test_an_animation_keeps_its_frames_delays_and_loop(tmp_path: Path, suffix: str, output_suffix: str) -> None:
    frames = np.concatenate(
        [np.full((12, 20, 3), color, np.uint8) for color in ((250, 0, 0), (0, 200, 0), (0, 0, 240))]
    )
    image = vips().Image.new_from_array(frames).copy(interpretation="srgb")
    image.set_type(vips().GValue.gint_type, "page-height", 12)
    image.set_type(vips().GValue.array_int_type, "delay", [100, 250, 40])
    image.set_type(vips().GValue.gint_type, "loop", 3)
    source = tmp_path / f"in{suffix}"
    image.write_to_file(str(source), **({"lossless": True} if suffix == ".webp" else {}))
    with PictureReader(source, frames=True) as reader:
        assert (reader.info.height, reader.info.frames, reader.height) == (12, 3, 36)
        rows = reader.read_rows(0, 36).repeat(2, axis=0).repeat(2, axis=1)
        shape = PictureShape(height=72, width=40, channels=rows.shape[2], dtype=rows.dtype, frames=3)
        output = tmp_path / f"out{output_suffix}"
        with PictureWriter(output, shape, metadata=reader.metadata) as writer:
            writer.write_rows(rows)
            writer.finish()
    again = vips().Image.new_from_file(str(output), n=-1)
    assert (again.get("n-pages"), again.get("page-height"), again.width) == (3, 24, 40)
    assert again.get("delay") == [100, 250, 40]
    assert again.get("loop") == 3
    with PictureReader(output, frames=True) as reader:
        assert np.abs(reader.read_rows(0, 72)[..., :3].astype(int) - rows[..., :3]).max() <= 6
    still = read_picture(source)
    assert still.pixels.shape[:2] == (12, 20)
    assert still.info is not None
    assert still.info.notes == ("Only the first of its 3 frames was used; `frames` takes all.",)
    write_picture(still, tmp_path / f"still{output_suffix}")
    still = read_picture(tmp_path / f"still{output_suffix}")
    assert still.info is not None
    assert still.info.frames_in_file == 1


# --- EXIF in TIFF --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
def test_exif_can_be_appended_to_any_kind_of_tiff_and_read_back(tmp_path: Path, big: bool, order: str) -> None:
    path = save(tmp_path / "a.tif", PIXELS, bigtiff=big, compression="deflate", keep="none")
    before = walk_tiff(path.read_bytes())["0"]
    edit_tiff(path, exif_block(order=order, thumbnail=b"\xff\xd8old\xff\xd9"))
    tags = walk_tiff(path.read_bytes())
    assert {tag: tags["0"][tag] for tag in before} == before
    assert tags["exif"][33434] == (1, 250)
    assert tags["gps"][2] == (52, 1, 30, 1, 1234, 100)
    assert tags["interop"][1] == b"R98\x00"
    assert np.array_equal(read_picture(path).pixels, PIXELS)
    block = read_tiff_metadata(path).exif
    again = walk_tiff(block)
    assert again["exif"] | {40965: 0} == tags["exif"] | {40965: 0}
    assert again["gps"] == tags["gps"]
    assert again["0"][271] == b"Mosaic Works\x00"
    assert 274 not in again["0"]


def test_exif_of_a_big_endian_tiff_is_read(tmp_path: Path) -> None:
    little = exif_block(order="<")
    big = exif_block(order=">")
    path = tmp_path / "a.tif"
    path.write_bytes(big)
    block = read_tiff_metadata(path).exif
    found, wanted = walk_tiff(block), walk_tiff(little)
    assert {t: v for t, v in found["exif"].items() if t != 40965} == {
        t: v for t, v in wanted["exif"].items() if t != 40965
    }
    assert found["gps"] == wanted["gps"]


def test_a_description_that_the_tiff_has_already_is_not_written_twice(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(exif_tiff(PIXELS, exif_block()))
    edit_tiff(path, exif_block())
    assert walk_tiff(path.read_bytes())["0"][271] == b"Mosaic Works\x00"


def test_a_malformed_tiff_or_block_has_no_exif_and_raises_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    whole = exif_tiff(PIXELS, exif_block())
    for seed in range(300):
        rng = np.random.default_rng(seed)
        broken = bytearray(whole)
        for at in rng.integers(0, 600, 6):
            broken[at if seed % 2 else -at - 1] = int(rng.integers(0, 256))
        path.write_bytes(broken[: rng.integers(0, len(broken) + 1)] if seed % 3 == 0 else broken)
        read_tiff_metadata(path)
        with contextlib.suppress(MalformedExifError):
            correct_exif(bytes(broken), height=1, width=1)
    save(path, PIXELS, keep="none")
    good = path.read_bytes()
    block = exif_block()
    for cut in range(0, len(block), 5):
        path.write_bytes(good)
        edit_tiff(path, block[:cut])
        assert np.array_equal(read_picture(path).pixels, PIXELS)


def test_a_directory_that_claims_gigabytes_is_not_read(tmp_path: Path) -> None:
    head = struct.pack("<2sHQQ", b"II", 43, 0, 0)[:8] + struct.pack("<Q", 16)
    entry = struct.pack("<HHQQ", 271, 2, 2**60, 16)
    path = tmp_path / "a.tif"
    path.write_bytes(head + struct.pack("<Q", 1) + entry + struct.pack("<Q", 0))
    assert read_tiff_metadata(path).exif == b""


def test_webp_announces_the_metadata_it_carries(tmp_path: Path) -> None:
    output = upscaled(source_with_exif(tmp_path, ".jpg"), ".webp")
    assert webp_chunks(output.read_bytes())[b"VP8X"][0] & 0x08
