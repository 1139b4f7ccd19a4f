"""Whole programs: small ones written here, measured as large ones are."""

from __future__ import annotations

import dataclasses
import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest

from tessera.bench.processes import Program, measure_programs, run_program
from tessera.bench.turns import Run
from tessera.errors import EngineError
from tessera.images.writer import write_picture


def program(folder: Path, name: str, code: str, products: str = "fp32", **environment: str) -> Program:
    output = folder / name / "out.png"
    output.parent.mkdir(exist_ok=True)
    return Program(
        name=name,
        products=products,
        command=(sys.executable, "-I", "-S", "-c", code),
        output=output,
        environment=environment,
    )


@pytest.mark.skipif(sys.platform == "win32", reason="the system does not say")
def test_memory_and_processor_time_are_those_of_the_program_and_not_of_who_measures(tmp_path: Path):
    mine = np.ones(2**26, np.uint8)  # 64 MiB that the program has not
    mine[:] = 2
    little = run_program(program(tmp_path, "little", "pass"))
    much = run_program(program(tmp_path, "much", "x = bytearray(b'1') * 2**27"))
    assert little.peak_bytes is not None
    assert much.peak_bytes is not None
    assert little.peak_bytes < 40 * 2**20
    assert 2**27 <= much.peak_bytes < 2**27 + 40 * 2**20
    busy = "import time\nwhile time.process_time() < 0.4: pass"
    worked, waited = (
        run_program(program(tmp_path, "b", busy)),
        run_program(program(tmp_path, "s", "import time; time.sleep(0.4)")),
    )
    assert worked.cpu_seconds is not None
    assert waited.cpu_seconds is not None
    assert worked.cpu_seconds >= 0.4 > 0.3 > waited.cpu_seconds
    assert waited.seconds >= 0.4


def test_a_program_has_the_environment_that_it_is_given_and_its_last_words_are_the_reason(tmp_path: Path):
    code = "import os, sys; print('a trace', file=sys.stderr); sys.exit(os.environ['LAST'])"
    with pytest.raises(EngineError, match="code 1: It is too late"):
        run_program(program(tmp_path, "p", code, LAST="It is too late"))
    with pytest.raises(EngineError, match="code 137"):
        run_program(program(tmp_path, "k", "import os; os.kill(os.getpid(), 9)"))


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_measurement_that_is_stopped_leaves_no_program_behind(tmp_path: Path):
    code = "import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(60)"
    sleeper = program(tmp_path, "s", code)
    note = tmp_path / "pid"
    sleeper = dataclasses.replace(sleeper, command=(*sleeper.command, str(note)))

    def interrupt(*_: object) -> None:
        if note.is_file() and note.read_text():
            signal.setitimer(signal.ITIMER_REAL, 0)
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2, 0.2)
        with pytest.raises(KeyboardInterrupt):
            run_program(sleeper)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    with pytest.raises(ProcessLookupError):
        os.kill(int(note.read_text()), 0)


class Workshop:
    """Instead of running programs, writes pictures of one color and says how long it took."""

    def __init__(self, levels: dict[str, int], seconds: dict[str, list[float]]) -> None:
        self.levels, self.seconds = levels, {name: iter(values) for name, values in seconds.items()}
        self.log: list[str] = []

    def __call__(self, program: Program) -> Run:
        self.log.append(program.name)
        if program.name in self.levels:
            write_picture(np.full((4, 5, 3), self.levels[program.name], np.uint8), program.output)
        return Run(seconds=next(self.seconds[program.name]), cpu_seconds=1.0, peak_bytes=5)


def test_programs_take_turns_and_their_pictures_are_compared_with_that_of_the_first(tmp_path: Path):
    names = ("A", "B", "C", "D")
    workshop = Workshop({"A": 100, "B": 101, "C": 120}, {name: [9, 4, 2] for name in names})
    found = measure_programs(
        [program(tmp_path, name, "") for name in names],
        subject="x",
        rounds=2,
        run=workshop,
        sleep=lambda _: None,
    )
    assert workshop.log == [*"ABCD", *"ABC", *"ABC"]
    assert [each.name for each in found.measured] == ["A", "B", "C"]
    assert [each.first_seconds for each in found.measured] == [9, 9, 9]
    assert found.measured[1].problem is None
    assert found.measured[2].problem == "The result deviates by 20 levels; the limit of fp32 is 1."
    assert [(each.name, each.reason) for each in found.missing] == [
        ("D", "out.png: the program did not write this file.")
    ]


def test_cold_all_runs_count_and_the_reference_is_the_first_of_them(tmp_path: Path):
    workshop = Workshop({"A": 100, "B": 100}, {"A": [9, 4], "B": [3, 2]})
    found = measure_programs(
        [program(tmp_path, name, "") for name in "AB"],
        subject="x",
        rounds=2,
        warm=False,
        run=workshop,
        sleep=lambda _: None,
    )
    assert workshop.log == [*"ABAB"]
    assert [[run.seconds for run in each.runs] for each in found.measured] == [[9, 4], [3, 2]]
    assert found.measured[0].first_seconds is None


def test_a_picture_left_over_from_before_is_no_result(tmp_path: Path):
    last = program(tmp_path, "D", "")
    write_picture(np.full((4, 5, 3), 100, np.uint8), last.output)
    workshop = Workshop({"A": 100}, {"A": [1, 1], "D": [1, 1]})
    found = measure_programs(
        [program(tmp_path, "A", ""), last], subject="x", rounds=1, run=workshop, sleep=lambda _: None
    )
    assert [each.name for each in found.missing] == ["D"]
