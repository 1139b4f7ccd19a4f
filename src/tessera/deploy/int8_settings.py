"""What can be asked of a quantization, checked once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from tessera.errors import UsageError

Int8Format = Literal["openvino", "onnx"]
Method = Literal["max", "percentile", "mse", "kl"]
"""How the range of a channel is estimated (`tessera.deploy.ranges`)."""
_SUFFIXES: dict[Int8Format, str] = {"openvino": ".xml", "onnx": ".onnx"}


class Int8Settings(BaseModel, frozen=True, extra="forbid"):
    """Settings of int8 quantization, and the loss that it may cost."""

    format: Int8Format = "openvino"
    method: Method = "max"
    percentile: Annotated[float, Field(gt=50, le=100)] = 99.99
    """Of a channel's values, what is kept on each side; for the method of this name."""
    per_channel: bool = True
    """Whether each output channel of a layer has its own scale, or the layer has one."""
    max_drop_db: Annotated[float, Field(ge=0, le=100)] = 0.2
    most_kept: Annotated[int, Field(ge=0)] | None = None
    """How many layers may stay in fp32 or bf16; None for as many as the budget needs."""
    pictures: Annotated[int, Field(ge=8, le=1024)] = 24
    """Calibration pictures at most; a quarter of them chooses the layers that are kept."""
    side: Annotated[int, Field(ge=16, le=512)] = 48
    """Of each calibration picture, a square with an input of so many pixels."""
    eval_pictures: Annotated[int, Field(ge=1, le=1000)] = 100
    eval_side: Annotated[int, Field(ge=16, le=2048)] = 96
    """Of each evaluation picture, the middle with an input of so many pixels."""


def find_format(output: Path, name: Int8Format | None) -> Int8Format:
    """The format that a name or an ending asks for. Raises UsageError for others."""
    found: Int8Format | None = next((form for form, suffix in _SUFFIXES.items() if suffix == output.suffix), None)
    if found is None or (name is not None and found != name):
        ends = " or ".join(f"{suffix} ({form})" for form, suffix in _SUFFIXES.items())
        asked = "" if name is None else f", and `format` is {name}"
        raise UsageError(f"{output}: int8 files end in {ends}{asked}.", field="output")
    return found
