import pytest

from tessera.dataset.throughput import ThroughputMeter


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.mark.parametrize(
    ("waiting", "computing", "said"),
    [
        (0.1, 1.9, "8.0 crops per second, 5% of the time waiting for data: limited by computation"),
        (3.0, 1.0, "4.0 crops per second, 75% of the time waiting for data: limited by data loading"),
    ],
)
def test_the_longer_side_is_said_to_limit(waiting, computing, said):
    clock = Clock()
    meter = ThroughputMeter(clock=clock)
    with meter.measure_waiting():
        clock.seconds += waiting
    with meter.measure_computing(16):
        clock.seconds += computing
    assert meter.describe(workers=2, cores=8, cached=False).startswith(said)


def test_only_what_can_still_be_done_is_advised():
    clock = Clock()
    meter = ThroughputMeter(clock=clock)
    with meter.measure_waiting():
        clock.seconds += 1
    with meter.measure_computing(1):
        clock.seconds += 1
    said = meter.describe(workers=8, cores=8, cached=True)
    assert "workers" not in said
    assert "cache" not in said
    assert ThroughputMeter().describe(workers=0, cores=1, cached=False) == "Throughput: not measured yet."
