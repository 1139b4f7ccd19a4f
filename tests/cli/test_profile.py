"""`tessera profile` as a command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tessera.cli import main
from tessera.generators import RRDBNetConfig, SRVGGNetCompactConfig
from tessera.weights.files import save_weights


def saved(path: Path, config: RRDBNetConfig | SRVGGNetCompactConfig) -> str:
    save_weights(path, config, config.build().state_dict())
    return str(path)


def test_both_conventions_stand_side_by_side_with_their_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["profile", saved(tmp_path / "a.safetensors", SRVGGNetCompactConfig())]) == 0
    out = capsys.readouterr().out
    assert "3x128x128" in out
    (vacc,) = [line for line in out.splitlines() if line.split()[:1] == ["VACC"]]
    assert "22.586" in vacc
    assert "0.9e9" in vacc
    assert "621,424" in out


def test_json_has_every_figure(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = saved(tmp_path / "a.safetensors", RRDBNetConfig(features=4, growth=2, blocks=1, scale=2))
    assert main(["profile", path, "--shape", "3x32x64", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["shape"] == [3, 32, 64]
    assert (
        sum(each["multiply_adds"] for each in found["layers"] if each["kind"] == "convolution")
        == (found["multiply_adds"])
    )
    assert found["activation_peak_bytes"]["fp32"] == 2 * found["activation_peak_bytes"]["fp16, bf16"]


@pytest.mark.parametrize(
    ("shape", "words"),
    [("3x31x64", "multiples of 2"), ("1x32x64", "takes 3 channels, not 1"), ("big", "CHANNELSxHEIGHTxWIDTH")],
)
def test_a_shape_that_means_nothing_is_a_sentence(shape, words, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = saved(tmp_path / "a.safetensors", RRDBNetConfig(features=4, growth=2, blocks=1, scale=2))
    assert main(["profile", path, "--shape", shape]) == 2
    assert words in capsys.readouterr().err
