"""Network of PatchConfig; its declaration is in `patch`.

Shapes: B pictures in a batch, C channels, H rows, W columns, F features.
"""

import torch
from torch import Tensor, nn

from tessera.discriminators.config import SLOPE
from tessera.discriminators.inputs import check_batch
from tessera.discriminators.patch import WIDTHS, PatchConfig
from tessera.errors import UsageError
from tessera.generators.pytorch_gan.declaration import IMAGENET_DEVIATION, IMAGENET_MEAN


class PatchDiscriminator(nn.Module):
    """Four pairs of convolutions, the second of each with stride 2, and one that yields a logit per patch.

    (B, C, H, W), RGB in [0, 1] -> ((B, 1, ceil(H/16), ceil(W/16)),), logits. Any size works without padding. Raises
    UsageError for anything but a batch of such pictures, and in training mode for a single patch, for which batch
    normalization has no deviation.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, config: PatchConfig) -> None:
        super().__init__()
        self.config = config
        # Named devices, so that they have values even when the network is built without memory (device "meta").
        mean = torch.tensor(IMAGENET_MEAN, device="cpu").reshape(1, 3, 1, 1)
        deviation = torch.tensor(IMAGENET_DEVIATION, device="cpu").reshape(1, 3, 1, 1)
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("deviation", deviation, persistent=False)

        layers: list[nn.Module] = []
        inputs = config.in_channels
        for width in WIDTHS:
            outputs = width * config.features
            layers.append(nn.Conv2d(inputs, outputs, 3, padding=1))
            if width > 1:
                layers.append(nn.BatchNorm2d(outputs))
            layers.append(nn.LeakyReLU(SLOPE, inplace=True))
            layers.append(nn.Conv2d(outputs, outputs, 3, stride=2, padding=1))
            layers.append(nn.BatchNorm2d(outputs))
            layers.append(nn.LeakyReLU(SLOPE, inplace=True))
            inputs = outputs
        layers.append(nn.Conv2d(inputs, 1, 3, padding=1))
        self.model = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Compute logits for each patch of a batch of pictures."""
        check_batch(x, self.config)
        if self.training and x.shape[0] == 1 and max(x.shape[-2:]) <= 16:
            raise UsageError(
                f"The discriminator patch cannot be trained on one picture of {x.shape[-2]}x{x.shape[-1]}: it becomes "
                "a single patch, and batch normalization needs more than one. Give more pictures, or larger than 16x16."
            )
        if self.config.imagenet_space:
            x = (x - self.mean) / self.deviation
        return (self.model(x),)
