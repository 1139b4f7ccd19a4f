"""The draw_scatter plot: names beside their points, none over another."""

from __future__ import annotations

import numpy as np
import pytest

from report.reading import parsed
from tessera.report.axis import AxisLabel
from tessera.report.plot import Point, draw_scatter

PSNR = AxisLabel(title="PSNR (dB)", higher_is_better=True)
NIQE = AxisLabel(title="NIQE", higher_is_better=False)


def names(svg: str) -> list[tuple[float, float, float, float]]:
    found = parsed(svg).all("text", **{"class": "name"})
    places = [(float(str(e.attributes["x"])), float(str(e.attributes["y"])), len(e.text) * 7.0) for e in found]
    return [(x - width / 2, y - 12, x + width / 2, y + 3) for x, y, width in places]


@pytest.mark.parametrize("seed", range(6))
def test_names_never_cover_each_other_and_stay_inside(seed: int) -> None:
    rng = np.random.default_rng(seed)
    points = [
        Point(name=f"realesrgan-{index}" + "x" * int(rng.integers(0, 9)), x=28 + x, y=5 + y)
        for index, (x, y) in enumerate(rng.normal(0, 0.2, (9, 2)))
    ]
    boxes = names(draw_scatter(points, PSNR, NIQE))
    assert len(boxes) == len(points)
    for index, (left, top, right, bottom) in enumerate(boxes):
        assert left >= 0
        assert top >= 0
        assert right <= 640
        assert bottom <= 420
        for other in boxes[index + 1 :]:
            assert right <= other[0] or other[2] <= left or bottom <= other[1] or other[3] <= top


def test_both_axes_say_which_way_is_better() -> None:
    svg = draw_scatter([Point(name="a", x=28.0, y=4.0)], PSNR, NIQE)
    assert "PSNR (dB) (→ better)" in svg
    assert "NIQE (← better)" in svg


def test_points_of_equal_means_huge_values_and_long_names_can_be_drawn() -> None:
    twins = [Point(name=name, x=0.0, y=1e9) for name in ("<a>", "b" * 500)]
    root = parsed(draw_scatter(twins, PSNR, NIQE))
    assert len(root.all("circle")) == 2
    assert "nan" not in root.text
