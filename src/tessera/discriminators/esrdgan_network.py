"""Network of ESRDGANConfig; its declaration is in `esrdgan`.

Shapes: B pictures in a batch, C channels, F features.
"""

from itertools import pairwise

from torch import Tensor, nn

from tessera.discriminators.config import SLOPE
from tessera.discriminators.esrdgan import HALVED, HIDDEN, WIDTHS, ESRDGANConfig
from tessera.discriminators.inputs import check_batch


class HalvingBlock(nn.Module):
    """A convolution with stride 1 and one with stride 2: (B, I, H, W) -> (B, O, H/2, W/2)."""

    def __init__(self, inputs: int, outputs: int, config: ESRDGANConfig, *, first: bool) -> None:
        super().__init__()

        def make_activation(*, normalized: bool = True) -> list[nn.Module]:
            norms: dict[str, list[nn.Module]] = {
                "batch": [nn.BatchNorm2d(outputs)],
                "instance": [nn.InstanceNorm2d(outputs)],
                "none": [],
            }
            slope = SLOPE if config.activation == "leakyrelu" else 0.0
            return [*(norms[config.norm] if normalized else []), nn.LeakyReLU(slope)]

        self.strideddownconv = nn.Sequential(
            nn.Conv2d(inputs, outputs, config.kernel, padding=config.kernel // 2),
            *make_activation(normalized=not first),
            nn.Conv2d(outputs, outputs, 4, stride=2, padding=1),
            *make_activation(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Apply both convolutions."""
        return self.strideddownconv(x)


class ESRDGANDiscriminator(nn.Module):
    """Five downsampling blocks, then two linear layers with one logit.

    (B, C, S, S), RGB in [0, 1] -> ((B, 1),), logits, S the input size. Raises UsageError for any other size.
    """

    def __init__(self, config: ESRDGANConfig) -> None:
        super().__init__()
        self.config = config
        widths = [config.in_channels, *(width * config.features for width in WIDTHS)]
        self.features = nn.Sequential(
            *(
                HalvingBlock(inputs, outputs, config, first=number == 0)
                for number, (inputs, outputs) in enumerate(pairwise(widths))
            )
        )
        self.classifier = nn.Sequential(
            nn.Linear(widths[-1] * (config.input_size // HALVED) ** 2, HIDDEN),
            nn.LeakyReLU(SLOPE if config.activation == "leakyrelu" else 0.0),
            nn.Linear(HIDDEN, 1),
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight)
                module.weight.data.mul_(config.init_scale)
                assert module.bias is not None
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Compute one logit for each picture of a batch."""
        check_batch(x, self.config)
        return (self.classifier(self.features(x).flatten(1)),)
