"""What the networks compute, against the same arithmetic written down a second way."""

from typing import Any

import torch
from torch.nn import functional as F

from tessera.generators import (
    ESRDnetConfig,
    ESRGANPytorchConfig,
    PyTorchGANConfig,
    RRDBNetConfig,
    SRVGGNetCompactConfig,
)


def test_rrdbnet_follows_the_paper_step_by_step() -> None:
    torch.manual_seed(1)
    config = RRDBNetConfig(features=4, blocks=1, growth=2)
    network = config.build().double()
    for parameter in network.parameters():  # large enough that every part counts
        parameter.data.mul_(4)
    weights = network.state_dict()

    def conv(x: torch.Tensor, name: str) -> torch.Tensor:
        return F.conv2d(x, weights[f"{name}.weight"], weights[f"{name}.bias"], padding=1)

    x = torch.rand(1, 3, 5, 6, dtype=torch.float64)
    feat = first = conv(x, "conv_first")
    for dense in (1, 2, 3):
        seen = [feat]
        for number in (1, 2, 3, 4):
            seen.append(F.leaky_relu(conv(torch.cat(seen, 1), f"body.0.rdb{dense}.conv{number}"), 0.2))
        feat = feat + 0.2 * conv(torch.cat(seen, 1), f"body.0.rdb{dense}.conv5")
    feat = first + conv(first + 0.2 * feat, "conv_body")
    for stage in ("conv_up1", "conv_up2"):
        feat = F.leaky_relu(conv(feat.repeat_interleave(2, 2).repeat_interleave(2, 3), stage), 0.2)
    expected = conv(F.leaky_relu(conv(feat, "conv_hr"), 0.2), "conv_last")
    torch.testing.assert_close(network(x), expected)


def test_the_unshuffle_puts_rows_before_columns() -> None:
    torch.manual_seed(2)
    network: Any = RRDBNetConfig(scale=2, features=4, blocks=1, growth=2).build()
    seen: list[torch.Tensor] = []
    network.conv_first.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    x = torch.rand(1, 3, 4, 4)
    network(x)
    for channel in range(3):
        for row in range(2):
            for column in range(2):
                assert torch.equal(seen[0][0, channel * 4 + row * 2 + column], x[0, channel, row::2, column::2])


def test_srvgg_with_all_weights_zero_is_nearest_neighbor() -> None:
    network = SRVGGNetCompactConfig(features=4, convolutions=1).build()
    for parameter in network.parameters():
        parameter.data.zero_()
    x = torch.rand(1, 3, 3, 5)
    assert torch.equal(network(x), x.repeat_interleave(4, 2).repeat_interleave(4, 3))


def test_the_activations_of_srvgg_without_weights_have_the_slopes_of_the_original() -> None:
    x = torch.tensor([[[[-1.0]]]]).expand(1, 4, 1, 1)
    for activation, expected in (("relu", 0.0), ("leakyrelu", -0.1)):
        config = SRVGGNetCompactConfig.model_validate({"features": 4, "convolutions": 1, "activation": activation})
        network: Any = config.build()
        torch.testing.assert_close(network.body[1](x), torch.full_like(x, expected))


def test_pytorch_gan_works_in_imagenet_space_and_gives_rgb() -> None:
    torch.manual_seed(3)
    config = PyTorchGANConfig(features=4, blocks=1)
    network = config.build()
    bare = PyTorchGANConfig(features=4, blocks=1, imagenet_space=False).build()
    bare.load_state_dict(network.state_dict())
    mean = torch.tensor([0.485, 0.456, 0.406]).reshape(3, 1, 1)
    deviation = torch.tensor([0.229, 0.224, 0.225]).reshape(3, 1, 1)
    x = torch.rand(1, 3, 4, 4)
    torch.testing.assert_close(network(x), bare((x - mean) / deviation) * deviation + mean)
    assert not any("mean" in name or "deviation" in name for name in network.state_dict())


def test_pytorch_gan_activates_before_it_shuffles_with_a_slope_of_a_hundredth() -> None:
    network: Any = PyTorchGANConfig(features=4, blocks=1).build()
    kinds = [type(layer).__name__ for layer in network.upsampling]
    assert kinds == ["Conv2d", "LeakyReLU", "PixelShuffle"] * 2
    slopes = {layer.negative_slope for layer in network.modules() if isinstance(layer, torch.nn.LeakyReLU)}
    assert slopes == {0.01}


def test_esrgan_pytorch_is_rrdbnet_with_one_convolution_used_twice() -> None:
    torch.manual_seed(4)
    network: Any = ESRGANPytorchConfig(features=4, blocks=1, growth=2).build()
    calls: list[int] = []
    network.upsampling[0].register_forward_hook(lambda module, inputs, output: calls.append(output.shape[-1]))
    network(torch.rand(1, 3, 3, 3))
    assert calls == [6, 12]


def test_esrdnet_scales_its_residuals_as_configured() -> None:
    torch.manual_seed(5)
    still = ESRDnetConfig(features=4, blocks=2, growth=2, rdb_residual=0.0, rrdb_residual=0.0)
    network: Any = still.build()
    body = network.model[1].module[0]
    x = torch.rand(1, 4, 3, 3)
    assert torch.equal(body(x), x)
