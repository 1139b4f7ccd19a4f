"""The ncnn engine against PyTorch, and what it writes against the reader of ncnn's files."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from engines.sharing import assert_threads_share, make_random, noise
from stand_ins import nearest, ran
from tessera.engines.ncnn.engine import NcnnEngine
from tessera.engines.ncnn.net import Net
from tessera.engines.opening import open_engine
from tessera.errors import EngineError, OutOfMemoryError
from tessera.generators import GeneratorConfig, RRDBNetConfig, SRVGGNetCompactConfig
from tessera.weights.files import LoadedGenerator, load_weights
from tessera.weights.foreign_network import ForeignConfig
from tessera.weights.ncnn import TAG_FP16, read_ncnn
from tessera.weights.ncnn_writer import write_param, write_values
from tessera.weights.published import find_model
from tessera.weights.torch_tensors import to_arrays
from tessera.zoo import models as zoo

pytest.importorskip("ncnn")

CONFIGS: dict[str, GeneratorConfig] = {
    "rrdbnet": RRDBNetConfig(blocks=2, features=16, growth=8),
    "rrdbnet x2 by unshuffling": RRDBNetConfig(blocks=1, features=8, growth=4, scale=2),
    "rrdbnet x1 by unshuffling": RRDBNetConfig(blocks=1, features=8, growth=4, scale=1),
    "rrdbnet x3 in one stage": RRDBNetConfig(blocks=1, features=12, growth=5, scale=3),
    "rrdbnet x1 without stages": RRDBNetConfig(blocks=1, features=8, growth=4, scale=1, unshuffle=1, stages=()),
    "srvgg": SRVGGNetCompactConfig(features=16, convolutions=3),
    "srvgg x1": SRVGGNetCompactConfig(features=8, convolutions=1, scale=1),
    "srvgg with relu": SRVGGNetCompactConfig(features=8, convolutions=2, scale=2, activation="relu"),
    "srvgg with leaky relu": SRVGGNetCompactConfig(features=7, convolutions=2, scale=3, activation="leakyrelu"),
    "srvgg from gray": SRVGGNetCompactConfig(features=8, convolutions=1, scale=2, in_channels=1),
}


def assert_equal_to_pytorch(engine: NcnnEngine, generator: LoadedGenerator, x: torch.Tensor) -> None:
    expected, found = generator.network(x), ran(engine, x)
    assert found.shape == expected.shape
    assert found.dtype == torch.float32
    assert (found - expected).abs().max() < 1e-4
    levels = [(255 * y.clamp(0, 1)).round() for y in (expected, found)]
    assert (levels[0] - levels[1]).abs().max() <= 1


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_ncnn_gives_what_pytorch_gives_on_tiles_of_any_shape_and_number(config: GeneratorConfig):
    generator = make_random(config)
    engine = NcnnEngine(generator)
    m = config.multiple
    for batch, height, width in ((1, 7 * m, 5 * m), (3, 8 * m, 13 * m), (1, m, 2 * m), (2, 20 * m, 16 * m)):
        assert_equal_to_pytorch(engine, generator, noise(batch, config.in_channels, height, width))


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_what_is_written_for_ncnn_is_read_back_as_the_same_network(config: GeneratorConfig, tmp_path: Path):
    state = make_random(config).network.state_dict()
    text, modules = write_param(config)
    (tmp_path / "a.param").write_text(text)
    (tmp_path / "a.bin").write_bytes(write_values(to_arrays(state), modules))
    weights = read_ncnn(tmp_path / "a.bin")
    assert weights.config == config
    assert weights.notes == ()
    assert list(weights.state) == list(state)
    for name, tensor in state.items():
        assert np.array_equal(weights.state[name], tensor.numpy())


def test_tiles_that_are_views_of_a_picture_are_read_as_they_lie_and_left_as_they_were():
    generator = make_random(CONFIGS["srvgg"])
    picture = noise(1, 3, 40, 40).to(memory_format=torch.channels_last)
    before = picture.clone()
    assert_equal_to_pytorch(NcnnEngine(generator), generator, picture[:, :, 3:24, 5:36])
    assert torch.equal(picture, before)


def test_results_belong_to_the_caller():
    engine = NcnnEngine(make_random(CONFIGS["srvgg"]))
    first = ran(engine, noise(1, 3, 8, 8))
    kept = first.clone()
    ran(engine, noise(1, 3, 8, 8) * 0.5)
    assert torch.equal(first, kept)


def test_threads_share_an_engine():
    engine = NcnnEngine(make_random(CONFIGS["rrdbnet"]))
    inputs = [noise(1, 3, 16 + index, 24) * (index + 1) / 6 for index in range(6)]
    assert_threads_share(engine, inputs)


def test_it_is_the_exact_engine_at_every_precision():
    generator = make_random(CONFIGS["srvgg"])
    for precision in ("exact", "auto", "fast"):
        engine = open_engine(generator, precision, engine="ncnn")
        assert (engine.name, engine.precision) == ("ncnn", "fp32")
        assert engine.exact() is engine
    with pytest.raises(EngineError, match="ncnn engine runs on the CPU and Vulkan, not on cuda"):
        open_engine(generator, device="cuda", engine="ncnn")


def test_other_networks_are_refused_by_name():
    with pytest.raises(EngineError, match=r"runs rrdbnet, .*, esrgan-plus, and stand-in is nearest; use the pytorch"):
        NcnnEngine(nearest())
    with pytest.raises(EngineError, match="SwinIR are unknown"):
        write_param(ForeignConfig(architecture="SwinIR"))


def test_a_network_that_is_not_what_its_configuration_builds_is_refused():
    generator = make_random(CONFIGS["srvgg"])
    other = dataclasses.replace(generator, network=torch.nn.Sequential(generator.network))
    with pytest.raises(EngineError, match="use the pytorch engine"):
        NcnnEngine(other)


def test_without_the_package_the_sentence_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "ncnn", None)
    with pytest.raises(EngineError, match=r"ncnn engine is unavailable. .*pip install ncnn"):
        open_engine(make_random(CONFIGS["srvgg"]), engine="ncnn")


class Failing:
    """A net whose every extraction ends with one code."""

    def __init__(self, code: int) -> None:
        self.code = code

    def create_extractor(self) -> Failing:
        return self

    def input(self, *_: object) -> None: ...

    def extract(self, _: str) -> tuple[int, None]:
        return self.code, None

    def clear(self) -> None: ...


def test_ncnns_codes_become_errors(monkeypatch: pytest.MonkeyPatch):
    engine = NcnnEngine(make_random(CONFIGS["srvgg"]))
    monkeypatch.setattr(engine, "_net", Net(Failing(-100), "in0", "out0"))
    with pytest.raises(OutOfMemoryError):
        ran(engine, noise(1, 3, 8, 8))
    monkeypatch.setattr(engine, "_net", Net(Failing(-1), "in0", "out0"))
    with pytest.raises(EngineError, match="error -1"):
        ran(engine, noise(1, 3, 8, 8))


def half_precision_files(folder: Path, config: GeneratorConfig, *, shrinks: bool = False) -> Path:
    """Files as converters leave them: numbers in fp16, and for some a resize at the end."""
    state = make_random(config).network.state_dict()
    text, modules = write_param(config)
    data = b""
    for module in modules:
        weight = state[f"{module}.weight"].numpy()
        if weight.ndim == 4:
            half = weight.astype("<f2").tobytes()
            data += (
                TAG_FP16.to_bytes(4, "little")
                + half
                + bytes(-len(half) % 4)
                + state[f"{module}.bias"].numpy().tobytes()
            )
        else:
            data += weight.tobytes()
    if shrinks:
        magic, counts, *lines = text.splitlines()
        layers, blobs = map(int, counts.split())
        lines.append("Interp end 1 1 out0 small 0=2 1=0.5 2=0.5")
        text = "\n".join([magic, f"{layers + 1} {blobs + 1}", *lines, ""])
    (folder / "größe.param").write_text(text)
    (folder / "größe.bin").write_bytes(data)
    return folder / "größe.bin"


@pytest.mark.parametrize("shrinks", [False, True])
def test_ncnn_files_are_run_as_they_are(shrinks: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    generator = load_weights(half_precision_files(tmp_path, CONFIGS["srvgg"], shrinks=shrinks))
    monkeypatch.setattr("tessera.engines.ncnn.loading.write_param", None)  # must not be needed
    assert_equal_to_pytorch(NcnnEngine(generator), generator, noise(2, 3, 12, 9))


@pytest.mark.parametrize("change", ["another number", "another activation", "damaged", "gone"])
def test_files_that_changed_since_they_were_loaded_are_not_run(change: str, tmp_path: Path):
    path = half_precision_files(tmp_path, CONFIGS["srvgg with relu"])
    generator = load_weights(path)
    data, text = path.read_bytes(), path.with_suffix(".param").read_text()
    match change:
        case "another number":
            path.write_bytes(data[:-4] + bytes(4))
        case "another activation":
            leaky = text.replace(f"-23310=1,{0:e}", f"-23310=1,{0.1:e}")
            assert leaky != text
            path.with_suffix(".param").write_text(leaky)
        case "damaged":
            path.write_bytes(data[:-4])
        case _:
            path.unlink()
    assert_equal_to_pytorch(NcnnEngine(generator), generator, noise(1, 3, 12, 9))


@pytest.mark.parametrize("scale", [4, 2])
def test_packaged_weights_give_what_pytorch_gives(scale: int):
    path = zoo.locate(find_model("realesr-animevideov3"))
    if path is None:
        pytest.skip("the data package is not installed")
    generator = load_weights(path.with_name(path.name.replace("4X", f"{scale}X")))
    assert generator.dialect == "ncnn"
    assert_equal_to_pytorch(NcnnEngine(generator), generator, noise(1, 3, 36, 27))


def test_the_memory_estimate_grows_with_what_the_network_keeps():
    small, large = (NcnnEngine(make_random(CONFIGS[name])).bytes_per_pixel for name in ("srvgg", "rrdbnet"))
    assert 1_000 < small < large
    # Measured with 64 features at 128x133 and 256x261 pixels: 49,194 bytes a pixel (RRDBNet) and 2,620 (SRVGG).
    full = NcnnEngine(make_random(RRDBNetConfig(blocks=1))).bytes_per_pixel
    assert 49_194 < full < 2 * 49_194
    assert 2_620 < NcnnEngine(make_random(SRVGGNetCompactConfig(convolutions=1))).bytes_per_pixel < 2 * 2_620
