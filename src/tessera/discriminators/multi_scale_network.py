"""Network of MultiScaleConfig; its declaration is in `multi_scale`.

Shapes: B pictures in a batch, C channels, H rows, W columns, F features, n scales.
"""

from collections.abc import Iterator

from torch import Tensor, nn
from torch.nn import functional as F

from tessera.discriminators.attention_unet import DIVISORS, LEAST_SIDE
from tessera.discriminators.attention_unet_network import AttentionMaps, AttentionUNet
from tessera.discriminators.inputs import check_batch, crop_to, pad_to_side
from tessera.discriminators.multi_scale import MultiScaleConfig


class MultiScaleDiscriminator(nn.Module):
    """One attention U-Net for each scale of a picture, with separate weights.

    (B, C, H, W), RGB in [0, 1] -> ((B, 1, H, W), (B, 1, floor(H/2), floor(W/2)), ...), n maps of logits, full size
    first, none smaller than 1x1. Pictures of any size; sides of less than 5 * 2^(n-1) pixels, which the original does
    not support, are padded first. Raises UsageError for anything but a batch of such pictures.
    """

    def __init__(self, config: MultiScaleConfig) -> None:
        super().__init__()
        self.config = config
        for number in range(config.scales):
            self.add_module(f"layer{number}", config.single.build())

    def _iterate_levels(self, x: Tensor) -> Iterator[tuple[AttentionUNet, Tensor, tuple[int, int]]]:
        """Yield the network for each scale, the picture at that scale, and the size (H, W) of its logits."""
        check_batch(x, self.config)
        height, width = x.shape[-2:]
        x = pad_to_side(x, LEAST_SIDE << (self.config.scales - 1))
        for level in range(self.config.scales):
            if level:
                x = F.avg_pool2d(x, 4, stride=2, padding=1, count_include_pad=True)
            network = self.get_submodule(f"layer{self.config.scales - 1 - level}")
            assert isinstance(network, AttentionUNet)
            yield network, x, (max(1, height >> level), max(1, width >> level))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Compute logits for each pixel of a batch of pictures, at every scale."""
        return tuple(crop_to(network(small)[0], size) for network, small, size in self._iterate_levels(x))

    def iterate_scales(self, x: Tensor, *, with_logits: bool) -> Iterator[tuple[AttentionMaps, Tensor | None]]:
        """Yield attention maps and logits, if they are wanted, of each scale, from one pass of its encoder.

        (B, C, H, W), RGB in [0, 1] -> see AttentionMaps, for pictures of the sizes of the logits. Set the network to
        eval mode first: in training mode this run updates the estimates of the spectral norms.
        """
        for network, small, size in self._iterate_levels(x):
            for maps, logits in network.iterate_scales(small, with_logits=with_logits):
                cropped = AttentionMaps(*(crop_to(a, size, inner) for a, inner in zip(maps, DIVISORS, strict=True)))
                yield cropped, None if logits is None else crop_to(logits, size)

    def compute_attention(self, x: Tensor) -> tuple[AttentionMaps, ...]:
        """Compute the attention maps at every scale, in the order of the logits, as `iterate_scales` does."""
        return tuple(maps for maps, _ in self.iterate_scales(x, with_logits=False))
