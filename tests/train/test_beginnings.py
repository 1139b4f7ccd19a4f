"""Where recipes start, what a fresh adversarial start says, which checkpoint is best, and which discriminators stay."""

from pathlib import Path

import pytest

from tessera.cli import main
from tessera.errors import ModelNotFoundError
from tessera.explain.series import find_checkpoints
from tessera.train.downloads import list_missing
from tessera.train.loop import train
from tessera.train.recipe import Recipe, load_recipe
from tessera.weights.discriminator_file import load_discriminator
from tessera.weights.files import load_weights
from train.runs import SMALL, SMALL_RRDB, RecordingDisplay, make_pictures, make_trunk, trained_lines

WARNING = "Adversarial training starts from random weights"


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    make_pictures(tmp_path / "photos")
    make_pictures(tmp_path / "val", count=1, side=96)
    make_trunk(tmp_path / "trunk.safetensors")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TESSERA_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("TESSERA_OFFLINE", "1")
    return tmp_path


def small(*changes: str, recipe: str = "a-esrgan-multi") -> Recipe:
    return load_recipe(recipe, [*SMALL, *SMALL_RRDB, "steps=4", "name=run", *changes])


@pytest.mark.parametrize(
    ("name", "generator", "discriminator"),
    [
        ("a-esrgan-single", "realesrnet-x4plus", ""),
        ("a-esrgan-multi", "realesrnet-x4plus", ""),
        ("realesrgan", "realesrnet-x4plus", ""),
        ("esrgan", "esrgan-psnr-x4", ""),
        ("a-esrgan-finetune", "a-esrgan-multi", "a-esrgan-multi-d"),
    ],
)
def test_recipes_start_where_the_papers_start(name, generator, discriminator):
    recipe = load_recipe(name)
    assert (recipe.start.generator, recipe.start.discriminator) == (generator, discriminator)
    assert recipe.fresh_start is None
    assert recipe.checkpoint.keep_discriminator_every == 5000


def test_another_network_drops_the_published_start_and_warns(desk, capsys):
    same = load_recipe("realesrgan", ["generator.blocks=23", "data.batch=2"])
    assert same.start.generator == "realesrnet-x4plus"
    other = load_recipe("realesrgan", ["generator.blocks=6"])
    assert other.start.generator == ""
    own = load_recipe("realesrgan", ["generator.blocks=6", "start.generator=mine.pth"])
    assert own.start.generator == "mine.pth"
    assert main(["config", "check", "realesrgan", "generator.blocks=6"]) == 0
    assert f"realesrgan: the recipe is valid, but not sound. {WARNING}" in capsys.readouterr().out
    assert main(["config", "check", "realesrgan"]) == 0
    assert "realesrgan: the recipe is valid.\n" in capsys.readouterr().out
    assert load_recipe("finetune", ["generator.blocks=6"]).start.generator == "realesrgan-x4plus"
    for name in ("rrdb-psnr", "realesrnet", "pytorch-gan", "compact-psnr"):  # without a discriminator at first
        assert load_recipe(name).fresh_start is None


def test_a_start_that_has_no_address_is_optional_and_one_with_an_address_is_not(desk, capsys):
    assert main(["config", "check", "esrgan"]) == 0
    assert "esrgan: the recipe is valid, but not sound. esrgan-psnr-x4 (RRDB_PSNR_x4.pth" in capsys.readouterr().out
    assert "start.generator" not in {each.key for each in list_missing(load_recipe("esrgan"))}
    assert "start.generator" in {each.key for each in list_missing(load_recipe("realesrgan"))}
    assert {each.key for each in list_missing(load_recipe("a-esrgan-finetune"))} >= {
        "start.generator",
        "start.discriminator",
    }
    with pytest.raises(ModelNotFoundError, match="realesrnet-x4plus is not on this machine"):
        train(load_recipe("realesrgan", [*SMALL, "name=run"]), resume=False, display=RecordingDisplay())


def test_a_fresh_adversarial_run_warns_once_and_keeps_its_discriminators(desk):
    watcher = RecordingDisplay()
    changes = (
        "checkpoint.keep_discriminator_every=2",
        "checkpoint.keep=1",
        "checkpoint.every=4",
        "discriminator.features=4",
    )
    train(small(*changes), resume=False, display=watcher)
    assert len([each for each in watcher.sentences if each.startswith(WARNING)]) == 1
    run = desk / "runs" / "run"
    kept = sorted(path.name for path in (run / "discriminators").iterdir())
    assert kept == [f"discriminator_{step}.safetensors" for step in (2, 4)]
    found = find_checkpoints([run])
    assert [each.step for each in found] == [2, 4]
    assert load_discriminator(found[0].path).config == small("discriminator.features=4").discriminator
    assert found[-1].path == run / "checkpoints" / "000000004" / "discriminator.safetensors"
    assert found[-1].generator is not None


def test_the_best_of_an_adversarial_run_is_by_perceptual_distance_and_never_the_start(desk):
    train(small("name=first", "steps=1", recipe="rrdb-psnr"), resume=False, display=RecordingDisplay())
    changes = (
        *("start.generator=runs/first/latest.safetensors", "validation.every=1", "optimizer.rate=0.01"),
        *("discriminator.features=4", "perceptual.weight=1", "perceptual.trunk=trunk.safetensors"),
    )
    train(small(*changes), resume=False, display=RecordingDisplay())
    lines = [line for line in trained_lines(desk / "runs" / "run") if line["kind"] == "validation"]
    assert [line["step"] for line in lines] == [0, 1, 2, 3, 4]
    assert {"psnr", "ssim", "perceptual"} <= lines[0].keys()
    best = min(lines[1:], key=lambda line: line["perceptual"])
    found = load_weights(desk / "runs" / "run" / "best.safetensors").metadata
    assert found["tessera.step"] == str(best["step"])
    assert found["tessera.validation"] == f"perceptual {best['perceptual']:.4f}"
    page = (desk / "runs" / "run" / "report.html").read_text()
    assert "chosen by the lowest perceptual distance of all validations after the start" in page


@pytest.mark.parametrize(
    ("recipe", "changes", "metrics"),
    [
        ("rrdb-psnr", (), ("psnr",)),
        ("a-esrgan-multi", (), ("perceptual", "psnr")),
        ("a-esrgan-multi", ("perceptual.weight=0",), ("niqe", "psnr")),
        ("a-esrgan-multi", ("validation.best=ssim",), ("ssim",)),
    ],
)
def test_the_rule_for_the_best_follows_the_kind_of_training(recipe, changes, metrics):
    assert load_recipe(recipe, changes).best_metrics == metrics


def test_a_file_replaces_the_layers_of_its_recipe(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(
        'recipe = "realesrgan"\n[perceptual]\ntrunk = "vgg19-distilled"\nlayers = { conv3_4 = 0.5, conv5_1 = 1.0 }\n'
    )
    perceptual = load_recipe(str(path)).perceptual
    assert perceptual is not None
    assert perceptual.layers == {"conv3_4": 0.5, "conv5_1": 1.0}
    assert perceptual.weight == 1.0  # other keys of the table are merged
