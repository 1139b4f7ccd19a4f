"""The discriminators: one file per network with its configuration, the list of them all, and their files.

>>> [discriminator.name for discriminator in DISCRIMINATORS]
['patch', 'vgg-style', 'esrdgan', 'unet', 'attention-unet', 'multi-scale']
"""

from tessera.discriminators.attention_unet import AttentionMaps, AttentionUNet, AttentionUNetConfig
from tessera.discriminators.config import DiscriminatorConfig
from tessera.discriminators.esrdgan import ESRDGANConfig, ESRDGANDiscriminator
from tessera.discriminators.files import LoadedDiscriminator, load_discriminator, save_discriminator
from tessera.discriminators.kinds import DISCRIMINATORS, Discriminator
from tessera.discriminators.multi_scale import MultiScaleConfig, MultiScaleDiscriminator
from tessera.discriminators.patch import PatchConfig, PatchDiscriminator
from tessera.discriminators.unet import UNetConfig, UNetDiscriminator
from tessera.discriminators.vgg_style import VGGStyleConfig, VGGStyleDiscriminator

__all__ = [
    "DISCRIMINATORS",
    "AttentionMaps",
    "AttentionUNet",
    "AttentionUNetConfig",
    "Discriminator",
    "DiscriminatorConfig",
    "ESRDGANConfig",
    "ESRDGANDiscriminator",
    "LoadedDiscriminator",
    "MultiScaleConfig",
    "MultiScaleDiscriminator",
    "PatchConfig",
    "PatchDiscriminator",
    "UNetConfig",
    "UNetDiscriminator",
    "VGGStyleConfig",
    "VGGStyleDiscriminator",
    "load_discriminator",
    "save_discriminator",
]
