"""The list of all discriminators."""

from dataclasses import dataclass

from tessera.discriminators.attention_unet import AttentionUNetConfig
from tessera.discriminators.config import DiscriminatorConfig
from tessera.discriminators.esrdgan import ESRDGANConfig
from tessera.discriminators.multi_scale import MultiScaleConfig
from tessera.discriminators.patch import PatchConfig
from tessera.discriminators.unet import UNetConfig
from tessera.discriminators.vgg_style import VGGStyleConfig


@dataclass(frozen=True)
class Discriminator:
    """One kind of network: its name in configurations, the configuration and what it is."""

    name: str
    config: type[DiscriminatorConfig]
    summary: str


DISCRIMINATORS: tuple[Discriminator, ...] = (
    Discriminator("patch", PatchConfig, "the patch discriminator of PyTorch-GAN"),
    Discriminator("vgg-style", VGGStyleConfig, "the VGG-style discriminator of ESRGAN, for one size of picture"),
    Discriminator("esrdgan", ESRDGANConfig, "VGG128Discriminator of esrdgan, with a choice of kernel and norm"),
    Discriminator("unet", UNetConfig, "the U-Net of Real-ESRGAN, a verdict for each pixel"),
    Discriminator("attention-unet", AttentionUNetConfig, "the attention U-Net of A-ESRGAN"),
    Discriminator("multi-scale", MultiScaleConfig, "attention U-Nets of A-ESRGAN at several sizes"),
)
