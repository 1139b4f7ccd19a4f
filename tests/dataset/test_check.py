import functools
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dataset.test_blemishes import texture
from pictures import save
from tessera.dataset.check import Report, check
from tessera.dataset.sources import list_pictures


@functools.cache
def scene(seed: int, height: int = 256, width: int = 320) -> np.ndarray:
    planes = [texture(max(height, width), seed=3 * seed + plane)[:height, :width] for plane in range(3)]
    mixed = planes[0] * 0.7 + 40
    return np.stack([np.clip(mixed + plane * 0.1, 0, 255) for plane in planes], axis=2).astype(np.uint8)


def shrunk(pixels: np.ndarray, factor: int = 4) -> np.ndarray:
    height, width = pixels.shape[:2]
    return np.asarray(Image.fromarray(pixels).resize((width // factor, height // factor), Image.Resampling.BICUBIC))


@pytest.fixture
def folder(tmp_path) -> Path:
    made = tmp_path / "hr"
    made.mkdir()
    for seed in range(4):
        save(made / f"{seed}.png", scene(seed))
    return made


def kinds(report: Report) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for finding in report.findings:
        found.setdefault(finding.kind, []).append(Path(finding.picture).name)
        assert finding.picture in finding.sentence
    return found


def test_good_pictures_and_pairs_are_clean(folder, tmp_path):
    (tmp_path / "lr").mkdir()
    for seed in range(4):
        save(tmp_path / "lr" / f"{seed}x4.png", shrunk(scene(seed)))
    report = check(list_pictures([folder], [tmp_path / "lr"]), scale=4)
    assert report.findings == ()
    assert report.clean
    assert report.pictures == 4


def test_every_fault_of_a_picture_is_found_and_only_there(folder):
    (folder / "cut.png").write_bytes((folder / "0.png").read_bytes()[:9000])
    (folder / "text.jpg").write_text("hello")
    save(folder / "same.webp", scene(1), lossless=True)
    save(folder / "similar.jpg", np.asarray(Image.fromarray(scene(2)).resize((250, 200))), Q=85)
    save(folder / "blank.png", np.full((200, 200, 3), 200, np.uint8))
    save(folder / "tiny.png", scene(9)[:40, :60])
    small = Image.fromarray(scene(10, 140, 160))
    save(folder / "upscaled.png", np.asarray(small.resize((480, 420), Image.Resampling.BICUBIC)))
    save(folder / "blocky.jpg", scene(11, 400, 400), Q=8)
    report = check(list_pictures([folder]))
    found = kinds(report)
    assert found.pop("corrupt") == ["cut.png", "text.jpg"]
    assert found.pop("duplicate") == ["same.webp"]
    assert found.pop("near-duplicate") == ["similar.jpg"]
    assert found.pop("near-blank") == ["blank.png"]
    assert found.pop("tiny") == ["tiny.png"]
    assert "upscaled.png" in found.pop("upscaled")
    assert found.pop("blocky") == ["blocky.jpg"]
    assert found == {}
    assert not report.clean


def test_a_turned_picture_is_a_note_and_no_fault(folder):
    save(folder / "turned.png", scene(20), ints={"orientation": 6})
    report = check(list_pictures([folder]))
    assert kinds(report) == {"rotated": ["turned.png"]}
    assert report.clean


def test_every_fault_of_a_pair_is_found_and_only_there(folder, tmp_path):
    lr = tmp_path / "lr"
    lr.mkdir()
    save(lr / "0.png", shrunk(scene(0)))
    save(lr / "1.png", shrunk(scene(7)))
    save(lr / "2.png", shrunk(scene(2), 2))
    save(lr / "3.png", shrunk(np.roll(scene(3), (3, -2), (0, 1))))
    save(folder / "4.png", scene(4))
    save(lr / "4.png", np.ascontiguousarray(shrunk(scene(4))[:, ::-1]))
    save(folder / "5.png", scene(5))
    report = check(list_pictures([folder], [lr]), scale=4)
    assert kinds(report) == {
        "mis-paired": ["1.png", "4.png"],
        "mis-scaled": ["2.png"],
        "misaligned": ["3.png"],
        "partnerless": ["5.png"],
    }
    by_name = {Path(finding.picture).name: finding.sentence for finding in report.findings}
    assert "mirrored or rotated" in by_name["4.png"]
    assert "by 3 pixels down and -2 to the right" in by_name["3.png"]


def test_what_is_tested_on_is_found_also_mirrored_turned_and_smaller(folder, tmp_path):
    tests = tmp_path / "Set5"
    tests.mkdir()
    save(tests / "forward_batch.png", scene(0))
    save(tests / "turned.png", np.ascontiguousarray(np.rot90(scene(1))))
    save(tests / "mirrored_small.jpg", np.ascontiguousarray(shrunk(scene(2), 2)[:, ::-1]), Q=80)
    save(tests / "another.png", scene(30))
    report = check(list_pictures([folder]), against=list_pictures([tests]).gt)
    assert kinds(report) == {"leak": ["0.png", "1.png", "2.png"]}
    assert [Path(finding.other).name for finding in report.findings] == [
        "forward_batch.png",
        "turned.png",
        "mirrored_small.jpg",
    ]


def test_several_processes_find_the_same(folder):
    (folder / "cut.png").write_bytes((folder / "0.png").read_bytes()[:9000])
    save(folder / "similar.jpg", scene(2), Q=85)
    listing = list_pictures([folder])
    assert check(listing, workers=2) == check(listing)
