"""The networks of BasicSR, Real-ESRGAN and A-ESRGAN by their names in options files."""

from __future__ import annotations

from collections.abc import Callable

from tessera.config import Values
from tessera.train.importing.foreign import Table, drop_none


def read_generator(file: Table) -> tuple[Values, Values]:
    """`network_g` -> values of `generator`, and of `start` for its initialization."""
    table = file.read_table("network_g")
    if table is None:
        raise file.missing_key_error("network_g", "the generator to train")
    made, start = table.read_choice("type", GENERATORS, "", "generator")(table)
    scale = file.read_int("scale", made["scale"])
    if scale != made["scale"]:
        raise file.file_error(
            f"`scale` is {scale}, and the generator of `network_g` upscales x{made['scale']}: expected the same scale."
        )
    return made, start


def _read_rrdbnet(table: Table) -> tuple[Values, Values]:
    scale = table.read_int("scale", 4)
    if scale not in (1, 2, 4):
        raise table.make_value_error("scale", "1, 2 or 4 (with any other value, BasicSR's RRDBNet upscales x4)")
    values = drop_none(
        network="rrdbnet",
        scale=scale,
        in_channels=table.read_optional_int("num_in_ch"),
        out_channels=table.read_optional_int("num_out_ch"),
        features=table.read_optional_int("num_feat"),
        blocks=table.read_optional_int("num_block"),
        growth=table.read_optional_int("num_grow_ch"),
    )
    return values, {"init": "basicsr"}


def _read_compact(table: Table) -> tuple[Values, Values]:
    values = drop_none(
        network="srvggnetcompact",
        scale=table.read_int("upscale", 4),
        in_channels=table.read_optional_int("num_in_ch"),
        out_channels=table.read_optional_int("num_out_ch"),
        features=table.read_optional_int("num_feat"),
        convolutions=table.read_optional_int("num_conv"),
        activation=table.read_text("act_type", "prelu"),
    )
    return values, {}


def read_discriminator(file: Table) -> Values:
    """`network_d` -> values of `discriminator`."""
    table = file.read_table("network_d")
    if table is None:
        raise file.missing_key_error("network_d", "the discriminator of the adversarial loss")
    values = table.read_choice("type", DISCRIMINATORS, "", "discriminator")(table)
    return {
        **values,
        **drop_none(in_channels=table.read_optional_int("num_in_ch"), features=table.read_optional_int("num_feat")),
    }


def _read_vgg(size: int) -> Callable[[Table], Values]:
    return lambda table: {"network": "vgg-style", "input_size": table.read_int("input_size", size)}


def _read_unet(table: Table) -> Values:
    return {"network": "unet", "skip_connections": table.read_flag("skip_connection", True)}


def _read_attention(table: Table) -> Values:
    if not table.read_flag("skip_connection", True):
        table.note("skip_connection", "has no effect on this network, as in A-ESRGAN")
    return {"network": "attention-unet"}


def _read_multi_scale(table: Table) -> Values:
    count = table.read_int("num_D", 2)
    return {"network": "attention-unet"} if count == 1 else {"network": "multi-scale", "scales": count}


GENERATORS: dict[str, Callable[[Table], tuple[Values, Values]]] = {
    "RRDBNet": _read_rrdbnet,
    "SRVGGNetCompact": _read_compact,
}
DISCRIMINATORS: dict[str, Callable[[Table], Values]] = {
    "VGGStyleDiscriminator": _read_vgg(128),
    "VGGStyleDiscriminator128": _read_vgg(128),
    "VGGStyleDiscriminator256": _read_vgg(256),
    "UNetDiscriminatorSN": _read_unet,
    "UNetDiscriminatorAesrgan": _read_attention,
    "multiscale": _read_multi_scale,
}
