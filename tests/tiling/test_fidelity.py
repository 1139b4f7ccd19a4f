import pytest
import torch

from tessera.tiling import fidelity


def on_tensors(function):
    """A function of planes (C, h, w), (C, s*h, s*w), for batches of one."""

    def called(lq: torch.Tensor, sr: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(function(lq[0].numpy().copy(), sr[0].numpy().copy()))[None]

    return called


lock_flat_areas = on_tensors(fidelity.lock_flat_areas)
lock_colors = on_tensors(fidelity.lock_colors)
clip_to_neighbors = on_tensors(fidelity.clip_to_neighbors)
color_difference = on_tensors(fidelity.color_difference)


def enlarged(lq: torch.Tensor, scale: int = 4) -> torch.Tensor:
    return lq.repeat_interleave(scale, -1).repeat_interleave(scale, -2)


def wavy(lq: torch.Tensor, shift: float, scale: int = 4) -> torch.Tensor:
    """What a network that shifts colors and makes up a texture would give."""
    sr = enlarged(lq, scale) + shift
    return sr + 0.01 * torch.sin(torch.arange(sr.shape[-1]) * 0.7)


@pytest.mark.parametrize("level", [0, 1, 128, 254, 255])
@pytest.mark.parametrize("full", [255, 65_535])
def test_a_flat_area_is_its_own_color_in_every_pixel(level, full):
    lq = torch.full((1, 3, 40, 40), level * (full // 255) / full)
    sr = lock_flat_areas(lq, wavy(lq, 5 / 255))
    assert torch.equal((sr * full).round(), (enlarged(lq) * full).round())


def test_faint_structure_in_sixteen_bits_is_no_flat_area():
    lq = 0.001 + 0.0001 * (torch.arange(40.0) % 2).expand(1, 3, 40, 40)
    sr = wavy(lq, 0)
    assert (lock_flat_areas(lq, sr) - sr).diff(dim=-1).abs().max() < 0.0005


@pytest.mark.parametrize("kind", ["noise", "ramp"])
def test_a_nearly_flat_area_keeps_its_color_and_gets_its_texture(kind):
    generator = torch.Generator().manual_seed(0)
    lq = torch.full((1, 3, 48, 48), 100 / 255)
    if kind == "noise":
        lq = lq + torch.randint(-1, 2, lq.shape, generator=generator) / 255
    else:
        lq = lq + torch.arange(48.0) * 0.3 / 255
    shifted = wavy(lq, 5 / 255)
    sr = lock_flat_areas(lq, shifted)
    for channel in range(3):
        assert abs(float(sr[:, channel].mean() - lq[:, channel].mean())) < 0.3 / 255
    assert (sr - shifted).diff(dim=-1).abs().max() < 1.5 / 255, "the texture is not smoothed"


def test_whatever_is_not_flat_is_left_alone():
    lq = torch.rand(1, 3, 40, 40, generator=torch.Generator().manual_seed(0))
    sr = enlarged(lq) + 5 / 255
    assert torch.equal(lock_flat_areas(lq, sr), sr)


def test_the_lock_fades_in_and_leaves_the_neighborhood_of_an_edge_alone():
    lq = torch.full((1, 3, 60, 60), 0.5)
    lq[..., 30:] = 0.8
    shifted = enlarged(lq) + 5 / 255
    sr = lock_flat_areas(lq, shifted)
    at_the_edge = slice(27 * 4, 33 * 4)
    assert torch.equal(sr[..., at_the_edge], shifted[..., at_the_edge])
    torch.testing.assert_close(sr[..., 4:60], enlarged(lq)[..., 4:60])
    steps = (sr - enlarged(lq))[0, 0, 100].diff().abs()
    assert steps.max() < 1.5 / 255


def test_the_color_lock_brings_low_frequencies_back_and_keeps_detail():
    generator = torch.Generator().manual_seed(0)
    lq = torch.rand(1, 3, 8, 8, generator=generator)
    lq = torch.nn.functional.interpolate(lq, size=(64, 64), mode="bicubic").clamp(0, 1)
    detail = (torch.rand(1, 3, 256, 256, generator=generator) - 0.5) * 0.1
    drifted = torch.nn.functional.interpolate(lq, scale_factor=4, mode="bilinear") * 0.9 + 0.08 + detail
    locked = lock_colors(lq, drifted)

    def difference(sr: torch.Tensor) -> float:
        return float(color_difference(lq, sr).mean())

    assert difference(locked) < difference(drifted) / 8
    change = locked - drifted
    assert change.diff(dim=-1).abs().max() < detail.diff(dim=-1).abs().max() / 5


def test_alpha_has_no_veil_beside_what_is_visible_and_no_hole_inside_it():
    alpha = torch.zeros(1, 1, 20, 20)
    alpha[..., 10:] = 1
    veiled = enlarged(alpha) * 0.96 + 0.02
    clipped = clip_to_neighbors(alpha, veiled)
    assert (clipped[..., : 9 * 4] == 0).all()
    assert (clipped[..., 11 * 4 :] == 1).all()
    edge = slice(9 * 4, 11 * 4)
    assert torch.equal(clipped[..., edge], veiled[..., edge])
