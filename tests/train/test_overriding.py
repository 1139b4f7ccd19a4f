"""Keys that only make sense with a choice give way when another choice is made; what the user gives always stays."""

from __future__ import annotations

from pathlib import Path

import pytest

from tessera.discriminators.catalog import DISCRIMINATORS
from tessera.errors import UsageError
from tessera.generators import GENERATORS
from tessera.train.recipe import RECIPES, load_recipe


def has_scale(name: str, scale: int) -> bool:
    try:
        type(load_recipe(name).generator).model_validate({"scale": scale})
    except ValueError:
        return False
    return True


SCALES = [(name, scale) for name in RECIPES for scale in (1, 2, 3, 4, 8) if has_scale(name, scale)]
WITH_DISCRIMINATOR = [name for name in RECIPES if load_recipe(name).discriminator is not None]


def test_the_awkward_scales_are_among_them() -> None:
    assert ("compact-psnr", 3) in SCALES
    assert ("rrdb-psnr", 1) in SCALES


@pytest.mark.parametrize(("name", "scale"), SCALES)
def test_every_recipe_takes_every_scale_of_its_network(name: str, scale: int) -> None:
    published = load_recipe(name)
    recipe = load_recipe(name, [f"generator.scale={scale}"])
    assert recipe.data.patch % scale == 0
    assert 0 <= recipe.data.patch - published.data.patch < 3 * 16
    assert 2 * recipe.cut.margin % scale == 0
    assert 0 <= recipe.cut.margin - published.cut.margin < scale
    if published.data.patch % (scale * recipe.generator.multiple) == 0:
        assert recipe.data.patch == published.data.patch


def test_what_the_user_gives_stays_and_contradictions_are_still_errors() -> None:
    with pytest.raises(UsageError, match=r"cut\.margin is 16"):
        load_recipe("compact-psnr", ["generator.scale=3", "cut.margin=16", "data.patch=96"])
    with pytest.raises(UsageError, match=r"data\.patch is 128, and this generator needs a multiple of 3"):
        load_recipe("compact-psnr", ["generator.scale=3", "data.patch=128"])
    with pytest.raises(UsageError, match="detach_means say"):
        load_recipe("esrgan", ["adversarial.relativism=none", "adversarial.detach_means=true"])
    with pytest.raises(UsageError, match="pool is 4"):
        load_recipe("realesrgan", ["pool=4", "data.batch=5"])
    with pytest.raises(UsageError, match=r"validation\.best is ssim"):
        load_recipe("rrdb-psnr", ["validation.best=ssim", 'validation.metrics=["psnr"]'])


@pytest.mark.parametrize("name", WITH_DISCRIMINATOR)
@pytest.mark.parametrize("relativism", ["none", "average", "pairwise"])
@pytest.mark.parametrize("form", ["vanilla", "lsgan", "hinge", "wgan", "wgan-softplus"])
def test_every_recipe_takes_every_adversarial_loss(name: str, relativism: str, form: str) -> None:
    recipe = load_recipe(name, [f"adversarial.relativism={relativism}", f"adversarial.form={form}"])
    assert recipe.adversarial is not None
    assert (recipe.adversarial.relativism, recipe.adversarial.form) == (relativism, form)
    published = load_recipe(name).adversarial
    assert published is not None
    if relativism == published.relativism:  # nothing has to give way
        assert recipe.adversarial.model_dump(exclude={"form"}) == published.model_dump(exclude={"form"})


@pytest.mark.parametrize("name", WITH_DISCRIMINATOR)
@pytest.mark.parametrize("network", [discriminator.name for discriminator in DISCRIMINATORS])
def test_every_recipe_takes_every_discriminator(name: str, network: str) -> None:
    recipe = load_recipe(name, [f"discriminator.network={network}"])
    assert recipe.discriminator is not None
    assert recipe.discriminator.network == network
    assert recipe.discriminator.required_side in (None, recipe.data.patch)


@pytest.mark.parametrize("name", [name for name in RECIPES if name != "x4plus-lite"])  # prunes an RRDBNet
@pytest.mark.parametrize("network", [generator.name for generator in GENERATORS])
def test_every_recipe_takes_every_generator(name: str, network: str) -> None:
    assert load_recipe(name, [f"generator.network={network}"]).generator.network == network


@pytest.mark.parametrize("kind", ["matlab-bicubic", "pil-bicubic", "cv2-cubic", "area", "realesrgan"])
def test_every_recipe_takes_every_degradation(kind: str, tmp_path: Path) -> None:
    for name in RECIPES:
        assert load_recipe(name, [f"degradation.kind={kind}"]).degradation.kind == kind
    file = tmp_path / "own.toml"
    file.write_text(
        'recipe = "realesrgan"\n[degradation.first.jpeg]\nquality = [50, 95]\n[schedule]\nkind = "multi-step"\n'
    )
    assert load_recipe(str(file), [f"degradation.kind={kind}"]).degradation.kind == kind


def test_a_file_that_changes_a_recipe_makes_its_keys_give_way(tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    file.write_text(
        'recipe = "esrgan"\n[adversarial]\nrelativism = "none"\n[schedule]\nkind = "cosine-restarts"\nperiods = [1.0]\n'
    )
    recipe = load_recipe(str(file))
    assert recipe.adversarial is not None
    assert (recipe.adversarial.relativism, recipe.adversarial.detach_means) == ("none", False)
    assert recipe.schedule.kind == "cosine-restarts"


def test_a_key_of_a_complete_file_gives_way_to_a_change_too(tmp_path: Path) -> None:
    from tessera.config import format_toml

    file = tmp_path / "config.toml"
    file.write_text(format_toml(load_recipe("esrgan")))
    recipe = load_recipe(str(file), ["data.patch=64", "adversarial.relativism=none"])
    assert recipe.discriminator is not None
    assert recipe.discriminator.required_side == 64


def test_the_pool_the_grid_and_the_metrics_follow_a_choice() -> None:
    assert load_recipe("realesrgan", ["data.batch=181"]).pool == 181
    assert load_recipe("realesrgan", ["data.batch=180"]).pool == 180
    grid = load_recipe("tessera-x4", ["data.patch=24"]).grid
    assert grid is not None
    assert grid.window == 6  # 24 / 4 input pixels
    assert load_recipe("tessera-x4", ["generator.scale=1"]).grid is None
    assert load_recipe("rrdb-psnr", ['validation.metrics=["niqe"]']).validation.best == "niqe"
    assert load_recipe("rrdb-psnr", ["validation.best=niqe"]).validation.metrics == ("psnr", "ssim", "niqe")


def test_layers_of_another_trunk_give_way_to_the_nearest_of_the_chosen_one() -> None:
    """HED's VGG16 has three convolutions in its last blocks; the distilled VGG19 ends at relu5_1."""
    for trunk, expected in (
        ("vgg19-distilled", ["conv1_2", "conv2_2", "conv3_4", "conv4_4", "conv5_1"]),
        ("hed-vgg16", ["conv1_2", "conv2_2", "conv3_3", "conv4_3", "conv5_3"]),
        ("vgg19", ["conv1_2", "conv2_2", "conv3_4", "conv4_4", "conv5_4"]),
    ):
        perceptual = load_recipe("realesrgan", [f"perceptual.trunk={trunk}"]).perceptual
        assert perceptual is not None
        assert perceptual.layers == dict(zip(expected, (0.1, 0.1, 1.0, 1.0, 1.0), strict=True))
    given = load_recipe("realesrgan", ["perceptual.trunk=hed-vgg16", "perceptual.layers={conv2_1 = 3}"]).perceptual
    assert given is not None
    assert given.layers == {"conv2_1": 3.0}
