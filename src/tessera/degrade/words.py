"""Descriptions of draws in words."""

from __future__ import annotations

from tessera.degrade.blur import KernelDraw
from tessera.degrade.realesrgan import RealESRGANDraw, StageDraw
from tessera.degrade.recipe import BatchDraw


def describe_draw(record: BatchDraw) -> list[str]:
    """Describe the degradation of the first picture of a draw, in a few lines."""
    if not isinstance(record, RealESRGANDraw):
        return [f"{record.kind}, 1/{record.scale}"]

    order = "before" if record.final.before_jpeg else "after"
    last = f"resize {record.final.mode}, {_describe_kernel(record.final.kernels[0])}, {order} the second JPEG"
    return [f"1: {_describe_stage(record.first)}", f"2: {_describe_stage(record.second)}", f"3: {last}"]


def _describe_kernel(draw: KernelDraw) -> str:
    if draw.kind == "pulse":
        return "no sinc"
    if draw.kind == "sinc":
        return f"sinc {draw.size} cutoff {draw.cutoff:.2f}"
    sigma = f"{draw.sigma_x:.2f}" + (f"x{draw.sigma_y:.2f} turned {draw.theta:.2f}" if "aniso" in draw.kind else "")
    return f"{draw.kind} {draw.size} sigma {sigma}" + (f" beta {draw.beta:.2f}" if draw.beta else "")


def _describe_stage(draw: StageDraw) -> str:
    parts = ["no blur" if draw.kernels is None else _describe_kernel(draw.kernels[0])]
    parts.append(f"resize {draw.resize.factor:.2f} {draw.resize.mode}")
    if draw.noise is None:
        parts.append("no noise")
    else:
        gray = "gray " if draw.noise.gray[0] else ""
        unit = "sigma" if draw.noise.kind == "gaussian" else "scale"
        parts.append(f"{gray}{draw.noise.kind} {unit} {draw.noise.amounts[0]:.2f}")
    parts.append("no JPEG" if draw.qualities is None else f"JPEG {draw.qualities[0]:.0f}")
    return "; ".join(parts)
