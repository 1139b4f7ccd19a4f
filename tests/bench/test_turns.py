"""The order of turns, and what times say about each other."""

from __future__ import annotations

import pytest

from tessera.bench.turns import (
    REST_SECONDS,
    BenchResult,
    CandidateResult,
    Run,
    ratios,
    spread,
    summarize_error,
    take_turns,
)


def run(seconds: float) -> Run:
    return Run(seconds=seconds, cpu_seconds=None)


def measured(name: str, *seconds: float, products: str = "fp32", problem: str | None = None) -> CandidateResult:
    return CandidateResult(
        name=name,
        products=products,
        first_seconds=None,
        runs=tuple(map(run, seconds)),
        difference=None,
        problem=problem,
    )


def test_candidates_take_turns_and_each_waits_for_the_one_before_to_come_to_rest():
    heard: list[object] = []

    def turn(name: str):
        def taken() -> Run:
            heard.append(name)
            return run(len(heard))

        return taken

    runs, failed = take_turns({"A": turn("A"), "B": turn("B"), "C": turn("C")}, 2, sleep=heard.append)
    assert heard == [each for name in "ABCABC" for each in (REST_SECONDS, name)]
    assert [each.seconds for each in runs["B"]] == [4, 10]
    assert not failed


def test_one_that_falls_over_has_no_times_and_the_others_go_on():
    rest: list[str] = []

    def falls() -> Run:
        if rest.count("B"):
            raise RuntimeError("no memory\nand a trace")
        return run(1)

    told = lambda number, name: rest.append(name) if number == 0 else None  # noqa: E731
    turns = {"A": lambda: run(2), "B": falls, "C": lambda: run(3)}
    runs, failed = take_turns(turns, 3, sleep=lambda _: None, progress=told)
    assert set(runs) == {"A", "C"}
    assert len(runs["A"]) == len(runs["C"]) == 3
    assert [(each.name, each.reason) for each in failed] == [("B", "no memory.")]


def test_the_first_is_what_others_are_compared_with_so_its_failure_is_raised():
    def falls() -> Run:
        raise ArithmeticError("gone")

    with pytest.raises(ArithmeticError):
        take_turns({"A": falls, "B": lambda: run(1)}, 1, sleep=lambda _: None)


def test_ratios_are_taken_within_rounds_so_that_what_slowed_a_round_cancels():
    first, other = [run(4), run(40), run(8)], [run(2), run(20), run(4)]
    assert ratios(first, other) == spread([2.0, 2.0, 2.0])
    assert spread([3, 1, 20, 2]).median == 2.5
    assert (spread([3, 1, 20]).least, spread([3, 1, 20]).most) == (1, 20)


def test_rates_are_set_against_the_peak_of_their_own_type():
    first, other = measured("A", 2, 2), measured("B", 1, 3, products="bf16")
    comparison = BenchResult(
        subject="x", measured=(first, other), multiply_adds=500, peaks={"fp32": 1000.0, "bf16": 2000.0}
    )
    assert comparison.operations_per_second(first) == 500
    assert comparison.share_of_peak(first) == 0.5
    assert comparison.share_of_peak(other) == 0.25
    assert comparison.share_of_peak(measured("C", 1, products="int8")) is None


def test_a_wrong_result_is_never_called_fast():
    first, wrong = measured("A", 2), measured("B", 0.001, problem="It is another picture.")
    comparison = BenchResult(subject="x", measured=(first, wrong), multiply_adds=500, peaks={"fp32": 1000.0})
    assert comparison.ratio(wrong) is None
    assert comparison.share_of_peak(wrong) is None
    assert comparison.ratio(first) == spread([1.0])


def test_reasons_are_one_sentence():
    assert summarize_error(ValueError("first line\nsecond")) == "first line."
    assert summarize_error(KeyboardInterrupt()) == "KeyboardInterrupt."
    assert summarize_error(ValueError("Why?")) == "Why?"
