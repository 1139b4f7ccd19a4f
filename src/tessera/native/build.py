"""Building the kernels with a C compiler: `python -m tessera.native.build`, and the hook of the install.

Each instruction set is a source file with separate flags; one that the compiler does not know is left out, and the
library says at run time which there are. This file imports nothing but Python's own library, because the install runs
it before there is anything else.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import platform as machine
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

System = Literal["linux", "macos", "windows"]

FOLDER = Path(__file__).resolve().parent
LIBRARY_NAMES: dict[System, str] = {
    "linux": "libtessera_kernels.so",
    "macos": "libtessera_kernels.dylib",
    "windows": "tessera_kernels.dll",
}
_HERE: System = "windows" if sys.platform == "win32" else "macos" if sys.platform == "darwin" else "linux"
LIBRARY = FOLDER / LIBRARY_NAMES[_HERE]

PLATFORM_VARIABLE = "TESSERA_KERNELS_PLATFORM"
"""Environment variable with the platform, one of PLATFORMS, that a wheel is built for; unset: this machine."""


@dataclass(frozen=True)
class Platform:
    """A platform that a release has a wheel for: ziglang's name of it and the tag of the wheel."""

    triple: str
    tag: str


PLATFORMS: dict[str, Platform] = {
    "linux-x86_64": Platform("x86_64-linux-gnu.2.17", "manylinux_2_17_x86_64.manylinux2014_x86_64"),
    "linux-aarch64": Platform("aarch64-linux-gnu.2.17", "manylinux_2_17_aarch64.manylinux2014_aarch64"),
    "musl-x86_64": Platform("x86_64-linux-musl", "musllinux_1_2_x86_64"),
    "musl-aarch64": Platform("aarch64-linux-musl", "musllinux_1_2_aarch64"),
    "macos-x86_64": Platform("x86_64-macos.11.0", "macosx_11_0_x86_64"),
    "macos-arm64": Platform("aarch64-macos.11.0", "macosx_11_0_arm64"),
    "windows-x86_64": Platform("x86_64-windows-gnu", "win_amd64"),
    "windows-arm64": Platform("aarch64-windows-gnu", "win_arm64"),
}

_SOURCES = ("set_portable", "pack", "pool", "pipeline", "description", "workspace", "network", "processor", "watchdog")
_AVX512 = ("-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq", "-mfma", "-mprefer-vector-width=512")
# GCC's first scheduling moves loads so far ahead that sums leave the registers. clang warns that it ignores the flag.
_NEON = ("-fno-schedule-insns",)
_BF16_OF_ARM = "-march=armv8.2-a+bf16"
_BF16_OF_ZIGLANG = "-mcpu=generic+bf16"  # its names of architectures are others
# Architecture -> source of each instruction set and the flags that it needs.
_SETS: dict[str, dict[str, tuple[str, ...]]] = {
    "x86_64": {
        "set_avx2": ("-mavx2", "-mfma"),
        "set_avx512": _AVX512,
        "set_avx512_bf16": (*_AVX512, "-mavx512bf16"),
    },
    "aarch64": {
        "set_neon": _NEON,
        "set_neon_bf16": (*_NEON, _BF16_OF_ARM),
    },
}
_FLAGS = ("-std=gnu11", "-O3", "-fvisibility=hidden", "-ffp-contract=fast", "-Wno-psabi")
_SECONDS = 1200  # ziglang builds the C library of Windows on first use


class NotBuiltError(Exception):
    """The kernels were not built; the text says why, in a sentence."""


@dataclass(frozen=True)
class Built:
    """What was built, and which instruction sets of the architecture the compiler did not know."""

    library: Path
    left_out: tuple[str, ...]


@dataclass(frozen=True)
class _Compiler:
    command: tuple[str, ...]
    architecture: str
    system: System

    @property
    def flags(self) -> tuple[str, ...]:
        return () if self.system == "windows" else ("-fPIC", "-pthread")

    @property
    def strip(self) -> tuple[str, ...]:
        """ziglang writes debug information unless it is told not to."""
        return ("-s",) if "ziglang" in self.command else ()

    @property
    def libraries(self) -> tuple[str, ...]:
        return () if self.system == "windows" else ("-pthread", "-lm")


def build(
    library: Path = LIBRARY,
    *,
    extra: tuple[str, ...] = (),
    compiler: str | None = None,
    platform: str | None = None,
) -> Built:
    """Compile and link everything into `library`, which is replaced whole or not at all.

    `extra` goes to compiler and linker (`-fsanitize=address`). The compiler is the one given, or `CC`, or the first of
    cc, gcc, clang and ziglang's; for a `platform`, one of PLATFORMS, it is ziglang's. Raises NotBuiltError.
    """
    found = _choose_compiler(compiler) if platform is None else _ziglang(PLATFORMS[platform].triple)
    with tempfile.TemporaryDirectory(prefix="tessera-kernels-") as scratch:
        folder = Path(scratch)
        objects = [_compile(found, name, folder, extra) for name in _SOURCES]
        definitions: list[str] = []
        left_out: list[str] = []
        for name, flags in _SETS.get(found.architecture, {}).items():
            short = name.removeprefix("set_")
            try:
                objects.append(_compile(found, name, folder, (*flags, *extra)))
                definitions.append(f"-DTESSERA_HAS_{short.upper()}")
            except NotBuiltError:
                left_out.append(short)
        objects.append(_compile(found, "dispatch", folder, (*definitions, *extra)))
        linked = folder / library.name
        _call(
            [*found.command, "-shared", *found.strip, *extra, "-o", str(linked), *map(str, objects), *found.libraries]
        )
        _put(linked, library)
    return Built(library, tuple(left_out))


def _choose_compiler(given: str | None) -> _Compiler:
    asked = given or os.environ.get("CC")
    usual = ("clang",) if _HERE == "windows" else ("cc", "gcc", "clang")
    for candidate in (asked,) if asked else usual:
        command = shlex.split(candidate, posix=_HERE != "windows")
        if command and shutil.which(command[0]):
            return _examine(tuple(command))
    if asked is None and importlib.util.find_spec("ziglang") is not None:
        architecture = normalize_architecture(machine.machine())
        return _ziglang({"linux": f"{architecture}-linux-gnu"}.get(_HERE, f"{architecture}-{_HERE}"))
    raise NotBuiltError(f"No C compiler was found ({asked or ', '.join(usual)}): the other engines are used.")


def _examine(command: tuple[str, ...]) -> _Compiler:
    """What the compiler compiles for; this machine, if it does not say."""
    try:
        triple = _call([*command, "-dumpmachine"]).strip()
    except NotBuiltError:
        triple = ""
    if "mingw32" in triple:  # GCC's bug 54412
        raise NotBuiltError("GCC for Windows does not align vectors on the stack; use clang: other engines are used.")
    architecture = (
        normalize_architecture(triple.partition("-")[0]) if "-" in triple else normalize_architecture(machine.machine())
    )
    return _Compiler(command, architecture, _system_in(triple) if triple else _HERE)


def _ziglang(triple: str) -> _Compiler:
    if importlib.util.find_spec("ziglang") is None:
        raise NotBuiltError("ziglang is not installed: pip install ziglang")
    command = (sys.executable, "-m", "ziglang", "cc", "-target", triple)
    return _Compiler(command, triple.partition("-")[0], _system_in(triple))


def platform_here() -> str | None:
    """The one of PLATFORMS that this machine is; None if releases have no wheel for it."""
    musl = _HERE == "linux" and machine.libc_ver()[0] != "glibc"
    kind, architecture = "musl" if musl else _HERE, normalize_architecture(machine.machine())
    names = (name for name in PLATFORMS if name.startswith(f"{kind}-") and architecture_of(name) == architecture)
    return next(names, None)


def architecture_of(platform: str) -> str:
    """The processor of one of PLATFORMS: x86_64 or aarch64."""
    return PLATFORMS[platform].triple.partition("-")[0]


def system_of(platform: str) -> System:
    """The operating system of one of PLATFORMS."""
    return _system_in(PLATFORMS[platform].triple)


def _system_in(triple: str) -> System:
    if "windows" in triple:
        return "windows"
    return "macos" if "macos" in triple or "darwin" in triple else "linux"


def normalize_architecture(architecture: str) -> str:
    """The name that compilers share.

    >>> normalize_architecture("arm64"), normalize_architecture("AMD64"), normalize_architecture("riscv64")
    ('aarch64', 'x86_64', 'riscv64')
    """
    lowered = architecture.lower()
    return {"arm64": "aarch64", "amd64": "x86_64", "x64": "x86_64"}.get(lowered, lowered)


def _compile(compiler: _Compiler, name: str, folder: Path, flags: tuple[str, ...]) -> Path:
    made = folder / f"{name}.o"
    source = str(FOLDER / f"{name}.c")
    if "ziglang" in compiler.command:
        flags = tuple(_BF16_OF_ZIGLANG if flag == _BF16_OF_ARM else flag for flag in flags)
    _call([*compiler.command, *_FLAGS, *compiler.flags, *flags, "-c", source, "-o", str(made)])
    return made


def _call(command: list[str]) -> str:
    """The standard output."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=_SECONDS, check=False)
    except (OSError, subprocess.SubprocessError) as error:
        raise NotBuiltError(f"The C compiler cannot be run ({error}): the other engines are used.") from error
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if "error" in line.lower()] or done.stderr.splitlines()
        said = lines[0].strip() if lines else f"exit code {done.returncode}"
        raise NotBuiltError(f"The C compiler failed ({said}): the other engines are used.")
    return done.stdout


def _put(linked: Path, library: Path) -> None:
    """Rename the library to its place, so that a process that has loaded the old one keeps it.

    Not by `tessera.storage.files`, which does not exist yet when this runs; `mkstemp` follows no links either.
    """
    temporary = library
    try:
        library.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{library.name}.", dir=library.parent)
        temporary = Path(name)
        with os.fdopen(descriptor, "wb") as file:
            file.write(linked.read_bytes())
        temporary.chmod(0o755)
        temporary.replace(library)
    except OSError as error:
        raise NotBuiltError(f"The kernels cannot be written to {library} ({error}).") from error
    finally:
        if temporary != library:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


def wheel_tag(platform: str | None = None) -> str:
    """The tag of a wheel that has the library in it: any Python 3, and the platform, or this machine's."""
    if platform is not None:
        return f"py3-none-{PLATFORMS[platform].tag}"
    return "py3-none-" + sysconfig.get_platform().replace("-", "_").replace(".", "_")


def main() -> int:
    """Build in place, and say what came of it."""
    try:
        built = build()
    except NotBuiltError as error:
        print(error, file=sys.stderr)
        return 1
    without = f", without {', '.join(built.left_out)}, which the compiler does not know" if built.left_out else ""
    print(f"Built {built.library}{without}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
