"""Options files of BasicSR from 2018 (JSON with comments) and from 2019, then called MMSR (YAML)."""

from __future__ import annotations

from tessera.config import Values
from tessera.train.importing.foreign import Table, without_none
from tessera.train.importing.starting import starting_places

DENSE_SCALE = 0.1
"""What Kaiming's values were multiplied with, in every convolution of the generator."""
MODELS = {"sr": False, "srgan": True, "srragan": True}
"""Each kind, and whether it has a discriminator."""
DISCRIMINATORS = {"discriminator_vgg_128": 128, "discriminator_vgg_256": 256}
CRITERIA = {"l1": "l1", "l2": "l2"}
GAN_TYPES: dict[str, Values] = {
    "vanilla": {"form": "vanilla"},
    "gan": {"form": "vanilla"},
    "ragan": {"form": "vanilla", "relativism": "average", "combine": "mean"},
    "lsgan": {"form": "lsgan"},
}


def basicsr_2018_values(file: Table) -> Values:
    """A whole options file -> values of a recipe. Raises UsageError for what is missing or unknown."""
    model = file.text("model")
    adversarial = file.choice("model", MODELS, "", "model")
    train = file.table("train")
    if train is None:
        raise file.missing("train", "steps, rates and losses: this is no file to train with")
    scale = file.whole("scale", 4)
    data, degraded = _data(file)
    values: Values = {
        "name": file.text("name", "imported"),
        "generator": _generator(file, scale),
        "start": {"init": "kaiming", "init_scale": DENSE_SCALE, **_start(file, adversarial=adversarial)},
        "data": data,
        **({"degradation": {"kind": "matlab-bicubic"}, "cut": {"margin": 16}} if degraded else {}),
        **_training(train),
        **_records(file, train),
    }
    if adversarial:
        values |= {"discriminator": _discriminator(file), **_adversarial(train, relativistic=model == "srragan")}
    file.text("distortion")
    file.leave("GPUs are chosen with device, and torchrun starts several processes", "gpu_ids")
    return values


def _generator(file: Table, scale: int) -> Values:
    table = file.table("network_G")
    if table is None:
        raise file.missing("network_G", "which generator is to be trained")
    network = table.choice("which_model_G", {"RRDB_net": "rrdbnet", "RRDBNet": "rrdbnet"}, "", "generator")
    stages = {1: [], 2: [2], 3: [3], 4: [2, 2], 8: [2, 2, 2]}.get(scale)
    if stages is None:
        raise file.wrong("scale", "1, 2, 3, 4 or 8")
    table.leave(
        "ESRGAN's generator has no normalization, and its order of layers is fixed", "norm_type", "mode", "group"
    )
    table.whole("scale", scale)
    return without_none(
        network=network,
        scale=scale,
        unshuffle=1,
        stages=stages,
        in_channels=table.maybe_whole("in_nc"),
        out_channels=table.maybe_whole("out_nc"),
        features=table.maybe_whole("nf"),
        blocks=table.maybe_whole("nb"),
        growth=table.maybe_whole("gc"),
    )


def _discriminator(file: Table) -> Values:
    table = file.table("network_D")
    if table is None:
        raise file.missing("network_D", "which discriminator the adversarial loss asks")
    size = table.choice("which_model_D", DISCRIMINATORS, "", "discriminator")
    table.leave("the layers of this discriminator are fixed", "norm_type", "act_type", "mode")
    return {
        "network": "vgg-style",
        "input_size": size,
        "biases": "all",
        **without_none(in_channels=table.maybe_whole("in_nc"), features=table.maybe_whole("nf")),
    }


def _start(file: Table, *, adversarial: bool) -> Values:
    path = file.table("path")
    if path is None:
        return {}
    path.leave("a run lives in runs/NAME", "root", "experiments_root", "models", "training_state", "log", "val_images")
    places = starting_places(path, ("pretrain_model_G", "pretrain_model_D"), ("{}_G.pth", "{}_D.pth"))
    if not path.flag("strict_load", True):
        places["partial"] = True
    if not adversarial:
        places.pop("discriminator", None)
    return places


def _data(file: Table) -> tuple[Values, bool]:
    """Values of `data`, and whether inputs are made on the way, by MATLAB's bicubic."""
    datasets = file.table("datasets")
    table = datasets.table("train") if datasets is not None else None
    if datasets is None or table is None:
        raise file.missing("datasets.train", "the pictures to learn from")
    truths, inputs = _places(table)
    if not truths:
        raise table.missing(_either(table, "dataroot_HR", "dataroot_GT"), "the training pictures")
    for key in _SILENT:
        table.text(key)
    if not table.flag("use_shuffle", True):
        table.note("use_shuffle", "pictures are shuffled in every pass here")
    values: Values = {
        "train": truths,
        **({"lq": inputs} if inputs else {}),
        **without_none(
            patch=table.maybe_whole(_either(table, "HR_size", "GT_size")),
            batch=table.maybe_whole("batch_size"),
            workers=table.maybe_whole("n_workers"),
        ),
        "flips": table.flag("use_flip", True),
        "rotations": table.flag("use_rot", True),
    }
    val = datasets.table("val")
    if val is not None:
        for key in _SILENT:
            val.text(key)
        checked, checked_lq = _places(val)
        values |= {
            **({"val": checked} if checked else {}),
            **({"val_lq": checked_lq} if checked and checked_lq else {}),
        }
    return values, not inputs


_SILENT = ("name", "mode", "phase", "data_type", "scale", "color", "subset_file")
"""Keys of a data set without any effect on this training."""


def _places(table: Table) -> tuple[list[str], list[str]]:
    """Ground truths and inputs, under the names of 2018 or 2019."""
    return (
        table.places(_either(table, "dataroot_HR", "dataroot_GT")),
        table.places(_either(table, "dataroot_LR", "dataroot_LQ")),
    )


def _either(table: Table, first: str, second: str) -> str:
    """The second key where the file has it, else the first."""
    return second if table.has(second) else first


def _training(train: Table) -> Values:
    steps = train.maybe_whole("niter")
    if steps is None:
        raise train.missing("niter", "how many steps to train")
    optimizers = {letter: _optimizer(train, letter) for letter in "GD"}
    schedule = train.choice("lr_scheme", SCHEDULES, "MultiStepLR", "scheduler")(train)
    warm_up = max(0, train.whole("warmup_iter", -1))
    if warm_up:
        schedule["warm_up"] = warm_up
    values: Values = {"steps": steps, "optimizer": optimizers["G"], "schedule": schedule}
    if train.has("lr_D") and optimizers["D"] != optimizers["G"]:
        values["discriminator_optimizer"] = optimizers["D"]
    values |= without_none(seed=train.maybe_whole("manual_seed"))
    pixel = train.number("pixel_weight", 0.0)
    criterion = train.choice("pixel_criterion", {"l1": "l1", "l2": "mse"}, "l1", "pixel loss")
    values["pixel"] = {"criterion": criterion, "weight": pixel}
    feature = train.number("feature_weight", 0.0)
    if feature:
        values["perceptual"] = {
            "trunk": "vgg19",
            "layers": {"conv5_4": 1.0},
            "criterion": train.choice("feature_criterion", CRITERIA, "l1", "perceptual loss"),
            "weight": feature,
        }
    return values


def _multi_step(train: Table) -> Values:
    return {
        "kind": "multi-step",
        "milestones": train.numbers("lr_steps") or [],
        "gamma": train.number("lr_gamma", 0.5),
    }


def _cosine(train: Table) -> Values:
    periods = train.numbers("T_period")
    if not periods:
        raise train.missing("T_period", "the lengths of the periods, in steps")
    train.leave("each period starts where the one before ended", "restarts")
    weights = train.numbers("restart_weights")
    if weights and len(weights) < len(periods):  # theirs are those of the restarts, after the first period
        weights = [1.0, *weights]
    return {
        "kind": "cosine-restarts",
        "periods": periods,
        **({"weights": weights} if weights and set(weights) != {1.0} else {}),
        "floor": train.number("eta_min", 0.0),
    }


SCHEDULES = {
    "MultiStepLR": _multi_step,
    "MultiStepLR_Restart": _multi_step,
    "CosineAnnealingLR_Restart": _cosine,
}


def _optimizer(train: Table, letter: str) -> Values:
    return {
        "rate": train.number(f"lr_{letter}", 1e-4),
        "betas": [train.number(f"beta1_{letter}", 0.9), train.number(f"beta2_{letter}", 0.999)],
        "weight_decay": train.number(f"weight_decay_{letter}", 0.0),
    }


def _adversarial(train: Table, *, relativistic: bool) -> Values:
    train.leave("belongs to a form of the adversarial loss that is unavailable", "gp_weigth", "gp_weight")
    kind = train.choice("gan_type", GAN_TYPES, "vanilla", "adversarial loss")
    compared: Values = {"relativism": "average", "combine": "mean"} if relativistic else {}
    step = without_none(
        generator_every=train.maybe_whole("D_update_ratio"), generator_start=train.maybe_whole("D_init_iters")
    )
    return {
        "adversarial": {**kind, **compared, "weight": train.number("gan_weight", 5e-3)},
        **({"step": step} if step else {}),
    }


def _records(file: Table, train: Table) -> Values:
    logger = file.table("logger")
    report = without_none(every=logger.maybe_whole("print_freq") if logger is not None else None)
    if file.has("use_tb_logger"):
        report["tensorboard"] = file.flag("use_tb_logger", True)
    parts = {
        "report": report,
        "checkpoint": without_none(every=logger.maybe_whole("save_checkpoint_freq") if logger is not None else None),
        "validation": without_none(every=train.maybe_whole("val_freq")),
    }
    return {name: part for name, part in parts.items() if part}
