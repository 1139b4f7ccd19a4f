"""Pixel, perceptual and adversarial losses of each system of the ESRGAN family, and a loss against grid patterns.

>>> [preset.name for preset in ADVERSARIAL_PRESETS][:4]
['esrgan', 'esrgan-basicsr', 'realesrgan', 'a-esrgan']
"""

from tessera.losses.adversarial import (
    ADVERSARIAL_PRESETS,
    AdversarialConfig,
    AdversarialPreset,
    Logits,
    Targets,
    adversarial_preset,
    discriminator_loss,
    generator_loss,
)
from tessera.losses.grid import GridConfig, grid_loss
from tessera.losses.perceptual import (
    ESRGAN_LAYERS,
    PERCEPTUAL_TRUNKS,
    REAL_ESRGAN_LAYERS,
    PerceptualConfig,
    PerceptualLoss,
    PerceptualTerms,
    load_perceptual_trunk,
    substitute_layers,
)
from tessera.losses.pixel import PixelConfig, pixel_loss

__all__ = [
    "ADVERSARIAL_PRESETS",
    "ESRGAN_LAYERS",
    "PERCEPTUAL_TRUNKS",
    "REAL_ESRGAN_LAYERS",
    "AdversarialConfig",
    "AdversarialPreset",
    "GridConfig",
    "Logits",
    "PerceptualConfig",
    "PerceptualLoss",
    "PerceptualTerms",
    "PixelConfig",
    "Targets",
    "adversarial_preset",
    "discriminator_loss",
    "generator_loss",
    "grid_loss",
    "load_perceptual_trunk",
    "pixel_loss",
    "substitute_layers",
]
