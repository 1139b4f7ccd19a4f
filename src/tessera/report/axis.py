"""The axis of a chart: values -> pixels, linear or logarithmic, with ticks at round numbers.

Used by the scatter plot and the curves.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

LOG_FROM = 20.0
"""An axis may be logarithmic if the ratio of its maximum to its minimum is at least this."""
SMALLEST_LOG = 1e-44
"""Smaller values are 0 in single precision, which a logarithmic axis cannot show."""


@dataclass(frozen=True, kw_only=True)
class AxisLabel:
    """The metric on an axis."""

    title: str
    higher_is_better: bool


@dataclass(frozen=True, kw_only=True)
class ChartAxis:
    """An axis that maps `least` to the pixel `start` and `greatest` to the pixel `end`."""

    least: float
    greatest: float
    start: float
    end: float
    log: bool = False
    only: float | None = None
    """The value of a chart whose values are all equal."""

    def place(self, value: float) -> float:
        """The pixel of a value; values beyond the axis are placed at its ends."""
        low, high, at = (math.log10(each) if self.log else each for each in (self.least, self.greatest, value))
        share = min(1.0, max(0.0, (at - low) / (high - low)))
        return self.start + share * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Round numbers on the axis."""
        if self.only is not None:
            return [self.only]
        return log_ticks(self.least, self.greatest) if self.log else ticks(self.least, self.greatest)


def fit_axis(
    values: Sequence[float], *, start: float, end: float, margin: float = 0.07, may_be_log: bool = False
) -> ChartAxis:
    """Fit an axis to finite values, with a margin at both ends relative to their span."""
    least, greatest = min(values), max(values)
    if may_be_log and least > SMALLEST_LOG and greatest / least >= LOG_FROM:
        room = (greatest / least) ** 0.05
        return ChartAxis(least=least / room, greatest=greatest * room, start=start, end=end, log=True)
    room = margin * (greatest - least)
    if not math.isfinite(room) or room <= 1e-9 * max(abs(least), abs(greatest)):
        room = 0.05 * max(abs(least), abs(greatest)) or 1.0
        only = float(f"{least:.5g}")
        return ChartAxis(least=least - room, greatest=greatest + room, start=start, end=end, only=only)
    return ChartAxis(least=least - room, greatest=greatest + room, start=start, end=end)


def ticks(least: float, greatest: float) -> list[float]:
    """Round numbers within a span, three to eight of them.

    >>> ticks(0, 12), ticks(0.19, 0.33)
    ([0.0, 2.0, 4.0, 6.0, 8.0, 10.0, 12.0], [0.2, 0.25, 0.3])
    """
    rough = (greatest - least) / 6
    if not (rough > 0 and math.isfinite(rough)):
        return []
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(each * power for each in (1, 2, 5, 10) if each * power >= rough * 0.999)
    first, last = math.ceil(least / step - 1e-9), math.floor(greatest / step + 1e-9)
    return [float(f"{index * step:.12g}") for index in range(first, last + 1)]


def log_ticks(least: float, greatest: float) -> list[float]:
    """Powers of ten within a span, with 2 and 5 times them where there is room.

    >>> log_ticks(0.011, 0.3), log_ticks(1e-8, 2.0)
    ([0.02, 0.05, 0.1, 0.2], [1e-08, 1e-06, 0.0001, 0.01, 1.0])
    """
    exponents = range(math.floor(math.log10(least)), math.ceil(math.log10(greatest)) + 1)
    for digits in ((1, 2, 5), (1,)):
        found = [float(f"{digit}e{exponent}") for exponent in exponents for digit in digits]
        found = [value for value in found if least <= value <= greatest]
        if len(found) <= 7:
            return found
    return found[:: math.ceil(len(found) / 7)]


def format_tick(value: float) -> str:
    """Format a tick, with a true minus sign and a short exponent.

    >>> format_tick(-0.5), format_tick(4.865e-07), format_tick(1e12)
    ('−0.5', '4.865e−7', '1e+12')
    """
    return re.sub(r"e([-+])0", r"e\1", f"{value:g}").replace("-", "−")
