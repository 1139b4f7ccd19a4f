"""Building the kernels with the machine's C compiler: `python -m tessera.native.build`, and the hook of the install.

Each instruction set is a source file with separate flags; one that the compiler does not know is left out, and the
library says at run time which there are. This file imports nothing but Python's own library, because the install runs
it before there is anything else.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
LIBRARY = FOLDER / "libtessera_kernels.so"

_SOURCES = ("set_portable", "pack", "pool", "pipeline", "description", "workspace", "network")
_AVX512 = ("-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq", "-mfma", "-mprefer-vector-width=512")
# Source of each instruction set -> what the dispatcher is told when it is there, and the flags that it needs.
_SETS: dict[str, tuple[str, tuple[str, ...]]] = {
    "set_avx2": ("-DTESSERA_HAS_AVX2", ("-mavx2", "-mfma")),
    "set_avx512": ("-DTESSERA_HAS_AVX512", _AVX512),
    "set_avx512_bf16": ("-DTESSERA_HAS_AVX512_BF16", (*_AVX512, "-mavx512bf16")),
}
_FLAGS = ("-std=gnu11", "-O3", "-fPIC", "-fvisibility=hidden", "-ffp-contract=fast", "-pthread", "-Wno-psabi")
_SECONDS = 300


class NotBuiltError(Exception):
    """The kernels were not built; the text says why, in a sentence."""


@dataclass(frozen=True)
class Built:
    """What was built, and which instruction sets the compiler did not know."""

    library: Path
    left_out: tuple[str, ...]


def build(library: Path = LIBRARY, *, extra: tuple[str, ...] = (), compiler: str | None = None) -> Built:
    """Compile and link everything into `library`, which is replaced whole or not at all.

    `extra` goes to compiler and linker (`-fsanitize=address`). The compiler is the one given, or `CC`, or the first of
    cc, gcc and clang. Raises NotBuiltError.
    """
    if sys.platform == "win32":
        raise NotBuiltError("The kernels are not built on Windows: the other engines are used.")
    command = _compiler(compiler)
    with tempfile.TemporaryDirectory(prefix="tessera-kernels-") as scratch:
        folder = Path(scratch)
        objects = [_compile(command, name, folder, extra) for name in _SOURCES]
        told: list[str] = []
        left_out: list[str] = []
        for name, (definition, flags) in _SETS.items():
            try:
                objects.append(_compile(command, name, folder, (*flags, *extra)))
                told.append(definition)
            except NotBuiltError:
                left_out.append(name.removeprefix("set_"))
        objects.append(_compile(command, "dispatch", folder, (*told, *extra)))
        linked = folder / library.name
        _call([*command, "-shared", "-pthread", *extra, "-o", str(linked), *map(str, objects), "-lm"])
        _put(linked, library)
    return Built(library, tuple(left_out))


def _compiler(given: str | None) -> list[str]:
    asked = given or os.environ.get("CC")
    for candidate in (asked,) if asked else ("cc", "gcc", "clang"):
        command = shlex.split(candidate)
        if command and shutil.which(command[0]):
            return command
    raise NotBuiltError(f"No C compiler was found ({asked or 'cc, gcc, clang'}): the other engines are used.")


def _compile(command: list[str], name: str, folder: Path, flags: tuple[str, ...]) -> Path:
    made = folder / f"{name}.o"
    _call([*command, *_FLAGS, *flags, "-c", str(FOLDER / f"{name}.c"), "-o", str(made)])
    return made


def _call(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=_SECONDS, check=False)
    except (OSError, subprocess.SubprocessError) as error:
        raise NotBuiltError(f"The C compiler cannot be run ({error}): the other engines are used.") from error
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if "error" in line.lower()] or done.stderr.splitlines()
        said = lines[0].strip() if lines else f"exit code {done.returncode}"
        raise NotBuiltError(f"The C compiler failed ({said}): the other engines are used.")


def _put(linked: Path, library: Path) -> None:
    """In place by renaming: a process that has the old library loaded keeps it."""
    temporary = library.with_name(f".{library.name}.{os.getpid()}")
    try:
        library.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(linked, temporary)
        temporary.chmod(0o755)
        temporary.replace(library)
    except OSError as error:
        raise NotBuiltError(f"The kernels cannot be written to {library} ({error}).") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def wheel_tag() -> str:
    """The tag of a wheel that has the library in it: any Python 3, this platform."""
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
