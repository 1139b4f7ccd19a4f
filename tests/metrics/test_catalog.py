"""The list of metrics, and that one declaration is all a new metric needs."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest

from tessera import write_picture
from tessera.cli import main
from tessera.errors import UsageError
from tessera.metrics import catalog
from tessera.metrics.catalog import METRICS, find_metric, format_markdown, metric_names
from tessera.metrics.lpips import LPIPS_NETS
from tessera.metrics.metric import Accumulator, Frame, Metric, MetricInfo
from tessera.metrics.ssim import SMALLEST_SIDE, SMALLEST_SIDE_OF_FIVE
from tessera.trunks import TRUNKS

DOCS = Path(__file__).parents[2] / "docs"


class LargestError:
    """The largest absolute difference of any value."""

    def __init__(self) -> None:
        self.largest = 0.0

    def take(self, sr: np.ndarray, gt: np.ndarray) -> None:
        self.largest = max(self.largest, float(np.abs(sr - gt).max()))


def start_largest_error(_: Frame) -> Accumulator:
    found = LargestError()
    return Accumulator(found.take, lambda: found.largest)


TOY = Metric(
    info=MetricInfo(
        name="largest",
        title="Largest error (levels)",
        summary="The largest difference of a pixel from its reference.",
        source="this test",
        higher_is_better=False,
        lowest=0,
        highest=255,
        needs=("gt",),
        decimals=1,
    ),
    rows="rgb",
    load=lambda _: start_largest_error,
)


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> Metric:
    monkeypatch.setattr(catalog, "METRICS", (*METRICS, TOY))
    return TOY


def test_a_declared_metric_is_in_table_json_csv_and_report(toy: Metric, tmp_path: Path, capsys) -> None:
    rng = np.random.default_rng(0)
    for index in range(2):
        gt = rng.integers(40, 200, (60, 60, 3), dtype=np.uint8)
        sr = gt.copy()
        sr[30, 30, 1] += 5 + index
        for folder, pixels in (("gt", gt), ("sr", sr)):
            (tmp_path / folder).mkdir(exist_ok=True)
            write_picture(pixels, tmp_path / folder / f"p{index}.png")
    output = tmp_path / "out"
    words = ["--sr", str(tmp_path / "sr"), "--gt", str(tmp_path / "gt"), "-o", str(output)]
    assert main(["evaluate", *words, "--metrics", "psnr,largest"]) == 0
    table = capsys.readouterr().out
    assert "| model | PSNR (dB) ↑ | Largest error (levels) ↓ |" in table
    assert "5.5 [5.0, 6.0]" in table
    found = json.loads((output / "scores.json").read_text())
    assert [row["scores"]["largest"] for row in found["rows"]] == [5.0, 6.0]
    assert found["metrics"][1]["source"] == "this test"
    rows = list(csv.DictReader((output / "scores.csv").read_text().splitlines()))
    assert [float(row["largest"]) for row in rows] == [5.0, 6.0]
    report = (output / "report.html").read_text()
    assert "Largest error (levels)" in report
    assert toy.info.summary in report


def test_a_declared_metric_is_named_where_a_name_is_unknown(toy: Metric, tmp_path: Path, capsys) -> None:
    write_picture(np.zeros((8, 8, 3), np.uint8), tmp_path / "a.png")
    assert main(["evaluate", "--gt", str(tmp_path), "-n", "bicubic", "--metrics", "larges"]) == 2
    said = capsys.readouterr().err
    assert "--metrics: unknown metric 'larges'" in said
    assert "did you mean largest?" in said


def test_names_are_distinct_and_ranges_make_sense() -> None:
    assert len(set(metric_names())) == len(METRICS)
    for metric in METRICS:
        info = metric.info
        assert info.lowest < info.highest
        assert info.summary.endswith(".")
        assert info.typical or math.isfinite(info.lowest)
        assert info.arrow == ("↑" if info.higher_is_better else "↓")


def test_learned_metrics_name_their_trunk_and_smallest_picture() -> None:
    known = {trunk.name for trunk in TRUNKS}
    assert {metric.info.trunk for metric in METRICS} - {None} <= known
    for net in LPIPS_NETS:
        info = find_metric(f"lpips-{net.name}").info
        assert (info.trunk, info.smallest_side) == (net.trunk, net.smallest_side)
    assert find_metric("ssim").info.smallest_side == SMALLEST_SIDE
    assert find_metric("ms-ssim").info.smallest_side == SMALLEST_SIDE_OF_FIVE


def test_an_alias_finds_its_metric_and_an_unknown_name_the_nearest() -> None:
    assert find_metric("lpips").info.name == "lpips-alex"
    with pytest.raises(UsageError, match="did you mean psnr"):
        find_metric("psrn")


def test_the_help_lists_every_metric(capsys) -> None:
    assert main(["evaluate", "--help"]) == 0
    words = "".join(capsys.readouterr().out.split())  # lines break after hyphens
    assert all(name in words for name in metric_names())


def test_the_documentation_has_the_table_of_metrics() -> None:
    pages = "\n".join(path.read_text(encoding="utf-8") for path in sorted(DOCS.rglob("*.md")))
    assert format_markdown() in pages
