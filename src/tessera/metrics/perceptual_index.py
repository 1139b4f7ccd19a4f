"""The perceptual index of PIRM 2018, from NIQE and an external Ma score.

Blau, Mechrez, Timofte, Michaeli, Zelnik-Manor 2018. Ma (Ma, Yang, Yang, Yang 2017, also called NRQM) needs its authors'
random forests, which are not part of Tessera: scores are read from a table or from the output of a command.
"""

from __future__ import annotations

import csv
import math
import shlex
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

from tessera.errors import EngineError, UsageError
from tessera.metrics.metric import Accumulator, Frame, Start

PIRM_LIMITS = (11.5, 12.5, 16.0)
"""The largest RMSE of each region, on Y in levels of 255 with 4 pixels cropped."""
PICTURE = "{picture}"
LONGEST_SECONDS = 600.0


def perceptual_index(*, ma: float, niqe: float) -> float:
    """((10 - Ma) + NIQE) / 2; lower is better, photographs have about 2, bicubic x4 about 7.

    PIRM measures both on Y with 4 pixels cropped. Raises UsageError for NaN or infinity.

    >>> perceptual_index(ma=8.0, niqe=3.0)
    2.5
    """
    if not (math.isfinite(ma) and math.isfinite(niqe)):
        raise UsageError(f"pi: expected finite scores, found Ma {ma} and NIQE {niqe}.")
    return ((10 - ma) + niqe) / 2


def pirm_region(rmse: float) -> int | None:
    """The region of PIRM 2018 for an RMSE (Y, levels of 255, crop 4); None beyond all.

    >>> pirm_region(11.5), pirm_region(12.0), pirm_region(15.3), pirm_region(16.1)
    (1, 2, 3, None)
    """
    if not rmse >= 0:
        raise UsageError(f"rmse: expected 0 or more, found {rmse}.")
    return next((region for region, limit in enumerate(PIRM_LIMITS, 1) if rmse <= limit), None)


def open_ma(source: str | None) -> Callable[[Path], float]:
    """Open the source of Ma: a command that contains {picture}, or a table of scores. Raises UsageError."""
    if source is None:
        raise UsageError(
            "pi needs Ma scores: give a table (picture, score) or a command with {picture} in it.", field="ma"
        )
    if PICTURE in source:
        return lambda path: run_ma_command(source, path)
    table = read_ma_table(Path(source))
    return lambda path: find_ma(path, table)


def start_perceptual_index(niqe: Start, ma: Callable[[Path], float]) -> Start:
    """Start PI on pictures whose rows are Y with 4 pixels cropped."""

    def start(frame: Frame) -> Accumulator:
        inner = niqe(frame)
        score = inner.score
        assert score is not None
        return Accumulator(inner.take, lambda: perceptual_index(ma=ma(frame.path), niqe=score()))

    return start


def read_ma_table(path: Path) -> dict[str, float]:
    """Read scores from a CSV table with a picture's name and score per row; a first row without numbers is a heading.

    Raises UsageError with the row.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = [
                (number, row) for number, row in enumerate(csv.reader(file), 1) if any(cell.strip() for cell in row)
            ]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        raise UsageError(f"{path}: cannot read this table of Ma scores ({reason}).") from error
    scores: dict[str, float] = {}
    for place, (number, row) in enumerate(rows):
        score = _number(row[1]) if len(row) == 2 else None
        if score is None:
            if place == 0 and len(row) == 2 and not _is_float(row[1]):
                continue
            raise UsageError(f"{path}, row {number}: expected a picture's name and its score, found {','.join(row)!r}.")
        name = row[0].strip()
        if name in scores:
            raise UsageError(f"{path}, row {number}: expected one row per picture, found a second one for {name!r}.")
        scores[name] = score
    if not scores:
        raise UsageError(f"{path}: expected a picture's name and score in each row, found an empty table.")
    return scores


def find_ma(picture: Path, scores: Mapping[str, float]) -> float:
    """Find the score of a picture by its name, with or without extension. Raises UsageError for a missing one."""
    for name in (picture.name, picture.stem):
        if name in scores:
            return scores[name]
    raise UsageError(f"{picture}: the table of Ma scores has no row for {picture.name!r} or {picture.stem!r}.")


def run_ma_command(command: str, path: Path, *, seconds: float = LONGEST_SECONDS) -> float:
    """Run a command, with `{picture}` replaced by the picture's path, and parse the number that it prints.

    Runs without a shell. Raises UsageError for a malformed command, and EngineError if it fails, takes more than
    `seconds`, or prints anything else.
    """
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise UsageError(f"The command for Ma {command!r} cannot be parsed ({error}).") from error
    if not any(PICTURE in word for word in words):
        raise UsageError(f"The command for Ma {command!r}: expected {PICTURE} in it, in place of the picture's path.")
    words = [word.replace(PICTURE, str(path.absolute())) for word in words]
    try:
        run = subprocess.run(words, capture_output=True, text=True, errors="replace", timeout=seconds, check=False)
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        raise EngineError(f"The command for Ma {words[0]!r} cannot be run ({reason}).") from error
    except subprocess.TimeoutExpired as error:
        raise EngineError(f"{path}: the command for Ma took more than {seconds:g} seconds and was stopped.") from error
    if run.returncode:
        message = (run.stderr.strip() or run.stdout.strip() or "no message").splitlines()[-1][:200]
        raise EngineError(f"{path}: the command for Ma failed with exit code {run.returncode} ({message}).")
    score = _number(run.stdout)
    if score is None:
        raise EngineError(f"{path}: the command for Ma: expected one number, found {run.stdout.strip()[:80]!r}.")
    return score


def _number(text: str) -> float | None:
    return float(text) if _is_float(text) and math.isfinite(float(text)) else None


def _is_float(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
