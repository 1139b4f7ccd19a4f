"""Every network in every dialect: written as another program would, recognized, and computing the same."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from tessera.errors import UnknownNetworkError, WeightsError
from tessera.generators import (
    ESRDnetConfig,
    ESRGANPlusConfig,
    ESRGANPytorchConfig,
    GeneratorConfig,
    PyTorchGANConfig,
    RRDBNetConfig,
    SRVGGNetCompactConfig,
)
from tessera.weights.arrays import Array, State
from tessera.weights.dialects import recognize, state_shapes, to_dialect, unwrap
from tessera.weights.torch_tensors import to_arrays, to_tensors

SMALL = RRDBNetConfig(features=4, blocks=2, growth=3)


def weights_of(config: GeneratorConfig, seed: int = 0) -> dict[str, Array]:
    torch.manual_seed(seed)
    return to_arrays(config.build().state_dict())


def network_of(config: GeneratorConfig, state: State) -> torch.nn.Module:
    network = config.build().eval()
    network.load_state_dict(to_tensors(state))
    return network


sizes = st.fixed_dictionaries({"features": st.integers(1, 6), "blocks": st.integers(1, 3)})
grown = st.fixed_dictionaries({"growth": st.integers(1, 4)})
layouts = st.sampled_from(
    [
        {"scale": 1},
        {"scale": 2},
        {"scale": 4},
        {"scale": 8},
        {"scale": 1, "unshuffle": 1, "stages": ()},
        {"scale": 2, "unshuffle": 1, "stages": (2,)},
        {"scale": 3},
    ]
)


@given(
    size=sizes,
    growth=grown,
    layout=layouts,
    channels=st.sampled_from([1, 3]),
    dialect=st.sampled_from(["basicsr", "esrgan-new", "esrgan-old", "esrdgan"]),
)
@settings(max_examples=60, deadline=None)
def test_any_rrdbnet_is_recognized_in_any_dialect(
    size: dict[str, int], growth: dict[str, int], layout: dict[str, int], channels: int, dialect: str
) -> None:
    config = RRDBNetConfig.model_validate(
        {**size, **growth, **layout, "in_channels": channels, "out_channels": channels}
    )
    state = weights_of(config)
    if dialect == "esrdgan" and (config.unshuffle > 1 or 3 in config.stages):
        with pytest.raises(WeightsError):
            to_dialect(config, state, dialect)
        return
    found = recognize(to_dialect(config, state, dialect), scale=config.scale)
    assert found.config == config
    assert found.dialect == dialect
    assert list(found.state) == list(state)
    assert all(np.array_equal(found.state[name], state[name]) for name in state)


@given(size=sizes, kernels=st.tuples(st.sampled_from([1, 3, 5, 7]), st.sampled_from([1, 3, 5])))
@settings(max_examples=8, deadline=None)
def test_any_esrdnet_is_recognized(size: dict[str, int], kernels: tuple[int, int]) -> None:
    config = ESRDnetConfig.model_validate(
        {**size, "growth": 2, "scale": 2, "lff_kernel": kernels[0], "hr_kernel": kernels[1]}
    )
    state = weights_of(config)
    found = recognize(to_dialect(config, state, "esrdgan"))
    if kernels == (3, 3):
        assert isinstance(found.config, RRDBNetConfig)
    else:
        assert found.config == config
        assert all(np.array_equal(found.state[name], state[name]) for name in state)
    x = torch.rand(1, 3, 4, 5)
    torch.testing.assert_close(network_of(found.config, found.state)(x), network_of(config, state)(x))


@given(
    size=sizes,
    scale=st.sampled_from([1, 2, 4, 8]),
    channels=st.sampled_from([1, 3]),
)
@settings(max_examples=20, deadline=None)
def test_any_pytorch_gan_generator_is_recognized(size: dict[str, int], scale: int, channels: int) -> None:
    config = PyTorchGANConfig.model_validate(
        {**size, "scale": scale, "in_channels": channels, "out_channels": channels}
    )
    found = recognize(to_dialect(config, weights_of(config), "pytorch-gan"))
    assert (found.config, found.dialect) == (config, "pytorch-gan")


@given(
    features=st.integers(1, 6),
    convolutions=st.integers(1, 6),
    scale=st.integers(1, 4),
    activation=st.sampled_from(["prelu", "relu"]),
)
@settings(max_examples=30, deadline=None)
def test_any_srvgg_is_recognized(features: int, convolutions: int, scale: int, activation: str) -> None:
    config = SRVGGNetCompactConfig.model_validate(
        {"features": features, "convolutions": convolutions, "scale": scale, "activation": activation}
    )
    found = recognize(to_dialect(config, weights_of(config), "srvgg"))
    assert (found.config, found.dialect) == (config, "basicsr")
    assert bool(found.notes) == (activation == "relu")


def test_an_esrgan_pytorch_file_becomes_an_rrdbnet_with_the_same_output() -> None:
    config = ESRGANPytorchConfig(features=4, blocks=2, growth=3)
    state = weights_of(config)
    found = recognize(state)
    assert found.config == SMALL
    assert found.dialect == "esrgan-pytorch"
    x = torch.rand(1, 3, 5, 6)
    assert torch.equal(network_of(found.config, found.state)(x), network_of(config, state)(x))
    assert all(
        np.array_equal(array, state[name]) for name, array in to_dialect(SMALL, found.state, "esrgan-pytorch").items()
    )


def test_two_different_enlargements_cannot_be_written_for_esrgan_pytorch() -> None:
    with pytest.raises(WeightsError, match=r"one tensor, `upsampling\.0\.weight`, for both"):
        to_dialect(SMALL, weights_of(SMALL), "esrgan-pytorch")


@pytest.mark.parametrize("kernel", [1, 3])
def test_esrdgan_weights_work_on_bgr_and_are_turned_to_rgb(kernel: int) -> None:
    config = ESRDnetConfig(features=4, blocks=1, growth=2, lff_kernel=kernel)
    theirs = weights_of(config)  # as a file of esrdgan has them: trained on BGR
    found = recognize(theirs)
    rgb = torch.rand(1, 3, 5, 4)
    expected = network_of(config, theirs)(rgb.flip(1)).flip(1)
    torch.testing.assert_close(network_of(found.config, found.state)(rgb), expected)
    assert not torch.allclose(network_of(config, theirs)(rgb), expected)
    assert any("BGR" in note for note in found.notes)


@pytest.mark.parametrize(
    ("dialect", "names"),
    [
        ("esrgan-new", "RRDB_trunk.1.RDB3.conv5.weight trunk_conv.bias upconv2.weight HRconv.weight"),
        (
            "esrgan-old",
            "model.0.weight model.1.sub.1.RDB3.conv5.0.weight model.1.sub.2.bias model.3.weight model.6.weight "
            "model.8.weight model.10.bias",
        ),
        (
            "esrdgan",
            "model.0.weight model.1.module.0.rdbs.2.conv4.conv.0.weight model.1.module.0.rdbs.0.LFF.bias "
            "model.1.module.2.weight model.2.upconv.1.weight model.3.upconv.1.bias model.4.weight model.6.weight",
        ),
    ],
)
def test_dialects_use_the_names_that_published_files_have(dialect: str, names: str) -> None:
    assert set(names.split()) <= to_dialect(SMALL, weights_of(SMALL), dialect).keys()


def test_one_stage_of_enlargement_is_x2_unless_scale_or_name_says_x3() -> None:
    config = RRDBNetConfig(scale=3, features=4, blocks=1, growth=2)
    state = to_dialect(config, weights_of(config), "esrgan-old")
    assert recognize(state).config.scale == 2
    assert recognize(state, named_scale=3).config == config
    assert recognize(state, scale=3).config == config
    assert recognize(state, scale=2, named_scale=3).config.scale == 2
    assert "cannot" not in recognize(state).notes[0]
    assert "x2 or x3" in recognize(state).notes[0]
    with pytest.raises(WeightsError, match="x4 was requested"):
        recognize(state, scale=4)


def test_a_name_that_says_x3_does_not_change_an_x4_network() -> None:
    assert recognize(weights_of(SMALL), named_scale=3).config == SMALL


# -------------------------------------------------------------------------------------------------- unwrapping


@pytest.mark.parametrize(
    "wrapper", ["params_ema", "params-ema", "params", "state_dict", "model_state_dict", "model", "net", "generator"]
)
@pytest.mark.parametrize("prefix", ["", "module.", "netG.", "generator.", "module.netG.", "_orig_mod."])
def test_wrappers_and_prefixes_are_taken_off(wrapper: str, prefix: str) -> None:
    state = weights_of(SMALL)
    found = unwrap({wrapper: {prefix + name: tensor for name, tensor in state.items()}, "iter": 5})
    assert found.wrapper == wrapper
    assert found.state.keys() == state.keys()


def test_bare_weights_are_called_raw() -> None:
    state = weights_of(SMALL)
    assert unwrap(state).wrapper == "raw"
    assert recognize(unwrap(state).state).config == SMALL


def test_averaged_weights_are_preferred() -> None:
    plain, averaged = weights_of(SMALL, 1), weights_of(SMALL, 2)
    found = unwrap({"params": plain, "params_ema": averaged})
    assert found.wrapper == "params_ema"
    assert found.state["conv_first.weight"] is averaged["conv_first.weight"]


@pytest.mark.parametrize(
    "key", ["params_ema", "net_g_ema", "ema", "state_dict_ema", "generator_ema", "G_EMA", "model-ema"]
)
@pytest.mark.parametrize("raw", ["params", "model", "state_dict", "net_g", "G"])
def test_averaged_weights_are_taken_whatever_their_key_is_and_named(key: str, raw: str) -> None:
    plain, averaged = weights_of(SMALL, 1), weights_of(SMALL, 2)
    for content in ({raw: plain, key: averaged}, {key: averaged, raw: plain}):
        found = unwrap(content)
        assert found.state["conv_first.weight"] is averaged["conv_first.weight"]
        assert f"averaged weights in `{key}`" in found.notes[0]
        assert f"`{raw}`" in found.notes[0]


@pytest.mark.parametrize("prefix", ["generator_ema.", "net_g_ema.", "ema."])
def test_averaged_weights_are_taken_by_their_prefix(prefix: str) -> None:
    """MMEditing's files hold both generators and a counter in one dictionary."""
    plain, averaged = weights_of(SMALL, 1), weights_of(SMALL, 2)
    both = {f"generator.{name}": tensor for name, tensor in plain.items()}
    both |= {f"{prefix}{name}": tensor for name, tensor in averaged.items()}
    found = unwrap({"state_dict": {**both, "step_counter": np.array(3)}})
    assert found.state.keys() == averaged.keys()
    assert found.state["conv_first.weight"] is averaged["conv_first.weight"]
    assert any("averaged weights" in note for note in found.notes)


@pytest.mark.parametrize(
    ("path", "raw"),
    [
        (("ema", "shadow"), ("params",)),
        (("ema", "module"), ("model",)),
        (("ema_model", "state"), ("net_g",)),
        (("extra", "params_ema"), ("params",)),
        (("callbacks", "EMA", "weights"), ("state_dict",)),
        (("model", "ema"), ("model", "params")),
        (("state", "ema"), ("state", "raw")),
    ],
)
def test_averaged_weights_are_found_under_other_keys(path: tuple[str, ...], raw: tuple[str, ...]) -> None:
    plain, averaged = weights_of(SMALL, 1), weights_of(SMALL, 2)
    content: dict[str, Any] = {"epoch": 3, "optimizer": {"ema": {"conv_first.weight": np.ones(1)}}}
    for keys, state in ((raw, plain), (path, averaged)):
        inner = content
        for key in keys[:-1]:
            inner = inner.setdefault(key, {})
        inner[keys[-1]] = state
    found = unwrap(content)
    assert found.state["conv_first.weight"] is averaged["conv_first.weight"]
    note = f"Used the averaged weights in `{'.'.join(path)}`, not those in `{'.'.join(raw)}`."
    assert found.notes == found.choices == (note,)


def test_averaged_weights_without_names_are_said_to_be_unused() -> None:
    """torch_ema 0.3: `state_dict()` gives `decay`, `num_updates`, `shadow_params` and `collected_params`."""
    plain = weights_of(SMALL)
    found = unwrap({"params": plain, "ema": {"decay": 0.999, "shadow_params": list(plain.values())}})
    assert found.state.keys() == plain.keys()
    assert found.notes == ("The averaged weights in `ema.shadow_params` have no names and were not used.",)
    assert found.choices == found.notes


@pytest.mark.parametrize("key", ["state", "weights", "upscaler"])
def test_the_only_dictionary_of_tensors_is_taken_whatever_its_key(key: str) -> None:
    state = weights_of(SMALL)
    optimizer = {"state": {0: {"exp_avg": np.ones(3)}}, "param_groups": [{"lr": 1e-4}]}
    found = unwrap({"epoch": 3, "optimizer": optimizer, "netD": {"conv0.weight": np.ones(1)}, key: state})
    assert found.wrapper == key
    assert found.state.keys() == state.keys()


def test_averaged_discriminators_and_words_that_contain_ema_are_not_taken() -> None:
    plain, other = weights_of(SMALL, 1), weights_of(SMALL, 2)
    for key in ("net_d_ema", "D_ema", "schema", "discriminator_ema"):
        assert unwrap({"net_g": plain, key: other}).state["conv_first.weight"] is plain["conv_first.weight"]


def test_files_of_generator_and_discriminator_give_the_generator() -> None:
    state = weights_of(SMALL)
    for generator, discriminator in (("G", "D"), ("g", "d"), ("netG", "netD"), ("G_state_dict", "D_state_dict")):
        found = unwrap({discriminator: {"conv0.weight": np.ones(1)}, generator: state, "epoch": 3})
        assert found.state["conv_first.weight"] is state["conv_first.weight"]


def test_averages_of_pytorch_have_a_counter_outside_of_their_prefix() -> None:
    """`torch.optim.swa_utils.AveragedModel` writes `n_averaged` next to `module.`."""
    averaged = torch.optim.swa_utils.AveragedModel(SMALL.build())
    assert recognize(unwrap(to_arrays(averaged.state_dict())).state).config == SMALL


def test_one_tensor_too_many_is_left_out_with_a_note_and_two_are_refused() -> None:
    state = {**weights_of(SMALL), "mean": np.zeros((1, 3, 1, 1))}
    found = recognize(state)
    assert found.config == SMALL
    assert "mean" not in found.state
    assert "`mean`" in found.notes[0]
    with pytest.raises(UnknownNetworkError, match=r"2 names do not belong.*`mean`, `extra`"):
        recognize({**state, "extra": np.zeros(1)})


def test_shared_dictionaries_are_visited_once() -> None:
    """Four levels of dictionaries that all hold the next one under many keys are a million paths."""
    content: Any = {"epoch": 3}
    visits = 0

    class Counting(dict[str, Any]):
        def values(self) -> Any:
            nonlocal visits
            visits += 1
            return super().values()

    for _ in range(4):
        content = Counting({**dict.fromkeys((f"x{n}_ema" for n in range(30)), content), "params": content})
    with pytest.raises(WeightsError):
        unwrap(content)
    assert visits < 50


def test_wrappers_inside_wrappers_are_found() -> None:
    assert unwrap({"model": {"params": weights_of(SMALL)}, "epoch": 3}).wrapper == "model.params"


def test_the_generator_is_taken_from_a_file_that_holds_both() -> None:
    both = {"netG." + name: tensor for name, tensor in weights_of(SMALL).items()} | {"netD.conv0.weight": np.ones(1)}
    found = unwrap({"state_dict": both})
    assert recognize(found.state).config == SMALL
    assert "left out 1" in found.notes[0]


def test_the_names_of_the_original_architecture_keep_their_model_prefix() -> None:
    old = to_dialect(SMALL, weights_of(SMALL), "esrgan-old")
    assert unwrap(old).state.keys() == old.keys()
    assert unwrap({"model." + name: tensor for name, tensor in weights_of(SMALL).items()}).state.keys() == (
        weights_of(SMALL).keys()
    )


@pytest.mark.parametrize("content", [{}, {"epoch": 3}, [], None, 3, np.ones(3), {"params": {}}, {3: np.ones(1)}])
def test_what_holds_no_tensors_is_refused(content: object) -> None:
    with pytest.raises(WeightsError):
        recognize(unwrap(content).state)


# ---------------------------------------------------------------------------------------------------- refusals


def test_a_missing_an_unexpected_and_a_misshapen_weight_are_named() -> None:
    state = dict(weights_of(SMALL))
    del state["conv_hr.bias"]
    state["extra.weight"] = np.ones(1)
    state["body.1.rdb2.conv3.weight"] = np.ones((3, 10, 1, 1))
    with pytest.raises(UnknownNetworkError) as caught:
        recognize(state)
    for part in ("`conv_hr.bias`", "`extra.weight`", "`body.1.rdb2.conv3.weight`", "(3, 10, 1, 1)", "(3, 10, 3, 3)"):
        assert part in str(caught.value)


def test_the_nearest_network_is_named() -> None:
    state = {name: tensor for name, tensor in weights_of(SMALL).items() if not name.startswith("conv_first")}
    with pytest.raises(UnknownNetworkError, match=r"nearest is RRDBNet with the names of BasicSR.*conv_first\.weight"):
        recognize(state)


def test_names_of_nothing_known_are_listed() -> None:
    with pytest.raises(UnknownNetworkError, match=r"none of their names is known \(`layers.0.attention.weight`\)"):
        recognize({"layers.0.attention.weight": np.ones(1)})


def test_one_tensor_outside_of_the_network_is_left_out_with_a_note() -> None:
    found = recognize(dict(weights_of(SMALL)) | {"extra.weight": np.ones(3)})
    assert found.config == SMALL
    assert "extra.weight" not in found.state
    assert any("Left out `extra.weight`" in note for note in found.notes)


def test_a_layer_too_many_is_refused() -> None:
    state = dict(weights_of(SMALL)) | {"body.0.rdb1.conv1x1.weight": np.ones((3, 4, 1, 1))}
    with pytest.raises(UnknownNetworkError, match=r"1 names do not belong to it \(`body\.0\.rdb1\.conv1x1\.weight`\)"):
        recognize(state)


def original_esrgan_plus(seed: int = 0) -> dict[str, Tensor]:
    """Random weights under the names of the files of ESRGAN+ (x4, 2 blocks), whose 1x1 convolutions have no bias."""
    generator = torch.Generator().manual_seed(seed)
    state: dict[str, Tensor] = {}

    def conv(name: str, outputs: int, inputs: int, kernel: int = 3, *, bias: bool = True) -> None:
        state[f"{name}.weight"] = torch.randn(outputs, inputs, kernel, kernel, generator=generator) * 0.1
        if bias:
            state[f"{name}.bias"] = torch.randn(outputs, generator=generator) * 0.1

    conv("model.0", 8, 3)
    for block in range(2):
        for dense in (1, 2, 3):
            start = f"model.1.sub.{block}.RDB{dense}"
            conv(f"{start}.conv1x1", 4, 8, 1, bias=False)
            for k in range(1, 6):
                conv(f"{start}.conv{k}.0", 4 if k < 5 else 8, 8 + (k - 1) * 4)
    for name in ("model.1.sub.2", "model.3", "model.6", "model.8"):
        conv(name, 8, 8)
    conv("model.10", 3, 8)
    return state


def run_esrgan_plus(state: dict[str, Tensor], x: Tensor) -> Tensor:
    """The forward pass of the paper's code (ResidualDenseBlock_5C without noise), from the tensors of its file."""

    def conv(name: str, x: Tensor) -> Tensor:
        weight = state[f"{name}.weight"]
        return functional.conv2d(x, weight, state.get(f"{name}.bias"), padding=weight.shape[-1] // 2)

    def act(x: Tensor) -> Tensor:
        return functional.leaky_relu(x, 0.2)

    first = x = conv("model.0", x)
    for block in range(2):
        before = x
        for dense in (1, 2, 3):
            start = f"model.1.sub.{block}.RDB{dense}"
            x1 = act(conv(f"{start}.conv1.0", x))
            x2 = act(conv(f"{start}.conv2.0", torch.cat((x, x1), 1)))
            x2 = x2 + conv(f"{start}.conv1x1", x)
            x3 = act(conv(f"{start}.conv3.0", torch.cat((x, x1, x2), 1)))
            x4 = act(conv(f"{start}.conv4.0", torch.cat((x, x1, x2, x3), 1)))
            x4 = x4 + x2
            x = conv(f"{start}.conv5.0", torch.cat((x, x1, x2, x3, x4), 1)) * 0.2 + x
        x = x * 0.2 + before
    x = first + conv("model.1.sub.2", x)
    for name in ("model.3", "model.6"):
        x = act(conv(name, functional.interpolate(x, scale_factor=2, mode="nearest")))
    return conv("model.10", act(conv("model.8", x)))


@pytest.mark.parametrize("wrapped", [False, True])
def test_esrgan_plus_computes_what_its_own_program_computes(wrapped: bool) -> None:
    tensors = original_esrgan_plus()
    state = to_arrays(tensors)
    found = recognize(unwrap({"params": state} if wrapped else state).state)
    assert found.config == ESRGANPlusConfig(features=8, blocks=2, growth=4)
    network = network_of(found.config, found.state)
    x = torch.rand(2, 3, 9, 7, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(network(x), run_esrgan_plus(tensors, x), atol=1e-6, rtol=1e-5)
    back = to_dialect(found.config, found.state, "esrgan-plus")
    assert back.keys() == state.keys()
    assert all(np.array_equal(back[name], array) for name, array in state.items())
    found.state["body.1.rdb2.conv1x1.bias"][0] = 1
    with pytest.raises(WeightsError, match=r"no `model\.1\.sub\.1\.RDB2\.conv1x1\.bias`"):
        to_dialect(found.config, found.state, "esrgan-plus")


@pytest.mark.parametrize(
    "names",
    [
        ["conv0.weight", "conv1.weight_orig", "conv9.weight"],
        ["conv0.weight", "conv1.weight_orig", "gating.weight_orig", "attn_1.theta.weight"],
        ["layer0.conv0.weight", "layer1.conv0.weight"],
        ["conv0_0.weight", "conv4_1.weight", "linear1.weight", "linear2.weight"],
        ["model.0.weight", "model.2.weight", "model.3.running_mean", "model.23.weight"],
        ["features.0.weight", "classifier.0.weight", "classifier.2.weight"],
        ["features.0.strideddownconv.0.weight", "classifier.0.weight", "classifier.2.weight"],
    ],
)
def test_discriminators_are_recognized_and_refused(names: list[str]) -> None:
    with pytest.raises(UnknownNetworkError, match="this is a discriminator"):
        recognize({name: np.ones(1) for name in names})


@pytest.mark.parametrize("shape", [(), (0,), (4,), (4, 3), (4, 3, 3, 3, 3), (0, 0, 3, 3), (5000, 3, 3, 3)])
@pytest.mark.parametrize("dialect", ["basicsr", "esrgan-old", "esrdgan", "pytorch-gan", "esrgan-pytorch", "srvgg"])
def test_absurd_shapes_are_refused_with_a_sentence(shape: tuple[int, ...], dialect: str) -> None:
    if dialect in {"basicsr", "esrgan-old", "esrdgan"}:
        state = to_dialect(SMALL, weights_of(SMALL), dialect)
    elif dialect == "esrgan-pytorch":
        state = weights_of(ESRGANPytorchConfig(features=4, blocks=1, growth=2))
    elif dialect == "pytorch-gan":
        state = weights_of(PyTorchGANConfig(features=4, blocks=1))
    else:
        state = weights_of(SRVGGNetCompactConfig(features=4, convolutions=1))
    for name in (next(name for name in state if name.endswith("weight")), list(state)[-2]):
        broken = copy.copy(state)
        broken[name] = np.broadcast_to(np.float32(1), shape)
        with pytest.raises(UnknownNetworkError):
            recognize(broken)


def test_shapes_of_the_largest_network_take_no_memory() -> None:
    shapes = state_shapes(RRDBNetConfig(features=1024, growth=1024, blocks=2))
    assert shapes["body.1.rdb3.conv5.weight"] == (1024, 5120, 3, 3)
