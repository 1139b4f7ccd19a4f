"""The networks of BasicSR, Real-ESRGAN and A-ESRGAN, by the names that their options files have."""

from __future__ import annotations

from collections.abc import Callable

from tessera.config import Values
from tessera.train.importing.foreign import Table, without_none


def generator_of(file: Table) -> tuple[Values, Values]:
    """`network_g` -> values of `generator` and what belongs to it in `start`."""
    table = file.table("network_g")
    if table is None:
        raise file.missing("network_g", "which generator is to be trained")
    made, start = table.choice("type", GENERATORS, "", "generator")(table)
    scale = file.whole("scale", made["scale"])
    if scale != made["scale"]:
        raise file.refusal(
            f"`scale` is {scale}, and the generator of `network_g` makes x{made['scale']}. Give both the same scale."
        )
    return made, start


def _rrdbnet(table: Table) -> tuple[Values, Values]:
    scale = table.whole("scale", 4)
    if scale not in (1, 2, 4):
        raise table.wrong("scale", "1, 2 or 4 (RRDBNet makes x4 there whatever else it is told)")
    values = without_none(
        network="rrdbnet",
        scale=scale,
        in_channels=table.maybe_whole("num_in_ch"),
        out_channels=table.maybe_whole("num_out_ch"),
        features=table.maybe_whole("num_feat"),
        blocks=table.maybe_whole("num_block"),
        growth=table.maybe_whole("num_grow_ch"),
    )
    return values, {"init": "basicsr"}


def _compact(table: Table) -> tuple[Values, Values]:
    values = without_none(
        network="srvggnetcompact",
        scale=table.whole("upscale", 4),
        in_channels=table.maybe_whole("num_in_ch"),
        out_channels=table.maybe_whole("num_out_ch"),
        features=table.maybe_whole("num_feat"),
        convolutions=table.maybe_whole("num_conv"),
        activation=table.text("act_type", "prelu"),
    )
    return values, {}


def discriminator_of(file: Table) -> Values:
    """`network_d` -> values of `discriminator`."""
    table = file.table("network_d")
    if table is None:
        raise file.missing("network_d", "which discriminator the adversarial loss asks")
    values = table.choice("type", DISCRIMINATORS, "", "discriminator")(table)
    return {
        **values,
        **without_none(in_channels=table.maybe_whole("num_in_ch"), features=table.maybe_whole("num_feat")),
    }


def _vgg(size: int) -> Callable[[Table], Values]:
    return lambda table: {"network": "vgg-style", "input_size": table.whole("input_size", size)}


def _unet(table: Table) -> Values:
    return {"network": "unet", "skip_connections": table.flag("skip_connection", True)}


def _attention(table: Table) -> Values:
    if not table.flag("skip_connection", True):
        table.note("skip_connection", "is not heeded by this network, there or here")
    return {"network": "attention-unet"}


def _multi_scale(table: Table) -> Values:
    count = table.whole("num_D", 2)
    return {"network": "attention-unet"} if count == 1 else {"network": "multi-scale", "scales": count}


GENERATORS: dict[str, Callable[[Table], tuple[Values, Values]]] = {"RRDBNet": _rrdbnet, "SRVGGNetCompact": _compact}
DISCRIMINATORS: dict[str, Callable[[Table], Values]] = {
    "VGGStyleDiscriminator": _vgg(128),
    "VGGStyleDiscriminator128": _vgg(128),
    "VGGStyleDiscriminator256": _vgg(256),
    "UNetDiscriminatorSN": _unet,
    "UNetDiscriminatorAesrgan": _attention,
    "multiscale": _multi_scale,
}
