"""The tables of a recipe that configure training itself; those of networks, data and losses are next to their code."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, Field

from tessera.metrics.catalog import METRICS

VALIDATION_METRICS = (
    *(each.info.name for each in METRICS if each.rows in ("channels", "rgb", "gray", "whole") and not each.is_of_sets),
    "perceptual",
)
"""Metrics of one picture and its ground truth."""


def _check_metric(name: str) -> str:
    if name not in VALIDATION_METRICS:
        raise ValueError(f"expected one of {', '.join(VALIDATION_METRICS)}")
    return name


def _check_best(name: str) -> str:
    return name if name == AUTO else _check_metric(name)


AUTO = "auto"
"""Selection of the best checkpoint by the kind of training; see `ValidationConfig.best`."""
ValidationMetric = Annotated[
    str, AfterValidator(_check_metric), Field(json_schema_extra={"enum": list(VALIDATION_METRICS)})
]
BestMetric = Annotated[str, AfterValidator(_check_best), Field(json_schema_extra={"enum": [AUTO, *VALIDATION_METRICS]})]
Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]


class Part(BaseModel, frozen=True, extra="forbid"):
    """A part of a recipe."""


class StartConfig(Part, frozen=True):
    """Initial weights of the networks."""

    generator: str = ""
    """Model name or weights file; empty for random initialization."""
    discriminator: str = ""
    """Published name or weights file; empty for random initialization."""
    optional: bool = False
    """Start from random weights, with a warning, if `generator` is not on this machine and has no download address, or
    if a change asks for another network."""
    blocks: Annotated[int, Field(ge=0, le=256)] | Annotated[tuple[Count, ...], Field(min_length=1, max_length=256)] = 0
    """If `generator` is an RRDBNet: number of blocks to keep, the most important ones on the run's first inputs, or
    their numbers, from 0; 0 keeps all."""
    partial: bool = False
    """Load only the tensors whose shapes match, for example from a model of another scale."""
    init: Literal["pytorch", "basicsr", "kaiming"] = "pytorch"
    """Random initialization: PyTorch's default; Kaiming times 0.1 in the dense blocks; Kaiming in all convolutions."""
    init_scale: Annotated[float, Field(gt=0, le=10)] = 1.0
    """Factor on Kaiming's initial values if `init` is kaiming."""
    last_scale: Annotated[float, Field(ge=0, le=10)] = 1.0
    """Additional factor on the initial values of the last convolution. Near 0, a network that adds a residual to the
    upsampled input starts as plain upsampling with working gradients (as Fixup does; Zhang et al. 2019)."""


class OptimizerConfig(Part, frozen=True):
    """Adam (Kingma and Ba 2015)."""

    rate: Annotated[float, Field(gt=0, le=1)] = 1e-4
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (0.9, 0.99)
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 0.0


class CutConfig(Part, frozen=True):
    """How the training crop is cut from a larger, degraded crop."""

    margin: Annotated[int, Field(ge=0, le=2048)] = 0
    """Margin of the larger crop on each side, in ground-truth pixels."""
    place: Literal["middle", "random"] = "middle"
    """`random`: one position per batch, as in Real-ESRGAN, which cuts from crops of 400 pixels (margin 72)."""


class SharpenConfig(Part, frozen=True):
    """Losses that use the unsharp-masked ground truth (Real-ESRGAN, section 3.5)."""

    pixel: bool = False
    perceptual: bool = False
    adversarial: bool = False
    before_pool: bool = False
    """Sharpen the ground truth once, before crops are cut and pooled (Real-ESRNet)."""


class DistillationConfig(Part, frozen=True):
    """Distillation: learn from a teacher network's outputs (Hinton et al. 2015; for super-resolution, Gao et al. 2018).

    The teacher's output is a function of the input; the ground truth is not. A small network can reproduce the first,
    and would only learn the mean of all plausible ground truths from the second.
    """

    teacher: Annotated[str, Field(min_length=1, max_length=4096)]
    """Model name or weights file, of the same scale as the generator."""
    share: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of the pixel and the perceptual loss that compares with the teacher's output; the rest compares with the
    ground truth. The discriminator and the grid loss always use the ground truth."""
    features: Annotated[float, Field(ge=0, le=1e6)] = 0.0
    """Weight of the distance between the trunks' features: mean absolute difference divided by the teacher's mean
    absolute value. For two RRDBNets with equal `features` (FitNets; Romero et al. 2015)."""


class WarmUpConfig(Part, frozen=True):
    """First steps with the pixel loss only, at weight 1, and without discriminator (PyTorch-GAN)."""

    pixel_only: Count = 0


class StepConfig(Part, frozen=True):
    """How a training step is computed."""

    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    accumulate: Positive = 1
    """Number of batches whose gradients are averaged in one step (gradient accumulation)."""
    clip: Annotated[float, Field(ge=0)] = 0.0
    """Maximum gradient norm of each network; 0 = no limit."""
    channels_last: bool = True
    compile: bool = False
    generator_every: Positive = 1
    """Train the generator every this many steps, the discriminator in each (esrdgan's d_g_train_ratio, net_d_iters)."""
    generator_start: Count = 0
    """Number of first steps that train only the discriminator (net_d_init_iters)."""
    discriminator_start: Count = 0
    """Number of first steps without discriminator and adversarial loss."""
    space: Literal["unit", "imagenet"] = "unit"
    """Color space of the pixel loss: [0, 1], or normalized by ImageNet's mean and deviation (PyTorch-GAN)."""


class ValidationConfig(Part, frozen=True):
    """Validation on held-out pictures."""

    every: Count = 5000
    """Steps between validations; 0 disables validation."""
    pictures: Positive = 16
    """Maximum number of pictures, the first by name."""
    crop: Count = 0
    """Side of the center crop to validate on, in ground-truth pixels; 0 uses whole pictures."""
    metrics: tuple[ValidationMetric, ...] = ("psnr", "ssim")
    """Metrics of `tessera evaluate` that score single pictures: PSNR and SSIM as in papers (Y channel, `scale` border
    pixels removed), NIQE, LPIPS and others; and `perceptual`, the distance in the trunk of the perceptual loss."""
    best: BestMetric = AUTO
    """Metric that selects the best checkpoint; the weights that training started from are never selected.
    `auto`: PSNR without adversarial loss; with one, the distance in the trunk of the perceptual loss, or NIQE without
    such a loss. Adversarial training lowers PSNR, so PSNR would select its first steps."""
    shown: Count = 4
    """Number of pictures on the sample sheet."""
    trunk: str = ""
    """Trunk of the perceptual metric if the run has no perceptual loss."""


class CheckpointConfig(Part, frozen=True):
    """When checkpoints are written, and how many are stored."""

    every: Positive = 5000
    keep: Positive = 3
    """Number of recent checkpoints to store."""
    keep_every: Count = 0
    """Checkpoints at multiples of this step are never removed; 0 = none."""
    keep_discriminator_every: Count = 0
    """Steps at whose multiples the discriminator's weights are stored in `discriminators/`, for attention maps over
    time; 0 = none."""
    best: bool = True
    """Store the generator with the best validation score as `best.safetensors`."""


class ReportConfig(Part, frozen=True):
    """Logging."""

    every: Positive = 100
    """Steps between log lines."""
    tensorboard: bool = True
    histograms_every: Count = 1000
    """Steps between TensorBoard histograms; 0 disables them."""
    attention_every: Count = 0
    """Steps between attention maps of an attention discriminator; 0 disables them."""
    attention_picture: Path | None = None
    """Picture for the attention maps. Default: the first validation picture, or the first training picture."""
    draws: bool = False
    """Log the degradation of each batch to `draws.jsonl`, complete enough to repeat it."""
