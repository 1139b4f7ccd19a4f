"""The patch discriminator of PyTorch-GAN's ESRGAN, the network of the ESRGAN blog article.

It was trained on pictures normalized with ImageNet's mean and deviation; here the module normalizes them itself, so it
takes RGB in [0, 1] like all others. Attribute names are those of its weights.

Shapes: B pictures in a batch, C channels, H rows, W columns, F features.
"""

from typing import Any, ClassVar, Literal

from pydantic import model_validator

from tessera.discriminators.config import DiscriminatorConfig
from tessera.discriminators.declaration import Discriminator, own_names
from tessera.generators.dialect import Dialect, ScaleHint, Shapes, convolution_shape

WIDTHS = (1, 2, 4, 8)


class PatchConfig(DiscriminatorConfig, frozen=True, extra="forbid"):
    """Configuration of a patch discriminator; with `imagenet_space` its layers see ImageNet-normalized colors."""

    network_class: ClassVar[str] = "tessera.discriminators.patch_network:PatchDiscriminator"

    network: Literal["patch"] = "patch"
    imagenet_space: bool = True

    @model_validator(mode="before")
    @classmethod
    def _default_color_space(cls, values: Any) -> Any:
        if isinstance(values, dict) and "imagenet_space" not in values:
            return {**values, "imagenet_space": values.get("in_channels", 3) == 3}
        return values

    @model_validator(mode="after")
    def _check_channels(self) -> "PatchConfig":
        if self.imagenet_space and self.in_channels != 3:
            raise ValueError("ImageNet's mean and deviation are known for three channels only")
        return self


def _infer(shapes: Shapes, hint: ScaleHint) -> DiscriminatorConfig:
    del hint
    features, inputs, _ = convolution_shape(shapes, "model.0.weight")
    return PatchConfig.model_validate({"in_channels": inputs, "features": features})


PATCH = Discriminator(
    name="patch",
    config=PatchConfig,
    dialects=(
        Dialect(
            name="pytorch-gan",
            description="the discriminator of PyTorch-GAN",
            marks=("model.0.weight", "model.3.running_mean", "model.23.weight"),
            infer=_infer,
            names=own_names,
        ),
    ),
    summary="the patch discriminator of PyTorch-GAN",
)
