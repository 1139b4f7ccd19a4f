"""The pixel loss against hand values and finite differences."""

import pytest
import torch
from pydantic import ValidationError

from tessera.errors import UsageError
from tessera.losses import PixelConfig, pixel_loss

SR = torch.tensor([0.5, 0.25, 1.0, 0.0]).view(1, 1, 2, 2)
GT = torch.tensor([0.25, 0.75, 1.0, 0.5]).view(1, 1, 2, 2)  # differences 0.25, -0.5, 0, -0.5


@pytest.mark.parametrize(
    ("criterion", "value"),
    [
        ("l1", (0.25 + 0.5 + 0 + 0.5) / 4),
        ("mse", (0.0625 + 0.25 + 0 + 0.25) / 4),
        ("charbonnier", (0.25 + 0.5 + 1e-6 + 0.5) / 4),
    ],
)
def test_each_criterion_is_a_mean_over_all_values_times_the_weight(criterion, value):
    loss = pixel_loss(SR, GT, PixelConfig(criterion=criterion, weight=3))
    assert loss.shape == ()
    assert float(loss) == pytest.approx(3 * value, rel=1e-6)


@pytest.mark.parametrize("criterion", ["l1", "mse", "charbonnier"])
def test_gradients_are_those_of_finite_differences(criterion):
    draw = torch.Generator().manual_seed(0)
    sr = torch.rand(2, 3, 4, 5, generator=draw, dtype=torch.float64, requires_grad=True)
    gt = torch.rand(2, 3, 4, 5, generator=draw, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: pixel_loss(x, gt, PixelConfig(criterion=criterion, weight=0.7)), sr)


def test_charbonnier_has_no_gradient_where_both_agree_and_l1s_elsewhere():
    sr = SR.clone().requires_grad_()
    pixel_loss(sr, GT, PixelConfig(criterion="charbonnier")).backward()
    torch.testing.assert_close(sr.grad, torch.tensor([0.25, -0.25, 0, -0.25]).view(1, 1, 2, 2))


def test_half_precision_is_added_up_in_single():
    sr, gt = torch.ones(1, 1, 64, 64, dtype=torch.bfloat16), torch.zeros(1, 1, 64, 64, dtype=torch.bfloat16)
    gt[..., 0, 0] = 1
    for criterion in ("l1", "mse"):
        loss = pixel_loss(sr, gt, PixelConfig(criterion=criterion))
        assert loss.dtype == torch.float32
        assert float(loss) == pytest.approx(4095 / 4096, rel=1e-6)  # which bfloat16 rounds to 1


def test_pictures_of_different_shapes_are_not_spread_over_each_other():
    with pytest.raises(UsageError, match=r"\(1, 1, 2, 2\) and \(1, 1, 1, 2\)"):
        pixel_loss(SR, GT[:, :, :1], PixelConfig())


@pytest.mark.parametrize("wrong", [{"criterion": "l3"}, {"weight": -1}, {"weight": float("nan")}, {"wieght": 1}])
def test_a_wrong_configuration_is_refused(wrong):
    with pytest.raises(ValidationError):
        PixelConfig(**wrong)
