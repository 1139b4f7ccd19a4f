"""The losses of BasicSR's options files -> values of `pixel`, `perceptual` and `adversarial`."""

from __future__ import annotations

from tessera.config import Values
from tessera.train.importing.foreign import Table, drop_none

PIXEL = {"L1Loss": "l1", "MSELoss": "mse", "CharbonnierLoss": "charbonnier"}
TRUNKS = {"vgg19": "vgg19", "vgg16": "vgg16"}
GAN_TYPES = {
    "vanilla": "vanilla",
    "lsgan": "lsgan",
    "wgan": "wgan",
    "wgan_softplus": "wgan-softplus",
    "hinge": "hinge",
}
GAN_LOSSES = {"GANLoss": "sum", "MultiScaleGANLoss": "mean"}
"""Each loss, and how the scales of a multi-scale discriminator are combined."""


def read_pixel(train: Table) -> Values:
    """`pixel_opt` -> values of `pixel`; weight 0 without it."""
    table = train.read_table("pixel_opt")
    if table is None:
        return {"weight": 0.0}
    criterion = table.read_choice("type", PIXEL, "", "pixel loss")
    if table.read_text("reduction", "mean") != "mean":
        raise table.make_value_error("reduction", "mean")
    return {"criterion": criterion, "weight": table.read_number("loss_weight", 1.0)}


def read_perceptual(train: Table) -> Values | None:
    """`perceptual_opt` -> values of `perceptual`; None without it."""
    table = train.read_table("perceptual_opt")
    if table is None:
        return None
    table.read_choice("type", {"PerceptualLoss": ""}, "", "perceptual loss")
    layers = table.read_table("layer_weights")
    weights = {name: layers.read_number(name, 0.0) for name in layers.names()} if layers is not None else {}
    if not weights:
        raise table.missing_key_error("layer_weights", "the layers and their weights")
    values: Values = {
        "trunk": table.read_choice("vgg_type", TRUNKS, "vgg19", "trunk"),
        "layers": weights,
        "weight": table.read_number("perceptual_weight", 1.0),
        "style_weight": table.read_number("style_weight", 0.0),
        "normalize": table.read_flag("use_input_norm", True),
        "range_norm": table.read_flag("range_norm", False),
    }
    return {**values, **drop_none(criterion=table.read_text("criterion") or None)}


def read_adversarial(train: Table, compared: Values) -> Values:
    """`gan_opt` -> values of `adversarial`, with `compared` from the model_type."""
    table = train.read_table("gan_opt")
    if table is None:
        raise train.missing_key_error("gan_opt", "the adversarial loss of this model_type")
    scales = table.read_choice("type", GAN_LOSSES, "", "adversarial loss")
    for key, usual in (("real_label_val", 1.0), ("fake_label_val", 0.0)):
        if table.read_number(key, usual) != usual:
            table.note(key, f"the label is {usual:g}; tricks.one_sided_label_smoothing sets the real one to 0.9")
    return {
        "form": table.read_choice("gan_type", GAN_TYPES, "vanilla", "adversarial loss"),
        **compared,
        "scales": scales,
        "weight": table.read_number("loss_weight", 1.0),
    }
