"""What a training run is: one frozen record, complete enough to repeat it, and the recipes that come with the package.

A recipe is a short TOML file in `recipes/`, with the numbers that its system published; what it leaves out are the
defaults here. A user's file is laid over a recipe (`recipe = "realesrgan"`) or stands alone; `key=value` comes last.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self, cast

from pydantic import BaseModel, Field, model_validator

from tessera.config import Values, checked, overlaid, parse_change, read_toml, with_changes
from tessera.dataset.config import DataConfig
from tessera.degrade import Degradation, MatlabBicubic
from tessera.discriminators import (
    AttentionUNetConfig,
    ESRDGANConfig,
    MultiScaleConfig,
    PatchConfig,
    UNetConfig,
    VGGStyleConfig,
)
from tessera.errors import UsageError
from tessera.generators import (
    ESRDnetConfig,
    ESRGANPytorchConfig,
    PyTorchGANConfig,
    RRDBNetConfig,
    SRVGGNetCompactConfig,
)
from tessera.losses import AdversarialConfig, GridConfig, PerceptualConfig, PixelConfig
from tessera.train.schedule import MultiStep, Schedule
from tessera.train.tricks import TricksConfig
from tessera.train.watch import WatchConfig

AnyGenerator = Annotated[
    RRDBNetConfig | SRVGGNetCompactConfig | ESRDnetConfig | ESRGANPytorchConfig | PyTorchGANConfig,
    Field(discriminator="network"),
]
AnyDiscriminator = Annotated[
    VGGStyleConfig | UNetConfig | AttentionUNetConfig | MultiScaleConfig | PatchConfig | ESRDGANConfig,
    Field(discriminator="network"),
]
Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]

RECIPES = (
    "rrdb-psnr",
    "esrgan",
    "realesrnet",
    "realesrgan",
    "a-esrgan-single",
    "a-esrgan-multi",
    "finetune",
    "finetune-pairs",
    "esrdgan",
    "pytorch-gan",
    "esrgan-pytorch-psnr",
    "esrgan-pytorch-gan",
    "compact-psnr",
    "tessera-x4-psnr",
    "tessera-x4",
    "x4plus-lite",
)
CHANGEABLE = ("runs", "steps", "epochs", "device", "checkpoint", "validation", "report", "watch")
"""What a run that goes on may have otherwise than it began; of `data`, `workers` and the cache as well."""


class Part(BaseModel, frozen=True, extra="forbid"):
    """A part of a recipe."""


class StartConfig(Part, frozen=True):
    """What the networks begin from."""

    generator: str = ""
    """A model's name or a weights file; empty for fresh weights."""
    discriminator: str = ""
    """A weights file; empty for fresh weights."""
    blocks: Annotated[int, Field(ge=0, le=256)] | Annotated[tuple[Count, ...], Field(min_length=1, max_length=256)] = 0
    """Where `generator` is an RRDBNet: how many of its blocks stay, the most important on the run's own inputs, or
    which, counted from 0; 0 for all."""
    partial: bool = False
    """Take the tensors whose shapes fit and leave the others fresh, as for another scale."""
    init: Literal["pytorch", "basicsr", "kaiming"] = "pytorch"
    """Fresh generators: PyTorch's own values; Kaiming's times 0.1 in the dense blocks; Kaiming's everywhere."""
    init_scale: Annotated[float, Field(gt=0, le=10)] = 1.0
    """What Kaiming's values are multiplied with, where `init` is kaiming."""
    last_scale: Annotated[float, Field(ge=0, le=10)] = 1.0
    """What the last convolution's first values are multiplied with besides. Near 0, a network that adds what it finds
    to the enlarged input begins there, while all its layers pass signals on (as Fixup does; Zhang et al. 2019)."""


class OptimizerConfig(Part, frozen=True):
    """Adam (Kingma and Ba 2015)."""

    rate: Annotated[float, Field(gt=0, le=1)] = 1e-4
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (0.9, 0.99)
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 0.0


class CutConfig(Part, frozen=True):
    """How the crop that is trained on is cut from a larger one that was degraded."""

    margin: Annotated[int, Field(ge=0, le=2048)] = 0
    """How much larger it is on each side, in ground-truth pixels."""
    place: Literal["middle", "random"] = "middle"
    """`random` is one place for the whole batch, as Real-ESRGAN has it, whose crops of 400 have a margin of 72."""


class SharpenConfig(Part, frozen=True):
    """Where the unsharp-masked ground truth takes the place of the plain one (Real-ESRGAN, section 3.5)."""

    pixel: bool = False
    perceptual: bool = False
    adversarial: bool = False
    before_pool: bool = False
    """Real-ESRNet: the truth itself is sharpened, once, before crops are cut and pooled."""


class DistillationConfig(Part, frozen=True):
    """Learning from another network's outputs for the same inputs (Hinton et al. 2015; for pictures, Gao et al. 2018).

    What a teacher makes of an input is a function of that input, which the truth is not: a small network may follow it
    where it could only learn the mean of all truths that are possible.
    """

    teacher: Annotated[str, Field(min_length=1, max_length=4096)]
    """A model's name or a weights file, of the same scale as the generator."""
    share: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Of the pixel and the perceptual loss: what compares with the teacher's output; the rest compares with the truth.
    What the discriminator takes for real, and what the grid loss compares with, is always the truth."""
    features: Annotated[float, Field(ge=0, le=1e6)] = 0.0
    """Weight of how far what the trunk found is from what the teacher's did: mean absolute difference over the mean
    of the teacher's absolute values. Both are RRDBNets with the same features (FitNets; Romero et al. 2015)."""


class WarmUpConfig(Part, frozen=True):
    """Steps at the beginning that have the pixel loss only, with weight 1; the discriminator waits (PyTorch-GAN)."""

    pixel_only: Count = 0


class StepConfig(Part, frozen=True):
    """How a step is calculated."""

    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    accumulate: Positive = 1
    """Batches whose gradients are averaged into one step."""
    clip: Annotated[float, Field(ge=0)] = 0.0
    """Largest norm of all gradients of a network; 0 for no limit."""
    channels_last: bool = True
    compile: bool = False
    generator_every: Positive = 1
    """Train the generator every so many steps, the discriminator at each (esrdgan's d_g_train_ratio, net_d_iters)."""
    generator_start: Count = 0
    """Steps at the beginning that train the discriminator alone (net_d_init_iters)."""
    discriminator_start: Count = 0
    """Steps at the beginning without discriminator and adversarial loss."""
    space: Literal["unit", "imagenet"] = "unit"
    """Colors as the pixel loss compares them: [0, 1], or with ImageNet's mean and deviation (PyTorch-GAN)."""


class ValidationConfig(Part, frozen=True):
    """How progress is checked on pictures that are not trained on."""

    every: Count = 5000
    """Steps between two checks; 0 for none."""
    pictures: Positive = 16
    """At most so many, the first by name."""
    crop: Count = 0
    """Side of the middle that is looked at, in ground-truth pixels; 0 for all of it."""
    metrics: tuple[Literal["psnr", "ssim", "niqe", "perceptual"], ...] = ("psnr", "ssim")
    """PSNR and SSIM as papers have them (Y, borders of `scale` pixels cut); `perceptual` with the trunk of the loss."""
    best: Literal["psnr", "ssim", "niqe", "perceptual"] = "psnr"
    """Which of them decides which checkpoint is kept as the best."""
    shown: Count = 4
    """Pictures on the sample sheet."""
    trunk: str = ""
    """The trunk of the perceptual distance, where the run has no perceptual loss."""


class CheckpointConfig(Part, frozen=True):
    """When the run is saved."""

    every: Positive = 5000
    keep: Positive = 3
    """The newest so many stay."""
    keep_every: Count = 0
    """Those at multiples of this stay for good; 0 for none."""
    best: bool = True
    """Keep the generator that did best in validation, as `best.safetensors`."""


class ReportConfig(Part, frozen=True):
    """What a run writes about itself."""

    every: Positive = 100
    """Steps between two lines in the log."""
    tensorboard: bool = True
    histograms_every: Count = 1000
    """Steps between two sets of histograms in TensorBoard; 0 for none."""
    attention_every: Count = 0
    """Steps between two looks through the gates of an attention discriminator at one picture; 0 for none."""
    attention_picture: Path | None = None
    """That picture; the first of the validation, or of the training, where not given."""
    draws: bool = False
    """Write how each batch was degraded into `draws.jsonl`, complete enough to repeat it."""


def _without_foreign_sizes(table: Values) -> Values:
    """`generator.blocks` and `generator.growth` may be said of every network, also of those that have no such parts.

    Of a compact network `blocks` are its convolutions; a growth that a network does not have is left out.
    """
    generator = table.get("generator")
    if not isinstance(generator, dict):
        return table
    known = dict(cast(Values, generator))
    if known.get("network") == "srvggnetcompact" and "blocks" in known:
        known["convolutions"] = known.pop("blocks")
    if known.get("network") in ("srvggnetcompact", "pytorch-gan"):
        known.pop("growth", None)
    return {**table, "generator": known}


def _with_as_many_blocks(table: Values) -> Values:
    """An RRDBNet that begins with some of another's blocks has as many, unless the recipe says otherwise."""
    start, generator = table.get("start"), table.get("generator")
    if not isinstance(start, dict) or not isinstance(generator, dict):
        return table
    blocks, known = cast(Values, start).get("blocks", 0), cast(Values, generator)
    if known.get("network") != "rrdbnet" or not isinstance(blocks, int | list | tuple) or not blocks:
        return table
    count = blocks if isinstance(blocks, int) else len(cast("Sequence[Any]", blocks))
    return {**table, "generator": {"blocks": count, **known}}


class Recipe(Part, frozen=True):
    """A training run. Paths are taken as they stand, from the folder the command is called in."""

    name: Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^/\\\x00-\x1f]+$")]
    runs: Path = Path("runs")
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    steps: Count = 0
    """How many; 0 lets `epochs` decide."""
    epochs: Count = 0
    """Passes over the pictures, where `steps` is 0."""
    device: str = "auto"
    generator: AnyGenerator
    discriminator: AnyDiscriminator | None = None
    start: StartConfig = StartConfig()
    data: DataConfig = DataConfig()
    degradation: Degradation = MatlabBicubic()
    """How inputs are made; not used where `data.lq` gives them."""
    cut: CutConfig = CutConfig()
    pool: Count = 0
    """Pairs in the training pool; 0 for none."""
    sharpen: SharpenConfig = SharpenConfig()
    pixel: PixelConfig = PixelConfig()
    grid: GridConfig | None = None
    perceptual: PerceptualConfig | None = None
    adversarial: AdversarialConfig | None = None
    distillation: DistillationConfig | None = None
    optimizer: OptimizerConfig = OptimizerConfig()
    discriminator_optimizer: OptimizerConfig | None = None
    """As the generator's, where not given."""
    schedule: Schedule = MultiStep()
    discriminator_schedule: Schedule | None = None
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Decay of the average of the generator's parameters; 0 for none."""
    warm_up: WarmUpConfig = WarmUpConfig()
    step: StepConfig = StepConfig()
    tricks: TricksConfig = TricksConfig()
    watch: WatchConfig = WatchConfig()
    validation: ValidationConfig = ValidationConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    report: ReportConfig = ReportConfig()

    @model_validator(mode="before")
    @classmethod
    def _size_the_discriminator(cls, values: Any) -> Any:
        """A discriminator that takes one size only is built for the crops, unless its size is given."""
        if not isinstance(values, dict):
            return values
        table = _with_as_many_blocks(_without_foreign_sizes(cast(Values, values)))
        judge, data = table.get("discriminator"), table.get("data")
        patch = cast(Values, data).get("patch") if isinstance(data, dict) else None
        if isinstance(judge, dict) and isinstance(patch, int):
            known = cast(Values, judge)
            if known.get("network") in ("vgg-style", "esrdgan") and "input_size" not in known:
                return {**table, "discriminator": {**known, "input_size": patch}}
        return table

    @model_validator(mode="after")
    def _agree(self) -> Self:
        scale, patch = self.generator.scale, self.data.patch
        if patch % (scale * self.generator.multiple):
            raise ValueError(
                f"data.patch is {patch}, and this generator needs a multiple of {scale * self.generator.multiple}"
            )
        if 2 * self.cut.margin % scale:
            raise ValueError(
                f"cut.margin is {self.cut.margin}, and twice that should be a multiple of the scale, {scale}"
            )
        if self.adversarial is not None and self.adversarial.weight and self.discriminator is None:
            raise ValueError("an adversarial loss needs a discriminator: give discriminator.network, or no adversarial")
        if self.discriminator is not None and self.adversarial is None:
            raise ValueError("a discriminator needs an adversarial loss: give adversarial.weight, or no discriminator")
        if self.validation.best not in self.validation.metrics and self.checkpoint.best:
            raise ValueError(f"validation.best is {self.validation.best}, which validation.metrics does not have")
        if not self.name.strip("."):
            raise ValueError(f"name is {self.name!r}, which is no name for a folder")
        if self.discriminator is not None and self.discriminator.required_side not in (None, patch):
            raise ValueError(
                f"the discriminator takes {self.discriminator.required_side} pixels a side, and data.patch is {patch}"
            )
        if self.report.attention_every and not isinstance(self.discriminator, AttentionUNetConfig | MultiScaleConfig):
            raise ValueError("report.attention_every needs a discriminator with gates: attention-unet or multi-scale")
        if self.start.blocks and self.start.generator and not isinstance(self.generator, RRDBNetConfig):
            raise ValueError(f"start.blocks takes blocks of an rrdbnet, and generator is {self.generator.network}")
        if self.grid is not None and scale == 1:
            raise ValueError("a grid loss needs a scale above 1: leave [grid] out")
        if self.distillation is not None:
            self._agree_on_the_teacher(self.distillation)
        if self.grid is not None and self.grid.window * scale > patch:
            raise ValueError(f"grid.window is {self.grid.window}, and a crop has {patch // scale} input pixels a side")
        if self.pool and self.pool < self.data.batch:
            raise ValueError(f"pool is {self.pool}, and has to hold a batch ({self.data.batch})")
        if not self.steps and not self.epochs:
            raise ValueError("steps is missing: how many steps to train")
        return self

    def _agree_on_the_teacher(self, taught: DistillationConfig) -> None:
        if not (self.pixel.weight or self.perceptual or self.warm_up.pixel_only or taught.features):
            raise ValueError(
                "a teacher is looked at by the pixel, the perceptual and the feature loss, and the recipe has none"
            )
        if taught.features and not isinstance(self.generator, RRDBNetConfig):
            raise ValueError("distillation.features compares the trunks of two rrdbnets, and generator is another")

    @property
    def read_patch(self) -> int:
        """Side of the crops that are read, in ground-truth pixels; where inputs are given, what is trained on."""
        return self.data.patch + (2 * self.cut.margin if self.data.lq is None else 0)

    @property
    def folder(self) -> Path:
        """Where the run lives."""
        return self.runs / self.name


def shipped(name: str) -> Values:
    """The values of a recipe that comes with the package. Raises UsageError for a name that none has."""
    if name not in RECIPES:
        near = difflib.get_close_matches(name, RECIPES, 1)
        hint = (
            f"did you mean {near[0]}?" if near else f"there are {', '.join(RECIPES)}, or give the path of a TOML file."
        )
        raise UsageError(f"No recipe is called {name!r}; {hint}")
    path = resources.files("tessera.train") / "recipes" / f"{name}.toml"
    with resources.as_file(path) as file:
        return read_toml(file)


def load_recipe(recipe: str, changes: Sequence[str] = ()) -> Recipe:
    """Make the record of a shipped recipe or of a TOML file, with changes such as `data.batch=4` laid over it.

    A file may name the recipe that it changes (`recipe = "esrgan"`). Raises UsageError.
    """
    values, where = _found(recipe)
    table = with_changes(values, [parse_change(change) for change in changes])
    table.setdefault("name", Path(recipe).stem)
    return checked(Recipe, _listed(table), where)


def _found(recipe: str) -> tuple[Values, str]:
    path = Path(recipe)
    if recipe in RECIPES or (path.suffix.lower() != ".toml" and not path.is_file()):
        return shipped(recipe), f"recipe {recipe}"
    values = read_toml(path)
    lower = values.pop("recipe", None)
    return (overlaid(shipped(str(lower)), values) if lower is not None else values), str(path)


def _listed(table: Mapping[str, Any]) -> Values:
    """One path where several may stand is taken as a list of one: `data.train=photos`."""
    data = table.get("data")
    if not isinstance(data, dict):
        return dict(table)
    known = cast(Values, data)
    paths = {key: [known[key]] for key in ("train", "lq", "val", "val_lq") if isinstance(known.get(key), str)}
    return {**table, "data": {**known, **paths}}


def resumable(before: Recipe, now: Recipe) -> list[str]:
    """What differs between a run and the wish to go on with it, and may not: the names of the parts."""
    ignored = dict.fromkeys(CHANGEABLE)
    kept = {"workers", "cache", "cache_gib", "cache_folder"}

    def fixed(recipe: Recipe) -> Values:
        values: Values = recipe.model_dump(mode="json") | ignored
        values["data"] = {key: value for key, value in values["data"].items() if key not in kept}
        return values

    first, second = fixed(before), fixed(now)
    return [name for name in first if first[name] != second[name]]
