"""One digest over every file that decides the output, and formats decided by content."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper

from tessera.errors import WeightsError
from tessera.generators import SRVGGNetCompactConfig
from tessera.weights.files import inspect_weights, load_weights, save_weights
from tessera.weights.onnx_parts import list_external_data
from tessera.weights.openvino_core import read_model
from tessera.weights.parts import compute_digest, list_parts
from tessera.zoo.known_files import open_weights

SMALL = SRVGGNetCompactConfig(features=4, convolutions=1, scale=2)


def sha256(*texts: bytes) -> str:
    return hashlib.sha256(b"".join(texts)).hexdigest()


def combined(*paths: Path) -> str:
    return sha256(*(sha256(path.read_bytes()).encode() for path in paths))


def write_external(path: Path, *names: str) -> list[Path]:
    """An ONNX model that adds a constant from each file of these names."""
    tensors: list[onnx.TensorProto] = []
    nodes: list[onnx.NodeProto] = []
    for number, name in enumerate(names):
        tensor = numpy_helper.from_array(np.full((1,), 0.25 * (number + 1), np.float32), f"c{number}")
        tensors.append(tensor)
        source = f"x{number}" if number else "picture"
        nodes.append(helper.make_node("Add", [source, f"c{number}"], [f"x{number + 1}"]))
        (path.parent / name).write_bytes(tensor.raw_data)
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        entry = tensor.external_data.add()
        entry.key, entry.value = "location", name
    shape = ("batch", 3, "height", "width")
    graph = helper.make_graph(
        nodes,
        "sum",
        [helper.make_tensor_value_info("picture", onnx.TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(f"x{len(names)}", onnx.TensorProto.FLOAT, None)],
        tensors,
    )
    path.write_bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10).SerializeToString()
    )
    return [path.parent / name for name in sorted(names)]


def test_one_file_keeps_its_own_checksum(tmp_path):
    path = tmp_path / "a.safetensors"
    save_weights(path, SMALL, SMALL.build().state_dict())
    assert load_weights(path).sha256 == sha256(path.read_bytes()) == compute_digest(path)


def test_external_data_are_parts_of_an_onnx_file(tmp_path):
    path = tmp_path / "a.onnx"
    data = write_external(path, "b.data", "a.data")
    assert list_parts(path) == (path, *data)
    loaded = load_weights(path)
    assert loaded.sha256 == combined(path, *data)
    assert float(loaded.network(torch.zeros(1, 3, 4, 4)).max()) == 0.75
    data[0].write_bytes(np.float32(1).tobytes())
    assert load_weights(path).sha256 == combined(path, *data) != loaded.sha256


def test_external_data_in_a_subgraph_are_found(tmp_path):
    write_external(tmp_path / "inner.onnx", "deep.data")
    inner = onnx.load(tmp_path / "inner.onnx", load_external_data=False).graph
    del inner.input[:]
    node = helper.make_node("If", ["yes"], ["out"])
    node.attribute.append(helper.make_attribute("then_branch", inner))
    node.attribute.append(helper.make_attribute("else_branch", inner))
    graph = helper.make_graph([node], "outer", [], [])
    path = tmp_path / "outer.onnx"
    path.write_bytes(helper.make_model(graph, ir_version=10).SerializeToString())
    assert list_external_data(path) == (tmp_path / "deep.data",)


@pytest.mark.parametrize(
    "location", ["../secret.data", "/etc/passwd", "C:\\x.data", "sub/../../secret.data", "", "link"]
)
def test_external_data_outside_the_folder_are_refused(tmp_path, location):
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "secret.data").write_bytes(bytes(4))
    (folder / "link").symlink_to(tmp_path / "secret.data")
    path = folder / "a.onnx"
    write_external(path, "here.data")
    model = onnx.load(path, load_external_data=False)
    model.graph.initializer[0].external_data[0].value = location
    path.write_bytes(model.SerializeToString())
    with pytest.raises(WeightsError, match="outside its own folder"):
        load_weights(path)


def test_missing_external_data_are_named(tmp_path):
    path = tmp_path / "a.onnx"
    write_external(path, "here.data")[0].unlink()
    with pytest.raises(WeightsError, match=r"'here\.data', which is missing"):
        load_weights(path)


@pytest.mark.parametrize("cut", [1, 7, 20, -1])
def test_a_damaged_onnx_file_is_a_sentence(tmp_path, cut):
    path = tmp_path / "a.onnx"
    write_external(path, "here.data")
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(WeightsError, match="not an ONNX model"):
        load_weights(path)
    assert inspect_weights(path).sha256 is None


def write_openvino(path: Path) -> Path:
    import openvino

    from tessera.engines.openvino.graph import write_graph

    state = {name: value.numpy() for name, value in SMALL.build().state_dict().items()}
    openvino.save_model(write_graph(SMALL, state, (-1, 3, -1, -1)), path, compress_to_fp16=False)
    return path


def test_each_of_the_two_openvino_files_changes_the_digest(tmp_path):
    path = write_openvino(tmp_path / "a.xml")
    values = path.with_suffix(".bin")
    first = load_weights(path).sha256
    assert first == combined(path, values) == load_weights(values).sha256
    path.write_text(path.read_text().replace("</net>", "<!-- later -->\n</net>"))
    second = load_weights(path).sha256
    assert second == combined(path, values) != first


def test_each_of_the_two_ncnn_files_is_a_part(tmp_path):
    from tessera.deploy.exporting import export
    from tessera.deploy.settings import ExportSettings

    weights = tmp_path / "a.safetensors"
    save_weights(weights, SMALL, SMALL.build().state_dict())
    export(load_weights(weights), tmp_path / "a.param", ExportSettings(format="ncnn"))
    text, values = tmp_path / "a.param", tmp_path / "a.bin"
    for given in (text, values):
        assert open_weights(given).sha256 == combined(text, values)
    before = open_weights(text)
    text.write_text(text.read_text().replace("in0", "input0"))
    assert open_weights(text).sha256 == combined(text, values) != before.sha256


@pytest.mark.parametrize("named", ["a.xml", "a.int8.xml"])
def test_other_formats_named_xml_do_not_reach_openvino(tmp_path, named):
    source = tmp_path / "a.onnx"
    onnx.save(
        helper.make_model(
            helper.make_graph(
                [helper.make_node("Identity", ["picture"], ["out"])],
                "same",
                [helper.make_tensor_value_info("picture", onnx.TensorProto.FLOAT, ("b", 3, "h", "w"))],
                [helper.make_tensor_value_info("out", onnx.TensorProto.FLOAT, None)],
            ),
            opset_imports=[helper.make_opsetid("", 18)],
            ir_version=10,
        ),
        source,
    )
    import openvino

    path = tmp_path / named
    path.write_bytes(source.read_bytes())
    path.with_suffix(".bin").write_bytes(b"")
    assert openvino.Core().read_model(str(path)) is not None, "the runtime alone would open it"
    with pytest.raises(WeightsError, match="not an OpenVINO model"):
        load_weights(path)
    with pytest.raises(WeightsError, match="not an OpenVINO model"):
        read_model(path)


def test_an_openvino_model_named_onnx_is_refused(tmp_path):
    path = write_openvino(tmp_path / "a.xml")
    with pytest.raises(WeightsError, match="not an ONNX model"):
        load_weights(path.rename(tmp_path / "a.onnx"))


def test_a_checkpoint_named_bin_is_read(tmp_path):
    state = SMALL.build().state_dict()
    torch.save(state, tmp_path / "pytorch_model.bin")
    loaded = load_weights(tmp_path / "pytorch_model.bin")
    assert loaded.config == SMALL
    assert any("PyTorch checkpoint" in note for note in loaded.notes)
