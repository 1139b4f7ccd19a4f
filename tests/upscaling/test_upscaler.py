import dataclasses
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import tessera
from engines.sharing import make_random
from stand_ins import FunctionEngine, nearest, repeated
from tessera import Picture, Settings, Upscaler, load_generator, read_picture, write_picture
from tessera.errors import LimitError, NonFiniteError, OutOfMemoryError, PictureError, UsageError
from tessera.generators import RRDBNetConfig
from tessera.images.picture_format import Limits
from tessera.tiling.settings import Changes


def upscaler(scale: int = 4, multiple: int = 1, engine: FunctionEngine | None = None, **settings) -> Upscaler:
    return Upscaler(nearest(scale, multiple), engine=engine or FunctionEngine(repeated(scale)), **settings)


def noise(height: int, width: int, channels: int = 3, dtype: Any = np.uint8) -> np.ndarray:
    rng = np.random.default_rng(height * 1000 + width)
    shape = (height, width, channels) if channels else (height, width)
    return rng.integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)


def enlarged(pixels: np.ndarray, scale: int = 4) -> np.ndarray:
    return pixels.repeat(scale, 0).repeat(scale, 1)


def save(folder: Path, name: str, pixels: np.ndarray) -> Path:
    write_picture(Picture(pixels), folder / name)
    return folder / name


# In memory


@pytest.mark.parametrize("channels", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_an_array_comes_back_larger_in_the_same_type_and_layout(channels, dtype):
    pixels = noise(20, 30, channels, dtype)
    pixels[..., -1] |= np.iinfo(dtype).max // 4  # no pixel is nearly transparent, so no color may change
    result = upscaler().upscale(pixels)
    assert result.dtype == dtype
    assert np.abs(result.astype(int) - enlarged(pixels)).max() <= (1 if channels < 3 else 0)


def test_a_float_array_is_worked_on_in_sixteen_bits_and_comes_back_as_float():
    pixels = noise(20, 30).astype(np.float32) / 255
    result = upscaler().upscale(pixels)
    assert result.dtype == np.float32
    assert np.abs(result - enlarged(pixels)).max() < 1 / 65_535


@pytest.mark.parametrize("shape", [(3, 20, 30), (2, 3, 20, 30), (1, 20, 30)])
def test_a_tensor_comes_back_as_a_tensor(shape):
    tensor = torch.rand(*shape, dtype=torch.float64)
    result = upscaler().upscale(tensor)
    assert result.dtype == tensor.dtype
    assert result.shape == (*shape[:-2], 80, 120)
    expected = tensor.repeat_interleave(4, -1).repeat_interleave(4, -2)
    torch.testing.assert_close(result, expected, atol=2 / 65_535, rtol=0)


@pytest.mark.parametrize(
    "wrong",
    [
        *(np.zeros(shape, np.uint8) for shape in ((4, 4, 5), (0, 4, 3), (4,))),
        *(np.zeros((4, 4), np.int32), np.full((4, 4), 2.0), np.full((4, 4), np.nan)),
        *(torch.zeros(3, 4, 4, dtype=torch.uint8), "photo.jpg"),
    ],
)
def test_what_is_not_a_picture_is_a_usage_error(wrong):
    with pytest.raises(UsageError, match=r"expected|Expected|must be|path is not a picture"):
        upscaler().upscale(wrong)


def test_the_function_and_the_class_agree():
    pixels = noise(12, 12)
    np.testing.assert_array_equal(
        tessera.upscale(pixels, nearest(), engine=FunctionEngine(repeated())), enlarged(pixels)
    )


def test_one_upscaler_serves_many_threads():
    shared = upscaler(tile=32, overlap=4)
    pictures = [noise(50 + index, 70) for index in range(8)]
    results: dict[int, np.ndarray] = {}

    def work(index: int) -> None:
        results[index] = shared.upscale(pictures[index])

    threads = [threading.Thread(target=work, args=(index,)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for index, pixels in enumerate(pictures):
        np.testing.assert_array_equal(results[index], enlarged(pixels))


# Files


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.ppm"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_file_in_tiles_equals_the_enlarged_array(name, dtype, tmp_path):
    pixels = noise(100, 130, 3, dtype)
    source = save(tmp_path, name, pixels)
    outcome = upscaler(tile=40, overlap=8).upscale_file(source, tmp_path / f"out_{name}")
    np.testing.assert_array_equal(read_picture(tmp_path / f"out_{name}").pixels, enlarged(pixels))
    assert outcome.tiles == outcome.forecast.tiles > 4


@pytest.mark.parametrize("multiple", [1, 2, 4])
@pytest.mark.parametrize("size", [(1, 1), (1, 70), (45, 1), (33, 47), (64, 64)])
def test_any_size_works_with_networks_that_want_a_multiple(multiple, size, tmp_path):
    pixels = noise(*size)
    source = save(tmp_path, "a.png", pixels)
    upscaler(2, multiple, tile=32, overlap=4).upscale_file(source, tmp_path / "b.png")
    np.testing.assert_array_equal(read_picture(tmp_path / "b.png").pixels, enlarged(pixels, 2))


def test_a_band_that_waits_on_the_disk_changes_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("tessera.tiling.canvas.LARGEST_IN_MEMORY_BYTES", 1000)
    pixels = noise(150, 130, 4, np.uint16)
    pixels[..., 3] |= 2**15
    source = save(tmp_path, "a.png", pixels)
    upscaler(2, 4, tile=48, overlap=8).upscale_file(source, tmp_path / "b.png")
    np.testing.assert_array_equal(read_picture(tmp_path / "b.png").pixels, enlarged(pixels, 2))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "b.png"]


def test_a_dark_sixteen_bit_picture_stays_sixteen_bit(tmp_path):
    pixels = noise(20, 20, 3, np.uint16) % 200
    source = save(tmp_path, "dark.png", pixels)
    upscaler().upscale_file(source, tmp_path / "out.png")
    result = read_picture(tmp_path / "out.png").pixels
    assert result.dtype == np.uint16
    np.testing.assert_array_equal(result, enlarged(pixels))


def test_sixteen_bits_into_jpeg_are_rounded_and_said(tmp_path):
    source = save(tmp_path, "a.png", noise(20, 20, 3, np.uint16))
    outcome = upscaler().upscale_file(source, tmp_path / "a.jpg")
    assert any("8 bits" in note for note in outcome.notes)


@pytest.mark.parametrize(
    ("outscale", "size"),
    [("2", (40, 60)), ("1.5", (30, 45)), ("100x", (67, 100)), ("x10", (10, 15)), ("0.5", (10, 15))],
)
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_outscale_gives_the_size_that_was_asked_for(outscale, size, channels, tmp_path):
    pixels = np.full((20, 30, channels), 90, np.uint8)
    source = save(tmp_path, "a.png", pixels)
    sized = upscaler(outscale=outscale)
    sized.upscale_file(source, tmp_path / "b.png")
    from_file = read_picture(tmp_path / "b.png").pixels
    assert from_file.shape[:2] == size
    assert np.abs(from_file.astype(int) - 90).max() == 0
    in_memory = sized.upscale(pixels)
    assert in_memory.shape == (*size, channels)
    assert np.abs(in_memory.astype(int) - 90).max() == 0


def test_resampling_keeps_sixteen_bits(tmp_path):
    source = save(tmp_path, "a.png", noise(20, 20, 3, np.uint16))
    upscaler(outscale=2).upscale_file(source, tmp_path / "b.png")
    assert read_picture(tmp_path / "b.png").pixels.dtype == np.uint16


def test_no_fringe_forms_at_the_edge_of_transparency(tmp_path):
    # A red disc, opaque, over transparent black: red must stay red wherever anything can be seen.
    y, x = np.mgrid[:64, :64]
    pixels = np.zeros((64, 64, 4), np.uint8)
    pixels[(y - 32) ** 2 + (x - 32) ** 2 < 400] = (255, 0, 0, 255)
    source = save(tmp_path, "disc.png", pixels)

    def blurring(tensor: torch.Tensor, call: int) -> torch.Tensor:
        soft = torch.nn.functional.avg_pool2d(torch.nn.functional.pad(tensor, (3,) * 4, mode="replicate"), 7, 1)
        return repeated()(soft, call)

    for alpha in ("model", "lanczos"):
        upscaler(engine=FunctionEngine(blurring), alpha=alpha, tile=40, overlap=8).upscale_file(
            source, tmp_path / f"{alpha}.png"
        )
        result = read_picture(tmp_path / f"{alpha}.png").pixels
        seen = result[..., 3] > 0
        assert (result[seen][:, 0] == 255).all()
        assert (result[seen][:, 1:3] == 0).all()
        assert (result[..., 3] == 255).any()
        assert (result[..., 3] == 0).any()


def test_a_soft_edge_on_a_dark_matte_gets_no_dark_fringe(tmp_path):
    # What games and web designers have: white, soft edges, and black wherever alpha is small.
    y, x = np.mgrid[:64, :64]
    alpha = np.clip((22.0 - np.hypot(x - 32, y - 32)) * 64, 0, 255).astype(np.uint8)
    pixels = np.dstack([np.where(alpha > 16, 255, 0).astype(np.uint8)] * 3 + [alpha])
    pixels[(alpha > 0) & (alpha <= 16), :3] = 0

    def blurring(tensor: torch.Tensor, call: int) -> torch.Tensor:
        soft = torch.nn.functional.avg_pool2d(torch.nn.functional.pad(tensor, (2,) * 4, mode="replicate"), 5, 1)
        return repeated()(soft, call)

    result = upscaler(engine=FunctionEngine(blurring)).upscale(pixels).astype(float)
    on_white = result[..., :3] * result[..., 3:] / 255 + 255 - result[..., 3:]
    assert on_white.min() > 250


def test_the_default_overlap_leaves_at_most_one_level_with_a_published_compact_network():
    y, x = np.mgrid[:120, :170]
    pixels = np.dstack(
        (127 + 100 * np.sin(x / 3) * np.cos(y / 5), 255 * ((x // 8 + y // 8) % 2), noise(120, 170)[..., 0])
    )
    generator = load_generator("realesr-animevideov3", offline=True)
    whole, tiled = (
        Upscaler(generator, tile=tile, precision="exact", flat_lock=False).upscale(pixels.astype(np.uint8)).astype(int)
        for tile in (0, 64)
    )
    assert np.abs(whole - tiled).max() <= 1


def test_small_tiles_say_what_their_overlap_costs(tmp_path):
    source = save(tmp_path, "a.png", noise(80, 80))
    outcome = upscaler(tile=32).upscale_file(source, tmp_path / "b.png")
    assert outcome.notes == ()
    deep = Upscaler(load_generator("realesr-animevideov3", offline=True), engine=FunctionEngine(repeated(4)), tile=32)
    outcome = deep.upscale_file(source, tmp_path / "c.png")
    assert "overlap of 12 pixels; this model needs a 16-pixel overlap" in outcome.notes[0]


def test_transparency_stays_transparent_when_resampled(tmp_path):
    pixels = np.zeros((32, 32, 4), np.uint8)
    pixels[:, 16:] = (0, 255, 0, 255)
    source = save(tmp_path, "a.png", pixels)
    upscaler(outscale=3).upscale_file(source, tmp_path / "b.png")
    result = read_picture(tmp_path / "b.png").pixels
    assert result.shape == (96, 96, 4)
    assert (result[:, :40, 3] == 0).all()
    assert (result[:, 56:] == (0, 255, 0, 255)).all()
    seen = result[..., 3] > 8
    assert (result[seen][:, 1] > 240).all()


def test_seamless_gives_a_texture_whose_edges_meet():
    def blurring(tensor: torch.Tensor, call: int) -> torch.Tensor:
        soft = torch.nn.functional.avg_pool2d(tensor, 9, 1, 4)
        return repeated(2)(soft, call)

    pixels = noise(40, 50)
    seamless = upscaler(2, engine=FunctionEngine(blurring), seamless=True, tile=0, overlap=8, flat_lock=False)
    result = seamless.upscale(pixels).astype(int)
    rolled = seamless.upscale(np.roll(pixels, (20, 25), (0, 1))).astype(int)
    assert np.abs(np.roll(result, (40, 50), (0, 1)) - rolled).max() <= 1
    plain = upscaler(2, engine=FunctionEngine(blurring), tile=0, flat_lock=False)
    result, rolled = plain.upscale(pixels).astype(int), plain.upscale(np.roll(pixels, (20, 25), (0, 1))).astype(int)
    assert np.abs(np.roll(result, (40, 50), (0, 1)) - rolled).max() > 20


def test_seamless_works_from_files_in_tiles(tmp_path):
    pixels = noise(70, 60)
    source = save(tmp_path, "a.png", pixels)
    upscaler(seamless=True, tile=32, overlap=4).upscale_file(source, tmp_path / "b.png")
    np.testing.assert_array_equal(read_picture(tmp_path / "b.png").pixels, enlarged(pixels))


@pytest.mark.parametrize("outscale", [0.4, 1.5, 3.3, "77x"])
def test_seamless_stays_seamless_at_any_size(outscale, tmp_path):
    # Sines that repeat: the bend across the seam may be no sharper than any other.
    y, x = np.mgrid[:48, :40]
    wave = 127 + 60 * np.sin(2 * np.pi * (x / 40 * 3 + 0.3)) + 60 * np.sin(2 * np.pi * (y / 48 * 2 + 0.1))
    pixels = np.dstack([wave.round().astype(np.uint8)] * 3)
    with upscaler(seamless=True, outscale=outscale, tile=32) as seamless:
        seamless.upscale_file(save(tmp_path, "a.png", pixels), tmp_path / "b.png")
        result = read_picture(tmp_path / "b.png").pixels
        np.testing.assert_array_equal(seamless.upscale(pixels), result)
    values = result.astype(float)
    for axis in (0, 1):
        inside = np.abs(np.diff(values, axis=axis)).max()
        assert np.abs(np.take(values, 0, axis) - np.take(values, -1, axis)).max() <= inside + 2
        around = np.concatenate((values, values), axis=axis)
        bend = np.abs(np.diff(around, 2, axis=axis))
        seam = np.take(bend, (values.shape[axis] - 2, values.shape[axis] - 1), axis)
        assert seam.max() <= np.abs(np.diff(values, 2, axis=axis)).max() + 3


def test_files_and_arrays_are_resampled_alike(tmp_path):
    pixels = noise(37, 51, 4)
    with upscaler(outscale=1.7) as either:
        either.upscale_file(save(tmp_path, "a.png", pixels), tmp_path / "b.png")
        np.testing.assert_array_equal(either.upscale(pixels), read_picture(tmp_path / "b.png").pixels)


def test_all_frames_of_an_animation_are_written_with_their_times(tmp_path):
    from tessera.images.libvips import vips

    frames = np.zeros((60, 20, 3), np.uint8)
    for index, color in enumerate(((255, 0, 0), (0, 255, 0), (0, 0, 255))):
        frames[index * 20 : index * 20 + 20] = color
    image = vips().Image.new_from_array(frames).copy(interpretation="srgb")
    image.set_type(vips().GValue.gint_type, "page-height", 20)
    image.set_type(vips().GValue.array_int_type, "delay", [100, 50, 70])
    for name in ("a.gif", "a.webp"):
        image.write_to_file(str(tmp_path / name))
        outcome = upscaler(frames=True).upscale_file(tmp_path / name, tmp_path / f"out_{name}")
        written = vips().Image.new_from_file(str(tmp_path / f"out_{name}"), n=-1)
        assert outcome.forecast.frames == 3
        assert (written.width, written.height, written.get("page-height")) == (80, 240, 80)
        assert written.get("delay") == [100, 50, 70]
        middle = written.numpy()[40::80, 40, :3].astype(int)
        assert np.abs(middle - np.eye(3, dtype=int) * 255).max() < 12


# When things go wrong


@pytest.mark.parametrize("failing_call", range(9))
def test_running_out_of_memory_at_any_tile_starts_again_with_smaller_tiles(failing_call, tmp_path):
    def failing(tensor: torch.Tensor, call: int) -> torch.Tensor:
        if tensor.shape[-1] > 60 and call == failing_call:
            raise OutOfMemoryError("simulated")
        return repeated()(tensor, call)

    pixels = noise(170, 170)
    source = save(tmp_path, "a.png", pixels)
    engine = FunctionEngine(failing)
    outcome = upscaler(engine=engine, tile=80, overlap=8).upscale_file(source, tmp_path / "b.png")
    np.testing.assert_array_equal(read_picture(tmp_path / "b.png").pixels, enlarged(pixels))
    assert outcome.tiles_tried == (80, 40)
    assert any("80" in note and "40 fit" in note for note in outcome.notes)
    np.testing.assert_array_equal(upscaler(engine=engine, tile=80, overlap=8).upscale(pixels), enlarged(pixels))


def test_running_out_of_memory_at_every_size_names_the_sizes_and_leaves_nothing(tmp_path):
    def failing(tensor: torch.Tensor, call: int) -> torch.Tensor:
        raise OutOfMemoryError("simulated")

    source = save(tmp_path, "a.png", noise(300, 300))
    with pytest.raises(OutOfMemoryError, match="256, 128, 64, 32 pixels"):
        upscaler(engine=FunctionEngine(failing), tile=256).upscale_file(source, tmp_path / "b.png")
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize(
    ("outscale", "advice"),
    [("64", "a smaller `outscale` than 64"), ("2", "or use a smaller model"), (None, "or use a smaller model")],
)
def test_running_out_of_memory_advises_what_needs_less(outscale, advice):
    def failing(tensor: torch.Tensor, call: int) -> torch.Tensor:
        raise MemoryError

    deep = make_random(RRDBNetConfig(features=4, growth=2, blocks=1))
    with pytest.raises(OutOfMemoryError, match=advice):
        Upscaler(deep, engine=FunctionEngine(failing), outscale=outscale).upscale(noise(20, 20))


def test_running_out_of_memory_with_a_compact_network_advises_no_other_network():
    def failing(tensor: torch.Tensor, call: int) -> torch.Tensor:
        raise MemoryError

    with pytest.raises(OutOfMemoryError, match=r"pixels\. Close other programs\.$"):
        upscaler(engine=FunctionEngine(failing)).upscale(noise(20, 20))


def test_one_piece_falls_back_to_tiles():
    def failing(tensor: torch.Tensor, call: int) -> torch.Tensor:
        if tensor.shape[-1] > 64:
            raise MemoryError
        return repeated()(tensor, call)

    pixels = noise(100, 150)
    np.testing.assert_array_equal(upscaler(engine=FunctionEngine(failing), tile=0).upscale(pixels), enlarged(pixels))


def test_a_tile_that_stays_broken_fails_the_picture_and_leaves_nothing(tmp_path):
    source = save(tmp_path, "a.png", noise(60, 60))
    broken = FunctionEngine(lambda tensor, call: repeated()(tensor, call) + float("nan"))
    with pytest.raises(NonFiniteError):
        upscaler(engine=broken).upscale_file(source, tmp_path / "b.png")
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_a_retried_tile_is_reported(tmp_path):
    source = save(tmp_path, "a.png", noise(60, 60))
    engine = FunctionEngine(lambda tensor, call: repeated()(tensor * 0, call), FunctionEngine(repeated()))
    outcome = upscaler(engine=engine).upscale_file(source, tmp_path / "b.png")
    assert outcome.tiles_retried == 1
    assert any("run again in fp32" in note for note in outcome.notes)


def test_an_array_that_would_become_too_large_is_refused():
    with pytest.raises(LimitError, match=r"max_output_pixels=3600000000\b"):
        upscaler(outscale=3000, limits=Limits(max_output_pixels=10**9)).upscale(noise(20, 20))


def test_limits_on_input_and_output_name_the_setting_that_lifts_them(tmp_path):
    source = save(tmp_path, "a.png", noise(50, 50))
    with pytest.raises(LimitError, match="set `max_pixels` to 2500"):
        upscaler(limits=Limits(max_pixels=2000)).upscale_file(source, tmp_path / "b.png")
    with pytest.raises(LimitError, match="`max_output_pixels` 40000"):
        upscaler(limits=Limits(max_output_pixels=20_000)).upscale_file(source, tmp_path / "b.png")
    upscaler(limits=Limits(max_pixels=None, max_output_pixels=None)).upscale_file(source, tmp_path / "b.png")


def test_what_a_format_cannot_hold_is_refused_before_the_work(tmp_path):
    source = save(tmp_path, "a.png", noise(1, 5000))
    engine = FunctionEngine(repeated())
    with pytest.raises(LimitError, match="WebP allows at most 16,383"):
        upscaler(engine=engine).upscale_file(source, tmp_path / "b.webp")
    assert not engine.shapes


def test_a_damaged_picture_fails_before_the_network_runs(tmp_path):
    source = save(tmp_path, "a.png", noise(200, 200))
    source.write_bytes(source.read_bytes()[:-5000])
    engine = FunctionEngine(repeated())
    with pytest.raises(PictureError):
        upscaler(engine=engine).upscale_file(source, tmp_path / "b.png")
    assert not engine.shapes
    assert not (tmp_path / "b.png").exists()


def test_a_disk_that_is_too_small_is_noticed_before_the_work(tmp_path, monkeypatch):
    import shutil
    from collections import namedtuple

    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9, 1000))
    source = save(tmp_path, "a.png", noise(50, 50))
    with pytest.raises(LimitError, match="are free"):
        upscaler().upscale_file(source, tmp_path / "b.png")


def test_unknown_settings_and_senseless_ones_get_a_sentence():
    with pytest.raises(UsageError, match="tiles: unknown setting"):
        upscaler(tiles=3)
    with pytest.raises(UsageError, match="at least 32"):
        upscaler(tile=8)
    with pytest.raises(UsageError, match="half of `tile` 64"):
        upscaler(tile=64, overlap=32)


def test_every_setting_can_be_given_as_a_keyword():
    assert {*Changes.__annotations__, "engine"} == {field.name for field in dataclasses.fields(Settings)}


def test_a_network_with_other_channels_is_refused():
    with pytest.raises(UsageError, match="takes 4 channels"):
        Upscaler(nearest(channels=4))


def test_the_color_lock_reports_the_difference_before_and_after(tmp_path):
    def shifted(tensor: torch.Tensor, call: int) -> torch.Tensor:
        return repeated()(tensor * 0.9 + 0.03, call)

    y, x = np.mgrid[:80, :80]
    smooth = np.stack((x * 2, y * 2, x + y), -1).astype(np.uint8)
    source = save(tmp_path, "a.png", smooth)
    outcome = upscaler(engine=FunctionEngine(shifted), color_lock=True).upscale_file(source, tmp_path / "b.png")
    assert outcome.color_error_before is not None
    assert outcome.color_error_after is not None
    assert outcome.color_error_after < outcome.color_error_before / 4


@pytest.mark.parametrize("keep", [False, True])
def test_keep_times_gives_the_output_the_times_of_its_input(tmp_path: Path, keep: bool) -> None:
    source, output = tmp_path / "in.png", tmp_path / "out.tif"
    write_picture(noise(20, 30), source)
    taken = 1_000_000_000_123_456_700
    os.utime(source, ns=(taken + 10**9, taken))
    upscaler(keep_times=keep).upscale_file(source, output)
    assert (output.stat().st_mtime_ns == taken) == keep
