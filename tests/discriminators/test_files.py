"""From a file to a discriminator and back: every network, every dialect, every refusal."""

import hashlib
import importlib
import os
import pkgutil
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from tessera.discriminators.attention_unet import AttentionUNetConfig
from tessera.discriminators.config import DiscriminatorConfig
from tessera.discriminators.esrdgan import ESRDGANConfig
from tessera.discriminators.multi_scale import MultiScaleConfig
from tessera.discriminators.patch import PatchConfig
from tessera.discriminators.spectral_norm import SpectralConv2d
from tessera.discriminators.unet import UNetConfig
from tessera.discriminators.vgg_style import VGGStyleConfig
from tessera.errors import UnknownNetworkError, UnsafeWeightsError, UsageError, WeightsError
from tessera.generators import PyTorchGANConfig, RRDBNetConfig
from tessera.weights.dialects.discriminators import recognize_discriminator, unwrap_discriminator
from tessera.weights.discriminator_file import CONFIG_KEY, load_discriminator, save_discriminator
from tessera.weights.files import load_weights, save_weights
from tessera.weights.safetensors_file import read_safetensors, write_safetensors
from tessera.weights.torch_tensors import to_arrays, to_tensors

widths = st.integers(1, 3)
channels = st.sampled_from([1, 3, 4])
CONFIGS: st.SearchStrategy[DiscriminatorConfig] = st.one_of(
    st.builds(PatchConfig, features=widths, in_channels=st.just(3), imagenet_space=st.booleans()),
    st.builds(
        VGGStyleConfig,
        features=widths,
        in_channels=channels,
        input_size=st.sampled_from([128, 256]),
        biases=st.sampled_from(["first", "all"]),
    ),
    st.builds(
        ESRDGANConfig,
        features=widths,
        in_channels=channels,
        kernel=st.sampled_from([3, 5]),
        norm=st.sampled_from(["batch", "instance", "none"]),
        activation=st.sampled_from(["leakyrelu", "relu"]),
        init_scale=st.sampled_from([1.0, 0.5]),
    ),
    st.builds(UNetConfig, features=widths, in_channels=channels, skip_connections=st.booleans()),
    st.builds(AttentionUNetConfig, features=widths, in_channels=channels),
    st.builds(MultiScaleConfig, features=st.integers(1, 2), in_channels=channels, scales=st.integers(2, 3)),
)
ATTENTION = AttentionUNetConfig(features=2)
MULTI = MultiScaleConfig(features=2)


def used(config: DiscriminatorConfig, seed: int = 0) -> dict[str, Tensor]:
    """The state of a network that has been trained a step: its buffers are no longer those of a fresh one."""
    torch.manual_seed(seed)
    network = config.build()
    with torch.no_grad():
        network(picture_for(config, 2))
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def picture_for(config: DiscriminatorConfig, batch: int = 1) -> Tensor:
    side = config.required_side or 32
    return torch.rand(batch, config.in_channels, side, side)


def judged(config: DiscriminatorConfig, state: dict[str, Tensor], x: Tensor) -> tuple[Tensor, ...]:
    network = config.build().eval()
    network.load_state_dict(state)
    with torch.no_grad():
        return network(x)


def same(left: tuple[Tensor, ...], right: tuple[Tensor, ...]) -> bool:
    return len(left) == len(right) and all(torch.equal(a, b) for a, b in zip(left, right, strict=True))


# ------------------------------------------------------------------------------------------------------ our own


@given(config=CONFIGS)
@settings(max_examples=10)
def test_what_is_saved_is_loaded_with_the_same_configuration_buffers_and_verdict(
    tmp_path_factory: pytest.TempPathFactory, config: DiscriminatorConfig
) -> None:
    path = tmp_path_factory.mktemp("saved") / "d.safetensors"
    state = used(config)
    save_discriminator(path, config, state, {"recipe": "ü"})
    for loaded in (load_discriminator(path), load_discriminator(path, config=config)):
        assert loaded.config == config
        assert (loaded.dialect, loaded.wrapper, loaded.notes, loaded.source) == ("tessera", "raw", (), path)
        assert loaded.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
        assert loaded.metadata["recipe"] == "ü"
        assert CONFIG_KEY not in loaded.metadata
        assert not loaded.network.training
        assert not any(parameter.requires_grad for parameter in loaded.network.parameters())
        found = loaded.network.state_dict()
        assert found.keys() == state.keys()
        for name, tensor in state.items():
            assert found[name].dtype == tensor.dtype
            assert torch.equal(found[name], tensor)
    x = picture_for(config)
    assert same(loaded.network(x), judged(config, state, x))


@given(config=CONFIGS)
@settings(max_examples=30)
def test_names_and_shapes_alone_tell_all_but_what_has_no_weights(config: DiscriminatorConfig) -> None:
    state = config.build().state_dict()
    found = recognize_discriminator(to_arrays(state))
    untold = {
        "imagenet_space": True,
        "skip_connections": True,
        "activation": "leakyrelu",
        "init_scale": 1.0,
    }
    fields = {name: value for name, value in untold.items() if name in type(config).model_fields}
    assert found.config == config.model_copy(update=fields)
    assert found.state.keys() == state.keys()


def test_training_goes_on_from_a_file_as_if_it_had_not_stopped(tmp_path: Path) -> None:
    state = used(MULTI)
    save_discriminator(tmp_path / "d.safetensors", MULTI, state)
    resumed = load_discriminator(tmp_path / "d.safetensors").network.train().requires_grad_(True)
    whole = MULTI.build()
    whole.load_state_dict(state)
    x = picture_for(MULTI, 2)
    for network in (resumed, whole):
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
        for _ in range(2):
            torch.stack([logits.mean() for logits in network(x)]).sum().backward()
            optimizer.step()
    assert same(tuple(resumed.state_dict().values()), tuple(whole.state_dict().values()))


def test_the_same_weights_give_the_same_bytes_and_nothing_else_is_left(tmp_path: Path) -> None:
    metadata = {f"key{index}": str(index) for index in range(20)}
    state = used(ATTENTION)
    save_discriminator(tmp_path / "a.safetensors", ATTENTION, state, metadata)
    turned = dict(reversed(state.items())), dict(reversed(metadata.items()))
    save_discriminator(tmp_path / "b.safetensors", ATTENTION, *turned)
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.safetensors", "b.safetensors"]
    read, _ = read_safetensors(tmp_path / "a.safetensors")  # another program's view of it
    assert read["attn_1.W.1.num_batches_tracked"].dtype == np.int64
    assert all(np.array_equal(read[name], tensor.numpy()) for name, tensor in state.items())


def test_a_failed_save_leaves_the_old_file_and_no_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "d.safetensors"
    save_discriminator(path, ATTENTION, used(ATTENTION))
    before = path.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(WeightsError, match="No space left"):
        save_discriminator(path, ATTENTION, used(ATTENTION, 1))
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["d.safetensors"]


def test_only_fitting_and_finite_weights_are_saved(tmp_path: Path) -> None:
    path = tmp_path / "d.safetensors"
    state = used(ATTENTION)
    with pytest.raises(UsageError, match="missing"):
        save_discriminator(path, ATTENTION, {name: t for name, t in state.items() if name != "conv0.bias"})
    with pytest.raises(UsageError, match="should have"):
        save_discriminator(path, AttentionUNetConfig(features=3), state)
    with pytest.raises(UsageError, match="safetensors"):
        save_discriminator(tmp_path / "d.pth", ATTENTION, state)
    with pytest.raises(UsageError, match="has the type int64"):
        save_discriminator(path, ATTENTION, {**state, "conv0.bias": torch.zeros(2, dtype=torch.int64)})
    with pytest.raises(WeightsError, match=r"d\.safetensors: `conv0\.bias`.*not finite"):
        save_discriminator(path, ATTENTION, {**state, "conv0.bias": torch.full((2,), torch.nan)})
    with pytest.raises(WeightsError, match="cannot be written here"):
        save_discriminator(tmp_path / "none" / "d.safetensors", ATTENTION, state)
    assert list(tmp_path.iterdir()) == []


def test_metadata_that_disagrees_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "d.safetensors"
    state = UNetConfig(features=2).build().state_dict()
    for text, said in (
        (UNetConfig(features=3).model_dump_json(), "its tensors disagree"),
        ('{"network": "pixel-gan"}', "names the unknown network 'pixel-gan'"),
        ('{"network": "unet", "feature": 3}', "no valid configuration of unet"),
        ("[]", "does not hold a network configuration"),
    ):
        write_safetensors(path, to_arrays(state), {CONFIG_KEY: text})
        with pytest.raises(WeightsError, match=said):
            load_discriminator(path)


# ------------------------------------------------------------------- published names, written down by hand


def spectral(name: str, shape: tuple[int, int, int]) -> dict[str, tuple[int, ...]]:
    outputs, inputs, kernel = shape
    return {
        f"{name}.weight_orig": (outputs, inputs, kernel, kernel),
        f"{name}.weight_u": (outputs,),
        f"{name}.weight_v": (inputs * kernel * kernel,),
    }


def conv(name: str, outputs: int, inputs: int, kernel: int, bias: bool = True) -> dict[str, tuple[int, ...]]:
    weight: dict[str, tuple[int, ...]] = {f"{name}.weight": (outputs, inputs, kernel, kernel)}
    return {**weight, f"{name}.bias": (outputs,)} if bias else weight


def norm(name: str, width: int) -> dict[str, tuple[int, ...]]:
    kinds = ("weight", "bias", "running_mean", "running_var")
    return {**{f"{name}.{kind}": (width,) for kind in kinds}, f"{name}.num_batches_tracked": ()}


def linear(name: str, outputs: int, inputs: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def a_esrgan(prefix: str = "", f: int = 2) -> dict[str, tuple[int, ...]]:
    names = {**conv("conv0", f, 3, 3), **conv("conv9", 1, f, 3), **spectral("gating", (4 * f, 8 * f, 1))}
    for number, (inputs, outputs) in {1: (1, 2), 2: (2, 4), 3: (4, 8), 4: (8, 4), 5: (4, 2), 6: (2, 1)}.items():
        names |= spectral(f"conv{number}", (outputs * f, inputs * f, 3))
    names |= spectral("conv7", (f, f, 3)) | spectral("conv8", (f, f, 3))
    for number, width in {1: 4 * f, 2: 2 * f, 3: f}.items():
        gate = f"attn_{number}"
        names |= conv(f"{gate}.theta", width, width, 2, bias=False) | conv(f"{gate}.phi", width, 4 * f, 1)
        names |= conv(f"{gate}.psi", 1, width, 1) | conv(f"{gate}.W.0", width, width, 1)
        names |= norm(f"{gate}.W.1", width) | spectral(f"cat_{number}.convU", (width, 2 * width, 3))
    return {prefix + name: shape for name, shape in names.items()}


def real_esrgan(f: int = 2) -> dict[str, tuple[int, ...]]:
    names = {**conv("conv0", f, 3, 3), **conv("conv9", 1, f, 3)}
    for number, (inputs, outputs) in {1: (1, 2), 2: (2, 4), 3: (4, 8)}.items():
        names |= spectral(f"conv{number}", (outputs * f, inputs * f, 4))
    for number, (inputs, outputs) in {4: (8, 4), 5: (4, 2), 6: (2, 1), 7: (1, 1), 8: (1, 1)}.items():
        names |= spectral(f"conv{number}", (outputs * f, inputs * f, 3))
    return names


def basicsr_vgg(side: int, f: int = 2) -> dict[str, tuple[int, ...]]:
    names = {**conv("conv0_0", f, 3, 3), **conv("conv0_1", f, f, 4, bias=False), **norm("bn0_1", f)}
    chain = [1, 2, 4, 8, 8, 8][: 5 if side == 128 else 6]
    for level in range(1, len(chain)):
        inputs, width = chain[level - 1] * f, chain[level] * f
        names |= conv(f"conv{level}_0", width, inputs, 3, bias=False) | norm(f"bn{level}_0", width)
        names |= conv(f"conv{level}_1", width, width, 4, bias=False) | norm(f"bn{level}_1", width)
    return names | linear("linear1", 100, 8 * f * 16) | linear("linear2", 1, 100)


def esrgan_pytorch(f: int = 2, bias: bool = False) -> dict[str, tuple[int, ...]]:
    names = {**conv("features.0", f, 3, 3), **conv("features.2", f, f, 4, bias), **norm("features.3", f)}
    chain = {5: (1, 2, 3), 8: (2, 2, 4), 11: (2, 4, 3), 14: (4, 4, 4), 17: (4, 8, 3), 20: (8, 8, 4)}
    for place, (inputs, width, kernel) in (chain | {23: (8, 8, 3), 26: (8, 8, 4)}).items():
        names |= conv(f"features.{place}", width * f, inputs * f, kernel, bias) | norm(
            f"features.{place + 1}", width * f
        )
    return names | linear("classifier.0", 100, 8 * f * 16) | linear("classifier.2", 1, 100)


def esrdgan(f: int = 2, kernel: int = 3) -> dict[str, tuple[int, ...]]:
    start = "features.{}.strideddownconv"
    names = conv(f"{start.format(0)}.0", f, 3, kernel) | conv(f"{start.format(0)}.2", f, f, 4)
    names |= norm(f"{start.format(0)}.3", f)
    for block, (inputs, width) in enumerate([(1, 2), (2, 4), (4, 8), (8, 8)], start=1):
        here = start.format(block)
        names |= conv(f"{here}.0", width * f, inputs * f, kernel) | norm(f"{here}.1", width * f)
        names |= conv(f"{here}.3", width * f, width * f, 4) | norm(f"{here}.4", width * f)
    return names | linear("classifier.0", 100, 8 * f * 16) | linear("classifier.2", 1, 100)


def pytorch_gan(f: int = 2) -> dict[str, tuple[int, ...]]:
    names = conv("model.0", f, 3, 3) | conv("model.2", f, f, 3) | norm("model.3", f)
    for place, (inputs, width) in {5: (1, 2), 11: (2, 4), 17: (4, 8)}.items():
        names |= conv(f"model.{place}", width * f, inputs * f, 3) | norm(f"model.{place + 1}", width * f)
        names |= conv(f"model.{place + 3}", width * f, width * f, 3) | norm(f"model.{place + 4}", width * f)
    return names | conv("model.23", 1, 8 * f, 3)


def filled(names: dict[str, tuple[int, ...]], seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.tensor(3)
        if name.endswith("num_batches_tracked")
        else torch.rand(shape, generator=generator) + (0.5 if name.endswith("running_var") else -0.5)
        for name, shape in names.items()
    }


TWO = a_esrgan("layer0.") | a_esrgan("layer1.")
PUBLISHED: list[tuple[dict[str, tuple[int, ...]], DiscriminatorConfig, str]] = [
    (a_esrgan(), ATTENTION, "a-esrgan"),
    (a_esrgan("layer0."), ATTENTION, "a-esrgan"),
    (a_esrgan("layer1."), ATTENTION, "a-esrgan"),
    (TWO, MULTI, "a-esrgan"),
    (TWO | a_esrgan("layer2."), MultiScaleConfig(features=2, scales=3), "a-esrgan"),
    (real_esrgan(), UNetConfig(features=2), "basicsr"),
    (basicsr_vgg(128), VGGStyleConfig(features=2), "basicsr"),
    (basicsr_vgg(256), VGGStyleConfig(features=2, input_size=256), "basicsr"),
    (esrgan_pytorch(), VGGStyleConfig(features=2), "esrgan-pytorch"),
    (esrgan_pytorch(bias=True), VGGStyleConfig(features=2, biases="all"), "esrgan-old"),
    (esrdgan(), ESRDGANConfig(features=2), "esrdgan"),
    (esrdgan(kernel=5), ESRDGANConfig(features=2, kernel=5), "esrdgan"),
    (pytorch_gan(), PatchConfig(features=2), "pytorch-gan"),
]


@pytest.mark.parametrize(("names", "config", "dialect"), PUBLISHED, ids=lambda value: str(value)[:60])
@pytest.mark.parametrize(
    ("wrapper", "prefix"),
    [("raw", ""), ("params", ""), ("params", "module."), ("state_dict", "netD."), ("net_d", "netD."), ("raw", "netD.")],
)
def test_published_names_are_recognized(
    tmp_path: Path,
    names: dict[str, tuple[int, ...]],
    config: DiscriminatorConfig,
    dialect: str,
    wrapper: str,
    prefix: str,
) -> None:
    theirs = OrderedDict((prefix + name, tensor) for name, tensor in filled(names).items())
    path = tmp_path / "net_d_5000.pth"
    torch.save(theirs if wrapper == "raw" else {wrapper: theirs, "iter": 5000}, path)
    loaded = load_discriminator(path)
    assert (loaded.config, loaded.dialect, loaded.wrapper) == (config, dialect, wrapper)
    assert load_discriminator(path, config=config).config == config
    assert len(loaded.network.state_dict()) == len(names)


def test_the_names_of_esrgan_pytorch_reach_the_layers_they_belong_to() -> None:
    for bias in (False, True):
        state = filled(esrgan_pytorch(bias=bias))
        found = recognize_discriminator(to_arrays(state))
        chain = [nn.Conv2d(3, 2, 3, 1, 1), nn.LeakyReLU(0.2)]
        widths = [2, 4, 4, 8, 8, 16, 16, 16, 16]
        for number, (inputs, width) in enumerate(zip([2, *widths], widths, strict=False)):
            strided = number % 2 == 0
            kernel, stride = (4, 2) if strided else (3, 1)
            layer = nn.Conv2d(inputs, width, kernel, stride, 1, bias=bias)
            chain += [layer, nn.BatchNorm2d(width), nn.LeakyReLU(0.2)]
        network = nn.Module()
        network.features = nn.Sequential(*chain)
        network.classifier = nn.Sequential(nn.Linear(256, 100), nn.LeakyReLU(0.2), nn.Linear(100, 1))
        network.load_state_dict(state)
        network.eval()
        x = torch.rand(1, 3, 128, 128)
        with torch.no_grad():
            expected = network.classifier(network.features(x).flatten(1))
        torch.testing.assert_close(judged(found.config, to_tensors(found.state), x)[0], expected)


def test_the_weights_of_esrdgan_are_turned_from_bgr() -> None:
    state = filled(esrdgan())
    found = recognize_discriminator(to_arrays(state))
    assert any("BGR" in note for note in found.notes)
    x = picture_for(found.config)
    bgr = judged(found.config, state, x.flip(1))
    torch.testing.assert_close(judged(found.config, to_tensors(found.state), x)[0], bgr[0])


def test_the_newer_spectral_normalization_of_pytorch_is_read() -> None:
    torch.manual_seed(0)
    state = used(UNetConfig(features=2))
    newer: dict[str, Tensor] = {}
    for name in ("conv1", "conv2", "conv3", "conv4", "conv5", "conv6", "conv7", "conv8"):
        outputs, inputs, kernel, _ = state[f"{name}.weight_orig"].shape
        layer = nn.utils.parametrizations.spectral_norm(nn.Conv2d(inputs, outputs, kernel, bias=False)).eval()
        newer |= {f"{name}.{key}": tensor for key, tensor in layer.state_dict().items()}
    newer |= {name: tensor for name, tensor in state.items() if name.startswith(("conv0.", "conv9."))}
    assert "conv1.parametrizations.weight.original" in newer
    found = recognize_discriminator(to_arrays(newer))
    assert found.config == UNetConfig(features=2)
    assert any("newer" in note for note in found.notes)
    network = UNetConfig(features=2).build().eval()
    network.load_state_dict(to_tensors(found.state))
    conv8 = network.get_submodule("conv8")
    assert isinstance(conv8, SpectralConv2d)
    torch.testing.assert_close(conv8.normalize_weight(), layer.weight)


def test_files_from_before_batches_were_counted_are_read() -> None:
    state = {n: t for n, t in filled(pytorch_gan()).items() if not n.endswith("num_batches_tracked")}
    found = recognize_discriminator(to_arrays(state))
    assert found.state["model.3.num_batches_tracked"].dtype == np.int64
    assert any("no batch counts" in note for note in found.notes)


def test_the_discriminator_is_taken_from_a_file_that_holds_both() -> None:
    generator = to_arrays(RRDBNetConfig(features=2, blocks=1, growth=2).build().state_dict())
    theirs = to_arrays(filled(real_esrgan()))
    mixed = {f"netG.{name}": t for name, t in generator.items()} | {f"netD.{name}": t for name, t in theirs.items()}
    for content, wrapper in (
        (mixed, "raw"),
        ({"state_dict": mixed}, "state_dict"),
        ({"net_g": generator, "net_d": {"params": theirs}}, "net_d.params"),
        ({"generator": generator, "discriminator": theirs}, "discriminator"),
    ):
        found = unwrap_discriminator(content)
        assert found.wrapper == wrapper
        assert recognize_discriminator(found.state).config == UNetConfig(features=2)


# ----------------------------------------------------------------------------------------------------- refusals


def saved(tmp_path: Path, names: dict[str, tuple[int, ...]]) -> Path:
    path = tmp_path / "net_d.pth"
    torch.save({"params": filled(names)}, path)
    return path


def test_several_networks_are_never_taken_for_one(tmp_path: Path) -> None:
    path = saved(tmp_path, TWO)
    with pytest.raises(WeightsError, match="multi-scale with 2 networks, and attention-unet was asked for"):
        load_discriminator(path, config=ATTENTION)
    with pytest.raises(WeightsError, match="attention-unet, and multi-scale was asked for"):
        load_discriminator(saved(tmp_path, a_esrgan("layer0.")), config=MULTI)
    three = MultiScaleConfig(features=2, scales=3)
    with pytest.raises(WeightsError, match="scales is 2, and 3 was asked for"):
        load_discriminator(saved(tmp_path, TWO), config=three)
    with pytest.raises(UnknownNetworkError, match=r"layer1\.conv0\.weight"):  # one missing of three
        load_discriminator(saved(tmp_path, a_esrgan("layer0.") | a_esrgan("layer2.")))
    with pytest.raises(UnknownNetworkError):  # one with a prefix and one without
        load_discriminator(saved(tmp_path, a_esrgan() | a_esrgan("layer0.")))


def test_what_weights_cannot_tell_is_taken_from_what_was_asked_for(tmp_path: Path) -> None:
    for names, config in (
        (real_esrgan(), UNetConfig(features=2, skip_connections=False)),
        (pytorch_gan(), PatchConfig(features=2, imagenet_space=False)),
        (esrdgan(), ESRDGANConfig(features=2, activation="relu", init_scale=0.5)),
    ):
        assert load_discriminator(saved(tmp_path, names), config=config).config == config
    with pytest.raises(WeightsError, match="features is 2, and 3 was asked for"):
        load_discriminator(saved(tmp_path, real_esrgan()), config=UNetConfig(features=3))


def test_what_our_own_file_says_is_not_talked_away(tmp_path: Path) -> None:
    path = tmp_path / "d.safetensors"
    config = UNetConfig(features=2)
    save_discriminator(path, config, used(config))
    with pytest.raises(WeightsError, match="skip_connections is True, and False was asked for"):
        load_discriminator(path, config=UNetConfig(features=2, skip_connections=False))
    born = ESRDGANConfig(features=2, init_scale=0.5)
    save_discriminator(path, born, used(born))
    assert load_discriminator(path, config=ESRDGANConfig(features=2)).config == ESRDGANConfig(features=2)


@pytest.mark.parametrize(
    "config", [RRDBNetConfig(features=2, blocks=1, growth=2), PyTorchGANConfig(features=2, blocks=1)]
)
def test_a_generator_is_refused_by_name(tmp_path: Path, config: Any) -> None:
    state = config.build().state_dict()
    torch.save({"params_ema": state}, tmp_path / "g.pth")
    with pytest.raises(WeightsError, match=r"g\.pth: this is a generator \(.*a discriminator is needed"):
        load_discriminator(tmp_path / "g.pth")
    save_weights(tmp_path / "g.safetensors", config, state)
    with pytest.raises(WeightsError, match="this is a generator that Tessera wrote"):
        load_discriminator(tmp_path / "g.safetensors")


def test_our_discriminators_are_refused_as_generators(tmp_path: Path) -> None:
    path = tmp_path / "d.safetensors"
    for config in (ATTENTION, MULTI, UNetConfig(features=2), VGGStyleConfig(features=2), PatchConfig(features=2)):
        save_discriminator(path, config, used(config))
        with pytest.raises(UnknownNetworkError, match="this is a discriminator"):
            load_weights(path)


def test_what_is_no_discriminator_gets_its_sentence(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    with pytest.raises(WeightsError, match="no such file"):
        load_discriminator(path)
    torch.save({"encoder.weight": torch.ones(1)}, path)
    with pytest.raises(UnknownNetworkError, match=r"no discriminator of the ESRGAN family.*`encoder\.weight`"):
        load_discriminator(path)
    torch.save({"epoch": 3}, path)
    with pytest.raises(WeightsError, match="no dictionary of tensors"):
        load_discriminator(path)
    torch.save(ATTENTION.build(), path)  # a whole module is a program
    with pytest.raises(UnsafeWeightsError):
        load_discriminator(path)
    path.rename(tmp_path / "a.bin")
    with pytest.raises(WeightsError, match=r"end in \.pth.*ends in \.bin"):
        load_discriminator(tmp_path / "a.bin")


def test_a_missing_a_strange_and_a_misshapen_weight_are_named(tmp_path: Path) -> None:
    state = filled(a_esrgan())
    del state["conv9.bias"]
    state["extra.weight"] = torch.ones(1)
    state["conv4.weight_orig"] = torch.ones(8, 16, 1, 1)
    with pytest.raises(UnknownNetworkError) as caught:
        recognize_discriminator(to_arrays(state))
    for part in ("`conv9.bias`", "`extra.weight`", "`conv4.weight_orig`", "(8, 16, 1, 1)"):
        assert part in str(caught.value)


@pytest.mark.parametrize("names", [names for names, _, _ in PUBLISHED], ids=lambda names: next(iter(names)))
@pytest.mark.parametrize("shape", [(), (4,), (0, 0, 3, 3), (5000, 3, 3, 3), (4, 99, 3, 3)])
def test_absurd_shapes_are_refused_with_a_sentence(names: dict[str, tuple[int, ...]], shape: tuple[int, ...]) -> None:
    state = to_arrays(filled(names))
    state[next(iter(names))] = np.broadcast_to(np.float32(1), shape)
    with pytest.raises(UnknownNetworkError):
        recognize_discriminator(state)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("conv0.bias", torch.tensor([1.0, torch.inf]), "not finite"),
        ("conv0.bias", torch.ones(2, dtype=torch.int8), "has the type int8"),
        ("attn_1.W.1.num_batches_tracked", torch.tensor(1.5), "counts batches"),
    ],
)
def test_values_that_cannot_be_calculated_with_are_refused(tmp_path: Path, name: str, value: Tensor, said: str) -> None:
    torch.save({**filled(a_esrgan()), name: value}, tmp_path / "d.pth")
    with pytest.raises(WeightsError, match=said):
        load_discriminator(tmp_path / "d.pth")


def test_half_precision_files_become_single_precision_networks(tmp_path: Path) -> None:
    path = tmp_path / "d.safetensors"
    state = {n: t.half() if t.is_floating_point() else t for n, t in used(ATTENTION).items()}
    save_discriminator(path, ATTENTION, state)
    network = load_discriminator(path).network.state_dict()
    assert {tensor.dtype for tensor in network.values()} == {torch.float32, torch.int64}
    assert all(torch.equal(tensor.to(state[name].dtype), state[name]) for name, tensor in network.items())


def test_every_module_can_be_imported_on_its_own() -> None:
    import tessera.discriminators as package

    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"tessera.discriminators.{module.name}")
