"""Int8 forms: found beside their model, only if they are of it and say what they lose; used where speed is wanted."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from deploy.test_quantizing import SMALL, pictures
from tessera.cli import main
from tessera.deploy.held_out import read_photograph
from tessera.deploy.quantizing import quantize
from tessera.engines.openvino.engine import OpenVinoEngine
from tessera.generators import SRVGGNetCompactConfig
from tessera.planning import planner, preparing
from tessera.upscaling.upscaler import Upscaler
from tessera.weights.files import inspect_weights, load_weights, save_weights
from tessera.zoo.int8_file import QUANTIZED_KEY, find_int8, read_psnr_drop_db, was_calibrated_on
from tessera.zoo.models import load_model
from test_without_torch import without_torch

pytestmark = pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="openvino is not installed")

CONFIG = SRVGGNetCompactConfig(features=8, convolutions=2, scale=2)


@pytest.fixture(scope="module")
def quantized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model and its int8 form."""
    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    save_weights(folder / "model.safetensors", CONFIG, CONFIG.build().state_dict())
    calibration, evaluation = pictures(folder / "c", 12), pictures(folder / "e", 3, seed=1)
    loaded = load_weights(folder / "model.safetensors")
    quantize(loaded, folder / "model.int8.xml", SMALL, calibration, evaluation=evaluation)
    return folder


@pytest.fixture
def folder(quantized: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Copies of them, and an empty cache and models folder."""
    monkeypatch.setenv("TESSERA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TESSERA_MODELS", str(tmp_path / "models"))
    monkeypatch.setattr(preparing, "has_int8", lambda: True)
    for path in quantized.glob("model.*"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def test_the_int8_form_is_found_beside_its_model_only_if_it_is_of_that_model(folder: Path):
    loaded = load_weights(folder / "model.safetensors")
    found = find_int8(loaded)
    assert found is not None
    assert (found.path, found.is_all_int8) == (folder / "model.int8.xml", True)
    assert found.psnr_drop_db == read_psnr_drop_db(inspect_weights(found.path).metadata)
    assert find_int8(loaded, most_db=found.psnr_drop_db - 0.001) is None
    assert find_int8(dataclasses.replace(loaded, network=loaded.network, sha256="1" * 64)) is None


def test_the_int8_form_is_found_in_the_models_folder_under_the_checksum_of_the_weights(folder: Path):
    loaded = load_weights(folder / "model.safetensors")
    (folder / "models").mkdir()
    for end in (".xml", ".bin"):
        (folder / f"model.int8{end}").rename(folder / "models" / f"{loaded.sha256[:16]}.int8{end}")
    found = find_int8(loaded)
    assert found is not None
    assert found.path.parent == folder / "models"


def test_the_table_refuses_to_measure_on_pictures_of_the_calibration(folder: Path, quantized: Path, capsys):
    table = ["deploy-table", str(folder / "model.safetensors"), "--rounds", "1", "--offline"]
    assert main([*table, "--bench", str(quantized / "c")]) == 2
    assert "was calibrated on 00.png" in " ".join(capsys.readouterr().err.split())
    metadata = inspect_weights(folder / "model.int8.xml").metadata
    digests = {
        name: [read_photograph(path, 3).sha256 for path in sorted((quantized / name).iterdir())] for name in ("c", "e")
    }
    assert all(was_calibrated_on(metadata, digest) for digest in digests["c"])  # nine calibrated, three chose
    assert not any(was_calibrated_on(metadata, digest) for digest in digests["e"])


@pytest.mark.parametrize("kind", ["a copy in another file", "a mix"])
def test_the_int8_form_of_a_copy_or_a_mix_is_found_as_well(kind: str, folder: Path, quantized: Path):
    model = str(folder / "model.safetensors")
    if kind == "a mix":
        torch.manual_seed(1)
        save_weights(folder / "other.safetensors", CONFIG, CONFIG.build().state_dict())
        spec = f"{model}@0.5+{folder / 'other.safetensors'}@0.5"
    else:
        spec = str(folder / "copy.safetensors")
        assert main(["export", model, "-o", spec]) == 0
    options = ["--calibration", str(quantized / "c"), "--size", "24", "--max-drop", "100"]
    assert main(["quantize", spec, *options]) == 0
    found = find_int8(load_model(spec))
    assert found is not None
    assert found.path.parent == folder / "models"


@pytest.mark.parametrize("damage", ["cut", "silent", "without numbers", "not finite", "no file of OpenVINO"])
def test_a_form_that_is_damaged_or_does_not_say_what_it_loses_is_passed_over(folder: Path, damage: str):
    path = folder / "model.int8.xml"
    text = path.read_text()
    assert QUANTIZED_KEY in text
    if damage == "without numbers":
        path.with_suffix(".bin").unlink()
    else:
        changed = {
            "cut": text[: text.index("</tessera>")],
            "silent": text.replace("psnr_drop_db", "something"),
            "not finite": text.replace("&quot;psnr_drop_db&quot;: ", "&quot;psnr_drop_db&quot;: NaN, &quot;x&quot;: "),
            "no file of OpenVINO": "<tessera><tessera>" * 9,
        }
        path.write_text(changed[damage])
    assert find_int8(load_weights(folder / "model.safetensors")) is None


def candidates_of(path: Path, **settings: object) -> list[str]:
    """The candidates of the plan that is made, by engine and precision."""
    made = Upscaler(path, **settings).prepare().planner  # pyright: ignore[reportArgumentType]
    assert made is not None
    return [f"{each.engine} {each.precision}" for each in made.plan.candidates]


def test_only_fast_lets_the_int8_form_take_part_and_only_where_it_is_good_enough(folder: Path, monkeypatch):
    monkeypatch.setattr(planner.Planner, "_update_timings", lambda self, plan: plan)
    path = folder / "model.safetensors"
    assert "openvino int8" in candidates_of(path, precision="fast")
    assert "openvino int8" not in candidates_of(path, precision="auto")
    assert "openvino int8" not in candidates_of(path, precision="exact")
    assert "openvino int8" not in candidates_of(path, precision="fast", engine="pytorch")
    with monkeypatch.context() as patch:
        patch.setattr("tessera.zoo.int8_file.MOST_LOST_DB", -100.0)
        assert "openvino int8" not in candidates_of(path, precision="fast")
    with monkeypatch.context() as patch:
        patch.setattr(preparing, "has_int8", lambda: False)
        assert "openvino int8" not in candidates_of(path, precision="fast")
    (folder / "model.int8.xml").unlink()
    assert "openvino int8" not in candidates_of(path, precision="fast")


def test_an_int8_engine_gives_what_its_file_gives_also_from_the_cache_and_its_exact_twin_is_the_original(folder: Path):
    loaded = load_weights(folder / "model.safetensors")
    x = np.random.default_rng(0).random((2, 3, 21, 17), np.float32)
    file = load_weights(folder / "model.int8.xml")
    expected = OpenVinoEngine(loaded).run(x)
    for _ in range(2):
        engine = OpenVinoEngine(loaded, int8=find_int8(loaded))
        assert engine.precision == "int8"
        found = engine.run(x)
        with torch.inference_mode():
            assert np.abs(found - file.network(torch.from_numpy(x)).numpy()).max() < 1e-5
        assert 1e-4 < np.abs(found - expected).max() < 0.05
        assert np.array_equal(engine.exact().run(x), expected)


FIRST = """
from tessera.planning import planner, preparing

# Of a tiny network the quickest form is a matter of chance: here it is the one that is to be tried.
ranking = planner.Plan.ranking
planner.Plan.ranking = lambda *given: sorted(ranking(*given), key=lambda each: each.candidate.precision != "int8")
preparing.has_int8 = lambda: True

from tessera.tiling.settings import Settings
from tessera.zoo.models import load_model
import numpy as np

generator = load_model(sys.argv[1])
ready = preparing.prepare(generator, Settings(precision="fast", engine="openvino"), 10**9)
np.save(sys.argv[3], ready.pipeline.engine.run(np.load(sys.argv[2])))
print(ready.pipeline.engine.precision, generator.is_read, "torch" in sys.modules)
"""


def test_a_second_process_runs_the_int8_form_without_pytorch(folder: Path):
    x = np.random.default_rng(0).random((1, 3, 20, 28), np.float32)
    np.save(folder / "lq.npy", x)
    files = [str(folder / name) for name in ("model.safetensors", "lq.npy")]
    command = [sys.executable, "-c", "import sys\n" + FIRST, *files, str(folder / "first.npy")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.split() == ["int8", "True", "False"]
    assert without_torch(FIRST, *files, folder / "second.npy").split() == ["int8", "False", "False"]
    first, second = (np.load(folder / f"{name}.npy") for name in ("first", "second"))
    assert np.array_equal(first, second)
    assert np.abs(first - load_weights(folder / "model.int8.xml").network(torch.from_numpy(x)).numpy()).max() < 1e-5


def test_without_an_output_the_command_writes_where_fast_looks_and_reports_every_unit(folder: Path, quantized: Path):
    (folder / "model.int8.xml").unlink()
    command = ["quantize", str(folder / "model.safetensors"), "--calibration", str(quantized / "c"), "--size", "24"]
    assert main([*command, "--report", str(folder / "report.json")]) == 0
    found = find_int8(load_weights(folder / "model.safetensors"))
    assert found is not None
    assert found.path.parent == folder / "models"
    report = json.loads((folder / "report.json").read_text())
    assert report["psnr_drop_db"] == pytest.approx(found.psnr_drop_db, abs=0.0006)
    assert {unit["name"] for unit in report["units"]} == {"body.0", "body.2", "body.4", "body.6"}
    costs = [unit["psnr_drop_db"] for unit in report["units"]]
    assert costs == sorted(costs, reverse=True)
    assert sum(unit["share"] for unit in report["units"]) == pytest.approx(1)
    assert report["kept"] == []


def test_a_build_file_says_the_model_the_pictures_and_the_method(folder: Path, quantized: Path):
    build = folder / "build.toml"
    build.write_text(
        f'model = "{folder / "model.safetensors"}"\nprecision = "int8"\n[calibration]\npictures = "{quantized / "c"}"\n'
        'count = 8\nmethod = "mse"\nper_channel = false\n'
    )
    command = ["quantize", "--build", str(build), "-o", str(folder / "built.xml"), "--size", "24"]
    assert main([*command, "--max-drop", "9"]) == 0
    told = json.loads(inspect_weights(folder / "built.xml").metadata[QUANTIZED_KEY])
    assert (told["method"], told["weights"]) == ("mse", "a scale for each layer")
    assert told["calibrated_on"].startswith("4 crops")  # of 8: a quarter chooses, a quarter is held out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["quantize"], "Nothing to quantize"),
        (["quantize", "realesrgan-x4plus"], "--calibration FOLDER"),
        (["quantize", "realesrgan-x4plus", "--calibration", ".", "-o", "a.pth"], "end in .xml"),
        (["quantize", "realesrgan-x4plus", "--calibration", ".", "--format", "onnx"], "name the output with -o"),
        (
            ["quantize", "realesrgan-x4plus", "--calibration", ".", "--percentile", "99"],
            "applies to --method percentile only",
        ),
        (["export", "realesrgan-x4plus", "-o", "a.onnx", "--precision", "int8"], "use `tessera quantize`"),
    ],
)
def test_what_is_missing_is_said_before_anything_is_read(words: list[str], sentence: str, capsys):
    assert main(words) == 2
    assert sentence in " ".join(capsys.readouterr().err.split())
