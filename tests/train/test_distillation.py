"""A generator that learns from another's outputs: what is compared with what, and what stays as it is."""

import copy
import hashlib
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from tessera.errors import TrainingError
from tessera.generators import RRDBNetConfig, SRVGGNetCompactConfig
from tessera.losses import GridConfig, grid_loss
from tessera.train.batches import TrainingBatch
from tessera.train.loop import train
from tessera.train.networks import load_networks
from tessera.train.parts import Parts, build_parts
from tessera.train.processes import Processes
from tessera.train.recipe import Recipe, load_recipe
from tessera.train.step import StepInfo, train_step
from tessera.weights.files import load_weights, save_weights
from train.runs import SMALL, RecordingDisplay, make_pictures, make_trunk

MOMENT = StepInfo(step=50, steps=100, number=7)
TINY = {
    "name": "tiny",
    "steps": 100,
    "device": "cpu",
    "generator": {"network": "srvggnetcompact", "features": 4, "convolutions": 1},
    "data": {"patch": 32, "batch": 2},
    "step": {"channels_last": False},
}


@pytest.fixture
def teacher(tmp_path: Path) -> Path:
    """A network whose outputs are neither the truth nor the generator's, some of them outside of [0, 1]."""
    config = RRDBNetConfig(features=4, growth=2, blocks=1)
    torch.manual_seed(1)
    network = config.build()
    with torch.no_grad():
        for each in network.parameters():
            each.mul_(3)
    save_weights(tmp_path / "teacher.safetensors", config, network.state_dict())
    return tmp_path / "teacher.safetensors"


def recipe(teacher: Path, share: float = 1.0, **more) -> Recipe:
    return Recipe.model_validate({**TINY, "distillation": {"teacher": str(teacher), "share": share}, **more})


def batch(seed: int = 0) -> TrainingBatch:
    gt = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(seed))
    return TrainingBatch(nn.functional.avg_pool2d(gt, 4), gt, gt * 0.5)


def parts_of(wanted: Recipe) -> Parts:
    return build_parts(wanted, load_networks(wanted), Processes("cpu"))


@torch.no_grad()
def distances(parts: Parts, one: TrainingBatch) -> tuple[float, float]:
    """Of the generator's outputs from the teacher's, as pictures, and from the truth."""
    assert parts.teacher is not None
    sr, taught = parts.generator(one.lq), parts.teacher.network(one.lq)
    assert float(taught.min()) < 0  # so that clamping matters
    return float((sr - taught.clamp(0, 1)).abs().mean()), float((sr - one.gt).abs().mean())


@pytest.mark.parametrize("share", [1.0, 0.25])
def test_the_share_says_how_much_looks_at_the_teacher(teacher: Path, share: float) -> None:
    wanted = recipe(teacher, share)
    parts = parts_of(wanted)
    from_teacher, from_truth = distances(parts, batch())
    assert abs(from_teacher - from_truth) > 0.05
    found = train_step(wanted, parts, [batch()], MOMENT).losses["pixel"]
    assert found == pytest.approx(share * from_teacher + (1 - share) * from_truth, rel=1e-5)


def test_with_all_of_the_share_the_truth_is_for_the_discriminator_alone(teacher: Path) -> None:
    wanted = recipe(teacher, discriminator={"network": "patch", "features": 4}, adversarial={"weight": 0.1})
    one, black = batch(), batch()
    black.gt.zero_()
    losses = [train_step(wanted, parts_of(wanted), [each], MOMENT).losses for each in (one, black)]
    for name in ("pixel", "adversarial", "generator"):
        assert losses[0][name] == losses[1][name], name
    assert losses[0]["discriminator"] != losses[1]["discriminator"]


def test_the_perceptual_loss_looks_at_the_teacher_too_and_at_the_sharpened_truth(teacher: Path, tmp_path: Path) -> None:
    make_trunk(tmp_path / "vgg19.safetensors")
    perceptual = {"trunk": str(tmp_path / "vgg19.safetensors"), "layers": {"conv2_2": 1.0}, "style_weight": 2.0}
    wanted = recipe(teacher, 0.25, perceptual=perceptual, sharpen={"perceptual": True}, pixel={"weight": 0.0})
    parts, one = parts_of(wanted), batch()
    assert parts.perceptual is not None
    assert parts.teacher is not None
    with torch.no_grad():
        sr, taught = parts.generator(one.lq), parts.teacher.network(one.lq).clamp(0, 1)
        near, far = (parts.perceptual(sr, each) for each in (taught, one.gt * 0.5))
    losses = train_step(wanted, parts, [one], MOMENT).losses
    for name in ("perceptual", "style"):
        expected = 0.25 * float(getattr(near, name)) + 0.75 * float(getattr(far, name))
        assert losses[name] == pytest.approx(expected, rel=1e-5), name


def test_the_warm_up_learns_from_the_teacher(teacher: Path) -> None:
    wanted = recipe(teacher, warm_up={"pixel_only": 60}, pixel={"weight": 0.01})
    parts = parts_of(wanted)
    from_teacher, _ = distances(parts, batch())
    assert train_step(wanted, parts, [batch()], MOMENT).losses["pixel"] == pytest.approx(from_teacher, rel=1e-5)


def test_the_teacher_stays_as_it_is_and_the_generator_comes_nearer(teacher: Path) -> None:
    wanted = recipe(teacher, optimizer={"rate": 2e-2})
    parts = parts_of(wanted)
    assert parts.teacher is not None
    before = copy.deepcopy(parts.teacher.network.state_dict())
    first, _ = distances(parts, batch())
    for step in range(1, 25):
        train_step(wanted, parts, [batch()], StepInfo(step, 100, step))
    last, _ = distances(parts, batch())
    assert last < 0.6 * first
    assert not parts.teacher.network.training
    assert all(
        not parameter.requires_grad and parameter.grad is None for parameter in parts.teacher.network.parameters()
    )
    assert all(torch.equal(value, before[name]) for name, value in parts.teacher.network.state_dict().items())


def test_a_run_without_a_teacher_has_none(teacher: Path) -> None:
    wanted = recipe(teacher).model_copy(update={"distillation": None})
    assert parts_of(wanted).teacher is None


def test_a_teacher_that_does_not_fit_is_refused_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "teacher.safetensors"
    config = SRVGGNetCompactConfig(features=4, convolutions=1, scale=2)
    save_weights(path, config, config.build().state_dict())
    with pytest.raises(TrainingError, match="has scale 2, and the generator 4"):
        parts_of(recipe(path))

    config = RRDBNetConfig(features=4, growth=2, blocks=1, scale=2)  # which halves its inputs first
    save_weights(path, config, config.build().state_dict())
    small = {"network": "srvggnetcompact", "features": 4, "convolutions": 1, "scale": 2}
    with pytest.raises(TrainingError, match=r"data.patch to be a multiple of 4, and it is 30"):
        parts_of(recipe(path, generator=small, data={"patch": 30, "batch": 2}))

    config = SRVGGNetCompactConfig(features=4, convolutions=1, in_channels=1, out_channels=1)
    save_weights(path, config, config.build().state_dict())
    with pytest.raises(TrainingError, match="has 1 input and 1 output channels; choose an RGB teacher"):
        parts_of(recipe(path))


def test_a_grid_is_looked_for_against_the_truth_because_a_teacher_may_have_one(teacher: Path) -> None:
    wanted = recipe(teacher, grid={"weight": 2.0}, pixel={"weight": 1e-9})
    parts, one = parts_of(wanted), batch()
    with torch.no_grad():
        expected = float(grid_loss(parts.generator(one.lq), one.gt, 4, GridConfig(weight=2.0)))
    assert train_step(wanted, parts, [one], MOMENT).losses["grid"] == pytest.approx(expected, rel=1e-4)


def test_a_teacher_that_no_loss_looks_at_is_refused(teacher: Path) -> None:
    with pytest.raises(ValidationError, match="the recipe has none"):
        recipe(teacher, pixel={"weight": 0.0})


def test_a_taught_run_resumes_to_the_bit_and_not_with_another_teacher(
    teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make_pictures(tmp_path / "photos")
    changes = [*SMALL, "generator.features=4", "generator.convolutions=1", f"distillation.teacher={teacher}"]

    def wanted(name: str, steps: int) -> Recipe:
        return load_recipe("tessera-x4-psnr", [*changes, f"name={name}", f"steps={steps}", "schedule.periods=[9]"])

    train(wanted("whole", 4), resume=False, display=RecordingDisplay())
    train(wanted("halves", 2), resume=False, display=RecordingDisplay())
    train(wanted("halves", 4), resume=True, display=RecordingDisplay())
    whole, halves = (load_weights(tmp_path / "runs" / name / "latest.safetensors") for name in ("whole", "halves"))
    assert all(torch.equal(value, halves.state[name]) for name, value in whole.state.items())
    digest = hashlib.sha256(teacher.read_bytes()).hexdigest()
    assert whole.metadata["tessera.teacher"] == f"teacher, sha256 {digest}"

    config = RRDBNetConfig(features=4, growth=2, blocks=1)
    save_weights(teacher, config, config.build().state_dict())
    with pytest.raises(TrainingError, match="is not the file that the run started with"):
        train(wanted("whole", 6), resume=True, display=RecordingDisplay())


@pytest.mark.parametrize("share", [0, 1.5, float("nan")])
def test_a_share_is_a_share(share: float) -> None:
    with pytest.raises(ValidationError, match="share"):
        recipe(Path("any"), share)


# ------------------------------------------------------------------------------------------------ the trunk's features


def trunk_recipe(teacher: Path, **more) -> Recipe:
    student = {"network": "rrdbnet", "features": 4, "growth": 2, "blocks": 2}
    changes = {"generator": student, "distillation": {"teacher": str(teacher), "features": 0.5}}
    return Recipe.model_validate({**TINY, **changes, **more})


def trunk_output(network: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """What goes into the first convolution after the trunk, before its enlargement, taken by a hook."""
    seen: list[torch.Tensor] = []
    hook = network.get_submodule("conv_up1").register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    with torch.no_grad():
        network(x)
    hook.remove()
    return seen[0][..., ::2, ::2]


def test_the_feature_loss_compares_what_both_trunks_found(teacher: Path) -> None:
    wanted = trunk_recipe(teacher)
    parts, one = parts_of(wanted), batch()
    assert parts.teacher is not None
    ours, theirs = (trunk_output(network, one.lq) for network in (parts.generator, parts.teacher.network))
    found = train_step(wanted, parts, [one], MOMENT).losses
    expected = 0.5 * float((ours - theirs).abs().mean() / theirs.abs().mean())
    assert found["features"] == pytest.approx(expected, rel=1e-5)
    assert found["generator"] == pytest.approx(found["pixel"] + found["features"], rel=1e-5)


def test_the_feature_loss_alone_moves_the_trunk_and_nothing_behind_it(teacher: Path) -> None:
    wanted = trunk_recipe(teacher, pixel={"weight": 0.0}, optimizer={"rate": 3e-3})
    parts, one = parts_of(wanted), batch()
    before = copy.deepcopy(parts.generator.state_dict())
    first = train_step(wanted, parts, [one], MOMENT).losses["features"]
    for step in range(15):
        last = train_step(wanted, parts, [one], StepInfo(51 + step, 100, 8 + step)).losses["features"]
    assert last < 0.8 * first
    after = parts.generator.state_dict()
    moved = {name.split(".")[0] for name, value in after.items() if not torch.equal(value, before[name])}
    assert moved == {"conv_first", "body", "conv_body"}


def test_features_that_cannot_be_compared_are_refused(teacher: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ValidationError, match=r"distillation\.features needs an rrdbnet, and generator is srvggnetcompact"
    ):
        recipe(teacher).model_validate({**TINY, "distillation": {"teacher": str(teacher), "features": 1.0}})
    wide = {"network": "rrdbnet", "features": 6, "growth": 2, "blocks": 1}
    with pytest.raises(TrainingError, match="has 4 features after an unshuffle by 1, and the generator 6 after 1"):
        parts_of(trunk_recipe(teacher, generator=wide))
    config = SRVGGNetCompactConfig(features=4, convolutions=1)
    save_weights(tmp_path / "compact.safetensors", config, config.build().state_dict())
    with pytest.raises(TrainingError, match="is srvggnetcompact; features are compared between two rrdbnets"):
        parts_of(trunk_recipe(tmp_path / "compact.safetensors"))
