"""The instruction sets of 64-bit Arm, under emulation, against PyTorch: the networks and sizes of test_kernels.py.

Needs a cross-compiler and qemu: apt install gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user. On Arm itself
test_kernels.py has these sets without them.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from engines.sharing import make_random
from native.networks import CONFIGS, by_pytorch, noise, relative_error
from tessera.engines.kernels.engine import describe
from tessera.native import build as building
from tessera.native import library
from tessera.weights.files import LoadedGenerator

COMPILER, EMULATOR = "aarch64-linux-gnu-gcc", "qemu-aarch64"
if not (shutil.which(COMPILER) and shutil.which(EMULATOR)):
    pytest.skip(f"needs {COMPILER} and {EMULATOR} (make test-arm)", allow_module_level=True)

EXACT, HALF = 2e-5, 3e-2
SIZES = ((1, 1), (1, 9), (9, 1), (4, 4), (7, 10))
LARGER = ((13, 18), (3, 61))
SETS: tuple[library.InstructionSet, ...] = ("neon", "neon_bf16")
SOME = ("rrdbnet", "srvgg")
"""Emulation is slow: the default run has these, and `make test-arm` all."""
NAMES = [pytest.param(name, marks=() if name in SOME else pytest.mark.slow) for name in CONFIGS]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("arm")
    built = building.build(folder / "libtessera_kernels.so", compiler=COMPILER)
    assert built.left_out == ()
    made = folder / "emulated"
    source = Path(__file__).with_name("emulated.c")
    command = [COMPILER, "-std=gnu11", "-O1", "-I", building.FOLDER, source, built.library, "-o", made]
    subprocess.run([*command, f"-Wl,-rpath,{folder}", "-lm", "-pthread"], check=True)
    return made


def run(
    program: Path,
    generator: LoadedGenerator,
    kinds: tuple[library.Kind, ...],
    picture: NDArray[np.float32],
    instructions: library.InstructionSet,
    threads: int = 1,
    processor: str = "max",
) -> NDArray[np.float32]:
    description = describe(generator)
    weights = np.concatenate([value.numpy().ravel() for value in generator.network.state_dict().values()])
    _, _, height, width = picture.shape
    numbers = (library.SETS.index(instructions), threads, height, width, len(kinds), weights.size, picture.size)
    given = library.pack_description(description) + np.array(numbers, np.int32).tobytes()
    given += library.pack_kinds(kinds) + weights.astype(np.float32).tobytes() + picture.tobytes()
    command = [EMULATOR, "-L", "/usr/aarch64-linux-gnu", "-cpu", processor, program]
    done = subprocess.run(command, input=given, capture_output=True, check=True)
    shape = (1, description.out_channels, height * description.scale, width * description.scale)
    return np.frombuffer(done.stdout, np.float32).reshape(shape)


@pytest.mark.parametrize("instructions", SETS)
@pytest.mark.parametrize("name", NAMES)
def test_both_sets_give_what_pytorch_gives(program: Path, name: str, instructions: library.InstructionSet):
    generator = make_random(CONFIGS[name])
    kinds: tuple[library.Kind, ...] = ("F4 fp32",) * (describe(generator).blocks + 1)
    for height, width in SIZES:
        x = noise(generator.config, height, width)
        found = run(program, generator, kinds, x, instructions)
        assert relative_error(found, by_pytorch(generator, x)) < EXACT, (height, width)


@pytest.mark.parametrize("kind", ["F2 bf16", "F4 bf16"])
@pytest.mark.parametrize("name", NAMES)
def test_products_of_bf16_come_near(program: Path, name: str, kind: library.Kind):
    generator = make_random(CONFIGS[name])
    kinds: tuple[library.Kind, ...] = (kind,) * (describe(generator).blocks + 1)
    for height, width in SIZES:
        x = noise(generator.config, height, width)
        found = run(program, generator, kinds, x, "neon_bf16")
        assert 0 < relative_error(found, by_pytorch(generator, x)) < HALF, (height, width)


@pytest.mark.slow
@pytest.mark.parametrize(("height", "width"), LARGER)
@pytest.mark.parametrize("name", CONFIGS)
def test_larger_pictures(program: Path, name: str, height: int, width: int):
    generator = make_random(CONFIGS[name])
    x = noise(generator.config, height, width)
    expected = by_pytorch(generator, x)
    blocks = describe(generator).blocks
    for instructions in SETS:
        found = run(program, generator, ("F4 fp32",) * (blocks + 1), x, instructions)
        assert relative_error(found, expected) < EXACT
    for kind in library.KINDS[1:]:
        found = run(program, generator, (kind,) * (blocks + 1), x, "neon_bf16")
        assert 0 < relative_error(found, expected) < HALF


def test_a_picture_that_wraps_around_the_rings_on_several_threads(program: Path):
    generator = make_random(CONFIGS["rrdbnet"])
    x = noise(generator.config, 70, 26)
    expected = by_pytorch(generator, x)
    for instructions in SETS:
        found = run(program, generator, ("F4 fp32",) * 3, x, instructions, threads=5)
        assert relative_error(found, expected) < EXACT


def test_a_processor_without_bf16_is_not_given_it(program: Path):
    """The first 64-bit cores have no FEAT_BF16: the set is refused before one of its instructions runs."""
    generator = make_random(CONFIGS["srvgg"])
    x = noise(generator.config, 4, 4)
    kinds: tuple[library.Kind, ...] = ("F4 fp32",) * 4
    found = run(program, generator, kinds, x, "neon", processor="cortex-a53")
    assert relative_error(found, by_pytorch(generator, x)) < EXACT
    with pytest.raises(subprocess.CalledProcessError) as refused:
        run(program, generator, kinds, x, "neon_bf16", processor="cortex-a53")
    assert refused.value.returncode == 16  # TK_NO_SUCH_SET
