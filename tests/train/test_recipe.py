"""Recipes: the published numbers, what may be changed, and that each one builds and trains."""

import pytest
import torch

from tessera.config import format_toml, read_toml, validate
from tessera.errors import UsageError
from tessera.images.resize import resize
from tessera.losses import adversarial_preset
from tessera.train.batches import TrainingBatch
from tessera.train.loop import train
from tessera.train.networks import load_networks
from tessera.train.parts import build_fresh_generator, build_parts
from tessera.train.processes import Processes
from tessera.train.recipe import RECIPES, Recipe, load_recipe
from tessera.train.resuming import find_fixed_changes
from tessera.train.step import StepInfo, train_step
from tessera.weights.files import load_weights
from train.runs import SMALL, SMALL_RRDB, RecordingDisplay, make_pictures, make_trunk, trained_lines

# steps (or epochs), batch, patch, rate, beta2, EMA, (pixel, perceptual, adversarial) weights: systems as published
PUBLISHED = {
    "rrdb-psnr": (1_000_000, 16, 128, 2e-4, 0.99, 0.999, (1, None, None)),
    "esrgan": (400_000, 16, 128, 1e-4, 0.99, 0.999, (1e-2, 1, 5e-3)),
    "realesrnet": (1_000_000, 12, 256, 2e-4, 0.99, 0.999, (1, None, None)),
    "realesrgan": (400_000, 12, 256, 1e-4, 0.99, 0.999, (1, 1, 0.1)),
    "a-esrgan-single": (400_000, 6, 256, 1e-4, 0.99, 0.999, (1, 1, 0.1)),
    "a-esrgan-multi": (400_000, 16, 256, 1e-4, 0.99, 0.999, (1, 1, 0.1)),
    "a-esrgan-finetune": (200_000, 6, 256, 1e-4, 0.99, 0.999, (1, 1, 0.1)),
    "finetune": (400_000, 12, 256, 1e-4, 0.99, 0.999, (1, 1, 0.1)),
    "finetune-pairs": (400_000, 12, 256, 1e-4, 0.99, 0.999, (1, 1, 0.1)),
    "esrdgan": (100_000, 8, 128, 1e-4, 0.999, 0.0, (1e-2, 0.1, 5e-3)),
    "pytorch-gan": (200, 4, 256, 2e-4, 0.999, 0.0, (1e-2, 1, 5e-3)),
    "esrgan-pytorch-psnr": (120, 48, 192, 2e-4, 0.999, 0.0, (1, None, None)),
    "esrgan-pytorch-gan": (120, 32, 128, 1e-4, 0.999, 0.0, (1, 1, 1e-3)),
}
ADVERSARIAL = {
    "esrgan": "esrgan-basicsr",
    "realesrgan": "realesrgan",
    "a-esrgan-single": "a-esrgan",
    "a-esrgan-multi": "a-esrgan",
    "a-esrgan-finetune": "a-esrgan",
    "finetune": "realesrgan",
    "finetune-pairs": "realesrgan",
    "esrdgan": "esrdgan-relativisticavg",
    "pytorch-gan": "pytorch-gan",
    "esrgan-pytorch-gan": "esrgan-pytorch",
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_recipes_have_the_published_numbers(name):
    recipe = load_recipe(name)
    steps, batch, patch, rate, beta2, ema, weights = PUBLISHED[name]
    assert (recipe.steps or recipe.epochs, recipe.data.batch, recipe.data.patch) == (steps, batch, patch)
    assert (recipe.optimizer.rate, recipe.optimizer.betas, recipe.ema) == (rate, (0.9, beta2), ema)
    losses = (recipe.pixel, recipe.perceptual, recipe.adversarial)
    assert tuple(None if loss is None else loss.weight for loss in losses) == weights
    assert recipe.adversarial == (adversarial_preset(ADVERSARIAL[name]) if name in ADVERSARIAL else None)


@pytest.mark.parametrize(("name", "blocks", "parameters"), [("esrgan", 23, 16_697_987), ("esrdgan", 12, 18_522_499)])
def test_recipes_build_the_published_networks(name, blocks, parameters):
    recipe = load_recipe(name)
    assert recipe.generator.model_dump()["blocks"] == blocks
    assert sum(weight.numel() for weight in recipe.generator.build().parameters()) == parameters


def list_networks() -> dict[str, str]:
    """One recipe for each network that recipes build, with how its weights are drawn."""
    recipes = {name: load_recipe(name) for name in RECIPES}
    return {
        f"{recipe.generator!r} {recipe.start.init} {recipe.start.init_scale}": name for name, recipe in recipes.items()
    }


@pytest.mark.parametrize("name", list_networks().values())
def test_the_networks_that_recipes_begin_with_answer_to_their_input(name):
    """What a fresh network adds to enlarged pixels has to depend on the picture, or there is nothing to learn from."""
    recipe = load_recipe(name)
    network = build_fresh_generator(recipe)
    lq = torch.rand(2, recipe.generator.in_channels, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        added = network(lq)
        if recipe.generator.network == "srvggnetcompact":  # the input itself goes past the network
            added = added - torch.nn.functional.interpolate(lq, scale_factor=recipe.generator.scale)
    between = (added[0] - added[1]).abs().mean()
    assert between > 1e-3


def test_a_few_steps_on_one_picture_beat_nearest_neighbor():
    """A chain of convolutions that begins dead, or is pushed to zero at once, ends at what it adds itself to."""
    changes = ["step.precision=fp32", "schedule.warm_up=0", "device=cpu", "ema=0", "generator.features=32"]
    recipe = load_recipe("compact-psnr", changes)
    parts = build_parts(recipe, load_networks(recipe), Processes("cpu"))
    y, x = torch.meshgrid(torch.arange(48.0), torch.arange(48.0), indexing="ij")
    gt = torch.stack([0.5 + 0.4 * torch.sin(x / (4 + c)) * torch.cos(y / (5 - c)) for c in range(3)])[None]
    batch = TrainingBatch(resize(gt, scale=1 / 4).clamp(0, 1), gt, None)
    for step in range(1, 21):
        train_step(recipe, parts, [batch], StepInfo(step, 10_000, step))
    nearest = torch.nn.functional.interpolate(batch.lq, scale_factor=4)
    with torch.no_grad():
        learned = (parts.generator(batch.lq) - gt).square().mean()
    assert learned < 0.5 * (nearest - gt).square().mean()
    assert load_recipe("tessera-x4-psnr").start == recipe.start


def test_the_last_convolution_can_begin_at_nothing_while_all_before_it_live():
    plain, damped = (
        build_fresh_generator(load_recipe("compact-psnr", [f"start.last_scale={scale}"])) for scale in (1.0, 0.0)
    )
    lq = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(damped(lq), torch.nn.functional.interpolate(lq, scale_factor=4))
        assert not torch.equal(plain(lq), damped(lq))
    ours, theirs = (list(network.parameters()) for network in (damped, plain))
    assert all(torch.equal(a, b) for a, b in zip(ours[:-2], theirs[:-2], strict=True))


def test_real_esrgans_crops_and_pool_are_as_published():
    recipe = load_recipe("realesrgan")
    assert (recipe.read_patch, recipe.cut.place, recipe.pool) == (400, "random", 180)
    assert (recipe.sharpen.pixel, recipe.sharpen.perceptual, recipe.sharpen.adversarial) == (True, True, False)
    assert load_recipe("realesrnet").sharpen.before_pool
    assert not recipe.data.rotations


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_trains_for_three_steps(name, tmp_path, monkeypatch):
    make_pictures(tmp_path / "photos")
    monkeypatch.chdir(tmp_path)
    make_trunk(tmp_path / "trunk.safetensors")
    changes = [*SMALL, "steps=3", "checkpoint.every=3"]
    changes.remove("perceptual.weight=0")
    network = load_recipe(name).generator.network
    if network == "srvggnetcompact":
        changes += ["generator.features=4", "generator.convolutions=1"]
    elif network == "pytorch-gan":
        changes += ["generator.features=4", "generator.blocks=1"]
    else:
        changes += list(SMALL_RRDB)
    whole = load_recipe(name)
    if whole.discriminator is not None:
        changes.append("discriminator.features=4")
    if whole.perceptual is not None:
        changes.append(f"perceptual.trunk={tmp_path / 'trunk.safetensors'}")
    if name == "finetune-pairs":
        make_pictures(tmp_path / "lq", shrink=4)
        changes += ["data.lq=lq"]
    if whole.warm_up.pixel_only:
        changes.append("warm_up.pixel_only=1")
    if whole.start.generator:
        changes.append("start.generator=")
    if whole.start.discriminator:
        changes.append("start.discriminator=")
    changes.append("data.val=photos")
    recipe = load_recipe(name, changes)
    watcher = RecordingDisplay()
    assert train(recipe, resume=False, display=watcher).step == 3
    run = tmp_path / "runs" / name
    lines = [line for line in trained_lines(run) if line["kind"] == "train"]
    assert [line["step"] for line in lines] == [1, 2, 3]
    wanted = {term for term in ("pixel", "grid", "perceptual", "adversarial") if getattr(whole, term) is not None}
    assert all(any(line.get(term, 0) > 0 for line in lines) for term in wanted)
    assert load_weights(run / "latest.safetensors").config == recipe.generator
    assert validate(Recipe, read_toml(run / "config.toml"), "config.toml") == recipe


def test_a_file_may_change_a_shipped_recipe(tmp_path):
    path = tmp_path / "portraits.toml"
    path.write_text('recipe = "realesrgan"\nsteps = 7\n[data]\nbatch = 2\ntrain = ["photos"]\n')
    recipe = load_recipe(str(path), ["data.batch=3", "generator.blocks=6"])
    assert (recipe.name, recipe.steps, recipe.data.batch) == ("realesrgan", 7, 3)
    assert recipe.generator.model_dump()["blocks"] == 6
    assert recipe.pool == 180


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("data.bach=4", "did you mean `data.batch`"),
        ("generator.blocs=4", "did you mean `generator.blocks`"),
        ("pixel.wieght=4", "did you mean `pixel.weight`"),
        ("degradation.kind=blur", "expected one of"),
        ("data.patch=30", "needs a multiple of 4"),
        ("pool=3", "has to hold a batch"),
        ("steps=-3", "`steps`"),
        ("name=a/b", "`name`"),
        ("name=..", "not a valid folder name"),
    ],
)
def test_a_wrong_change_gets_its_sentence(change, sentence):
    with pytest.raises(UsageError, match=sentence):
        load_recipe("realesrgan", [change])


def test_an_unknown_recipe_gets_the_nearest():
    with pytest.raises(UsageError, match="did you mean realesrgan"):
        load_recipe("realesrgn")
    with pytest.raises(UsageError, match="cannot be read"):
        load_recipe("nowhere/x.toml")


def test_the_discriminator_is_sized_by_the_crops():
    recipe = load_recipe("esrgan", ["data.patch=64"])
    assert recipe.discriminator is not None
    assert recipe.discriminator.required_side == 64
    with pytest.raises(UsageError, match="takes 128 pixels a side"):
        load_recipe("esrgan", ["data.patch=64", "discriminator.input_size=128"])


def test_a_run_may_be_lengthened_and_not_changed():
    begun = load_recipe("realesrgan")
    assert (
        find_fixed_changes(begun, load_recipe("realesrgan", ["steps=9", "data.workers=7", "checkpoint.every=3"])) == []
    )
    assert find_fixed_changes(begun, load_recipe("realesrgan", ["data.batch=3", "data.patch=64", "seed=7"])) == [
        "seed",
        "data.patch",
    ]


def test_what_is_written_is_the_whole_recipe():
    for name in RECIPES:
        recipe = load_recipe(name)
        import tomllib

        assert validate(Recipe, tomllib.loads(format_toml(recipe)), name) == recipe


@pytest.mark.parametrize("name", RECIPES)
def test_the_short_keys_are_the_same_in_all_recipes(name):
    sizes = ["generator.blocks=2", "generator.features=8", "generator.growth=4"]
    weights = ["pixel.weight=0.5", "perceptual.weight=0", "adversarial.weight=0"]
    recipe = load_recipe(name, [*SMALL, *sizes, *weights, "name=x", "seed=3", "steps=7", "runs=elsewhere"])
    values = recipe.generator.model_dump()
    assert (values.get("blocks", values.get("convolutions")), values["features"]) == (2, 8)
    assert (recipe.name, recipe.seed, recipe.steps, recipe.pixel.weight) == ("x", 3, 7, 0.5)


def test_what_does_not_fit_together_is_one_sentence():
    with pytest.raises(UsageError) as caught:
        load_recipe("rrdb-psnr", ["adversarial.weight=0.1"])
    said = str(caught.value)
    assert said == (
        "recipe rrdb-psnr: an adversarial loss needs a discriminator: give discriminator.network, or no adversarial."
    )
