"""Network of VGGStyleConfig; its declaration is in `vgg_style`.

Shapes: B pictures in a batch, C channels, S the required side of a picture, F features.
"""

from torch import Tensor, nn
from torch.nn import functional as F

from tessera.discriminators.config import SLOPE
from tessera.discriminators.inputs import check_batch
from tessera.discriminators.vgg_style import HIDDEN, WIDTHS, VGGStyleConfig


class VGGStyleDiscriminator(nn.Module):
    """Pairs of convolutions, the second of each with stride 2, then two linear layers with one logit.

    (B, C, S, S), RGB in [0, 1] -> ((B, 1),), logits. Raises UsageError for any other size.
    """

    def __init__(self, config: VGGStyleConfig) -> None:
        super().__init__()
        self.config = config
        everywhere = config.biases == "all"
        inputs = config.in_channels
        for level in range(config.levels):
            outputs = WIDTHS[level] * config.features
            self.add_module(f"conv{level}_0", nn.Conv2d(inputs, outputs, 3, padding=1, bias=everywhere or level == 0))
            if level > 0:
                self.add_module(f"bn{level}_0", nn.BatchNorm2d(outputs))
            self.add_module(f"conv{level}_1", nn.Conv2d(outputs, outputs, 4, stride=2, padding=1, bias=everywhere))
            self.add_module(f"bn{level}_1", nn.BatchNorm2d(outputs))
            inputs = outputs
        self.linear1 = nn.Linear(inputs * (config.input_size >> config.levels) ** 2, HIDDEN)
        self.linear2 = nn.Linear(HIDDEN, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Compute one logit for each picture of a batch."""
        check_batch(x, self.config)
        for level in range(self.config.levels):
            for half in (0, 1):
                x = self.get_submodule(f"conv{level}_{half}")(x)
                if (level, half) != (0, 0):  # the picture itself is not normalized
                    x = self.get_submodule(f"bn{level}_{half}")(x)
                x = F.leaky_relu(x, SLOPE)
        return (self.linear2(F.leaky_relu(self.linear1(x.flatten(1)), SLOPE)),)
