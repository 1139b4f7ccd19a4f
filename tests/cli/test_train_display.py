"""Without a terminal, a run shows a line in regular intervals, with what is left."""

from __future__ import annotations

import re
import threading
import time

import pytest

from tessera.cli import train_display
from tessera.cli.train_display import TrainingDisplay


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(train_display, "time", made)
    return made


def test_a_line_appears_when_the_interval_is_over_and_says_what_is_left(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    display = TrainingDisplay(every=1000, quiet=False, interval=10.0)
    lines: dict[int, list[str]] = {}
    for step in range(1, 41):  # a step every 4 s
        clock.now += 4.0
        display.show_step(step, 40, {"pixel": 0.5, "g_gradient": 3.0})
        said = capsys.readouterr().err.splitlines()
        if said:
            lines[step] = said
    assert list(lines) == [3, 6, 9, 12, 15, 18, 21, 24, 27, 30, 33, 36, 39, 40]
    assert lines[6] == ["step 6 of 40  pixel 0.5  0.25 steps/s, 2 min left"]  # 34 steps of 4 s: 136 s
    assert lines[30] == ["step 30 of 40  pixel 0.5  0.25 steps/s, 40.0 s left"]
    assert lines[40] == ["step 40 of 40  pixel 0.5  0.25 steps/s"]


def test_the_time_left_follows_a_changing_speed(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    display = TrainingDisplay(every=100, quiet=False, interval=1e9)
    for step in range(1, 201):
        clock.now += 1.0 if step <= 100 else 0.1
        display.show_step(step, 300, {})
    assert capsys.readouterr().err.splitlines()[-1] == "step 200 of 300    10.00 steps/s, 10.0 s left"


class Seen(TrainingDisplay):
    """Prints a line after each hundredth of a second, and sets an event for it."""

    def __init__(self, shown: threading.Event) -> None:
        super().__init__(every=100, quiet=False, interval=0.01)
        self._shown = shown

    def _print(self, line: str) -> None:
        super()._print(line)
        self._shown.set()


def test_a_line_appears_also_while_nothing_is_finished(capfd: pytest.CaptureFixture[str]) -> None:
    shown = threading.Event()
    with Seen(shown) as display:
        assert shown.wait(60)
        display.show_step(1, 3, {"pixel": 0.25})
        shown.clear()
        assert shown.wait(60)
        while "step 1 of 3  pixel 0.25  (" not in (said := capfd.readouterr().err):
            assert shown.wait(60)
    assert re.search(r"\(\d+\.\d s so far\)", said)


def test_a_run_that_waits_for_its_first_batch_says_where_it_is(capfd: pytest.CaptureFixture[str]) -> None:
    shown = threading.Event()
    with Seen(shown) as display:
        display.show_start(3, 1000)
        shown.clear()
        assert shown.wait(60)
    assert "step 3 of 1,000: waiting for the first pictures  (" in capfd.readouterr().err


def test_a_quiet_run_shows_nothing(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with TrainingDisplay(every=1, quiet=True, interval=0.01) as display:
        time.sleep(0)
        display.show_step(1, 1, {"pixel": 0.5})
        display.show_message("hello")
    assert capsys.readouterr().err == ""
