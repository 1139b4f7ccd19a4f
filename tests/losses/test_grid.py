"""The loss against a grid: what it sees, what it lets pass, and that it takes a grid away."""

import pytest
import torch
from torch import nn

from tessera.errors import UsageError
from tessera.generators import SRVGGNetCompactConfig
from tessera.losses import GridConfig, grid_loss

CONFIG = GridConfig()


def noise(side: int = 64, seed: int = 0) -> torch.Tensor:
    return torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(seed))


def by_loops(sr: torch.Tensor, gt: torch.Tensor, scale: int, window: int, stride: int) -> float:
    """The definition, pixel by pixel."""
    errors, found = sr - gt, []
    batch, channels, height, width = errors.shape
    for one in range(batch):
        for channel in range(channels):
            for top in range(0, height - scale * window + 1, scale * stride):
                for left in range(0, width - scale * window + 1, scale * stride):
                    place = errors[one, channel, top : top + scale * window, left : left + scale * window]
                    means = torch.stack([place[y::scale, x::scale].mean() for y in range(scale) for x in range(scale)])
                    found.append((means - means.mean()).abs().mean())
    return float(torch.stack(found).mean())


@pytest.mark.parametrize(("scale", "window", "stride"), [(4, 8, 4), (2, 8, 4), (4, 1, 1), (3, 5, 2)])
def test_it_is_its_definition(scale: int, window: int, stride: int) -> None:
    side = scale * 16
    sr, gt = noise(side), noise(side, 1)
    expected = by_loops(sr, gt, scale, window, stride)
    found = float(grid_loss(sr, gt, scale, GridConfig(weight=2.0, window=window)))
    assert found == pytest.approx(2 * expected, rel=1e-4)


@pytest.mark.parametrize("axis", [-1, -2])
@pytest.mark.parametrize("period", [4, 2])
def test_a_pattern_that_repeats_with_the_scale_is_seen(axis: int, period: int) -> None:
    gt = torch.full((1, 3, 64, 64), 0.5)
    place = torch.arange(64) % period == 0
    sr = gt + 0.1 * (place if axis == -1 else place[:, None])
    share = 1 / period
    assert float(grid_loss(sr, gt, 4, CONFIG)) == pytest.approx(0.1 * 2 * share * (1 - share), rel=1e-4)


@pytest.mark.parametrize("period", [3, 5, 6.4, 16, 64])
def test_waves_of_other_lengths_pass(period: float) -> None:
    gt = torch.full((1, 3, 128, 128), 0.5)
    wave = 0.1 * torch.sin(2 * torch.pi * torch.arange(128) / period)
    seen = float(grid_loss(gt + wave, gt, 4, CONFIG))
    comb = float(grid_loss(gt + 0.1 * torch.cos(2 * torch.pi * torch.arange(128) / 4), gt, 4, CONFIG))
    assert seen < 0.25 * comb


def test_a_grid_in_one_corner_is_not_averaged_away() -> None:
    gt = torch.full((1, 1, 128, 128), 0.5)
    sr = gt.clone()
    sr[..., :32, :32] += 0.1 * (torch.arange(32) % 4 == 0)
    sr[..., -32:, -32:] -= 0.1 * (torch.arange(32) % 4 == 0)  # which the mean over the picture would cancel
    local, whole = (float(grid_loss(sr, gt, 4, GridConfig(window=window))) for window in (8, 32))
    assert whole == pytest.approx(0, abs=1e-6)
    assert local > 1e-3


def test_learning_by_it_takes_a_grid_away_and_leaves_the_brightness() -> None:
    torch.manual_seed(0)
    network = SRVGGNetCompactConfig(features=8, convolutions=2).build()
    last = [module for module in network.modules() if isinstance(module, nn.Conv2d)][-1]
    assert last.bias is not None
    with torch.no_grad():
        last.bias.copy_(0.1 + 0.05 * torch.randn(48))  # a grid, on a picture that is too bright
    lq = torch.full((2, 3, 16, 16), 0.5)
    gt = torch.full((2, 3, 64, 64), 0.5)
    optimizer = torch.optim.Adam([last.bias], 4e-3)
    values = []
    for _ in range(60):
        loss = grid_loss(network(lq), gt, 4, CONFIG)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        values.append(float(loss.detach()))
    assert values[-1] < 0.1 * values[0]
    assert float(last.bias.detach().mean()) == pytest.approx(0.1, abs=0.02)


def test_half_precision_is_averaged_in_single() -> None:
    sr, gt = noise(), noise(seed=1)
    exact = float(grid_loss(sr.half().float(), gt.half().float(), 4, CONFIG))
    assert float(grid_loss(sr.half(), gt.half(), 4, CONFIG)) == pytest.approx(exact, rel=1e-5)


@pytest.mark.parametrize("shape", [(1, 3, 30, 32), (1, 3, 28, 32), (1, 3, 32, 28)])
def test_sides_that_do_not_fit_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="multiples of 4 and at least 32 pixels"):
        grid_loss(torch.zeros(shape), torch.zeros(shape), 4, CONFIG)
    with pytest.raises(UsageError, match="equal shapes"):
        grid_loss(torch.zeros(1, 3, 32, 32), torch.zeros(1, 1, 32, 32), 4, CONFIG)
