"""Generators of test pictures, and parsers of file structures that share no code with the code under test."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tessera.images.libvips import vips

Array = npt.NDArray[Any]

TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
POINTERS = {34665: "exif", 34853: "gps", 40965: "interop"}
Tags = dict[int, Any]


def ramp(height: int, width: int, channels: int = 3, dtype: Any = np.uint8, seed: int = 0) -> Array:
    """Smooth colors that differ in every corner, so that rotated and mirrored pictures are distinguishable."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    y, x = y / max(1, height - 1), x / max(1, width - 1)
    planes = [0.1 + 0.5 * x + 0.3 * y, 0.8 - 0.6 * y, 0.2 + 0.6 * x * y + 0.1 * y, 0.3 + 0.5 * y + 0.15 * x]
    picked = [planes[index] for index in {1: (0,), 2: (0, 3), 3: (0, 1, 2), 4: (0, 1, 2, 3)}[channels]]
    full = np.iinfo(dtype).max
    noise = rng.uniform(-0.004, 0.004, (height, width, channels))
    return np.rint((np.stack(picked, axis=-1) + noise) * full).astype(dtype)


def random_pixels(height: int, width: int, channels: int, dtype: Any, seed: int = 0) -> Array:
    full = int(np.iinfo(dtype).max)
    return np.random.default_rng(seed).integers(0, full, (height, width, channels), dtype, endpoint=True)


def vips_image(pixels: Array, interpretation: str | None = None) -> Any:
    image = vips().Image.new_from_array(pixels)
    deep, gray = pixels.dtype == np.uint16, pixels.ndim == 2 or pixels.shape[2] < 3
    names = {(0, 0): "srgb", (0, 1): "b-w", (1, 0): "rgb16", (1, 1): "grey16"}
    return image.copy(interpretation=interpretation or names[int(deep), int(gray)])


def save(path: Path, pixels: Array, *, blobs: dict[str, bytes] | None = None, **options: Any) -> Path:
    """Write a picture with libvips alone, optionally with blob fields (icc-profile-data, xmp-data ...)."""
    image = vips_image(pixels, options.pop("interpretation", None)).copy()
    for name, blob in (blobs or {}).items():
        image.set_type(vips().GValue.blob_type, name, blob)
    for name, value in options.pop("ints", {}).items():
        image.set_type(vips().GValue.gint_type, name, value)
    if "xres" in options:
        image = image.copy(xres=options.pop("xres"), yres=options.pop("yres"))
    {
        ".jpg": image.jpegsave,
        ".png": image.pngsave,
        ".webp": image.webpsave,
        ".tif": image.tiffsave,
        ".avif": image.heifsave,
        ".gif": image.gifsave,
    }[path.suffix](str(path), **({"compression": "av1"} if path.suffix == ".avif" else {}), **options)
    return path


# --- EXIF ----------------------------------------------------------------------------------------------------------

ASCII, SHORT, LONG, RATIONAL, BYTE, UNDEFINED = 2, 3, 4, 5, 1, 7


def _packed(kind: int, value: Any, order: str) -> tuple[int, bytes]:
    if kind == ASCII:
        data = value.encode() + b"\x00"
        return len(data), data
    if kind in (BYTE, UNDEFINED):
        return len(value), bytes(value)
    values = value if isinstance(value, (list, tuple)) else [value]
    if kind == RATIONAL:
        return len(values) // 2, struct.pack(f"{order}{len(values)}I", *values)
    return len(values), struct.pack(f"{order}{len(values)}{'H' if kind == SHORT else 'I'}", *values)


def exif_block(
    *, orientation: int = 1, width: int = 60, height: int = 40, order: str = "<", thumbnail: bytes = b""
) -> bytes:
    """Build EXIF as cameras do: IFD0, Exif IFD with interoperability IFD, GPS IFD, and IFD1 with a thumbnail."""
    exif: list[tuple[int, int, Any]] = [
        (33434, RATIONAL, (1, 250)),
        (34855, SHORT, 400),
        (36864, UNDEFINED, b"0232"),
        (36867, ASCII, "2024:05:06 07:08:09"),
        (37510, UNDEFINED, b"ASCII\x00\x00\x00on the hill"),
        (40962, LONG, width),
        (40963, LONG, height),
        (42036, ASCII, "Tessera 35mm f/2"),
    ]
    gps: list[tuple[int, int, Any]] = [
        (0, BYTE, (2, 3, 0, 0)),
        (1, ASCII, "N"),
        (2, RATIONAL, (52, 1, 30, 1, 1234, 100)),
        (3, ASCII, "E"),
        (4, RATIONAL, (13, 1, 24, 1, 3600, 100)),
    ]
    interop: list[tuple[int, int, Any]] = [(1, ASCII, "R98")]
    first: list[tuple[int, int, Any]] = [
        (271, ASCII, "Mosaic Works"),
        (272, ASCII, "Tessera One"),
        (274, SHORT, orientation),
        (282, RATIONAL, (300, 1)),
        (283, RATIONAL, (300, 1)),
        (296, SHORT, 2),
        (306, ASCII, "2024:05:06 07:08:10"),
        (315, ASCII, "A. Painter"),
        (33432, ASCII, "CC0"),
    ]
    second = [(259, SHORT, 6), (513, LONG, 0), (514, LONG, len(thumbnail))]

    def size(entries: list[tuple[int, int, Any]], pointers: int = 0) -> int:
        long = [len(data) for _, kind, value in entries if len(data := _packed(kind, value, order)[1]) > 4]
        return 2 + 12 * (len(entries) + pointers) + 4 + sum(n + n % 2 for n in long)

    at_first = 8
    at_exif = at_first + size(first, 2)
    at_interop = at_exif + size(exif, 1)
    at_gps = at_interop + size(interop)
    at_second = at_gps + size(gps)
    at_thumbnail = at_second + size(second)
    first = sorted([*first, (34665, LONG, at_exif), (34853, LONG, at_gps)])
    exif = sorted([*exif, (40965, LONG, at_interop)])
    second[1] = (513, LONG, at_thumbnail)

    def table(entries: list[tuple[int, int, Any]], at: int, following: int = 0) -> bytes:
        head, tail = struct.pack(order + "H", len(entries)), b""
        tail_at = at + 2 + 12 * len(entries) + 4
        for tag, kind, value in entries:
            count, data = _packed(kind, value, order)
            if len(data) > 4:
                head += struct.pack(order + "HHII", tag, kind, count, tail_at + len(tail))
                tail += data + b"\x00" * (len(data) % 2)
            else:
                head += struct.pack(order + "HHI", tag, kind, count) + data.ljust(4, b"\x00")
        return head + struct.pack(order + "I", following) + tail

    block = struct.pack(order + "2sHI", b"II" if order == "<" else b"MM", 42, 8)
    block += table(first, at_first, at_second if thumbnail else 0)
    block += table(exif, at_exif) + table(interop, at_interop) + table(gps, at_gps)
    return block + (table(second, at_second) + thumbnail if thumbnail else b"")


def walk_tiff(data: bytes) -> dict[str, Tags]:
    """Parse all tags of a TIFF, BigTIFF or EXIF block, by directory: "0", "exif", "gps", "interop", "1".

    Strings and bytes are bytes, single numbers are numbers, several numbers are a tuple (rationals as flat pairs).
    """
    if data[:6] == b"Exif\x00\x00":
        data = data[6:]
    order = "<" if data[:2] == b"II" else ">"
    big = struct.unpack_from(order + "H", data, 2)[0] == 43
    at = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)[0]
    found: dict[str, Tags] = {}

    def table(at: int, name: str) -> int:
        tags: Tags = {}
        count = struct.unpack_from(order + ("Q" if big else "H"), data, at)[0]
        start, entry_bytes, word = (at + 8, 20, "Q") if big else (at + 2, 12, "I")
        previous = -1
        for index in range(count):
            entry = start + entry_bytes * index
            tag, kind, items = struct.unpack_from(order + "HH" + word, data, entry)
            assert tag > previous, f"tag {tag} of {name} is out of order"
            previous = tag
            nbytes = TYPE_BYTES[kind] * items
            field = entry + 4 + struct.calcsize(word)
            if nbytes > struct.calcsize(word):
                field = struct.unpack_from(order + word, data, field)[0]
            assert field + nbytes <= len(data), f"tag {tag} of {name} points beyond the file"
            raw = data[field : field + nbytes]
            if kind in (1, 2, 6, 7):
                tags[tag] = raw
            else:
                letter = {3: "H", 4: "I", 5: "II", 8: "h", 9: "i", 10: "ii", 11: "f", 12: "d", 13: "I"}.get(kind, "Q")
                values = struct.unpack(order + letter * items, raw)
                tags[tag] = values[0] if len(values) == 1 else values
        found[name] = tags
        for tag, below in POINTERS.items():
            if tag in tags:
                table(tags[tag], below)
        return struct.unpack_from(order + word, data, start + entry_bytes * count)[0]

    following = table(at, "0")
    if following:
        table(following, "1")
    return found


# --- containers ----------------------------------------------------------------------------------------------------


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_with_chunks(png: bytes, *added: bytes) -> bytes:
    """Insert chunks after the IHDR of a PNG."""
    return png[:33] + b"".join(added) + png[33:]


def png_of(width: int, height: int, data: bytes, *, color_type: int = 2, depth: int = 8, added: bytes = b"") -> bytes:
    """Build a PNG file around a compressed stream, valid or not."""
    header = struct.pack(">IIBBBBB", width, height, depth, color_type, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + added + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def png_chunks(png: bytes) -> list[tuple[bytes, bytes]]:
    at, found = 8, []
    while at < len(png):
        (size,) = struct.unpack_from(">I", png, at)
        found.append((png[at + 4 : at + 8], png[at + 8 : at + 8 + size]))
        at += 12 + size
    return found


def png_texts(png: bytes) -> bytes:
    """Concatenate all text chunks of a PNG, decompressed."""
    texts: list[bytes] = []
    for kind, body in png_chunks(png):
        if kind == b"zTXt":
            name, _, packed = body.partition(b"\x00")
            body = name + b"\x00" + zlib.decompress(packed[1:])
        elif kind == b"iTXt":
            name, _, rest = body.partition(b"\x00")
            packed = rest[2:].split(b"\x00", 2)[2]
            body = name + b"\x00" + (zlib.decompress(packed) if rest[0] else packed)
        if kind in (b"tEXt", b"zTXt", b"iTXt"):
            texts.append(body)
    return b"\n".join(texts)


def jpeg_with_segments(jpeg: bytes, *added: tuple[int, bytes]) -> bytes:
    """Insert segments (marker, payload) after the SOI of a JPEG."""
    made = b"".join(struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data for marker, data in added)
    return jpeg[:2] + made + jpeg[2:]


def jpeg_segments(jpeg: bytes) -> list[tuple[int, bytes]]:
    at, found = 2, []
    while jpeg[at + 1] != 0xDA:
        (size,) = struct.unpack_from(">H", jpeg, at + 2)
        found.append((jpeg[at + 1], jpeg[at + 4 : at + 2 + size]))
        at += 2 + size
    return found


def jpeg_sampling(jpeg: bytes) -> list[tuple[int, int]]:
    """Read the sampling factors of each component from the frame header."""
    frame = next(data for marker, data in jpeg_segments(jpeg) if marker in (0xC0, 0xC1, 0xC2))
    return [(frame[7 + 3 * index] >> 4, frame[7 + 3 * index] & 15) for index in range(frame[5])]


def webp_chunks(webp: bytes) -> dict[bytes, bytes]:
    at, found = 12, {}
    while at + 8 <= len(webp):
        kind, size = struct.unpack_from("<4sI", webp, at)
        found[kind] = webp[at + 8 : at + 8 + size]
        at += 8 + size + size % 2
    return found


def exif_of(path: Path) -> dict[str, Tags]:
    """Parse the EXIF tags of a finished file, located without libvips (except in AVIF)."""
    data = path.read_bytes()
    if data[:2] == b"\xff\xd8":
        blocks = [seg for marker, seg in jpeg_segments(data) if marker == 0xE1 and seg[:6] == b"Exif\x00\x00"]
    elif data[:4] == b"\x89PNG":
        blocks = [body for kind, body in png_chunks(data) if kind == b"eXIf"]
    elif data[8:12] == b"WEBP":
        blocks = [body for kind, body in webp_chunks(data).items() if kind == b"EXIF"]
    elif data[:2] in (b"II", b"MM"):
        blocks = [data]
    else:
        image = vips().Image.new_from_buffer(data, "")
        blocks = [image.get("exif-data")] if image.get_typeof("exif-data") else []
    assert len(blocks) <= 1, "more than one EXIF block"
    return walk_tiff(blocks[0]) if blocks else {}


def with_exif(path: Path, pixels: Array, block: bytes) -> Path:
    """Write a picture file with exactly these EXIF bytes (libvips cannot write EXIF in TIFF: see `exif_tiff`)."""
    if path.suffix == ".jpg":
        save(path, pixels, Q=97, subsample_mode="off", keep="none")
        path.write_bytes(jpeg_with_segments(path.read_bytes(), (0xE1, b"Exif\x00\x00" + block)))
    elif path.suffix == ".png":
        save(path, pixels, keep="none")
        path.write_bytes(png_with_chunks(path.read_bytes(), chunk(b"eXIf", block)))
    elif path.suffix == ".webp":
        save(path, pixels, lossless=True, keep="none")
        height, width = pixels.shape[:2]
        body = webp_chunks(path.read_bytes())[b"VP8L"]
        extended = struct.pack("<B3x", 0x08) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
        parts = b""
        for kind, data in ((b"VP8X", extended), (b"VP8L", body), (b"EXIF", block)):
            parts += kind + struct.pack("<I", len(data)) + data + b"\x00" * (len(data) % 2)
        path.write_bytes(b"RIFF" + struct.pack("<I", 4 + len(parts)) + b"WEBP" + parts)
    else:
        save(path, pixels, blobs={"exif-data": b"Exif\x00\x00" + block}, Q=95, subsample_mode="off")
    return path


def exif_tiff(pixels: Array, block: bytes, *, orientation: int = 1) -> bytes:
    """Build a TIFF with one uncompressed strip and the directories of a little-endian EXIF block."""
    assert block[:2] == b"II"
    height, width, channels = pixels.shape
    stored = pixels.tobytes()
    at_pixels = len(block)
    own = {
        256: (LONG, width),
        257: (LONG, height),
        258: (SHORT, [pixels.dtype.itemsize * 8] * channels),
        259: (SHORT, 1),
        262: (SHORT, 2 if channels > 2 else 1),
        273: (LONG, at_pixels),
        274: (SHORT, orientation),
        277: (SHORT, channels),
        278: (LONG, height),
        279: (LONG, len(stored)),
    }
    (count,) = struct.unpack_from("<H", block, 8)
    entries = {struct.unpack_from("<H", block, 10 + 12 * i)[0]: block[10 + 12 * i : 22 + 12 * i] for i in range(count)}
    at = at_pixels + len(stored)
    at += at % 2
    names = sorted(entries.keys() | own.keys())
    table, tail, tail_at = struct.pack("<H", len(names)), b"", at + 2 + 12 * len(names) + 4
    for tag in names:
        if tag not in own:
            table += entries[tag]
            continue
        kind, value = own[tag]
        items, data = _packed(kind, value, "<")
        place = data.ljust(4, b"\x00")
        if len(data) > 4:
            place = struct.pack("<I", tail_at + len(tail))
            tail += data
        table += struct.pack("<HHI", tag, kind, items) + place
    head = block[:4] + struct.pack("<I", at) + block[8:]
    return (head + stored).ljust(at, b"\x00") + table + struct.pack("<I", 0) + tail


# --- ICC -----------------------------------------------------------------------------------------------------------


def rgb_profile(name: str, red: tuple[float, float], green: tuple[float, float], blue: tuple[float, float]) -> bytes:
    """Build a matrix profile (ICC.1:2001) from the chromaticities of primaries: D65 adapted to D50, gamma 2.2."""
    white = np.array([0.3127 / 0.3290, 1.0, (1 - 0.3127 - 0.3290) / 0.3290])
    columns = np.array([[x / y, 1.0, (1 - x - y) / y] for x, y in (red, green, blue)]).T
    to_xyz = columns * np.linalg.solve(columns, white)
    bradford = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
    d50 = np.array([0.9642, 1.0, 0.8249])
    adapt = np.linalg.inv(bradford) @ np.diag((bradford @ d50) / (bradford @ white)) @ bradford
    matrix = adapt @ to_xyz
    curve = b"curv" + struct.pack(">4xIH", 1, round(2.2 * 256)) + b"\x00\x00"
    tags = [(b"desc", _desc(name)), (b"cprt", b"text\x00\x00\x00\x00CC0\x00"), (b"wtpt", _xyz(d50))]
    tags += [(sign, _xyz(matrix[:, i])) for i, sign in enumerate((b"rXYZ", b"gXYZ", b"bXYZ"))]
    tags += [(sign, curve) for sign in (b"rTRC", b"gTRC", b"bTRC")]
    return _profile(b"RGB ", tags)


def gray_profile(name: str = "Dot Gain Test") -> bytes:
    curve = b"curv" + struct.pack(">4xIH", 1, round(1.8 * 256)) + b"\x00\x00"
    d50 = np.array([0.9642, 1.0, 0.8249])
    return _profile(b"GRAY", [(b"desc", _desc(name)), (b"wtpt", _xyz(d50)), (b"kTRC", curve)])


def display_p3() -> bytes:
    return rgb_profile("Display P3 Test", (0.680, 0.320), (0.265, 0.690), (0.150, 0.060))


def adobe_rgb() -> bytes:
    return rgb_profile("Adobe RGB Test", (0.640, 0.330), (0.210, 0.710), (0.150, 0.060))


def _xyz(values: Array) -> bytes:
    return b"XYZ " + struct.pack(">4x3i", *(round(float(v) * 65536) for v in values))


def _desc(name: str) -> bytes:
    text = name.encode() + b"\x00"
    return b"desc" + struct.pack(">4xI", len(text)) + text + b"\x00" * 78


def _profile(space: bytes, tags: list[tuple[bytes, bytes]]) -> bytes:
    at = 128 + 4 + 12 * len(tags)
    table, body = struct.pack(">I", len(tags)), b""
    for sign, data in tags:
        table += sign + struct.pack(">II", at + len(body), len(data))
        body += data + b"\x00" * (-len(data) % 4)
    head = struct.pack(">I4sI4s4s4s", at + len(body), b"\x00" * 4, 0x02400000, b"mntr", space, b"XYZ ")
    head += struct.pack(">6H4s", 2024, 1, 1, 0, 0, 0, b"acsp") + b"\x00" * 28 + struct.pack(">3i", 63190, 65536, 54061)
    return head.ljust(128, b"\x00") + table + body
