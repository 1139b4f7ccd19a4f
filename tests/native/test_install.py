"""The install: with a C compiler the wheel has the kernels in it, and without one it is made all the same."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tessera.native import build as building

pytest.importorskip("hatchling")
PROJECT = Path(__file__).parents[2]
LIBRARY = "tessera/native/libtessera_kernels.so"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a wheel is made from, without what was built here."""
    copy = tmp_path_factory.mktemp("project")
    leave = shutil.ignore_patterns("*.so", "__pycache__")
    shutil.copytree(PROJECT / "src", copy / "src", ignore=leave)
    for name in ("pyproject.toml", "hatch_build.py", "README.md", "LICENSE"):
        shutil.copy(PROJECT / name, copy)
    return copy


def wheel(project: Path, folder: Path, compiler: str) -> tuple[Path, str]:
    """Make a wheel as pip does -> its path, and what was said meanwhile."""
    command = "import sys; from hatchling.build import build_wheel; build_wheel(sys.argv[1])"
    done = subprocess.run(
        [sys.executable, "-c", command, folder],
        cwd=project,
        env={**os.environ, "CC": compiler},
        capture_output=True,
        text=True,
        check=True,
    )
    (path,) = folder.glob("*.whl")
    return path, done.stdout + done.stderr


def test_without_a_compiler_the_wheel_is_for_any_platform_and_says_why(project: Path, tmp_path: Path):
    path, said = wheel(project, tmp_path, "no-such-compiler")
    assert path.name.endswith("-py3-none-any.whl")
    assert "No C compiler was found" in said
    names = zipfile.ZipFile(path).namelist()
    assert LIBRARY not in names
    assert {"tessera/native/winograd.inc", "tessera/native/pool.c", "tessera/py.typed"} <= set(names)


@pytest.mark.skipif(not shutil.which("cc") or sys.platform == "win32", reason="needs a C compiler")
def test_with_a_compiler_the_wheel_is_for_this_platform_and_every_python_3(project: Path, tmp_path: Path):
    path, _ = wheel(project, tmp_path, "cc")
    assert path.name.endswith(f"-{building.wheel_tag()}.whl")
    with zipfile.ZipFile(path) as archive:
        archive.extractall(tmp_path / "site")
    use = (
        "from tessera.native import library; import sys; "
        "sys.exit(library.problem() or (not library.__file__.startswith(sys.argv[1]) and library.__file__) or 0)"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    done = subprocess.run(
        [sys.executable, "-c", use, tmp_path / "site"], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
