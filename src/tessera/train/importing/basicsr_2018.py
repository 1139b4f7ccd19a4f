"""Options files of BasicSR from 2018 (JSON with comments) and from 2019, then called MMSR (YAML)."""

from __future__ import annotations

from tessera.config import Values
from tessera.train.importing.foreign import Table, drop_none
from tessera.train.importing.starting import read_starting_weights

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


def read_basicsr_2018(file: Table) -> Values:
    """A whole options file -> values of a recipe. Raises UsageError for what is missing or unknown."""
    model = file.read_text("model")
    adversarial = file.read_choice("model", MODELS, "", "model")
    train = file.read_table("train")
    if train is None:
        raise file.missing_key_error("train", "steps, rates and losses: this is no file to train with")
    scale = file.read_int("scale", 4)
    data, degraded = _read_data(file)
    values: Values = {
        "name": file.read_text("name", "imported"),
        "generator": _read_generator(file, scale),
        "start": {"init": "kaiming", "init_scale": DENSE_SCALE, **_read_start(file, adversarial=adversarial)},
        "data": data,
        **({"degradation": {"kind": "matlab-bicubic"}, "cut": {"margin": 16}} if degraded else {}),
        **_read_training(train),
        **_read_records(file, train),
    }
    if adversarial:
        values |= {
            "discriminator": _read_discriminator(file),
            **_read_adversarial(train, relativistic=model == "srragan"),
        }
    file.read_text("distortion")
    file.skip("GPUs are chosen with device, and torchrun starts several processes", "gpu_ids")
    return values


def _read_generator(file: Table, scale: int) -> Values:
    table = file.read_table("network_G")
    if table is None:
        raise file.missing_key_error("network_G", "which generator is to be trained")
    network = table.read_choice("which_model_G", {"RRDB_net": "rrdbnet", "RRDBNet": "rrdbnet"}, "", "generator")
    stages = {1: [], 2: [2], 3: [3], 4: [2, 2], 8: [2, 2, 2]}.get(scale)
    if stages is None:
        raise file.wrong_value_error("scale", "1, 2, 3, 4 or 8")
    table.skip(
        "ESRGAN's generator has no normalization, and its order of layers is fixed", "norm_type", "mode", "group"
    )
    table.read_int("scale", scale)
    return drop_none(
        network=network,
        scale=scale,
        unshuffle=1,
        stages=stages,
        in_channels=table.read_optional_int("in_nc"),
        out_channels=table.read_optional_int("out_nc"),
        features=table.read_optional_int("nf"),
        blocks=table.read_optional_int("nb"),
        growth=table.read_optional_int("gc"),
    )


def _read_discriminator(file: Table) -> Values:
    table = file.read_table("network_D")
    if table is None:
        raise file.missing_key_error("network_D", "which discriminator the adversarial loss asks")
    size = table.read_choice("which_model_D", DISCRIMINATORS, "", "discriminator")
    table.skip("the layers of this discriminator are fixed", "norm_type", "act_type", "mode")
    return {
        "network": "vgg-style",
        "input_size": size,
        "biases": "all",
        **drop_none(in_channels=table.read_optional_int("in_nc"), features=table.read_optional_int("nf")),
    }


def _read_start(file: Table, *, adversarial: bool) -> Values:
    path = file.read_table("path")
    if path is None:
        return {}
    path.skip("a run lives in runs/NAME", "root", "experiments_root", "models", "training_state", "log", "val_images")
    places = read_starting_weights(path, ("pretrain_model_G", "pretrain_model_D"), ("{}_G.pth", "{}_D.pth"))
    if not path.read_flag("strict_load", True):
        places["partial"] = True
    if not adversarial:
        places.pop("discriminator", None)
    return places


def _read_data(file: Table) -> tuple[Values, bool]:
    """Values of `data`, and whether inputs are made on the way, by MATLAB's bicubic."""
    datasets = file.read_table("datasets")
    table = datasets.read_table("train") if datasets is not None else None
    if datasets is None or table is None:
        raise file.missing_key_error("datasets.train", "the pictures to learn from")
    truths, inputs = _read_places(table)
    if not truths:
        raise table.missing_key_error(_choose_key(table, "dataroot_HR", "dataroot_GT"), "the training pictures")
    for key in _SILENT:
        table.read_text(key)
    if not table.read_flag("use_shuffle", True):
        table.note("use_shuffle", "pictures are shuffled in every pass here")
    values: Values = {
        "train": truths,
        **({"lq": inputs} if inputs else {}),
        **drop_none(
            patch=table.read_optional_int(_choose_key(table, "HR_size", "GT_size")),
            batch=table.read_optional_int("batch_size"),
            workers=table.read_optional_int("n_workers"),
        ),
        "flips": table.read_flag("use_flip", True),
        "rotations": table.read_flag("use_rot", True),
    }
    val = datasets.read_table("val")
    if val is not None:
        for key in _SILENT:
            val.read_text(key)
        checked, checked_lq = _read_places(val)
        values |= {
            **({"val": checked} if checked else {}),
            **({"val_lq": checked_lq} if checked and checked_lq else {}),
        }
    return values, not inputs


_SILENT = ("name", "mode", "phase", "data_type", "scale", "color", "subset_file")
"""Keys of a data set without any effect on this training."""


def _read_places(table: Table) -> tuple[list[str], list[str]]:
    """Ground truths and inputs, under the names of 2018 or 2019."""
    return (
        table.read_paths(_choose_key(table, "dataroot_HR", "dataroot_GT")),
        table.read_paths(_choose_key(table, "dataroot_LR", "dataroot_LQ")),
    )


def _choose_key(table: Table, first: str, second: str) -> str:
    """The second key where the file has it, else the first."""
    return second if table.has(second) else first


def _read_training(train: Table) -> Values:
    steps = train.read_optional_int("niter")
    if steps is None:
        raise train.missing_key_error("niter", "how many steps to train")
    optimizers = {letter: _read_optimizer(train, letter) for letter in "GD"}
    schedule = train.read_choice("lr_scheme", SCHEDULES, "MultiStepLR", "scheduler")(train)
    warm_up = max(0, train.read_int("warmup_iter", -1))
    if warm_up:
        schedule["warm_up"] = warm_up
    values: Values = {"steps": steps, "optimizer": optimizers["G"], "schedule": schedule}
    if train.has("lr_D") and optimizers["D"] != optimizers["G"]:
        values["discriminator_optimizer"] = optimizers["D"]
    values |= drop_none(seed=train.read_optional_int("manual_seed"))
    pixel = train.read_number("pixel_weight", 0.0)
    criterion = train.read_choice("pixel_criterion", {"l1": "l1", "l2": "mse"}, "l1", "pixel loss")
    values["pixel"] = {"criterion": criterion, "weight": pixel}
    feature = train.read_number("feature_weight", 0.0)
    if feature:
        values["perceptual"] = {
            "trunk": "vgg19",
            "layers": {"conv5_4": 1.0},
            "criterion": train.read_choice("feature_criterion", CRITERIA, "l1", "perceptual loss"),
            "weight": feature,
        }
    return values


def _read_multi_step(train: Table) -> Values:
    return {
        "kind": "multi-step",
        "milestones": train.read_numbers("lr_steps") or [],
        "gamma": train.read_number("lr_gamma", 0.5),
    }


def _read_cosine(train: Table) -> Values:
    periods = train.read_numbers("T_period")
    if not periods:
        raise train.missing_key_error("T_period", "the lengths of the periods, in steps")
    train.skip("each period starts where the one before ended", "restarts")
    weights = train.read_numbers("restart_weights")
    if weights and len(weights) < len(periods):  # theirs are those of the restarts, after the first period
        weights = [1.0, *weights]
    return {
        "kind": "cosine-restarts",
        "periods": periods,
        **({"weights": weights} if weights and set(weights) != {1.0} else {}),
        "floor": train.read_number("eta_min", 0.0),
    }


SCHEDULES = {
    "MultiStepLR": _read_multi_step,
    "MultiStepLR_Restart": _read_multi_step,
    "CosineAnnealingLR_Restart": _read_cosine,
}


def _read_optimizer(train: Table, letter: str) -> Values:
    return {
        "rate": train.read_number(f"lr_{letter}", 1e-4),
        "betas": [train.read_number(f"beta1_{letter}", 0.9), train.read_number(f"beta2_{letter}", 0.999)],
        "weight_decay": train.read_number(f"weight_decay_{letter}", 0.0),
    }


def _read_adversarial(train: Table, *, relativistic: bool) -> Values:
    train.skip("belongs to a form of the adversarial loss that is unavailable", "gp_weigth", "gp_weight")
    kind = train.read_choice("gan_type", GAN_TYPES, "vanilla", "adversarial loss")
    compared: Values = {"relativism": "average", "combine": "mean"} if relativistic else {}
    step = drop_none(
        generator_every=train.read_optional_int("D_update_ratio"),
        generator_start=train.read_optional_int("D_init_iters"),
    )
    return {
        "adversarial": {**kind, **compared, "weight": train.read_number("gan_weight", 5e-3)},
        **({"step": step} if step else {}),
    }


def _read_records(file: Table, train: Table) -> Values:
    logger = file.read_table("logger")
    report = drop_none(every=logger.read_optional_int("print_freq") if logger is not None else None)
    if file.has("use_tb_logger"):
        report["tensorboard"] = file.read_flag("use_tb_logger", True)
    parts = {
        "report": report,
        "checkpoint": drop_none(every=logger.read_optional_int("save_checkpoint_freq") if logger is not None else None),
        "validation": drop_none(every=train.read_optional_int("val_freq")),
    }
    return {name: part for name, part in parts.items() if part}
