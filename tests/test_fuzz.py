"""Damaged picture files on the whole way, from the file through a network into a file: a picture, or a sentence.

The damage is drawn from a seed that every failure names; what is read, how it is worked on and what is written take
turns, so that each kind of input meets each format of output and each way of working.
"""

from __future__ import annotations

import struct
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

from pictures import (
    chunk,
    display_p3,
    exif_block,
    exif_tiff,
    gray_profile,
    jpeg_with_segments,
    png_with_chunks,
    ramp,
    save,
    with_exif,
)
from stand_ins import loaded
from tessera.errors import PictureError, TesseraError
from tessera.generators import SRVGGNetCompactConfig
from tessera.images.libvips import vips
from tessera.images.picture import read_picture
from tessera.images.picture_format import Limits
from tessera.images.reader import PictureReader
from tessera.tiling.settings import OutScale, Settings
from tessera.upscaling.filejob import Forecast, Outcome
from tessera.upscaling.upscaler import Upscaler

HEIGHT, WIDTH, SCALE = 33, 37, 2
SECONDS_A_CASE = 20  # of processor time: a bound on the work, whatever else the machine does
LIMITS = Limits(max_pixels=2**18, max_output_pixels=2**20)
OUTPUTS = ("png", "jpg", "webp", "tif", "gif", "ppm", "avif")
WAYS = (
    Settings(limits=LIMITS),
    Settings(limits=LIMITS, frames=True),
    Settings(limits=LIMITS, outscale=OutScale(factor=1.5), quality=40),
    Settings(limits=LIMITS, seamless=True, tile=32),
    Settings(limits=LIMITS, color_lock=True, flat_lock=False, tile=48),
    Settings(limits=LIMITS, alpha="lanczos", tile=0),
)


@pytest.fixture(scope="module")
def upscalers() -> list[Upscaler]:
    """The same few hundred numbers, in every way of working."""
    torch.manual_seed(0)
    config = SRVGGNetCompactConfig(features=4, convolutions=1, scale=SCALE)
    generator = loaded(config.build(), config)
    return [Upscaler(generator, settings=settings, engine="pytorch") for settings in WAYS]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Whole files of every format: 8 and 16 bits, gray and RGB, with alpha, ICC, EXIF, turned, animated."""
    folder = tmp_path_factory.mktemp("whole")
    rgb, rgba = ramp(HEIGHT, WIDTH, 3), ramp(HEIGHT, WIDTH, 4)
    deep, deep_alpha = ramp(HEIGHT, WIDTH, 3, np.uint16), ramp(HEIGHT, WIDTH, 4, np.uint16)
    gray, gray_alpha = ramp(HEIGHT, WIDTH, 1), ramp(HEIGHT, WIDTH, 2, np.uint16)
    block = exif_block()
    blobs = {"icc-profile-data": display_p3(), "exif-data": b"Exif\x00\x00" + block, "xmp-data": b"<x:xmpmeta/>"}
    icc = {"icc-profile-data": display_p3()}
    gray_icc = {"icc-profile-data": gray_profile()}

    def at(suffix: str) -> Path:
        return folder / f"{len(made)}.{suffix}"

    made: dict[str, bytes] = {}
    made["jpg"] = save(at("jpg"), rgb, blobs=blobs).read_bytes()
    made["progressive.jpg"] = save(at("jpg"), rgb, interlace=True).read_bytes()
    made["exif.jpg"] = with_exif(at("jpg"), rgb, block).read_bytes()
    made["gray.jpg"] = save(at("jpg"), gray, blobs=gray_icc).read_bytes()
    made["icc.png"] = save(at("png"), rgb, blobs=icc).read_bytes()
    made["alpha.png"] = save(at("png"), rgba).read_bytes()
    made["deep.png"] = save(at("png"), deep_alpha, blobs=icc).read_bytes()
    made["gray.png"] = save(at("png"), gray_alpha).read_bytes()
    made["palette.png"] = save(at("png"), rgba, palette=True).read_bytes()
    made["interlaced.png"] = save(at("png"), rgb, interlace=True).read_bytes()
    made["exif.png"] = with_exif(at("png"), rgb, block).read_bytes()
    made["texts.png"] = with_texts(save(at("png"), rgb, keep="none").read_bytes(), block)
    made["hdr.jpg"] = ultra_hdr(made["exif.jpg"])
    made["comment.gif"] = with_comment(save(at("gif"), rgba).read_bytes())
    made["webp"] = save(at("webp"), rgb, blobs=blobs).read_bytes()
    made["alpha.webp"] = save(at("webp"), rgba, lossless=True).read_bytes()
    made["exif.webp"] = with_exif(at("webp"), rgb, block).read_bytes()
    made["tif"] = save(at("tif"), rgb, blobs=icc).read_bytes()
    made["deep.tif"] = save(at("tif"), deep_alpha, compression="deflate", predictor="horizontal").read_bytes()
    made["lzw.tif"] = save(at("tif"), rgba, compression="lzw", blobs=icc).read_bytes()
    made["tiled.tif"] = save(at("tif"), deep, tile=True, tile_width=16, tile_height=16, bigtiff=True).read_bytes()
    made["jpeg.tif"] = save(at("tif"), rgb, compression="jpeg").read_bytes()
    made["exif.tif"] = exif_tiff(rgb, block, orientation=6)
    made["avif"] = save(at("avif"), rgb, blobs=blobs, Q=60).read_bytes()
    made["deep.avif"] = save(at("avif"), deep_alpha, bitdepth=10).read_bytes()
    made["gif"] = save(at("gif"), rgba).read_bytes()
    made["animated.gif"] = animation(folder / "animated.gif").read_bytes()
    made["animated.webp"] = animation(folder / "animated.webp").read_bytes()
    made["ppm"] = f"P6\n# made\n{WIDTH} {HEIGHT}\n255\n".encode() + rgb.tobytes()
    made["deep.ppm"] = f"P6 {WIDTH} {HEIGHT} 65535\n".encode() + deep.astype(">u2").tobytes()
    made["plain.ppm"] = f"P3\n{WIDTH} {HEIGHT}\n255\n".encode() + " ".join(map(str, rgb.ravel())).encode()
    made["pgm"] = f"P5\n{WIDTH} {HEIGHT}\n200\n".encode() + (gray // 2).tobytes()
    return made


KINDS = [
    *("jpg", "progressive.jpg", "exif.jpg", "gray.jpg"),
    *("icc.png", "alpha.png", "deep.png", "gray.png", "palette.png", "interlaced.png", "exif.png"),
    *("texts.png", "hdr.jpg", "comment.gif"),
    *("webp", "alpha.webp", "exif.webp"),
    *("tif", "deep.tif", "lzw.tif", "tiled.tif", "jpeg.tif", "exif.tif"),
    *("avif", "deep.avif", "gif", "animated.gif", "animated.webp"),
    *("ppm", "deep.ppm", "plain.ppm", "pgm"),
]


XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6" '
    b'xmlns:H="http://ns.adobe.com/hdr-gain-map/1.0/" H:Version="1.0" '
    b'xmlns:N="http://ns.adobe.com/xmp/note/" N:HasExtendedXMP="%s"/></rdf:RDF></x:xmpmeta>'
) % (b"A" * 32)


def with_texts(png: bytes, block: bytes) -> bytes:
    """A PNG with every kind of text and EXIF, before and after the pixels."""
    early = chunk(b"tEXt", b"Title\0x") + chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"long" * 99))
    early += chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP)
    profile = b"Raw profile type iptc\0\niptc\n      10\n" + (b"\x1c\x02\x78\x00\x05hello").hex().encode()
    late = chunk(b"tEXt", profile) + chunk(b"iTXt", b"K\0\1\0de\0K\0" + zlib.compress(b"hi")) + chunk(b"eXIf", block)
    return png_with_chunks(png, early)[:-12] + late + png[-12:]


def ultra_hdr(jpeg: bytes) -> bytes:
    """A JPEG with extended XMP, Photoshop's resources, a comment, a gain map, a second picture and a film."""
    xmp = (0xE1, b"http://ns.adobe.com/xap/1.0/\0" + XMP)
    head = b"http://ns.adobe.com/xmp/extension/\0" + b"A" * 32 + struct.pack(">II", len(XMP), 0)
    photoshop = b"Photoshop 3.0\0" + b"8BIM\x04\x04\0\0\0\0\0\x0a\x1c\x02\x78\0\x05hello"
    first = jpeg_with_segments(jpeg, xmp, (0xE1, head + XMP), (0xED, photoshop), (0xFE, b"comment"))
    return first + jpeg_with_segments(jpeg, xmp) + jpeg + b"\0\0\0\x18ftypmp42"


def with_comment(gif: bytes) -> bytes:
    return (
        gif[:-1] + b"\x21\xfe\x05hello\0" + b"\x21\xff\x0bXMP DataXMP<x/>" + bytes((1, *range(255, -1, -1), 0)) + b";"
    )


def animation(path: Path) -> Path:
    """Three frames, one above the other, as libvips holds them."""
    frames = [ramp(HEIGHT, WIDTH, 3, seed=seed) // (seed + 1) for seed in range(3)]
    image = vips().Image.new_from_array(np.concatenate(frames)).copy(interpretation="srgb")
    image.set_type(vips().GValue.gint_type, "page-height", HEIGHT)
    image.set_type(vips().GValue.array_int_type, "delay", [100] * 3)
    image.write_to_file(str(path))
    return path


def damaged(data: bytes, rng: np.random.Generator) -> bytes:
    """Flip, overwrite, cut out, put in and repeat bytes, more often near the start, where the structure is; or cut."""
    made = bytearray(data)
    for _ in range(rng.integers(1, 6)):
        near = min(len(made), 256) if rng.random() < 0.5 else len(made)
        at = int(rng.integers(0, near))
        match rng.integers(0, 8):
            case 0:
                made[at] ^= 1 << int(rng.integers(0, 8))
            case 1:
                made[at] = int(rng.choice([0, 1, 127, 128, 255]))
            case 2:
                made[at : at + 4] = struct.pack(">I", int(rng.choice([0, 1, 2**31 - 1, 2**31, 2**32 - 1, 65_536])))
            case 3:
                made[at : at + 2] = struct.pack("<H", int(rng.choice([0, 1, 255, 4096, 65_535])))
            case 4:
                del made[at : at + int(rng.integers(1, 30))]
            case 5:
                made[at:at] = rng.bytes(int(rng.integers(1, 20)))
            case 6:
                made[at:at] = made[at : at + int(rng.integers(1, 60))]
            case _:
                del made[int(rng.integers(len(made) // 2, len(made))) :]
        if len(made) < 4:
            break
    return with_right_sums(bytes(made)) if rng.random() < 0.5 else bytes(made)


def with_right_sums(data: bytes) -> bytes:
    """Mend the check sums of a PNG, so that what lies behind them is reached; other files stay as they are."""
    made, at = bytearray(data), 8
    while data.startswith(b"\x89PNG") and at + 12 <= len(made):
        end = at + 8 + int.from_bytes(made[at : at + 4], "big")
        if end + 4 > len(made):
            break
        made[end : end + 4] = zlib.crc32(made[at + 4 : end]).to_bytes(4, "big")
        at = end + 4
    return bytes(made)


def attempt(upscaler: Upscaler, source: Path, output: Path) -> bool:
    """Upscale one file and check all that may be found afterwards -> whether it became a picture.

    Anything that is no TesseraError comes out, and so fails the test.
    """
    began = time.process_time()
    sentence: str | None = None
    predicted: Forecast | None = None
    outcome: Outcome | None = None
    try:
        predicted = upscaler.forecast(source, output)
        outcome = upscaler.upscale_file(source, output)
    except TesseraError as error:
        sentence = str(error)
    seconds = time.process_time() - began
    assert seconds < SECONDS_A_CASE, f"it took {seconds:.0f} seconds"
    if predicted is None or outcome is None:
        assert sentence
        assert "\n" not in sentence
        assert not list(output.parent.iterdir()), "something was left behind"
        return False
    assert [path.name for path in output.parent.iterdir()] == [output.name]
    assert outcome.forecast.tiles == outcome.tiles
    expected = (predicted.out_height, predicted.out_width)
    assert read_picture(output).pixels.shape[:2] == expected
    with PictureReader(output, frames=True) as reader:
        # A GIF with equal frames in a row is written with fewer of them.
        assert 1 <= reader.info.frames <= predicted.frames
    output.unlink()
    return True


def fuzz(folder: Path, kind: str, data: bytes, upscalers: list[Upscaler], seeds: range) -> tuple[int, int]:
    """Damage a file once for each seed and send it through -> (pictures, sentences)."""
    results = folder / "results"
    results.mkdir()
    source = folder / f"damaged.{kind.rsplit('.', 1)[-1]}"
    pictures = 0
    for seed in seeds:
        source.write_bytes(damaged(data, np.random.default_rng([seed, zlib.crc32(kind.encode())])))
        output = results / f"out.{OUTPUTS[seed % len(OUTPUTS)]}"
        try:
            pictures += attempt(upscalers[seed % len(upscalers)], source, output)
        except Exception as error:
            raise AssertionError(f"{kind}, seed {seed}, to {output.suffix}: {type(error).__name__}: {error}") from error
    return pictures, len(seeds) - pictures


def test_the_files_to_be_damaged_are_whole_and_become_pictures(
    tmp_path: Path, files: dict[str, bytes], upscalers: list[Upscaler]
) -> None:
    assert list(files) == KINDS
    (tmp_path / "results").mkdir()
    for index, (kind, data) in enumerate(files.items()):
        source = tmp_path / f"whole.{kind.rsplit('.', 1)[-1]}"
        source.write_bytes(data)
        output = tmp_path / "results" / f"out.{OUTPUTS[index % len(OUTPUTS)]}"
        assert attempt(upscalers[index % len(upscalers)], source, output), kind


def test_the_check_sees_what_is_left_behind(tmp_path: Path, upscalers: list[Upscaler]) -> None:
    source = tmp_path / "bad.png"
    source.write_bytes(b"bad")
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / ".out.tessera-part1-0.png").touch()
    with pytest.raises(AssertionError, match="left behind"):
        attempt(upscalers[0], source, tmp_path / "results" / "out.png")
    with pytest.raises(PictureError):
        upscalers[0].upscale_file(source, tmp_path / "results" / "out.png")


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_file_becomes_a_picture_or_a_sentence(
    tmp_path: Path, files: dict[str, bytes], upscalers: list[Upscaler], kind: str
) -> None:
    fuzz(tmp_path, kind, files[kind], upscalers, range(5))


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", KINDS)
def test_thousands_of_damaged_files_become_pictures_or_sentences(
    tmp_path: Path, files: dict[str, bytes], upscalers: list[Upscaler], kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """420 of each of the 32 kinds: 13,440 in all, each pair of output format and way of working ten times."""
    pictures, sentences = fuzz(tmp_path, kind, files[kind], upscalers, range(1000, 1420))
    with capsys.disabled():
        print(f" {kind}: {pictures} pictures, {sentences} sentences")
    assert pictures > 0
    assert sentences > 0
