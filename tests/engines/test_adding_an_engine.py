"""An engine added to a copy of the sources by touching two files is usable by every command."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import tessera
from tessera.generators import SRVGGNetCompactConfig
from tessera.images.picture import read_picture
from tessera.images.writer import write_picture
from tessera.weights.files import save_weights

TOY = '''
"""A toy engine: PyTorch under another name."""

from __future__ import annotations

from tessera.engines.engine import EngineInfo
from tessera.libraries import import_library

class ToyEngine:
    name, precision, bytes_per_pixel = "toy", "fp32", 1000

    def __init__(self, generator):
        self._network = generator.network

    def run(self, tiles):
        torch = import_library("torch")
        with torch.no_grad():
            return self._network(torch.from_numpy(tiles)).numpy()

    def exact(self):
        return self

TOY = EngineInfo(
    name="toy",
    title="Toy",
    open=lambda generator, options: ToyEngine(generator),
    package="numpy",
    module="numpy",
    install="pip install toy",
)
'''


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sources with the toy: a new file for the engine, and three words in `opening`."""
    root = tmp_path_factory.mktemp("src")
    package = Path(tessera.__file__).parent
    shutil.copytree(package, root / "tessera", ignore=shutil.ignore_patterns("__pycache__"))
    (root / "tessera/engines/toy.py").write_text(TOY)
    opening = root / "tessera/engines/opening.py"
    text = opening.read_text()
    for old, new in (
        ("from tessera.errors", "from tessera.engines.toy import TOY\nfrom tessera.errors"),
        ('"onnxruntime"]', '"onnxruntime", "toy"]'),
        ("ONNXRUNTIME)", "ONNXRUNTIME, TOY)"),
    ):
        assert text.count(old) == 1
        text = text.replace(old, new)
    opening.write_text(text)
    return root


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("desk")
    config = SRVGGNetCompactConfig(features=8, convolutions=1, scale=2)
    torch.manual_seed(0)
    save_weights(folder / "net.safetensors", config, config.build().state_dict())
    write_picture(np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8), folder / "lq.png")
    return folder


def run(sources: Path, desk: Path, *arguments: str, code: int = 0) -> str:
    environment = {**os.environ, "PYTHONPATH": str(sources), "TESSERA_CACHE": str(desk / "cache"), "COLUMNS": "200"}
    command = [sys.executable, "-m", "tessera", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=desk, env=environment, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_upscale_runs_it_and_plans_with_it(sources: Path, desk: Path):
    plan = run(sources, desk, "upscale", "lq.png", "-n", "net.safetensors", "--engine", "toy", "-v")
    assert "plan: toy fp32" in plan
    again = run(sources, desk, "upscale", "lq.png", "-n", "net.safetensors", "--engine", "pytorch", "-o", "other")
    assert "1 done" in again
    made, expected = (read_picture(desk / folder / "lq_out.png").pixels for folder in ("results", "other"))
    assert made.shape == (48, 64, 3)
    assert np.abs(made.astype(int) - expected).max() <= 1
    auto = run(sources, desk, "upscale", "lq.png", "-n", "net.safetensors", "-v", "-o", "auto")
    assert "plan: " in auto


def test_the_help_and_the_refusal_name_it(sources: Path, desk: Path):
    assert "toy" in run(sources, desk, "upscale", "--help")
    assert "toy" in run(sources, desk, "upscale", "lq.png", "--engine", "steam", code=2)


def test_bench_times_it(sources: Path, desk: Path):
    options = ("--engine", "toy", "--precision", "exact", "--rounds", "1", "--size", "8x8", "--no-peers")
    assert "toy fp32" in run(sources, desk, "bench", "net.safetensors", *options)


def test_doctor_reports_it(sources: Path, desk: Path):
    found = json.loads(run(sources, desk, "doctor", "--json"))
    (state,) = [engine for engine in found["engines"] if engine["name"] == "toy"]
    assert state["problem"] is None
    assert state["version"] == np.__version__
    assert state["products"] == {"exact": "fp32", "auto": "fp32", "fast": "fp32"}
