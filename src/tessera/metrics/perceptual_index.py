"""The perceptual index of PIRM 2018, from NIQE and from a score Ma that comes from outside.

Blau, Mechrez, Timofte, Michaeli, Zelnik-Manor 2018. Ma (Ma, Yang, Yang, Yang 2017, also called NRQM) needs its authors'
random forests, which are not part of Tessera: its scores are read from a table or asked of a command.
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

    PIRM measures both on Y with 4 pixels cropped. Raises UsageError where one of them is no number.

    >>> perceptual_index(ma=8.0, niqe=3.0)
    2.5
    """
    if not (math.isfinite(ma) and math.isfinite(niqe)):
        raise UsageError(f"The perceptual index needs numbers, found Ma {ma} and NIQE {niqe}.")
    return ((10 - ma) + niqe) / 2


def pirm_region(rmse: float) -> int | None:
    """The region of PIRM 2018 that a result with this RMSE (Y, levels of 255, crop 4) competes in; None beyond all.

    >>> pirm_region(11.5), pirm_region(12.0), pirm_region(15.3), pirm_region(16.1)
    (1, 2, 3, None)
    """
    if not rmse >= 0:
        raise UsageError(f"An RMSE is 0 or more, found {rmse}.")
    return next((region for region, limit in enumerate(PIRM_LIMITS, 1) if rmse <= limit), None)


def open_ma(source: str | None) -> Callable[[Path], float]:
    """Open the source of Ma: a command that contains {picture}, or a table of scores. Raises UsageError."""
    if source is None:
        raise UsageError(
            "pi needs Ma scores: give a table (picture, score) or a command with {picture} in it.", field="ma"
        )
    if PICTURE in source:
        return lambda path: ma_from_command(source, path)
    table = ma_from_file(Path(source))
    return lambda path: ma_of(path, table)


def start_perceptual_index(niqe: Start, ma: Callable[[Path], float]) -> Start:
    """Start PI on pictures whose rows are Y with 4 pixels cropped."""

    def start(frame: Frame) -> Accumulator:
        inner = niqe(frame)
        score = inner.score
        assert score is not None
        return Accumulator(inner.take, lambda: perceptual_index(ma=ma(frame.path), niqe=score()))

    return start


def ma_from_file(path: Path) -> dict[str, float]:
    """Read scores from a CSV table, a picture's name and its score in each row; a first row of words is a heading.

    Raises UsageError that names the row.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = [
                (number, row) for number, row in enumerate(csv.reader(file), 1) if any(cell.strip() for cell in row)
            ]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        raise UsageError(f"{path}: this table of Ma scores cannot be read ({reason}).") from error
    scores: dict[str, float] = {}
    for place, (number, row) in enumerate(rows):
        score = _number(row[1]) if len(row) == 2 else None
        if score is None:
            if place == 0 and len(row) == 2 and not _is_float(row[1]):
                continue
            raise UsageError(f"{path}, row {number}: expected a picture's name and its score, found {','.join(row)!r}.")
        name = row[0].strip()
        if name in scores:
            raise UsageError(f"{path}, row {number}: {name!r} has a score already; give each picture one row.")
        scores[name] = score
    if not scores:
        raise UsageError(f"{path}: this table holds no score. Give a picture's name and its score in each row.")
    return scores


def ma_of(picture: Path, scores: Mapping[str, float]) -> float:
    """The score of a picture by its name, with the ending or without. Raises UsageError when it has none."""
    for name in (picture.name, picture.stem):
        if name in scores:
            return scores[name]
    raise UsageError(f"{picture}: the table of Ma scores has no row for {picture.name!r} or {picture.stem!r}.")


def ma_from_command(command: str, path: Path, *, seconds: float = LONGEST_SECONDS) -> float:
    """Run a command in which `{picture}` stands for the picture's path, and give the one number that it prints.

    No shell is involved. Raises UsageError for a command that cannot be one, and EngineError when it fails, takes more
    than `seconds`, or prints something else.
    """
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise UsageError(f"The command for Ma {command!r} cannot be taken apart ({error}).") from error
    if not any(PICTURE in word for word in words):
        raise UsageError(f"The command for Ma {command!r} should hold {PICTURE}, which stands for the picture's path.")
    words = [word.replace(PICTURE, str(path.absolute())) for word in words]
    try:
        run = subprocess.run(words, capture_output=True, text=True, errors="replace", timeout=seconds, check=False)
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        raise EngineError(f"The command for Ma {words[0]!r} cannot be run ({reason}).") from error
    except subprocess.TimeoutExpired as error:
        raise EngineError(f"{path}: the command for Ma took more than {seconds:g} seconds and was ended.") from error
    if run.returncode:
        said = (run.stderr.strip() or run.stdout.strip() or "it said nothing").splitlines()[-1][:200]
        raise EngineError(f"{path}: the command for Ma failed with exit code {run.returncode} ({said}).")
    score = _number(run.stdout)
    if score is None:
        raise EngineError(
            f"{path}: the command for Ma should print one number and printed {run.stdout.strip()[:80]!r}."
        )
    return score


def _number(text: str) -> float | None:
    return float(text) if _is_float(text) and math.isfinite(float(text)) else None


def _is_float(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
