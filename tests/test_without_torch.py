"""What does not need PyTorch does not import it: tried in processes where it cannot be imported."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tessera.generators import GENERATORS, SRVGGNetCompactConfig
from tessera.upscaling.upscaler import Upscaler
from tessera.weights.files import save_weights

REFUSAL = """
import sys

class Refusal:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "torch":
            raise ImportError("PyTorch is refused here")

sys.meta_path.insert(0, Refusal())
"""

MODULES = (
    "tessera",
    "tessera.upscaling.batch",
    "tessera.cli",
    "tessera.cli.upscale",
    "tessera.engines",
    "tessera.engines.compiled_cache",
    "tessera.engines.memory",
    "tessera.engines.openvino.engine",
    "tessera.engines.openvino.graph",
    "tessera.engines.openvino.model",
    "tessera.upscaling.finding",
    "tessera.generators",
    "tessera.upscaling.filejob",
    "tessera.upscaling.journal",
    "tessera.zoo.known_files",
    "tessera.weights.files",
    "tessera.weights.loaded_generator",
    "tessera.tiling.mosaic",
    "tessera.planning",
    "tessera.tiling.settings",
    "tessera.upscaling.upscaler",
    "tessera.images.writer",
    "tessera.zoo.interpolation",
    "tessera.zoo.inspecting",
    "tessera.zoo.models",
)

needs_openvino = pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="openvino is not installed")


def without_torch(code: str, *arguments: object) -> str:
    """What the code prints in a process that has no PyTorch."""
    command = [sys.executable, "-c", REFUSAL + code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TESSERA_CACHE", str(tmp_path / "cache"))
    config = SRVGGNetCompactConfig(features=8, convolutions=2, scale=2)
    torch.manual_seed(0)
    path = tmp_path / "net.safetensors"
    save_weights(path, config, config.build().state_dict())
    return path


def test_the_modules_on_the_way_to_a_picture_import_without_pytorch():
    code = "import importlib\nfor name in sys.argv[1:]: importlib.import_module(name)\nprint('torch' in sys.modules)"
    assert without_torch(code, *MODULES).split() == ["False"]


def test_configurations_answer_without_pytorch_and_only_building_needs_it():
    code = """
from tessera.generators import GENERATORS, RRDBNetConfig, config_from_json
for known in GENERATORS:
    config = config_from_json(known.config().model_dump_json())
    print(known.name, config.receptive_radius, config.multiply_adds(12, 8), config.multiple)
try:
    RRDBNetConfig().build()
except ImportError as error:
    print(error)
"""
    *answers, refused = without_torch(code).splitlines()
    assert refused == "PyTorch is refused here"
    configs = [known.config.model_validate({}) for known in GENERATORS]
    expected = [f"{c.network} {c.receptive_radius} {c.multiply_adds(12, 8)} {c.multiple}" for c in configs]
    assert answers == expected


OPENED = """
from tessera.engines.openvino.model import load_compiled_model
from tessera.planning import Planner
from tessera.zoo.models import load_model
import numpy as np

class Opened:
    def __init__(self, network, candidate):
        self.model = load_compiled_model(network, candidate.precision, candidate.threads)

generator = load_model(sys.argv[1])
engine, choice = Planner(generator, engine="openvino", device="auto", opener=Opened).engine_for(64 * 64)
lq = np.load(sys.argv[2])
np.save(sys.argv[3], engine.model.create_infer_request().infer([lq])[0])
print(generator.is_read, "torch" in sys.modules)
"""


@needs_openvino
def test_a_second_process_loads_plans_and_opens_openvino_without_pytorch(weights: Path, tmp_path: Path):
    upscaler = Upscaler(weights, engine="openvino")
    upscaler.expect(64 * 64)
    assert upscaler.engine.name == "openvino"
    lq = np.random.default_rng(0).random((1, 3, 20, 28), np.float32)
    np.save(tmp_path / "lq.npy", lq)
    words = without_torch(OPENED, weights, tmp_path / "lq.npy", tmp_path / "sr.npy").split()
    assert words == ["False", "False"]
    with torch.no_grad():
        expected = upscaler.generator.network(torch.from_numpy(lq)).numpy()
    difference = np.abs(np.load(tmp_path / "sr.npy") - expected).max()
    assert difference < (1e-5 if upscaler.engine.precision == "fp32" else 0.05)


@needs_openvino
def test_pictures_are_enlarged_from_what_was_kept_without_reading_the_network(weights: Path):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 56, 3), np.uint8)
    expected = Upscaler(weights, engine="openvino").upscale(pixels)
    again = Upscaler(weights, engine="openvino")
    assert np.array_equal(again.upscale(pixels), expected)
    assert not again.generator.is_read


@needs_openvino
def test_where_nothing_is_cached_openvino_compiles_from_the_arrays(weights: Path, tmp_path: Path):
    code = """
from tessera.engines.openvino.model import load_compiled_model
from tessera.zoo.models import load_model
generator = load_model(sys.argv[1])
print(load_compiled_model(generator, "fp32", 1) is not None, generator.is_read, "torch" in sys.modules)
"""
    assert without_torch(code, weights).split() == ["True", "True", "False"]


COMMAND = """
from tessera.cli import main
code = main(sys.argv[1:])
print("torch" in sys.modules)
sys.exit(code)
"""


@needs_openvino
def test_the_second_upscale_command_enlarges_a_picture_without_pytorch(weights: Path, tmp_path: Path):
    from tessera.cli import main
    from tessera.images.picture import read_picture

    picture = tmp_path / "lq.ppm"
    pixels = np.random.default_rng(0).integers(0, 256, (32, 48, 3), np.uint8)
    picture.write_bytes(b"P6\n48 32\n255\n" + pixels.tobytes())
    options = ["upscale", picture, "-n", weights, "--engine", "openvino", "--ext", "ppm"]
    assert main([*map(str, options), "-o", str(tmp_path / "first")]) == 0
    assert without_torch(COMMAND, *options, "-o", tmp_path / "second").split()[-1] == "False"
    first, second = (read_picture(tmp_path / name / "lq_out.ppm").pixels for name in ("first", "second"))
    assert first.shape == (64, 96, 3)
    assert np.array_equal(first, second)
