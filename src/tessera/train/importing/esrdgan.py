"""esrdgan's ini files -> values of a recipe, with its tricks as their author intended them.

Defaults are those of esrdgan's classes, which are not always those of its ini file.
"""

from __future__ import annotations

from tessera.config import Values
from tessera.train.importing.foreign import Table, drop_none
from tessera.trunks.classifiers import VGG19_WIDTHS

UNUSED = "esrdgan reads it and does not use it"
MODES = {"downsampler": False, "hrlr": True}
"""Each mode, and whether it gives inputs."""
NORMS = {"batch": "batch", "instance": "instance", "none": "none"}
SLOPES = {"leakyrelu": 0.2, "relu": 0.0}
GAN_TYPES: dict[str, Values] = {
    "relativistic": {"relativism": "pairwise"},
    "relativisticavg": {"relativism": "average", "combine": "mean"},
}
MARGIN = 16
"""Read around each crop and cut off after downscaling, so that its border has real neighbors."""


def read_esrdgan(file: Table) -> Values:
    """A whole ini file -> values of a recipe. Raises UsageError for what is missing or unknown."""
    general, training = (_read_section(file, name) for name in ("DEFAULT", "TRAINING"))
    general.read_choice("model", {"esrdgan": ""}, "esrdgan", "model")
    data, degraded, noise = _read_data(file)
    generator, generator_scale = _read_generator(_read_section(file, "GENERATOR"), general.read_int("scale", 4))
    start = _read_start(_read_section(file, "ENV"), general, training)
    if "generator" in start:
        generator = _as_rrdbnet(generator)
    values: Values = {
        "name": general.read_text("name", "esrdgan"),
        **_read_device(general),
        "generator": generator,
        "discriminator": _read_discriminator(_read_section(file, "DISCRIMINATOR")),
        "start": {"init": "kaiming", "init_scale": generator_scale, **start},
        "data": data,
        **({"degradation": {"kind": "cv2-cubic"}, "cut": {"margin": MARGIN}} if degraded else {}),
        **_read_training(training),
        **_read_losses(training, _read_section(file, "FEATUREEXTRACTOR")),
        "tricks": {**_read_tricks(training), **({"lq_noise": noise} if noise else {})},
        **_read_records(file, general, training),
    }
    test = file.read_section("DATASETTEST")
    if test is not None:
        test.skip_rest("`tessera evaluate` measures results")
    return values


def _read_section(file: Table, name: str) -> Table:
    return file.read_section(name) or Table({}, file.file, file.notes, f"[{name}]", " ")


def _read_device(general: Table) -> Values:
    if not general.contains("gpu_id"):
        return {}
    gpu = general.read_optional_int("gpu_id")
    return {"device": "cpu"} if gpu is None else {"device": f"cuda:{gpu}"} if gpu else {}


# ---------------------------------------------------------------------------------------------------------- networks


def _read_generator(table: Table, scale: int) -> tuple[Values, float]:
    """Values of `generator`, and the factor on its initial weights."""
    table.skip(UNUSED, "norm_type", "layer_mode", "num_rdb_convs")
    values: Values = {
        "network": "esrdnet",
        "scale": scale,
        "in_channels": table.read_int("in_num_ch", 3),
        "out_channels": table.read_int("out_num_ch", 3),
        "features": table.read_int("num_features", 64),
        "blocks": table.read_int("num_rrdb", 23),
        "growth": table.read_int("rdb_growth_chan", 32),
        "lff_kernel": table.read_int("lff_kern_size", 3),
        "hr_kernel": table.read_int("hr_kern_size", 3),
        "slope": table.read_choice("act_type", SLOPES, "leakyrelu", "activation"),
        "rdb_residual": table.read_number("rdb_res_scaling", 0.2),
        "rrdb_residual": table.read_number("rrdb_res_scaling", 0.2),
    }
    return values, table.read_number("weight_init_scale", 1.0)


def _as_rrdbnet(values: Values) -> Values:
    """The same network as an RRDBNet, under which its weights files are recognized, if it is one."""
    usual = {"lff_kernel": 3, "hr_kernel": 3, "slope": 0.2, "rdb_residual": 0.2, "rrdb_residual": 0.2}
    if any(values[name] != value for name, value in usual.items()) or values["scale"] not in (1, 2, 4, 8):
        return values
    kept = {name: value for name, value in values.items() if name not in usual}
    stages = [2] * (int(values["scale"]).bit_length() - 1)
    return {**kept, "network": "rrdbnet", "unshuffle": 1, "stages": stages}


def _read_discriminator(table: Table) -> Values:
    table.skip(UNUSED, "layer_mode")
    norm = (
        table.read_text("norm_type", "batch") if not table.contains("norm_type") or table.has("norm_type") else "none"
    )
    if norm not in NORMS:
        raise table.make_value_error("norm_type", "batch, instance or none")
    table.read_choice("act_type", SLOPES, "leakyrelu", "activation")
    return {
        "network": "esrdgan",
        "in_channels": table.read_int("in_num_ch", 3),
        "features": table.read_int("num_features", 64),
        "kernel": table.read_int("feat_kern_size", 3),
        "norm": norm,
        "activation": table.read_text("act_type", "leakyrelu"),
        "init_scale": table.read_number("weight_init_scale", 1.0),
    }


def _read_start(env: Table, general: Table, training: Table) -> Values:
    """Weights to start from, which esrdgan loads only if two keys say so."""
    env.skip(
        "the run folder is runs/NAME",
        "root_path",
        "log_subpath",
        "tensorboard_subpath",
        "runs_subpath",
    )
    loads = general.read_flag("load_model_from_save", False)
    resumes = training.read_flag("resume_training_from_save", False)
    if not loads:
        env.skip("load_model_from_save is off", "generator_load_path", "discriminator_load_path", "state_load_path")
        return {}
    if resumes or env.has("state_load_path"):
        env.skip("optimizers and schedules start fresh", "state_load_path")
    first = ("generator_load_subpath", "discriminator_load_subpath")  # keys of the first version
    return drop_none(
        generator=env.read_text("generator_load_path") or env.read_text(first[0]) or None,
        discriminator=env.read_text("discriminator_load_path") or env.read_text(first[1]) or None,
    )


# -------------------------------------------------------------------------------------------------------------- data


def _read_data(file: Table) -> tuple[Values, bool, float]:
    """Values of `data`, whether inputs are generated, and the standard deviation of their noise."""
    table = file.read_section("DATASETTRAIN")
    if table is None:
        raise file.missing_key_error("[DATASETTRAIN]", "the section with the training pictures")
    paired = table.read_choice("mode", MODES, "downsampler", "training mode")
    truths, inputs = _read_places(table, paired)
    table.skip(UNUSED, "data_aug_rot")
    table.read_text("name")
    if not table.read_flag("data_aug_shuffle", True):
        table.note("data_aug_shuffle", "pictures are always shuffled")
    flips = table.read_flag("data_aug_flip", False)
    if flips:
        table.note("data_aug_flip", "both pictures of a pair are mirrored, and data.rotations also transposes them")
    deviation = table.read_number("gaussian_stddev", 0.0)
    values: Values = {
        "train": truths,
        **({"lq": inputs} if paired else {}),
        "patch": table.read_int("hr_img_size" if table.has("hr_img_size") else "img_size", 128),
        "batch": table.read_int("batch_size", 8),
        "workers": table.read_int("n_workers", 8),
        "flips": flips,
        "rotations": flips,
        **_read_validation_data(file),
    }
    return values, not paired, deviation if table.read_flag("data_aug_gaussian_noise", False) else 0.0


def _read_places(table: Table, paired: bool) -> tuple[list[str], list[str]]:
    truths, inputs = table.read_paths("dataroot_hr") or table.read_paths("dataroot"), table.read_paths("dataroot_lr")
    if not truths:
        raise table.missing_key_error("dataroot_hr", "the training pictures")
    if paired and len(inputs) != len(truths):
        raise table.missing_key_error("dataroot_lr", "their inputs, which the mode hrlr needs")
    if inputs and not paired:
        table.note("dataroot_lr", "the mode makes its own inputs")
    return truths, inputs


def _read_validation_data(file: Table) -> Values:
    table = file.read_section("DATASETVAL")
    if table is None:
        return {}
    if table.read_text("mode", "downsampler") not in MODES:
        table.skip_rest("this set has no ground truths")
        return {}
    truths, inputs = _read_places(table, MODES[table.read_text("mode", "downsampler")])
    table.skip("validation pictures are read one by one, unchanged", "n_workers", "batch_size", "name")
    augmenting = ("data_aug_gaussian_noise", "gaussian_stddev", "data_aug_shuffle", "data_aug_flip", "data_aug_rot")
    table.skip("validation pictures are read one by one, unchanged", *augmenting)
    return {"val": truths, **({"val_lq": inputs} if MODES[table.read_text("mode", "downsampler")] else {})}


# ---------------------------------------------------------------------------------------------------------- training


def _read_training(table: Table) -> Values:
    if not table.read_flag("multistep_lr", True):
        table.note(
            "multistep_lr",
            "has no effect in esrdgan, only the list of steps has; leave the list empty for a constant rate",
        )
    optimizers = {
        letter: {
            "rate": table.read_number(f"learning_rate_{letter}", 1e-4),
            "betas": [table.read_number(f"adam_beta1_{letter}", 0.9), 0.999],
            "weight_decay": table.read_number(f"adam_weight_decay_{letter}", 0.0),
        }
        for letter in "gd"
    }
    differs = optimizers["d"] != optimizers["g"]
    return {
        "steps": table.read_int("niter", 500_000),
        "optimizer": optimizers["g"],
        **({"discriminator_optimizer": optimizers["d"]} if differs else {}),
        "schedule": {
            "kind": "multi-step",
            "milestones": table.read_numbers("multistep_lr_steps") or [],
            "gamma": table.read_number("lr_gamma", 0.5),
        },
        "step": {"generator_every": table.read_int("d_g_train_ratio", 2)},
    }


def _read_losses(table: Table, features: Table) -> Values:
    pixel = _read_criterion(table, "pixel_criterion", {"l1": "l1", "l2": "mse"})
    feature = _read_criterion(table, "feature_criterion", {"l1": "l1", "l2": "l2"})
    if {"mse": "l2"}.get(str(pixel), pixel) != feature:
        table.note("feature_criterion", "is used here; in esrdgan, pixel_criterion decides for both")
    adversarial = table.read_choice("gan_type", GAN_TYPES, "relativisticavg", "gan_type")
    if not table.has("gan_type"):
        table.note("gan_type", "is missing; relativisticavg was taken")
    weight, pixel_weight = table.read_number("feature_weight", 1.0), table.read_number("pixel_weight", 0.01)
    layers, joined = _read_layers(features)
    values: Values = {
        "pixel": {"criterion": pixel, "weight": pixel_weight} if pixel else {"weight": 0.0},
        "adversarial": {**adversarial, "weight": table.read_number("gan_weight", 5e-3)},
    }
    if feature and weight:
        values["perceptual"] = {
            "trunk": "vgg19", "layers": layers, "criterion": feature, "weight": weight, "joined": joined
        }  # fmt: skip
    return values


def _read_criterion(table: Table, key: str, known: dict[str, str]) -> str | None:
    if table.contains(key) and not table.has(key):
        return None
    return table.read_choice(key, known, "l1", "criterion")


def _read_layers(table: Table) -> tuple[dict[str, float], bool]:
    """Numbers of VGG19's layers -> names with weight 1, and whether two are joined."""
    names = list_layer_names()
    chosen: dict[str, float] = {}
    low = table.read_int("low_level_feat_layer", -1)
    numbers = {"low_level_feat_layer": low} if low >= 0 else {}
    for key, number in (*numbers.items(), ("high_level_feat_layer", table.read_int("high_level_feat_layer", 34))):
        if not 0 <= number < len(names):
            raise table.make_value_error(key, f"the number of a VGG19 layer, up to {len(names) - 1}")
        chosen[names[number]] = 1.0
    return chosen, len(chosen) > 1


def list_layer_names() -> list[str]:
    """List VGG19's layers in order, so that the position of a name is its number in torchvision.

    >>> list_layer_names()[34], list_layer_names()[2], len(list_layer_names())
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


def _read_tricks(table: Table) -> Values:
    return {
        "noisy_labels": table.read_flag("use_noisy_labels", False),
        "one_sided_label_smoothing": table.read_flag("use_one_sided_label_smoothing", False),
        "flip_labels": table.read_flag("flip_labels", False),
        "instance_noise": table.read_flag("use_instance_noise", False),
    }


def _read_records(file: Table, general: Table, training: Table) -> Values:
    general.skip("progress is always shown; `quiet` hides it", "display_bar", "also_log_to_terminal")
    val = file.read_section("DATASETVAL")
    crop = max(0, val.read_int("hr_img_size", 0)) if val is not None else 0
    return {
        "validation": {"every": training.read_int("val_period", 1000), **({"crop": crop} if crop else {})},
        "checkpoint": {"every": training.read_int("save_model_period", 5000)},
        "report": {
            "every": training.read_int("log_period", 10),
            "tensorboard": general.read_flag("use_tensorboard_logger", True),
        },
    }
