"""The graphs written for OpenVINO against PyTorch, and what is kept of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from engines.sharing import assert_threads_share, make_random, noise
from stand_ins import loaded, nearest, ran
from tessera.engines.compiled_cache import get_compiled_folder
from tessera.engines.ncnn.engine import NcnnEngine
from tessera.engines.openvino import model as engine_module
from tessera.engines.openvino.engine import OpenVinoEngine
from tessera.engines.openvino.graph import write_graph
from tessera.engines.pytorch.engine import TorchEngine
from tessera.generators import (
    ESRDnetConfig,
    ESRGANPlusConfig,
    ESRGANPytorchConfig,
    GeneratorConfig,
    PyTorchGANConfig,
    RRDBNetConfig,
    SRVGGNetCompactConfig,
)
from tessera.machine import cores

CONFIGS: dict[str, GeneratorConfig] = {
    "rrdbnet": RRDBNetConfig(blocks=2, features=16, growth=8),
    "rrdbnet x2 by unshuffling": RRDBNetConfig(blocks=1, features=8, growth=4, scale=2),
    "rrdbnet x1 by unshuffling": RRDBNetConfig(blocks=1, features=8, growth=4, scale=1),
    "rrdbnet x3 in one stage": RRDBNetConfig(blocks=1, features=12, growth=5, scale=3),
    "rrdbnet x8": RRDBNetConfig(blocks=1, features=8, growth=4, scale=8),
    "rrdbnet x1 without stages": RRDBNetConfig(blocks=1, features=8, growth=4, scale=1, unshuffle=1, stages=()),
    "rrdbnet from six channels": RRDBNetConfig(blocks=1, features=8, growth=4, in_channels=6, out_channels=1),
    "srvgg": SRVGGNetCompactConfig(features=16, convolutions=3),
    "srvgg x1": SRVGGNetCompactConfig(features=8, convolutions=1, scale=1),
    "srvgg with relu": SRVGGNetCompactConfig(features=8, convolutions=2, scale=2, activation="relu"),
    "srvgg with leaky relu": SRVGGNetCompactConfig(features=7, convolutions=2, scale=3, activation="leakyrelu"),
    "srvgg from gray": SRVGGNetCompactConfig(features=8, convolutions=1, scale=2, in_channels=1),
    "esrdnet": ESRDnetConfig(features=8, blocks=1, growth=4),
    "esrdnet of other kernels": ESRDnetConfig(
        features=8, blocks=2, growth=4, scale=2, lff_kernel=1, hr_kernel=5, slope=0, rdb_residual=1, rrdb_residual=0.5
    ),
    "esrgan-pytorch": ESRGANPytorchConfig(features=8, blocks=1, growth=4),
    "esrgan-plus": ESRGANPlusConfig(features=8, growth=4, blocks=1),
    "pytorch-gan": PyTorchGANConfig(features=8, blocks=1),
    "pytorch-gan on plain colors": PyTorchGANConfig(features=8, blocks=1, scale=2, imagenet_space=False),
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TESSERA_CACHE", str(tmp_path))
    return get_compiled_folder()


def never(*_: object) -> Any:
    raise AssertionError("must not be needed")


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_a_written_graph_gives_what_pytorch_gives_on_tiles_of_any_shape(
    config: GeneratorConfig, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(engine_module, "_convert_model", never)
    generator = make_random(config)
    engine = OpenVinoEngine(generator)
    m = config.multiple
    for batch, height, width in ((1, 7 * m, 5 * m), (3, 8 * m, 13 * m), (1, m, 2 * m), (2, 20 * m, 16 * m)):
        x = noise(batch, config.in_channels, height, width)
        torch.testing.assert_close(ran(engine, x), generator.network(x), atol=1e-5, rtol=1e-5)


class Doubled(nn.Module):
    """Has the weights of a compact network, and computes something else."""

    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.body: nn.ModuleList = inner.body

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.body:
            x = layer(x)
        return nn.functional.pixel_shuffle(x, 4) * 2


def test_a_network_that_is_not_what_its_configuration_builds_is_run_as_it_is_and_not_kept(folder: Path):
    generator = make_random(CONFIGS["srvgg"])
    other = loaded(Doubled(generator.network), generator.config)
    x = noise(1, 3, 8, 8)
    ran(OpenVinoEngine(generator), x)
    assert write_graph(nearest().config, {}, (1, 3, 8, 8)) is None
    torch.testing.assert_close(ran(OpenVinoEngine(other), x), other.network(x), atol=1e-5, rtol=1e-5)
    assert len(list(folder.iterdir())) == 1


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_second_engine_is_not_compiled_again_and_gives_the_same_bits(
    precision: str, monkeypatch: pytest.MonkeyPatch, folder: Path
):
    generator = make_random(CONFIGS["rrdbnet"])
    x = noise(1, 3, 16, 24)
    first = ran(OpenVinoEngine(generator, precision), x)
    assert len(list(folder.iterdir())) == 1
    monkeypatch.setattr(engine_module, "write_graph", never)
    assert torch.equal(ran(OpenVinoEngine(generator, precision), x), first)


def test_other_weights_another_precision_and_another_slope_are_compiled_anew(folder: Path):
    x = noise(1, 3, 8, 8)
    relu, leaky = CONFIGS["srvgg with relu"], SRVGGNetCompactConfig(features=8, convolutions=2, scale=2)
    kinds = [
        (make_random(relu), "fp32"),
        (make_random(relu, 1), "fp32"),
        (make_random(relu), "bf16"),
        (make_random(leaky), "fp32"),
    ]
    for number, (generator, precision) in enumerate(kinds, start=1):
        found = ran(OpenVinoEngine(generator, precision), x)
        assert (found - generator.network(x)).abs().max() < (1e-5 if precision == "fp32" else 0.05)
        assert len(list(folder.iterdir())) == number


@pytest.mark.parametrize("content", [b"", b"torn"])
def test_a_kept_model_that_is_torn_is_made_again(content: bytes, folder: Path):
    generator = make_random(CONFIGS["srvgg"])
    x = noise(1, 3, 8, 8)
    first = ran(OpenVinoEngine(generator), x)
    (path,) = folder.iterdir()
    size = path.stat().st_size
    path.write_bytes(content)
    assert torch.equal(ran(OpenVinoEngine(generator), x), first)
    assert path.stat().st_size == size


def test_a_kept_model_that_openvino_does_not_understand_is_made_again(folder: Path):
    from tessera.engines.compiled_cache import write_compiled

    generator = make_random(CONFIGS["srvgg"])
    x = noise(1, 3, 8, 8)
    first = ran(OpenVinoEngine(generator), x)
    (path,) = folder.iterdir()
    size = path.stat().st_size
    write_compiled(path.stem, b"whole, and no model at all" * 10)
    assert torch.equal(ran(OpenVinoEngine(generator), x), first)
    assert path.stat().st_size == size


def test_without_a_place_to_keep_anything_it_runs_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "file").write_text("a file where the folder should be")
    monkeypatch.setenv("TESSERA_CACHE", str(tmp_path / "file"))
    generator = make_random(CONFIGS["srvgg"])
    x = noise(1, 3, 8, 8)
    torch.testing.assert_close(ran(OpenVinoEngine(generator), x), generator.network(x), atol=1e-5, rtol=1e-5)


def test_the_engine_keeps_its_weights_when_the_network_is_changed():
    generator = make_random(CONFIGS["srvgg"])
    engine = OpenVinoEngine(generator)
    x = noise(1, 3, 8, 8)
    before = ran(engine, x)
    with torch.no_grad():
        for value in generator.network.parameters():
            value.zero_()
    assert torch.equal(ran(engine, x), before)


def test_threads_share_an_engine():
    engine = OpenVinoEngine(make_random(CONFIGS["rrdbnet"]))
    inputs = [noise(1, 3, 16 + index, 24) * (index + 1) / 6 for index in range(6)]
    assert_threads_share(engine, inputs)


def test_the_number_of_threads_reaches_the_library():
    generator = make_random(CONFIGS["srvgg"])
    x = noise(1, 3, 8, 8)
    engine = OpenVinoEngine(generator, threads=1)
    ran(engine, x)
    assert engine._model().get_property("INFERENCE_NUM_THREADS") == 1
    again = OpenVinoEngine(generator, threads=2)  # from what was kept with one
    ran(again, x)
    # OpenVINO takes no more than it may use, which is one core in a worker of pytest-xdist.
    assert again._model().get_property("INFERENCE_NUM_THREADS") == min(2, cores().usable)
    pytest.importorskip("ncnn")
    assert NcnnEngine(generator, threads=1)._net.net.opt.num_threads == 1
    before = torch.get_num_threads()
    try:
        TorchEngine(generator, threads=1)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
