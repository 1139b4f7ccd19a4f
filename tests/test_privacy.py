"""Nothing leaves the machine unasked, and nothing is written outside the cache and the data folder.

Each command runs in a fresh home folder with a shim that records and refuses every connection and every name lookup,
native code included. The shim is compiled here, so these tests need a C compiler and a system that preloads libraries.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tessera import Picture, save_weights, write_picture
from tessera.generators import RRDBNetConfig

TINY = RRDBNetConfig(features=16, blocks=1, growth=16)
SHIM = Path(__file__).parent / "network_watch.c"


@pytest.fixture(scope="module")
def shim(tmp_path_factory):
    compiler = shutil.which("cc")
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("needs a C compiler and LD_PRELOAD")
    library = tmp_path_factory.mktemp("shim") / "network_watch.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, SHIM, "-ldl"], check=True, timeout=60)
    return library


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    rng = np.random.default_rng(5)
    (folder / "photos").mkdir()
    for number in range(4):
        pixels = rng.integers(0, 256, (136, 130, 3), dtype=np.uint8)
        write_picture(Picture(pixels), folder / "photos" / f"{number}.png")
    write_picture(Picture(rng.integers(0, 256, (24, 20, 3), dtype=np.uint8)), folder / "small.png")
    torch.manual_seed(0)
    state = TINY.build().state_dict()
    state["conv_last.bias"] += 0.5  # gray, whatever the weights: black tiles are refused
    save_weights(folder / "tiny.safetensors", TINY, state)
    return folder


def run(shim, inputs, tmp_path, *arguments, code=0):
    home = tmp_path / "home"
    home.mkdir(exist_ok=True)
    log = tmp_path / "network.log"
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "PYTHONPATH", "LANG", "VIRTUAL_ENV")}
    done = subprocess.run(
        [sys.executable, "-m", "tessera", *map(str, arguments)],
        env={**kept, "HOME": str(home), "LD_PRELOAD": str(shim), "NETWORK_WATCH_LOG": str(log)},
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=280,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    attempts = log.read_text() if log.exists() else ""
    return home, attempts


def written_outside(home):
    """Files in the home folder, other than those in Tessera's cache and data folder."""
    allowed = (home / ".cache" / "tessera", home / ".local" / "share" / "tessera")
    files = [path for path in home.rglob("*") if not path.is_dir()]
    return [path.relative_to(home) for path in files if not any(path.is_relative_to(folder) for folder in allowed)]


COMMANDS = {
    "upscale, planned": ("upscale", "{0}/small.png", "-o", "out.png", "-n", "{0}/tiny.safetensors"),
    "upscale, OpenVINO": ("upscale", "{0}/small.png", "-n", "{0}/tiny.safetensors", "--engine", "openvino"),
    "doctor": ("doctor",),
    "models list": ("models", "list"),
    "models inspect": ("models", "inspect", "{0}/tiny.safetensors"),
    "export, ONNX": ("export", "{0}/tiny.safetensors", "-o", "tiny.onnx"),
    "export, OpenVINO": ("export", "{0}/tiny.safetensors", "-o", "tiny.xml"),
    "evaluate": ("evaluate", "--sr", "{0}/photos", "--gt", "{0}/photos", "-o", "scores"),
    "data check": ("data", "check", "{0}/photos"),
    "data teach": (
        *("data", "teach", "{0}/tiny.safetensors", "{0}/photos"),
        *("-o", "store", "--pairs", "8", "--size", "16"),
    ),
    "bench": ("bench", "{0}/tiny.safetensors", "{0}/small.png", "--rounds", "1", "--size", "16x16"),
}


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS.keys())
def test_a_command_reaches_no_other_machine_and_leaves_the_home_folder_alone(shim, inputs, tmp_path, command):
    home, attempts = run(shim, inputs, tmp_path, *(word.format(inputs) for word in command))
    assert attempts == ""
    assert written_outside(home) == []


def test_training_reaches_no_other_machine_and_leaves_the_home_folder_alone(shim, inputs, tmp_path):
    home, attempts = run(
        shim, inputs, tmp_path,
        "train", "compact-psnr", f"data.train={inputs}/photos", f"data.val={inputs}/photos", "data.workers=0",
        "data.batch=1", "data.patch=32", "steps=2", "device=cpu", "generator.features=4", "generator.convolutions=1",
    )  # fmt: skip
    assert attempts == ""
    assert written_outside(home) == []


def test_the_shim_sees_what_native_code_and_python_do(shim, tmp_path):
    log = tmp_path / "log"
    code = "import socket\ntry: socket.create_connection(('192.0.2.1', 9), 1)\nexcept OSError: pass"
    env = {**os.environ, "LD_PRELOAD": str(shim), "NETWORK_WATCH_LOG": str(log)}
    subprocess.run([sys.executable, "-c", code], env=env, check=True, timeout=60)
    assert "192.0.2.1" in log.read_text()
