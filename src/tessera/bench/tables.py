"""Benchmark results as JSON for programs and as Markdown for people."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

from tessera.bench.difference import Deviation
from tessera.bench.surroundings import Surroundings
from tessera.bench.turns import BenchResult, CandidateResult, Spread, spread

SCHEMA = "tessera-bench-1"


def as_dict(comparisons: Sequence[BenchResult], surroundings: Surroundings) -> dict[str, Any]:
    """Everything as plain values: sizes in bytes, rates in operations per second, unknown values as None."""
    return {
        "schema": SCHEMA,
        "machine": dataclasses.asdict(surroundings),
        "comparisons": [
            {
                "subject": comparison.subject,
                "multiply_adds": comparison.multiply_adds,
                "peaks": dict(comparison.peaks),
                "candidates": [_candidate(comparison, each) for each in comparison.measured],
                "missing": [dataclasses.asdict(each) for each in comparison.missing],
            }
            for comparison in comparisons
        ],
    }


def _candidate(comparison: BenchResult, each: CandidateResult) -> dict[str, Any]:
    ratio = comparison.ratio(each)
    return {
        **dataclasses.asdict(each),
        "seconds": dataclasses.asdict(_seconds(each)),
        "ratio": None if ratio is None else dataclasses.asdict(ratio),
        "operations_per_second": comparison.operations_per_second(each),
        "share_of_peak": comparison.share_of_peak(each),
    }


def as_markdown(comparisons: Sequence[BenchResult], surroundings: Surroundings) -> str:
    """A paragraph about the machine and a table for each result."""
    lines = [surroundings.sentence]
    if surroundings.is_busy:
        lines.append(f"Other work was running (load {surroundings.load:g}): trust speed-ups more than seconds.")
    for comparison in comparisons:
        lines += ["", f"{comparison.subject}:", "", *_table(comparison)]
        if comparison.peaks:
            peaks = ", ".join(f"{name} {_giga(rate)} G/s" for name, rate in comparison.peaks.items())
            lines += ["", f"Peak of matrix products: {peaks}."]
        lines += [
            f"- {each.name}: {each.problem} No speed-up is reported." for each in comparison.measured if each.problem
        ]
        lines += [f"- {each.name} did not run: {each.reason}" for each in comparison.missing]
    return "\n".join(lines) + "\n"


def _table(comparison: BenchResult) -> Iterator[str]:
    in_process = comparison.multiply_adds is not None
    middle = ("G/s", "% of peak") if in_process else ("CPU s", "peak MiB")
    yield _row("candidate", "seconds", "speed-up", *middle, "largest", "within 1 level", "PSNR to fp32")
    yield "|---" * (6 + len(middle)) + "|"
    for each in comparison.measured:
        ratio = comparison.ratio(each)
        if in_process:
            rate, share = comparison.operations_per_second(each), comparison.share_of_peak(each)
            cells = ("" if rate is None else _giga(rate), "" if share is None else f"{share * 100:.0f} %")
        else:
            cells = _resources(each)
        speed = "" if ratio is None else _spread(ratio, 2)
        speed = "**wrong**" if each.problem else speed
        yield _row(each.name, _spread(_seconds(each), 2), speed, *cells, *_difference(each.difference))


def _resources(each: CandidateResult) -> tuple[str, str]:
    cpu = [run.cpu_seconds for run in each.runs if run.cpu_seconds is not None]
    peaks = [run.peak_bytes for run in each.runs if run.peak_bytes is not None]
    return (
        f"{spread(cpu).median:.1f}" if cpu else "",
        f"{max(peaks) / 2**20:,.0f}" if peaks else "",
    )


def _difference(found: Deviation | None) -> tuple[str, str, str]:
    if found is None:
        return "", "", ""
    psnr = "equal" if found.psnr_db is None else f"{found.psnr_db:.1f} dB"
    return f"{found.largest_levels}", f"{found.share_within_one * 100:.2f} %", psnr


def _seconds(each: CandidateResult) -> Spread:
    return spread([run.seconds for run in each.runs])


def _spread(values: Spread, digits: int) -> str:
    if values.least == values.most:
        return f"{values.median:.{digits}f}"
    return f"{values.median:.{digits}f} ({values.least:.{digits}f} to {values.most:.{digits}f})"


def _giga(rate: float) -> str:
    return f"{rate / 1e9:.0f}"


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"
