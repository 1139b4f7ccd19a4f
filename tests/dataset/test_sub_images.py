from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from pictures import ramp, random_pixels, save
from tessera.dataset.sources import list_pictures
from tessera.dataset.sub_images import CropsConfig, cut_all, list_window_starts
from tessera.errors import PictureError, UsageError
from tessera.images.picture import read_picture


def cut(folder: Path, out: Path, *, resume: bool = False, workers: int = 1, **config) -> list:
    settings = CropsConfig(**{"size": 32, "step": 16, **config})
    return list(cut_all(list_pictures([folder]).gt, out, settings, workers=workers, resume=resume))


@example(1000, 480, 240, 40)
@example(1000, 480, 240, 39)
@given(st.integers(1, 3000), st.integers(8, 500), st.integers(1, 500), st.integers(0, 50))
def test_windows_are_basicsrs_and_leave_at_most_the_threshold(length, size, step, threshold):
    starts = list_window_starts(length, size, step, threshold)
    if length < size:
        assert starts == [0]
        return
    expected = np.arange(0, length - size + 1, step)
    if length - (expected[-1] + size) > threshold:
        expected = np.append(expected, length - size)
    assert starts == expected.tolist()
    assert length - (starts[-1] + size) <= threshold


def test_windows_hold_the_pixels_of_their_place_under_their_number(tmp_path):
    (tmp_path / "hr").mkdir()
    pixels = random_pixels(70, 50, 3, np.uint8)
    save(tmp_path / "hr" / "0001x4.png", pixels)
    ((_, done),) = cut(tmp_path / "hr", tmp_path / "out")
    places = [(top, left) for top in (0, 16, 32, 38) for left in (0, 16, 18)]
    assert done.windows == len(places)
    names = sorted(path.name for path in (tmp_path / "out").glob("*.png"))
    assert names == [f"0001_s{number:03d}.png" for number in range(1, 13)]
    for name, (top, left) in zip(names, places, strict=True):
        assert (read_picture(tmp_path / "out" / name).pixels == pixels[top : top + 32, left : left + 32]).all()


@pytest.mark.parametrize(("channels", "dtype"), [(1, np.uint8), (4, np.uint8), (3, np.uint16), (1, np.uint16)])
def test_depth_gray_and_alpha_stay(channels, dtype, tmp_path):
    (tmp_path / "hr").mkdir()
    pixels = random_pixels(32, 32, channels, dtype)
    save(tmp_path / "hr" / "a.png", pixels)
    cut(tmp_path / "hr", tmp_path / "out")
    found = read_picture(tmp_path / "out" / "a_s001.png").pixels
    assert found.dtype == dtype
    assert (found.reshape(pixels.shape) == pixels).all()


def test_windows_of_a_jpeg_are_png_and_a_small_picture_is_one_window(tmp_path):
    (tmp_path / "hr").mkdir()
    save(tmp_path / "hr" / "a.jpg", ramp(20, 40))
    ((_, done),) = cut(tmp_path / "hr", tmp_path / "out")
    assert done.smaller_than_size
    assert read_picture(tmp_path / "out" / "a_s001.png").pixels.shape == (20, 32, 3)
    assert (tmp_path / "out" / "a_s002.png").exists()


def test_multiscale_cuts_smaller_versions_and_enlarges_none(tmp_path):
    (tmp_path / "hr").mkdir()
    save(tmp_path / "hr" / "wide.png", ramp(500, 640))
    save(tmp_path / "hr" / "small.png", ramp(96, 120))
    cut(tmp_path / "hr", tmp_path / "out", multiscale=True, size=640, step=640)
    sizes = {path.name: read_picture(path).pixels.shape[1::-1] for path in (tmp_path / "out").glob("*.png")}
    assert sizes == {
        "wide_s001.png": (640, 500),
        "wideT0_s001.png": (480, 375),
        "wideT1_s001.png": (320, 250),
        "wideT2_s001.png": (213, 166),
        "wideT3_s001.png": (512, 400),
        "small_s001.png": (120, 96),
        "smallT0_s001.png": (90, 72),
        "smallT1_s001.png": (60, 48),
        "smallT2_s001.png": (40, 32),
    }
    ours = read_picture(tmp_path / "out" / "wideT1_s001.png").pixels.astype(int)
    pillows = np.asarray(Image.fromarray(ramp(500, 640)).resize((320, 250), Image.Resampling.LANCZOS))
    assert np.abs(ours - pillows).max() <= 1


def test_an_existing_folder_is_refused_and_resumed_only_with_the_same_settings(tmp_path):
    (tmp_path / "hr").mkdir()
    for name in ("a", "b"):
        save(tmp_path / "hr" / f"{name}.png", ramp(64, 64))
    cut(tmp_path / "hr", tmp_path / "out")
    with pytest.raises(UsageError, match="is not empty"):
        cut(tmp_path / "hr", tmp_path / "out")
    with pytest.raises(UsageError, match="made with size 32, step 16, threshold 0, not size 48"):
        cut(tmp_path / "hr", tmp_path / "out", resume=True, size=48)
    gone, kept = tmp_path / "out" / "b_s004.png", tmp_path / "out" / "a_s001.png"
    was, whole = kept.stat().st_mtime_ns, gone.read_bytes()
    gone.unlink()
    found = cut(tmp_path / "hr", tmp_path / "out", resume=True)
    assert [result.there_before for _, result in found] == [True, False]
    assert gone.read_bytes() == whole
    assert kept.stat().st_mtime_ns == was
    (tmp_path / "others").mkdir()
    (tmp_path / "others" / "x.txt").touch()
    with pytest.raises(UsageError, match="does not record how"):
        cut(tmp_path / "hr", tmp_path / "others", resume=True)


def test_pictures_that_would_share_names_are_refused(tmp_path):
    for name in ("one/0001.png", "two/0001x4.jpg"):
        (tmp_path / "hr" / name).parent.mkdir(parents=True)
        save(tmp_path / "hr" / name, ramp(64, 64))
    with pytest.raises(UsageError, match="would give crops of the same names"):
        cut(tmp_path / "hr", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_mark_of_scale_is_left_out_only_if_all_names_have_it(tmp_path):
    for folder, names in (("lr", ("box1x4", "box2x4")), ("hr", ("box1", "box2")), ("mixed", ("box2", "box4", "cat"))):
        (tmp_path / folder).mkdir()
        for name in names:
            save(tmp_path / folder / f"{name}.png", ramp(32, 32))
        cut(tmp_path / folder, tmp_path / "out" / folder)
    found = {folder.name: sorted(path.name for path in folder.glob("*.png")) for folder in (tmp_path / "out").iterdir()}
    assert found == {
        "lr": ["box1_s001.png", "box2_s001.png"],
        "hr": ["box1_s001.png", "box2_s001.png"],
        "mixed": ["box2_s001.png", "box4_s001.png", "cat_s001.png"],
    }


def test_a_linked_record_is_not_read(tmp_path):
    (tmp_path / "hr").mkdir()
    save(tmp_path / "hr" / "a.png", ramp(48, 32))
    cut(tmp_path / "hr", tmp_path / "out")
    (tmp_path / "letter").write_text("dear")
    (tmp_path / "out" / "a_s002.png").unlink()
    (tmp_path / "out" / "crops.json").unlink()
    (tmp_path / "out" / "crops.json").symlink_to(tmp_path / "letter")
    with pytest.raises(UsageError, match="does not record how"):
        cut(tmp_path / "hr", tmp_path / "out", resume=True)
    assert (tmp_path / "letter").read_text() == "dear"


def test_a_bad_file_costs_only_itself_with_workers_as_without(tmp_path):
    (tmp_path / "hr").mkdir()
    (tmp_path / "hr" / "bad.png").write_bytes(b"bad")
    save(tmp_path / "hr" / "good.png", ramp(48, 48))
    for workers in (1, 2):
        results = [result for _, result in cut(tmp_path / "hr", tmp_path / f"out{workers}", workers=workers)]
        assert isinstance(results[0], PictureError)
        assert results[1].windows == 4
    assert (tmp_path / "out1" / "good_s002.png").read_bytes() == (tmp_path / "out2" / "good_s002.png").read_bytes()
