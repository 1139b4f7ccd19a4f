"""Vulkan devices: the search for them, and the ncnn engine on one (Mesa's software device, where there is no GPU)."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from engines.sharing import assert_threads_share, make_random, noise
from engines.test_ncnn_engine import CONFIGS, Failing
from stand_ins import ran
from tessera.engines.ncnn import vulkan
from tessera.engines.ncnn.vulkan_engine import VulkanEngine
from tessera.engines.opening import open_engine
from tessera.errors import DeviceLostError, EngineError, OutOfMemoryError
from tessera.planning.checking import Reference
from tessera.tiling.settings import Settings
from tessera.upscaling.upscaler import Upscaler
from tessera.zoo.models import load_model

ncnn = pytest.importorskip("ncnn")

LOG = """\
[0 NVIDIA GeForce RTX 3060]  queueC=2[8]  queueT=1[2]  prefer-slm=1  rebar=0  r-score=32
[0 NVIDIA GeForce RTX 3060]  fp16-p/s/u/a=1/1/1/1  int8-p/s/u/a=1/1/1/1  bf16-p/s=1/0
[1 AMD Radeon HD 7850]  queueC=1[2]  queueT=2[1]  prefer-slm=0  rebar=0  r-score=20
[1 AMD Radeon HD 7850]  fp16-p/s/u/a=1/0/0/0  int8-p/s/u/a=1/0/0/0  bf16-p/s=1/0
"""
OUTPUT = (
    '{"devices": [{"index": 0, "name": "NVIDIA GeForce RTX 3060", "type": 0, "vendor": 4318, "driver": 2246950976,'
    ' "memory_bytes": 11811160064, "error": 1e-6}, {"index": 1, "name": "AMD Radeon HD 7850", "type": 0,'
    ' "vendor": 4098, "driver": 8388864, "memory_bytes": 2147483648, "error": 0.31}]}\n'
)


# ------------------------------------------------------------------------------------------------------ the search


def test_what_the_probe_prints_becomes_devices():
    nvidia, amd = vulkan.read_probe(OUTPUT, LOG).devices
    assert nvidia == vulkan.VulkanDevice(
        index=0,
        name="NVIDIA GeForce RTX 3060",
        kind="discrete",
        driver="535.183.1",
        memory_bytes=11 * 2**30,
        fp16_storage=True,
        fp16_arithmetic=True,
        int8=True,
    )
    assert (amd.fp16_storage, amd.fp16_arithmetic, amd.int8) == (False, False, False)
    assert amd.problem is not None
    assert "results are wrong (by 0.31" in amd.problem


@pytest.mark.parametrize(
    ("vendor", "packed", "version"),
    [
        (0x10DE, (535 << 22) | (183 << 14) | (1 << 6), "535.183.1"),  # NVIDIA 535.183.01
        (0x1002, (23 << 22) | (1 << 12) | 4, "23.1.4"),  # Mesa 23.1.4, by VK_MAKE_API_VERSION
        (0x10005, 1, "0.0.1"),  # llvmpipe
    ],
)
def test_driver_versions_are_unpacked_as_each_vendor_packs_them(vendor: int, packed: int, version: str):
    assert vulkan.format_driver_version(vendor, packed) == version


@pytest.mark.parametrize(
    ("program", "seconds", "said"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", 60, "crashed (signal 11)"),
        ("raise SystemExit(3)", 60, "crashed (exit code 3)"),
        ("import time; time.sleep(60)", 1, "did not answer within 1 s"),
        ("print('no JSON')", 60, "run `tessera doctor` again"),
    ],
    ids=["a crash", "an error", "a hang", "nonsense"],
)
def test_a_driver_that_crashes_or_hangs_costs_a_sentence(
    monkeypatch: pytest.MonkeyPatch, program: str, seconds: float, said: str
):
    monkeypatch.setattr(vulkan, "_PROBE", program)
    monkeypatch.setattr(vulkan, "PROBE_SECONDS", seconds)
    found = vulkan._probe()
    assert not found.devices
    assert found.problem is not None
    assert said in found.problem


def test_the_absence_of_devices_is_explained(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(vulkan, "_can_load", lambda name: False)
    assert "loader (libvulkan.so.1) is missing" in vulkan.explain_absence()
    monkeypatch.setattr(vulkan, "_can_load", lambda name: True)
    monkeypatch.setattr(Path, "exists", lambda self: str(self) == "/.dockerenv")
    assert "container" in vulkan.explain_absence()
    monkeypatch.setattr(Path, "exists", lambda self: False)
    assert "mesa-vulkan-drivers" in vulkan.explain_absence()


def test_the_best_device_is_a_real_gpu_and_others_are_named(monkeypatch: pytest.MonkeyPatch):
    nvidia = vulkan.read_probe(OUTPUT, LOG).devices[0]
    others = [
        nvidia.model_copy(update={"index": number, "kind": kind, "name": kind})
        for number, kind in enumerate(("cpu", "integrated", "discrete"))
    ]
    found = vulkan.Vulkan(devices=(*others, nvidia.model_copy(update={"index": 3, "problem": "it fails."})))
    monkeypatch.setattr(vulkan, "find_vulkan", lambda: found)
    assert vulkan.find_device("vulkan").kind == "discrete"
    assert vulkan.find_device("vulkan:1").kind == "integrated"
    with pytest.raises(EngineError, match=r"vulkan:0 \(cpu\), vulkan:1"):
        vulkan.find_device("vulkan:4")
    with pytest.raises(EngineError, match=r"vulkan:3 .* cannot be used: it fails"):
        vulkan.find_device("vulkan:3")


# ------------------------------------------------------------------------------------------------------ the engine


@pytest.fixture
def device() -> Iterator[str]:
    found = vulkan.find_vulkan()
    if not any(each.problem is None for each in found.devices):
        assert "TESSERA_REQUIRE_VULKAN" not in os.environ, found
        pytest.skip("no Vulkan device: " + (found.problem or "none usable"))
    yield "vulkan"
    vulkan.stop_instance()


@pytest.mark.parametrize("name", CONFIGS)
def test_every_network_equals_the_cpu_at_odd_sizes(device: str, name: str):
    generator = make_random(CONFIGS[name])
    multiple = generator.config.multiple
    x = noise(2, generator.config.in_channels, 7 * multiple, 11 * multiple)
    expected = generator.network(x)
    assert (ran(VulkanEngine(generator, device=device), x) - expected).abs().max() < 1e-4
    half = ran(VulkanEngine(generator, "fp16", device=device), x)
    assert (half - expected).abs().max() < 0.03  # fp16 has 11 bits, and errors add up over the layers


@pytest.mark.parametrize("name", ["realesr-animevideov3", "tessera-x4"])
def test_the_packaged_networks_equal_the_cpu(device: str, name: str):
    generator = load_model(name, offline=True)
    tile = noise(1, 3, 37, 41).numpy()
    expected = open_engine(generator, "exact", engine="ncnn").run(tile)
    np.testing.assert_allclose(VulkanEngine(generator, device=device).run(tile), expected, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["realesrgan-x4plus", "realesrgan-x4plus-anime"])
def test_the_large_packaged_networks_equal_the_cpu(device: str, name: str):
    generator = load_model(name, offline=True)
    tile = noise(1, 3, 21, 23).numpy()
    expected = open_engine(generator, "exact", engine="ncnn").run(tile)
    np.testing.assert_allclose(VulkanEngine(generator, device=device).run(tile), expected, atol=1e-4)


def test_threads_share_a_device(device: str):
    engine = VulkanEngine(make_random(CONFIGS["srvgg"]), device=device)
    assert_threads_share(engine, [noise(3, 3, 9, 8 + number) for number in range(3)])


def test_fp16_sums_that_are_too_rough_are_refused_by_the_check(device: str):
    """Mesa's software device is 8 levels off on noise with fp16 sums, and 3 with fp16 storage alone."""
    if not vulkan.find_device(device).is_software:
        pytest.skip("the figures are of Mesa's software device")
    generator = load_model("realesr-animevideov3", offline=True)
    reference = Reference(generator)
    rough = reference.difference(VulkanEngine(generator, "fp16", fast=True, device=device))
    fine = reference.difference(VulkanEngine(generator, "fp16", device=device))
    assert rough is not None
    assert not rough.is_allowed("auto")
    assert fine is not None
    assert fine.is_allowed("auto")


def test_errors_of_the_device_are_told_apart(device: str, monkeypatch: pytest.MonkeyPatch):
    engine = VulkanEngine(make_random(CONFIGS["srvgg"]), device=device)
    net = engine._load()
    for code, error in ((-100, OutOfMemoryError), (-1, DeviceLostError)):
        monkeypatch.setattr(engine, "_net", dataclasses.replace(net, net=Failing(code)))
        with pytest.raises(error):
            ran(engine, noise(1, 3, 8, 8))
    monkeypatch.setattr(engine, "_net", net)
    engine.reopen()
    assert ran(engine, noise(1, 3, 8, 8)).isfinite().all()


def test_two_tiles_are_under_way_where_memory_allows(device: str, monkeypatch: pytest.MonkeyPatch):
    engine = VulkanEngine(make_random(CONFIGS["srvgg"]), device=device)
    assert engine.tiles_at_once(64**2) == 2
    monkeypatch.setattr(engine, "free_memory_bytes", lambda: engine.bytes_per_pixel * 64**2)
    assert engine.tiles_at_once(64**2) == 1


def test_a_picture_is_the_same_as_on_the_cpu(device: str):
    generator = make_random(CONFIGS["srvgg"])
    picture = (255 * noise(1, 3, 61, 70)[0].permute(1, 2, 0)).to(torch.uint8).numpy()
    settings = Settings(precision="exact", tile=32)
    on_cpu = Upscaler(generator, settings=settings).upscale(picture)
    on_gpu = Upscaler(generator, settings=dataclasses.replace(settings, device=device)).upscale(picture)
    assert np.abs(on_cpu.astype(int) - on_gpu).max() <= 1


@pytest.mark.parametrize("tiles", [100, pytest.param(1000, marks=pytest.mark.slow)])
def test_memory_does_not_grow_with_the_number_of_tiles(device: str, tiles: int):
    engine = VulkanEngine(make_random(CONFIGS["srvgg"]), device=device)
    tile = noise(1, 3, 24, 24).numpy()
    for _ in range(50):
        engine.run(tile)
    before = _resident_bytes()
    for _ in range(tiles):
        engine.run(tile)
    assert _resident_bytes() - before < 8 * 2**20


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


PROGRAM = """
    import sys, numpy as np
    from tessera.engines.ncnn.vulkan_engine import VulkanEngine
    from tessera.zoo.models import load_model

    engine = VulkanEngine(load_model("realesr-animevideov3", offline=True), device="vulkan")
    tile = np.zeros((1, 3, {side}, {side}), np.float32)
    print("ready", flush=True)
    for _ in range({times}):
        engine.run(tile)
"""


def test_a_process_ends_cleanly_and_quietly(device: str):
    program = textwrap.dedent(PROGRAM).format(side=16, times=2)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "ready\n", "")


def test_ctrl_c_in_the_middle_of_a_tile_ends_the_process(device: str):
    program = textwrap.dedent(PROGRAM).format(side=96, times=10_000)
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGINT
    assert errors.rstrip().endswith(b"KeyboardInterrupt")
