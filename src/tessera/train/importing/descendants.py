"""Options files of traiNNer-redux (YAML) and neosr (YAML, TOML), which descend from BasicSR -> values of a recipe.

They rename and regroup BasicSR's keys, so they are translated into these first. What BasicSR has not, such as other
losses, is left out with a note; networks outside of ESRGAN's family are refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from tessera.config import Values
from tessera.train.importing.basicsr import read_basicsr
from tessera.train.importing.foreign import Table

GENERATORS: dict[str, Values] = {
    "esrgan": {"type": "RRDBNet"},
    "esrgan_lite": {"type": "RRDBNet", "num_feat": 32, "num_block": 12},
    "rrdbnet": {"type": "RRDBNet"},
    "compact": {"type": "SRVGGNetCompact", "num_feat": 64, "num_conv": 16},
    "ultracompact": {"type": "SRVGGNetCompact", "num_feat": 64, "num_conv": 8},
    "superultracompact": {"type": "SRVGGNetCompact", "num_feat": 24, "num_conv": 8},
    "srvggnetcompact": {"type": "SRVGGNetCompact"},
}
"""Networks of the family by their name in lower case, with the sizes that the name stands for."""
_SIZES = {"num_filters": "num_feat", "num_blocks": "num_block", "in_nc": "num_in_ch", "out_nc": "num_out_ch"}
DISCRIMINATORS = {"unet": "UNetDiscriminatorSN", "unetdiscriminatorsn": "UNetDiscriminatorSN"}
PAIRED, DEGRADED = "PairedImageDataset", "RealESRGANDataset"
DATASETS = {
    "pairedimagedataset": PAIRED,
    "paired": PAIRED,
    "realesrgandataset": DEGRADED,
    "otf": DEGRADED,
    "singleimagedataset": "SingleImageDataset",
    "single": "SingleImageDataset",
}
PIXEL = {"l1loss": "L1Loss", "mseloss": "MSELoss", "charbonnierloss": "CharbonnierLoss", "chcloss": "CharbonnierLoss"}
STRUCTURAL = ("msssiml1loss", "mssimloss", "mssim", "ssimloss")
"""Losses of structural similarity: if nothing else compares pixels, L1 of their weight takes their place."""
PERCEPTUAL = ("perceptualloss", "vggperceptualloss")
GAN = ("ganloss", "multiscaleganloss")
GAN_TYPES = {"bce": "vanilla", "mse": "lsgan", "huber": "lsgan"}
LAYERS = {"conv1_2": 0.1, "conv2_2": 0.1, "conv3_4": 1.0, "conv4_4": 1.0, "conv5_4": 1.0}
"""Layers of the perceptual loss where the file names none, as in Real-ESRGAN."""
_KERNEL_KEYS = (
    *("blur_kernel_size", "kernel_list", "kernel_prob", "kernel_range", "sinc_prob", "blur_sigma"),
    *("betag_range", "betap_range"),
)


def is_descendant(values: Values) -> bool:
    """Whether a file is one of traiNNer-redux or neosr: networks in lower case, or their own groups of keys."""
    network: Any = values.get("network_g")
    kind: Any = network.get("type") if isinstance(network, dict) else None
    train: Any = values.get("train")
    return (
        (isinstance(kind, str) and kind == kind.lower())
        or (isinstance(train, dict) and "losses" in train)
        or "degradations" in values
    )


def read_descendant(file: Table) -> Values:
    """A whole options file -> values of a recipe. Raises UsageError for what is missing or unknown."""
    scale = file.read_int("scale", 4)
    generator, own_shuffle = _read_generator(file, scale)
    losses = _read_losses(file)
    degraded = _is_degraded(file)
    adversarial = "gan_opt" in losses
    kinds = ("RealESRGANModel", "RealESRNetModel") if degraded else ("SRGANModel", "SRModel")
    translated: Values = {
        **_read_general(file),
        "scale": scale,
        "model_type": kinds[0] if adversarial else kinds[1],
        "datasets": _read_datasets(file, scale, degraded=degraded),
        "network_g": generator,
        **({"network_d": _read_discriminator(file)} if adversarial else {}),
        "train": {**_read_training(file), **losses},
        **({} if adversarial else {"gt_usm": False}),
        **({"l1_gt_usm": False, "percep_gt_usm": False} if degraded and adversarial else {}),
    }
    for key in ("path", "val", "logger"):
        table = file.read_table(key)
        if table is not None:
            translated[key] = {name: table.read_value(name) for name in table.names()}
    _translate_records(translated)
    _mark_read(file)
    inner = Table(translated, file.file, file.notes)
    values = read_basicsr(inner)
    inner.finish()
    if own_shuffle:
        values["generator"] = {**values["generator"], "unshuffle": 1, "stages": [2] * (scale.bit_length() - 1)}
    return {**values, "step": {**values.get("step", {}), **_read_step(file)}}


def _mark_read(file: Table) -> None:
    """Everything was handed on to the translation, which notes what it does not take."""
    for key in file.names():
        file.read_value(key)


def _read_general(file: Table) -> Values:
    """Top-level keys as they are, with those of neosr's table `degradations`."""
    own = ("name", "manual_seed", "num_gpu")
    degradations = file.read_table("degradations")
    lifted = {key: degradations.read_value(key) for key in degradations.names()} if degradations is not None else {}
    plain = {key: file.read_value(key) for key in file.names() if key in own or key.rstrip("2") in _FILE_KEYS}
    for mark in ("", "2"):
        for key, off in ((f"blur_prob{mark}", 1.0), (f"jpeg_prob{mark}", 1.0)):
            if file.read_optional_number(key) not in (None, off):
                file.note(key, "every picture is blurred and compressed; set the ranges of sigma and quality instead")
        file.skip("resizing draws from area, bilinear and bicubic", *(f"resize_mode_{key}{mark}" for key in _MODES))
    file.skip("resizing draws from area, bilinear and bicubic", *(f"resize_mode_{key}3" for key in _MODES))
    return {**plain, **{key: value for key, value in lifted.items() if key.rstrip("2") in _FILE_KEYS}}


_MODES = ("list", "prob")
_FILE_KEYS = (
    *("resize_prob", "resize_range", "gaussian_noise_prob", "noise_range", "poisson_scale_range"),
    *("gray_noise_prob", "jpeg_range", "second_blur_prob", "queue_size"),
)


def _read_generator(file: Table, scale: int) -> tuple[Values, bool]:
    """`network_g` in BasicSR's words; and whether an ESRGAN below x4 works on its input without unshuffling it."""
    table = file.read_table("network_g")
    if table is None:
        raise file.missing_key_error("network_g", "the generator to train")
    known = _choose(table, "type", GENERATORS, "generator")
    sizes = {theirs: table.read_value(ours) for ours, theirs in _SIZES.items() if table.has(ours)}
    same = ("num_feat", "num_conv", "num_block", "num_grow_ch", "num_in_ch", "num_out_ch", "act_type")
    sizes |= {key: table.read_value(key) for key in same if table.has(key)}
    if known["type"] == "RRDBNet":
        shuffles = table.read_flag("use_pixel_unshuffle", True)
        return {**known, **sizes, "scale": scale}, not shuffles and scale < 4
    return {**known, **sizes, "upscale": scale}, False


def _read_discriminator(file: Table) -> Values:
    table = file.read_table("network_d")
    if table is None:
        raise file.missing_key_error("network_d", "the discriminator of the adversarial loss")
    name = table.read_text("type").lower()
    if name not in DISCRIMINATORS:
        table.note("type", f"{name} is not available; Real-ESRGAN's U-Net is used")
        table.skip_rest("belongs to another discriminator")
        return {"type": "UNetDiscriminatorSN"}
    return {**{key: table.read_value(key) for key in table.names()}, "type": DISCRIMINATORS[name]}


def _choose(table: Table, key: str, known: Mapping[str, Any], what: str) -> Any:
    """As `Table.choice`, with names in any case."""
    return Table({key: table.read_text(key).lower()}, table.file, table.notes, table.name("")[:-1]).read_choice(
        key, known, "", what
    )


# -------------------------------------------------------------------------------------------------------------- data


def _is_degraded(file: Table) -> bool:
    datasets = file.read_table("datasets")
    train = datasets.read_table("train") if datasets is not None else None
    if train is None:
        raise file.missing_key_error("datasets.train", "the training pictures")
    return _choose(train, "type", DATASETS, "data set") == DEGRADED


def _read_datasets(file: Table, scale: int, *, degraded: bool) -> Values:
    datasets, degradations = file.read_table("datasets"), file.read_table("degradations")
    assert datasets is not None
    translated: Values = {}
    for key in datasets.names():
        table = datasets.read_table(key)
        if table is None:
            continue
        values = {name: table.read_value(name) for name in table.names()}
        values["type"] = _choose(table, "type", DATASETS, "data set")
        side = table.read_optional_int("lq_size" if table.has("lq_size") else "patch_size")
        for name in ("lq_size", "patch_size", "accum_iter", "accumulate", "augmentation", "aug_prob"):
            values.pop(name, None)
        if key == "train":
            table.skip("MixUp, CutMix and CutBlur are not available", "augmentation", "aug_prob")
            if side is not None:
                values["gt_size"] = side * scale
            if "gt_size" not in values and file.has("gt_size"):
                values["gt_size"] = file.read_value("gt_size")
            kernels = degradations.names() if degradations is not None and degraded else ()
            values |= {name: cast(Table, degradations).read_value(name) for name in kernels if _is_kernel_key(name)}
        translated[key] = values
    return translated


def _is_kernel_key(name: str) -> bool:
    return name.rstrip("2") in _KERNEL_KEYS or name == "final_sinc_prob"


# ---------------------------------------------------------------------------------------------------------- training


def _read_training(file: Table) -> Values:
    train, logger = _read_train_table(file), file.read_table("logger")
    handed = ("scheduler", "warmup_iter", "total_iter", "ema_decay", "net_d_iters", "net_d_init_iters")
    values = {key: train.read_value(key) for key in handed if train.has(key)}
    if "total_iter" not in values and logger is not None and logger.has("total_iter"):
        values["total_iter"] = logger.read_value("total_iter")
    if "ema_decay" not in values and train.has("ema"):
        values["ema_decay"] = train.read_value("ema")
    for key in ("optim_g", "optim_d"):
        table = train.read_table(key)
        if table is not None:
            values[key] = _read_optimizer(table)
    known = (*handed, "ema", "optim_g", "optim_d", "losses", "grad_clip")
    left = [key for key in train.names() if key not in known and not key.endswith("_opt")]
    train.skip("has no counterpart", *(key for key in left if train.read_value(key) not in (False, [], None)))
    return values


def _read_optimizer(table: Table) -> Values:
    name, betas = table.read_text("type", "Adam"), table.read_numbers("betas")
    plain = name.lower() in ("adam", "adamw")
    if not plain:
        table.note("type", f"{name} is not available; Adam with its learning rate is used")
        table.skip("belongs to another optimizer", "schedule_free", "warmup_steps", "betas", "weight_decay")
    return {
        "type": {"adam": "Adam", "adamw": "AdamW"}.get(name.lower(), "Adam"),
        "lr": table.read_value("lr"),
        **({"betas": betas} if betas and plain else {"betas": [0.9, 0.99]}),
        **({"weight_decay": table.read_value("weight_decay")} if plain and table.has("weight_decay") else {}),
    }


def _read_train_table(file: Table) -> Table:
    train = file.read_table("train")
    if train is None:
        raise file.missing_key_error("train", "steps, rates and losses")
    return train


def _read_losses(file: Table) -> Values:
    """`pixel_opt`, `perceptual_opt` and `gan_opt` from a list `losses`, or from keys that end in `_opt`."""
    train = _read_train_table(file)
    listed: Any = train.read_value("losses")
    tables = {f"losses.{number}": each for number, each in enumerate(cast("list[Any]", listed or []))}
    tables |= {key: train.read_value(key) for key in train.names() if key.endswith("_opt")}
    translated: Values = {}
    instead: tuple[str, float] | None = None
    for key, value in tables.items():
        if not isinstance(value, dict):
            continue
        table = Table(cast(Values, value), file.file, file.notes, train.name(key))
        kind, weight = table.read_text("type").lower().replace("_", ""), table.read_number("loss_weight", 1.0)
        if not weight:
            continue
        if kind in PIXEL:
            translated["pixel_opt"] = {"type": PIXEL[kind], "loss_weight": weight}
        elif kind in STRUCTURAL:
            instead = (train.name(key), weight)
        elif kind in PERCEPTUAL:
            translated["perceptual_opt"] = _read_perceptual(table, weight)
        elif kind in GAN:
            name = table.read_text("gan_type", "vanilla")
            translated["gan_opt"] = {"type": "GANLoss", "gan_type": GAN_TYPES.get(name, name), "loss_weight": weight}
        else:
            file.note(train.name(key), f"{kind} is not available")
    if instead is not None and "pixel_opt" not in translated:
        file.note(instead[0], "structural similarity is not a training loss; L1 of its weight is used")
        translated["pixel_opt"] = {"type": "L1Loss", "loss_weight": instead[1]}
    elif instead is not None:
        file.note(instead[0], "structural similarity is not a training loss")
    return translated


def _read_perceptual(table: Table, weight: float) -> Values:
    criterion = table.read_text("criterion", "l1")
    if criterion not in ("l1", "l2", "fro"):
        table.note("criterion", f"{criterion} is not available; l1 is used")
        criterion = "l1"
    layers = table.read_value("layer_weights")
    return {
        "type": "PerceptualLoss",
        "layer_weights": layers if isinstance(layers, dict) else dict(LAYERS),
        "vgg_type": "vgg19",
        "criterion": criterion,
        "perceptual_weight": weight,
    }


def _read_step(file: Table) -> Values:
    """Precision, gradient accumulation and clipping."""
    values: Values = {}
    if file.read_flag("use_amp", False):
        values["precision"] = (
            "bf16" if file.read_flag("amp_bf16", False) or file.read_flag("bfloat16", False) else "fp16"
        )
    datasets = file.read_table("datasets")
    table = datasets.read_table("train") if datasets is not None else None
    count = table.read_int("accum_iter" if table.has("accum_iter") else "accumulate", 1) if table is not None else 1
    if count > 1:
        values["accumulate"] = count
    if _read_train_table(file).read_flag("grad_clip", False):
        values["clip"] = 1.0
    return values


def _translate_records(translated: Values) -> None:
    """Switch validation off where the file does, and drop keys that only descendants have."""
    val, logger = translated.get("val"), translated.get("logger")
    if isinstance(val, dict):
        table = cast(Values, val)
        if table.pop("val_enabled", True) is False:
            translated["val"] = {"val_freq": 0}
        elif table.pop("metrics_enabled", True) is False:
            table.pop("metrics", None)
    if isinstance(logger, dict):
        for key in ("total_iter", "save_checkpoint_format", "save_tb_img"):
            cast(Values, logger).pop(key, None)
