"""Forecasts follow the pace of real pictures, on a clock that only the test moves."""

from __future__ import annotations

from pathlib import Path

import pytest

from stand_ins import nearest
from tessera.planning import Candidate, Plan, Planner, Timing
from tessera.planning.plan import SLOWEST_PACE
from tessera.planning.preparing import Ready
from tessera.upscaling.pace import Pace

PLANNED = 100.0
"""Seconds per megapixel that were measured for the plan."""
SIDE = 256


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TESSERA_CACHE", str(tmp_path))


def candidate(**changes: object) -> Candidate:
    timing = Timing(side=SIDE, seconds_per_megapixel=PLANNED)
    facts = {"engine": "pytorch", "precision": "fp32", "threads": 2, "timings": (timing,), "startup_seconds": 2.0}
    return Candidate.model_validate(facts | changes)


def planner() -> Planner:
    made = Planner(nearest(), threads=2, opener=lambda *_: pytest.fail("nothing is opened"))
    faster = Timing(side=SIDE, seconds_per_megapixel=1.5 * PLANNED)
    other = candidate(engine="ncnn", timings=(faster,))
    made._plan = Plan(policy="auto", candidates=(candidate(), other))
    return made


def run(made: Planner, seconds_per_tile: float, tiles: int) -> None:
    """A picture with tiles of this many seconds each, after a slow start."""
    now = 0.0
    pace = Pace(clock=lambda: now)
    now = 30.0
    for done in range(1, tiles + 1):
        pace(done, tiles, SIDE**2)
        now += seconds_per_tile
    choice = made.plan.choose(10**6)
    assert choice is not None
    pace.correct(Ready(pipeline=None, choice=choice, planner=made), side=SIDE)  # type: ignore[arg-type]


def forecast(made: Planner, pixels: int) -> float:
    choice = made.plan.choose(pixels, tile=SIDE)
    assert choice is not None
    assert choice.seconds is not None
    return choice.seconds


@pytest.mark.parametrize("factor", [0.4, 0.9, 1.0, 2.0, 7.0])
def test_the_forecast_after_a_picture_is_within_a_fifth_of_what_the_next_one_takes(factor: float) -> None:
    made = planner()
    per_tile = factor * PLANNED * SIDE**2 / 1e6
    run(made, per_tile, tiles=9)
    again = Planner(nearest(), threads=2, opener=lambda *_: pytest.fail("nothing is opened"))  # reads the cached plan
    takes = 2.0 + factor * PLANNED * 4
    assert forecast(again, 4 * 10**6) == pytest.approx(takes, rel=0.2)


def test_the_pace_is_averaged_over_pictures_and_bounded() -> None:
    made = planner()
    planned = PLANNED * SIDE**2 / 1e6
    run(made, 2 * planned, tiles=9)
    run(made, 4 * planned, tiles=9)
    assert forecast(made, 10**6) == pytest.approx(2 + (2 * 4) ** 0.5 * PLANNED, rel=0.01)
    for _ in range(9):
        run(made, 1000 * planned, tiles=9)
    assert forecast(made, 10**6) <= 2 + SLOWEST_PACE * PLANNED * 1.001


def test_the_pace_changes_no_choice() -> None:
    """Another engine was only measured on the same terms as this one was."""
    made = planner()
    run(made, 5 * PLANNED * SIDE**2 / 1e6, tiles=9)
    choice = made.plan.choose(10**6)
    assert choice is not None
    assert choice.candidate.engine == "pytorch"


@pytest.mark.parametrize(("tiles", "seconds"), [(1, 9.0), (3, 9.0), (9, 0.1)])
def test_too_few_tiles_and_too_short_pictures_correct_nothing(tiles: int, seconds: float) -> None:
    made = planner()
    before = forecast(made, 10**6)
    run(made, seconds, tiles)
    assert forecast(made, 10**6) == before


def test_a_picture_that_restarts_with_smaller_tiles_is_timed_from_there() -> None:
    now = 0.0
    pace = Pace(clock=lambda: now)
    for done, seconds in ((1, 50), (2, 50), (1, 2), (2, 2), (3, 2), (4, 2), (5, 2)):
        now += seconds
        pace(done, 5, SIDE**2)
    assert pace.seconds_per_tile() == pytest.approx(2.0)
