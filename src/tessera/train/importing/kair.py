"""Options files of KAIR (JSON with comments): RRDB, and BSRGAN with and without its discriminator."""

from __future__ import annotations

from tessera.config import Values
from tessera.train.importing.esrdgan import layer_names
from tessera.train.importing.foreign import Table, without_none

MODELS = {"plain": False, "gan": True}
"""Each model, and whether it has a discriminator."""
DATASETS = {"sr": "matlab-bicubic", "blindsr": "realesrgan"}
"""Each data set, and the degradation that generates its inputs."""
PIXEL = {"l1": "l1", "l2": "mse", "l1c": "charbonnier"}
GAN_TYPES: dict[str, Values] = {
    "gan": {"form": "vanilla"},
    "ragan": {"form": "vanilla", "relativism": "average", "combine": "mean"},
    "lsgan": {"form": "lsgan"},
    "wgan": {"form": "wgan"},
    "softplusgan": {"form": "wgan-softplus"},
}
VGG_SIZES = {f"discriminator_vgg_{size}": size for size in (96, 128, 192)}
_INITIALIZATION = ("init_type", "init_bn_type", "init_gain")
_NEVER = 10**9
"""From this period on, KAIR's files mean that something never happens."""


def is_kair(values: Values) -> bool:
    """Whether a JSON file is one of KAIR's."""
    return "netG" in values


def kair_values(file: Table) -> Values:
    """A whole options file -> values of a recipe. Raises UsageError for what is missing or unknown."""
    adversarial = file.choice("model", MODELS, "", "model")
    train = file.table("train")
    if train is None:
        raise file.missing("train", "rates and losses: this file does not train")
    scale = file.whole("scale", 4)
    for key in ("task", "n_channels", "gpu_ids", "dist"):
        file.raw(key)
    data = _data(file, scale)
    steps = _steps(train)
    values: Values = {
        "name": file.text("task", "imported"),
        "generator": _generator(file, scale),
        "start": _start(file, train, adversarial=adversarial),
        **data,
        "steps": steps,
        "ema": train.number("E_decay", 0.0),
        "optimizer": _optimizer(train, "G"),
        "schedule": _schedule(train, "G"),
        "pixel": {
            "criterion": train.choice("G_lossfn_type", PIXEL, "l1", "pixel loss"),
            "weight": train.number("G_lossfn_weight", 1.0),
        },
        **_records(train, steps),
    }
    if adversarial:
        values |= _adversarial(file, train)
    return values


def _generator(file: Table, scale: int) -> Values:
    table = file.table("netG")
    if table is None:
        raise file.missing("netG", "the generator to train")
    network = table.choice("net_type", {"rrdbnet": "rrdbnet", "rrdb": "rrdbnet"}, "", "generator")
    stages = {1: [], 2: [2], 3: [3], 4: [2, 2]}.get(scale)
    if stages is None:
        raise file.wrong("scale", "1, 2, 3 or 4")
    if table.text("act_mode", "L") not in ("L", "l"):
        table.note("act_mode", "RRDBNet has leaky ReLUs of slope 0.2 here")
    table.leave("RRDBNet has one order of layers", "ng", "reduction", "upsample_mode", "downsample_mode", "bias")
    table.leave("PyTorch's initialization is used", *_INITIALIZATION)
    return without_none(
        network=network,
        scale=scale,
        unshuffle=1,
        stages=stages,
        in_channels=table.maybe_whole("in_nc"),
        out_channels=table.maybe_whole("out_nc"),
        features=table.maybe_whole("nf" if table.has("nf") else "nc"),
        blocks=table.maybe_whole("nb"),
        growth=table.maybe_whole("gc"),
    )


def _start(file: Table, train: Table, *, adversarial: bool) -> Values:
    path = file.table("path")
    if path is None:
        return {}
    path.leave("a run lives in runs/NAME", "root")
    path.leave("the average starts from the generator", "pretrained_netE")
    train.leave("optimizers and schedules start fresh", "G_optimizer_reuse", "D_optimizer_reuse")
    train.raw("E_param_strict")
    generator, discriminator = path.text("pretrained_netG"), path.text("pretrained_netD")
    strict = train.flag("G_param_strict", True) and train.flag("D_param_strict", True)
    return without_none(
        generator=generator or None,
        discriminator=(discriminator or None) if adversarial else None,
        partial=True if not strict and (generator or discriminator) else None,
    )


# -------------------------------------------------------------------------------------------------------------- data


def _data(file: Table, scale: int) -> Values:
    """Values of `data`, and of `degradation` and `cut` if inputs are generated."""
    datasets = file.table("datasets")
    table = datasets.table("train") if datasets is not None else None
    if datasets is None or table is None:
        raise file.missing("datasets.train", "the training pictures")
    degradation = table.choice("dataset_type", DATASETS, "", "data set")
    truths, inputs = table.places("dataroot_H"), table.places("dataroot_L")
    if not truths:
        raise table.missing("dataroot_H", "the training pictures")
    blind = degradation == "realesrgan"
    size, side = table.maybe_whole("H_size"), table.maybe_whole("lq_patchsize")
    patch = side * scale if blind and side else size
    if patch is None:
        raise table.missing("H_size", "the side of a ground-truth crop")
    if blind and not inputs:
        table.note("degradation_type", "BSRGAN's shuffled degradation is not available; Real-ESRGAN's is used")
        table.leave("belongs to BSRGAN's degradation", "shuffle_prob")
    table.text("name")
    if not table.flag("dataloader_shuffle", True):
        table.note("dataloader_shuffle", "pictures are shuffled in every pass")
    val = datasets.table("test")
    values: Values = {
        "train": truths,
        **({"lq": inputs} if inputs else {}),
        **without_none(
            patch=patch,
            batch=table.maybe_whole("dataloader_batch_size"),
            workers=table.maybe_whole("dataloader_num_workers"),
        ),
        **_validation_data(val),
    }
    if inputs:
        return {"data": values}
    margin = max(0, (size or patch) - patch) // 2 // scale * scale if blind else 16 // scale * scale
    sharpen: Values = {"pixel": True, "perceptual": True} if blind and table.flag("use_sharp", False) else {}
    return {
        "data": values,
        "degradation": {"kind": degradation},
        "cut": {"margin": margin, **({"place": "random"} if blind else {})},
        **({"sharpen": sharpen} if sharpen else {}),
    }


def _validation_data(val: Table | None) -> Values:
    if val is None:
        return {}
    truths, inputs = val.places("dataroot_H"), val.places("dataroot_L")
    val.leave_rest("validation pictures are degraded as training pictures are, whole")
    return {**({"val": truths} if truths else {}), **({"val_lq": inputs} if truths and inputs else {})}


# ---------------------------------------------------------------------------------------------------------- training


def _steps(train: Table) -> int:
    """KAIR trains until it is stopped; the last milestone is the last step that its files name."""
    milestones = train.numbers("G_scheduler_milestones")
    if not milestones:
        raise train.missing("G_scheduler_milestones", "the steps at which the rate drops; the last one ends the run")
    train.note("G_scheduler_milestones", "the last milestone is the number of steps, because KAIR never stops itself")
    return int(max(milestones))


def _optimizer(train: Table, letter: str) -> Values:
    train.choice(f"{letter}_optimizer_type", {"adam": ""}, "adam", "optimizer")
    rate = train.maybe_number(f"{letter}_optimizer_lr")
    if rate is None:
        raise train.missing(f"{letter}_optimizer_lr", "the learning rate")
    if train.has(f"{letter}_optimizer_clipgrad"):
        train.note(f"{letter}_optimizer_clipgrad", "is step.clip here, for both networks")
    return {
        "rate": rate,
        "betas": train.several(f"{letter}_optimizer_betas", 2) or [0.9, 0.999],
        "weight_decay": train.number(f"{letter}_optimizer_wd", 0.0),
    }


def _schedule(train: Table, letter: str) -> Values:
    return {
        "kind": train.choice(f"{letter}_scheduler_type", {"MultiStepLR": "multi-step"}, "MultiStepLR", "scheduler"),
        "milestones": train.numbers(f"{letter}_scheduler_milestones") or [],
        "gamma": train.number(f"{letter}_scheduler_gamma", 0.1),
    }


def _adversarial(file: Table, train: Table) -> Values:
    optimizer, schedule = _optimizer(train, "D"), _schedule(train, "D")
    values: Values = {
        "discriminator": _discriminator(file),
        "adversarial": {
            **train.choice("gan_type", GAN_TYPES, "gan", "adversarial loss"),
            "weight": train.number("D_lossfn_weight", 1.0),
        },
        **_perceptual(train),
    }
    start = train.maybe_whole("D_init_iters")
    if start:
        values["step"] = {"generator_start": start}
    if optimizer != _optimizer(train, "G"):
        values["discriminator_optimizer"] = optimizer
    if schedule != _schedule(train, "G"):
        values["discriminator_schedule"] = schedule
    return values


def _discriminator(file: Table) -> Values:
    table = file.table("netD")
    if table is None:
        raise file.missing("netD", "the discriminator of the adversarial loss")
    kinds: dict[str, Values] = {
        "discriminator_unet": {"network": "unet"},
        **{name: {"network": "vgg-style", "input_size": size} for name, size in VGG_SIZES.items()},
    }
    values = table.choice("net_type", kinds, "", "discriminator")
    table.leave("the layers of this discriminator are fixed", "n_layers", "norm_type", "act_mode")
    table.leave("PyTorch's initialization is used", *_INITIALIZATION)
    return {
        **values,
        **without_none(in_channels=table.maybe_whole("in_nc"), features=table.maybe_whole("base_nc")),
    }


def _perceptual(train: Table) -> Values:
    weight = train.number("F_lossfn_weight", 0.0)
    if not weight:
        return {}
    names, numbers = layer_names(), [int(each) for each in train.numbers("F_feature_layer") or [34]]
    weights = train.numbers("F_weights") or [1.0] * len(numbers)
    if len(weights) != len(numbers) or not all(0 <= number < len(names) for number in numbers):
        raise train.wrong(
            "F_feature_layer", f"numbers of layers of VGG19, up to {len(names) - 1}, with as many weights"
        )
    return {
        "perceptual": {
            "trunk": "vgg19",
            "layers": {names[number]: each for number, each in zip(numbers, weights, strict=True)},
            "criterion": train.choice("F_lossfn_type", {"l1": "l1", "l2": "l2"}, "l1", "perceptual loss"),
            "weight": weight,
            "normalize": train.flag("F_use_input_norm", True),
            "range_norm": train.flag("F_use_range_norm", False),
        }
    }


def _records(train: Table, steps: int) -> Values:
    every = train.maybe_whole("checkpoint_test")
    parts = {
        "validation": without_none(every=0 if every is not None and (every > steps or every >= _NEVER) else every),
        "checkpoint": without_none(every=train.maybe_whole("checkpoint_save")),
        "report": without_none(every=train.maybe_whole("checkpoint_print")),
    }
    return {name: part for name, part in parts.items() if part}
