"""Which model is taken, and the line that suggests the faster one: when, once, and with figures of this machine."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

import tessera.upscaling.upscaler
from pictures import ramp, save
from tessera.cli import main, upscale_run
from tessera.cli.choosing import model_name, report_missing_engines, suggest_fast
from tessera.engines import opening
from tessera.engines.opening import find_engine
from tessera.errors import ModelNotFoundError, UsageError
from tessera.generators import SRVGGNetCompactConfig
from tessera.planning.preparing import Ready
from tessera.tiling.settings import Settings
from tessera.upscaling.upscaler import Upscaler
from tessera.weights.files import save_weights
from tessera.weights.published import DEFAULT_MODEL, FAST_MODEL
from tessera.zoo.models import load_model


def test_fast_is_a_name_for_the_small_model() -> None:
    assert model_name(None, None, None, fast=True) == FAST_MODEL
    assert model_name("Tessera-X4", None, None, fast=True) == FAST_MODEL
    assert model_name(None, None, None) == DEFAULT_MODEL


@pytest.mark.parametrize(
    ("model", "path", "denoise", "named"),
    [
        ("realesrgan-x4plus", None, None, "-n realesrgan-x4plus"),
        ("mine.pth", None, None, "-n mine.pth"),
        (None, "mine.pth", None, "--model_path mine.pth"),
        (None, None, 0.5, "-dn 0.5"),
    ],
)
def test_fast_beside_another_model_is_refused(
    model: str | None, path: str | None, denoise: float | None, named: str
) -> None:
    with pytest.raises(UsageError, match=named):
        model_name(model, path, denoise, fast=True)


def test_fast_upscales_with_the_small_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = save(tmp_path / "a.png", ramp(8, 12, 3))
    words = [str(source), "-o", str(tmp_path / "out"), "--engine", "pytorch", "--offline"]
    assert main(["upscale", *words, "--fast"]) == 0
    assert f"with {FAST_MODEL};" in capsys.readouterr().out
    assert main(["upscale", *words, "--fast", "-n", DEFAULT_MODEL]) == 2
    assert "leave one out" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------------------- the suggestion


@pytest.fixture
def fast_takes(monkeypatch: pytest.MonkeyPatch) -> Callable[[float | Exception], list[tuple[object, ...]]]:
    """Let the small model be expected to take so long, or not be here; gives the list of what was asked."""

    def set_up(seconds: float | Exception) -> list[tuple[object, ...]]:
        asked: list[tuple[object, ...]] = []

        class Expected:
            def __init__(self, model: str, **_: object) -> None:
                asked.append((model,))
                if isinstance(seconds, Exception):
                    raise seconds

            def expect(self, pixels: int) -> None:
                asked.append((pixels,))

            def prepare(self) -> SimpleNamespace:
                return SimpleNamespace(choice=SimpleNamespace(seconds=seconds))

        monkeypatch.setattr(tessera.upscaling.upscaler, "Upscaler", Expected)
        return asked

    return set_up


def upscaler_of(name: str) -> Upscaler:
    return SimpleNamespace(generator=SimpleNamespace(name=name), settings=None)  # type: ignore[return-value]


Asked = Callable[[float | Exception], list[tuple[object, ...]]]


def test_more_than_a_minute_is_told_with_both_times(fast_takes: Asked, capsys: pytest.CaptureFixture[str]) -> None:
    asked = fast_takes(14.0)
    suggest_fast(upscaler_of(DEFAULT_MODEL), 1_000_000, 300.0)
    assert asked == [(FAST_MODEL,), (1_000_000,)]
    [line] = capsys.readouterr().err.splitlines()
    assert f"{DEFAULT_MODEL} is expected to take about 5 min here" in line
    assert "--fast" in line
    assert "about 14.0 s" in line


@pytest.mark.parametrize(
    ("model", "seconds", "fast"),
    [
        (DEFAULT_MODEL, 60.0, 5.0),
        ("realsr-df2k", 300.0, 5.0),
        (DEFAULT_MODEL, 300.0, 400.0),
        (DEFAULT_MODEL, 300.0, ModelNotFoundError("not here")),
    ],
)
def test_otherwise_nothing_is_suggested(
    model: str, seconds: float, fast: float | Exception, fast_takes: Asked, capsys: pytest.CaptureFixture[str]
) -> None:
    fast_takes(fast)
    suggest_fast(upscaler_of(model), 1000, seconds)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("seconds", "engine", "lines"), [(11.0, "auto", 1), (10.0, "auto", 0), (900.0, "ncnn", 0)])
def test_a_missing_engine_of_our_own_is_reported_where_it_matters(
    seconds: float, engine: str, lines: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A wheel that was built without a C compiler has no kernels."""
    ours = dataclasses.replace(find_engine("kernels"), find_own_problem=lambda: "Not built here.")
    monkeypatch.setattr(opening, "ENGINES", (ours, find_engine("pytorch")))
    report_missing_engines(SimpleNamespace(settings=Settings(engine=engine)), seconds)  # type: ignore[arg-type]
    said = capsys.readouterr().err.splitlines()
    assert len(said) == lines
    assert all(
        line.endswith("The kernels engine, a part of Tessera, is unavailable: this may take longer. Not built here.")
        for line in said
    )


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    config = SRVGGNetCompactConfig(features=4, convolutions=1, scale=2)
    save_weights(tmp_path / "tiny.safetensors", config, config.build().state_dict())
    return tmp_path / "tiny.safetensors"


def test_the_plan_reports_the_expected_time_once(tiny: Path) -> None:
    heard: list[Ready] = []
    upscaler = Upscaler(load_model(tiny), engine="pytorch")
    upscaler.expect(3_000_000)
    upscaler.on_plan(heard.append)
    assert heard == []  # nothing is measured before it is needed
    upscaler.plan_lines()
    upscaler.plan_lines()
    assert len(heard) == 1


def test_the_expected_time_grows_linearly_with_the_pixels(tiny: Path) -> None:
    heard: list[Ready] = []
    for pixels in (1_000_000, 2_000_000, 3_000_000):  # the first measures; the others read the cached plan
        upscaler = Upscaler(load_model(tiny), engine="pytorch")
        upscaler.expect(pixels)
        upscaler.on_plan(heard.append)
        upscaler.plan_lines()
    first, second, third = (each.choice.seconds for each in heard if each.choice and each.choice.seconds)
    assert third > second > first > 0
    assert third - second == pytest.approx(second - first)


def test_run_and_dry_run_ask_once_and_a_run_with_nothing_to_do_does_not(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, int, bool]] = []

    def suggest(upscaler: Upscaler, pixels: int, seconds: float) -> None:
        asked.append((upscaler.generator.name, pixels, seconds > 0))

    monkeypatch.setattr(upscale_run, "suggest_fast", suggest)
    for name in "ab":
        save(tmp_path / f"{name}.png", ramp(10, 20, 3))
    pictures = [str(tmp_path / "a.png"), str(tmp_path / "b.png")]
    words = ["upscale", *pictures, "-o", str(tmp_path / "out"), "-n", str(tiny), "--engine", "pytorch"]
    assert main([*words, "--dry-run"]) == 0
    assert asked == [("tiny", 400, True)]
    assert main(words) == 0
    assert asked == [("tiny", 400, True)] * 2
    assert main(words) == 0
    assert len(asked) == 2
    (tmp_path / "out" / "a_out.png").unlink()
    assert main(words) == 0
    assert asked[2:] == [("tiny", 200, True)]
