"""What can be asked of an export, checked once: format, precision, sizes; and what each format cannot do."""

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
        """Raise UsageError where the ending is in capitals, and a second file is found by it."""
        if self.companion is not None and output.suffix != (small := output.suffix.lower()):
            raise UsageError(
                f"-o {output}: a file of {self.called} is found together with its {self.companion} by the ending"
                f" {small} in small letters; name it {output.stem}{small}."
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
        no_bf16="ncnn's files hold fp32 or fp16. Take --precision fp16",
    ),
    Format("safetensors", "safetensors", (".safetensors",)),
)


class ExportSettings(BaseModel, frozen=True, extra="forbid"):
    """What a file is to be: `shape` is (H, W) for a file that takes this size only, None for one that takes any.

    `precision` is the type in which kernels of convolutions are stored; biases and slopes stay fp32 except in
    safetensors, where every tensor has this type.
    """

    format: FormatName = "onnx"
    precision: Precision = "fp32"
    shape: tuple[_Side, _Side] | None = None
    opset: Annotated[int, Field(ge=LEAST_OPSET, le=LARGEST_OPSET)] = 17

    @model_validator(mode="after")
    def _can_be(self) -> ExportSettings:
        form = self.form
        if self.precision == "bf16" and form.no_bf16:
            raise ValueError(form.no_bf16)
        if self.shape is not None and not form.has_shape:
            raise ValueError(f"{form.called} files take pictures of every size")
        if self.precision == "bf16" and form.name == "onnx" and self.opset < _OPSET_OF_BF16:
            raise ValueError(f"ONNX knows bf16 from opset {_OPSET_OF_BF16} on")
        return self

    @property
    def form(self) -> Format:
        """The format's entry in the list."""
        return next(form for form in FORMATS if form.name == self.format)


def settings_from_words(
    output: Path, *, format_name: str | None, precision: str, shape: str, opset: int | None
) -> ExportSettings:
    """What the user wrote -> settings; without a format it is the one that the output's name ends like.

    Raises UsageError for what no format, or not this one, can do.
    """
    form = _format(output, format_name)
    size = _shape(shape)
    if precision == "int8":
        raise UsageError(
            "--precision int8: whole numbers need pictures to be calibrated on: `tessera quantize MODEL --calibration"
            " FOLDER`."
        )
    kinds: dict[str, Precision] = {"fp32": "fp32", "fp16": "fp16", "bf16": "bf16"}
    if precision not in kinds:
        raise UsageError(f"--precision {precision}: expected fp32, fp16 or bf16.")
    if precision == "bf16" and form.no_bf16:
        raise UsageError(f"--precision bf16: {form.no_bf16}.")
    if size is not None and not form.has_shape:
        raise UsageError(f"--shape {shape}: {form.called} files take pictures of every size; leave it out.")
    if opset is not None and form.name != "onnx":
        raise UsageError(f"--opset {opset}: only ONNX has opsets, and this is a file of {form.called}; leave it out.")
    if opset is not None and not LEAST_OPSET <= opset <= LARGEST_OPSET:
        raise UsageError(f"--opset {opset}: expected {LEAST_OPSET} to {LARGEST_OPSET}.")
    if opset is not None and precision == "bf16" and opset < _OPSET_OF_BF16:
        raise UsageError(f"--opset {opset}: ONNX knows bf16 from {_OPSET_OF_BF16} on.")
    changes = {} if opset is None else {"opset": opset}
    return ExportSettings(format=form.name, precision=kinds[precision], shape=size, **changes)


def _format(output: Path, name: str | None) -> Format:
    ending = output.suffix.lower()
    if name is None:
        found = next((form for form in FORMATS if ending in form.suffixes), None)
        if found is None:
            known = ", ".join(f"{form.suffixes[0]} ({form.called})" for form in FORMATS)
            raise UsageError(f"-o {output}: its ending says which format it gets, and there are {known}.")
        found.check_ending(output)
        return found
    found = next((form for form in FORMATS if form.name == name), None)
    if found is None:
        raise UsageError(f"--format {name}: expected {', '.join(form.name for form in FORMATS)}.")
    if ending not in found.suffixes:
        raise UsageError(f"-o {output}: a file of {found.called} ends in {' or '.join(found.suffixes)}.")
    found.check_ending(output)
    return found


def _shape(text: str) -> tuple[int, int] | None:
    if text == "dynamic":
        return None
    match = re.fullmatch(r"(\d{1,5})[xX](\d{1,5})", text)
    if match is None or not all(1 <= int(side) <= 16_384 for side in match.groups()):
        raise UsageError(f"--shape {text}: expected dynamic, or HEIGHTxWIDTH in pixels up to 16384, such as 128x128.")
    return int(match[1]), int(match[2])
