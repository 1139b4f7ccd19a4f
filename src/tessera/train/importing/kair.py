"""Options files of KAIR (JSON with comments): RRDB, and BSRGAN with and without its discriminator."""

from __future__ import annotations

from tessera.config import Values
from tessera.train.importing.esrdgan import list_layer_names
from tessera.train.importing.foreign import Table, drop_none

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


def read_kair(file: Table) -> Values:
    """A whole options file -> values of a recipe. Raises UsageError for what is missing or unknown."""
    adversarial = file.read_choice("model", MODELS, "", "model")
    train = file.read_table("train")
    if train is None:
        raise file.missing_key_error("train", "rates and losses: this file does not train")
    scale = file.read_int("scale", 4)
    for key in ("task", "n_channels", "gpu_ids", "dist"):
        file.read_value(key)
    data = _read_data(file, scale)
    steps = _read_steps(train)
    values: Values = {
        "name": file.read_text("task", "imported"),
        "generator": _read_generator(file, scale),
        "start": _read_start(file, train, adversarial=adversarial),
        **data,
        "steps": steps,
        "ema": train.read_number("E_decay", 0.0),
        "optimizer": _read_optimizer(train, "G"),
        "schedule": _read_schedule(train, "G"),
        "pixel": {
            "criterion": train.read_choice("G_lossfn_type", PIXEL, "l1", "pixel loss"),
            "weight": train.read_number("G_lossfn_weight", 1.0),
        },
        **_read_records(train, steps),
    }
    if adversarial:
        values |= _read_adversarial(file, train)
    return values


def _read_generator(file: Table, scale: int) -> Values:
    table = file.read_table("netG")
    if table is None:
        raise file.missing_key_error("netG", "the generator to train")
    network = table.read_choice("net_type", {"rrdbnet": "rrdbnet", "rrdb": "rrdbnet"}, "", "generator")
    stages = {1: [], 2: [2], 3: [3], 4: [2, 2]}.get(scale)
    if stages is None:
        raise file.make_value_error("scale", "1, 2, 3 or 4")
    if table.read_text("act_mode", "L") not in ("L", "l"):
        table.note("act_mode", "RRDBNet has leaky ReLUs of slope 0.2 here")
    table.skip("RRDBNet has one order of layers", "ng", "reduction", "upsample_mode", "downsample_mode", "bias")
    table.skip("PyTorch's initialization is used", *_INITIALIZATION)
    return drop_none(
        network=network,
        scale=scale,
        unshuffle=1,
        stages=stages,
        in_channels=table.read_optional_int("in_nc"),
        out_channels=table.read_optional_int("out_nc"),
        features=table.read_optional_int("nf" if table.has("nf") else "nc"),
        blocks=table.read_optional_int("nb"),
        growth=table.read_optional_int("gc"),
    )


def _read_start(file: Table, train: Table, *, adversarial: bool) -> Values:
    path = file.read_table("path")
    if path is None:
        return {}
    path.skip("the run folder is runs/NAME", "root")
    path.skip("the average starts from the generator", "pretrained_netE")
    train.skip("optimizers and schedules start fresh", "G_optimizer_reuse", "D_optimizer_reuse")
    train.read_value("E_param_strict")
    generator, discriminator = path.read_text("pretrained_netG"), path.read_text("pretrained_netD")
    strict = train.read_flag("G_param_strict", True) and train.read_flag("D_param_strict", True)
    return drop_none(
        generator=generator or None,
        discriminator=(discriminator or None) if adversarial else None,
        partial=True if not strict and (generator or discriminator) else None,
    )


# -------------------------------------------------------------------------------------------------------------- data


def _read_data(file: Table, scale: int) -> Values:
    """Values of `data`, and of `degradation` and `cut` if inputs are generated."""
    datasets = file.read_table("datasets")
    table = datasets.read_table("train") if datasets is not None else None
    if datasets is None or table is None:
        raise file.missing_key_error("datasets.train", "the training pictures")
    degradation = table.read_choice("dataset_type", DATASETS, "", "data set")
    truths, inputs = table.read_paths("dataroot_H"), table.read_paths("dataroot_L")
    if not truths:
        raise table.missing_key_error("dataroot_H", "the training pictures")
    blind = degradation == "realesrgan"
    size, side = table.read_optional_int("H_size"), table.read_optional_int("lq_patchsize")
    patch = side * scale if blind and side else size
    if patch is None:
        raise table.missing_key_error("H_size", "the side of a ground-truth crop")
    if blind and not inputs:
        table.note("degradation_type", "BSRGAN's shuffled degradation is not available; Real-ESRGAN's is used")
        table.skip("belongs to BSRGAN's degradation", "shuffle_prob")
    table.read_text("name")
    if not table.read_flag("dataloader_shuffle", True):
        table.note("dataloader_shuffle", "pictures are always shuffled")
    val = datasets.read_table("test")
    values: Values = {
        "train": truths,
        **({"lq": inputs} if inputs else {}),
        **drop_none(
            patch=patch,
            batch=table.read_optional_int("dataloader_batch_size"),
            workers=table.read_optional_int("dataloader_num_workers"),
        ),
        **_read_validation_data(val),
    }
    if inputs:
        return {"data": values}
    margin = max(0, (size or patch) - patch) // 2 // scale * scale if blind else 16 // scale * scale
    sharpen: Values = {"pixel": True, "perceptual": True} if blind and table.read_flag("use_sharp", False) else {}
    return {
        "data": values,
        "degradation": {"kind": degradation},
        "cut": {"margin": margin, **({"place": "random"} if blind else {})},
        **({"sharpen": sharpen} if sharpen else {}),
    }


def _read_validation_data(val: Table | None) -> Values:
    if val is None:
        return {}
    truths, inputs = val.read_paths("dataroot_H"), val.read_paths("dataroot_L")
    val.skip_rest("validation pictures are degraded as training pictures are, whole")
    return {**({"val": truths} if truths else {}), **({"val_lq": inputs} if truths and inputs else {})}


# ---------------------------------------------------------------------------------------------------------- training


def _read_steps(train: Table) -> int:
    """KAIR trains until it is stopped; the last milestone is the last step that its files name."""
    milestones = train.read_numbers("G_scheduler_milestones")
    if not milestones:
        raise train.missing_key_error(
            "G_scheduler_milestones", "steps at which the rate drops, the last of which ends the run"
        )
    train.note("G_scheduler_milestones", "the last milestone is the number of steps, because KAIR never stops itself")
    return int(max(milestones))


def _read_optimizer(train: Table, letter: str) -> Values:
    train.read_choice(f"{letter}_optimizer_type", {"adam": ""}, "adam", "optimizer")
    rate = train.read_optional_number(f"{letter}_optimizer_lr")
    if rate is None:
        raise train.missing_key_error(f"{letter}_optimizer_lr", "the learning rate")
    if train.has(f"{letter}_optimizer_clipgrad"):
        train.note(f"{letter}_optimizer_clipgrad", "is step.clip here, for both networks")
    return {
        "rate": rate,
        "betas": train.read_exact_numbers(f"{letter}_optimizer_betas", 2) or [0.9, 0.999],
        "weight_decay": train.read_number(f"{letter}_optimizer_wd", 0.0),
    }


def _read_schedule(train: Table, letter: str) -> Values:
    return {
        "kind": train.read_choice(
            f"{letter}_scheduler_type", {"MultiStepLR": "multi-step"}, "MultiStepLR", "scheduler"
        ),
        "milestones": train.read_numbers(f"{letter}_scheduler_milestones") or [],
        "gamma": train.read_number(f"{letter}_scheduler_gamma", 0.1),
    }


def _read_adversarial(file: Table, train: Table) -> Values:
    optimizer, schedule = _read_optimizer(train, "D"), _read_schedule(train, "D")
    values: Values = {
        "discriminator": _read_discriminator(file),
        "adversarial": {
            **train.read_choice("gan_type", GAN_TYPES, "gan", "adversarial loss"),
            "weight": train.read_number("D_lossfn_weight", 1.0),
        },
        **_read_perceptual(train),
    }
    start = train.read_optional_int("D_init_iters")
    if start:
        values["step"] = {"generator_start": start}
    if optimizer != _read_optimizer(train, "G"):
        values["discriminator_optimizer"] = optimizer
    if schedule != _read_schedule(train, "G"):
        values["discriminator_schedule"] = schedule
    return values


def _read_discriminator(file: Table) -> Values:
    table = file.read_table("netD")
    if table is None:
        raise file.missing_key_error("netD", "the discriminator of the adversarial loss")
    kinds: dict[str, Values] = {
        "discriminator_unet": {"network": "unet"},
        **{name: {"network": "vgg-style", "input_size": size} for name, size in VGG_SIZES.items()},
    }
    values = table.read_choice("net_type", kinds, "", "discriminator")
    table.skip("the layers of this discriminator are fixed", "n_layers", "norm_type", "act_mode")
    table.skip("PyTorch's initialization is used", *_INITIALIZATION)
    return {
        **values,
        **drop_none(in_channels=table.read_optional_int("in_nc"), features=table.read_optional_int("base_nc")),
    }


def _read_perceptual(train: Table) -> Values:
    weight = train.read_number("F_lossfn_weight", 0.0)
    if not weight:
        return {}
    names, numbers = list_layer_names(), [int(each) for each in train.read_numbers("F_feature_layer") or [34]]
    weights = train.read_numbers("F_weights") or [1.0] * len(numbers)
    if len(weights) != len(numbers) or not all(0 <= number < len(names) for number in numbers):
        raise train.make_value_error(
            "F_feature_layer", f"numbers of layers of VGG19, up to {len(names) - 1}, with as many weights"
        )
    return {
        "perceptual": {
            "trunk": "vgg19",
            "layers": {names[number]: each for number, each in zip(numbers, weights, strict=True)},
            "criterion": train.read_choice("F_lossfn_type", {"l1": "l1", "l2": "l2"}, "l1", "perceptual loss"),
            "weight": weight,
            "normalize": train.read_flag("F_use_input_norm", True),
            "range_norm": train.read_flag("F_use_range_norm", False),
        }
    }


def _read_records(train: Table, steps: int) -> Values:
    every = train.read_optional_int("checkpoint_test")
    parts = {
        "validation": drop_none(every=0 if every is not None and (every > steps or every >= _NEVER) else every),
        "checkpoint": drop_none(every=train.read_optional_int("checkpoint_save")),
        "report": drop_none(every=train.read_optional_int("checkpoint_print")),
    }
    return {name: part for name, part in parts.items() if part}
