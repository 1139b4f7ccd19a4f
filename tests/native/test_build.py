"""Building: what the compiler cannot do is left out, and without a compiler there are no kernels and a sentence."""

from __future__ import annotations

import ctypes
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from engines.sharing import make_random
from native.networks import CONFIGS
from tessera.engines.opening import choose_products, open_engine
from tessera.errors import EngineError
from tessera.native import build as building
from tessera.native import library
from tessera.upscaling import doctor

COMPILER = next((name for name in ("cc", "gcc", "clang") if shutil.which(name)), None)
needs_compiler = pytest.mark.skipif(COMPILER is None or sys.platform == "win32", reason="needs a C compiler")


def script(folder: Path, text: str) -> str:
    path = folder / "compiler"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


@needs_compiler
def test_a_set_that_the_compiler_does_not_know_is_left_out(tmp_path: Path):
    old = script(tmp_path, f'case "$*" in *avx*) echo "error: unknown option" >&2; exit 1;; esac\nexec {COMPILER} "$@"')
    built = building.build(tmp_path / "kernels.so", compiler=old)
    assert built.left_out == ("avx2", "avx512", "avx512_bf16")
    found = ctypes.CDLL(str(built.library))
    assert [found.tk_has_set(number) for number in range(len(library.SETS))] == [1, 0, 0, 0, 0, 0]
    assert found.tk_best_set() == 0


def test_without_a_compiler_the_sentence_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    with pytest.raises(building.NotBuiltError, match="No C compiler was found"):
        building.build(tmp_path / "kernels.so")


def test_a_compiler_that_fails_leaves_the_library_as_it_was(tmp_path: Path):
    there = tmp_path / "kernels.so"
    there.write_bytes(b"as it was")
    broken = script(tmp_path, 'echo "x.c:1: error: no such thing" >&2; exit 1')
    with pytest.raises(building.NotBuiltError, match="error: no such thing"):
        building.build(there, compiler=broken)
    assert there.read_bytes() == b"as it was"


@needs_compiler
def test_the_command_builds_where_the_package_lies(tmp_path: Path):
    copy = tmp_path / "native"
    shutil.copytree(building.FOLDER, copy, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    done = subprocess.run([sys.executable, copy / "build.py"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Built" in done.stdout
    assert (copy / "libtessera_kernels.so").exists()
    without = {**os.environ, "CC": "no-such-compiler"}
    done = subprocess.run([sys.executable, copy / "build.py"], capture_output=True, text=True, check=False, env=without)
    assert done.returncode == 1
    assert "No C compiler was found (no-such-compiler): the other engines are used." in done.stderr


def test_without_the_library_everything_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    missing = tmp_path / "libtessera_kernels.so"
    real = library.library
    monkeypatch.setattr(library, "library", lambda: real(missing))
    sentence = "The kernels are not built.*python -m tessera.native.build"
    with pytest.raises(EngineError, match=sentence):
        open_engine(make_random(CONFIGS["srvgg"]), engine="kernels")
    assert choose_products("kernels", "auto") == "fp32"
    state = next(engine for engine in doctor.examine().engines if engine.name == "kernels")
    assert state.problem is not None
    assert "not built" in state.problem


def test_what_is_no_library_or_one_of_another_version_is_refused(tmp_path: Path):
    torn = tmp_path / "torn.so"
    torn.write_bytes(b"\x7fELF and nothing more")
    with pytest.raises(EngineError, match="Cannot load"):
        library.library(torn)
    if COMPILER is None:
        pytest.skip("needs a C compiler")
    (tmp_path / "a.c").write_text("int tk_interface(void) { return 99; }")
    other = tmp_path / "other.so"
    subprocess.run([COMPILER, "-shared", "-fPIC", "-o", other, tmp_path / "a.c"], check=True)
    with pytest.raises(EngineError, match="another version of Tessera"):
        library.library(other)


@pytest.mark.skipif(library.problem() is not None, reason="the kernels are not built")
def test_the_environment_may_name_the_instruction_set(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(library.SET_VARIABLE, "portable")
    assert library.choose_set() == "portable"
    assert choose_products("kernels", "auto") == "fp32"
    monkeypatch.setenv(library.SET_VARIABLE, "amx")
    with pytest.raises(EngineError, match="TESSERA_KERNELS_SET is 'amx', and the kernels here have portable"):
        library.choose_set()
