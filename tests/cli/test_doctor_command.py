"""`tessera doctor`, run as users run it."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from tessera.cli.doctor import app, lines
from tessera.engines.devices import Device
from tessera.generators import SRVGGNetCompactConfig
from tessera.machine import Cores
from tessera.upscaling import doctor
from tessera.upscaling.doctor import Findings
from tessera.upscaling.upscaler import Upscaler
from tessera.weights.files import save_weights


@pytest.fixture(scope="module")
def here() -> Findings:
    return doctor.examine()


def run(*arguments: str):
    return CliRunner().invoke(app, list(arguments))


def test_each_engine_and_each_part_of_the_machine_has_its_line():
    result = run()
    assert result.exit_code == 0, result.output
    for heading in (
        "processor",
        "cores",
        "memory",
        "devices",
        "engines",
        "extras",
        "weights",
        "models",
        "cache",
        "versions",
    ):
        assert any(line.startswith(heading) for line in result.output.splitlines()), heading
    assert "pytorch" in result.output
    assert "exact in fp32" in result.output or "fp32 at every precision" in result.output


def test_json_holds_the_same_and_nothing_else_is_printed():
    found = json.loads(run("--json").output)
    assert found["can_upscale"] is True
    assert found["memory"]["total_bytes"] is None or found["memory"]["total_bytes"] > 2**28
    assert isinstance(found["warnings"], list)


@pytest.mark.parametrize("arguments", [(), ("--json",)])
def test_the_exit_code_is_1_where_nothing_can_upscale(
    arguments: tuple[str, ...], here: Findings, monkeypatch: pytest.MonkeyPatch
):
    broken = tuple(dataclasses.replace(engine, problem="Not installed.") for engine in here.engines)
    monkeypatch.setattr(doctor, "examine", lambda: dataclasses.replace(here, engines=broken))
    result = run(*arguments)
    assert result.exit_code == 1
    assert "No engine is usable" in result.output


def test_an_engine_that_is_missing_is_shown_with_the_way_to_install_it(here: Findings):
    missing = tuple(dataclasses.replace(engine, problem="Not installed.") for engine in here.engines)
    text = dict.fromkeys(text for _, text in lines(dataclasses.replace(here, engines=missing)))
    assert "ncnn: no. Not installed. pip install ncnn" in text


def test_devices_and_quotas_are_shown_with_their_numbers(here: Findings):
    devices = (
        Device(
            name="vulkan:0",
            kind="vulkan",
            title="Card",
            usable=True,
            memory_bytes=8 * 2**30,
            driver="24.1.3",
            fp16=True,
            int8=False,
        ),
        Device(name="vulkan:1", kind="vulkan", title="llvmpipe", usable=True, software=True),
        Device(name="cuda", kind="cuda", title="PyTorch", usable=False, why_not="PyTorch sees no GPU."),
    )
    cores = Cores(installed=64, allowed=32, quota=2.5)
    shown = list(lines(dataclasses.replace(here, devices=devices, cores=cores)))
    assert ("devices", "vulkan:0: Card, 8.0 GiB, driver 24.1.3, fp16") in shown
    assert ("", "vulkan:1: llvmpipe, software, never chosen by auto") in shown
    assert ("", "cuda: not usable. PyTorch sees no GPU.") in shown
    assert ("cores", "3 to use (64 installed, 32 allowed, limited to 2.5 processors' time)") in shown


def test_help_does_not_import_torch():
    code = "import sys; from tessera.cli import main; main(['doctor', '--help']); sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--json" in done.stdout


@pytest.fixture
def small_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TESSERA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("tessera.engines.devices.may_have_gpu", lambda: False)
    torch.manual_seed(0)
    config = SRVGGNetCompactConfig(features=16, convolutions=1, scale=2)
    save_weights(tmp_path / "small.safetensors", config, config.build().state_dict())
    return tmp_path / "small.safetensors"


def test_plans_are_made_ahead_and_shown_as_a_table_with_a_verdict_for_each_candidate(small_model: Path):
    result = run("--plan", "-n", str(small_model), "--precision", "exact")
    assert result.exit_code == 0, result.output
    name, heading, *rows = result.output.splitlines()
    assert name == str(small_model)
    assert heading.split()[:4] == ["engine", "device", "precision", "s/megapixel"]
    engines = {row.split()[0]: row for row in rows if " cpu " in row}
    assert {"ncnn", "openvino", "pytorch"} <= set(engines)
    assert sum("  chosen" in row for row in rows) == 1
    assert all("within 1 level of fp32" in row for row in engines.values() if "excluded" not in row)
    described = next(row for row in rows if row.startswith("plan: "))
    assert "precision exact" in described
    assert "the fastest of" in described
    # The next picture uses that plan.
    ready = Upscaler(str(small_model), precision="exact").prepare()
    assert ready.choice is not None
    assert str(ready.choice.candidate) in described


def test_plans_are_printed_as_json(small_model: Path):
    (planned,) = json.loads(run("--plan", "--json", "-n", str(small_model)).output)
    assert planned["model"] == str(small_model)
    assert planned["problem"] is None
    assert {"engine", "device", "precision", "s/megapixel", "distance to fp32", "verdict"} == set(
        planned["candidates"][0]
    )


def test_a_model_that_cannot_be_planned_is_a_line_and_an_exit_code(tmp_path: Path):
    result = run("--plan", "-n", str(tmp_path / "missing.pth"))
    assert result.exit_code == 1
    assert "missing.pth" in result.output
