"""Complete programs, each in a separate process: from the start to the finished file, including imports."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tessera.bench import launcher
from tessera.bench.difference import Deviation, compare_pixels, find_problem
from tessera.bench.turns import BenchResult, CandidateResult, Missing, Run, summarize_error, take_turns
from tessera.errors import EngineError
from tessera.images.picture import read_picture
from tessera.images.picture_format import Limits
from tessera.images.pixels import Pixels


@dataclass(frozen=True, kw_only=True)
class Program:
    """A program that writes `output`; `environment` is added to that of this process."""

    name: str
    products: str
    command: tuple[str, ...]
    output: Path
    environment: Mapping[str, str] = field(default_factory=dict[str, str])


def run_program(program: Program) -> Run:
    """Run a program once -> wall time, processor time, peak memory. Raises EngineError with its last message."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.json")
        running = subprocess.Popen(
            [sys.executable, "-I", "-S", str(Path(launcher.__file__)), str(report), *program.command],
            env={**os.environ, **program.environment},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        try:
            _, words = running.communicate()
        except BaseException:  # stopped by the user: end the program too
            running.terminate()
            running.communicate()
            raise
        if running.returncode:
            said = [line for line in words.splitlines() if line.strip()]
            raise EngineError(f"exit code {running.returncode}: {said[-1] if said else 'no message'}")
        found = json.loads(report.read_text(encoding="ascii"))
    return Run(seconds=found["seconds"], cpu_seconds=found["cpu_seconds"], peak_bytes=found["peak_bytes"])


def measure_programs(
    programs: Sequence[Program],
    *,
    subject: str,
    rounds: int,
    warm: bool = True,
    run: Callable[[Program], Run] = run_program,
    sleep: Callable[[float], None] = time.sleep,
    progress: Callable[[str], None] = lambda _: None,
) -> BenchResult:
    """Run programs in turn and compare their pictures with that of the first, which has to succeed.

    `warm` gives each a run before the rounds (disk cache, plans, compiled networks), reported separately. Without it,
    all runs count.
    """
    entered: dict[str, _TimedProgram] = {}
    missing: list[Missing] = []
    reference: Pixels | None = None
    for program in programs:
        entry = _TimedProgram(program, run, reference)
        if warm or reference is None:
            progress(f"first run: {program.name}")
            try:
                entry.warm_up(counts=not warm)
            except Exception as error:  # as in take_turns
                if reference is None:
                    raise
                missing.append(Missing(name=program.name, reason=summarize_error(error)))
                continue
            reference = entry.written if reference is None else reference
        entered[program.name] = entry
    runs, failed = take_turns(
        {name: entry.run_turn for name, entry in entered.items()},
        rounds,
        sleep=sleep,
        progress=lambda number, name: progress(f"round {number + 1} of {rounds}: {name}"),
    )
    measured = tuple(entered[name].summarize(taken) for name, taken in runs.items())
    return BenchResult(subject=subject, measured=measured, missing=(*missing, *failed))


class _TimedProgram:
    def __init__(self, program: Program, run: Callable[[Program], Run], reference: Pixels | None) -> None:
        self._program, self._run, self._reference = program, run, reference
        self._counted_run: Run | None = None
        self._first_seconds: float | None = None
        self._worst: Deviation | None = None
        self._problem: str | None = None
        self.written: Pixels = np.zeros((0, 0, 3), np.uint8)

    def warm_up(self, *, counts: bool) -> None:
        """Run once before the rounds; if it `counts`, it is also the first turn."""
        ran = self._time_run()
        if counts:
            self._counted_run = ran
        else:
            self._first_seconds = ran.seconds

    def run_turn(self) -> Run:
        counted_run, self._counted_run = self._counted_run, None
        return counted_run or self._time_run()

    def summarize(self, runs: tuple[Run, ...]) -> CandidateResult:
        return CandidateResult(
            name=self._program.name,
            products=self._program.products,
            first_seconds=self._first_seconds,
            runs=runs,
            difference=self._worst,
            problem=self._problem,
        )

    def _time_run(self) -> Run:
        self._program.output.unlink(missing_ok=True)  # so that the compared file is of this run
        ran = self._run(self._program)
        if not self._program.output.is_file():
            raise EngineError(f"{self._program.output.name}: the program did not write this file.")
        pixels = read_picture(self._program.output, limits=Limits(max_pixels=None)).pixels
        self.written = pixels if self._reference is None else self.written
        if self._reference is not None:
            found = compare_pixels(_to_8_bits(pixels), _to_8_bits(self._reference))
            self._problem = self._problem or find_problem(found, self._program.products)
            self._worst = self._worst if found is None else found.combine_worst(self._worst)
        return ran


def _to_8_bits(pixels: Pixels) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    color = pixels[:, :, None] if pixels.ndim == 2 else pixels
    return np.rint(color.astype(np.float32) / np.iinfo(pixels.dtype).max * 255).astype(np.uint8)
