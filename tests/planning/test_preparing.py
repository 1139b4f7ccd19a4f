"""Files that one runtime runs: nothing to measure, and reduced precision only where the policy allows what it gives."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

from deploy.networks import FAMILY, made
from tessera.deploy.exporting import export
from tessera.deploy.settings import ExportSettings
from tessera.engines.kernels.engine import KernelsEngine, choose_kinds, describe
from tessera.engines.opening import choose_products
from tessera.generators import RRDBNetConfig
from tessera.planning import planner
from tessera.planning.plan import Difference
from tessera.planning.preparing import prepare
from tessera.tiling.settings import Settings
from tessera.upscaling.upscaler import Upscaler

CONFIG = FAMILY["srvggnetcompact"]


@pytest.fixture
def never_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError("candidates were timed for a file that has one engine")

    monkeypatch.setattr(planner.Planner, "_update_timings", never)


@pytest.mark.usefixtures("never_measured")
def test_an_onnx_file_is_run_by_its_runtime_without_measuring_others(tmp_path: Path):
    export(made(CONFIG), tmp_path / "a.onnx", ExportSettings())
    (line,) = Upscaler(tmp_path / "a.onnx").plan_lines()
    assert line.startswith("plan: onnxruntime fp32")


@pytest.mark.usefixtures("never_measured")
def test_an_openvino_file_multiplies_in_bf16_only_where_that_is_allowed(tmp_path: Path, monkeypatch):
    monkeypatch.setattr("tessera.engines.openvino.has_bf16", lambda device: True)
    export(made(CONFIG), tmp_path / "a.xml", ExportSettings(format="openvino"))
    for allowed, products in ((True, "bf16"), (False, "fp32")):
        monkeypatch.setattr(Difference, "is_allowed", lambda self, policy, allowed=allowed: allowed)
        upscaler = Upscaler(tmp_path / "a.xml")
        (line,) = upscaler.plan_lines()
        assert line.startswith(f"plan: openvino {products}")
        assert upscaler.engine.precision == products
    assert Upscaler(tmp_path / "a.xml", precision="exact").engine.precision == "fp32"


@pytest.mark.skipif(choose_products("kernels", "fast") != "bf16", reason="needs products of bf16")
def test_fast_opens_the_quicker_way_of_the_kernels_and_says_so(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("TESSERA_CACHE", str(tmp_path))
    generator = made(RRDBNetConfig(blocks=4, features=16, growth=16))
    ready = {
        policy: prepare(generator, Settings(engine="kernels", precision=policy), 10_000) for policy in ("auto", "fast")
    }
    for each in ready.values():
        assert each.choice is not None
        chosen = each.choice.candidate
        mode = "exact" if chosen.precision == "fp32" else "fast" if chosen.fast else "bf16"
        assert cast(KernelsEngine, each.pipeline.engine).kinds == choose_kinds(describe(generator), mode)
    assert any("kernels bf16 fast" in line for line in ready["fast"].lines)
    assert not any("bf16 fast" in line for line in ready["auto"].lines)
