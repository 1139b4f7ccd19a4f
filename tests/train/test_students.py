"""Runs that begin with some of another network's blocks and learn from stored pairs."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch

from pictures import random_pixels
from tessera.dataset.taught import Teaching, open_taught
from tessera.errors import TrainingError, UsageError
from tessera.generators import RRDBNetConfig, SRVGGNetCompactConfig
from tessera.pruning.cutting import prune
from tessera.train.loop import train
from tessera.train.recipe import Recipe, load_recipe
from tessera.weights.files import load_weights, save_weights
from tessera.weights.license import LICENSE_KEY
from train.runs import SMALL, RecordingDisplay

NARROW = ("generator.features=4", "generator.growth=2", "optimizer.rate=1e-30", "data.patch=64")
SHA256 = "12" * 32


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a network of four blocks, `whole.safetensors`, and a store of pairs, `store`."""
    config = RRDBNetConfig(features=4, growth=2, blocks=4)
    torch.manual_seed(5)
    state = config.build().state_dict()
    for name in state:  # so that blocks differ in what they add
        if name.startswith("body."):
            state[name] = state[name] * (1 + 2.0 * ((7 * int(name.split(".")[1])) % 4))
    save_weights(tmp_path / "whole.safetensors", config, state, metadata={LICENSE_KEY: "BSD-3-Clause"})
    make_store(tmp_path / "store")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def make_store(folder: Path, *, sha256: str = SHA256, scale: int = 4) -> None:
    teaching = Teaching(teacher="big", sha256=sha256, license="MIT", scale=scale, side=16, inputs={})
    pairs = [
        (random_pixels(16, 16, 3, "uint8", seed=n), random_pixels(16 * scale, 16 * scale, 3, "uint8", seed=n + 50))
        for n in range(16)
    ]
    with open_taught(folder, teaching, pairs=16, resume=False) as store:
        store.add(pairs)


def student(*changes: str) -> Recipe:
    base = [*SMALL, *NARROW, "data.train=store", "pool=0", "name=student", "steps=2"]
    return load_recipe("rrdb-psnr", [*base, "start.generator=whole.safetensors", *changes])


def trained(
    recipe: Recipe, *, resume: bool = False, restart: bool = False
) -> tuple[dict[str, torch.Tensor], dict[str, str], RecordingDisplay]:
    heard = RecordingDisplay()
    train(recipe, resume=resume, restart=restart, display=heard)
    found = load_weights(recipe.folder / "latest.safetensors")
    return found.state, dict(found.metadata), heard


def kept_blocks(state: dict[str, torch.Tensor], whole: dict[str, torch.Tensor]) -> list[int]:
    """Which of the whole network's blocks these are, by their weights."""
    name = "body.{}.rdb1.conv1.weight"
    count = sum(key.endswith("rdb1.conv1.weight") for key in state)
    return [
        next(old for old in range(4) if torch.allclose(state[name.format(new)], whole[name.format(old)]))
        for new in range(count)
    ]


def test_a_run_begins_with_the_blocks_that_pruning_keeps_on_its_inputs(desk: Path) -> None:
    whole = load_weights(Path("whole.safetensors"))
    recipe = student("start.blocks=2")
    assert recipe.generator.model_dump()["blocks"] == 2
    state, _, heard = trained(recipe)
    inputs = torch.stack(
        [torch.from_numpy(random_pixels(16, 16, 3, "uint8", seed=n)).movedim(-1, 0) for n in range(16)]
    )
    expected = prune(whole, 2, [inputs / 255], dense=False)
    assert kept_blocks(state, whole.state) == list(expected.kept)
    assert expected.kept != (0, 1)  # which would have stayed without measuring
    assert any(f"blocks {expected.kept[0]}, {expected.kept[1]} of its 4 " in said for said in heard.sentences)
    assert torch.allclose(state["conv_last.weight"], whole.state["conv_last.weight"])


def test_blocks_that_are_named_stay(desk: Path) -> None:
    state, _, _ = trained(student("start.blocks=[0, 2, 3]"))
    assert kept_blocks(state, load_weights(Path("whole.safetensors")).state) == [0, 2, 3]


def test_a_pruned_and_taught_run_resumes_to_the_bit(desk: Path) -> None:
    changes = ("start.blocks=2", "optimizer.rate=1e-3", "ema=0.9", "checkpoint.every=1", "schedule.periods=[9]")
    whole, _, _ = trained(student(*changes, "name=whole", "steps=4"))
    trained(student(*changes, "name=halves", "steps=2"))
    halves, _, heard = trained(student(*changes, "name=halves", "steps=4"), resume=True)
    assert all(torch.equal(value, halves[name]) for name, value in whole.items())
    assert not any("blocks" in said for said in heard.sentences)  # the checkpoint has them: nothing is measured again


def test_a_run_that_restarts_measures_again(desk: Path) -> None:
    recipe = student("start.blocks=2")
    before, _, _ = trained(recipe)
    for folder in (recipe.folder / "checkpoints").iterdir():
        (folder / "state.json").write_text("torn")
    again, _, _ = trained(recipe, resume=True, restart=True)
    assert kept_blocks(again, before)[:2] == [0, 1]


def test_files_name_what_a_student_was_cut_from_who_taught_it_and_the_licenses(desk: Path) -> None:
    _, metadata, _ = trained(student("start.blocks=2"))
    digest = hashlib.sha256(Path("whole.safetensors").read_bytes()).hexdigest()
    assert metadata["tessera.begun_from"] == f"whole, sha256 {digest}"
    assert metadata["tessera.teacher"] == f"big, sha256 {SHA256}"
    assert metadata[LICENSE_KEY] == "BSD-3-Clause AND MIT"


def test_a_store_of_another_teacher_does_not_take_the_place_of_the_first(desk: Path) -> None:
    trained(student("start.blocks=2"))
    Path("store").rename("old")
    make_store(Path("store"), sha256="34" * 32)
    with pytest.raises(TrainingError, match="The teacher, big, is not the file that the run started with"):
        train(student("start.blocks=2", "steps=4"), resume=True, display=RecordingDisplay())


def test_a_store_of_another_scale_is_refused(desk: Path) -> None:
    make_store(Path("double"), scale=2)
    with pytest.raises(
        TrainingError, match="expected pairs of scale 4, like the generator; found a store by big of scale 2"
    ):
        train(student("data.train=double", "start.blocks=2"), resume=False, display=RecordingDisplay())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (("start.blocks=3", "generator.blocks=2"), "start.blocks keeps 3 blocks, and generator.blocks is 2"),
        (("start.blocks=[0, 1]", "generator.blocks=3"), "start.blocks keeps 2 blocks, and generator.blocks is 3"),
    ],
)
def test_another_number_of_blocks_than_stay_is_refused(changes: tuple[str, ...], said: str, desk: Path) -> None:
    with pytest.raises(TrainingError, match=said):
        train(student(*changes), resume=False, display=RecordingDisplay())


def test_without_a_network_to_begin_from_there_is_nothing_to_choose() -> None:
    recipe = student("start.generator=", "start.blocks=3", "generator.blocks=2")
    assert recipe.generator.model_dump()["blocks"] == 2


def test_blocks_of_another_network_are_refused(desk: Path) -> None:
    with pytest.raises(UsageError, match=r"start\.blocks needs an rrdbnet"):
        load_recipe("compact-psnr", [*SMALL, "start.generator=whole.safetensors", "start.blocks=2"])
    config = SRVGGNetCompactConfig(features=4, convolutions=1)
    save_weights(desk / "compact.safetensors", config, config.build().state_dict())
    with pytest.raises(
        UsageError, match=r"start\.blocks: compact: expected weights of an rrdbnet, found srvggnetcompact"
    ):
        train(
            student("start.generator=compact.safetensors", "start.blocks=1"), resume=False, display=RecordingDisplay()
        )
