"""What the discriminators compute, against the same arithmetic written down a second way."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tessera.discriminators.attention_unet import AttentionUNetConfig
from tessera.discriminators.catalog import DISCRIMINATORS
from tessera.discriminators.config import DiscriminatorConfig
from tessera.discriminators.esrdgan import ESRDGANConfig
from tessera.discriminators.inputs import pad_to_multiple
from tessera.discriminators.multi_scale import MultiScaleConfig
from tessera.discriminators.patch import PatchConfig
from tessera.discriminators.unet import UNetConfig
from tessera.discriminators.vgg_style import VGGStyleConfig
from tessera.errors import UsageError

SMALL: list[DiscriminatorConfig] = [
    PatchConfig(features=4),
    VGGStyleConfig(features=2),
    VGGStyleConfig(features=2, input_size=256, biases="all"),
    ESRDGANConfig(features=2),
    ESRDGANConfig(features=2, kernel=5, norm="instance", activation="relu"),
    ESRDGANConfig(features=2, norm="none"),
    UNetConfig(features=4),
    UNetConfig(features=4, skip_connections=False),
    AttentionUNetConfig(features=4),
    MultiScaleConfig(features=4),
    MultiScaleConfig(features=4, scales=3),
]
MAPS = [config for config in SMALL if config.required_side is None]


def built(config: DiscriminatorConfig, seed: int = 0) -> Any:
    torch.manual_seed(seed)
    return config.build()


def picture_for(config: DiscriminatorConfig, batch: int = 2) -> Tensor:
    side = config.required_side or 32
    return torch.rand(batch, config.in_channels, side, side)


def settled(config: DiscriminatorConfig) -> Any:
    """A network in eval mode, in double precision, whose buffers are no longer those of a fresh one."""
    network = built(config).double()
    with torch.no_grad():
        for _ in range(2):
            network(picture_for(config).double())
    return network.eval().requires_grad_(False)


# ---------------------------------------------------------------------------------------------- published numbers


@pytest.mark.parametrize(
    ("config", "count"),
    [
        (PatchConfig(), 4_693_697),
        (VGGStyleConfig(), 14_499_401),
        (VGGStyleConfig(input_size=256), 21_055_049),
        (ESRDGANConfig(), 32_007_657),
        (UNetConfig(), 4_376_897),
        (AttentionUNetConfig(), 5_399_044),
        (MultiScaleConfig(), 10_798_088),
    ],
)
def test_the_published_number_of_parameters(config: DiscriminatorConfig, count: int) -> None:
    with torch.device("meta"):
        assert sum(parameter.numel() for parameter in config.build().parameters()) == count


def test_the_gates_have_the_published_sizes() -> None:
    with torch.device("meta"):
        network = AttentionUNetConfig().build()
    gates = [network.get_submodule(name) for name in ("attn_1", "attn_2", "attn_3")]
    assert [sum(p.numel() for p in gate.parameters()) for gate in gates] == [394_497, 115_329, 37_185]


def test_the_list_names_every_configuration_once() -> None:
    for known in DISCRIMINATORS:
        assert known.config.model_validate({}).network == known.name
        assert known.summary
    assert len({known.name for known in DISCRIMINATORS}) == len(DISCRIMINATORS)


def test_the_sizes_inside_at_256_are_those_of_the_original() -> None:
    network = settled(AttentionUNetConfig(features=2)).float()
    sides: dict[str, tuple[int, int]] = {}
    for name in ("gating", "attn_1.theta", "attn_2.theta", "attn_3.theta"):
        network.get_submodule(name).register_forward_hook(
            lambda module, inputs, output, name=name: sides.update({name: tuple(output.shape[-2:])})
        )
    x = torch.rand(1, 3, 256, 256)
    maps = network.compute_attention(x)[0]
    assert sides == {
        "gating": (34, 34),
        "attn_1.theta": (32, 32),
        "attn_2.theta": (64, 64),
        "attn_3.theta": (128, 128),
    }
    assert [tuple(found.shape) for found in maps] == [(1, 1, 64, 64), (1, 1, 128, 128), (1, 1, 256, 256)]
    outputs = settled(MultiScaleConfig(features=2)).float()(x)
    assert [tuple(found.shape) for found in outputs] == [(1, 1, 256, 256), (1, 1, 128, 128)]
    assert [tuple(found.shape) for found in settled(PatchConfig(features=2)).float()(x)] == [(1, 1, 16, 16)]


# --------------------------------------------------------------------------------- the arithmetic, a second time


def resized(x: Tensor, size: Sequence[int]) -> Tensor:
    """Bilinear interpolation, pixel centers at halves, borders repeated: as two matrices."""

    def matrix(outputs: int, inputs: int) -> Tensor:
        table = np.zeros((outputs, inputs))
        for row in range(outputs):
            place = max((row + 0.5) * inputs / outputs - 0.5, 0.0)
            low = int(place)
            high = min(low + 1, inputs - 1)
            table[row, low] += 1 - (place - low)
            table[row, high] += place - low
        return torch.from_numpy(table)

    return matrix(size[0], x.shape[-2]) @ x @ matrix(size[1], x.shape[-1]).T


def leaky(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, 0.2 * x)


class Weights:
    """The published names of a state dict, each used as the layer it belongs to."""

    def __init__(self, network: nn.Module, prefix: str = "") -> None:
        self.state = {
            name.removeprefix(prefix): tensor
            for name, tensor in network.state_dict().items()
            if name.startswith(prefix)
        }

    def conv(self, x: Tensor, name: str, stride: int = 1, padding: int = 1) -> Tensor:
        if f"{name}.weight" in self.state:
            weight = self.state[f"{name}.weight"]
        else:
            weight = self.state[f"{name}.weight_orig"]
            u, v = self.state[f"{name}.weight_u"], self.state[f"{name}.weight_v"]
            weight = weight / (u @ weight.reshape(len(weight), -1) @ v)
        return F.conv2d(x, weight, self.state.get(f"{name}.bias"), stride, padding)

    def norm(self, x: Tensor, name: str) -> Tensor:
        mean, variance, weight, bias = (
            self.state[f"{name}.{kind}"].reshape(1, -1, 1, 1)
            for kind in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / torch.sqrt(variance + 1e-5) * weight + bias

    def linear(self, x: Tensor, name: str) -> Tensor:
        return x @ self.state[f"{name}.weight"].T + self.state[f"{name}.bias"]


def attention_of(weights: Weights, name: str, x: Tensor, g: Tensor) -> Tensor:
    theta = weights.conv(x, f"{name}.theta", stride=2, padding=0)
    phi = weights.conv(g, f"{name}.phi", padding=0)
    f = torch.clamp(theta + resized(phi, theta.shape[-2:]), min=0)
    return resized(torch.sigmoid(weights.conv(f, f"{name}.psi", padding=0)), x.shape[-2:])


def attention_unet(weights: Weights, x: Tensor) -> tuple[Tensor, list[Tensor]]:
    x0 = leaky(weights.conv(x, "conv0"))
    x1 = leaky(weights.conv(x0, "conv1", 2))
    x2 = leaky(weights.conv(x1, "conv2", 2))
    x3 = leaky(weights.conv(x2, "conv3", 2))
    g = leaky(weights.conv(x3, "gating", padding=1))
    assert g.shape[-1] == x3.shape[-1] + 2
    maps: list[Tensor] = []
    feat = x3
    for number, skip in ((1, x2), (2, x1), (3, x0)):
        a = attention_of(weights, f"attn_{number}", skip, g)
        maps.append(a)
        gated = weights.norm(weights.conv(a * skip, f"attn_{number}.W.0", padding=0), f"attn_{number}.W.1")
        up = leaky(weights.conv(resized(feat, skip.shape[-2:]), f"cat_{number}.convU"))
        feat = leaky(weights.conv(torch.cat((gated, up), 1), f"conv{number + 3}"))
    feat = leaky(weights.conv(leaky(weights.conv(feat, "conv7")), "conv8"))
    return weights.conv(feat, "conv9"), maps


def test_the_attention_unet_and_its_maps_follow_their_definition() -> None:
    config = AttentionUNetConfig(features=4)
    network = settled(config)
    for parameter in network.parameters():  # large enough that maps are not all alike
        parameter.data.mul_(2)
    x = torch.rand(2, 3, 32, 48, dtype=torch.float64)
    logits, maps = attention_unet(Weights(network), x)
    torch.testing.assert_close(network(x)[0], logits, atol=1e-9, rtol=1e-9)
    (found,) = network.compute_attention(x)
    for ours, expected in zip(found, maps, strict=True):
        torch.testing.assert_close(ours, expected, atol=1e-6, rtol=0)
        assert 0 < float(ours.min()) < float(ours.max()) < 1
        assert float(ours.std()) > 1e-3
    assert [found.a1.shape, found.a2.shape, found.a3.shape] == [a.shape for a in maps]


def test_of_two_scales_the_last_layer_sees_the_whole_and_the_first_the_half() -> None:
    network = settled(MultiScaleConfig(features=4))
    x = torch.rand(1, 3, 32, 48, dtype=torch.float64)
    padded = F.pad(x, (1, 1, 1, 1))  # zeros, which are averaged in
    half = torch.stack([padded[..., i : i + 32 : 2, j : j + 48 : 2] for i in range(4) for j in range(4)]).sum(0) / 16
    first, first_maps = attention_unet(Weights(network, "layer1."), x)
    second, second_maps = attention_unet(Weights(network, "layer0."), half)
    for ours, expected in zip(network(x), (first, second), strict=True):
        torch.testing.assert_close(ours, expected, atol=1e-9, rtol=1e-9)
    for ours, expected in zip(network.compute_attention(x), (first_maps, second_maps), strict=True):
        for one, other in zip(ours, expected, strict=True):
            torch.testing.assert_close(one, other, atol=1e-6, rtol=0)


def test_halving_darkens_the_borders_as_the_published_weights_expect() -> None:
    network = settled(MultiScaleConfig(features=2))
    seen: list[Tensor] = []
    network.layer0.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    network(torch.ones(1, 3, 32, 32, dtype=torch.float64))
    row = seen[0][0, 0, 0]
    assert float(row[0]) == pytest.approx(9 / 16)
    assert float(row[1]) == pytest.approx(12 / 16)
    assert float(seen[0][0, 0, 1, 1]) == 1


@pytest.mark.parametrize("skips", [True, False])
def test_the_unet_adds_the_way_down_after_the_activation(skips: bool) -> None:
    network = settled(UNetConfig(features=4, skip_connections=skips))
    weights = Weights(network)
    x = torch.rand(2, 3, 16, 24, dtype=torch.float64)
    x0 = leaky(weights.conv(x, "conv0"))
    x1 = leaky(weights.conv(x0, "conv1", 2))
    x2 = leaky(weights.conv(x1, "conv2", 2))
    feat = leaky(weights.conv(x2, "conv3", 2))
    for number, skip in ((4, x2), (5, x1), (6, x0)):
        feat = leaky(weights.conv(resized(feat, skip.shape[-2:]), f"conv{number}")) + skip * skips
    feat = leaky(weights.conv(leaky(weights.conv(feat, "conv7")), "conv8"))
    torch.testing.assert_close(network(x)[0], weights.conv(feat, "conv9"), atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize(
    "config", [VGGStyleConfig(features=2), VGGStyleConfig(features=2, input_size=256, biases="all")], ids=repr
)
def test_vgg_style_normalizes_all_but_the_picture(config: VGGStyleConfig) -> None:
    network = settled(config)
    weights = Weights(network)
    x = picture_for(config).double()
    feat = leaky(weights.conv(x, "conv0_0"))
    feat = leaky(weights.norm(weights.conv(feat, "conv0_1", 2), "bn0_1"))
    for level in range(1, {128: 5, 256: 6}[config.input_size]):
        feat = leaky(weights.norm(weights.conv(feat, f"conv{level}_0"), f"bn{level}_0"))
        feat = leaky(weights.norm(weights.conv(feat, f"conv{level}_1", 2), f"bn{level}_1"))
    assert feat.shape[-2:] == (4, 4)
    expected = weights.linear(leaky(weights.linear(feat.reshape(2, -1), "linear1")), "linear2")
    torch.testing.assert_close(network(x)[0], expected, atol=1e-9, rtol=1e-9)
    assert network(x)[0].shape == (2, 1)
    assert ("conv3_1.bias" in weights.state) == (config.biases == "all")
    assert "conv0_0.bias" in weights.state


@pytest.mark.parametrize("norm", ["batch", "instance", "none"])
@pytest.mark.parametrize("activation", ["leakyrelu", "relu"])
def test_the_discriminator_of_esrdgan_step_by_step(norm: Any, activation: Any) -> None:
    config = ESRDGANConfig(features=2, kernel=5, norm=norm, activation=activation)
    network = settled(config)
    weights = Weights(network)
    slope = 0.2 if activation == "leakyrelu" else 0.0

    def normalized(x: Tensor, name: str) -> Tensor:
        if norm == "batch":
            return weights.norm(x, name)
        if norm == "instance":
            return (x - x.mean((2, 3), True)) / torch.sqrt(x.var((2, 3), keepdim=True, unbiased=False) + 1e-5)
        return x

    def activated(x: Tensor) -> Tensor:
        return torch.where(x > 0, x, slope * x)

    places = {"batch": (0, 1, 3, 4), "instance": (0, 1, 3, 4), "none": (0, 0, 2, 0)}[norm]
    feat = x = picture_for(config).double()
    for block in range(5):
        full, first, strided, second = (0, 0, 2, 3) if block == 0 else places
        name = f"features.{block}.strideddownconv"
        feat = weights.conv(feat, f"{name}.{full}", padding=2)
        feat = activated(feat if block == 0 else normalized(feat, f"{name}.{first}"))
        feat = activated(normalized(weights.conv(feat, f"{name}.{strided}", 2), f"{name}.{second}"))
    expected = weights.linear(activated(weights.linear(feat.reshape(2, -1), "classifier.0")), "classifier.2")
    torch.testing.assert_close(network(x)[0], expected, atol=1e-9, rtol=1e-9)


def test_the_patch_discriminator_sees_imagenet_colors_and_takes_rgb() -> None:
    network = settled(PatchConfig(features=4))
    weights = Weights(network)
    x = torch.rand(2, 3, 40, 33, dtype=torch.float64)
    mean = torch.tensor([0.485, 0.456, 0.406]).double().reshape(3, 1, 1)
    deviation = torch.tensor([0.229, 0.224, 0.225]).double().reshape(3, 1, 1)
    feat = leaky(weights.conv((x - mean) / deviation, "model.0"))
    feat = leaky(weights.norm(weights.conv(feat, "model.2", 2), "model.3"))
    for place in (5, 11, 17):
        feat = leaky(weights.norm(weights.conv(feat, f"model.{place}"), f"model.{place + 1}"))
        feat = leaky(weights.norm(weights.conv(feat, f"model.{place + 3}", 2), f"model.{place + 4}"))
    expected = weights.conv(feat, "model.23")
    assert expected.shape == (2, 1, 3, 3)
    torch.testing.assert_close(network(x)[0], expected, atol=1e-6, rtol=1e-6)  # its constants are single precision
    assert not PatchConfig(in_channels=1).imagenet_space
    with pytest.raises(ValueError, match="three channels only"):
        PatchConfig(in_channels=1, imagenet_space=True)


def test_fresh_weights_of_esrdgan_are_kaimings_times_the_scale() -> None:
    one, tenth = (built(ESRDGANConfig(features=8, init_scale=scale)).requires_grad_(False) for scale in (1.0, 0.1))
    convolution = one.features[2].strideddownconv[0]
    assert float(convolution.weight.std()) == pytest.approx((2 / (16 * 9)) ** 0.5, rel=0.03)
    linear = one.classifier[0]
    assert float(linear.weight.std()) == pytest.approx((2 / linear.in_features) ** 0.5, rel=0.03)
    for name, weight in one.state_dict().items():
        other = tenth.state_dict()[name]
        if name.endswith("bias"):
            assert not weight.any()
        elif weight.ndim > 1:
            torch.testing.assert_close(other, weight * 0.1)
        else:
            assert torch.equal(other, weight)


# ------------------------------------------------------------------------------------------------ sizes and padding


@pytest.mark.parametrize("config", MAPS, ids=repr)
@pytest.mark.parametrize("size", [(250, 333), (64, 1000), (5, 9), (1, 1), (1, 40)])
def test_a_picture_of_any_size_is_judged_everywhere(config: DiscriminatorConfig, size: tuple[int, int]) -> None:
    network = built(config.model_copy(update={"features": 2})).eval()
    x = torch.rand(1, 3, *size)
    with torch.no_grad():
        outputs = network(x)
    assert isinstance(outputs, tuple)
    first = 16 if isinstance(config, PatchConfig) else 1
    scales = config.scales if isinstance(config, MultiScaleConfig) else 1
    for level, logits in enumerate(outputs):
        halved = [max(1, side >> level) for side in size]  # halving drops the last pixel of an odd side
        assert logits.shape == (1, 1, -(-halved[0] // first), -(-halved[1] // first))
        assert torch.isfinite(logits).all()
    assert len(outputs) == scales
    if isinstance(config, AttentionUNetConfig | MultiScaleConfig):
        with torch.no_grad():
            maps = network.compute_attention(x)
        assert len(maps) == scales
        for level, three in enumerate(maps):
            halved = [max(1, side >> level) for side in size]
            for found, depth in zip(three, (4, 2, 1), strict=True):
                assert found.shape == (1, 1, -(-halved[0] // depth), -(-halved[1] // depth))


@pytest.mark.parametrize("config", [each for each in MAPS if isinstance(each, UNetConfig)], ids=repr)
def test_sides_that_divide_are_not_touched_and_others_are_mirrored_and_cropped(config: DiscriminatorConfig) -> None:
    network = built(config).eval()
    x = torch.rand(1, 3, 64, 32)
    assert pad_to_multiple(x, config.multiple) is x
    odd = x[..., :61, :31]
    by_hand = torch.cat((odd, odd.flip(-2)[..., 1:4, :]), -2)
    by_hand = torch.cat((by_hand, by_hand.flip(-1)[..., 1:2]), -1)
    assert by_hand.shape == x.shape
    with torch.no_grad():
        (ours,), (whole,) = network(odd), network(by_hand)
    assert torch.equal(ours, whole[..., :61, :31])


@pytest.mark.parametrize("config", [AttentionUNetConfig(features=4), MultiScaleConfig(features=4)], ids=repr)
def test_odd_sides_change_the_answers_of_gates_at_the_far_sides_only(config: DiscriminatorConfig) -> None:
    network = settled(config)
    whole = torch.rand(1, 3, 160, 192, dtype=torch.float64)
    odd = whole[..., :157, :187]
    for level, (ours, full) in enumerate(zip(network(odd), network(whole), strict=True)):
        assert ours.shape[-2:] == (157 >> level, 187 >> level)
        # the deepest features reach less than 64 pixels of their network
        near = ours[..., : (157 >> level) - 64, : (187 >> level) - 64]
        assert near.numel()
        # only the attention, which is resized to the whole, differs a little
        assert (near - full[..., : near.shape[-2], : near.shape[-1]]).abs().max() < 0.05 * full.std()


def test_a_side_too_short_to_mirror_repeats_its_last_pixels() -> None:
    x = torch.arange(6.0).reshape(1, 1, 2, 3)
    padded = pad_to_multiple(x, 8)
    assert padded.shape == (1, 1, 8, 8)
    assert padded[0, 0, 0].tolist() == [0, 1, 2, 2, 2, 2, 2, 2]
    assert padded[0, 0, :, 0].tolist() == [0, 3, 3, 3, 3, 3, 3, 3]
    assert pad_to_multiple(torch.rand(1, 1, 4, 4), 8).shape == (1, 1, 8, 8)  # one pixel short of mirroring
    mirrored = pad_to_multiple(torch.arange(5.0).reshape(1, 1, 1, 5), 8)
    assert mirrored[0, 0, 0].tolist() == [0, 1, 2, 3, 4, 3, 2, 1]


@pytest.mark.parametrize("config", [VGGStyleConfig(features=2), ESRDGANConfig(features=2)], ids=repr)
@pytest.mark.parametrize("size", [(128, 127), (256, 256), (1, 1)])
def test_vgg_style_takes_its_own_size_only(config: DiscriminatorConfig, size: tuple[int, int]) -> None:
    with pytest.raises(UsageError, match=rf"128x128 only.*found {size[0]}x{size[1]}"):
        built(config)(torch.rand(1, 3, *size))


@pytest.mark.parametrize("config", SMALL, ids=repr)
def test_what_is_no_batch_of_pictures_is_refused_with_a_sentence(config: DiscriminatorConfig) -> None:
    network = built(config)
    x = picture_for(config)
    for wrong in (x[0], x[:, :1], x[:0], x.repeat(1, 2, 1, 1), x[:, :, :, :0]):
        with pytest.raises(UsageError, match=r"found \("):
            network(wrong)
    with pytest.raises(UsageError, match=r"floating-point.*found uint8"):
        network((x * 255).to(torch.uint8))


def test_the_smallest_pictures_that_can_be_trained_on() -> None:
    patch = built(PatchConfig(features=2))
    with pytest.raises(UsageError, match="single patch"):
        patch(torch.rand(1, 3, 16, 16))
    assert patch(torch.rand(1, 3, 17, 16))[0].shape == (1, 1, 2, 1)
    assert patch(torch.rand(2, 3, 16, 16))[0].shape == (2, 1, 1, 1)
    assert patch.eval()(torch.rand(1, 3, 16, 16))[0].shape == (1, 1, 1, 1)
    for config in MAPS[1:]:
        assert built(config)(torch.rand(1, 3, 1, 1))[0].shape == (1, 1, 1, 1)


# --------------------------------------------------------------------------------------------------- in training


@pytest.mark.parametrize("config", SMALL, ids=repr)
def test_the_gradient_reaches_the_picture_through_a_frozen_network_in_training_mode(
    config: DiscriminatorConfig,
) -> None:
    network = built(config).train().requires_grad_(False)
    x = picture_for(config).requires_grad_()
    losses = [F.binary_cross_entropy_with_logits(logits, torch.ones_like(logits)) for logits in network(x)]
    loss = torch.stack(losses).sum()
    loss.backward()
    assert x.grad is not None
    assert float(x.grad.abs().sum()) > 0
    assert all(parameter.grad is None for parameter in network.parameters())


@pytest.mark.parametrize("config", SMALL, ids=repr)
def test_real_and_made_pictures_are_judged_before_one_backward_and_all_weights_learn(
    config: DiscriminatorConfig,
) -> None:
    network = built(config)
    real, made = picture_for(config), picture_for(config)
    losses = [
        F.softplus(-good).mean() + F.softplus(bad).mean()
        for good, bad in zip(network(real), network(made), strict=True)
    ]
    torch.stack(losses).sum().backward()
    still = [name for name, parameter in network.named_parameters() if not bool(parameter.grad.abs().sum() > 0)]
    # under a normalization that takes the mean away, the bias before it has no effect
    assert [name for name in still if not name.endswith("bias")] == []


@pytest.mark.parametrize("config", SMALL, ids=repr)
def test_in_eval_mode_nothing_in_the_network_changes(config: DiscriminatorConfig) -> None:
    network = built(config)
    x = picture_for(config)
    network(x)
    network.eval()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    first = network(x)
    if isinstance(config, AttentionUNetConfig | MultiScaleConfig):
        network.compute_attention(x)
    for ours, again in zip(first, network(x), strict=True):
        assert torch.equal(ours, again)
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


@pytest.mark.parametrize("config", SMALL, ids=repr)
def test_sizes_can_be_asked_without_memory_or_arithmetic(config: DiscriminatorConfig) -> None:
    if isinstance(config, PatchConfig):
        config = config.model_copy(update={"imagenet_space": False})  # its constants are real numbers
    with torch.device("meta"):
        outputs = config.build()(picture_for(config))
    assert all(logits.is_meta for logits in outputs)
    assert [tuple(logits.shape) for logits in outputs] == [
        tuple(logits.shape) for logits in built(config)(picture_for(config))
    ]


@pytest.mark.slow
def test_the_published_sizes_judge_a_picture_of_256() -> None:
    x = torch.rand(1, 3, 256, 256)
    with torch.no_grad():
        assert [o.shape[-1] for o in MultiScaleConfig().build().eval()(x)] == [256, 128]
        assert VGGStyleConfig(input_size=256).build().eval()(x)[0].shape == (1, 1)
        assert UNetConfig().build().eval()(x)[0].shape == (1, 1, 256, 256)
        assert PatchConfig().build().eval()(x)[0].shape == (1, 1, 16, 16)
