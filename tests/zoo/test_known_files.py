"""What a weights file holds is remembered by its bytes: its network is read late, and never for another's."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from stand_ins import loaded, nearest
from tessera.errors import WeightsError
from tessera.generators import GeneratorConfig, RRDBNetConfig, SRVGGNetCompactConfig
from tessera.storage.checksum import compute_sha256
from tessera.weights.files import load_weights, save_weights
from tessera.weights.loaded_generator import LoadedGenerator
from tessera.weights.ncnn_writer import write_param, write_values
from tessera.weights.torch_tensors import to_arrays
from tessera.zoo import known_files
from tessera.zoo import models as zoo
from tessera.zoo.known_files import open_weights

CONFIG = SRVGGNetCompactConfig(features=4, convolutions=1, scale=2)
ONE_STAGE = RRDBNetConfig(features=4, blocks=1, growth=3, scale=2, unshuffle=1, stages=(2,))


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TESSERA_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / known_files.FOLDER


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return saved(tmp_path / "net.safetensors")


def fresh(config: GeneratorConfig, seed: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    return config.build().state_dict()


def saved(path: Path, config: GeneratorConfig = CONFIG, seed: int = 0, **metadata: str) -> Path:
    save_weights(path, config, fresh(config, seed), metadata=metadata)
    return path


def saved_as_ncnn(path: Path, config: SRVGGNetCompactConfig, seed: int = 0) -> Path:
    text, modules = write_param(config)
    path.with_suffix(".param").write_text(text)
    path.with_suffix(".bin").write_bytes(write_values(to_arrays(fresh(config, seed)), modules))
    return path


def facts(generator: LoadedGenerator) -> tuple[Any, ...]:
    names = ("config", "name", "source", "sha256", "dialect", "wrapper", "notes", "license", "state_sha256")
    return (*(getattr(generator, name) for name in names), dict(generator.metadata))


def assert_same_network(one: LoadedGenerator, other: LoadedGenerator) -> None:
    first, second = one.network.state_dict(), other.network.state_dict()
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def files(tmp_path: Path) -> list[Path]:
    metadata: Any = {"note": "ü", "tessera.licence": "MIT"}
    whole = saved(tmp_path / "own.safetensors", **metadata)
    checkpoint = tmp_path / "net_g.pth"
    torch.save({"params_ema": {name: value.double() for name, value in fresh(CONFIG, 2).items()}}, checkpoint)
    ncnn = saved_as_ncnn(tmp_path / "x2.ncnn.bin", CONFIG, 3)
    return [whole, checkpoint, ncnn, ncnn.with_suffix(".param")]


def test_a_file_met_again_is_known_at_once_and_its_network_read_when_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for path in files(tmp_path):
        direct, first = load_weights(path), open_weights(path)
        assert first.is_read
        with monkeypatch.context() as patch:
            patch.setattr("tessera.weights.files.load_weights", lambda *_, **__: pytest.fail("the file was read"))
            second = open_weights(path)
            assert facts(second) == facts(first) == facts(direct)
        assert not second.is_read
        assert not second.network.training
        assert_same_network(second, direct)


def test_a_file_that_changed_is_read_again(path: Path):
    before = open_weights(path)
    saved(path, seed=1)
    after = open_weights(path)
    assert after.is_read
    assert after.state_sha256 != before.state_sha256
    assert not open_weights(path).is_read


def test_other_layers_with_the_same_numbers_are_another_ncnn_model(tmp_path: Path):
    path = saved_as_ncnn(tmp_path / "net.bin", SRVGGNetCompactConfig(features=4, convolutions=1, activation="relu"))
    open_weights(path)
    param = path.with_suffix(".param")
    leaky, _ = write_param(SRVGGNetCompactConfig(features=4, convolutions=1, activation="leakyrelu"))
    param.write_text(leaky)
    found = open_weights(path)
    assert found.is_read
    assert found.config.model_dump()["activation"] == "leakyrelu"


def test_a_file_that_changes_between_opening_and_reading_is_refused(path: Path):
    open_weights(path)
    known = open_weights(path)
    saved(path, seed=1)
    with pytest.raises(WeightsError, match=r"net\.safetensors: changed after it was opened"):
        _ = known.network


def test_a_record_that_says_something_else_than_the_file_is_refused_and_forgotten(path: Path, folder: Path):
    open_weights(path)
    (record,) = folder.iterdir()
    kept = json.loads(record.read_text())
    kept["value"]["config"] = CONFIG.model_copy(update={"convolutions": 2}).model_dump_json()
    record.write_text(json.dumps(kept))
    with pytest.raises(WeightsError, match="cached facts were wrong"):
        _ = open_weights(path).network
    assert open_weights(path).config == CONFIG


@pytest.mark.parametrize(
    "change",
    [
        {"config": "{}"},
        {"config": '{"network": "unheard-of"}'},
        {"state_sha256": "short"},
        {"notes": 3},
        {"more": 1},
        None,
    ],
)
def test_a_damaged_record_is_none(path: Path, folder: Path, change: dict[str, Any] | None):
    expected = facts(open_weights(path))
    (record,) = folder.iterdir()
    kept = json.loads(record.read_text())
    kept["value"] = None if change is None else {**kept["value"], **change}
    record.write_text(json.dumps(kept))
    again = open_weights(path)
    assert again.is_read
    assert facts(again) == expected
    assert not open_weights(path).is_read


def test_a_name_and_a_wish_that_decide_about_the_scale_are_part_of_what_is_known(tmp_path: Path):
    torch.save(fresh(ONE_STAGE, 0), tmp_path / "2x_net.pth")
    shutil.copy(tmp_path / "2x_net.pth", tmp_path / "3x_net.pth")
    scales = [open_weights(tmp_path / name).config.scale for name in ("2x_net.pth", "3x_net.pth") * 2]
    assert scales == [2, 3, 2, 3]
    assert open_weights(tmp_path / "2x_net.pth", scale=3).config.scale == 3
    for _ in range(2):
        with pytest.raises(WeightsError, match="x5"):
            open_weights(tmp_path / "2x_net.pth", scale=5)


def test_a_scale_that_was_asked_for_is_asked_for_again_when_the_network_is_read(tmp_path: Path):
    torch.save(fresh(ONE_STAGE, 0), tmp_path / "net.pth")
    open_weights(tmp_path / "net.pth", scale=3)
    known = open_weights(tmp_path / "net.pth", scale=3)
    assert not known.is_read
    assert known.network(torch.zeros(1, 3, 4, 4)).shape == (1, 3, 12, 12)


def test_files_that_cannot_be_used_say_so_every_time(tmp_path: Path, folder: Path):
    (tmp_path / "torn.pth").write_bytes(b"PK\x03\x04 and no more")
    for _ in range(2):
        with pytest.raises(WeightsError, match="torn"):
            open_weights(tmp_path / "torn.pth")
        with pytest.raises(WeightsError, match="no such file"):
            open_weights(tmp_path / "none.pth")
    assert not folder.exists()


def test_onnx_files_and_networks_outside_the_family_are_not_kept(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
):
    for name, generator in (("net.onnx", loaded(CONFIG.build(), CONFIG)), ("net.pth", nearest())):
        (tmp_path / name).write_bytes(b"something")
        read = replace(generator, sha256=compute_sha256(tmp_path / name))
        monkeypatch.setattr("tessera.weights.files.load_weights", lambda *_, read=read, **__: read)
        assert open_weights(tmp_path / name) is read
        assert open_weights(tmp_path / name) is read
    assert not folder.exists()


def test_the_zoo_gives_a_published_model_its_name_and_reads_neither_network_nor_file_twice(
    monkeypatch: pytest.MonkeyPatch,
):
    model = zoo.find_model("realesr-animevideov3")
    path = zoo.locate(model)
    if path is None:
        pytest.skip("the data package is not installed")
    first = zoo.load_model(model.name, offline=True)
    weighed: list[Path] = []

    def weigh(path: Path) -> str:
        weighed.append(path)
        return compute_sha256(path)

    monkeypatch.setattr("tessera.weights.parts.compute_sha256", weigh)
    again = zoo.load_model(model.name, offline=True)
    assert not again.is_read
    assert sorted(weighed) == [path, path.with_suffix(".param")]
    assert (again.name, again.license) == (model.name, model.license)
    assert facts(again) == facts(first)
