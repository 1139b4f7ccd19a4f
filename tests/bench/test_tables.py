"""What is written for programs and for people."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from tessera.bench.difference import Deviation
from tessera.bench.subject import crop_middle, make_picture
from tessera.bench.surroundings import Surroundings
from tessera.bench.tables import as_dict, as_markdown
from tessera.bench.turns import BenchResult, CandidateResult, Missing, Run
from tessera.errors import UsageError

HERE = Surroundings(
    processor="Some CPU",
    features=("AVX2",),
    cores=2,
    threads=2,
    memory_bytes=2**33,
    gpus=(),
    system="Linux 6",
    versions={"python": "3.11"},
    load=0.1,
)


def candidate(name: str, seconds: float, found: Deviation | None = None, problem: str | None = None) -> CandidateResult:
    return CandidateResult(
        name=name,
        products="fp32",
        first_seconds=5.0,
        runs=(Run(seconds=seconds, cpu_seconds=2.0, peak_bytes=2**30), Run(seconds=2 * seconds, cpu_seconds=2.0)),
        difference=found,
        problem=problem,
    )


NEAR = Deviation(largest_levels=1, share_within_one=1.0, psnr_db=99.0)
FAR = Deviation(largest_levels=90, share_within_one=0.1, psnr_db=12.0)
COMPARISON = BenchResult(
    subject="model, 8x8",
    measured=(candidate("plain", 2.0), candidate("good", 1.0, NEAR), candidate("bad", 0.1, FAR, "It is wrong.")),
    missing=(Missing(name="absent", reason="It is not installed."),),
    multiply_adds=3 * 10**9,
    peaks={"fp32": 4e9},
)


def test_json_has_every_run_and_nothing_that_json_cannot_say():
    found = json.loads(json.dumps(as_dict([COMPARISON], HERE), allow_nan=False))
    assert found["schema"] == "tessera-bench-1"
    assert found["machine"]["processor"] == "Some CPU"
    (comparison,) = found["comparisons"]
    assert set(comparison) == {"subject", "multiply_adds", "peaks", "candidates", "missing"}
    plain, good, bad = comparison["candidates"]
    assert set(plain) == {
        *("name", "products", "first_seconds", "runs", "difference", "problem"),
        *("seconds", "ratio", "operations_per_second", "share_of_peak"),
    }
    assert plain["seconds"] == {"median": 3.0, "least": 2.0, "most": 4.0}
    assert good["ratio"] == {"median": 2.0, "least": 2.0, "most": 2.0}
    assert good["share_of_peak"] == pytest.approx(6e9 / 1.5 / 4e9)
    assert good["difference"] == {"largest_levels": 1, "share_within_one": 1.0, "psnr_db": 99.0}
    assert (bad["ratio"], bad["share_of_peak"]) == (None, None)
    assert comparison["missing"] == [{"name": "absent", "reason": "It is not installed."}]


def test_the_table_marks_what_is_wrong_and_names_what_is_missing():
    lines = as_markdown([COMPARISON], HERE).splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    assert len({len(row) for row in rows}) == 1
    cells = {row[0]: dict(zip(rows[0], row, strict=True)) for row in rows[2:]}
    assert cells["good"]["speed-up"] == "2.00"
    assert cells["good"]["seconds"] == "1.50 (1.00 to 2.00)"
    assert cells["good"]["% of peak"] == "100 %"
    assert cells["bad"]["speed-up"] == "**wrong**"
    assert cells["bad"]["% of peak"] == ""
    assert "- bad: It is wrong. No speed-up is reported." in lines
    assert "- absent did not run: It is not installed." in lines
    assert not any("other work" in line for line in lines)
    busy = as_markdown([COMPARISON], dataclasses.replace(HERE, load=1.7))
    assert "Other work was running (load 1.7)" in busy


def test_whole_processes_have_memory_and_processor_time_instead_of_rates():
    text = as_markdown([dataclasses.replace(COMPARISON, multiply_adds=None, peaks={})], HERE)
    assert "| CPU s | peak MiB |" in text
    assert "| 2.0 | 1,024 |" in text
    assert "% of peak" not in text


def test_the_middle_is_the_middle_in_color_and_divides():
    pixels = np.arange(9 * 11, dtype=np.uint8).reshape(9, 11)
    cut = crop_middle(pixels, 5, 100, multiple=2)
    assert cut.shape == (4, 10, 3)
    assert (cut[..., 1] == pixels[2:6, 0:10]).all()
    assert crop_middle(np.zeros((4, 4, 4), np.uint16), 4, 4).shape == (4, 4, 3)
    with pytest.raises(UsageError, match="expected sides of at least 4 pixels"):
        crop_middle(pixels, 3, 3, multiple=4)


def test_the_make_picture_is_always_the_same_and_uses_most_levels():
    one = make_picture(64, 48)
    assert one.shape == (64, 48, 3)
    assert (one == make_picture(64, 48)).all()
    assert len(np.unique(one)) > 150
