"""Exported files do what the model does, say what they are, and never stay when they do not."""

from __future__ import annotations

import dataclasses
import errno
import io
import json
import os
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import openvino
import pytest
import torch

import tessera
from deploy.networks import FAMILY, SUFFIXES, made, noise
from stand_ins import nearest, ran
from tessera.deploy import exporting, places
from tessera.deploy.checking import read_photograph_samples
from tessera.deploy.exporting import export
from tessera.deploy.onnx_graph import build_onnx
from tessera.deploy.passport import MEASURED_KEY, PICTURES_KEY, describe_provenance
from tessera.deploy.settings import ExportSettings, parse_settings
from tessera.deploy.stored import DTYPES
from tessera.deploy.torchscript import build_torchscript_archive
from tessera.engines.opening import open_engine
from tessera.errors import EngineError, ExportError, OutOfMemoryError, UsageError, WeightsError
from tessera.generators import GeneratorConfig, RRDBNetConfig, SRVGGNetCompactConfig
from tessera.images.writer import write_picture
from tessera.storage.atomic import choose_temporary_name, put_in_place
from tessera.weights.files import CONFIG_KEY, LoadedGenerator, inspect_weights, load_weights
from tessera.weights.license import LICENSE_KEY

COMPACT = FAMILY["srvggnetcompact"]

HALVED = FAMILY["rrdbnet x2"]
OURS = ["chart 37x53", "chart 29x19", "cat.png", "coffee.png"]
FAR = (67, 130)
"""(H, W) that nothing here was drawn, traced or checked at, where the network takes odd sizes."""


def far(config: GeneratorConfig) -> torch.Tensor:
    height, width = (side // config.multiple * config.multiple for side in FAR)
    return noise(1, config.in_channels, height, width)


def run_onnx(content: bytes, x: torch.Tensor) -> torch.Tensor:
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(["output"], {"input": x.numpy()})[0])


def run_program(content: bytes, x: torch.Tensor) -> torch.Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        module = torch.jit.load(io.BytesIO(content))
    jit: Any = torch.jit
    with torch.no_grad(), jit.optimized_execution(False):
        return module(x)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# ------------------------------------------------------------------------------------------------------- the graphs


@pytest.mark.parametrize("config", FAMILY.values(), ids=FAMILY)
def test_an_onnx_file_runs_in_onnx_runtime_and_openvino_at_sizes_it_was_not_made_at(config):
    generator = made(config)
    x = far(config)
    expected = generator.network(x)
    content = build_onnx(config, generator.state, ExportSettings(), {})
    torch.testing.assert_close(run_onnx(content, x), expected, atol=1e-5, rtol=1e-5)
    model = openvino.compile_model(openvino.Core().read_model(content), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    torch.testing.assert_close(torch.from_numpy(model(x.numpy())[0]), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("config", "precision"),
    [
        *((FAMILY[name], "fp32") for name in ("rrdbnet x2", "pytorch-gan")),
        (COMPACT, "fp16"),
        *(
            pytest.param(FAMILY[name], "bf16", marks=pytest.mark.slow)
            for name in ("rrdbnet", "esrdnet", "esrgan-pytorch")
        ),
    ],
    ids=str,
)
def test_a_torchscript_program_runs_at_sizes_it_was_not_made_at(config, precision):
    generator = made(config)
    x = noise(1, 3, 18, 34)
    content = build_torchscript_archive(config, generator.state, ExportSettings(precision=precision), {})
    rounded = {
        name: value.to(DTYPES[precision]).float() if value.ndim == 4 else value
        for name, value in generator.state.items()
    }
    expected = torch.func.functional_call(generator.network, rounded, (x,))
    torch.testing.assert_close(run_program(content, x), expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("opset", [11, 22])
def test_every_opset_that_is_offered_passes_the_checker_and_runs(opset):
    for config in (HALVED, COMPACT):
        generator = made(config)
        content = build_onnx(config, generator.state, ExportSettings(opset=opset), {})
        model = onnx.load_from_string(content)
        onnx.checker.check_model(model, full_check=True)
        assert [each.version for each in model.opset_import] == [opset]
        x = noise(1, 3, 8, 6)
        torch.testing.assert_close(run_onnx(content, x), generator.network(x), atol=1e-5, rtol=1e-5)


def test_an_onnx_graph_has_open_sizes_and_names_that_are_the_networks():
    config = FAMILY["rrdbnet"]
    graph = onnx.load_from_string(build_onnx(config, made(config).state, ExportSettings(), {})).graph
    (lq,), (sr,) = graph.input, graph.output
    assert [each.dim_param or each.dim_value for each in lq.type.tensor_type.shape.dim] == [
        *("batch", 3, "height", "width")
    ]
    assert [each.dim_param or each.dim_value for each in sr.type.tensor_type.shape.dim] == [
        *("batch", 3, "output_height", "output_width")
    ]
    convolutions = [node.name for node in graph.node if node.op_type == "Conv"]
    assert "body.0.rdb2.conv3" in convolutions
    assert {f"{name}.weight" for name in convolutions} <= {each.name for each in graph.initializer}
    assert len({node.name for node in graph.node}) == len(graph.node)


@pytest.mark.parametrize(("precision", "dtype"), [("fp16", torch.float16), ("bf16", torch.bfloat16)])
def test_reduced_precision_rounds_the_kernels_and_nothing_else(precision, dtype):
    generator = made(COMPACT)
    content = build_onnx(COMPACT, generator.state, ExportSettings(precision=precision), {})
    rounded = {name: value.to(dtype).float() if value.ndim == 4 else value for name, value in generator.state.items()}
    x = far(COMPACT)
    expected = torch.func.functional_call(generator.network, rounded, (x,))
    torch.testing.assert_close(run_onnx(content, x), expected, atol=1e-6, rtol=1e-5)
    whole = len(build_onnx(COMPACT, generator.state, ExportSettings(), {}))
    kernels = sum(value.numel() for value in generator.state.values() if value.ndim == 4)
    assert len(content) < whole - 2 * kernels + 2000  # two bytes less each, and a Cast for each layer


# -------------------------------------------------------------------------------------------------------- the files


PAIRS = [(name, precision) for name in SUFFIXES for precision in ("fp32", "fp16", "bf16")]
PAIRS.remove(("ncnn", "bf16"))  # which another test says
FIRST = {("onnx", "fp32"), ("openvino", "fp16"), ("torchscript", "bf16"), ("ncnn", "fp16")}


@pytest.mark.parametrize(
    ("name", "precision"),
    [pytest.param(*pair, marks=[] if pair in FIRST else [pytest.mark.slow]) for pair in PAIRS],
)
def test_an_exported_file_goes_straight_back_into_upscaling_and_two_are_the_same(name, precision, tmp_path):
    generator = dataclasses.replace(made(COMPACT), license="CC0-1.0")
    settings = ExportSettings(format=name, precision=precision)
    output = tmp_path / "one" / f"model{SUFFIXES[name]}"
    again = tmp_path / "two" / output.name
    for path in (output, again):
        path.parent.mkdir()
        done = export(generator, path, settings)
    assert files(output.parent) == files(again.parent)
    assert sorted(files(output.parent)) == sorted(path.name for path in done.paths)
    assert done.bytes == sum(map(len, files(again.parent).values()))
    assert len(done.differences) == len(OURS)
    assert all(each.psnr_db > (100 if precision == "fp32" else 60) for each in done.differences)
    read = load_weights(output)
    assert read.config == COMPACT
    picture = np.random.default_rng(0).integers(0, 256, (41, 53, 3), np.uint8)
    expected = tessera.upscale(picture, generator, engine=open_engine(generator, "exact"))
    found = tessera.upscale(picture, output, engine=open_engine(read, "exact"))
    assert np.abs(found.astype(int) - expected).max() <= (1 if precision != "bf16" else 2)


@pytest.mark.parametrize("name", [name for name in SUFFIXES if name != "ncnn"])
def test_a_file_says_what_it_is_and_how_close_it_is(name, tmp_path):
    generator = dataclasses.replace(made(COMPACT), license="CC0-1.0", sha256="ab" * 32)
    path = tmp_path / f"model{SUFFIXES[name]}"
    done = export(generator, path, ExportSettings(format=name, precision="fp16"))
    report = inspect_weights(path)
    assert report.problem is None
    assert report.license == "CC0-1.0"
    told = report.metadata
    assert told["tessera.scale"] == "3"
    assert told["tessera.precision"] == "fp16"
    assert told["tessera.source_sha256"] == "ab" * 32
    assert "[0, 1]" in told["tessera.value_range"]
    measured = json.loads(told[MEASURED_KEY])
    charts = done.differences[:2]
    assert measured["psnr_db"] == pytest.approx(min(each.psnr_db for each in charts), abs=0.06)
    assert measured["largest_levels"] == pytest.approx(max(each.largest_levels for each in charts), rel=0.01)
    assert measured["pictures"] == "chart 37x53, chart 29x19"
    assert json.loads(told[PICTURES_KEY])["pictures"] == 2
    assert "fp32" in measured["compared"]


def test_what_a_file_says_of_itself_is_not_handed_on_to_the_next(tmp_path):
    first = tmp_path / "a.safetensors"
    export(made(COMPACT), first, ExportSettings(format="safetensors", precision="bf16"))
    before = json.loads(inspect_weights(first).metadata[PICTURES_KEY])
    export(load_weights(first), tmp_path / "b.onnx", ExportSettings())
    told = inspect_weights(tmp_path / "b.onnx").metadata
    assert told["tessera.precision"] == "fp32"
    assert json.loads(told[MEASURED_KEY])["runtime"].startswith("onnxruntime")
    assert told["tessera.source"] == "small"  # where the weights come from, not the file between
    after = json.loads(told[PICTURES_KEY])
    assert after["runtime"] != before["runtime"]
    assert after["psnr_db"] > before["psnr_db"] + 10  # from bf16's weights to the same in fp32
    assert LICENSE_KEY not in told
    assert not describe_provenance(load_weights(first)).keys() & {
        MEASURED_KEY,
        PICTURES_KEY,
        "tessera.precision",
        "tessera.exported_by",
    }


@pytest.mark.parametrize("config", FAMILY.values(), ids=FAMILY)
def test_every_network_of_the_family_runs_in_ncnn(config, tmp_path):
    generator = made(config)
    done = export(generator, tmp_path / "a.param", ExportSettings(format="ncnn"))
    assert min(each.psnr_db for each in done.differences) > 100
    read = load_weights(tmp_path / "a.param")
    x = noise(1, 3, 12, 8)
    torch.testing.assert_close(read.network(x), generator.network(x), atol=1e-5, rtol=1e-5)
    # Its convolution is shared, which ncnn's files cannot say: it is read as the RRDBNet that computes the same.
    expected = RRDBNetConfig(features=8, growth=4, blocks=1) if config.network == "esrgan-pytorch" else config
    assert read.config == expected


def test_constants_in_an_ncnn_file_must_be_those_of_the_network(tmp_path):
    export(made(FAMILY["pytorch-gan"]), tmp_path / "a.param", ExportSettings(format="ncnn"))
    path = tmp_path / "a.bin"
    content = bytearray(path.read_bytes())
    content[4:8] = np.float32(4.0).tobytes()  # after the tag the first factor, 1 / 0.229
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="other factors or offsets than pytorch-gan"):
        load_weights(path)


def test_ncnn_fills_odd_counts_of_half_precision_up_to_whole_words(tmp_path):
    config = SRVGGNetCompactConfig(features=7, convolutions=1, scale=1)  # 189 numbers in its first kernel
    generator = made(config)
    export(generator, tmp_path / "a.param", ExportSettings(format="ncnn", precision="fp16"))
    x = noise(1, 3, 9, 8)
    found = ran(open_engine(load_weights(tmp_path / "a.bin"), "exact", engine="ncnn"), x)
    torch.testing.assert_close(found, generator.network(x), atol=2e-3, rtol=1e-2)


@pytest.mark.parametrize("shape", [None, (24, 32), (130, 66)])
def test_the_built_in_photographs_are_photographs_of_the_size_that_a_file_takes(shape):
    for sample in read_photograph_samples(HALVED, shape):
        assert sample.pixels.shape == (1, 3, *(shape or (64, 64)))
        assert 0 <= sample.pixels.min() < sample.pixels.max() <= 1
        neighbors = sample.pixels[..., 1:] - sample.pixels[..., :-1]
        assert 0.005 < neighbors.std() < sample.pixels.std()  # no noise, and nothing flat
    assert read_photograph_samples(SRVGGNetCompactConfig(in_channels=1, out_channels=1), shape)[0].pixels.shape[1] == 1


@pytest.mark.parametrize("name", ["onnx", "openvino"])
def test_a_file_of_one_size_is_checked_at_it_and_takes_no_larger_one(name, tmp_path):
    path = tmp_path / f"a{SUFFIXES[name]}"
    done = export(made(HALVED), path, ExportSettings(format=name, shape=(24, 32)))
    assert [each.picture for each in done.differences] == ["chart 32x24", "cat.png", "coffee.png"]
    network = load_weights(path).network
    assert network(noise(2, 3, 24, 32)).shape == (2, 3, 48, 64)
    with pytest.raises(WeightsError, match="expected pictures of 32x24, found 33x24"):
        network(noise(1, 3, 24, 33))
    with pytest.raises(UsageError, match="divide by 2"):
        export(made(HALVED), tmp_path / "b.onnx", ExportSettings(shape=(24, 33)))


@pytest.mark.parametrize("name", ["onnx", "openvino"])
@pytest.mark.parametrize("sides", [(1, 1), (6, 7)])
def test_sizes_that_do_not_divide_are_refused_with_a_sentence(name, sides, tmp_path):
    path = tmp_path / f"a{SUFFIXES[name]}"
    export(made(HALVED), path, ExportSettings(format=name))
    loaded = load_weights(path)
    assert loaded.config.multiple == 2
    with pytest.raises(WeightsError, match=f"sides that divide by 2, found {sides[1]}x{sides[0]}"):
        ran(open_engine(loaded, "exact"), noise(1, 3, *sides))
    whole = tessera.upscale(np.zeros((*sides, 3), np.uint8), path)
    assert whole.shape == (2 * sides[0], 2 * sides[1], 3)


def test_openvino_files_run_with_openvino_alone_and_can_be_named_by_either_file(tmp_path):
    export(made(COMPACT), tmp_path / "a.xml", ExportSettings(format="openvino"))
    loaded = load_weights(tmp_path / "a.bin")
    assert (loaded.dialect, loaded.config) == ("openvino", COMPACT)
    with pytest.raises(EngineError, match="leave `engine` at auto"):
        open_engine(loaded, engine="pytorch")
    with pytest.raises(WeightsError, match="exported from"):
        _ = loaded.state
    reduced = open_engine(loaded, "exact")
    assert (reduced.name, reduced.precision, reduced.exact()) == ("openvino", "fp32", reduced)
    (tmp_path / "a.bin").unlink()
    with pytest.raises(WeightsError, match=r"a\.bin is missing"):
        load_weights(tmp_path / "a.xml")


@pytest.mark.parametrize("content", [b"", b"<net", b"<?xml version='1.0'?><net name='a' version='11'></net>"])
def test_what_is_no_openvino_file_is_one_sentence(content, tmp_path):
    (tmp_path / "a.xml").write_bytes(content)
    (tmp_path / "a.bin").write_bytes(b"")
    with pytest.raises(WeightsError, match=r"a\.xml: ") as caught:
        load_weights(tmp_path / "a.xml")
    assert "\n" not in str(caught.value)


# ------------------------------------------------------------------------------------------------------- TorchScript


def test_our_torchscript_is_read_without_running_its_program_and_others_are_refused(tmp_path, monkeypatch):
    def never(*_: object, **__: object) -> Any:
        raise AssertionError("a program was loaded")

    generator = made(COMPACT)
    export(generator, tmp_path / "a.pt", ExportSettings(format="torchscript"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(torch.jit.script(torch.nn.Conv2d(3, 3, 3)), tmp_path / "b.pt")
    monkeypatch.setattr(torch.jit, "load", never)
    monkeypatch.setattr(torch, "load", never)
    read = load_weights(tmp_path / "a.pt")
    assert all(torch.equal(read.state[name], value) for name, value in generator.state.items())
    with pytest.raises(WeightsError, match="TorchScript program, which is code"):
        load_weights(tmp_path / "b.pt")


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("tessera.tensors", b"[]", "names are missing"),
        ("tessera.tensors", b'[["a", "float32", [-1]]]', "is damaged"),
        ("tessera.tensors", b'[["a", "int8", [1]]]', "is damaged"),
        ("tessera.tensors", b'[["a", "float32", [99999999, 99999999]]]', "expected .* bytes, found"),
        ("tessera.tensors", b"{", "damaged"),
        ("tessera.config", b"{}", "does not hold a network configuration"),
    ],
)
def test_a_torchscript_file_that_was_changed_is_a_sentence(key, value, words, tmp_path):
    content = build_torchscript_archive(
        COMPACT, made(COMPACT).state, ExportSettings(), {CONFIG_KEY: COMPACT.model_dump_json()}
    )
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(tmp_path / "a.pt", "w") as new:
        for info in old.infolist():
            new.writestr(info, value if info.filename.endswith(f"extra/{key}") else old.read(info))
    with pytest.raises(WeightsError, match=words) as caught:
        load_weights(tmp_path / "a.pt")
    assert str(caught.value).startswith(f"{tmp_path / 'a.pt'}: ")


# ----------------------------------------------------------------------------------------------------- what goes wrong


@pytest.mark.parametrize("name", SUFFIXES)
def test_a_file_that_is_not_the_model_is_deleted_and_said_to_be(name, tmp_path, monkeypatch):
    write = exporting._WRITERS[name]

    def wrong(path: Path, loaded: LoadedGenerator, state: Any, settings: Any, about: Any) -> None:
        write(path, loaded, {key: value * 1.01 for key, value in state.items()}, settings, about)

    monkeypatch.setitem(exporting._WRITERS, name, wrong)
    with pytest.raises(
        ExportError, match="deleted, because its results differ from the model's: on chart 37x53"
    ) as caught:
        export(made(COMPACT), tmp_path / f"a{SUFFIXES[name]}", ExportSettings(format=name))
    assert "levels of 255" in str(caught.value)
    assert files(tmp_path) == {}


@pytest.mark.parametrize("name", SUFFIXES)
def test_a_file_that_no_runtime_reads_is_deleted_and_nothing_is_replaced(name, tmp_path, monkeypatch):
    def torn(path: Path, *_: object) -> None:
        path.write_bytes(b"torn")
        path.with_suffix(".bin").write_bytes(b"torn")

    monkeypatch.setitem(exporting._WRITERS, name, torn)
    output = tmp_path / f"a{SUFFIXES[name]}"
    output.write_bytes(b"precious")
    with pytest.raises(ExportError, match="deleted, because"):
        export(made(COMPACT), output, ExportSettings(format=name), overwrite=True)
    assert {name: content for name, content in files(tmp_path).items() if ".tessera-part" not in name} == {
        output.name: b"precious"
    }


@pytest.mark.parametrize("name", ["onnx", "torchscript", "ncnn"])
def test_a_full_disk_is_a_sentence_and_leaves_nothing(name, tmp_path, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("tessera.storage.files.put_in_place", full)
    with pytest.raises(ExportError, match="No space left on device"):
        export(made(COMPACT), tmp_path / f"a{SUFFIXES[name]}", ExportSettings(format=name))
    monkeypatch.undo()
    assert files(tmp_path) == {}


def test_an_export_removes_what_killed_exports_left_and_follows_no_link(tmp_path):
    """A process number that no process has, on this machine; and a link where the file belongs."""
    forsaken = choose_temporary_name(tmp_path / "a.onnx")
    number = next(number for number in range(2**22 - 1, 0, -1) if not Path(f"/proc/{number}").exists())
    forsaken = forsaken.with_name(forsaken.name.replace(f"part{os.getpid()}-", f"part{number}-"))
    forsaken.write_bytes(b"half")
    (tmp_path / "precious").write_bytes(b"mine")
    (tmp_path / "a.onnx").symlink_to(tmp_path / "precious")
    export(made(COMPACT), tmp_path / "a.onnx", ExportSettings(), overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.onnx", "precious"]
    assert (tmp_path / "precious").read_bytes() == b"mine"
    assert not (tmp_path / "a.onnx").is_symlink()


def test_targets_that_cannot_be_written_are_named_before_the_work(tmp_path):
    generator = made(COMPACT)
    with pytest.raises(UsageError, match=r"no does not exist\. Create it first"):
        export(generator, tmp_path / "no" / "a.onnx", ExportSettings())
    (tmp_path / "a.onnx").mkdir()
    with pytest.raises(UsageError, match="is a folder"):
        export(generator, tmp_path / "a.onnx", ExportSettings())
    (tmp_path / "b.bin").write_bytes(b"of another model")
    with pytest.raises(UsageError, match=r"b\.bin already exists.*`overwrite`"):
        export(generator, tmp_path / "b.xml", ExportSettings(format="openvino"))


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="this user may write everywhere")
def test_a_folder_that_may_not_be_written_to_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(UsageError, match="no permission to write to"):
            export(made(COMPACT), tmp_path / "a.onnx", ExportSettings())
    finally:
        tmp_path.chmod(0o700)


def test_a_folder_that_the_system_says_is_closed_is_refused_before_the_work(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: (Path(path), mode) != (tmp_path, os.W_OK))
    monkeypatch.setattr(exporting, "make_reference", lambda network: pytest.fail("the work began"))
    with pytest.raises(UsageError, match=r"a\.onnx: no permission to write to .*\. Choose another folder"):
        export(made(COMPACT), tmp_path / "a.onnx", ExportSettings())


@pytest.mark.parametrize(("format_name", "ending"), [("openvino", ".XML"), ("ncnn", ".Param")])
def test_files_that_are_found_by_their_ending_have_it_in_small_letters(format_name, ending, tmp_path):
    output = tmp_path / f"a{ending}"
    words = rf"a{ending}: .* ending {ending.lower()}; name it a{ending.lower()}\."
    for name in (None, format_name):
        with pytest.raises(UsageError, match=words):
            parse_settings(output, format_name=name, precision="fp32", shape="dynamic", opset=None)
    with pytest.raises(UsageError, match=words):
        export(made(COMPACT), output, ExportSettings(format=format_name))
    assert files(tmp_path) == {}
    for capital in (".ONNX", ".PT", ".SAFETENSORS"):  # one file finds nothing by its name
        settings = parse_settings(Path(f"a{capital}"), format_name=None, precision="fp32", shape="dynamic", opset=None)
        export(made(COMPACT), tmp_path / f"a{capital}", settings)


FULL = "[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."


@pytest.mark.parametrize("where", ["make_reference", "_open_file"])
@pytest.mark.parametrize(
    "error",
    [RuntimeError(FULL), MemoryError("9 GiB"), OutOfMemoryError("It ran out.")],
    ids=["of PyTorch", "of Python", "of an engine"],
)
def test_memory_that_runs_out_is_a_sentence_and_leaves_nothing(where, error, tmp_path, monkeypatch):
    def too_large(*_: object) -> Any:
        def run(x: torch.Tensor) -> torch.Tensor:
            raise error

        return run

    monkeypatch.setattr(exporting, where, too_large)
    for shape, words in (((64, 32), "a smaller `shape` than 64x32"), (None, "close other programs")):
        with pytest.raises(
            ExportError, match=rf"a\.onnx: memory ran out while the model was running.*{words}"
        ) as caught:
            export(made(COMPACT), tmp_path / "a.onnx", ExportSettings(shape=shape))
        assert "\n" not in str(caught.value)
        assert "is not the model" not in str(caught.value)
    assert files(tmp_path) == {}


def test_other_mistakes_of_a_run_stay_what_they_are(tmp_path, monkeypatch):
    monkeypatch.setattr(exporting, "make_reference", lambda network: lambda x: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        export(made(COMPACT), tmp_path / "a.onnx", ExportSettings())


@pytest.mark.parametrize("name", ["openvino", "ncnn"])
def test_a_stop_between_two_files_never_leaves_those_of_two_models_as_one(name, tmp_path, monkeypatch):
    output = tmp_path / f"a{SUFFIXES[name]}"
    export(made(COMPACT), output, ExportSettings(format=name))

    def stopped(temporary: Path, path: Path) -> None:
        if path == output:
            raise KeyboardInterrupt
        put_in_place(temporary, path)

    monkeypatch.setattr(places, "put_in_place", stopped)
    with pytest.raises(KeyboardInterrupt):
        export(made(COMPACT, seed=1), output, ExportSettings(format=name), overwrite=True)
    assert list(files(tmp_path)) == ["a.bin"]
    with pytest.raises(WeightsError):
        load_weights(tmp_path / "a.bin")
    monkeypatch.undo()
    export(made(COMPACT, seed=1), output, ExportSettings(format=name), overwrite=True)
    assert load_weights(output).config == COMPACT


def test_networks_that_cannot_be_exported_are_named(tmp_path):
    with pytest.raises(UsageError, match="layers are unknown"):
        export(nearest(), tmp_path / "a.onnx", ExportSettings())
    export(made(COMPACT), tmp_path / "a.onnx", ExportSettings())
    with pytest.raises(WeightsError, match="exported from"):
        export(load_weights(tmp_path / "a.onnx"), tmp_path / "b.onnx", ExportSettings())


def test_weights_that_fp16_cannot_hold_are_refused_by_name(tmp_path):
    generator = made(COMPACT)
    with torch.no_grad():
        generator.state["body.2.weight"][0, 0, 0, 0] = 70_000
    with pytest.raises(UsageError, match=r"body\.2\.weight.*70000.*bf16"):
        export(generator, tmp_path / "a.onnx", ExportSettings(precision="fp16"))
    assert files(tmp_path) == {}


def test_pictures_of_the_user_are_compared_as_well(tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    rng = np.random.default_rng(0)
    write_picture(rng.integers(0, 256, (120, 31, 3), np.uint8), folder / "rgb.png")
    write_picture(rng.integers(0, 65_536, (20, 200, 1), np.uint16), folder / "gray.png")
    write_picture(rng.integers(0, 256, (20, 20, 4), np.uint8), folder / "with alpha.png")
    (folder / "notes.txt").write_text("no picture")
    done = export(made(HALVED), tmp_path / "a.onnx", ExportSettings(), check=folder)
    assert [each.picture for each in done.differences] == [
        "chart 38x54",
        "chart 30x20",
        *OURS[2:],
        "gray.png",
        "rgb.png",
        "with alpha.png",
    ]
    told = inspect_weights(tmp_path / "a.onnx").metadata
    assert json.loads(told[MEASURED_KEY])["pictures"].count("chart") == 2
    measured = json.loads(told[PICTURES_KEY])
    assert measured["pictures"] == 5  # and not what they are called: files are handed on
    assert measured["largest_levels"] == pytest.approx(
        max(each.largest_levels for each in done.differences[2:]), rel=0.01
    )
    assert measured["psnr_db"] == pytest.approx(min(each.psnr_db for each in done.differences[2:]), abs=0.06)
    with pytest.raises(UsageError, match="no such folder"):
        export(made(HALVED), tmp_path / "b.onnx", ExportSettings(), check=tmp_path / "nowhere")
    with pytest.raises(UsageError, match="no pictures of at least 512x512"):
        export(made(HALVED), tmp_path / "b.onnx", ExportSettings(shape=(512, 512)), check=folder)


@pytest.mark.slow
@pytest.mark.assets
@pytest.mark.parametrize(("name", "precision"), PAIRS)
def test_real_weights_pass_on_real_photographs(name, precision, assets, tmp_path):
    generator = load_weights(assets / "weights" / "realesr-animevideov3.pth")
    path = tmp_path / f"a{SUFFIXES[name]}"
    done = export(generator, path, ExportSettings(format=name, precision=precision), check=assets / "photos" / "val")
    assert len(done.differences) > len(OURS)
    assert load_weights(path).license == (generator.license if name != "ncnn" else None)  # it has no room for one


def test_settings_that_no_file_can_have_are_refused_where_they_are_made():
    with pytest.raises(ValueError, match="fp32 or fp16"):
        ExportSettings(format="ncnn", precision="bf16")
    with pytest.raises(ValueError, match="any size"):
        ExportSettings(format="torchscript", shape=(8, 8))
    with pytest.raises(ValueError, match="opset 13"):
        ExportSettings(precision="bf16", opset=12)
