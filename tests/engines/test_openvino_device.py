"""OpenVINO's GPU and NPU by name; OpenVINO's CPU stands in for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stand_ins import loaded
from tessera.engines import devices
from tessera.engines.engine import Batching, OnDevice
from tessera.engines.opening import open_engine
from tessera.engines.openvino import device_engine, model
from tessera.errors import DeviceLostError, EngineError, OutOfMemoryError
from tessera.generators import SRVGGNetCompactConfig
from tessera.weights.loaded_generator import LoadedGenerator
from tessera.weights.openvino_core import openvino_core


class Core:
    """OpenVINO's core with an Intel GPU and an NPU that are the CPU."""

    def __init__(self) -> None:
        self.available_devices = ["CPU", "GPU", "NPU"]
        self.compiled: list[tuple[str, list[int], dict[str, str]]] = []
        self.error: Exception | None = None

    def compile_model(self, network: Any, place: str, options: dict[str, str]) -> Any:
        if self.error is not None:
            raise self.error
        self.compiled.append((place, [int(side) for side in network.input(0).shape], dict(options)))
        return openvino_core().compile_model(network, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def import_model(self, content: Any, place: str, options: dict[str, str]) -> Any:
        return openvino_core().import_model(content, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def get_property(self, place: str, name: str) -> object:
        return {"FULL_DEVICE_NAME": f"Intel {place}", "GPU_DEVICE_TOTAL_MEM_SIZE": 8 * 2**30}[name]


@pytest.fixture
def core(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Core:
    monkeypatch.setenv("TESSERA_CACHE", str(tmp_path))
    core = Core()
    monkeypatch.setattr(device_engine, "openvino_core", lambda: core)
    monkeypatch.setattr(model, "openvino_core", lambda: core)
    monkeypatch.setattr("tessera.weights.openvino_core.openvino_core", lambda: core)
    return core


@pytest.fixture(scope="module")
def generator() -> LoadedGenerator:
    torch.manual_seed(0)
    config = SRVGGNetCompactConfig(features=8, convolutions=2, scale=2)
    return loaded(config.build(), config)


@pytest.mark.parametrize(
    ("device", "precision", "hint"),
    [("openvino:GPU", "exact", "f32"), ("openvino:GPU", "auto", "f16"), ("openvino:NPU", "fast", "f16")],
)
def test_it_computes_what_the_network_computes_for_each_size_of_tiles(core, generator, device, precision, hint):
    engine = open_engine(generator, precision, device=device)
    assert isinstance(engine, OnDevice)
    assert isinstance(engine, Batching)
    assert engine.name == "openvino"
    assert engine.precision == {"f32": "fp32", "f16": "fp16"}[hint]
    rng = np.random.default_rng(0)
    for shape in ((3, 3, 12, 16), (1, 3, 12, 16), (2, 3, 9, 7)):
        tiles = rng.random(shape, np.float32)
        expected = generator.network(torch.from_numpy(tiles)).detach().numpy()
        np.testing.assert_allclose(engine.run(tiles), expected, atol=1e-5)
    place = device.removeprefix("openvino:")
    assert [(where, shape) for where, shape, _ in core.compiled] == [(place, [1, 3, 12, 16]), (place, [1, 3, 9, 7])]
    assert {options["INFERENCE_PRECISION_HINT"] for _, _, options in core.compiled} == {hint}


def test_the_guard_gets_fp32_on_a_gpu_and_a_sentence_on_an_npu(core, generator):
    assert open_engine(generator, "auto", device="openvino:GPU").exact().precision == "fp32"
    with pytest.raises(EngineError, match="openvino:NPU multiplies in fp16 only"):
        open_engine(generator, "auto", device="openvino:NPU").exact()


def test_a_missing_device_is_named_with_those_that_are_there(core, generator):
    with pytest.raises(EngineError, match=r"no device GPU\.1; usable: openvino:GPU, openvino:NPU"):
        open_engine(generator, "auto", device="openvino:GPU.1")


@pytest.mark.parametrize(
    ("words", "expected"),
    [("[GPU] CL_OUT_OF_RESOURCES", OutOfMemoryError), ("[GPU] clFlush, error code: -14", DeviceLostError)],
)
def test_its_errors_lead_to_smaller_tiles_or_to_the_cpu(core, generator, words, expected):
    engine = open_engine(generator, "auto", device="openvino:GPU")
    core.error = RuntimeError(words)
    with pytest.raises(expected):
        engine.run(np.zeros((1, 3, 8, 8), np.float32))
    core.error = None
    assert isinstance(engine, OnDevice)
    engine.reopen()
    assert engine.run(np.zeros((1, 3, 8, 8), np.float32)).shape == (1, 3, 16, 16)
    core.available_devices = ["CPU"]
    with pytest.raises(EngineError, match="gone"):
        engine.reopen()


def test_devices_are_listed_and_never_chosen_by_themselves(core, monkeypatch):
    listed = {each.name: each for each in devices.list_devices() if each.kind == "openvino"}
    assert {name: each.usable for name, each in listed.items()} == {"openvino:GPU": True, "openvino:NPU": True}
    assert listed["openvino:GPU"].title == "Intel GPU"
    monkeypatch.setattr(devices, "may_have_gpu", lambda: False)
    devices.list_automatic.cache_clear()
    assert not any(name.startswith("openvino") for name in devices.list_automatic())
    core.available_devices = ["CPU"]
    (absent,) = (each for each in devices.list_devices() if each.kind == "openvino")
    assert not absent.usable
    assert absent.why_not
