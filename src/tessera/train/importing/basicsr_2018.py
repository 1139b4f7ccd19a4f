"""Options files of BasicSR as it was in 2018 and 2019, when ESRGAN was trained (JSON with comments)."""

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
    file.leave("GPUs are chosen with device, and torchrun starts several processes", "gpu_ids")
    return values


def _generator(file: Table, scale: int) -> Values:
    table = file.table("network_G")
    if table is None:
        raise file.missing("network_G", "which generator is to be trained")
    network = table.choice("which_model_G", {"RRDB_net": "rrdbnet"}, "", "generator")
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
    truths, inputs = table.places("dataroot_HR"), table.places("dataroot_LR")
    if not truths:
        raise table.missing("dataroot_HR", "the pictures to learn from")
    for key in ("name", "mode", "phase", "data_type", "scale"):
        table.text(key)
    if not table.flag("use_shuffle", True):
        table.note("use_shuffle", "pictures are shuffled in every pass here")
    values: Values = {
        "train": truths,
        **({"lq": inputs} if inputs else {}),
        **without_none(
            patch=table.maybe_whole("HR_size"),
            batch=table.maybe_whole("batch_size"),
            workers=table.maybe_whole("n_workers"),
        ),
        "flips": table.flag("use_flip", True),
        "rotations": table.flag("use_rot", True),
    }
    val = datasets.table("val")
    if val is not None:
        for key in ("name", "mode", "phase", "data_type", "scale"):
            val.text(key)
        checked, checked_lq = val.places("dataroot_HR"), val.places("dataroot_LR")
        values |= {
            **({"val": checked} if checked else {}),
            **({"val_lq": checked_lq} if checked and checked_lq else {}),
        }
    return values, not inputs


def _training(train: Table) -> Values:
    steps = train.maybe_whole("niter")
    if steps is None:
        raise train.missing("niter", "how many steps to train")
    optimizers = {letter: _optimizer(train, letter) for letter in "GD"}
    schedule: Values = {
        "kind": train.choice("lr_scheme", {"MultiStepLR": "multi-step"}, "MultiStepLR", "scheduler"),
        "milestones": train.numbers("lr_steps") or [],
        "gamma": train.number("lr_gamma", 0.5),
    }
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


def _optimizer(train: Table, letter: str) -> Values:
    return {
        "rate": train.number(f"lr_{letter}", 1e-4),
        "betas": [train.number(f"beta1_{letter}", 0.9), 0.999],
        "weight_decay": train.number(f"weight_decay_{letter}", 0.0),
    }


def _adversarial(train: Table, *, relativistic: bool) -> Values:
    train.leave("belongs to a form of the adversarial loss that is not there", "gp_weigth", "gp_weight")
    form = train.choice("gan_type", {"vanilla": "vanilla", "lsgan": "lsgan"}, "vanilla", "adversarial loss")
    compared: Values = {"relativism": "average", "combine": "mean"} if relativistic else {}
    step = without_none(
        generator_every=train.maybe_whole("D_update_ratio"), generator_start=train.maybe_whole("D_init_iters")
    )
    return {
        "adversarial": {"form": form, **compared, "weight": train.number("gan_weight", 5e-3)},
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
