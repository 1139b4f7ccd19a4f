"""The configuration of a training run, one frozen record complete enough to repeat it, and the shipped recipes.

A recipe is a short TOML file in `recipes/` with the values that its system published; missing values take the defaults
here. A user's file is merged into a recipe (`recipe = "realesrgan"`) or stands alone; `key=value` has the last word.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Self, cast

from pydantic import Field, model_validator

from tessera.config import OneOf, Values, apply_changes, merge_values, parse_change, read_toml, validate
from tessera.dataset.config import DataConfig
from tessera.degrade import Degradation, MatlabBicubic
from tessera.discriminators.catalog import DISCRIMINATORS
from tessera.discriminators.config import DiscriminatorConfig
from tessera.errors import UsageError
from tessera.generators import GENERATORS, GeneratorConfig, RRDBNetConfig
from tessera.losses import AdversarialConfig, GridConfig, PerceptualConfig, PixelConfig
from tessera.train.monitor import MonitorConfig
from tessera.train.overriding import SOFT_FORMS, SOFT_LABELS, give_way
from tessera.train.recipe_parts import (
    AUTO,
    CheckpointConfig,
    Count,
    CutConfig,
    DistillationConfig,
    OptimizerConfig,
    Part,
    ReportConfig,
    SharpenConfig,
    StartConfig,
    StepConfig,
    ValidationConfig,
    WarmUpConfig,
)
from tessera.train.schedule import MultiStep, Schedule
from tessera.train.tricks import TricksConfig

AnyGenerator = Annotated[GeneratorConfig, OneOf(*(generator.config for generator in GENERATORS))]
AnyDiscriminator = Annotated[DiscriminatorConfig, OneOf(*(each.config for each in DISCRIMINATORS))]

RECIPES = (
    "rrdb-psnr",
    "esrgan",
    "realesrnet",
    "realesrgan",
    "a-esrgan-single",
    "a-esrgan-multi",
    "a-esrgan-finetune",
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


def _drop_foreign_sizes(table: Values) -> Values:
    """Accept `generator.blocks` and `generator.growth` for every network, also those without such parts.

    For a compact network, `blocks` sets its convolutions; `growth` is ignored if the network has none.
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


def _default_block_count(table: Values) -> Values:
    """Set `generator.blocks` of an RRDBNet to the number of blocks that `start.blocks` keeps, unless it is given."""
    start, generator = table.get("start"), table.get("generator")
    if not isinstance(start, dict) or not isinstance(generator, dict):
        return table
    blocks, known = cast(Values, start).get("blocks", 0), cast(Values, generator)
    if known.get("network") != "rrdbnet" or not isinstance(blocks, int | list | tuple) or not blocks:
        return table
    count = blocks if isinstance(blocks, int) else len(cast("Sequence[Any]", blocks))
    return {**table, "generator": {"blocks": count, **known}}


class Recipe(Part, frozen=True):
    """A training run. Paths are relative to the current folder."""

    name: Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^/\\\x00-\x1f]+$")]
    runs: Path = Path("runs")
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    steps: Count = 0
    """Number of steps; 0 = set by `epochs`."""
    epochs: Count = 0
    """Passes over the training pictures if `steps` is 0."""
    device: str = "auto"
    generator: AnyGenerator
    discriminator: AnyDiscriminator | None = None
    start: StartConfig = StartConfig()
    data: DataConfig = DataConfig()
    degradation: Degradation = MatlabBicubic()
    """How inputs are generated; unused if `data.lq` is set."""
    cut: CutConfig = CutConfig()
    pool: Count = 0
    """Number of pairs in the training pool; 0 disables the pool."""
    sharpen: SharpenConfig = SharpenConfig()
    pixel: PixelConfig = PixelConfig()
    grid: GridConfig | None = None
    perceptual: PerceptualConfig | None = None
    adversarial: AdversarialConfig | None = None
    distillation: DistillationConfig | None = None
    optimizer: OptimizerConfig = OptimizerConfig()
    discriminator_optimizer: OptimizerConfig | None = None
    """Default: same as `optimizer`."""
    schedule: Schedule = MultiStep()
    discriminator_schedule: Schedule | None = None
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Decay of the exponential moving average of the generator's parameters; 0 disables it."""
    warm_up: WarmUpConfig = WarmUpConfig()
    step: StepConfig = StepConfig()
    tricks: TricksConfig = TricksConfig()
    watch: MonitorConfig = MonitorConfig()
    validation: ValidationConfig = ValidationConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    report: ReportConfig = ReportConfig()

    @model_validator(mode="before")
    @classmethod
    def _size_the_discriminator(cls, values: Any) -> Any:
        """Build a discriminator of fixed input size for the crop size, unless `input_size` is set."""
        if not isinstance(values, dict):
            return values
        table = _default_block_count(_drop_foreign_sizes(cast(Values, values)))
        discriminator, data = table.get("discriminator"), table.get("data")
        patch = cast(Values, data).get("patch") if isinstance(data, dict) else None
        if isinstance(discriminator, dict) and isinstance(patch, int):
            known = cast(Values, discriminator)
            fixed = [each.name for each in DISCRIMINATORS if not each.takes_any_size]
            if known.get("network") in fixed and "input_size" not in known:
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
        soft = [name for name in SOFT_LABELS if getattr(self.tricks, name)]
        if soft and self.adversarial is not None and self.adversarial.form not in SOFT_FORMS:
            raise ValueError(
                f"tricks.{soft[0]} goes with adversarial.form vanilla or lsgan, and it is {self.adversarial.form}"
            )
        if self.validation.best not in (AUTO, *self.validation.metrics) and self.checkpoint.best:
            raise ValueError(f"validation.best is {self.validation.best}, which is missing in validation.metrics")
        if not self.name.strip("."):
            raise ValueError(f"name is {self.name!r}, which is not a valid folder name")
        if self.discriminator is not None and self.discriminator.required_side not in (None, patch):
            raise ValueError(
                f"the discriminator takes {self.discriminator.required_side} pixels a side, and data.patch is {patch}"
            )
        if self.report.attention_every and not (self.discriminator and self.discriminator.attention_scales):
            gated = " or ".join(each.name for each in DISCRIMINATORS if each.has_attention)
            raise ValueError(f"report.attention_every needs a discriminator with attention gates: {gated}")
        if self.start.blocks and self.start.generator and not isinstance(self.generator, RRDBNetConfig):
            raise ValueError(f"start.blocks needs an rrdbnet, and generator is {self.generator.network}")
        if self.grid is not None and scale == 1:
            raise ValueError("a grid loss needs a scale above 1: leave [grid] out")
        if self.distillation is not None:
            self._check_distillation(self.distillation)
        if self.grid is not None and self.grid.window * scale > patch:
            raise ValueError(f"grid.window is {self.grid.window}, and a crop has {patch // scale} input pixels a side")
        if self.pool and self.pool < self.data.batch:
            raise ValueError(f"pool is {self.pool}, and has to hold a batch ({self.data.batch})")
        if not self.steps and not self.epochs:
            raise ValueError("steps is missing: how many steps to train")
        return self

    def _check_distillation(self, distillation: DistillationConfig) -> None:
        if not (self.pixel.weight or self.perceptual or self.warm_up.pixel_only or distillation.features):
            raise ValueError("distillation needs a pixel, a perceptual or a feature loss, and the recipe has none")
        if distillation.features and not isinstance(self.generator, RRDBNetConfig):
            raise ValueError(f"distillation.features needs an rrdbnet, and generator is {self.generator.network}")

    @property
    def read_patch(self) -> int:
        """Side of the crops that are read, in ground-truth pixels; without margin if inputs are given."""
        return self.data.patch + (2 * self.cut.margin if self.data.lq is None else 0)

    @property
    def folder(self) -> Path:
        """Folder of the run."""
        return self.runs / self.name

    @property
    def best_metrics(self) -> tuple[str, ...]:
        """The metric that selects the best checkpoint, and the one to use where the first has no score."""
        if self.validation.best != AUTO:
            return (self.validation.best,)
        if self.adversarial is None or not self.adversarial.weight:
            return ("psnr",)
        perceptual = self.perceptual
        has_loss = perceptual is not None and bool(perceptual.weight or perceptual.style_weight)
        return ("perceptual" if has_loss else "niqe", "psnr")  # pictures may be too small for NIQE

    @property
    def validation_metrics(self) -> tuple[str, ...]:
        """The metrics of each validation: those asked for, and those that select the best checkpoint."""
        return tuple(dict.fromkeys((*self.validation.metrics, *(self.best_metrics if self.checkpoint.best else ()))))

    @property
    def fresh_start(self) -> str | None:
        """A warning about adversarial training from random weights; None for other training."""
        if self.adversarial is None or not self.adversarial.weight or self.start.generator:
            return None
        if self.warm_up.pixel_only or self.step.discriminator_start:
            return None
        return (
            "Adversarial training starts from random weights, where the discriminator wins before the generator has"
            " learned to upscale: set start.generator to a model trained with a pixel loss, such as realesrnet-x4plus."
        )


def read_shipped_recipe(name: str) -> Values:
    """Read the values of a shipped recipe. Raises UsageError for an unknown name."""
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
    """Build the record of a shipped recipe or TOML file, with changes such as `data.batch=4` merged into it.

    A file may name the recipe that it modifies (`recipe = "esrgan"`). Raises UsageError.
    """
    values, where = _read_recipe(recipe)
    parsed = [parse_change(change, Recipe) for change in changes]
    table = give_way(values, apply_changes({}, parsed), apply_changes(values, parsed))
    table.setdefault("name", Path(recipe).stem)
    return validate(Recipe, _wrap_single_paths(table), where)


def _read_recipe(recipe: str) -> tuple[Values, str]:
    path = Path(recipe)
    if recipe in RECIPES or (path.suffix.lower() != ".toml" and not path.is_file()):
        return read_shipped_recipe(recipe), f"recipe {recipe}"
    values = read_toml(path)
    lower = values.pop("recipe", None)
    return override(read_shipped_recipe(str(lower)) if lower is not None else {}, values), str(path)


def override(lower: Mapping[str, Any], upper: Mapping[str, Any]) -> Values:
    """Merge the values of a file into those of the recipe that it changes.

    A table of free keys (the layers of the perceptual loss) is replaced whole, as `key=value` does: no value of the
    recipe's layers would switch them off.
    """
    merged = merge_values(lower, upper)
    above: Any = upper.get("perceptual")
    if isinstance(above, dict) and "layers" in above:
        merged["perceptual"]["layers"] = cast(Values, above)["layers"]
    return give_way(lower, upper, merged)


def _wrap_single_paths(table: Mapping[str, Any]) -> Values:
    """Accept a single path where a list is expected: `data.train=photos`."""
    data = table.get("data")
    if not isinstance(data, dict):
        return dict(table)
    known = cast(Values, data)
    paths = {key: [known[key]] for key in ("train", "lq", "val", "val_lq") if isinstance(known.get(key), str)}
    return {**table, "data": {**known, **paths}}
