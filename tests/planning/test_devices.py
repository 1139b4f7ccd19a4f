"""The device `auto`: which devices take part, and the planner's choice among them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from stand_ins import nearest
from tessera.engines import devices
from tessera.engines.devices import Device
from tessera.planning import candidates
from tessera.planning.cache import plan_key

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


def test_a_plan_is_made_again_when_a_driver_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    def key() -> object:
        return plan_key(nearest(), "auto", engine="auto", device="auto", threads=None)

    before = key()
    assert key() == before
    monkeypatch.setattr(devices, "_list_vulkan", lambda: (GPUS[0].__class__(**{**vars(GPUS[0]), "driver": "25.0.0"}),))
    assert key() != before


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
