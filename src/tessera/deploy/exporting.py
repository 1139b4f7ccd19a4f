"""A model -> a file for other programs, verified before it gets its name.

The file is written under a temporary name next to its final one, read and run by its own runtime, compared with the
model in PyTorch, written once more with the measurements in its metadata, and renamed. A file that does not reproduce
the model never gets its name.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
import warnings
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tessera.deploy.checking import (
    CheckPicture,
    ExportDifference,
    Run,
    compare,
    draw_chart_samples,
    find_objection,
    make_reference,
    read_photograph_samples,
    read_picture_samples,
)
from tessera.deploy.onnx_graph import build_onnx
from tessera.deploy.openvino_ir import write_openvino
from tessera.deploy.passport import build_metadata, describe_check
from tessera.deploy.places import check_places, write_in_place
from tessera.deploy.settings import ExportSettings
from tessera.deploy.stored import cast_for_storage
from tessera.deploy.torchscript import build_torchscript_archive
from tessera.engines.opening import open_engine
from tessera.errors import ExportError, TesseraError, UsageError
from tessera.generators import find_generator
from tessera.libraries import describe_missing, import_library
from tessera.memory_errors import advise_on_memory, is_memory_error
from tessera.storage.files import write_bytes, write_text
from tessera.weights.files import LoadedGenerator, load_weights, save_weights
from tessera.weights.ncnn_writer import write_param, write_values
from tessera.weights.parts import compute_digest
from tessera.weights.torch_tensors import to_arrays

State = Mapping[str, Tensor]
Writer = Callable[[Path, LoadedGenerator, State, ExportSettings, Mapping[str, str]], None]


@dataclass(frozen=True)
class Exported:
    """An exported file, and how close to the model it is."""

    paths: tuple[Path, ...]
    bytes: int
    sha256: str
    """The digest of the model (`weights.parts`)."""
    runtime: str
    """The library that ran it, with its version."""
    differences: tuple[ExportDifference, ...]


def export(
    loaded: LoadedGenerator,
    output: Path,
    settings: ExportSettings,
    *,
    check: Path | None = None,
    overwrite: bool = False,
) -> Exported:
    """Write a model in another format, run the file, and keep it if it reproduces the model.

    `check` is a folder of pictures for the comparison, in addition to the built-in chart and photographs.
    Raises UsageError for settings that the format cannot satisfy, ExportError when the file cannot be written or
    differs from the model.
    """
    form = settings.form
    paths = (output,) if form.companion is None else (output.with_suffix(form.companion), output)
    _refuse(loaded, output, paths, settings, overwrite=overwrite)
    state = loaded.state
    with _enough_memory(output, settings):
        samples = draw_chart_samples(loaded.config, settings.shape)
        photographs = read_photograph_samples(loaded.config, settings.shape)
        if check is not None:
            photographs += read_picture_samples(check, loaded.config, settings.shape)
        reference = make_reference(loaded.network)
        asked = [(sample, reference(sample.pixels)) for sample in (*samples, *photographs)]
    about = build_metadata(loaded, settings)
    write = _WRITERS[settings.format]
    with write_in_place(output, paths) as temporary:
        _write_file(write, temporary, output, loaded, state, settings, about)
        differences = _check_file(temporary, output, settings, asked)
        runtime = _describe_runtime(settings)
        if form.has_metadata:
            about |= describe_check(differences[: len(samples)], runtime)
            about |= describe_check(differences[len(samples) :], runtime, photographs=True)
            _write_file(write, temporary, output, loaded, state, settings, about)
            # What is put in its place was run itself, if only on the smallest piece.
            _check_file(temporary, output, settings, asked[len(samples) - 1 : len(samples)])
    size = sum(path.stat().st_size for path in paths)
    return Exported(tuple(reversed(paths)), size, compute_digest(output), runtime, tuple(differences))


def _refuse(
    loaded: LoadedGenerator, output: Path, paths: Sequence[Path], settings: ExportSettings, *, overwrite: bool
) -> None:
    """Raise UsageError for what cannot be done, before the work starts."""
    config = loaded.config
    if find_generator(config) is None:
        raise UsageError(
            f"{loaded.name}: only networks of the ESRGAN family can be exported; this network's layers are unknown."
        )
    if settings.shape is not None and any(side % config.multiple for side in settings.shape):
        height, width = settings.shape
        raise UsageError(
            f"{height}x{width}: both sides must divide by {config.multiple} for this network.", field="shape"
        )
    package = _PACKAGES.get(settings.format)
    if package is not None and importlib.util.find_spec(package) is None:
        raise UsageError(
            describe_missing(f"{output}: the file is run before it gets its name, and that", package, extra="export")
        )
    settings.form.check_ending(output)
    check_places(output, paths, overwrite=overwrite)


@contextlib.contextmanager
def _enough_memory(output: Path, settings: ExportSettings) -> Generator[None]:
    """Turn memory errors into an ExportError."""
    try:
        yield
    except Exception as error:
        if not is_memory_error(error):
            raise
        advice = advise_on_memory()
        if settings.shape is not None:
            height, width = settings.shape
            advice = f"choose a smaller `shape` than {height}x{width}, or leave it out for a file that takes any size"
        raise ExportError(
            f"{output}: memory ran out while the model was running, and only verified files are written; {advice}."
        ) from error


def _write_file(
    write: Writer,
    temporary: Path,
    output: Path,
    loaded: LoadedGenerator,
    state: State,
    settings: ExportSettings,
    about: Mapping[str, str],
) -> None:
    try:
        write(temporary, loaded, state, settings, about)
    except TesseraError as error:
        said = str(error).replace(f"{temporary}: ", "")
        raise (UsageError if isinstance(error, UsageError) else ExportError)(f"{output}: {said}") from error


def _check_file(
    temporary: Path, output: Path, settings: ExportSettings, asked: Sequence[tuple[CheckPicture, Tensor]]
) -> list[ExportDifference]:
    """Run a file on pictures and compare the results with those of the model. Raises ExportError."""
    differences: list[ExportDifference] = []
    try:
        with _enough_memory(output, settings):
            run = _open_file(temporary, settings)
            differences = [compare(sample, expected, run(sample.pixels)) for sample, expected in asked]
        problem = find_objection(differences, settings.precision)
    except ExportError:
        raise
    except TesseraError as error:
        problem = str(error).replace(str(temporary), output.name).rstrip(".")
    except Exception as error:  # a file on which its runtime fails is useless, whatever the error
        problem = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}".rstrip(".")
        raise ExportError(f"{output}: the file was written and deleted, because it does not run: {problem}.") from error
    if problem is not None:
        raise ExportError(
            f"{output}: the file was written and deleted, because its results differ from the model's: {problem}."
        )
    return differences


# ----------------------------------------------------------------------------------------------- writing, by format


def _write_onnx(
    path: Path, loaded: LoadedGenerator, state: State, settings: ExportSettings, about: Mapping[str, str]
) -> None:
    write_bytes(path, build_onnx(loaded.config, state, settings, about))


def _write_openvino(
    path: Path, loaded: LoadedGenerator, state: State, settings: ExportSettings, about: Mapping[str, str]
) -> None:
    write_openvino(path, loaded.config, state, settings, about)


def _write_torchscript(
    path: Path, loaded: LoadedGenerator, state: State, settings: ExportSettings, about: Mapping[str, str]
) -> None:
    write_bytes(path, build_torchscript_archive(loaded.config, state, settings, about))


def _write_ncnn(
    path: Path, loaded: LoadedGenerator, state: State, settings: ExportSettings, about: Mapping[str, str]
) -> None:
    text, values = write_param(loaded.config)
    rounded = {name: cast_for_storage(name, tensor, settings.precision).float() for name, tensor in state.items()}
    write_bytes(path.with_suffix(".bin"), write_values(to_arrays(rounded), values, half=settings.precision == "fp16"))
    write_text(path, text, encoding="ascii")


def _write_safetensors(
    path: Path, loaded: LoadedGenerator, state: State, settings: ExportSettings, about: Mapping[str, str]
) -> None:
    tensors = {
        name: cast_for_storage(name, tensor, settings.precision, all_tensors=True) for name, tensor in state.items()
    }
    save_weights(path, loaded.config, tensors, metadata=about)


_WRITERS: dict[str, Writer] = {
    "onnx": _write_onnx,
    "openvino": _write_openvino,
    "torchscript": _write_torchscript,
    "ncnn": _write_ncnn,
    "safetensors": _write_safetensors,
}


# ----------------------------------------------------------------------------------------------- running, by format

_ENGINES = {"onnx": "onnxruntime", "openvino": "openvino", "ncnn": "ncnn", "safetensors": "pytorch"}
_PACKAGES = {"onnx": "onnxruntime", "openvino": "openvino", "ncnn": "ncnn"}


def _open_file(path: Path, settings: ExportSettings) -> Run:
    """Read a file back as a model and open it in its own runtime, in fp32."""
    read = load_weights(path)
    if settings.format == "torchscript":
        return _open_torchscript(path)
    engine: Any = _ENGINES[settings.format]
    opened = open_engine(read, "exact", engine=engine)
    return lambda lq: torch.from_numpy(opened.run(lq.numpy()))


def _open_torchscript(path: Path) -> Run:
    """The program of a TorchScript file that was written a moment ago; files of others are never run."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        module: Any = torch.jit.load(io.BytesIO(path.read_bytes()), map_location="cpu")
    return make_reference(module.eval())


def _describe_runtime(settings: ExportSettings) -> str:
    """The library that runs a format, with its version."""
    package = _PACKAGES.get(settings.format, "torch")
    library = import_library(package)
    return f"{package} {library.__version__}"
