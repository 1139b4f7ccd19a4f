"""The device `auto`: which devices take part, and the planner's choice among them."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from stand_ins import FunctionEngine, nearest, repeated
from tessera.engines import devices, hardware
from tessera.engines.devices import Device
from tessera.engines.engine import Engine
from tessera.machine import Processor, processor
from tessera.native.library import SET_VARIABLE
from tessera.planning import Candidate, Planner, cache, candidates
from tessera.planning.cache import plan_key
from tessera.weights.loaded_generator import LoadedGenerator

GPUS = (
    Device(name="vulkan:0", kind="vulkan", title="Card", usable=True, driver="24.1.3"),
    Device(name="vulkan:1", kind="vulkan", title="llvmpipe", usable=True, software=True),
    Device(name="vulkan:2", kind="vulkan", title="Broken", usable=False, why_not="it fails."),
)


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TESSERA_CACHE", str(tmp_path))
    monkeypatch.setattr(devices, "_list_vulkan", lambda: GPUS)
    monkeypatch.setattr(devices, "_may_have_pytorch_gpu", lambda: False)
    monkeypatch.setattr(devices, "may_have_gpu", lambda: True)
    devices.list_automatic.cache_clear()


def test_software_and_broken_devices_take_no_part() -> None:
    assert devices.list_automatic() == ("vulkan:0", "cpu")


def test_auto_tries_gpus_first_and_every_engine_of_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(candidates, "choose_products", lambda name, policy, place: "fp16" if place != "cpu" else "fp32")
    found = candidates.list_candidates("auto", engine="auto", device="auto", threads=None)
    tried = [(each.engine, each.precision, each.fast, each.device) for each in found]
    assert tried[:3] == [
        ("ncnn", "fp16", True, "vulkan:0"),
        ("ncnn", "fp16", False, "vulkan:0"),
        ("ncnn", "fp32", False, "vulkan:0"),
    ]
    assert {each.engine for each in found if each.device == "cpu"} == {"kernels", "ncnn", "openvino", "pytorch"}
    assert all((each.threads is None) == (each.device != "cpu") for each in found)


def test_a_named_engine_is_tried_on_the_devices_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(candidates, "choose_products", lambda name, policy, place: "fp32")
    assert [each.device for each in candidates.list_candidates("exact", engine="ncnn", device="auto", threads=2)] == [
        "vulkan:0",
        "cpu",
    ]
    assert [
        each.device for each in candidates.list_candidates("exact", engine="kernels", device="auto", threads=2)
    ] == ["cpu"]


def change_vulkan_driver(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(devices, "_list_vulkan", lambda: (dataclasses.replace(GPUS[0], driver="25.0.0"),))


def change_nvidia_driver(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(devices, "read_nvidia_version", lambda: "NVRM version: 580.95.05")


def change_a_library(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("tessera.engines.engine.find_installed_version", lambda package: f"{package} 99")


def change_processor(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(cache, "processor", lambda: Processor(name="Other", architecture="x86_64", features=("AVX2",)))


def change_features(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(cache, "processor", lambda: dataclasses.replace(processor(), features=()))


def change_kernels_set(patch: pytest.MonkeyPatch) -> None:
    patch.setenv(SET_VARIABLE, "AVX2")


@pytest.mark.parametrize("device", ["auto", "vulkan:0", "cuda", "cpu"])
@pytest.mark.parametrize(
    ("change", "concerns"),
    [
        (change_vulkan_driver, {"auto", "vulkan:0"}),
        (change_nvidia_driver, {"auto", "vulkan:0", "cuda"}),
        (change_a_library, {"auto", "vulkan:0", "cuda", "cpu"}),
        (change_processor, {"auto", "vulkan:0", "cuda", "cpu"}),
        (change_features, {"auto", "vulkan:0", "cuda", "cpu"}),
        (change_kernels_set, {"auto", "vulkan:0", "cuda", "cpu"}),
    ],
)
def test_a_plan_is_made_again_when_the_machine_changes(
    monkeypatch: pytest.MonkeyPatch, change: Callable[[pytest.MonkeyPatch], None], concerns: set[str], device: str
) -> None:
    def key() -> object:
        return plan_key(nearest(), "auto", engine="auto", device=device, threads=None)

    before = key()
    assert key() == before
    change(monkeypatch)
    assert (key() != before) is (device in concerns)


def test_a_machine_without_a_gpu_is_not_searched_for_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def never() -> object:
        raise AssertionError("a driver was loaded")

    for name, expected in (("null", False), ("dri", True), ("nvidia0", True), ("dxg", True), ("kgsl-3d0", True)):
        folder = tmp_path / f"dev-{name}"
        folder.mkdir()
        (folder / name).touch()
        assert hardware.may_have_gpu(folder) is (expected or not sys.platform.startswith("linux"))
    monkeypatch.setattr(devices, "_list_vulkan", never)
    monkeypatch.setattr(devices, "may_have_gpu", lambda: False)
    assert devices.list_automatic() == ("cpu",)
    assert devices.describe_state("auto") == (devices.read_nvidia_version() or "")


def test_a_cached_plan_needs_no_list_of_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    def open_nearest(network: LoadedGenerator, candidate: Candidate) -> Engine:
        return FunctionEngine(repeated())

    def make() -> Planner:
        return Planner(nearest(), "exact", device="auto", opener=open_nearest)

    monkeypatch.setattr(devices, "may_have_gpu", lambda: False)
    plan = make().plan
    monkeypatch.setattr("tessera.planning.candidates.list_automatic", lambda: 1 / 0)
    assert make().plan == plan


@pytest.mark.parametrize(
    ("version", "driver", "asks"),
    [("2.13.0+cpu", True, False), ("2.13.0", False, False), ("2.13.0", True, True), (None, True, False)],
)
def test_pytorch_is_imported_only_where_it_may_find_a_gpu(
    monkeypatch: pytest.MonkeyPatch, version: str | None, driver: bool, asks: bool
) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(devices, "find_installed_version", lambda name: version)
    monkeypatch.setattr(devices, "sys", SimpleNamespace(platform="linux"))
    monkeypatch.setattr(Path, "exists", lambda self: driver and "nvidia" in str(self))
    assert devices._may_have_pytorch_gpu() is asks


def test_a_number_is_a_gpu_of_cuda_or_else_of_vulkan(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [devices.parse_device(text) for text in ("1", "-1", "mps")] == ["vulkan:1", "cpu", "mps"]
    monkeypatch.setattr(devices, "_list_vulkan", lambda: GPUS[2:])
    assert devices.parse_device("1") == "cuda:1"
    monkeypatch.setattr(devices, "_list_vulkan", lambda: GPUS)
    monkeypatch.setattr(devices, "_may_have_pytorch_gpu", lambda: True)
    assert devices.parse_device("1") == "cuda:1"
