"""Files are checked before anything is planned: a stand-in for the planner fails the test when it is called."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tessera.cli import main
from tessera.generators import SRVGGNetCompactConfig
from tessera.images.reader import PictureReader
from tessera.images.writer import write_picture
from tessera.planning import planner
from tessera.upscaling import upscaler as upscaler_module
from tessera.upscaling.upscaler import Upscaler
from tessera.weights.files import save_weights


@pytest.fixture(autouse=True)
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TESSERA_CACHE", str(tmp_path / "cache"))
    config = SRVGGNetCompactConfig(features=4, convolutions=1, scale=2)
    torch.manual_seed(0)
    save_weights(tmp_path / "net.safetensors", config, config.build().state_dict())
    return "net.safetensors"


def picture(name: str, side: int = 24) -> None:
    write_picture(np.random.default_rng(side).integers(0, 256, (side, side, 3), np.uint8), Path(name))


def forbid_planning(monkeypatch: pytest.MonkeyPatch) -> None:
    def plan(*_: object) -> None:
        raise AssertionError("a plan was made")

    monkeypatch.setattr(upscaler_module, "prepare", plan)


def truncate(name: str) -> None:
    path = Path(name)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("options", [(), ("--engine", "pytorch"), ("--dry-run",)])
def test_a_broken_picture_is_reported_without_a_plan(
    options: tuple[str, ...], weights: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    forbid_planning(monkeypatch)
    Path("broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 not really")
    Path("clip.mkv").write_bytes(b"\x1aE\xdf\xa3" + bytes(100))
    assert main(["upscale", "broken.jpg", "clip.mkv", "-n", weights, *options]) == 1
    captured = capsys.readouterr()
    assert "broken.jpg" in captured.out + captured.err
    assert "clip.mkv" in captured.out + captured.err
    assert "bug" not in captured.err
    assert not Path("results").exists()


def test_damage_behind_the_header_is_found_without_a_plan(
    weights: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    picture("a.png", 200)
    truncate("a.png")
    forbid_planning(monkeypatch)
    assert main(["upscale", "a.png", "-n", weights]) == 1
    assert "a.png" in capsys.readouterr().err


def test_an_output_beyond_the_limits_is_refused_without_a_plan(
    weights: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    picture("a.png")
    forbid_planning(monkeypatch)
    assert main(["upscale", "a.png", "-n", weights, "--max-output-pixels", "100"]) == 1
    assert "--max-output-pixels 2304 allows it" in capsys.readouterr().err


def test_a_batch_with_nothing_left_to_do_plans_nothing(
    weights: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    for name in ("in/a.png", "in/b.jpg"):
        Path("in").mkdir(exist_ok=True)
        picture(name)
    assert main(["upscale", "in", "-n", weights]) == 0
    forbid_planning(monkeypatch)
    capsys.readouterr()
    for options in ((), ("--engine", "auto"), ("-v",), ("--dry-run",)):
        assert main(["upscale", "in", "-n", weights, *options]) == 0
        assert "2 already done" in capsys.readouterr().out


def test_the_plan_is_for_all_pixels_and_made_once(
    weights: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    Path("in").mkdir()
    for number in range(3):
        picture(f"in/{number}.png", 20)
    Path("in/broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    asked: list[int] = []
    real = planner.Planner.engine_for

    def engine_for(self: planner.Planner, pixels: int):
        asked.append(pixels)
        return real(self, pixels)

    monkeypatch.setattr(planner.Planner, "engine_for", engine_for)
    assert main(["upscale", "in", "-n", weights]) == 1
    assert asked == [4 * 20 * 20]  # the broken one counts as an average picture


def test_each_picture_is_opened_once_and_decoded_twice(weights: str, monkeypatch: pytest.MonkeyPatch):
    picture("a.jpg")
    opened: list[Path] = []
    surveyed: list[Path] = []
    real_open, real_survey = PictureReader.__init__, PictureReader.measure_ranges

    def init(self: PictureReader, path: Path, **options: Any) -> None:
        opened.append(path)
        real_open(self, path, **options)

    def survey(self: PictureReader):
        surveyed.append(self.path)
        return real_survey(self)

    monkeypatch.setattr(PictureReader, "__init__", init)
    monkeypatch.setattr(PictureReader, "measure_ranges", survey)
    assert main(["upscale", "a.jpg", "-n", weights]) == 0
    assert opened == [Path("a.jpg")]
    assert surveyed == [Path("a.jpg")]


def test_wrong_arrays_are_refused_without_a_plan(weights: str, monkeypatch: pytest.MonkeyPatch):
    forbid_planning(monkeypatch)
    upscaler = Upscaler(weights)
    for wrong in (np.zeros((4, 4, 5), np.uint8), np.full((4, 4), np.nan), "photo.jpg", torch.zeros(4)):
        with pytest.raises(ValueError, match=r"(?i)expected|not a picture"):
            upscaler.upscale(wrong)
