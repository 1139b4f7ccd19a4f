"""Build files: how a model is made ready for a machine, as TOML of ours, and read from those of VastModelZOO.

Theirs are YAML: `frontend` (the network and its input), `backend` (the compiler, its type of numbers, its calibration),
`dataset` (pictures to calibrate on, and how they are prepared), `workspace`. What has a meaning here is taken; the rest
is listed with the reason.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from pydantic import BaseModel, Field

from tessera.config import Values, read_toml, validate
from tessera.deploy.int8_settings import Method
from tessera.errors import UsageError
from tessera.train.importing.files import read_yaml
from tessera.train.importing.foreign import Note, Table, describe_notes, drop_none
from tessera.train.importing.writing import format_recipe

_Side = Annotated[int, Field(ge=1, le=16_384)]
_OF_THEIR_COMPILER = "an option of that compiler; Tessera writes files for ONNX Runtime, OpenVINO, ncnn and PyTorch"
_METHODS: dict[str, Method] = {"percentile": "percentile", "max": "max", "kl_divergence": "kl", "mse": "mse"}
_DTYPES = {name: name for name in ("fp32", "fp16", "bf16", "int8")}
_KEPT_WITH_INT8 = (
    "is stored but unused with int8: calibration uses crops at their own size, and int8 files take any size"
)
_IN_UNIT_RANGE = ("div255", "div_255")


class CalibrationConfig(BaseModel, frozen=True, extra="forbid"):
    """What a quantizer is shown, and how it draws its limits from that."""

    pictures: str = ""
    """A folder; empty where the build file names none."""
    count: Annotated[int, Field(ge=1, le=100_000)] = 50
    size: tuple[_Side, _Side] | None = None
    """(H, W) that the other program resizes pictures to; kept, and not used: crops are calibrated on as they are."""
    method: Method = "percentile"
    per_channel: bool = True


class BuildConfig(BaseModel, frozen=True, extra="forbid"):
    """A model, the type of its numbers, the size of its input (H, W), and how it is calibrated where that is int8."""

    name: Annotated[str, Field(min_length=1, max_length=200)] = "build"
    model: str = ""
    """A weights file or the name of a model; empty where the command names it."""
    precision: Literal["fp32", "fp16", "bf16", "int8"] = "fp32"
    shape: tuple[_Side, _Side] | None = None
    calibration: CalibrationConfig = CalibrationConfig()


@dataclass(frozen=True)
class ImportedBuild:
    """An imported build file: the build, its TOML, and notes about what was not imported."""

    build: BuildConfig
    text: str
    notes: tuple[Note, ...]

    @property
    def sentences(self) -> list[str]:
        """The notes, those with one reason together."""
        return describe_notes(self.notes)


def read_build(path: Path) -> BuildConfig:
    """Read a build file of ours. Raises UsageError that names the wrong key."""
    if path.suffix.lower() in (".yml", ".yaml"):
        raise UsageError(f"{path}: expected TOML, found YAML. `tessera config import` converts VastModelZOO's files.")
    return validate(BuildConfig, read_toml(path), str(path))


def is_foreign_build(path: Path) -> bool:
    """Whether a YAML file is a build file, not one to train with. Raises UsageError for files that are not YAML."""
    if path.suffix.lower() not in (".yml", ".yaml"):
        return False
    content = read_yaml(path)
    return "frontend" in content and "backend" in content


def import_build(path: Path) -> ImportedBuild:
    """Read a build file of VastModelZOO.

    Raises UsageError, with file and key, for values of another kind, unknown types of numbers and unknown methods.
    """
    notes: list[Note] = []
    file = Table(read_yaml(path), path, notes)
    frontend, backend = file.read_table("frontend"), file.read_table("backend")
    if frontend is None or backend is None:
        raise file.file_error("`frontend` or `backend` is missing, so this is not a build file.")
    precision = backend.read_choice("dtype", _DTYPES, "fp32", "type of numbers")
    values: Values = {
        "name": file.read_text("name", path.stem)[:200] or path.stem,
        "model": frontend.read_text("checkpoint"),
        "precision": precision,
        **drop_none(shape=_read_shape(frontend, precision)),
    }
    _note_the_rest(file, frontend, backend)
    calibration = {**_read_quantizer(backend, precision), **_read_pictures(file, precision)}
    if calibration:
        values["calibration"] = calibration
    file.finish()
    build = validate(BuildConfig, values, str(path))
    return ImportedBuild(build, _write_build(values, path, notes), tuple(notes))


def _read_shape(frontend: Table, precision: str) -> list[int] | None:
    """(H, W) of the one input."""
    shapes = frontend.read_table("shape")
    names = [] if shapes is None else list(shapes.names())
    if shapes is None or not names:
        return None
    sizes = shapes.read_exact_numbers(names[0], 4)
    if len(names) > 1 or sizes is None or any(not size.is_integer() for size in sizes):
        raise frontend.make_value_error("shape", "one input as [batch, channels, height, width]")
    batch, channels, height, width = map(int, sizes)
    if channels not in (1, 3):
        raise shapes.make_value_error(names[0], "a shape with 1 or 3 channels")
    if batch != 1:
        shapes.note(names[0], f"its batch of {batch} is 1 here in a file of one size; a dynamic file takes any batch")
    if precision == "int8":
        frontend.note("shape", _KEPT_WITH_INT8)
    return [height, width]


def _note_the_rest(file: Table, frontend: Table, backend: Table) -> None:
    if is_onnx_name(frontend.read_text("checkpoint")):
        frontend.note(
            "checkpoint", "weights cannot be extracted from an ONNX file: give the model that it was exported from"
        )
    frontend.skip("the type of a file follows from its extension", "type")
    if frontend.read_text("dtype", "fp32") != "fp32":
        frontend.note("dtype", "weights are read in the precision of the file")
    else:
        frontend.read_text("dtype")
    backend.skip(_OF_THEIR_COMPILER, "type", "compile", "target")
    workspace = file.read_table("workspace")
    if workspace is not None:
        workspace.skip("the output is named when the file is made", "path")


def is_onnx_name(checkpoint: str) -> bool:
    """Whether a checkpoint is a graph, out of which no weights can be taken."""
    return checkpoint.lower().endswith(".onnx")


def _read_quantizer(backend: Table, precision: str) -> Values:
    table = backend.read_table("quantize")
    if table is None:
        return {}
    method = table.read_choice("calibrate_mode", _METHODS, "percentile", "calibration")
    per_channel = table.read_flag("quantize_per_channel", True)
    if precision != "int8":
        table.note("calibrate_mode", f"is stored but unused with {precision}")
    return {"method": method, "per_channel": per_channel}


def _read_pictures(file: Table, precision: str) -> Values:
    """`dataset` -> which pictures a quantizer is shown, and their size."""
    dataset = file.read_table("dataset")
    if dataset is None:
        return {}
    values: Values = {"pictures": dataset.read_text("path")}
    dataset.skip("the picture format is detected", "type")
    sampler = dataset.read_table("sampler")
    if sampler is not None:
        values |= drop_none(count=sampler.read_optional_int("get_data_num"))
        sampler.skip("pictures of every format in the folder are used", "suffix")
    return {**values, **drop_none(size=_read_operations(dataset, precision))}


def _read_operations(dataset: Table, precision: str) -> list[int] | None:
    """The steps that prepare a picture: sizes are taken, what happens here anyway is passed over, the rest is noted."""
    size: list[int] | None = None
    for number, step in enumerate(_read_steps(dataset, "process_ops")):
        table = Table(step, dataset.file, dataset.notes, dataset.name(f"process_ops[{number}]"))
        kind = table.read_text("type")
        match kind.lower():
            case "decodeimage":
                if not table.read_flag("to_rgb", True):
                    table.note("to_rgb", "networks here take RGB")
            case "resize":
                sides = table.read_exact_numbers("size", 2)
                if sides is None or any(not side.is_integer() for side in sides):
                    raise table.make_value_error("size", "a list of height and width")
                size = [int(side) for side in sides]
                if precision == "int8":
                    table.note("size", _KEPT_WITH_INT8)
                table.skip("pictures are not resized for calibration", "mode", "interpolation", "resize_type")
            case "normalize":
                if table.read_text("norm_type", "div255").lower() not in _IN_UNIT_RANGE:
                    table.note("norm_type", "networks here take colors in [0, 1]")
                table.skip("networks here take colors in [0, 1] as they are", "mean", "std")
            case "totensor":
                pass
            case _:
                table.note("type", f"{kind or 'an unnamed step'} has no counterpart here")
        table.finish()
    return size


def _read_steps(table: Table, key: str) -> list[dict[str, Any]]:
    """A list of steps: tables with a type, or tables of one key that is the type."""
    if not table.has(key):
        return []
    given: Any = table.read_value(key)
    if not isinstance(given, list):
        raise table.make_value_error(key, "a list of steps")
    steps: list[dict[str, Any]] = []
    for each in cast("list[Any]", given):
        step: dict[str, Any]
        if isinstance(each, str):
            step = {"type": each}
        elif isinstance(each, dict) and "type" in each:
            step = {str(name): value for name, value in cast("dict[Any, Any]", each).items()}
        elif isinstance(each, dict) and len(cast("dict[Any, Any]", each)) == 1:
            (name, inner), *_ = cast("dict[Any, Any]", each).items()
            step = {"type": str(name), **(cast("dict[str, Any]", inner) if isinstance(inner, dict) else {})}
        else:
            raise table.make_value_error(key, "a list of steps, each with its type")
        steps.append(step)
    return steps


def _write_build(values: Values, path: Path, notes: list[Note]) -> str:
    head = [f"# Imported from {_replace_control_characters(path.name)} (VastModelZOO)."]
    if notes:
        head += ["#", "# Changed or not imported:"]
        head += [f"#   {_replace_control_characters(sentence)}" for sentence in describe_notes(notes)]
    return "\n".join([*head, "", format_recipe(values)])


def _replace_control_characters(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)
