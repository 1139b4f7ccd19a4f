"""The ini files of esrdgan -> values of a recipe, with its tricks as they were meant.

What a key means where it is missing is what esrdgan's own classes take then, which is not always what its ini has.
"""

from __future__ import annotations

from tessera.config import Values
from tessera.train.importing.foreign import Table, without_none
from tessera.trunks.classifiers import VGG19_WIDTHS

UNUSED = "is read and not used there either"
MODES = {"downsampler": False, "hrlr": True}
"""Each mode, and whether it gives inputs."""
NORMS = {"batch": "batch", "instance": "instance", "none": "none"}
SLOPES = {"leakyrelu": 0.2, "relu": 0.0}
GAN_TYPES: dict[str, Values] = {
    "relativistic": {"relativism": "pairwise"},
    "relativisticavg": {"relativism": "average", "combine": "mean"},
}
MARGIN = 16
"""Read around each crop and cut off after it is made smaller, so that its border has true neighbors."""


def esrdgan_values(file: Table) -> Values:
    """A whole ini file -> values of a recipe. Raises UsageError for what is missing or unknown."""
    general, training = (_section(file, name) for name in ("DEFAULT", "TRAINING"))
    general.choice("model", {"esrdgan": ""}, "esrdgan", "model")
    data, degraded, noise = _data(file)
    generator, generator_scale = _generator(_section(file, "GENERATOR"), general.whole("scale", 4))
    start = _start(_section(file, "ENV"), general, training)
    if "generator" in start:
        generator = _as_rrdbnet(generator)
    values: Values = {
        "name": general.text("name", "esrdgan"),
        **_device(general),
        "generator": generator,
        "discriminator": _discriminator(_section(file, "DISCRIMINATOR")),
        "start": {"init": "kaiming", "init_scale": generator_scale, **start},
        "data": data,
        **({"degradation": {"kind": "cv2-cubic"}, "cut": {"margin": MARGIN}} if degraded else {}),
        **_training(training),
        **_losses(training, _section(file, "FEATUREEXTRACTOR")),
        "tricks": {**_tricks(training), **({"lq_noise": noise} if noise else {})},
        **_records(file, general, training),
    }
    test = file.section("DATASETTEST")
    if test is not None:
        test.leave_rest("results are measured with `tessera evaluate`")
    return values


def _section(file: Table, name: str) -> Table:
    return file.section(name) or Table({}, file.file, file.notes, f"[{name}]", " ")


def _device(general: Table) -> Values:
    if not general.stands("gpu_id"):
        return {}
    gpu = general.maybe_whole("gpu_id")
    return {"device": "cpu"} if gpu is None else {"device": f"cuda:{gpu}"} if gpu else {}


# ---------------------------------------------------------------------------------------------------------- networks


def _generator(table: Table, scale: int) -> tuple[Values, float]:
    """Values of `generator`, and what its first values are multiplied with."""
    table.leave(UNUSED, "norm_type", "layer_mode", "num_rdb_convs")
    values: Values = {
        "network": "esrdnet",
        "scale": scale,
        "in_channels": table.whole("in_num_ch", 3),
        "out_channels": table.whole("out_num_ch", 3),
        "features": table.whole("num_features", 64),
        "blocks": table.whole("num_rrdb", 23),
        "growth": table.whole("rdb_growth_chan", 32),
        "lff_kernel": table.whole("lff_kern_size", 3),
        "hr_kernel": table.whole("hr_kern_size", 3),
        "slope": table.choice("act_type", SLOPES, "leakyrelu", "activation"),
        "rdb_residual": table.number("rdb_res_scaling", 0.2),
        "rrdb_residual": table.number("rrdb_res_scaling", 0.2),
    }
    return values, table.number("weight_init_scale", 1.0)


def _as_rrdbnet(values: Values) -> Values:
    """The same network under the name that its weights files are recognized by, where it is no more than RRDBNet."""
    usual = {"lff_kernel": 3, "hr_kernel": 3, "slope": 0.2, "rdb_residual": 0.2, "rrdb_residual": 0.2}
    if any(values[name] != value for name, value in usual.items()) or values["scale"] not in (1, 2, 4, 8):
        return values
    kept = {name: value for name, value in values.items() if name not in usual}
    stages = [2] * (int(values["scale"]).bit_length() - 1)
    return {**kept, "network": "rrdbnet", "unshuffle": 1, "stages": stages}


def _discriminator(table: Table) -> Values:
    table.leave(UNUSED, "layer_mode")
    norm = table.text("norm_type", "batch") if not table.stands("norm_type") or table.has("norm_type") else "none"
    if norm not in NORMS:
        raise table.wrong("norm_type", "batch, instance or none")
    table.choice("act_type", SLOPES, "leakyrelu", "activation")
    return {
        "network": "esrdgan",
        "in_channels": table.whole("in_num_ch", 3),
        "features": table.whole("num_features", 64),
        "kernel": table.whole("feat_kern_size", 3),
        "norm": norm,
        "activation": table.text("act_type", "leakyrelu"),
        "init_scale": table.number("weight_init_scale", 1.0),
    }


def _start(env: Table, general: Table, training: Table) -> Values:
    """Weights to begin from, which esrdgan loads where it is told twice to."""
    env.leave(
        "runs, logs and TensorBoard's files are in runs/NAME",
        "root_path",
        "log_subpath",
        "tensorboard_subpath",
        "runs_subpath",
    )
    loads = general.flag("load_model_from_save", False)
    resumes = training.flag("resume_training_from_save", False)
    if not loads:
        env.leave("load_model_from_save is off", "generator_load_path", "discriminator_load_path", "state_load_path")
        return {}
    if resumes or env.has("state_load_path"):
        env.leave("optimizers and schedules begin anew", "state_load_path")
    first = ("generator_load_subpath", "discriminator_load_subpath")  # keys of the first version
    return without_none(
        generator=env.text("generator_load_path") or env.text(first[0]) or None,
        discriminator=env.text("discriminator_load_path") or env.text(first[1]) or None,
    )


# -------------------------------------------------------------------------------------------------------------- data


def _data(file: Table) -> tuple[Values, bool, float]:
    """Values of `data`, whether inputs are made on the way, and the deviation of noise on them."""
    table = file.section("DATASETTRAIN")
    if table is None:
        raise file.missing("[DATASETTRAIN]", "the section with the training pictures")
    paired = table.choice("mode", MODES, "downsampler", "training mode")
    truths, inputs = _places(table, paired)
    table.leave(UNUSED, "data_aug_rot")
    table.text("name")
    if not table.flag("data_aug_shuffle", True):
        table.note("data_aug_shuffle", "pictures are shuffled in every pass here")
    flips = table.flag("data_aug_flip", False)
    if flips:
        table.note("data_aug_flip", "pairs are mirrored alike here, and data.rotations also transposes them")
    deviation = table.number("gaussian_stddev", 0.0)
    values: Values = {
        "train": truths,
        **({"lq": inputs} if paired else {}),
        "patch": table.whole("hr_img_size" if table.has("hr_img_size") else "img_size", 128),
        "batch": table.whole("batch_size", 8),
        "workers": table.whole("n_workers", 8),
        "flips": flips,
        "rotations": flips,
        **_validation_data(file),
    }
    return values, not paired, deviation if table.flag("data_aug_gaussian_noise", False) else 0.0


def _places(table: Table, paired: bool) -> tuple[list[str], list[str]]:
    truths, inputs = table.places("dataroot_hr") or table.places("dataroot"), table.places("dataroot_lr")
    if not truths:
        raise table.missing("dataroot_hr", "the pictures to learn from")
    if paired and len(inputs) != len(truths):
        raise table.missing("dataroot_lr", "their inputs, which the mode hrlr needs")
    if inputs and not paired:
        table.note("dataroot_lr", "the mode makes its own inputs")
    return truths, inputs


def _validation_data(file: Table) -> Values:
    table = file.section("DATASETVAL")
    if table is None:
        return {}
    if table.text("mode", "downsampler") not in MODES:
        table.leave_rest("this set has no truths to check against")
        return {}
    truths, inputs = _places(table, MODES[table.text("mode", "downsampler")])
    table.leave("pictures to check on are read one by one, as they are", "n_workers", "batch_size", "name")
    augmenting = ("data_aug_gaussian_noise", "gaussian_stddev", "data_aug_shuffle", "data_aug_flip", "data_aug_rot")
    table.leave("pictures to check on are read one by one, as they are", *augmenting)
    return {"val": truths, **({"val_lq": inputs} if MODES[table.text("mode", "downsampler")] else {})}


# ---------------------------------------------------------------------------------------------------------- training


def _training(table: Table) -> Values:
    if not table.flag("multistep_lr", True):
        table.note(
            "multistep_lr", "the list of steps alone decides there, whatever this says; empty it for a constant rate"
        )
    optimizers = {
        letter: {
            "rate": table.number(f"learning_rate_{letter}", 1e-4),
            "betas": [table.number(f"adam_beta1_{letter}", 0.9), 0.999],
            "weight_decay": table.number(f"adam_weight_decay_{letter}", 0.0),
        }
        for letter in "gd"
    }
    differs = optimizers["d"] != optimizers["g"]
    return {
        "steps": table.whole("niter", 500_000),
        "optimizer": optimizers["g"],
        **({"discriminator_optimizer": optimizers["d"]} if differs else {}),
        "schedule": {
            "kind": "multi-step",
            "milestones": table.numbers("multistep_lr_steps") or [],
            "gamma": table.number("lr_gamma", 0.5),
        },
        "step": {"generator_every": table.whole("d_g_train_ratio", 2)},
    }


def _losses(table: Table, features: Table) -> Values:
    pixel = _criterion(table, "pixel_criterion", {"l1": "l1", "l2": "mse"})
    feature = _criterion(table, "feature_criterion", {"l1": "l1", "l2": "l2"})
    if {"mse": "l2"}.get(str(pixel), pixel) != feature:
        table.note("feature_criterion", "is heeded here; there pixel_criterion decides for both")
    adversarial = table.choice("gan_type", GAN_TYPES, "relativisticavg", "gan_type")
    if not table.has("gan_type"):
        table.note("gan_type", "is missing; relativisticavg was taken")
    weight, pixel_weight = table.number("feature_weight", 1.0), table.number("pixel_weight", 0.01)
    layers, joined = _layers(features)
    values: Values = {
        "pixel": {"criterion": pixel, "weight": pixel_weight} if pixel else {"weight": 0.0},
        "adversarial": {**adversarial, "weight": table.number("gan_weight", 5e-3)},
    }
    if feature and weight:
        values["perceptual"] = {
            "trunk": "vgg19", "layers": layers, "criterion": feature, "weight": weight, "joined": joined
        }  # fmt: skip
    return values


def _criterion(table: Table, key: str, known: dict[str, str]) -> str | None:
    if table.stands(key) and not table.has(key):
        return None
    return table.choice(key, known, "l1", "criterion")


def _layers(table: Table) -> tuple[dict[str, float], bool]:
    """Layers of VGG19 by their number -> by name, each 1; and whether two are joined."""
    names = layer_names()
    chosen: dict[str, float] = {}
    low = table.whole("low_level_feat_layer", -1)
    numbers = {"low_level_feat_layer": low} if low >= 0 else {}
    for key, number in (*numbers.items(), ("high_level_feat_layer", table.whole("high_level_feat_layer", 34))):
        if not 0 <= number < len(names):
            raise table.wrong(key, f"the number of a layer of VGG19, up to {len(names) - 1}")
        chosen[names[number]] = 1.0
    return chosen, len(chosen) > 1


def layer_names() -> list[str]:
    """The layers of VGG19 in order, so that a name's place is its number in torchvision.

    >>> layer_names()[34], layer_names()[2], len(layer_names())
    ('conv5_4', 'conv1_2', 37)
    """
    return [
        name
        for block, row in enumerate(VGG19_WIDTHS, 1)
        for name in (
            *(f"{kind}{block}_{number}" for number in range(1, len(row) + 1) for kind in ("conv", "relu")),
            f"pool{block}",
        )
    ]


def _tricks(table: Table) -> Values:
    return {
        "noisy_labels": table.flag("use_noisy_labels", False),
        "one_sided_label_smoothing": table.flag("use_one_sided_label_smoothing", False),
        "flip_labels": table.flag("flip_labels", False),
        "instance_noise": table.flag("use_instance_noise", False),
    }


def _records(file: Table, general: Table, training: Table) -> Values:
    general.leave(
        "progress is shown where there is a terminal; --quiet hides it", "display_bar", "also_log_to_terminal"
    )
    val = file.section("DATASETVAL")
    crop = max(0, val.whole("hr_img_size", 0)) if val is not None else 0
    return {
        "validation": {"every": training.whole("val_period", 1000), **({"crop": crop} if crop else {})},
        "checkpoint": {"every": training.whole("save_model_period", 5000)},
        "report": {
            "every": training.whole("log_period", 10),
            "tensorboard": general.flag("use_tensorboard_logger", True),
        },
    }
