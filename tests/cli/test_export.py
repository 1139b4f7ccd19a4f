"""`tessera export`, `tessera npz` and what comes of them, as commands."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from deploy.networks import FAMILY, made
from tessera.cli import main
from tessera.images.picture import read_picture
from tessera.images.writer import write_picture
from tessera.weights.files import save_weights

CONFIG = FAMILY["srvggnetcompact"]


@pytest.fixture
def model(tmp_path: Path) -> str:
    path = tmp_path / "model.safetensors"
    save_weights(path, CONFIG, made(CONFIG).state)
    return str(path)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    write_picture(np.random.default_rng(0).integers(0, 256, (24, 36, 3), np.uint8), folder / "a.png")
    return folder / "a.png"


def test_a_model_is_exported_checked_and_used_for_upscaling(
    model: str, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    out = tmp_path / "model.onnx"
    assert main(["export", model, "-o", str(out), "--precision", "fp16", "--check", str(photo.parent)]) == 0
    said = capsys.readouterr().out
    for part in ("chart 37x53: largest difference", "a.png: largest difference", "PSNR", "dB", "fp16", "onnxruntime"):
        assert part in said
    assert f"{out.stat().st_size:,} bytes" in said
    assert main(["upscale", str(photo), "-n", str(out), "-o", str(tmp_path / "results")]) == 0
    assert read_picture(tmp_path / "results" / "a_out.png").pixels.shape == (72, 108, 3)


def test_the_ending_says_the_format_and_a_pair_is_named_as_one(model: str, tmp_path: Path, capsys):
    assert main(["export", model, "-o", str(tmp_path / "a.param")]) == 0
    said = capsys.readouterr().out
    assert "a.param and a.bin" in said
    assert "no room for metadata; these weights' license is unknown" in said
    assert main(["export", model, "-o", str(tmp_path / "b.onnx"), "--opset", "13", "--shape", "16x24"]) == 0
    written = onnx.load(tmp_path / "b.onnx")
    assert written.opset_import[0].version == 13
    assert [each.dim_value for each in written.graph.input[0].type.tensor_type.shape.dim] == [1, 3, 16, 24]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-o", "a.onnx", "--precision", "int8"], "use `tessera quantize`"),
        (["-o", "a.onnx", "--precision", "fp8"], "expected fp32, fp16 or bf16"),
        (["-o", "a.param", "--precision", "bf16"], "ncnn files hold fp32 or fp16"),
        (["-o", "a.pt", "--shape", "8x8"], "TorchScript files accept any size"),
        (["-o", "a.onnx", "--shape", "8"], "expected dynamic, or HEIGHTxWIDTH"),
        (["-o", "a.xml", "--opset", "13"], "only ONNX has opsets"),
        (["-o", "a.onnx", "--opset", "9"], "expected 11 to 22"),
        (["-o", "a.onnx", "--opset", "11", "--precision", "bf16"], "bf16 needs at least 13"),
        (["-o", "a.engine"], ".onnx (ONNX), .xml (OpenVINO)"),
        (
            ["-o", "a.onnx", "--format", "tensorrt"],
            "expected onnx, openvino, torchscript, ncnn or safetensors, found tensorrt",
        ),
        (["-o", "a.onnx", "--format", "ncnn"], "ncnn files end in .param"),
        (["-o", "nowhere/a.onnx"], "folder nowhere does not exist"),
        (["-o", "a.onnx", "--check", "nowhere"], "no such folder"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(arguments, words, model, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["export", model, *arguments]) == 2
    err = capsys.readouterr().err
    assert words in err
    assert err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]


def test_without_the_package_it_says_which_one_to_install(model, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert main(["export", model, "-o", str(tmp_path / "a.onnx")]) == 2
    assert 'pip install "tessera-sr[export]"' in capsys.readouterr().err


def test_a_failed_check_is_exit_code_1_and_leaves_nothing(model, tmp_path, monkeypatch, capsys):
    from tessera.deploy import checking

    strict = checking.Limit(largest_levels=0.0, least_psnr_db=float("inf"))
    monkeypatch.setitem(checking.LIMITS, "fp16", strict)
    assert main(["export", model, "-o", str(tmp_path / "a.onnx"), "--precision", "fp16"]) == 1
    assert "deleted, because its results differ" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]


def test_an_existing_file_is_replaced_only_when_asked(model, tmp_path, capsys):
    out = tmp_path / "a.onnx"
    out.write_bytes(b"precious")
    assert main(["export", model, "-o", str(out)]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert out.read_bytes() == b"precious"
    assert main(["export", model, "-o", str(out), "--overwrite"]) == 0
    assert out.stat().st_size > 1000


def test_a_build_file_says_what_the_command_does_not(model, tmp_path, capsys):
    build = tmp_path / "build.toml"
    build.write_text(f'model = "{model}"\nprecision = "fp16"\nshape = [16, 24]\n', encoding="utf-8")
    assert main(["export", "--build", str(build), "-o", str(tmp_path / "a.onnx")]) == 0
    said = capsys.readouterr().out
    assert "chart 24x16" in said
    assert "fp16" in said
    assert main(["export", "--build", str(build), "-o", str(tmp_path / "b.onnx"), "--shape", "dynamic"]) == 0
    build.write_text('precision = "int8"\n', encoding="utf-8")
    assert main(["export", "--build", str(build), "-o", str(tmp_path / "c.onnx")]) == 2
    assert "Nothing to export" in capsys.readouterr().err
    assert main(["export", model, "--build", str(build), "-o", str(tmp_path / "c.onnx")]) == 2
    assert "tessera quantize" in capsys.readouterr().err


def test_pictures_go_through_archives_and_come_out_as_the_model_makes_them(model, photo, tmp_path, capsys):
    places = [str(tmp_path / name) for name in ("in", "out", "pictures")]
    assert main(["npz", "pack", str(photo.parent), "-o", places[0]]) == 0
    assert main(["npz", "run", model, places[0], "-o", places[1]]) == 0
    assert main(["npz", "unpack", places[1], "-o", places[2], "--suffix", "_x3"]) == 0
    assert "1 picture in" in capsys.readouterr().out
    assert read_picture(tmp_path / "pictures" / "a_x3.png").pixels.shape == (72, 108, 3)
    assert main(["npz", "pack", str(photo.parent), "-o", places[0], "--size", "8"]) == 2
    assert "HEIGHTxWIDTH" in capsys.readouterr().err
