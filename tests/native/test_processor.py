"""Instruction sets are found by asking the processor and the system, whichever compiler's runtime is linked."""

from __future__ import annotations

import ctypes
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tessera.native import build as building
from tessera.native import library

COMPILER = next((name for name in ("cc", "gcc", "clang") if shutil.which(name)), None)
CPUINFO = Path("/proc/cpuinfo")

# Bits by Intel's Software Developer's Manual: CPUID.1:ECX, CPUID.7.0:EBX, CPUID.7.1:EAX, XCR0.
FMA, OSXSAVE, AVX = 1 << 12, 1 << 27, 1 << 28
AVX2, F, DQ, BW, VL = 1 << 5, 1 << 16, 1 << 17, 1 << 30, 1 << 31
BF16 = 1 << 5
X87, SSE, YMM, MASKS, HIGH_HALVES, HIGH_REGISTERS = (1 << bit for bit in (0, 1, 2, 5, 6, 7))
SAVES_YMM = X87 | SSE | YMM
SAVES_ZMM = SAVES_YMM | MASKS | HIGH_HALVES | HIGH_REGISTERS
LEAF_1 = FMA | OSXSAVE | AVX
LEAF_7 = AVX2 | F | DQ | BW | VL


def sets_in(bits: int) -> tuple[str, ...]:
    return tuple(name for number, name in enumerate(library.SETS) if bits >> number & 1)


@pytest.fixture(scope="module")
def decoding(tmp_path_factory: pytest.TempPathFactory) -> Any:
    if COMPILER is None:
        pytest.skip("needs a C compiler")
    made = tmp_path_factory.mktemp("processor") / "cases.so"
    source = Path(__file__).with_name("processor_cases.c")
    command = [COMPILER, "-std=gnu11", "-shared", "-fPIC", "-I", building.FOLDER, source, "-o", made]
    subprocess.run(command, check=True)
    found = ctypes.CDLL(str(made))
    found.sets_of_x86.argtypes = (ctypes.c_uint32, ctypes.c_uint32, ctypes.c_uint32, ctypes.c_uint64)
    return found


@pytest.mark.parametrize(
    ("leaf1", "leaf7", "leaf7_1", "xcr0", "expected"),
    [
        (0, 0, 0, 0, ()),
        (LEAF_1, AVX2, 0, SAVES_YMM, ("avx2",)),
        (LEAF_1, LEAF_7, 0, SAVES_ZMM, ("avx2", "avx512")),
        (LEAF_1, LEAF_7, BF16, SAVES_ZMM, ("avx2", "avx512", "avx512_bf16")),
        (LEAF_1, LEAF_7, BF16, SAVES_YMM, ("avx2",)),  # a system that does not save the wide registers
        (LEAF_1, LEAF_7, BF16, SAVES_ZMM & ~MASKS, ("avx2",)),
        (LEAF_1, LEAF_7, BF16, X87 | SSE, ()),
        (LEAF_1 & ~OSXSAVE, LEAF_7, BF16, SAVES_ZMM, ()),
        (LEAF_1 & ~FMA, LEAF_7, BF16, SAVES_ZMM, ()),
        (LEAF_1, LEAF_7 & ~AVX2, BF16, SAVES_ZMM, ()),
        (LEAF_1, LEAF_7 & ~VL, BF16, SAVES_ZMM, ("avx2",)),
        (LEAF_1, AVX2 | F, BF16, SAVES_ZMM, ("avx2",)),  # Xeon Phi
    ],
)
def test_a_set_needs_all_of_its_instructions_and_the_saving_of_its_registers(
    decoding: Any, leaf1: int, leaf7: int, leaf7_1: int, xcr0: int, expected: tuple[str, ...]
):
    assert sets_in(decoding.sets_of_x86(leaf1, leaf7, leaf7_1, xcr0)) == ("portable", *expected)


def test_arm_always_has_neon(decoding: Any):
    assert sets_in(decoding.sets_of_arm(0)) == ("portable", "neon")
    assert sets_in(decoding.sets_of_arm(1)) == ("portable", "neon", "neon_bf16")


@pytest.mark.skipif(not CPUINFO.exists() or library.problem() is not None, reason="needs Linux and the kernels")
def test_the_library_finds_what_the_system_lists():
    flags = set[str]()
    for line in CPUINFO.read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("flags", "Features"):
            flags |= set(value.split())
    expected = ["portable"]
    if platform.machine() == "x86_64":
        if {"avx2", "fma"} <= flags:
            expected.append("avx2")
        if {"avx2", "fma", "avx512f", "avx512bw", "avx512vl", "avx512dq"} <= flags:
            expected.append("avx512")
            expected += ["avx512_bf16"] if "avx512_bf16" in flags else []
    elif platform.machine() == "aarch64":
        expected += ["neon", "neon_bf16"] if "bf16" in flags else ["neon"]
    assert library.sets_offered() == tuple(expected)


@pytest.mark.skipif(COMPILER is None or sys.platform == "win32", reason="needs a C compiler")
def test_no_runtime_of_a_compiler_is_asked(tmp_path: Path):
    """`__builtin_cpu_supports` reads these; ziglang's runtime has them and leaves them empty."""
    built = building.build(tmp_path / "kernels.so").library.read_bytes()
    assert b"__cpu_model" not in built
    assert b"__cpu_indicator_init" not in built
