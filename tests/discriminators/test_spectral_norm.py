"""The convolution of spectral norm one, against PyTorch's own, NumPy's singular values and what training needs."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tessera.discriminators.spectral_norm import SpectralConv2d

LAYERS: list[dict[str, Any]] = [
    {"inputs": 3, "outputs": 5, "kernel": 3, "padding": 1},
    {"inputs": 4, "outputs": 8, "kernel": 4, "stride": 2, "padding": 1},
    {"inputs": 6, "outputs": 2, "kernel": 1, "padding": 1},
    {"inputs": 3, "outputs": 5, "kernel": 3, "padding": 1, "bias": True},
]


def pair(layer: dict[str, Any], seed: int = 3) -> tuple[SpectralConv2d, nn.Module]:
    torch.manual_seed(seed)
    ours = SpectralConv2d(**layer)
    torch.manual_seed(seed)
    renamed = {"inputs": "in_channels", "outputs": "out_channels", "kernel": "kernel_size"}
    theirs = nn.Conv2d(**{"bias": False, **{renamed.get(name, name): value for name, value in layer.items()}})
    return ours, nn.utils.spectral_norm(theirs)


def equal_states(ours: nn.Module, theirs: nn.Module) -> bool:
    left, right = ours.state_dict(), theirs.state_dict()
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def same_gradients(one: Any, other: Any) -> bool:
    return torch.allclose(one.grad, other.grad, atol=1e-6)


@pytest.mark.parametrize("layer", LAYERS, ids=repr)
def test_it_is_pytorchs_own_from_the_same_seed_bit_for_bit(layer: dict[str, Any]) -> None:
    ours, theirs = pair(layer)
    assert equal_states(ours, theirs)
    for step in range(4):
        x = torch.rand(2, layer["inputs"], 9, 8, requires_grad=True)
        y = x.detach().clone().requires_grad_()
        out, expected = ours(x), theirs(y)
        assert torch.equal(out, expected)
        assert equal_states(ours, theirs), "one power iteration per run in training mode"
        out.square().sum().backward()
        expected.square().sum().backward()
        assert same_gradients(x, y)
        assert same_gradients(ours.weight_orig, theirs.weight_orig), step
    ours.eval()
    theirs.eval()
    before = {name: tensor.clone() for name, tensor in ours.state_dict().items()}
    assert torch.equal(ours(x), theirs(x))
    assert all(torch.equal(before[name], tensor) for name, tensor in ours.state_dict().items())


@pytest.mark.parametrize("layer", LAYERS, ids=repr)
def test_weights_go_both_ways(layer: dict[str, Any]) -> None:
    x = torch.rand(1, layer["inputs"], 7, 8)
    ours, _ = pair(layer, seed=1)
    _, theirs = pair(layer, seed=2)
    theirs.load_state_dict(ours.state_dict())
    assert torch.equal(ours.eval()(x), theirs.eval()(x))
    fresh, theirs = pair(layer, seed=5)[0], pair(layer, seed=6)[1]
    fresh.load_state_dict(theirs.state_dict())
    assert torch.equal(fresh.eval()(x), theirs.eval()(x))


def test_after_many_runs_the_largest_singular_value_is_one() -> None:
    torch.manual_seed(0)
    layer = SpectralConv2d(4, 6, 3, padding=1)
    layer.weight_orig.data.mul_(7)
    for _ in range(200):
        layer(torch.zeros(1, 4, 3, 3))
    matrix = layer.eval().normalize_weight().detach().numpy().reshape(6, -1)
    assert np.linalg.svd(matrix, compute_uv=False)[0] == pytest.approx(1, abs=1e-5)


def test_the_gradient_goes_through_the_norm_too() -> None:
    torch.manual_seed(0)
    layer = SpectralConv2d(2, 3, 2).double().eval()
    x = torch.rand(1, 2, 3, 3, dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda weight: torch.func.functional_call(layer, {"weight_orig": weight}, (x,)),
        layer.weight_orig.detach().clone().requires_grad_(),
    )


def test_it_judges_real_and_made_before_one_backward_also_when_a_mode_changes_between() -> None:
    torch.manual_seed(0)
    layer = SpectralConv2d(2, 3, 3)
    real, made = torch.rand(2, 1, 2, 5, 5)
    judged = layer.eval()(real).sum()
    (judged + layer.train()(made).sum() - layer(real).sum()).backward()
    assert layer.weight_orig.grad is not None


def test_mixed_precision_does_not_touch_the_norm(monkeypatch: pytest.MonkeyPatch) -> None:
    full, _ = pair(LAYERS[0])
    mixed, _ = pair(LAYERS[0])
    x = torch.rand(1, 3, 6, 6)
    full(x)
    multiply, lowered = torch.mv, []

    def watched(matrix: torch.Tensor, vector: torch.Tensor) -> torch.Tensor:
        lowered.append(torch.is_autocast_enabled("cpu"))  # processors lower fewer operations than graphics cards
        return multiply(matrix, vector)

    monkeypatch.setattr(torch, "mv", watched)
    with torch.autocast("cpu", torch.bfloat16):
        assert mixed(x).dtype == torch.bfloat16
    assert lowered == [False] * 3
    assert equal_states(full, mixed)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_mixed_precision_does_not_touch_the_norm_on_a_graphics_card() -> None:
    full, mixed = (pair(LAYERS[1])[0].cuda() for _ in range(2))
    x = torch.rand(1, 4, 8, 8, device="cuda")
    full(x)
    with torch.autocast("cuda", torch.float16):
        assert mixed(x).dtype == torch.float16
    assert equal_states(full, mixed)
