"""Settings of an export: format, precision, sizes; and the limits of each format."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, Field, model_validator

from tessera.errors import UsageError

FormatName = Literal["onnx", "openvino", "torchscript", "ncnn", "safetensors"]
Precision = Literal["fp32", "fp16", "bf16"]
LEAST_OPSET, LARGEST_OPSET = 11, 22
_OPSET_OF_BF16 = 13
_Side = Annotated[int, Field(ge=1, le=16_384)]


@dataclass(frozen=True)
class Format:
    """One kind of file: the endings it may have, and what it can hold."""

    name: FormatName
    called: str
    suffixes: tuple[str, ...]
    companion: str | None = None
    """The ending of a second file that belongs to it."""
    has_shape: bool = False
    """Whether it can be made for one size."""
    has_metadata: bool = True
    no_bf16: str = ""
    """Why it cannot hold bf16; empty where it can."""

    def check_ending(self, output: Path) -> None:
        """Raise UsageError for an uppercase ending of a format with a second file."""
        if self.companion is not None and output.suffix != (small := output.suffix.lower()):
            raise UsageError(
                f"{output}: {self.called} finds the {self.companion} file by the lowercase ending {small}; name it"
                f" {output.stem}{small}.",
                field="output",
            )


FORMATS: tuple[Format, ...] = (
    Format("onnx", "ONNX", (".onnx",), has_shape=True),
    Format(
        "openvino",
        "OpenVINO",
        (".xml",),
        companion=".bin",
        has_shape=True,
    ),
    Format("torchscript", "TorchScript", (".pt",)),
    Format(
        "ncnn",
        "ncnn",
        (".param",),
        companion=".bin",
        has_metadata=False,
        no_bf16="ncnn files hold fp32 or fp16; choose fp16",
    ),
    Format("safetensors", "safetensors", (".safetensors",)),
)


class ExportSettings(BaseModel, frozen=True, extra="forbid"):
    """Settings of one exported file; `shape` is (H, W) for a file with a fixed input size, None for any size.

    `precision` is the type in which kernels of convolutions are stored; biases and slopes stay fp32 except in
    safetensors, where every tensor has this type.
    """

    format: FormatName = "onnx"
    precision: Precision = "fp32"
    shape: tuple[_Side, _Side] | None = None
    opset: Annotated[int, Field(ge=LEAST_OPSET, le=LARGEST_OPSET)] = 17

    @model_validator(mode="after")
    def _check_limits(self) -> ExportSettings:
        form = self.form
        if self.precision == "bf16" and form.no_bf16:
            raise ValueError(form.no_bf16)
        if self.shape is not None and not form.has_shape:
            raise ValueError(f"{form.called} files accept any size")
        if self.precision == "bf16" and form.name == "onnx" and self.opset < _OPSET_OF_BF16:
            raise ValueError(f"bf16 needs opset {_OPSET_OF_BF16} or later")
        return self

    @property
    def form(self) -> Format:
        """The format's entry in the list."""
        return next(form for form in FORMATS if form.name == self.format)


def parse_settings(
    output: Path, *, format_name: str | None, precision: str, shape: str, opset: int | None
) -> ExportSettings:
    """Parse settings; without a format name, the ending of the output selects it.

    Raises UsageError for values that no format, or not this one, supports.
    """
    form = _find_format(output, format_name)
    size = _parse_shape(shape)
    if precision == "int8":
        raise UsageError("int8 needs calibration pictures; use `tessera quantize`.", field="precision")
    kinds: dict[str, Precision] = {"fp32": "fp32", "fp16": "fp16", "bf16": "bf16"}
    if precision not in kinds:
        raise UsageError(f"expected fp32, fp16 or bf16, found {precision}.", field="precision")
    if precision == "bf16" and form.no_bf16:
        raise UsageError(f"found bf16, and {form.no_bf16}.", field="precision")
    if size is not None and not form.has_shape:
        raise UsageError(f"{form.called} files accept any size; leave it out.", field="shape")
    if opset is not None and form.name != "onnx":
        raise UsageError(f"only ONNX has opsets, and this is a {form.called} file; leave it out.", field="opset")
    if opset is not None and not LEAST_OPSET <= opset <= LARGEST_OPSET:
        raise UsageError(f"expected {LEAST_OPSET} to {LARGEST_OPSET}, found {opset}.", field="opset")
    if opset is not None and precision == "bf16" and opset < _OPSET_OF_BF16:
        raise UsageError(f"bf16 needs at least {_OPSET_OF_BF16}, found {opset}.", field="opset")
    changes = {} if opset is None else {"opset": opset}
    return ExportSettings(format=form.name, precision=kinds[precision], shape=size, **changes)


def _find_format(output: Path, name: str | None) -> Format:
    ending = output.suffix.lower()
    if name is None:
        found = next((form for form in FORMATS if ending in form.suffixes), None)
        if found is None:
            known = ", ".join(f"{form.suffixes[0]} ({form.called})" for form in FORMATS)
            raise UsageError(f"{output}: the ending selects the format; expected one of {known}.", field="output")
        found.check_ending(output)
        return found
    found = next((form for form in FORMATS if form.name == name), None)
    if found is None:
        raise UsageError(f"expected {', '.join(form.name for form in FORMATS)}, found {name}.", field="format")
    if ending not in found.suffixes:
        raise UsageError(f"{output}: {found.called} files end in {' or '.join(found.suffixes)}.", field="output")
    found.check_ending(output)
    return found


def _parse_shape(text: str) -> tuple[int, int] | None:
    if text == "dynamic":
        return None
    match = re.fullmatch(r"(\d{1,5})[xX](\d{1,5})", text)
    if match is None or not all(1 <= int(side) <= 16_384 for side in match.groups()):
        raise UsageError(
            f"expected dynamic, or HEIGHTxWIDTH in pixels up to 16384 such as 128x128, found {text}.", field="shape"
        )
    return int(match[1]), int(match[2])
