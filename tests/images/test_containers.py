"""What a file says about its picture is carried to the byte, wherever in the file it stands, or named as lost.

Expected values come from the standards, from parsers in `pictures`, and from Pillow.
"""

from __future__ import annotations

import hashlib
import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pictures import (
    chunk,
    display_p3,
    exif_block,
    exif_of,
    exif_tiff,
    jpeg_segments,
    jpeg_with_segments,
    png_chunks,
    png_texts,
    png_with_chunks,
    ramp,
    save,
    walk_tiff,
    with_exif,
)
from tessera.images.correction import list_losses
from tessera.images.exif import correct_exif
from tessera.images.formats import find_format
from tessera.images.georeference import Georeference
from tessera.images.libvips import vips
from tessera.images.metadata import COMMENT, Metadata, Text
from tessera.images.picture import Picture, read_picture
from tessera.images.reader import PictureReader
from tessera.images.writer import write_picture

PIXELS = ramp(24, 36)
FORMATS = (".jpg", ".png", ".webp", ".tif", ".avif", ".gif", ".ppm")
IPTC = b"\x1c\x02\x78\x00\x0eA hill at noon"
RDF = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b"%s</rdf:RDF></x:xmpmeta>"
)


def notes_of(path: Path) -> str:
    info = read_picture(path).info
    assert info is not None
    return " ".join(info.notes)


def losses(path: Path, suffix: str) -> tuple[str, ...]:
    form = find_format(Path(f"a{suffix}"))
    assert form is not None
    return list_losses(read_picture(path).metadata, form)


def copy(source: Path, suffix: str) -> Path:
    output = source.with_name(f"copy{suffix}")
    write_picture(read_picture(source), output)
    return output


def resource(number: int, data: bytes) -> bytes:
    return b"8BIM" + struct.pack(">HHI", number, 0, len(data)) + data + b"\x00" * (len(data) % 2)


def png(path: Path, *before: bytes, after: bytes = b"") -> Path:
    """A PNG with chunks before and after its pixels."""
    save(path, PIXELS, keep="none")
    data = png_with_chunks(path.read_bytes(), *before)
    path.write_bytes(data[:-12] + after + data[-12:])
    return path


def jpeg(path: Path, *segments: tuple[int, bytes], after: bytes = b"") -> Path:
    save(path, PIXELS, keep="none")
    path.write_bytes(jpeg_with_segments(path.read_bytes(), *segments) + after)
    return path


def without_density(data: bytes) -> bytes:
    """A PNG without the resolution that libvips invents."""
    kept = (chunk(kind, body) for kind, body in png_chunks(data) if kind != b"pHYs")
    return data[:8] + b"".join(kept)


# --- EXIF ----------------------------------------------------------------------------------------------------------


def block_of_a_maker() -> tuple[bytes, int, bytes]:
    """EXIF with HostComputer, a maker note, no color space and no resolution -> block, place and bytes of the note."""
    note = b"MAKER\x00\x01\x02" + bytes(range(64))
    host = b"iPhone 15\x00"
    exif_at = 8 + 2 + 4 * 12 + 4
    note_at = exif_at + 2 + 3 * 12 + 4
    host_at = note_at + len(note)
    block = struct.pack("<2sHIH", b"II", 42, 8, 4)
    block += struct.pack("<HHII", 256, 3, 1, 36) + struct.pack("<HHII", 274, 3, 1, 6)
    block += struct.pack("<HHII", 316, 2, len(host), host_at) + struct.pack("<HHII", 34665, 4, 1, exif_at)
    block += struct.pack("<IH", 0, 3) + struct.pack("<HHII", 0x927C, 7, len(note), note_at)
    block += struct.pack("<HHII", 40962, 3, 1, 36) + struct.pack("<HHII", 0xFDE8, 3, 1, 77) + struct.pack("<I", 0)
    return block + note + host, note_at, note


@pytest.mark.parametrize("output_suffix", [".jpg", ".png", ".webp", ".avif"])
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_exif_is_the_same_to_the_byte_except_for_orientation_and_sizes(
    tmp_path: Path, suffix: str, output_suffix: str
) -> None:
    block, note_at, note = block_of_a_maker()
    expected = bytearray(block)
    struct.pack_into("<HHIH", expected, 10, 256, 3, 1, 24)  # turned: as wide as the stored picture is high
    struct.pack_into("<HHIH", expected, 22, 274, 3, 1, 1)
    exif_at = 8 + 2 + 4 * 12 + 4
    struct.pack_into("<HHIH", expected, exif_at + 2 + 12, 40962, 3, 1, 24)
    source = with_exif(tmp_path / f"in{suffix}", PIXELS, block)
    if suffix == ".png":
        source.write_bytes(without_density(source.read_bytes()))
    output = copy(source, output_suffix)
    data = output.read_bytes()
    assert bytes(expected) in data
    tags = exif_of(output)
    assert tags["0"][316] == b"iPhone 15\x00"
    assert tags["exif"][0xFDE8] == 77
    assert 40961 not in tags["exif"]
    assert 282 not in tags["0"]
    at = data.index(bytes(expected))
    assert data[at + note_at : at + note_at + len(note)] == note


def test_tags_that_tiff_has_no_name_for_come_along_into_tiff(tmp_path: Path) -> None:
    block, _, note = block_of_a_maker()
    tags = walk_tiff(copy(with_exif(tmp_path / "in.jpg", PIXELS, block), ".tif").read_bytes())
    assert tags["0"][316] == b"iPhone 15\x00"
    assert tags["exif"][0x927C] == note
    assert tags["exif"][40962] == 24


@pytest.mark.parametrize("size", [10, 70_000])
def test_sizes_above_65_535_become_long(tmp_path: Path, size: int) -> None:
    block, _, _ = block_of_a_maker()
    tags = walk_tiff(correct_exif(block, height=1, width=size))
    assert (tags["0"][256], tags["exif"][40962]) == (size, size)


def test_sizes_in_the_interoperability_directory_are_corrected() -> None:
    block = struct.pack("<2sHIH", b"II", 42, 8, 1) + struct.pack("<HHIII", 34665, 4, 1, 26, 0)
    block += struct.pack("<H", 1) + struct.pack("<HHIII", 40965, 4, 1, 44, 0)
    block += struct.pack("<H", 2) + struct.pack("<HHIIHHII", 4097, 3, 1, 36, 4098, 4, 1, 24) + bytes(4)
    interop = walk_tiff(correct_exif(block, height=480, width=720))["interop"]
    assert interop == {4097: 720, 4098: 480}


@pytest.mark.parametrize("beyond", [0, 10_000])
def test_a_thumbnail_never_takes_other_values_with_it(beyond: int) -> None:
    block = exif_block(thumbnail=b"\xff\xd8" + bytes(40))
    size = struct.pack("<HHII", 514, 4, 1, 42)
    assert block.count(size) == 1
    wrong = block.replace(size, struct.pack("<HHII", 514, 4, 1, 42 + beyond)) + b"value"
    corrected = correct_exif(wrong, height=1, width=1)
    assert "1" not in walk_tiff(corrected)
    assert corrected.endswith(b"value")


@pytest.mark.parametrize("suffix", FORMATS)
def test_damaged_blocks_are_named_and_fail_no_picture(tmp_path: Path, suffix: str) -> None:
    metadata = Metadata(
        exif=b"II*\x00\x08\x00\x00\x00\xff\xff",
        xmp=b'<a tiff:Orientation="6">',
        texts=(Text(COMMENT, "\ud800"), Text("Title", "\x00")),
    )
    output = tmp_path / f"out{suffix}"
    write_picture(Picture(PIXELS, metadata), output)
    assert read_picture(output).pixels.shape[:2] == PIXELS.shape[:2]
    form = find_format(output)
    assert form is not None
    assert {"EXIF, which is damaged", "XMP, which is damaged"} <= set(list_losses(metadata, form))


# --- PNG -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_metadata_after_the_pixels_of_a_png_counts(tmp_path: Path, orientation: int) -> None:
    """Table 7 of PNG, third edition: eXIf and texts may stand anywhere; ImageMagick writes them at the end."""
    block = exif_block(orientation=orientation)
    source = png(tmp_path / "in.png", after=chunk(b"eXIf", block) + chunk(b"tEXt", b"Title\x00mine"))
    picture = read_picture(source)
    turned = {1: PIXELS, 3: PIXELS[::-1, ::-1], 6: np.rot90(PIXELS, -1), 8: np.rot90(PIXELS, 1)}[orientation]
    assert np.array_equal(picture.pixels, turned)
    output = copy(source, ".png")
    assert exif_of(output)["0"][315] == b"A. Painter\x00"
    assert exif_of(output)["0"][274] == 1
    assert png_texts(output.read_bytes()) == b"Title\x00mine"


@pytest.mark.parametrize(
    ("source", "keyword", "text"),
    [
        (chunk(b"tEXt", "Größe\0x".encode("latin-1")), "Größe", "x"),
        (chunk(b"tEXt", b"Creation Time\x00 2024"), "Creation Time", " 2024"),
        (chunk(b"tEXt", "Author\0Jörg".encode("latin-1")), "Author", "Jörg"),
        (chunk(b"zTXt", b"Comment\x00\x00" + zlib.compress(b"long " * 999)), "Comment", "long " * 999),
        (chunk(b"iTXt", b"parameters\0\0\0\0\0" + "一只猫".encode()), "parameters", "一只猫"),
        (chunk(b"iTXt", b"K\0\1\0de\0Schl\xc3\xbcssel\0" + zlib.compress(b"Wert")), "K", "Wert"),
        (chunk(b"tEXt", b"Raw profile type odd\x00\nodd\n   3\nzzz"), "Raw profile type odd", "\nodd\n   3\nzzz"),
    ],
)
def test_texts_of_a_png_come_back_as_pillow_reads_them(tmp_path: Path, source: bytes, keyword: str, text: str) -> None:
    output = copy(png(tmp_path / "in.png", source), ".png")
    with Image.open(output) as image:
        image.load()
        assert dict(image.text) == {keyword: text}  # type: ignore[attr-defined]
        assert getattr(image.text[keyword], "tkey", "") in ("", "Schlüssel")  # type: ignore[attr-defined]
    for suffix in (".jpg", ".webp", ".tif", ".avif", ".gif", ".ppm"):
        lost = losses(tmp_path / "in.png", suffix)
        if keyword == COMMENT and suffix in (".jpg", ".gif"):
            assert lost == ()
            assert text.encode() in joined_blocks(copy(tmp_path / "in.png", suffix))
        else:
            assert lost == (("the comment",) if keyword == COMMENT else (f"the text {keyword}",))


def joined_blocks(path: Path) -> bytes:
    """A file's comments; those of a GIF lie in blocks of 255 bytes."""
    with Image.open(path) as image:
        return image.info["comment"]


@pytest.mark.parametrize("count", [1, 49, 51, 80, 700])
def test_every_text_survives_however_many_there_are(tmp_path: Path, count: int) -> None:
    texts = [chunk(b"tEXt", b"K%d\0v" % number) for number in range(count)]
    kinds = [kind for kind, _ in png_chunks(copy(png(tmp_path / "in.png", *texts), ".png").read_bytes())]
    assert kinds.count(b"tEXt") == count


@pytest.mark.parametrize(
    ("damaged", "words"),
    [
        (chunk(b"tEXt", b"\0abc"), "text without a keyword was not kept"),
        (chunk(b"tEXt", b" \0abc"), "text without a keyword was not kept"),
        (chunk(b"tEXt", b"k" * 90 + b"\0abc"), "with an invalid keyword was not kept"),
        (chunk(b"zTXt", b"Title\0\0not zlib"), "text Title that is damaged was not kept"),
        (chunk(b"zTXt", b"Title\0\0" + zlib.compress(bytes(2**25))), "text Title that is too large was not kept"),
        (chunk(b"iCCP", b"x\0\0" + zlib.compress(b"junk" * 50)), "ICC profile is damaged and was ignored"),
        (chunk(b"caBX", b"jumb"), "chunks caBX was not kept"),
        (chunk(b"acTL", struct.pack(">II", 4, 0)), "first of its 4 frames"),
    ],
)
def test_what_a_png_cannot_keep_is_named(tmp_path: Path, damaged: bytes, words: str) -> None:
    source = png(tmp_path / "in.png", damaged, chunk(b"tEXt", b"Title\0kept"))
    assert words in notes_of(source)
    assert b"Title\0kept" in png_texts(copy(source, ".png").read_bytes())


def test_a_wrong_checksum_of_a_text_fails_no_picture(tmp_path: Path) -> None:
    broken = bytearray(chunk(b"tEXt", b"Title\0x"))
    broken[-1] ^= 1
    assert read_picture(png(tmp_path / "in.png", bytes(broken))).pixels.shape == PIXELS.shape


def raw_profile(name: bytes, data: bytes) -> bytes:
    """How ImageMagick stores a profile: name, length, and lines of 36 bytes in hexadecimal."""
    digits = data.hex().encode()
    lines = b"\n".join(digits[at : at + 72] for at in range(0, len(digits), 72))
    return chunk(
        b"zTXt", b"Raw profile type " + name + b"\0\0" + zlib.compress(b"\n%s\n%8d\n%s\n" % (name, len(data), lines))
    )


def test_profiles_that_imagemagick_stores_as_text_are_read_as_what_they_are(tmp_path: Path) -> None:
    xmp = RDF % b'<rdf:Description rdf:about="" xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/>'
    source = png(
        tmp_path / "in.png",
        raw_profile(b"exif", b"Exif\x00\x00" + exif_block(orientation=6)),
        raw_profile(b"iptc", resource(0x0404, IPTC)),
        raw_profile(b"xmp", xmp),
    )
    assert read_picture(source).pixels.shape[:2] == PIXELS.shape[1::-1]
    data = copy(source, ".jpg").read_bytes()
    segments = jpeg_segments(data)
    assert exif_of(source.with_name("copy.jpg"))["0"][315] == b"A. Painter\x00"
    assert (0xED, b"Photoshop 3.0\x00" + resource(0x0404, IPTC)) in segments
    assert any(xmp.replace(b'"6"', b'"1"') in body for marker, body in segments if marker == 0xE1)
    again = png_chunks(copy(source, ".png").read_bytes())
    assert [kind for kind, _ in again if kind in (b"eXIf", b"tEXt", b"zTXt", b"iTXt")] == [b"eXIf", b"iTXt", b"tEXt"]
    assert resource(0x0404, IPTC).hex().encode() in png_texts(source.with_name("copy.png").read_bytes()).replace(
        b"\n", b""
    )


# --- JPEG ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_comments_of_jpeg_and_gif_come_along(tmp_path: Path, encoding: str) -> None:
    for suffix in (".jpg", ".gif"):
        source = tmp_path / f"in{suffix}"
        Image.fromarray(PIXELS).save(source, comment="Ein Hügel".encode(encoding))
        for output_suffix in (".jpg", ".gif"):
            assert joined_blocks(copy(source, output_suffix)) == "Ein Hügel".encode(encoding)
        with Image.open(copy(source, ".png")) as image:
            assert image.text[COMMENT] == "Ein Hügel"  # type: ignore[attr-defined]
        assert losses(source, ".webp") == ("the comment",)


def test_a_photoshop_block_without_iptc_comes_along(tmp_path: Path) -> None:
    path = resource(0x07D0, b"a clipping path, 26 bytes.")
    source = jpeg(tmp_path / "in.jpg", (0xED, b"Photoshop 3.0\x00" + path))
    assert walk_tiff(copy(source, ".tif").read_bytes())["0"][34377] == path
    assert (0xED, b"Photoshop 3.0\x00" + path) in jpeg_segments(copy(source.with_name("copy.tif"), ".jpg").read_bytes())
    assert losses(source, ".webp") == ("Photoshop resources",)


@pytest.mark.parametrize("size", [100, 70_000, 400_000])
def test_large_xmp_is_split_in_jpeg_and_joined_elsewhere(tmp_path: Path, size: int) -> None:
    """Adobe, "XMP Specification Part 3", 1.1.3.1: the MD5 sum of the second part stands in the first."""
    large = b"d" * size
    packet = RDF % (
        b'<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating="4" '
        b'xmlns:G="http://ns.google.com/photos/1.0/depthmap/" G:Data="%s"><G:Near>2</G:Near></rdf:Description>' % large
    )
    source = save(tmp_path / "in.png", PIXELS, blobs={"xmp-data": packet})
    output = copy(source, ".jpg")
    segments = [body for marker, body in jpeg_segments(output.read_bytes()) if marker == 0xE1]
    (main,) = [body for body in segments if body.startswith(b"http://ns.adobe.com/xap/1.0/\x00")]
    assert b'xmp:Rating="4"' in main
    parts = [body[35:] for body in segments if body.startswith(b"http://ns.adobe.com/xmp/extension/\x00")]
    if size > 65_000:
        joined = b"".join(part[40:] for part in sorted(parts, key=lambda part: part[36:40]))
        digest = hashlib.md5(joined, usedforsecurity=False).hexdigest().upper().encode()
        assert b'xmpNote:HasExtendedXMP="%s"' % digest in main
        assert {part[:32] for part in parts} == {digest}
        assert {struct.unpack(">I", part[32:36])[0] for part in parts} == {len(joined)}
        assert b'G:Data="%s"' % large in joined
    else:
        assert parts == []
    texts = png_texts(copy(output, ".png").read_bytes())
    assert b'G:Data="%s"' % large in texts
    assert b'xmp:Rating="4"' in texts
    assert b"<G:Near>2</G:Near>" in texts
    assert b"HasExtendedXMP" not in texts


def test_extended_xmp_with_a_missing_part_is_named(tmp_path: Path) -> None:
    main = RDF % (
        b'<rdf:Description rdf:about="" xmlns:xmpNote="http://ns.adobe.com/xmp/note/" '
        b'xmpNote:HasExtendedXMP="%s"/>' % (b"A" * 32)
    )
    part = b"http://ns.adobe.com/xmp/extension/\x00" + b"A" * 32 + struct.pack(">II", 900, 0) + b"<x/>"
    source = jpeg(tmp_path / "in.jpg", (0xE1, b"http://ns.adobe.com/xap/1.0/\x00" + main), (0xE1, part))
    assert "extended XMP is damaged or incomplete and was not kept" in notes_of(source)
    assert b"HasExtendedXMP" not in copy(source, ".jpg").read_bytes()


CAMERA = (
    b'<rdf:Description rdf:about="" xmlns:C="http://ns.google.com/photos/1.0/camera/" '
    b'xmlns:dc="http://purl.org/dc/elements/1.1/" '
    b'C:MotionPhoto="1" C:MotionPhotoVersion="1" C:MicroVideoOffset="5000" dc:source="me" '
    b'xmlns:D="http://ns.google.com/photos/1.0/container/" xmlns:I="http://ns.google.com/photos/1.0/container/item/">'
    b'<D:Directory><rdf:Seq><rdf:li rdf:parseType="Resource"><D:Item I:Semantic="Primary"/></rdf:li>'
    b'<rdf:li rdf:parseType="Resource"><D:Item I:Semantic="MotionPhoto" I:Length="5000"/></rdf:li>'
    b"</rdf:Seq></D:Directory></rdf:Description>"
)


def test_the_film_of_a_motion_photo_is_named_and_no_longer_announced(tmp_path: Path) -> None:
    film = b"\0\0\0\x18ftypmp42" + bytes(4988)
    source = jpeg(tmp_path / "in.jpg", (0xE1, b"http://ns.adobe.com/xap/1.0/\x00" + RDF % CAMERA), after=film)
    assert "The film of this motion photo (5,000 bytes) was not kept." in notes_of(source)
    data = copy(source, ".jpg").read_bytes()
    for gone in (b"MotionPhoto", b"MicroVideo", b"Directory", b"ftyp"):
        assert gone not in data
    assert b'dc:source="me"' in data


@pytest.mark.parametrize("more", [1, 3])
def test_further_pictures_of_a_file_are_named(tmp_path: Path, more: int) -> None:
    frames = [Image.fromarray(np.roll(PIXELS, shift, axis=1)) for shift in range(more + 1)]
    source = tmp_path / "in.jpg"
    frames[0].save(source, format="MPO", save_all=True, append_images=frames[1:])
    assert f"Only the first of its {more + 1} pictures was used." in notes_of(source)
    assert copy(source, ".jpg").read_bytes().count(b"\xff\xd8\xff") == 1


def ultra_hdr(path: Path, orientation: int = 1) -> Path:
    """libultrahdr's own file: the upper left quarter is bright."""
    y, x = np.mgrid[0:64, 0:96]
    light = np.where((x < 48) & (y < 32), 8.0, 0.2).astype(np.float32)
    image = vips().Image.new_from_array(np.stack([light] * 3, axis=-1)).copy(interpretation="scrgb")
    image.set_type(vips().GValue.gint_type, "orientation", orientation)
    image.uhdrsave(str(path))
    return path


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_gain_map_of_an_ultra_hdr_file_is_turned_with_the_picture(tmp_path: Path, orientation: int) -> None:
    source = ultra_hdr(tmp_path / "in.jpg", orientation)
    output = copy(source, ".jpg")
    read = vips().Image.new_from_file(str(output))  # by libultrahdr
    assert read.get("vips-loader").startswith("uhdr")
    gain = vips().Image.new_from_buffer(read.get("gainmap-data"), "").numpy().astype(float)
    gain = gain.reshape(*gain.shape[:2], -1)[..., 0]
    base = read_picture(source).pixels.astype(float).mean(axis=2)
    assert (gain.shape[0] < gain.shape[1]) == (base.shape[0] < base.shape[1])

    def bright(values: Any) -> int:
        half, middle = values.shape[0] // 2, values.shape[1] // 2
        quarters = (values[:half, :middle], values[:half, middle:], values[half:, :middle], values[half:, middle:])
        return int(np.argmax([quarter.mean() for quarter in quarters]))

    assert bright(gain) == bright(base)


def test_the_places_in_an_ultra_hdr_file_are_right(tmp_path: Path) -> None:
    """CIPA DC-007, 5.2.3.3: offsets count from the byte order mark of the index."""
    data = copy(ultra_hdr(tmp_path / "in.jpg"), ".jpg").read_bytes()
    at = data.index(b"MPF\x00") + 4
    (count,) = struct.unpack_from("<H", data, at + 8)
    entries = dict(struct.unpack_from("<H6xI", data, at + 10 + 12 * number) for number in range(count))
    first, second = (struct.unpack_from("<4xII", data, at + entries[0xB002] + 16 * number) for number in range(2))
    assert data[first[0] - 2 : first[0]] == b"\xff\xd9"
    assert data[at + second[1] :][:3] == b"\xff\xd8\xff"
    assert at + second[1] + second[0] == len(data)
    with Image.open(io.BytesIO(data)) as image:
        assert image.n_frames == 2  # type: ignore[attr-defined]


@pytest.mark.parametrize("orientation", [1, 5])
def test_the_directory_in_xmp_has_the_new_length_of_the_gain_map(tmp_path: Path, orientation: int) -> None:
    """Android, "Ultra HDR Image Format": GContainer lists what follows the picture in the file, with its length."""
    gain = jpeg(tmp_path / "gain.jpg", (0xE1, b"http://ns.adobe.com/xap/1.0/\x00" + RDF % GAIN_MAP)).read_bytes()
    directory = CAMERA.replace(b'I:Semantic="Primary"', b'I:Semantic="GainMap" I:Length="%d"' % len(gain))
    xmp = RDF % (GAIN_MAP + directory)
    block = exif_block(orientation=orientation)
    segments = (0xE1, b"Exif\x00\x00" + block), (0xE1, b"http://ns.adobe.com/xap/1.0/\x00" + xmp)
    source = jpeg(tmp_path / "in.jpg", *segments, after=gain + b"\0\0\0\x18ftypmp42")
    data = copy(source, ".jpg").read_bytes()
    at = data.rindex(b"\xff\xd8\xff")
    assert at > 0
    assert b'I:Semantic="GainMap" I:Length="%d"' % (len(data) - at) in data
    assert b"MotionPhoto" not in data
    assert data.count(b'H:Version="1.0"') == 2
    turned = read_picture(io_file(tmp_path / "second.jpg", data[at:])).pixels
    assert turned.shape[:2] == (PIXELS.shape[:2] if orientation == 1 else PIXELS.shape[1::-1])
    if orientation == 1:
        assert data[at:] == gain
    texts = png_texts(copy(source, ".png").read_bytes())
    assert b"Directory" not in texts
    assert b"H:Version" not in texts


GAIN_MAP = b'<rdf:Description xmlns:H="http://ns.adobe.com/hdr-gain-map/1.0/" H:Version="1.0" H:GainMapMax="3"/>'


def io_file(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif", ".avif", ".gif", ".ppm"])
def test_other_formats_name_the_gain_map_and_announce_none(tmp_path: Path, suffix: str) -> None:
    source = ultra_hdr(tmp_path / "in.jpg")
    assert "the gain map (HDR)" in losses(source, suffix)
    assert b"hdr-gain-map" not in copy(source, suffix).read_bytes()


def test_a_damaged_gain_map_is_named(tmp_path: Path) -> None:
    source = ultra_hdr(tmp_path / "in.jpg", 6)
    data = bytearray(source.read_bytes())
    second = data.rindex(b"\xff\xd8\xff")
    scan = data.index(b"\xff\xda", second)
    frame = data.index(b"\xff\xc0", second)
    assert frame < scan
    data[frame + 4] = 77  # bits per sample
    source.write_bytes(data)
    assert "gain map (HDR) is damaged or too large and was not kept" in notes_of(source)
    assert read_picture(copy(source, ".jpg")).pixels.shape[:2] == (96, 64)


# --- WebP, GIF, TIFF -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("exif", [b"", exif_block()])
@pytest.mark.parametrize("icc", [None, display_p3()])
def test_a_webp_announces_what_it_holds_and_keeps_its_pixels(
    tmp_path: Path, channels: int, exif: bytes, icc: bytes | None
) -> None:
    plain, output = tmp_path / "plain.webp", tmp_path / "out.webp"
    pixels = ramp(23, 37, channels)
    write_picture(Picture(pixels, Metadata(icc_profile=icc)), plain)
    write_picture(Picture(pixels, Metadata(icc_profile=icc, exif=exif, xmp=b"<x/>")), output)
    with Image.open(plain) as one, Image.open(output) as other:
        assert one.mode == other.mode == ("RGB" if channels == 3 else "RGBA")
        assert np.array_equal(np.asarray(one), np.asarray(other))
        assert other.info.get("xmp") == b"<x/>"
        assert bool(other.getexif()) == bool(exif)
        assert other.info.get("icc_profile") == icc


@pytest.mark.parametrize("size", [1, 254, 255, 256, 5000])
def test_xmp_of_a_gif_is_read_and_written(tmp_path: Path, size: int) -> None:
    packet = b"<x>" + bytes(range(97, 123)) * (size // 26) + b"</x>"
    output = tmp_path / "out.gif"
    write_picture(Picture(PIXELS, Metadata(xmp=packet)), output)
    trailer = bytes((1, *range(255, -1, -1), 0))  # Adobe, "XMP Specification Part 3", 1.1.2
    assert b"\x21\xff\x0bXMP DataXMP" + packet + trailer in output.read_bytes()
    with Image.open(output) as image:  # whose parser finds its way through the packet
        assert np.asarray(image).shape[:2] == PIXELS.shape[:2]
    assert read_picture(output).metadata.xmp == packet


def test_foreign_tags_of_a_tiff_are_named(tmp_path: Path) -> None:
    entries = (270, 2, 4, b"abc\0"), (37724, 4, 1, b"\1\0\0\0"), (65000, 2, 4, b"xyz\0")
    table = b"".join(struct.pack("<HHI", *entry[:3]) + entry[3] for entry in entries)
    source = tmp_path / "in.tif"
    source.write_bytes(exif_tiff(PIXELS, struct.pack("<2sHIH", b"II", 42, 8, 3) + table + bytes(4)))
    assert notes_of(source).endswith("Its Photoshop layers, tag 65000 were not kept.")


def test_frames_and_pictures_that_are_not_read_are_named(tmp_path: Path) -> None:
    frames = [Image.fromarray(np.roll(PIXELS, shift, axis=1)) for shift in range(3)]
    frames[0].save(tmp_path / "in.avif", save_all=True, append_images=frames[1:])
    assert notes_of(tmp_path / "in.avif") == "Only the first frame of its sequence was used."
    one = b"P6\n# by me\n36 24\n255\n" + PIXELS.tobytes()
    for rest, words in ((b"", ""), (b"\n", ""), (one, "first of its pictures"), (b"more", "data after its pixels")):
        (tmp_path / "in.ppm").write_bytes(one + rest)
        assert words in notes_of(tmp_path / "in.ppm")
        assert bool(notes_of(tmp_path / "in.ppm")) == bool(words)
    assert b"by me" in joined_blocks(copy(tmp_path / "in.ppm", ".jpg"))
    assert losses(tmp_path / "in.ppm", ".ppm") == ("the comment",)


def test_a_gain_map_of_an_avif_and_a_second_exif_block_are_named(tmp_path: Path) -> None:
    data = save(tmp_path / "plain.avif", PIXELS).read_bytes()
    assert data[16:20] == b"mif1"
    (tmp_path / "in.avif").write_bytes(data[:16] + b"tmap" + data[20:])
    assert notes_of(tmp_path / "in.avif") == "Its gain map (HDR) was not kept."
    block = (0xE1, b"Exif\x00\x00" + exif_block())
    assert "Only the first of its EXIF blocks was kept." in notes_of(jpeg(tmp_path / "in.jpg", block, block))


def test_segments_of_other_programs_are_named(tmp_path: Path) -> None:
    boxes = b"JP\x00\x01\x00\x00\x00\x01\x00\x00\x00\x20jumb"
    segments = (0xE1, b"FLIR\x00\x01"), (0xEB, boxes), (0xE0, b"JFIF\x00" + bytes(9))
    assert "segments APP1 (FLIR), APP11 (C2PA) was not kept" in notes_of(jpeg(tmp_path / "in.jpg", *segments))
    assert notes_of(jpeg(tmp_path / "in.jpg")) == ""


@pytest.mark.parametrize("size", [100, 60_000, 64_000])
def test_exif_of_an_avif_is_the_same_to_the_byte_up_to_its_limit(tmp_path: Path, size: int) -> None:
    block, _, _ = block_of_a_maker()
    metadata = Metadata(exif=block + bytes(range(256)) * (size // 256))
    write_picture(Picture(PIXELS, metadata), tmp_path / "out.avif")
    assert block[-10:] + bytes(range(256)) * (size // 256) in (tmp_path / "out.avif").read_bytes()


@pytest.mark.parametrize(
    ("tag", "kind", "value"), [(296, 3, 0), (296, 3, 999), (296, 7, 2), (34665, 16, 8), (34853, 12, 0), (282, 5, 0)]
)
def test_faulty_metadata_of_a_tiff_fails_no_picture(tmp_path: Path, tag: int, kind: int, value: int) -> None:
    data = bytearray(exif_tiff(PIXELS, exif_block()))
    (at,) = struct.unpack_from("<I", data, 4)
    while struct.unpack_from("<H", data, at + 2)[0] != tag:
        at += 12
    struct.pack_into("<HHII", data, at + 2, tag, kind, 1, value)
    (tmp_path / "in.tif").write_bytes(data)
    for suffix in FORMATS:
        picture = read_picture(copy(tmp_path / "in.tif", suffix))
        assert picture.pixels.shape[:2] == PIXELS.shape[:2]
    assert np.array_equal(read_picture(tmp_path / "in.tif").pixels, PIXELS)
    assert exif_of(tmp_path / "copy.png")["0"][315] == b"A. Painter\x00"
    assert (f"damaged tag {tag} was not kept" in notes_of(tmp_path / "in.tif")) == (tag > 30_000)


@pytest.mark.parametrize("density", [(1e9, 1e9), (float("nan"), 1.0), (0.0, 0.0), (float("inf"), 1.0), (1e-9, 1.0)])
def test_an_impossible_density_is_left_out(tmp_path: Path, density: tuple[float, float], capfd: Any) -> None:
    for suffix in FORMATS:
        write_picture(Picture(PIXELS, Metadata(density=density)), tmp_path / f"out{suffix}")
        assert read_picture(tmp_path / f"out{suffix}").metadata.density is None
    assert capfd.readouterr().err == ""


def geotiff(path: Path, *, point: bool, orientation: int = 1) -> Path:
    """A picture whose upper left corner (or center of the first pixel) lies at 500,000 east, 4,600,000 north."""
    values = {
        33550: (12, struct.pack("<3d", 10.0, 10.0, 0.0)),
        33922: (12, struct.pack("<6d", 0, 0, 0, 5e5, 4.6e6, 0.0)),
        34735: (3, struct.pack("<8H", 1, 1, 0, 1, 1025, 0, 1, 2 if point else 1)),
        42113: (2, b"-9999\0"),
    }
    table, data, at = struct.pack("<2sHIH", b"II", 42, 8, len(values)), b"", 10 + 12 * len(values) + 4
    for tag, (kind, packed) in values.items():
        table += struct.pack("<HHII", tag, kind, len(packed) // {12: 8, 3: 2, 2: 1}[kind], at + len(data))
        data += packed
    path.write_bytes(exif_tiff(PIXELS, table + bytes(4) + data, orientation=orientation))
    return path


@pytest.mark.parametrize("point", [False, True])
@pytest.mark.parametrize(("down", "across"), [(4, 4), (3, 2)])
def test_a_georeferenced_picture_stays_where_it_lies(tmp_path: Path, point: bool, down: int, across: int) -> None:
    """The corners of the picture have the same place on Earth (OGC 19-008r4, 7.1.1)."""
    source = geotiff(tmp_path / "in.tif", point=point)
    picture = read_picture(source)
    assert picture.info is not None
    assert picture.info.notes == ()
    write_picture(picture.with_pixels(PIXELS.repeat(down, axis=0).repeat(across, axis=1)), tmp_path / "out.tif")

    def corners(path: Path) -> list[float]:
        tags = walk_tiff(path.read_bytes())["0"]
        (x, y, _), (column, row, _, east, north, _) = tags[33550], tags[33922]
        assert tags[34735] == (1, 1, 0, 1, 1025, 0, 1, 2 if point else 1)
        assert tags[42113] == b"-9999\0"
        first = -0.5 if point else 0.0
        places = [(first, first), (first + tags[256], first + tags[257])]
        return [place for c, r in places for place in (east + (c - column) * x, north - (r - row) * y)]

    assert corners(tmp_path / "out.tif") == pytest.approx(corners(source), abs=1e-6)
    assert losses(source, ".png") == ("the georeference (GeoTIFF)",)


def test_a_georeference_of_a_turned_picture_is_named(tmp_path: Path) -> None:
    source = geotiff(tmp_path / "in.tif", point=False, orientation=6)
    assert "Its GeoTIFF scale, GeoTIFF tie points, GeoTIFF keys, GDAL no-data value were not kept." in notes_of(source)


def test_a_transformation_is_fitted_too() -> None:
    """The center of pixel (2, 6) is that of pixel (7, 19) in a picture three times as large."""
    matrix = (2.0, 0.5, 0.0, 100.0, -0.25, -3.0, 0.0, 200.0, 0.0, 0.0, 0.0, 7.0, 0.0, 0.0, 0.0, 1.0)
    keys = (1, 1, 0, 1, 1025, 0, 1, 2)
    fitted = Georeference(8, 8, {34264: matrix, 34735: keys}).fit(height=24, width=24).tags[34264]
    old, new = np.array(matrix).reshape(4, 4), np.array(fitted).reshape(4, 4)
    assert new @ [7.0, 19.0, 0.0, 1.0] == pytest.approx(old @ [2.0, 6.0, 0.0, 1.0])


@pytest.mark.parametrize("suffix", [".jpg", ".avif"])
@pytest.mark.parametrize("beyond", [-300, -1, 0, 1])
def test_exif_at_the_limit_of_its_format_is_kept_or_named(tmp_path: Path, suffix: str, beyond: int) -> None:
    form = find_format(Path(f"a{suffix}"))
    assert form is not None
    block = exif_block()
    block += bytes(form.metadata_bytes["EXIF"] + beyond - len(block))
    metadata = Metadata(exif=block, density=(10.0, 10.0))
    output = tmp_path / f"out{suffix}"
    write_picture(Picture(PIXELS, metadata), output)
    assert bool(list_losses(metadata, form)) == (beyond > 0)
    assert (exif_of(output).get("0", {}).get(315) == b"A. Painter\x00") == (beyond <= 0)


@pytest.mark.parametrize("suffix", [".jpg", ".webp", ".avif"])
@pytest.mark.parametrize("per_meter", [3937, 11811])
def test_the_density_of_the_file_goes_before_that_in_exif(tmp_path: Path, suffix: str, per_meter: int) -> None:
    """The EXIF says 300 per inch; 11,811 per meter is the same, and then no byte of EXIF changes."""
    block = exif_block(width=36, height=24)
    source = png(tmp_path / "in.png", chunk(b"eXIf", block))
    chunks = [(kind, body) for kind, body in png_chunks(source.read_bytes()) if kind != b"pHYs"]
    chunks.insert(1, (b"pHYs", struct.pack(">IIB", per_meter, per_meter, 1)))
    source.write_bytes(source.read_bytes()[:8] + b"".join(chunk(*each) for each in chunks))
    output = copy(source, suffix)
    tags = exif_of(output)["0"]
    assert tags[282][0] / tags[282][1] == pytest.approx(per_meter * 0.0254, rel=1e-4)
    assert tags[315] == b"A. Painter\x00"
    assert (block in output.read_bytes()) == (per_meter == 11_811)


@pytest.mark.parametrize("after", [False, True], ids=["before the pixels", "after the pixels"])
@pytest.mark.parametrize(
    ("kind", "data", "note"),
    [
        (b"tIME", bytes((7, 232, 5, 6, 7, 8, 9)), "Its time of modification (PNG tIME) was not kept."),
        (b"bKGD", bytes(6), "Its background color (PNG bKGD) was not kept."),
        (b"sPLT", b"web\x00\x08" + bytes(6), "Its suggested palette (PNG sPLT) was not kept."),
        (b"oFFs", bytes(9), "Its offset on the page (PNG oFFs) was not kept."),
        (b"sCAL", b"\x011.5\x001.5", "Its physical scale (PNG sCAL) was not kept."),
        (b"mDCV", bytes(24), "Its mastering display (HDR) (PNG mDCV) was not kept."),
        (b"pHYs", struct.pack(">IIB", 2, 1, 0), "Its pixel aspect ratio of 2:1 (PNG pHYs) was not kept."),
        (b"vpAg", bytes(9), "Data of other programs in its chunks vpAg was not kept."),
    ],
)
def test_png_chunks_that_are_not_kept_are_named(
    kind: bytes, data: bytes, note: str, after: bool, tmp_path: Path
) -> None:
    """Kinds and layouts by PNG, third edition, 11.3, and the extensions to the PNG specification 1.5.0."""
    found = chunk(kind, data)
    path = png(tmp_path / "a.png", after=found) if after else png(tmp_path / "a.png", found)
    with PictureReader(path) as reader:
        assert note in reader.info.notes
