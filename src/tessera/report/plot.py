"""A scatter plot of two metrics as inline SVG: ticks at round numbers, labels without overlaps.

Colors come from the page's style, so that the plot is readable in light mode, in dark mode and in print.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tessera.report.axis import AxisLabel, ChartAxis, fit_axis, format_tick
from tessera.report.page import text

_WIDTH, _HEIGHT = 640, 420
_LEFT, _RIGHT, _TOP, _BOTTOM = 76, 24, 24, 58
_LETTER, _LINE = 7.6, 16.0
_LONGEST = 34
_RADIUS = 5.0


@dataclass(frozen=True, kw_only=True)
class Point:
    """A method's two means."""

    name: str
    x: float
    y: float
    baseline: bool = False


@dataclass(frozen=True)
class _Rectangle:
    left: float
    top: float
    right: float
    bottom: float

    def overlaps(self, other: _Rectangle) -> bool:
        return (
            self.left < other.right and other.left < self.right and self.top < other.bottom and other.top < self.bottom
        )

    def contains(self, other: _Rectangle) -> bool:
        return (
            self.left <= other.left
            and other.right <= self.right
            and self.top <= other.top
            and other.bottom <= self.bottom
        )


_FRAME = _Rectangle(_LEFT, _TOP, _WIDTH - _RIGHT, _HEIGHT - _BOTTOM)


def draw_scatter(points: Sequence[Point], across: AxisLabel, up: AxisLabel) -> str:
    """Draw points of finite means as an SVG element, with an arrow to the corner where both metrics are better."""
    arrow, taken = _draw_arrow(across.higher_is_better, up.higher_is_better)
    axes = _fit_axes(points, taken)
    spots = [(axes[0].place(point.x), axes[1].place(point.y)) for point in points]
    values = "; ".join(f"{point.name} {point.x:.4g}, {point.y:.4g}" for point in points)
    lines = [
        f'<svg class="plot" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img">\n'
        f"<title>{text(up.title)} against {text(across.title)}: {text(values)}</title>\n",
        *_draw_grid(*axes),
        *_draw_titles(across, up),
        arrow,
    ]
    blocked = [taken, *map(_marker_box, spots)]
    boxes: list[_Rectangle | None] = []
    for point, spot in zip(points, spots, strict=True):
        boxes.append(_find_free_box(point, spot, [*blocked, *(box for box in boxes if box is not None)]))
    for draw in (_draw_leader, _draw_marker, _draw_name):  # names last, so that no line crosses them
        lines += [draw(point, spot, box) for point, spot, box in zip(points, spots, boxes, strict=True)]
    lines.append("</svg>\n")
    return "".join(lines)


def _fit_axes(points: Sequence[Point], taken: _Rectangle) -> tuple[ChartAxis, ChartAxis]:
    """Fit axes that keep points out of the arrow's corner, where possible."""
    xs, ys = [point.x for point in points], [point.y for point in points]
    for margin in (0.12, 0.18, 0.25, 0.35):
        across = fit_axis(xs, start=_FRAME.left, end=_FRAME.right, margin=margin)
        up = fit_axis(ys, start=_FRAME.bottom, end=_FRAME.top, margin=margin)
        marks = [_marker_box((across.place(point.x), up.place(point.y))) for point in points]
        if not any(map(taken.overlaps, marks)):
            break
    return across, up


def _draw_grid(across: ChartAxis, up: ChartAxis) -> Iterator[str]:
    for value in across.ticks():
        x = across.place(value)
        yield f'<line class="grid" x1="{x:.1f}" y1="{_FRAME.top}" x2="{x:.1f}" y2="{_FRAME.bottom}"/>'
        yield f'<text class="soft" x="{x:.1f}" y="{_FRAME.bottom + 18}" text-anchor="middle">'
        yield f"{format_tick(value)}</text>\n"
    for value in up.ticks():
        y = up.place(value)
        yield f'<line class="grid" x1="{_FRAME.left}" y1="{y:.1f}" x2="{_FRAME.right}" y2="{y:.1f}"/>'
        yield f'<text class="soft" x="{_FRAME.left - 8}" y="{y + 4:.1f}" text-anchor="end">'
        yield f"{format_tick(value)}</text>\n"
    yield f'<path class="axis" d="M{_FRAME.left} {_FRAME.top}V{_FRAME.bottom}H{_FRAME.right}"/>\n'


def _draw_titles(across: AxisLabel, up: AxisLabel) -> Iterator[str]:
    words = {True: "→ better", False: "← better"}  # the text of the vertical axis is rotated, so right is up
    middle = (_FRAME.left + _FRAME.right) / 2
    yield f'<text x="{middle}" y="{_HEIGHT - 12}" text-anchor="middle">'
    yield f"{text(across.title)} ({words[across.higher_is_better]})</text>\n"
    yield f'<text transform="translate(18 {(_FRAME.top + _FRAME.bottom) / 2}) rotate(-90)" text-anchor="middle">'
    yield f"{text(up.title)} ({words[up.higher_is_better]})</text>\n"


def _marker_box(spot: tuple[float, float]) -> _Rectangle:
    x, y = spot
    return _Rectangle(x - 7, y - 7, x + 7, y + 7)


def _shorten(point: Point) -> str:
    return point.name if len(point.name) <= _LONGEST else point.name[: _LONGEST - 1] + "…"


def _find_free_box(point: Point, spot: tuple[float, float], blocked: Sequence[_Rectangle]) -> _Rectangle | None:
    """Find the nearest free box for a point's label; None without room (tooltip and table have the name)."""
    width = max(1, len(_shorten(point))) * _LETTER
    for box in _candidate_boxes(*spot, width):
        if _FRAME.contains(box) and not any(map(box.overlaps, blocked)):
            return box
    return None


def _draw_leader(point: Point, spot: tuple[float, float], box: _Rectangle | None) -> str:
    """Draw a line from a point to a distant label."""
    if box is None:
        return ""
    (x, y), near = spot, (min(max(spot[0], box.left), box.right), min(max(spot[1], box.top), box.bottom))
    if math.dist(near, spot) <= 14:
        return ""
    return f'<line class="leader" x1="{x:.1f}" y1="{y:.1f}" x2="{near[0]:.1f}" y2="{near[1]:.1f}"/>\n'


def _draw_marker(point: Point, spot: tuple[float, float], box: _Rectangle | None) -> str:
    x, y = spot
    shape = f'<circle class="point" cx="{x:.1f}" cy="{y:.1f}" r="{_RADIUS}">'
    if point.baseline:
        shape = f'<rect class="point baseline" x="{x - 4.5:.1f}" y="{y - 4.5:.1f}" width="9" height="9">'
    return f"{shape}<title>{text(point.name)}</title></{'rect' if point.baseline else 'circle'}>\n"


def _draw_name(point: Point, spot: tuple[float, float], box: _Rectangle | None) -> str:
    if box is None:
        return ""
    x, y = (box.left + box.right) / 2, box.bottom - 4
    return f'<text class="name" x="{x:.1f}" y="{y:.1f}" text-anchor="middle">{text(_shorten(point))}</text>\n'


def _candidate_boxes(x: float, y: float, width: float) -> Iterator[_Rectangle]:
    """Boxes for a label around a point, near ones first: right, left, above, below, then in rings."""
    for gap in (9.0, 22.0, 36.0, 52.0, 70.0, 90.0, 115.0, 145.0, 180.0, 220.0, 260.0):
        for turn in (0, 180, 270, 90, 315, 45, 225, 135, 338, 22, 202, 158):
            dx, dy = math.cos(math.radians(turn)), math.sin(math.radians(turn))
            cx = x + dx * (gap + width / 2) if abs(dx) > 0.1 else x
            cy = y + dy * (gap + _LINE / 2)
            yield _Rectangle(cx - width / 2, cy - _LINE / 2, cx + width / 2, cy + _LINE / 2)


def _draw_arrow(right: bool, top: bool) -> tuple[str, _Rectangle]:
    """Draw an arrow with its label into the corner where both are better -> the SVG and its bounding box."""
    sx, sy = (1 if right else -1), (-1 if top else 1)
    tip_x = _FRAME.right - 10 if right else _FRAME.left + 10
    tip_y = _FRAME.top + 10 if top else _FRAME.bottom - 10
    x, y = tip_x - sx * 22, tip_y - sy * 22
    anchor = "end" if right else "start"
    word_x = x - sx * 6
    left, end = (word_x - 48, tip_x) if right else (tip_x, word_x + 48)
    head = f"M{tip_x} {tip_y}l{-sx * 10} 0 {sx * 10} {sy * -10}z"
    svg = (
        f'<line class="toward" x1="{x}" y1="{y}" x2="{tip_x - sx * 4}" y2="{tip_y - sy * 4}"/>'
        f'<path class="toward" d="{head}"/>'
        f'<text class="toward" x="{word_x}" y="{y + 4}" text-anchor="{anchor}">better</text>\n'
    )
    return svg, _Rectangle(left, min(y, tip_y) - 8, end, max(y, tip_y) + 8)
