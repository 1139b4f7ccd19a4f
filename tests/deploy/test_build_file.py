"""Build files of VastModelZOO: what is taken, what is listed, what is refused."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from tessera.cli import main
from tessera.deploy.build_file import CalibrationConfig, import_build, is_foreign_build, read_build
from tessera.errors import UsageError
from tessera.generators import SRVGGNetCompactConfig
from tessera.images.writer import write_picture
from tessera.weights.files import inspect_weights, save_weights

FILE = """\
name: esrgan_x4
frontend:
  shape:
    input: [1, 3, 128, 96]
  type: onnx
  checkpoint: weights/RRDB_ESRGAN_x4.onnx
  dtype: fp32
backend:
  type: tvm_vacc
  dtype: int8
  compile:
    data_transport_mode: 1
  quantize:
    calibrate_mode: kl_divergence
    quantize_per_channel: false
    skip_conv_layers: [0]
dataset:
  type: tvm
  path: DIV2K_test_LR_bicubic/X4
  sampler:
    suffix: png
    get_data_num: 20
  process_ops:
    - type: DecodeImage
    - type: Resize
      size: [64, 48]
    - type: Normalize
      norm_type: null
    - type: ToTensor
    - type: Sharpen
workspace:
  path: ./deploy_weights/
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "build.yaml"
    path.write_text(FILE, encoding="utf-8")
    return path


def test_what_has_a_meaning_here_is_taken(file):
    build = import_build(file).build
    assert (build.name, build.precision, build.shape) == ("esrgan_x4", "int8", (128, 96))
    assert build.model == "weights/RRDB_ESRGAN_x4.onnx"
    assert build.calibration == CalibrationConfig(
        pictures="DIV2K_test_LR_bicubic/X4", count=20, size=(64, 48), method="kl", per_channel=False
    )


def test_everything_else_is_listed_with_a_reason_and_what_was_taken_is_not(file):
    said = " ".join(import_build(file).sentences)
    for key in (
        *("frontend.type", "backend.type", "backend.compile", "backend.quantize.skip_conv_layers", "dataset.type"),
        *("dataset.sampler.suffix", "workspace.path", "Sharpen has no counterpart"),
    ):
        assert key in said
    for key in ("get_data_num", "calibrate_mode", "norm_type", "dataset.path"):
        assert key not in said


def test_sizes_that_a_quantizer_here_has_no_use_for_are_said_to_be_of_none(file):
    said = [sentence for sentence in import_build(file).sentences if "unused with int8" in sentence]
    assert len(said) == 1
    assert "frontend.shape" in said[0]
    assert "dataset.process_ops[1].size" in said[0]
    file.write_text(FILE.replace("dtype: int8", "dtype: fp16"), encoding="utf-8")
    assert "frontend.shape" not in " ".join(import_build(file).sentences)  # a file for this size is what is exported


@pytest.mark.parametrize("precision", ["fp16", "int8"])
@pytest.mark.parametrize("checkpoint", ["model.safetensors", "weights/RRDB_ESRGAN_x4.onnx", "A.ONNX", "~"])
def test_the_command_at_the_head_of_the_file_does_what_the_file_says(precision, checkpoint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = SRVGGNetCompactConfig(features=4, convolutions=1)
    save_weights(Path("model.safetensors"), config, config.build().state_dict())
    rng = np.random.default_rng(0)
    Path("photos").mkdir()
    for number in range(8):
        write_picture(rng.integers(0, 256, (96, 96, 3), np.uint8), Path("photos") / f"{number}.png")
    changed = FILE.replace("weights/RRDB_ESRGAN_x4.onnx", checkpoint).replace("dtype: int8", f"dtype: {precision}")
    Path("theirs.yaml").write_text(changed.replace("[1, 3, 128, 96]", "[1, 3, 16, 24]"), encoding="utf-8")
    assert main(["config", "import", "theirs.yaml", "-o", "build.toml"]) == 0
    (line,) = re.findall("^# (tessera .*)$", Path("build.toml").read_text(encoding="utf-8"), re.MULTILINE)
    meant = {"MODEL": "model.safetensors", "THIS_FILE": "build.toml", "FOLDER": "photos"}
    words: list[str] = [meant.get(word, word) for word in str(line).split()[1:]]
    assert main([*words, *(["--max-drop", "99"] if precision == "int8" else [])]) == 0
    written = inspect_weights(Path(words[words.index("-o") + 1]))
    assert written.metadata["tessera.precision"] == precision


def test_the_text_gives_the_same_build_again(file, tmp_path):
    imported = import_build(file)
    (tmp_path / "build.toml").write_text(imported.text, encoding="utf-8")
    assert read_build(tmp_path / "build.toml") == imported.build


def test_every_published_calibration_has_a_name_here(file):
    for theirs, ours in (("percentile", "percentile"), ("max", "max"), ("mse", "mse"), ("kl_divergence", "kl")):
        file.write_text(FILE.replace("kl_divergence", theirs), encoding="utf-8")
        assert import_build(file).build.calibration.method == ours


def test_a_normalization_that_is_another_is_said_to_be_left_out(file):
    file.write_text(
        FILE.replace("norm_type: null", "norm_type: imagenet\n      mean: [0.4, 0.4, 0.4]"), encoding="utf-8"
    )
    said = " ".join(import_build(file).sentences)
    assert "norm_type" in said
    assert "mean" in said


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("dtype: int8", "dtype: int4", "`backend.dtype` is int4"),
        ("kl_divergence", "entropy", "`backend.quantize.calibrate_mode` is entropy"),
        ("[1, 3, 128, 96]", "[3, 128, 96]", "a list of 4 numbers"),
        ("[1, 3, 128, 96]", "[1, 7, 128, 96]", "1 or 3 channels"),
        ("[64, 48]", "[64, x]", "`dataset.process_ops\\[1\\].size`"),
        ("get_data_num: 20", "get_data_num: 0", "calibration.count"),
        ("  process_ops:\n", "  process_ops: 3\n  ops:\n", "a list of steps"),
        ("backend:", "back:", "this is not a build file"),
    ],
)
def test_what_cannot_be_is_refused_with_its_key(old, new, words, file):
    file.write_text(FILE.replace(old, new), encoding="utf-8")
    with pytest.raises(UsageError, match=words):
        import_build(file)


def test_the_command_tells_build_files_from_files_to_train_with(file, tmp_path, capsys):
    out = tmp_path / "build.toml"
    assert is_foreign_build(file)
    assert main(["config", "import", str(file), "-o", str(out)]) == 0
    assert "backend.compile" in capsys.readouterr().err
    assert read_build(out).name == "esrgan_x4"
    with pytest.raises(UsageError, match="config import"):
        read_build(file)
    (tmp_path / "train.yml").write_text("name: a\nmodel_type: ESRGANModel\n", encoding="utf-8")
    assert not is_foreign_build(tmp_path / "train.yml")


def test_a_wrong_key_in_a_build_file_of_ours_is_named(tmp_path):
    path = tmp_path / "build.toml"
    path.write_text('precison = "fp16"\n', encoding="utf-8")
    with pytest.raises(UsageError, match="precision"):
        read_build(path)
