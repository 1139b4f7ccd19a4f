"""The maps of the gates are what their definition says, at every size, and looking leaves no trace."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from explain.published import (
    attention_state,
    direct_logits,
    direct_maps,
    direct_multi_maps,
    multi_state,
    save_basicsr,
    split_multi,
)
from tessera.discriminators.attention_unet import AttentionUNetConfig
from tessera.discriminators.multi_scale import MultiScaleConfig
from tessera.discriminators.spectral_norm import SpectralConv2d
from tessera.discriminators.unet import UNetConfig
from tessera.errors import UsageError
from tessera.explain import compute_attention_maps, compute_live_maps, compute_logits
from tessera.explain.live import read_live_picture
from tessera.explain.maps import analyze, estimate_norms, list_gates, upsample_map
from tessera.images.writer import write_picture
from tessera.weights.discriminator_file import load_discriminator

SIZES = [(256, 256), (250, 333), (37, 41), (64, 1000), (772, 1024)]


def picture(height: int, width: int, seed: int = 0) -> Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(seed))


def snapshot(network: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("prefix", ["", "layer0."], ids=["plain", "a lone layer0."])
def test_maps_of_one_network_equal_the_definition_and_keep_the_published_shapes(
    size: tuple[int, int], prefix: str, tmp_path: Path
) -> None:
    state = attention_state(4, seed=3)
    file = save_basicsr(tmp_path / "net_d_5000.pth", {prefix + name: tensor for name, tensor in state.items()})
    (height, width), x = size, picture(*size)
    found = compute_attention_maps(load_discriminator(file).network, x)
    assert list(found) == ["A1", "A2", "A3"]
    for (name, each), wanted, divisor in zip(found.items(), direct_maps(state, x), (4, 2, 1), strict=True):
        assert each.shape == (1, 1, -(-height // divisor), -(-width // divisor)), name
        assert (each - wanted).abs().max() < 1e-6, name
        assert each.std() > 0.01  # a flat map would prove little


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_maps_of_two_networks_equal_the_definition_with_the_last_layer_at_full_size(
    size: tuple[int, int], tmp_path: Path
) -> None:
    state, x = multi_state(4, seed=7), picture(*size)
    found = compute_attention_maps(load_discriminator(save_basicsr(tmp_path / "net_d_1.pth", state)).network, x)
    assert list(found) == ["A1_D1", "A2_D1", "A3_D1", "A1_D2", "A2_D2", "A3_D2"]
    for gate, wanted in zip(list_gates(MultiScaleConfig(features=4)), direct_multi_maps(state, x), strict=True):
        assert found[gate.name].shape == wanted.shape, gate.name
        assert (found[gate.name] - wanted).abs().max() < 1e-6, gate.name
    assert found["A3_D2"].shape == (1, 1, size[0] // 2, size[1] // 2)


def test_one_pass_of_the_encoder_gives_the_maps_and_the_answers() -> None:
    torch.manual_seed(0)
    network = MultiScaleConfig(features=2).build()
    network(picture(32, 32))
    ran: list[str] = []
    for name, module in network.named_modules():
        if name.endswith((".conv0", ".conv3", ".conv9")):
            module.register_forward_hook(lambda *_, name=name: ran.append(name))
    x = picture(37, 41)
    both = analyze(network, x)
    assert sorted(ran) == sorted(f"layer{layer}.conv{number}" for layer in (0, 1) for number in (0, 3, 9))
    ran.clear()
    maps = analyze(network, x, with_logits=False)
    assert not maps.logits
    assert len(ran) == 4
    assert not any(name.endswith("conv9") for name in ran)
    assert all(torch.equal(each, maps.maps[name]) for name, each in both.maps.items())
    assert all(torch.equal(each, both.logits[name]) for name, each in compute_logits(network, x).items())


@pytest.mark.parametrize("training", [False, True], ids=["eval mode", "training mode, as published"])
def test_maps_and_answers_are_those_of_the_original_in_its_mode_and_the_network_stays_as_it_was(
    training: bool, tmp_path: Path
) -> None:
    state, x = multi_state(4, seed=7), picture(64, 96)
    network = load_discriminator(save_basicsr(tmp_path / "net_d_1.pth", state)).network
    before = snapshot(network)
    for _ in range(2):  # the second run does not see what the first one changed
        found = analyze(network, x, as_published=training)
        for ours, wanted in zip(found.maps.values(), direct_multi_maps(state, x, training=training), strict=True):
            assert (ours - wanted).abs().max() < 1e-6
        for ours, part in zip(found.logits.values(), split_multi(state, x), strict=True):
            torch.testing.assert_close(ours, direct_logits(*part, training=training), rtol=1e-4, atol=1e-4)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert not any(module.training for module in network.modules())


@pytest.mark.parametrize("config", [AttentionUNetConfig(features=2), MultiScaleConfig(features=2)], ids=["one", "two"])
def test_maps_changes_no_buffer_no_mode_and_no_random_number(config: MultiScaleConfig) -> None:
    torch.manual_seed(0)
    network = config.build().train()
    next(network.children()).eval()  # as when a part is frozen
    network(picture(32, 32))  # a step, so that buffers are not those of a fresh network
    before, modes = snapshot(network), [module.training for module in network.modules()]
    random = torch.get_rng_state()
    first = compute_attention_maps(network, picture(40, 33))
    compute_logits(network, picture(40, 33))
    live = compute_live_maps(network, picture(40, 33))
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert [module.training for module in network.modules()] == modes
    assert torch.equal(torch.get_rng_state(), random)
    assert not any(each.requires_grad for each in first.values())
    assert all(parameter.requires_grad for parameter in network.parameters())
    again = compute_live_maps(network, picture(40, 33))
    assert (again.sheet == live.sheet).all()
    assert again.numbers == live.numbers


def test_logits_are_those_of_every_scale_in_eval_mode() -> None:
    torch.manual_seed(0)
    network = MultiScaleConfig(features=2).build()
    network(picture(32, 32))
    x = picture(33, 50)
    found = compute_logits(network, x)
    assert {name: tuple(each.shape) for name, each in found.items()} == {"D1": (1, 1, 33, 50), "D2": (1, 1, 16, 25)}
    network.eval()
    with torch.no_grad():
        assert torch.equal(found["D2"], network(x)[1])


def test_a_network_without_gates_is_refused_by_its_name() -> None:
    with pytest.raises(UsageError, match="unet has no attention gates"):
        compute_attention_maps(UNetConfig(features=1).build(), picture(16, 16))
    with pytest.raises(UsageError, match="Linear has no attention gates"):
        compute_attention_maps(nn.Linear(1, 1), picture(16, 16))


def test_enlarging_puts_each_value_in_the_middle_of_its_pixels() -> None:
    values = torch.tensor([[[[0.0, 1.0]]]])
    wide = upsample_map(values, 4, (3, 7))
    assert wide.shape == (1, 1, 3, 7)
    # pixel centers 0.5 ... 6.5 on a grid whose values lie at 2 and 6
    expected = [min(1.0, max(0.0, (x + 0.5 - 2) / 4)) for x in range(7)]
    torch.testing.assert_close(wide[0, 0, 1], torch.tensor(expected))
    # the half of a picture has floor(H/2) rows: the last row, which it left out, gets the value of its neighbor
    half = upsample_map(torch.tensor([[[[0.25], [0.75]]]]), 2, (5, 2))
    assert half[0, 0, :, 0].tolist() == [0.25, 0.375, 0.625, 0.75, 0.75]


def test_norms_are_estimated_for_a_network_before_its_first_step_and_for_no_other() -> None:
    torch.manual_seed(0)
    network = AttentionUNetConfig(features=4).build().eval()
    assert estimate_norms(network)
    for module in network.modules():
        assert not module.training
        if isinstance(module, SpectralConv2d):
            largest = torch.linalg.matrix_norm(module.normalize_weight().flatten(1), 2)
            assert 1 - 1e-5 <= largest < 1.03  # a spectral norm is estimated from below; fp32 rounds
    network.train()(picture(32, 32))
    before = snapshot(network.eval())
    assert not estimate_norms(network)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_the_live_view_has_a_row_for_each_network_and_numbers_for_each_gate(tmp_path: Path) -> None:
    torch.manual_seed(0)
    whole = picture(300, 280)
    write_picture(whole[0].permute(1, 2, 0).numpy(), tmp_path / "a.png")
    middle = read_live_picture(tmp_path / "a.png")
    assert middle.shape == (1, 3, 256, 256)
    assert (middle - whole[..., 22:278, 12:268]).abs().max() <= 0.5 / 255 + 1e-6
    one = compute_live_maps(AttentionUNetConfig(features=2).build(), middle[..., :64, :64])
    two = compute_live_maps(MultiScaleConfig(features=2).build(), middle[..., :64, :64])
    assert two.sheet.dtype.name == "uint8"
    assert two.sheet.shape[0] > 1.7 * one.sheet.shape[0]
    assert two.sheet.shape[1] == one.sheet.shape[1]
    assert {"A1_mean", "A3_edges_rank", "A2_entropy"} <= set(one.numbers)
    assert {"A1_D2_mean", "A3_D1_edges_roc"} <= set(two.numbers)
    assert not any("error" in name for name in two.numbers)
