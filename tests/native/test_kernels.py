"""The kernels against PyTorch: all kinds of networks, sizes, threads and instruction sets."""

from __future__ import annotations

import dataclasses
import multiprocessing
from multiprocessing.connection import Connection

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engines.sharing import make_random
from native.networks import CONFIGS, by_pytorch, in_kernels, noise, relative_error
from tessera.engines.kernels.engine import describe
from tessera.errors import EngineError, UsageError
from tessera.generators import GeneratorConfig, RRDBNetConfig, SRVGGNetCompactConfig
from tessera.native import library
from tessera.native.library import Kind, Network

if library.problem() is not None:
    pytest.skip(f"{library.problem()}", allow_module_level=True)

SETS = library.sets_here()
WITH_BF16: tuple[library.InstructionSet, ...] = tuple(
    name for name in SETS if name in ("portable", "avx512_bf16", "neon_bf16")
)
EXACT, HALF = 2e-5, 3e-2
SIZES = ((1, 1), (1, 9), (9, 1), (4, 4), (13, 18))


def assert_exact(config: GeneratorConfig, height: int, width: int, **how: object) -> None:
    generator = make_random(config)
    x = noise(config, height, width)
    assert relative_error(in_kernels(generator, **how).run(x), by_pytorch(generator, x)) < EXACT  # type: ignore[arg-type]


@pytest.mark.parametrize("instructions", SETS)
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_every_instruction_set_gives_what_pytorch_gives(config: GeneratorConfig, instructions: library.InstructionSet):
    generator = make_random(config)
    network = in_kernels(generator, instructions=instructions)
    for height, width in SIZES:
        x = noise(config, height, width, batch=2)
        assert relative_error(network.run(x), by_pytorch(generator, x)) < EXACT, (height, width)


@pytest.mark.parametrize("kind", ["F2 bf16", "F4 bf16"])
@pytest.mark.parametrize("instructions", WITH_BF16)
@pytest.mark.parametrize("name", ["rrdbnet", "rrdbnet x3 in one stage", "srvgg"])
def test_products_of_bf16_come_near(name: str, instructions: library.InstructionSet, kind: Kind):
    config = CONFIGS[name]
    generator = make_random(config)
    blocks = describe(generator).blocks
    network = in_kernels(generator, (kind,) * (blocks + 1), instructions=instructions)
    for height, width in SIZES:
        x = noise(config, height, width)
        assert 0 < relative_error(network.run(x), by_pytorch(generator, x)) < HALF, (height, width)


@pytest.mark.parametrize("name", ["rrdbnet", "srvgg"])
def test_blocks_of_different_kinds_follow_each_other(name: str):
    config = CONFIGS[name].model_copy(update={"blocks": 4} if name == "rrdbnet" else {"convolutions": 4})
    generator = make_random(config)
    kinds: tuple[Kind, ...] = ("F4 fp32", "F2 bf16", "F4 bf16", "F2 bf16", "F4 fp32")
    network = in_kernels(generator, kinds, instructions=WITH_BF16[-1])
    for height, width in ((3, 5), (40, 33), (7, 90)):
        x = noise(config, height, width)
        assert 0 < relative_error(network.run(x), by_pytorch(generator, x)) < HALF


@settings(max_examples=15)
@given(
    config=st.sampled_from(list(CONFIGS.values())),
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    threads=st.integers(1, 7),
    instructions=st.sampled_from([name for name in SETS if name != "portable"] or SETS),
)
def test_any_size_on_any_number_of_threads(
    config: GeneratorConfig, height: int, width: int, threads: int, instructions: library.InstructionSet
):
    assert_exact(config, height, width, threads=threads, instructions=instructions)


@pytest.mark.parametrize(("height", "width"), [(3, 613), (401, 5), (90, 131)])
def test_long_and_large_pictures_wrap_around_the_rings(height: int, width: int):
    for config in (CONFIGS["rrdbnet"], CONFIGS["srvgg"]):
        assert_exact(config, height, width, threads=3)


@settings(max_examples=6)
@given(
    features=st.integers(1, 5),
    growth=st.integers(1, 4),
    blocks=st.integers(1, 3),
    stages=st.lists(st.sampled_from([2, 3]), max_size=2),
    channels=st.sampled_from([1, 3]),
    seed=st.integers(0, 2**31),
)
def test_networks_of_any_shape(features: int, growth: int, blocks: int, stages: list[int], channels: int, seed: int):
    config = RRDBNetConfig(
        features=16 * features,
        growth=16 * growth,
        blocks=blocks,
        unshuffle=1,
        stages=tuple(stages),
        scale=int(np.prod([1, *stages])),
        in_channels=channels,
        out_channels=channels,
    )
    generator = make_random(config, seed)
    x = noise(config, 11, 14, seed=seed)
    assert relative_error(in_kernels(generator).run(x), by_pytorch(generator, x)) < EXACT


def test_the_number_of_threads_changes_no_bit():
    generator = make_random(CONFIGS["rrdbnet"])
    x = noise(generator.config, 45, 37)
    one = in_kernels(generator, threads=1).run(x)
    for threads in (2, 3, 8, 40):
        assert np.array_equal(in_kernels(generator, threads=threads).run(x), one)


def test_sizes_may_change_from_run_to_run():
    generator = make_random(CONFIGS["rrdbnet x2 by unshuffling"])
    network = in_kernels(generator)
    for height, width in ((20, 30), (3, 2), (20, 30), (30, 20), (1, 1), (20, 30)):
        x = noise(generator.config, height, width)
        assert relative_error(network.run(x), by_pytorch(generator, x)) < EXACT


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("name", ["rrdbnet", "srvgg", "srvgg with leaky relu, from gray"])
def test_pixels_are_clipped_and_rounded_to_the_nearest(name: str, dtype: type[np.integer]):
    generator = make_random(CONFIGS[name])
    most = np.iinfo(dtype).max
    pixels = np.random.default_rng(2).integers(0, most, (2, 9, 12, generator.config.in_channels), dtype, endpoint=True)
    network = in_kernels(generator)
    sr = network.run(np.ascontiguousarray((pixels.astype(np.float32) / np.float32(most)).transpose(0, 3, 1, 2)))
    wanted = np.rint(sr.clip(0, 1).astype(np.float64) * most).transpose(0, 2, 3, 1)
    assert wanted.min() == 0  # something is clipped
    found = network.run_pixels(pixels)
    assert found.dtype == dtype
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() <= 1
    assert (found == wanted).mean() > (0.999 if dtype == np.uint8 else 0.99)


def test_what_is_not_finite_stays_where_the_network_carries_it():
    config = SRVGGNetCompactConfig(features=16, convolutions=1)
    generator = make_random(config)
    x = noise(config, 40, 40)
    expected = in_kernels(generator).run(x)
    x[0, 0, 0, 0] = np.nan
    found = in_kernels(generator).run(x)
    assert np.isnan(found[0, :, :4, :4]).any()
    assert np.array_equal(found[0, :, 80:, 80:], expected[0, :, 80:, 80:])


def test_the_memory_of_a_run_grows_with_its_rows_only_by_two_maps():
    generator = make_random(CONFIGS["rrdbnet with 48 features and growth 32"])
    network = in_kernels(generator)
    more = network.working_bytes(4000, 256) - network.working_bytes(2000, 256)
    map_bytes = 48 * 4
    assert more / (2000 * 256) == pytest.approx(2 * map_bytes + 16 * 4, rel=0.02)


def _in_child(network: Network, x: np.ndarray, end: Connection) -> None:
    end.send(network.run(x))


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_network_still_runs_after_a_fork():
    generator = make_random(CONFIGS["srvgg"])
    network = in_kernels(generator, threads=3)
    x = noise(generator.config, 20, 20)
    expected = network.run(x)
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    child = context.Process(target=_in_child, args=(network, x, there))
    child.start()
    assert here.poll(30), "the child's threads did not come back"
    assert np.array_equal(here.recv(), expected)
    child.join()
    assert child.exitcode == 0


def test_pictures_that_do_not_fit_are_refused_in_words():
    network = in_kernels(make_random(CONFIGS["rrdbnet x2 by unshuffling"]))
    with pytest.raises(UsageError, match="takes 3 channels"):
        network.run(np.zeros((1, 1, 4, 4), np.float32))
    with pytest.raises(UsageError, match="divide by 2, and are 3 and 4"):
        network.run(np.zeros((1, 3, 3, 4), np.float32))
    with pytest.raises(UsageError, match="uint8 or uint16, not float32"):
        network.run_pixels(np.zeros((1, 4, 4, 3), np.float32))
    with pytest.raises(EngineError, match="a picture of this size"):
        network.run(np.zeros((1, 3, 0, 4), np.float32))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"features": 24}, "cannot run this network"),
        ({"features": 0}, "cannot run this network"),
        ({"stages": (2, 2, 2)}, "cannot run this network"),
        ({"stages": (2,) * 5}, "at most 4 upsampling stages"),
        ({"in_channels": 9}, "cannot run this network"),
        ({"blocks": 3}, "another number of weights"),
        ({"growth": 32}, "another number of weights"),
    ],
)
def test_descriptions_that_do_not_fit_are_refused_before_any_weight_is_read(change: dict[str, object], sentence: str):
    generator = make_random(CONFIGS["rrdbnet"])
    arrays = [value.numpy() for value in generator.network.state_dict().values()]
    with pytest.raises(EngineError, match=sentence):
        Network(dataclasses.replace(describe(generator), **change), arrays)  # type: ignore[arg-type]


def test_a_set_without_bf16_says_so():
    without: list[library.InstructionSet] = [name for name in SETS if name not in WITH_BF16]
    if not without:
        pytest.skip("every set here has bf16")
    with pytest.raises(EngineError, match="does not have the requested instruction set"):
        in_kernels(make_random(CONFIGS["srvgg"]), ("F2 bf16",) * 4, instructions=without[0])
