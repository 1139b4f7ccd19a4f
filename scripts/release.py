"""`scripts/release`: make the source distribution and one wheel per platform with the kernels inside, and check them.

Needs `pip install --group release`: build, hatchling, ziglang (compiles and links for every platform), twine and
auditwheel. The files go to dist/. `--run` installs this machine's wheel in an empty environment and upscales a picture.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import struct
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from pathlib import Path

from tessera.native import build as building

ROOT = Path(__file__).resolve().parent.parent
FUNCTIONS = (
    *("tk_interface", "tk_best_set", "tk_offers_set", "tk_has_set", "tk_has_bf16", "tk_count_weights", "tk_create"),
    *("tk_run", "tk_working_bytes", "tk_destroy"),
)
# What the header of a library says that it runs on: ELF's e_machine, Mach-O's cputype, PE's machine.
MACHINES = {
    "linux": {"x86_64": 62, "aarch64": 183},
    "macos": {"x86_64": 0x01000007, "aarch64": 0x0100000C},
    "windows": {"x86_64": 0x8664, "aarch64": 0xAA64},
}

ASK_SETS = """
import json
from tessera.native import library
print(json.dumps([library.sets_here(), library.sets_offered()]))
"""
ASK_SIZES = """
import json, sys
from tessera import read_picture
print(json.dumps([read_picture(path).pixels.shape[:2] for path in sys.argv[1:]]))
"""


class CheckError(Exception):
    """A file is not what a release needs."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/release", description="Make and check the files of a release.")
    parser.add_argument(
        "--platform",
        action="append",
        choices=tuple(building.PLATFORMS),
        help="platform of a wheel; may be repeated (default: all)",
    )
    parser.add_argument("--out", type=Path, default=ROOT / "dist", help="folder for the files (default: dist)")
    parser.add_argument("--run", action="store_true", help="install this machine's wheel and upscale a picture with it")
    parser.add_argument("--only-run", action="store_true", help="build nothing; only install and run")
    parser.add_argument(
        "--site", type=Path, help="site-packages with the dependencies, for --run without downloading them"
    )
    chosen = parser.parse_args()
    out: Path = chosen.out.resolve()
    try:
        if not chosen.only_run:
            make(out, chosen.platform or list(building.PLATFORMS))
        if chosen.run or chosen.only_run:
            install_and_run(find_wheel(out), chosen.site)
    except CheckError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def make(out: Path, platforms: list[str]) -> None:
    """Build everything from the source distribution, so that it is known to be complete, and check it."""
    out.mkdir(parents=True, exist_ok=True)
    call([sys.executable, "-m", "build", "--no-isolation", "--sdist", "--outdir", str(out), str(ROOT)])
    source = newest(out, "*.tar.gz")
    made = [source]
    with tempfile.TemporaryDirectory(prefix="tessera-release-") as scratch:
        with tarfile.open(source) as archive:
            archive.extractall(scratch, filter="data")
        (tree,) = Path(scratch).iterdir()
        for name in platforms:
            environment = {**os.environ, building.PLATFORM_VARIABLE: name}
            command = [sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", str(out), str(tree)]
            call(command, environment)
            wheel = newest(out, f"*-{building.wheel_tag(name)}.whl")
            check_contents(wheel, name, tree)
            if name.startswith("musl-"):
                check_musl(wheel)
            elif building.system_of(name) == "linux":
                check_policy(wheel, name)
            made.append(wheel)
            print(f"{wheel.name}: {wheel.stat().st_size:,} bytes, checked", flush=True)
    call([sys.executable, "-m", "twine", "check", "--strict", *map(str, made)])


def call(command: list[str], environment: dict[str, str] | None = None) -> str:
    """Run a command -> its standard output; what it printed is the error when it fails."""
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, encoding="utf-8", errors="replace", check=False
    )
    if done.returncode != 0:
        raise CheckError(f"{' '.join(command)}\n{done.stdout}{done.stderr}exit code {done.returncode}")
    return done.stdout


def newest(folder: Path, pattern: str) -> Path:
    found = max(folder.glob(pattern), key=lambda path: path.stat().st_mtime, default=None)
    if found is None:
        raise CheckError(f"{folder}: no {pattern}")
    return found


# ------------------------------------------------------------------------------------------------------------- checks


def check_contents(wheel: Path, platform: str, tree: Path) -> None:
    """Every module is in the wheel, and one library: for the platform's processor, with all functions."""
    system = building.system_of(platform)
    library = f"tessera/native/{building.LIBRARY_NAMES[system]}"
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (metadata,) = (name for name in names if name.endswith(".dist-info/WHEEL"))
        text = archive.read(metadata).decode()
        if library not in names:
            raise CheckError(f"{wheel.name}: {library} is missing")
        content = archive.read(library)
    sources = tree / "src"
    expected = {path.relative_to(sources).as_posix() for path in sources.rglob("*.py")}
    if expected - names:
        raise CheckError(f"{wheel.name}: missing {', '.join(sorted(expected - names))}")
    others = {name for name in names if name.endswith((".so", ".dylib", ".dll")) and name != library}
    if others:
        raise CheckError(f"{wheel.name}: unexpected {', '.join(sorted(others))}")
    if "Root-Is-Purelib: false" not in text:
        raise CheckError(f"{wheel.name}: expected Root-Is-Purelib: false")
    found, wanted = read_machine(content, system), MACHINES[system][building.architecture_of(platform)]
    if found != wanted:
        raise CheckError(f"{wheel.name}: the library is for machine {found:#x}, expected {wanted:#x}")
    missing = [name for name in FUNCTIONS if name.encode() not in content]
    if missing:
        raise CheckError(f"{wheel.name}: the library lacks {', '.join(missing)}")


def read_machine(content: bytes, system: building.System) -> int:
    """The processor that a library is for, as its header has it."""
    if system == "linux":
        return struct.unpack_from("<H", content, 18)[0] if content[:4] == b"\x7fELF" else 0
    if system == "macos":
        return struct.unpack_from("<I", content, 4)[0] if content[:4] == b"\xcf\xfa\xed\xfe" else 0
    if content[:2] != b"MZ":
        return 0
    (start,) = struct.unpack_from("<I", content, 0x3C)
    return struct.unpack_from("<H", content, start + 4)[0] if content[start : start + 4] == b"PE\0\0" else 0


def check_policy(wheel: Path, platform: str) -> None:
    """auditwheel finds no newer symbol and no other library than the wheel's tag allows."""
    said = " ".join(call([sys.executable, "-m", "auditwheel", "show", str(wheel)]).split())
    wanted = building.PLATFORMS[platform].tag.split(".")[0]
    _, _, consistent = said.partition("consistent with the following platform tag: ")
    if f'"{wanted}"' not in consistent:
        raise CheckError(f"{wheel.name}: auditwheel does not find it consistent with {wanted}:\n{said}")


def check_musl(wheel: Path) -> None:
    """The library needs musl's C library and nothing else; auditwheel would look for that on this machine."""
    with tempfile.TemporaryDirectory(prefix="tessera-release-") as scratch, zipfile.ZipFile(wheel) as archive:
        library = archive.extract(f"tessera/native/{building.LIBRARY_NAMES['linux']}", scratch)
        needed = re.findall(r"\(NEEDED\).*\[(.+)\]", call(["readelf", "--dynamic", "--wide", library]))
    if needed != ["libc.so"]:
        raise CheckError(f"{wheel.name}: expected a library that needs libc.so alone, found {needed}")


# ---------------------------------------------------------------------------------------------------------------- run


def find_wheel(out: Path) -> Path:
    """The wheel for this machine."""
    name = building.platform_here()
    if name is None:
        raise CheckError("a release has no wheel for this machine")
    return newest(out, f"*-{building.wheel_tag(name)}.whl")


def install_and_run(wheel: Path, site: Path | None) -> None:
    """Install in an empty environment, compare the instruction sets, and upscale a picture with the kernels."""
    with tempfile.TemporaryDirectory(prefix="tessera-run-") as scratch:
        folder = Path(scratch)
        venv.create(folder / "venv", with_pip=site is None)
        scripts = folder / "venv" / ("Scripts" if sys.platform == "win32" else "bin")
        python = str(scripts / "python")
        if site is None:
            call([python, "-m", "pip", "install", "--quiet", str(wheel)])
        else:
            place = Path(call([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]).strip())
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(place)
            (place / "dependencies.pth").write_text(f"{site.resolve()}\n")
        environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "CC")}
        environment |= {"TESSERA_CACHE": str(folder / "cache"), "TESSERA_MODELS": str(folder / "models")}
        tessera = [python, "-I", "-m", "tessera"]
        here = call([python, "-I", "-c", "import tessera; print(tessera.__file__)"], environment).strip()
        if not Path(here).is_relative_to(folder):
            raise CheckError(f"{wheel.name}: tessera was imported from {here}")
        built, offered = json.loads(call([python, "-I", "-c", ASK_SETS], environment))
        if built != offered:
            raise CheckError(f"{wheel.name}: this processor offers {offered}, and the library has {built}")
        picture, result = ROOT / "examples" / "dog.jpg", folder / "dog.png"
        call([*tessera, "upscale", str(picture), "-o", str(result), "--engine", "kernels"], environment)
        before, after = json.loads(call([python, "-I", "-c", ASK_SIZES, str(picture), str(result)], environment))
        if [4 * side for side in before] != after:
            raise CheckError(f"{wheel.name}: {before} became {after}, expected four times as much")
        print(f"{wheel.name}: installed and run, {built[-1]}, {before} -> {after}")


if __name__ == "__main__":
    sys.exit(main())
