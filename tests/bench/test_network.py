"""Contenders with a clock of their own: who runs when, what is on the clock, what is found out."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from stand_ins import loaded, nearest, repeated, to_tensor
from tessera.bench.network import Clocks, Contender, Opened, measure_network
from tessera.bench.peers import NAMES, list_contenders
from tessera.bench.turns import spread
from tessera.errors import EngineError
from tessera.generators import RRDBNetConfig, SRVGGNetCompactConfig
from tessera.weights.files import LoadedGenerator


class Clock:
    """Moves when a candidate works, and at no other time; counts processor time twice as fast."""

    def __init__(self) -> None:
        self.now = 0.0
        self.log: list[str] = []

    def clocks(self) -> Clocks:
        return Clocks(wall=lambda: self.now, cpu=lambda: 2 * self.now, sleep=lambda _: None)

    def contender(self, name: str, seconds: list[float], products: str = "fp32", off: float = 0.0) -> Contender:
        left = iter(seconds)

        def run(picture: Tensor) -> Tensor:
            self.log.append(name)
            self.now += next(left)
            return repeated(2)(picture, 0) + off

        return Contender(name, lambda: Opened(name, products, run))


PICTURE = torch.full((1, 3, 6, 8), 0.5)


def test_the_first_run_is_told_apart_and_medians_are_of_the_turns():
    clock = Clock()
    found = measure_network(
        [clock.contender("A", [9, 4, 6, 8]), clock.contender("B", [7, 2, 3, 2])],
        PICTURE,
        subject="x",
        rounds=3,
        multiply_adds=600,
        clocks=clock.clocks(),
    )
    assert clock.log == ["A", "B", "A", "B", "A", "B", "A", "B"]
    one, two = found.measured
    assert (one.first_seconds, two.first_seconds) == (9, 7)
    assert [run.seconds for run in one.runs] == [4, 6, 8]
    assert [run.cpu_seconds for run in two.runs] == [4, 6, 4]
    assert found.ratio(two) == spread([2.0, 2.0, 4.0])
    assert found.operations_per_second(one) == 200
    assert one.difference is None
    assert two.difference is not None
    assert two.difference.largest_levels == 0


def test_wrong_results_are_found_in_any_round():
    clock = Clock()

    def sometimes(count: list[int]) -> Contender:
        def run(picture: Tensor) -> Tensor:
            count.append(0)
            clock.now += 0.001
            return repeated(2)(picture, 0) + (0.21 if len(count) == 3 else 0.0)

        return Contender("B", lambda: Opened("B", "bf16", run))

    found = measure_network(
        [clock.contender("A", [4] * 4), sometimes([])], PICTURE, subject="x", rounds=3, clocks=clock.clocks()
    )
    assert "Only 0.00 % of the values are within 1 level" in (found.measured[1].problem or "")
    assert found.measured[1].difference is not None
    assert found.measured[1].difference.largest_levels == 181 - 128
    assert found.ratio(found.measured[1]) is None


def test_what_cannot_be_opened_is_named_with_the_reason_and_the_same_thing_runs_once():
    clock = Clock()

    def absent() -> Opened:
        raise EngineError("The package `quick` is not here.\nTrace")

    twin = clock.contender("B", [1] * 9)
    found = measure_network(
        [clock.contender("A", [2] * 9), Contender("quick auto", absent), twin, twin],
        PICTURE,
        subject="x",
        rounds=2,
        clocks=clock.clocks(),
    )
    assert [each.name for each in found.measured] == ["A", "B"]
    assert clock.log.count("B") == 3
    assert [(each.name, each.reason) for each in found.missing] == [("quick auto", "The package `quick` is not here.")]


def test_without_a_reference_there_is_nothing_to_measure():
    def absent() -> Opened:
        raise EngineError("gone")

    with pytest.raises(EngineError, match="gone"):
        measure_network([Contender("A", absent)], PICTURE, subject="x", rounds=1)


def test_the_peak_is_the_better_of_before_and_after():
    clock, rates = Clock(), iter([100.0, 300.0])
    found = measure_network(
        [clock.contender("A", [1, 1])],
        PICTURE,
        subject="x",
        rounds=1,
        probes={"fp32": lambda: next(rates)},
        clocks=clock.clocks(),
    )
    assert found.peaks == {"fp32": 300.0}


def small(kind: str) -> LoadedGenerator:
    torch.manual_seed(3)
    if kind == "compact":
        config = SRVGGNetCompactConfig(features=8, convolutions=2)
    else:
        config = RRDBNetConfig(features=8, growth=4, blocks=1)
    return loaded(config.build(), config)


@pytest.mark.parametrize("kind", ["compact", "rrdbnet"])
def test_every_real_candidate_makes_the_picture_of_the_reference(kind: str):
    from tessera.bench.subject import make_picture

    found = measure_network(
        list_contenders(small(kind)),
        to_tensor(make_picture(16, 20)),
        subject="x",
        rounds=1,
        clocks=Clocks(sleep=lambda _: None),
    )
    assert found.measured[0].name == "plain PyTorch"
    names = {each.name for each in found.measured}
    assert {"pytorch fp32", "openvino fp32"} <= names
    assert not [each.problem for each in found.measured if each.problem]
    assert {each.name for each in found.missing} <= {
        "plain ncnn",
        "spandrel",
        *(f"{name} {p}" for name in NAMES for p in ("exact", "auto")),
    }


def test_a_network_that_an_engine_cannot_run_is_a_reason_not_an_end():
    found = measure_network(
        list_contenders(nearest(2), engines=("pytorch", "ncnn"), precisions=("exact",)), PICTURE, subject="x", rounds=1
    )
    assert [each.name for each in found.measured] == ["plain PyTorch", "pytorch fp32"]
    reasons = {each.name: each.reason for each in found.missing}
    assert "ncnn exact" in reasons
    assert "rrdbnet, srvggnetcompact" in reasons["ncnn exact"]
