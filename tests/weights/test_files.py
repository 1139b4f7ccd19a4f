"""From a file to a generator and back: every format, every refusal, mixing and describing."""

import collections
import doctest
import hashlib
import importlib
import importlib.util
import json
import os
import struct
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tessera.errors import UnknownNetworkError, UnsafeWeightsError, UsageError, WeightsError
from tessera.generators import (
    ESRDnetConfig,
    ESRGANPytorchConfig,
    GeneratorConfig,
    PyTorchGANConfig,
    RRDBNetConfig,
    SRVGGNetCompactConfig,
)
from tessera.weights.dialects import to_dialect
from tessera.weights.files import (
    CONFIG_KEY,
    ForeignConfig,
    LoadedGenerator,
    find_scale,
    inspect_weights,
    load_weights,
    save_weights,
)
from tessera.weights.torch_tensors import to_arrays, to_tensors
from tessera.zoo.interpolation import interpolate

SMALL = RRDBNetConfig(features=4, blocks=1, growth=3)
ALL: list[GeneratorConfig] = [
    SMALL,
    RRDBNetConfig(scale=2, features=4, blocks=1, growth=3),
    RRDBNetConfig(scale=1, features=4, blocks=1, growth=3),
    RRDBNetConfig(scale=1, features=4, blocks=1, growth=3, unshuffle=1, stages=()),
    SRVGGNetCompactConfig(features=4, convolutions=2),
    SRVGGNetCompactConfig(features=4, convolutions=2, activation="leakyrelu"),
    ESRDnetConfig(features=4, blocks=1, growth=3, lff_kernel=1, slope=0.0),
    ESRDnetConfig(features=4, blocks=1, growth=3),
    ESRGANPytorchConfig(features=4, blocks=1, growth=3),
    PyTorchGANConfig(features=4, blocks=1),
    PyTorchGANConfig(features=4, blocks=1, imagenet_space=False),
]


def weights_of(config: GeneratorConfig, seed: int = 0) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    return config.build().state_dict()


def output_of(config: GeneratorConfig, state: dict[str, Tensor], picture: Tensor) -> Tensor:
    network = config.build().eval()
    network.load_state_dict(state)
    with torch.no_grad():
        return network(picture)


def loaded(tmp_path: Path, config: GeneratorConfig = SMALL, seed: int = 0, name: str = "a") -> LoadedGenerator:
    path = tmp_path / f"{name}.safetensors"
    save_weights(path, config, weights_of(config, seed))
    return load_weights(path)


@pytest.mark.parametrize("config", ALL, ids=repr)
def test_what_is_saved_is_loaded_with_the_same_configuration_and_output(
    tmp_path: Path, config: GeneratorConfig
) -> None:
    state = weights_of(config)
    path = tmp_path / "net.safetensors"
    save_weights(path, config, state, metadata={"tessera.licence": "BSD-3-Clause", "note": "ü"})
    generator = load_weights(path)
    assert generator.config == config
    assert (generator.dialect, generator.wrapper, generator.name) == ("tessera", "raw", "net")
    assert generator.source == path
    assert generator.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert generator.metadata["tessera.licence"] == "BSD-3-Clause"
    assert generator.metadata["note"] == "ü"
    assert not generator.network.training
    assert not any(parameter.requires_grad for parameter in generator.network.parameters())
    picture = torch.rand(1, 3, 4, 8)
    assert torch.equal(generator.network(picture), output_of(config, state, picture))


@pytest.mark.parametrize(
    ("config", "dialect"),
    [
        (SMALL, "basicsr"),
        (SMALL, "esrgan-new"),
        (SMALL, "esrgan-old"),
        (SMALL, "esrdgan"),
        (RRDBNetConfig(scale=2, features=4, blocks=1, growth=3), "basicsr"),
        (ESRDnetConfig(features=4, blocks=1, growth=3, hr_kernel=5), "esrdgan"),
        (SRVGGNetCompactConfig(features=4, convolutions=2), "srvgg"),
        (PyTorchGANConfig(features=4, blocks=1), "pytorch-gan"),
    ],
)
@pytest.mark.parametrize(
    ("wrapper", "zip_format"),
    [
        ("raw", True),
        ("params", False),
        *(
            pytest.param(name, True, marks=pytest.mark.slow)
            for name in ("params_ema", "state_dict", "model_state_dict")
        ),
        *(pytest.param(name, False, marks=pytest.mark.slow) for name in ("raw", "params_ema", "state_dict")),
    ],
)
def test_every_dialect_in_every_wrapper_and_format_gives_the_same_network(
    tmp_path: Path, config: GeneratorConfig, dialect: str, wrapper: str, zip_format: bool
) -> None:
    state = weights_of(config)
    theirs = collections.OrderedDict(to_tensors(to_dialect(config, to_arrays(state), dialect)))
    path = tmp_path / "net.pth"
    torch.save(theirs if wrapper == "raw" else {wrapper: theirs}, path, _use_new_zipfile_serialization=zip_format)
    generator = load_weights(path)
    assert generator.config == config
    assert generator.dialect == ("basicsr" if dialect == "srvgg" else dialect)
    assert generator.wrapper == wrapper
    picture = torch.rand(1, 3, 4, 4)
    assert torch.equal(generator.network(picture), output_of(config, state, picture))
    report = inspect_weights(path)
    assert report.problem is None
    assert (report.config, report.dialect, report.wrapper) == (config, generator.dialect, wrapper)
    assert report.parameters == sum(tensor.numel() for tensor in state.values())


def test_a_safetensors_file_without_our_metadata_is_recognized_by_its_names(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    path = tmp_path / "4x.safetensors"
    save_file(to_dialect(SMALL, to_arrays(weights_of(SMALL)), "esrgan-old"), path, metadata={"author": "someone"})
    generator = load_weights(path)
    assert (generator.config, generator.dialect) == (SMALL, "esrgan-old")
    assert generator.metadata["author"] == "someone"


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_are_kept_in_the_file_and_single_in_the_network(tmp_path: Path, dtype: torch.dtype) -> None:
    state = weights_of(SMALL)
    path = tmp_path / "a.safetensors"
    save_weights(path, SMALL, state, dtype=dtype)
    assert inspect_weights(path).dtypes == (str(dtype).removeprefix("torch."),)
    for name, tensor in load_weights(path).network.state_dict().items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, state[name].to(dtype).float())


def test_saving_twice_gives_the_same_bytes_and_leaves_nothing_else(tmp_path: Path) -> None:
    metadata = {f"key{index}": str(index) for index in range(20)}
    state = weights_of(SMALL)
    save_weights(tmp_path / "a.safetensors", SMALL, state, metadata=metadata)
    turned = dict(reversed(metadata.items())), dict(reversed(state.items()))
    save_weights(tmp_path / "b.safetensors", SMALL, turned[1], metadata=turned[0])
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.safetensors", "b.safetensors"]


def test_a_failed_save_leaves_the_old_file_and_no_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.safetensors"
    save_weights(path, SMALL, weights_of(SMALL))
    before = path.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(WeightsError, match="No space left"):
        save_weights(path, SMALL, weights_of(SMALL, 1))
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.safetensors"]


def test_only_fitting_and_finite_weights_are_saved(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    state = weights_of(SMALL)
    with pytest.raises(UsageError, match="missing"):
        save_weights(path, SMALL, {name: tensor for name, tensor in state.items() if name != "conv_hr.bias"})
    with pytest.raises(UsageError, match="should have"):
        save_weights(path, RRDBNetConfig(features=5, blocks=1, growth=3), state)
    with pytest.raises(UsageError, match="safetensors"):
        save_weights(tmp_path / "a.pth", SMALL, state)
    with pytest.raises(WeightsError, match=r"conv_hr\.bias.*not finite"):
        save_weights(path, SMALL, {**state, "conv_hr.bias": torch.full((4,), torch.nan)})
    with pytest.raises(WeightsError, match="cannot be written here"):
        save_weights(tmp_path / "none" / "a.safetensors", SMALL, state)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("module", ["tessera.generators", "tessera.generators.config", "tessera.weights.names"])
def test_the_examples_in_the_docstrings_are_true(module: str) -> None:
    failed, tried = doctest.testmod(importlib.import_module(module))
    assert tried > 0
    assert failed == 0


# --------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_weights_that_are_not_finite_are_refused_by_name(tmp_path: Path, value: float, suffix: str) -> None:
    from safetensors.torch import save_file

    state = {name: tensor.clone() for name, tensor in weights_of(SMALL).items()}
    state["body.0.rdb2.conv3.weight"][0, 0, 0, 0] = value
    path = tmp_path / f"a{suffix}"
    if suffix == ".pth":
        torch.save(state, path)
    else:
        save_file(state, path)
    with pytest.raises(WeightsError, match=r"body\.0\.rdb2\.conv3\.weight.*not finite"):
        load_weights(path)
    assert "not finite" in (inspect_weights(path).problem or "")


def test_doubles_beyond_single_precision_are_refused(tmp_path: Path) -> None:
    state = {name: tensor.double() for name, tensor in weights_of(SMALL).items()}
    state["conv_hr.bias"][0] = 1e300
    path = tmp_path / "a.pth"
    torch.save(state, path)
    with pytest.raises(WeightsError, match=r"conv_hr\.bias"):
        load_weights(path)


def test_integer_weights_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    torch.save({name: tensor.to(torch.int8) for name, tensor in weights_of(SMALL).items()}, path)
    with pytest.raises(WeightsError, match="int8"):
        load_weights(path)


def rewrite_metadata(path: Path, change: Any) -> None:
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    header["__metadata__"][CONFIG_KEY] = change(header["__metadata__"][CONFIG_KEY])
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda text: text.replace('"blocks":1', '"blocks":2'), "disagree"),
        (lambda text: text.replace('"features":4', '"features":8'), "disagree"),
        (lambda text: text.replace('"blocks":1', '"blocks":1000000000'), "blocks"),
        (lambda text: text.replace('"blocks":1', '"blocks":"1"'), "blocks"),
        (lambda text: text.replace('"blocks":1', '"blocks":1,"more":2'), "more"),
        (lambda text: text.replace('"scale":4', '"scale":2'), "do not make a scale of 2"),
        (lambda text: text.replace("rrdbnet", "swinir"), "'swinir'"),
        (lambda text: text.replace("rrdbnet", "srvggnetcompact"), "no valid configuration of srvggnetcompact"),
        (lambda text: "{", "does not hold a network configuration"),
        (lambda text: "[]", "does not hold a network configuration"),
        (lambda text: '{"network": ["rrdbnet"]}', "network"),
        (lambda text: "[" * 100_000, "does not hold a network configuration"),
        (lambda text: "NaN", "does not hold a network configuration"),
    ],
)
def test_metadata_that_disagrees_with_the_tensors_is_refused(tmp_path: Path, change: Any, word: str) -> None:
    path = tmp_path / "a.safetensors"
    save_weights(path, SMALL, weights_of(SMALL))
    rewrite_metadata(path, change)
    with pytest.raises(WeightsError, match=word) as caught:
        load_weights(path)
    assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".param"])
@pytest.mark.parametrize(
    "data",
    [b"", b"<!DOCTYPE html><html>", b"version https://git-lfs.github.com/spec/v1\n", bytes(500), b"hello", b"{}" * 8],
)
def test_files_of_nothing_give_one_sentence_that_names_them(tmp_path: Path, suffix: str, data: bytes) -> None:
    path = tmp_path / f"model{suffix}"
    path.write_bytes(data)
    path.with_suffix(".bin").write_bytes(data)
    with pytest.raises(WeightsError) as caught:
        load_weights(path)
    assert str(caught.value).count(str(path)) == 1
    report = inspect_weights(path)
    assert report.problem == str(caught.value)
    assert report.size_bytes == len(data) * (2 if suffix == ".param" else 1)


@pytest.mark.parametrize("zip_format", [True, False])
def test_the_content_decides_the_format_of_a_single_file(tmp_path: Path, zip_format: bool) -> None:
    weights = weights_of(SMALL)
    good = tmp_path / "a.safetensors"
    save_weights(good, SMALL, weights)
    checkpoint = tmp_path / "b.safetensors"
    torch.save(weights, checkpoint, _use_new_zipfile_serialization=zip_format)
    for path, what in ((good.rename(tmp_path / "a.pth"), "safetensors"), (checkpoint, "PyTorch checkpoint")):
        generator = load_weights(path)
        assert generator.config == SMALL
        assert all(torch.equal(generator.state[name], tensor) for name, tensor in weights.items())
        assert any(what in note for note in generator.notes)


def test_wrong_names_are_described(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no such file"):
        load_weights(tmp_path / "none.pth")
    odd = tmp_path / "a.h5"
    odd.write_bytes(b"x")
    with pytest.raises(WeightsError, match=r"ends in \.h5"):
        load_weights(odd)
    assert inspect_weights(tmp_path / "none.pth").problem is not None
    assert inspect_weights(tmp_path).problem is not None


def test_a_safetensors_file_cut_off_anywhere_gives_only_its_sentence(tmp_path: Path) -> None:
    whole = tmp_path / "a.safetensors"
    save_weights(whole, SMALL, weights_of(SMALL))
    data, path = whole.read_bytes(), tmp_path / "cut.safetensors"
    for length in range(0, len(data) - 1, 61):
        path.write_bytes(data[:length])
        with pytest.raises(WeightsError):
            load_weights(path)


def test_unsafe_files_are_refused_through_the_public_door(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    torch.save(SMALL.build(), path)
    with pytest.raises(UnsafeWeightsError, match="RRDBNet"):
        load_weights(path)
    assert "RRDBNet" in (inspect_weights(path).problem or "")


@pytest.mark.parametrize(
    ("name", "scale"),
    [
        ("3x_Faces", 3),
        ("x3", 3),
        ("RRDB_ESRGAN_x4", 4),
        ("2xModel", 2),
        ("RealESRGAN_x4plus", 4),
        ("model_512x512", None),
        ("max3", None),
        ("realesr-animevideov3", None),
        ("16x", None),
    ],
)
def test_the_scale_in_a_name(name: str, scale: int | None) -> None:
    assert find_scale(name) == scale


def test_a_name_decides_between_x2_and_x3_and_the_caller_before_it(tmp_path: Path) -> None:
    config = RRDBNetConfig(scale=3, features=4, blocks=1, growth=3)
    for name, scale in (("3x_old", 3), ("old_x3", 3), ("old", 2), ("2x_old", 2)):
        path = tmp_path / f"{name}.pth"
        torch.save(to_tensors(to_dialect(config, to_arrays(weights_of(config)), "esrgan-old")), path)
        assert load_weights(path).config.scale == scale
        assert load_weights(path, scale=3).config == config
        with pytest.raises(WeightsError, match="x4 was requested"):
            load_weights(path, scale=4)
    good = loaded(tmp_path)
    assert good.source is not None
    with pytest.raises(WeightsError, match="the scale of these weights is x4, and x2"):
        load_weights(good.source, scale=2)


# ------------------------------------------------------------------------------------------------ mixing


def test_mixing_at_the_ends_gives_the_parts_bit_for_bit(tmp_path: Path) -> None:
    first, second = loaded(tmp_path, seed=1, name="a"), loaded(tmp_path, seed=2, name="b")
    for shares, whole in (((1, 0), first), ((0, 1), second)):
        mixed = interpolate([(first, shares[0]), (second, shares[1])]).network.state_dict()
        assert all(torch.equal(mixed[name], tensor) for name, tensor in whole.network.state_dict().items())


def test_mixing_is_linear_in_the_weights(tmp_path: Path) -> None:
    parts = [loaded(tmp_path, seed=seed, name=f"n{seed}") for seed in range(3)]
    mixed = interpolate([(parts[0], 0.2), (parts[1], 0.3), (parts[2], 0.5)])
    states = [part.network.state_dict() for part in parts]
    for name, tensor in mixed.network.state_dict().items():
        torch.testing.assert_close(tensor, 0.2 * states[0][name] + 0.3 * states[1][name] + 0.5 * states[2][name])
    assert mixed.name == "n0*0.2+n1*0.3+n2*0.5"
    assert mixed.source is None
    origins = json.loads(mixed.metadata["tessera.mixed_from"])
    assert [origin["sha256"] for origin in origins] == [part.sha256 for part in parts]


def test_the_hash_of_a_mixture_is_that_of_its_weights(tmp_path: Path) -> None:
    first, second = loaded(tmp_path, seed=1, name="a"), loaded(tmp_path, seed=2, name="b")
    one = interpolate([(first, 0.25), (second, 0.75)])
    assert one.sha256 == interpolate([(second, 0.75), (first, 0.25)]).sha256
    assert one.sha256 != interpolate([(first, 0.75), (second, 0.25)]).sha256


def test_a_mixture_leaves_its_parts_alone(tmp_path: Path) -> None:
    first = loaded(tmp_path)
    before = {name: tensor.clone() for name, tensor in first.network.state_dict().items()}
    mixed = interpolate([(first, 1.0)])
    for parameter in mixed.network.parameters():
        parameter.data.zero_()
    assert all(torch.equal(tensor, before[name]) for name, tensor in first.network.state_dict().items())


@pytest.mark.parametrize("shares", [(0.5, 0.6), (1.0, 1.0), (float("nan"), 0.5), (float("inf"), -float("inf"))])
def test_shares_that_do_not_sum_to_one_are_refused(tmp_path: Path, shares: tuple[float, float]) -> None:
    first = loaded(tmp_path)
    with pytest.raises(UsageError, match="sum to 1"):
        interpolate([(first, shares[0]), (first, shares[1])])
    with pytest.raises(UsageError, match="A blend needs at least one generator"):
        interpolate([])


def test_shares_beyond_the_ends_are_told(tmp_path: Path) -> None:
    first = loaded(tmp_path)
    assert "extrapolates" in interpolate([(first, 1.5), (first, -0.5)]).notes[0]


def test_different_networks_cannot_be_mixed(tmp_path: Path) -> None:
    first = loaded(tmp_path, name="first")
    deeper = loaded(tmp_path, RRDBNetConfig(features=4, blocks=2, growth=3), name="deeper")
    other = loaded(tmp_path, ALL[4], name="other")
    with pytest.raises(UsageError, match="first and deeper cannot be blended, their networks differ: blocks 1 and 2"):
        interpolate([(first, 0.5), (deeper, 0.5)])
    with pytest.raises(UsageError, match="rrdbnet and srvggnetcompact"):
        interpolate([(first, 0.5), (other, 0.5)])


# --------------------------------------------------------------------------------------- outside the family


FOREIGN = {"layers.0.attention.weight": torch.ones(2, 2)}


def test_without_spandrel_the_way_to_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "spandrel", None)
    path = tmp_path / "a.pth"
    torch.save(FOREIGN, path)
    with pytest.raises(UnknownNetworkError, match=r'may load it: `pip install "tessera-sr\[other-networks\]"`\.$'):
        load_weights(path)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("raise RuntimeError('operator torchvision::nms does not exist')", "RuntimeError: operator torchvision::nms"),
        ("import no_such_module_at_all", "ModuleNotFoundError: No module named 'no_such_module_at_all'"),
        ("raise ImportError('first line.\\nsecond line.')", "ImportError: first line. second line)"),
        ("raise ValueError", "ValueError: no reason given"),
    ],
)
def test_a_spandrel_that_cannot_be_imported_is_told_from_one_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, said: str
) -> None:
    (tmp_path / "spandrel.py").write_text(body)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "spandrel", raising=False)
    path = tmp_path / "a.pth"
    torch.save(FOREIGN, path)
    with pytest.raises(UnknownNetworkError, match="it is installed and cannot be imported") as caught:
        load_weights(path)
    assert said in str(caught.value)
    assert '`pip install "tessera-sr[other-networks]"`' in str(caught.value)
    assert "\n" not in str(caught.value)


WITH_SPANDREL = """
import sys
from pathlib import Path

import torch

# torchvision has no build for this PyTorch where only the CPU is: its two missing operators are declared, never called.
declared = torch.library.Library("torchvision", "DEF")
try:
    import torchvision
except RuntimeError:
    for name in [name for name in sys.modules if name.startswith("torchvision")]:
        del sys.modules[name]
    for name in ("nms", "qnms"):
        declared.define(name + "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
try:
    from spandrel.architectures.SPAN import SPAN
except Exception as error:
    print(f"{type(error).__name__}: {error}")
    sys.exit(77)

from tessera import load_generator

torch.manual_seed(0)
network = SPAN(num_in_ch=3, num_out_ch=3, feature_channels=8, upscale=2, norm=False).eval()
path = Path(sys.argv[1]) / "span.pth"
torch.save(network.state_dict(), path)
generator = load_generator(path)
assert generator.dialect == "spandrel", generator
assert generator.config.scale == 2
x = torch.rand(1, 3, 16, 24)
with torch.no_grad():
    torch.testing.assert_close(generator.network(x), network(x), rtol=0, atol=1e-6)
print(generator.config.architecture)
"""


@pytest.mark.slow
def test_a_real_spandrel_loads_a_network_outside_the_family(tmp_path: Path) -> None:
    if importlib.util.find_spec("spandrel") is None:
        pytest.skip("the extra other-networks (spandrel) is not installed")
    done = subprocess.run([sys.executable, "-c", WITH_SPANDREL, str(tmp_path)], capture_output=True, text=True)
    if done.returncode == 77:
        pytest.skip(f"spandrel is installed and cannot be imported here ({done.stdout.strip()})")
    assert (done.returncode, done.stdout) == (0, "SPAN\n"), done.stderr


def test_a_discriminator_is_not_offered_to_spandrel(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    torch.save({"conv0.weight": torch.ones(1), "conv9.weight": torch.ones(1), "conv1.weight_orig": torch.ones(1)}, path)
    with pytest.raises(UnknownNetworkError, match=r"discriminator.*\.$") as caught:
        load_weights(path)
    assert "other-networks" not in str(caught.value)


def test_with_spandrel_other_networks_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Loader:
        def __init__(self, device: str) -> None:
            assert device == "cpu"

        def load_from_state_dict(self, state: dict[str, Tensor]) -> object:
            assert state.keys() == FOREIGN.keys()
            return types.SimpleNamespace(
                architecture=types.SimpleNamespace(name="SwinIR"),
                input_channels=3,
                output_channels=3,
                scale=2,
                size_requirements=types.SimpleNamespace(multiple_of=8),
                model=torch.nn.Upsample(scale_factor=2),
            )

    monkeypatch.setitem(sys.modules, "spandrel", types.SimpleNamespace(ModelLoader=Loader))  # type: ignore[arg-type]
    path = tmp_path / "a.pth"
    torch.save(FOREIGN, path)
    generator = load_weights(path)
    assert generator.config == ForeignConfig(architecture="SwinIR", scale=2, input_multiple=8)
    assert (generator.config.multiple, generator.config.receptive_radius) == (8, 128)
    assert generator.dialect == "spandrel"
    assert "SwinIR" in generator.notes[0]
    assert generator.network(torch.rand(1, 3, 8, 8)).shape == (1, 3, 16, 16)
    assert inspect_weights(path).multiply_adds_128 is None
    with pytest.raises(UsageError, match="can be used but not written"):
        save_weights(tmp_path / "a.safetensors", generator.config, FOREIGN)


# ----------------------------------------------------------------------------------------------- fuzzing


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("seeds")
    config = SRVGGNetCompactConfig(features=3, convolutions=1, scale=2)
    save_weights(folder / "a.safetensors", config, weights_of(config))
    torch.save({"params": weights_of(config)}, folder / "a.pth")
    return {suffix: (folder / f"a{suffix}").read_bytes() for suffix in (".safetensors", ".pth")}


changes = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=5)


def mutate_and_load(seed: bytes, where: list[tuple[float, int]], early: bool, path: Path) -> None:
    data = bytearray(seed)
    for place, value in where:
        data[int(place * min(len(data), 1500 if early else len(data)))] = value
    path.write_bytes(data)
    try:
        generator = load_weights(path)
    except WeightsError:
        return
    assert all(bool(torch.isfinite(tensor).all()) for tensor in generator.network.state_dict().values())


@given(suffix=st.sampled_from([".safetensors", ".pth"]), where=changes, early=st.booleans())
@settings(max_examples=300, deadline=None)
def test_changed_bytes_give_a_sentence_or_a_generator(
    seeds: dict[str, bytes],
    tmp_path_factory: pytest.TempPathFactory,
    suffix: str,
    where: list[tuple[float, int]],
    early: bool,
) -> None:
    mutate_and_load(seeds[suffix], where, early, tmp_path_factory.getbasetemp() / f"fuzzed{suffix}")


@pytest.mark.slow
@given(suffix=st.sampled_from([".safetensors", ".pth"]), where=changes, early=st.booleans())
@settings(max_examples=5_000, deadline=None)
def test_changed_bytes_give_a_sentence_or_a_generator_at_length(
    seeds: dict[str, bytes],
    tmp_path_factory: pytest.TempPathFactory,
    suffix: str,
    where: list[tuple[float, int]],
    early: bool,
) -> None:
    mutate_and_load(seeds[suffix], where, early, tmp_path_factory.getbasetemp() / f"fuzzed{suffix}")
