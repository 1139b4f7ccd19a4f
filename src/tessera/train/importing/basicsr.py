"""Options files of BasicSR, Real-ESRGAN and A-ESRGAN (YAML) -> values of a recipe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tessera.config import Values
from tessera.train.importing.datasets import compute_crop_margin, read_training_data
from tessera.train.importing.degradation import read_degradation
from tessera.train.importing.foreign import Table, drop_none
from tessera.train.importing.networks import read_discriminator, read_generator
from tessera.train.importing.objectives import read_adversarial, read_perceptual, read_pixel
from tessera.train.importing.rates import read_optimizer, read_schedule
from tessera.train.importing.starting import read_starting_weights


@dataclass(frozen=True)
class ModelType:
    """A model_type: its adversarial loss, and whether it degrades and sharpens as Real-ESRGAN does."""

    adversarial: Values | None
    degrades: bool = False


MODEL_TYPES = {
    "SRModel": ModelType(None),
    "ESRGANModel": ModelType({"relativism": "average", "detach_means": True, "combine": "mean"}),
    "SRGANModel": ModelType({}),
    "RealESRNetModel": ModelType(None, degrades=True),
    "RealESRGANModel": ModelType({}, degrades=True),
    "AESRGANModel": ModelType({}, degrades=True),
}
POOL = 180
"""Real-ESRGAN's queue size if the file has none."""


def read_basicsr(file: Table) -> Values:
    """A whole options file -> values of a recipe. Raises UsageError for what is missing or unknown."""
    kind = file.read_choice("model_type" if file.has("model_type") else "model", MODEL_TYPES, "", "model_type")
    generator, start = read_generator(file)
    data, paired, data_table = read_training_data(file)
    train = file.read_table("train")
    if train is None:
        raise file.missing_key_error("train", "steps, rates and losses")
    values: Values = {
        **_read_general(file),
        "generator": generator,
        "start": {**start, **_read_start(file, adversarial=kind.adversarial is not None)},
        "data": data,
        **_read_inputs(file, kind, data_table, data, paired=paired, scale=generator["scale"]),
        **_read_training(train, kind),
        **_read_validation(file),
        **_read_logger(file, adversarial=kind.adversarial is not None),
    }
    if kind.adversarial is None:
        file.skip("this model_type trains without a discriminator", "network_d")
    else:
        values["discriminator"] = read_discriminator(file)
    return values


def _read_general(file: Table) -> Values:
    file.skip("torchrun starts the processes", "dist_params", "find_unused_parameters")
    gpus = file.read_text("num_gpu", "auto")
    if gpus not in ("auto", "0", "1"):
        file.note("num_gpu", f"start the run with torchrun (nproc-per-node {gpus}); data.batch is per process")
    return {
        "name": file.read_text("name", "imported"),
        **drop_none(seed=file.read_optional_int("manual_seed"), device="cpu" if gpus == "0" else None),
    }


# ------------------------------------------------------------------------------------------------------------- start


def _read_start(file: Table, *, adversarial: bool) -> Values:
    path = file.read_table("path")
    if path is None:
        return {}
    path.skip(
        "the run folder is runs/NAME", "experiments_root", "models", "training_states", "log", "visualization", "root"
    )
    places = read_starting_weights(path, ("pretrain_network_g", "pretrain_network_d"), ("net_g_{}.pth", "net_d_{}.pth"))
    strict = {
        "generator": path.read_flag("strict_load_g", True),
        "discriminator": path.read_flag("strict_load_d", True),
    }
    if path.read_text("param_key_g", "params_ema") != "params_ema" and "generator" in places:
        path.note("param_key_g", "a file with an average (params_ema) gives the average")
    path.read_text("param_key_d")
    if not adversarial:
        places.pop("discriminator", None)
    loose = [name for name in places if not strict[name]]
    if len(loose) == 1 and len(places) == 2:
        path.note(f"strict_load_{loose[0][0]}", "start.partial applies to both networks")
    return {**places, **({"partial": True} if loose else {})}


# ------------------------------------------------------------------------------------------------------------ inputs


def _read_inputs(file: Table, kind: ModelType, table: Table, data: Values, *, paired: bool, scale: int) -> Values:
    """`degradation`, `cut`, `pool` and `sharpen`: what is done with the pictures."""
    on_the_way = kind.degrades and file.read_flag("high_order_degradation", True)
    if on_the_way == paired:
        raise file.file_error(
            "`datasets.train.type` gives pairs, and `model_type` makes its own inputs (high_order_degradation: False"
            " takes them as they are)."
            if paired
            else "`datasets.train.type` gives no inputs, and `model_type` needs them: take a Real-ESRGAN model_type, or"
            " pairs."
        )
    sharpen = _read_sharpening(file, kind, table, on_the_way=on_the_way)
    pool = file.read_int("queue_size", POOL)
    if not on_the_way:
        _leave_degradation(file, table)
        return {"sharpen": sharpen}
    batch = data.get("batch")
    if batch and pool % batch:
        file.note(
            "queue_size",
            f"{pool} is not a multiple of the batch of {batch}, which Tessera allows",
        )
    plain_net = kind.adversarial is None
    return {
        "degradation": read_degradation(file, table, sharpened=not plain_net or bool(sharpen.get("before_pool"))),
        "cut": {"margin": compute_crop_margin(data["patch"], scale, table), "place": "random"},
        "pool": pool,
        "sharpen": sharpen,
    }


def _read_sharpening(file: Table, kind: ModelType, table: Table, *, on_the_way: bool) -> Values:
    if not kind.degrades:
        return {}
    if kind.adversarial is None:  # Real-ESRNet sharpens the ground truth itself, but not in pairs
        before = file.read_flag("gt_usm", table.read_flag("gt_usm", True))
        if not on_the_way:
            return {}
        return {"pixel": True, "before_pool": True} if before else {}
    return {
        "pixel": file.read_flag("l1_gt_usm", True),
        "perceptual": file.read_flag("percep_gt_usm", True),
        "adversarial": file.read_flag("gan_gt_usm", False),
    }


def _leave_degradation(file: Table, table: Table) -> None:
    """Degradation keys that are unused in files of pairs."""
    reason = "inputs are given, so nothing is degraded"
    for mark in ("", "2"):
        names = ("resize_prob", "resize_range", "gaussian_noise_prob", "noise_range", "poisson_scale_range")
        file.skip(reason, *(f"{name}{mark}" for name in (*names, "gray_noise_prob", "jpeg_range")))
        names = ("blur_kernel_size", "kernel_range", "kernel_list", "kernel_prob", "sinc_prob", "blur_sigma")
        table.skip(reason, *(f"{name}{mark}" for name in (*names, "betag_range", "betap_range")))
    file.skip(reason, "second_blur_prob", "queue_size")
    table.skip(reason, "final_sinc_prob")


# ---------------------------------------------------------------------------------------------------------- training


def _read_training(train: Table, kind: ModelType) -> Values:
    steps = train.read_optional_int("niter" if train.has("niter") else "total_iter")  # niter until 2020
    if steps is None:
        raise train.missing_key_error("total_iter", "the number of steps")
    optimizer = read_optimizer(train, "optim_g")
    if optimizer is None:
        raise train.missing_key_error("optim_g", "the generator's optimizer")
    values: Values = {
        "steps": steps,
        "ema": train.read_number("ema_decay", 0.0),
        "optimizer": optimizer,
        "schedule": read_schedule(train),
        "pixel": read_pixel(train),
        **drop_none(perceptual=read_perceptual(train)),
    }
    if kind.adversarial is None:
        train.skip(
            "this model_type trains without a discriminator", "gan_opt", "optim_d", "net_d_iters", "net_d_init_iters"
        )
        return values
    discriminator_optimizer = read_optimizer(train, "optim_d")
    adversarial = read_adversarial(train, kind.adversarial)
    step = drop_none(
        generator_every=train.read_optional_int("net_d_iters"),
        generator_start=train.read_optional_int("net_d_init_iters"),
    )
    return {
        **values,
        "adversarial": adversarial,
        **(
            {"discriminator_optimizer": discriminator_optimizer}
            if discriminator_optimizer is not None and discriminator_optimizer != optimizer
            else {}
        ),
        **({"step": step} if step else {}),
    }


# -------------------------------------------------------------------------------------------- validation and records

METRICS = {"calculate_psnr": "psnr", "calculate_ssim": "ssim", "calculate_niqe": "niqe"}


def _read_validation(file: Table) -> Values:
    val = file.read_table("val")
    if val is None:
        return {}
    values: Values = drop_none(every=val.read_optional_int("val_freq"))
    val.skip("a sample sheet is written at every validation", "save_img", "suffix", "grids")
    val.skip("progress is always shown", "pbar")
    metrics = val.read_table("metrics")
    chosen: list[str] = []
    for key in metrics.names() if metrics is not None else ():
        assert metrics is not None
        table = metrics.read_table(key)
        name = METRICS.get(table.read_text("type", f"calculate_{key}")) if table is not None else None
        if table is None or name is None:
            metrics.note(key, f"is not measured during training; available are {', '.join(METRICS.values())}")
            if table is not None:
                table.skip_rest("belongs to a metric that is not measured during training")
            continue
        border, luma = table.read_optional_int("crop_border"), table.read_flag("test_y_channel", False)
        if name != "niqe" and (not luma or border not in (None, 4)):
            table.note("test_y_channel" if not luma else "crop_border", _AS_PAPERS_HAVE_IT)
        table.read_text("better")
        table.skip("pictures are measured unchanged", "num_thread", "convert_to")
        chosen.append(name)
    if chosen:
        values |= {"metrics": list(dict.fromkeys(chosen)), "best": chosen[0]}
    return {"validation": values} if values else {}


_AS_PAPERS_HAVE_IT = "PSNR and SSIM during training are of Y, without `scale` border pixels"


def _read_logger(file: Table, *, adversarial: bool) -> Values:
    logger = file.read_table("logger")
    if logger is None:
        return {}
    wandb = logger.read_table("wandb")
    if wandb is not None:
        said = any(wandb.has(key) for key in wandb.names())
        wandb.skip("runs are logged to files and TensorBoard", *(wandb.names() if said else ()))
    saving = logger.read_optional_int("save_checkpoint_freq")
    if saving is not None:
        logger.note(
            "save_checkpoint_freq",
            "BasicSR keeps all checkpoints; here the newest 3 are kept, and all discriminators' weights; more with"
            " checkpoint.keep_every",
        )
    discriminators = {"keep_discriminator_every": saving} if adversarial else {}
    report: dict[str, Any] = drop_none(every=logger.read_optional_int("print_freq"))
    if logger.has("use_tb_logger"):
        report["tensorboard"] = logger.read_flag("use_tb_logger", True)
    return {
        **({"checkpoint": {"every": saving, **discriminators}} if saving is not None else {}),
        **({"report": report} if report else {}),
    }
