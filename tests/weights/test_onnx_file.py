"""ONNX files as generators: known by what they do, refused with a sentence, run like any other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

import tessera
from stand_ins import ran
from tessera.engines.onnxruntime.engine import providers_for
from tessera.engines.opening import open_engine
from tessera.errors import EngineError, WeightsError
from tessera.generators import SRVGGNetCompactConfig
from tessera.weights.files import CONFIG_KEY, inspect_weights, load_weights, save_weights
from tessera.zoo.interpolation import interpolate

H, W = "height", "width"


def write_nearest(
    path: Path,
    *,
    scale: int = 2,
    shape: tuple[str | int, ...] = ("batch", 3, H, W),
    kind: int = TensorProto.FLOAT,
    metadata: dict[str, str] | None = None,
    before: tuple[onnx.NodeProto, ...] = (),
    stretch: tuple[float, float] | None = None,
) -> Path:
    """A network that repeats pixels, after nodes that make `x` of `picture`."""
    sizes = np.array([1, 1, *(stretch or (scale, scale))], np.float32)
    nodes = [
        *(before or (helper.make_node("Identity", ["picture"], ["x"]),)),
        helper.make_node("Resize", ["x", "", "scales"], ["out"], mode="nearest", nearest_mode="floor"),
    ]
    nodes[-1].attribute.append(helper.make_attribute("coordinate_transformation_mode", "asymmetric"))
    graph = helper.make_graph(
        nodes,
        "nearest",
        [helper.make_tensor_value_info("picture", kind, shape)],
        [helper.make_tensor_value_info("out", kind, None)],
        [numpy_helper.from_array(sizes, "scales")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    for key, value in (metadata or {}).items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    onnx.save(model, path)
    return path


def noise(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("scale", [1, 2, 3, 4])
@pytest.mark.parametrize("channels", [1, 3])
def test_scale_and_channels_are_found_by_trying(tmp_path, scale, channels):
    loaded = load_weights(write_nearest(tmp_path / "a.onnx", scale=scale, shape=("b", channels, H, W)))
    config = loaded.config
    assert (config.scale, config.in_channels, config.out_channels, config.multiple) == (scale, channels, channels, 1)
    x = noise(2, channels, 9, 7)
    expected = x.repeat_interleave(scale, 2).repeat_interleave(scale, 3)
    assert torch.equal(ran(open_engine(loaded), x), expected)


def test_a_picture_is_enlarged_in_tiles(tmp_path):
    path = write_nearest(tmp_path / "a.onnx")
    picture = np.random.default_rng(0).integers(0, 256, (70, 90, 3), np.uint8)
    out = tessera.upscale(picture, path, tile=32, overlap=4)
    assert np.array_equal(out, picture.repeat(2, 0).repeat(2, 1))


def test_nothing_is_planned_for_a_file_that_one_engine_runs(tmp_path):
    with tessera.Upscaler(write_nearest(tmp_path / "a.onnx")) as upscaler:
        assert upscaler.plan_lines() == ("plan: onnxruntime fp32, the only engine for this file",)


def test_half_precision_is_taken(tmp_path):
    loaded = load_weights(write_nearest(tmp_path / "a.onnx", kind=TensorProto.FLOAT16))
    x = noise(1, 3, 8, 8)
    out = ran(open_engine(loaded), x)
    assert out.dtype == torch.float32
    assert torch.equal(out[..., ::2, ::2], x.half().float())
    assert inspect_weights(tmp_path / "a.onnx").dtypes == ("float16",)


def test_a_file_of_one_size_takes_smaller_pictures_and_says_what_to_do_with_larger_ones(tmp_path):
    loaded = load_weights(write_nearest(tmp_path / "a.onnx", shape=(1, 3, 32, 48)))
    x = noise(2, 3, 20, 48)
    assert torch.equal(ran(open_engine(loaded), x), x.repeat_interleave(2, 2).repeat_interleave(2, 3))
    assert any("48x32" in note for note in loaded.notes)
    with pytest.raises(WeightsError, match="`tile` 32"):
        ran(open_engine(loaded), noise(1, 3, 33, 48))


def test_sizes_that_must_divide_are_found(tmp_path):
    halved = (
        helper.make_node("SpaceToDepth", ["picture"], ["deep"], blocksize=4),
        helper.make_node("DepthToSpace", ["deep"], ["x"], blocksize=4),
    )
    assert load_weights(write_nearest(tmp_path / "a.onnx", before=halved)).config.multiple == 4


def test_the_configuration_in_the_metadata_is_believed_when_it_fits(tmp_path):
    config = SRVGGNetCompactConfig(features=4, convolutions=1, scale=2)
    path = write_nearest(tmp_path / "a.onnx", metadata={CONFIG_KEY: config.model_dump_json(), "license": "CC0-1.0"})
    loaded = load_weights(path)
    assert loaded.config == config
    assert (loaded.dialect, loaded.metadata["license"]) == ("onnx", "CC0-1.0")
    write_nearest(path, scale=4, metadata={CONFIG_KEY: config.model_dump_json()})
    with pytest.raises(WeightsError, match=r"says x2.*is x4"):
        load_weights(path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"shape": ("b", H, W, 3)}, "expected \\(batch, channels, height, width\\)"),
        ({"shape": (4, 3, H, W)}, "batches of exactly 4"),
        ({"kind": TensorProto.UINT8}, "its input type is tensor\\(uint8\\)"),
        ({"stretch": (2, 3)}, "expected an integer scale"),
        ({"stretch": (1.5, 1.5)}, "expected an integer scale"),
    ],
)
def test_what_is_no_enlarging_network_is_named(tmp_path, changes, words):
    path = write_nearest(tmp_path / "a.onnx", **changes)
    with pytest.raises(WeightsError, match=words) as caught:
        load_weights(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert inspect_weights(path).problem == str(caught.value)


@pytest.mark.parametrize("content", [b"", b"no model", b"\x08\x0a" * 400])
def test_what_is_no_onnx_file_is_one_sentence(tmp_path, content):
    (tmp_path / "a.onnx").write_bytes(content)
    with pytest.raises(WeightsError, match=r"a\.onnx: not an ONNX model"):
        load_weights(tmp_path / "a.onnx")


def test_its_weights_cannot_be_converted_or_mixed(tmp_path):
    config = SRVGGNetCompactConfig(features=4, convolutions=1, scale=2)
    loaded = load_weights(write_nearest(tmp_path / "a.onnx", metadata={CONFIG_KEY: config.model_dump_json()}))
    save_weights(tmp_path / "b.safetensors", config, config.build().state_dict())
    with pytest.raises(WeightsError, match="exported from"):
        interpolate([(loaded, 0.5), (load_weights(tmp_path / "b.safetensors"), 0.5)])


def test_only_onnx_files_go_to_onnx_runtime_and_they_go_nowhere_else(tmp_path):
    loaded = load_weights(write_nearest(tmp_path / "a.onnx"))
    with pytest.raises(EngineError, match="leave `engine` at auto"):
        open_engine(loaded, engine="openvino")
    config = SRVGGNetCompactConfig(features=4, convolutions=1)
    save_weights(tmp_path / "b.safetensors", config, config.build().state_dict())
    with pytest.raises(EngineError, match=r"runs \.onnx files"):
        open_engine(load_weights(tmp_path / "b.safetensors"), engine="onnxruntime")


def test_devices_that_the_runtime_has_not_are_named(tmp_path, monkeypatch):
    loaded = load_weights(write_nearest(tmp_path / "a.onnx"))
    with pytest.raises(EngineError, match=r"quantum.*device.*use"):
        open_engine(loaded, device="quantum")
    for device, provider in (("coreml", "CoreMLExecutionProvider"), ("tensorrt:1", "TensorrtExecutionProvider")):
        monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CPUExecutionProvider"])
        with pytest.raises(EngineError, match=provider):
            open_engine(loaded, device=device)


def test_cuda_multiplies_whole_numbers(monkeypatch):
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CUDAExecutionProvider"])
    (name, settings), (behind, _) = providers_for("cuda:1")
    assert (name, behind) == ("CUDAExecutionProvider", "CPUExecutionProvider")
    assert settings == {"device_id": "1", "use_tf32": "0"}
