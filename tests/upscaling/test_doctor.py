"""What is found on a machine, and what is said about machines unlike this one."""

from __future__ import annotations

import dataclasses
import json
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tessera.engines.devices import Device
from tessera.engines.hardware import has_bf16
from tessera.engines.opening import choose_products, open_engine
from tessera.engines.pytorch.devices import Gpus, find_gpus
from tessera.generators import SRVGGNetCompactConfig
from tessera.machine import Cores, Memory, Processor
from tessera.upscaling import doctor
from tessera.upscaling.doctor import EngineState, Findings, Folder, Threads, Weights
from tessera.weights.published import MODELS
from tessera.zoo import models as zoo

GB = 2**30


def healthy(**changes: Any) -> Findings:
    """A machine that nothing is wrong with, less what is changed."""
    products = {"exact": "fp32", "auto": "bf16", "fast": "bf16"}
    engine = EngineState(
        name="pytorch", package="torch", version="2.0", problem=None, install="pip install torch", products=products
    )
    found = Findings(
        system="Linux 6",
        processor=Processor(name="CPU", architecture="x86_64", features=("AVX2",)),
        cores=Cores(installed=4, allowed=4, quota=None),
        threads=Threads(pytorch=4, omp_num_threads=None),
        memory=Memory(
            total_bytes=16 * GB, available_bytes=8 * GB, limit_bytes=None, swap_total_bytes=0, swap_used_bytes=0
        ),
        gpus=Gpus(devices=(), problem="PyTorch sees no GPU."),
        devices=(Device(name="cpu", kind="cpu", title="CPU", usable=True),),
        nvidia_driver=False,
        engines=(engine, dataclasses.replace(engine, name="ncnn", problem="Not installed.")),
        pictures_problem=None,
        weights=(Weights(name="a", path=Path("a.pth"), packaged=False, size_bytes=5),),
        models_folder=Folder(path=Path("models"), free_bytes=50 * GB),
        cache_folder=Folder(path=Path("cache"), free_bytes=None),
        versions={"tessera": "1"},
    )
    return dataclasses.replace(found, **changes)


def only_warning(**changes: Any) -> str:
    said = doctor.list_warnings(healthy(**changes))
    assert len(said) == 1, said
    return said[0]


def test_nothing_is_said_about_a_healthy_machine():
    assert doctor.list_warnings(healthy()) == []
    assert healthy().can_upscale


def test_too_many_and_too_few_threads_are_told_with_the_number_to_set():
    two = Cores(installed=64, allowed=64, quota=2.0)
    assert "set it to 2" in only_warning(cores=two, threads=Threads(pytorch=8, omp_num_threads=8))
    assert "set OMP_NUM_THREADS=2" in only_warning(cores=two, threads=Threads(pytorch=64, omp_num_threads=None))
    assert "only 1 of 4 cores" in only_warning(threads=Threads(pytorch=1, omp_num_threads=1))
    assert doctor.list_warnings(healthy(cores=two, threads=Threads(pytorch=2, omp_num_threads=2))) == []


def test_kernels_that_were_not_built_are_a_warning_with_the_command_that_builds_them():
    engines = healthy().engines
    kernels = dataclasses.replace(engines[0], name="kernels", problem="Not built. Build it: make kernels")
    said = only_warning(engines=(*engines, kernels))
    assert said.startswith("The kernels engine, a part of Tessera, is unavailable")
    assert said.endswith("Not built. Build it: make kernels")


def test_a_set_below_what_the_processor_offers_is_a_warning():
    sets = ("portable", "avx2", "avx512")
    best = doctor.Kernels(used="avx512", chosen_by_environment=False, offered=sets, wheel="linux-x86_64")
    assert doctor.list_warnings(healthy(kernels=best)) == []
    said = only_warning(kernels=dataclasses.replace(best, used="portable"))
    assert "The kernels use portable, and this processor has avx512" in said
    assert "python -m tessera.native.build" in said
    said = only_warning(kernels=dataclasses.replace(best, used="avx2", chosen_by_environment=True))
    assert said.endswith("unset TESSERA_KERNELS_SET.")


def test_an_installation_without_kernels_is_a_warning_where_a_release_has_them():
    missing = doctor.Kernels(used=None, chosen_by_environment=False, offered=(), wheel="macos-arm64")
    assert "the wheel of a release for macos-arm64 has them" in only_warning(kernels=missing)
    assert doctor.list_warnings(healthy(kernels=dataclasses.replace(missing, wheel=None))) == []


def test_limits_swap_and_lack_of_space_are_told():
    memory = healthy().memory
    limited = dataclasses.replace(memory, limit_bytes=4 * GB)
    assert "Only 4.0 GiB of this machine's 16 GiB" in only_warning(memory=limited)
    assert doctor.list_warnings(healthy(memory=dataclasses.replace(memory, limit_bytes=16 * GB))) == []
    assert "512 MiB of memory is free" in only_warning(memory=dataclasses.replace(memory, available_bytes=GB // 2))
    assert "swap" in only_warning(memory=dataclasses.replace(memory, swap_total_bytes=8 * GB, swap_used_bytes=2 * GB))
    assert doctor.list_warnings(healthy(memory=dataclasses.replace(memory, swap_used_bytes=GB))) == []
    assert "models folder" in only_warning(models_folder=Folder(path=Path("models"), free_bytes=GB // 4))


def test_old_processors_are_told_and_those_of_other_kinds_are_not_called_old():
    assert "no AVX2" in only_warning(processor=Processor(name=None, architecture="x86_64", features=()))
    assert doctor.list_warnings(healthy(processor=Processor(name=None, architecture="aarch64", features=()))) == []
    assert doctor.list_warnings(healthy(processor=Processor(name=None, architecture="AMD64", features=None))) == []


def test_a_gpu_that_pytorch_does_not_use_is_told():
    said = only_warning(nvidia_driver=True, gpus=Gpus(devices=(), problem="This PyTorch is a build for CPUs only."))
    assert "PyTorch uses no GPU: This PyTorch is a build for CPUs only." in said


def test_where_nothing_can_run_or_be_read_nothing_can_be_upscaled():
    broken = tuple(dataclasses.replace(engine, problem="Not installed.") for engine in healthy().engines)
    assert not healthy(engines=broken).can_upscale
    assert "pip install ncnn" in only_warning(engines=broken)
    assert not healthy(pictures_problem="pyvips is broken.").can_upscale
    assert "tessera models pull" in only_warning(weights=())
    assert healthy(weights=()).can_upscale


def torch_with(cuda: Any, built: str | None = "12.8", mps: bool = False) -> Any:
    backends = SimpleNamespace(mps=SimpleNamespace(is_available=lambda: mps))
    return SimpleNamespace(cuda=cuda, backends=backends, version=SimpleNamespace(cuda=built))


def test_gpus_are_listed_as_pytorch_sees_them():
    cards = (("Old", 8 * GB, 7, 5), ("New", 80 * GB, 9, 0))
    properties = [
        SimpleNamespace(name=name, total_memory=size, major=major, minor=minor) for name, size, major, minor in cards
    ]
    cuda = SimpleNamespace(
        is_available=lambda: True, device_count=lambda: 2, get_device_properties=properties.__getitem__
    )
    found = find_gpus(torch_with(cuda))
    assert [(gpu.device, gpu.capability, gpu.bf16) for gpu in found.devices] == [
        ("cuda:0", "7.5", False),
        ("cuda:1", "9.0", True),
    ]
    assert found.devices[1].memory_bytes == 80 * GB
    assert found.problem is None
    none = SimpleNamespace(is_available=lambda: False)
    assert [gpu.device for gpu in find_gpus(torch_with(none, mps=True)).devices] == ["mps"]


def test_broken_drivers_are_a_sentence_and_no_failure():
    def warned() -> bool:
        warnings.warn("CUDA initialization: The NVIDIA driver on your system is too old\nmore", stacklevel=1)
        return False

    def raised() -> bool:
        raise RuntimeError("Unexpected error from cudaGetDeviceCount()")

    for is_available, said in ((warned, "too old."), (raised, "cudaGetDeviceCount()."), (lambda: False, "no GPU.")):
        found = find_gpus(torch_with(SimpleNamespace(is_available=is_available)))
        assert found.devices == ()
        assert str(found.problem).endswith(said)
    built_without = find_gpus(torch_with(SimpleNamespace(is_available=lambda: False), built=None))
    assert built_without.problem == "This PyTorch is a build for CPUs only."


def test_weights_in_the_models_folder_are_found_once_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(zoo, "_find_packaged", lambda _: None)
    published = next(model for model in MODELS if model.remote is not None)
    assert published.remote is not None
    for name in (published.remote.name, "own.bin", "own.param", "notes.txt", "half.pth.part"):
        (tmp_path / name).write_bytes(b"12345")
    found = doctor.find_weights(tmp_path)
    assert [(weights.name, weights.size_bytes) for weights in found] == [(published.name, 5), ("own.bin", 5)]
    assert doctor.find_weights(tmp_path / "not there") == ()


def test_what_is_said_about_products_is_what_engines_do():
    from stand_ins import loaded

    config = SRVGGNetCompactConfig(features=4, convolutions=1)
    generator = loaded(config.build(), config)
    for name in ("pytorch", "openvino", "ncnn"):  # the other runs .onnx files, which this is not
        for precision in ("exact", "auto"):
            assert open_engine(generator, precision, engine=name).precision == choose_products(name, precision)
    assert choose_products("pytorch", "fast") == ("bf16" if has_bf16("cpu") else "fp32")


def test_this_machine_is_examined_and_can_be_written_as_json():
    found = doctor.examine()
    assert found.can_upscale
    plain = json.loads(json.dumps(doctor.as_dict(found), default=str))
    assert plain["can_upscale"] is True
    assert plain["cores"]["usable"] >= 1
    assert plain["versions"]["torch"] == torch.__version__
    states = {engine["name"]: engine for engine in plain["engines"]}
    assert list(states) == ["kernels", "ncnn", "openvino", "pytorch", "onnxruntime"]
    assert states["pytorch"]["problem"] is None
    assert plain["versions"]["libvips"].count(".") == 2
