"""The list of all discriminators.

>>> [discriminator.name for discriminator in DISCRIMINATORS]
['patch', 'vgg-style', 'esrdgan', 'attention-unet', 'multi-scale', 'unet']
"""

from tessera.discriminators.attention_unet import ATTENTION_UNET
from tessera.discriminators.declaration import Discriminator
from tessera.discriminators.esrdgan import ESRDGAN
from tessera.discriminators.multi_scale import MULTI_SCALE
from tessera.discriminators.patch import PATCH
from tessera.discriminators.unet import UNET
from tessera.discriminators.vgg_style import VGG_STYLE

# A file belongs to the first dialect whose marks it has: the attention U-Net has those of the plain U-Net too.
DISCRIMINATORS: tuple[Discriminator, ...] = (PATCH, VGG_STYLE, ESRDGAN, ATTENTION_UNET, MULTI_SCALE, UNET)
