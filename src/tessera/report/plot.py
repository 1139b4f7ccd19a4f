"""A scatter plot of two metrics as inline SVG: ticks at round numbers, names that do not cover each other.

Colors come from the page's style, so that the plot is readable in light, in dark and on paper.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tessera.evaluate.scores import MetricInfo
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
class _Box:
    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: _Box) -> bool:
        return (
            self.left < other.right and other.left < self.right and self.top < other.bottom and other.top < self.bottom
        )

    def holds(self, other: _Box) -> bool:
        return (
            self.left <= other.left
            and other.right <= self.right
            and self.top <= other.top
            and other.bottom <= self.bottom
        )


_FRAME = _Box(_LEFT, _TOP, _WIDTH - _RIGHT, _HEIGHT - _BOTTOM)


def scatter(points: Sequence[Point], across: MetricInfo, up: MetricInfo) -> str:
    """Points of finite means -> an SVG element, with an arrow to where both metrics are better."""
    arrow, taken = _better_corner(across.higher_is_better, up.higher_is_better)
    span_x, span_y = (0.0, 1.0), (0.0, 1.0)

    def place(x: float, y: float) -> tuple[float, float]:
        return (
            _FRAME.left + (x - span_x[0]) / (span_x[1] - span_x[0]) * (_FRAME.right - _FRAME.left),
            _FRAME.bottom - (y - span_y[0]) / (span_y[1] - span_y[0]) * (_FRAME.bottom - _FRAME.top),
        )

    for room in (0.12, 0.18, 0.25, 0.35):  # until no point lies in the arrow's corner
        span_x, span_y = _span([point.x for point in points], room), _span([point.y for point in points], room)
        spots = [place(point.x, point.y) for point in points]
        if not any(map(taken.meets, map(_marked, spots))):
            break

    lines = [
        f'<svg class="plot" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-labelledby="plot-title">\n'
        f'<title id="plot-title">{text(up.title)} against {text(across.title)}: '
        f"{text('; '.join(f'{p.name} {p.x:.4g}, {p.y:.4g}' for p in points))}</title>\n"
    ]
    for value in _ticks(*span_x):
        x, _ = place(value, span_y[0])
        lines.append(f'<line class="grid" x1="{x:.1f}" y1="{_FRAME.top}" x2="{x:.1f}" y2="{_FRAME.bottom}"/>')
        lines.append(f'<text class="soft" x="{x:.1f}" y="{_FRAME.bottom + 18}" text-anchor="middle">{value:g}</text>\n')
    for value in _ticks(*span_y):
        _, y = place(span_x[0], value)
        lines.append(f'<line class="grid" x1="{_FRAME.left}" y1="{y:.1f}" x2="{_FRAME.right}" y2="{y:.1f}"/>')
        lines.append(f'<text class="soft" x="{_FRAME.left - 8}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>\n')
    lines.append(f'<path class="axis" d="M{_FRAME.left} {_FRAME.top}V{_FRAME.bottom}H{_FRAME.right}"/>\n')
    middle = (_FRAME.left + _FRAME.right) / 2
    better_x = "→ better" if across.higher_is_better else "← better"
    better_y = "→ better" if up.higher_is_better else "← better"  # the text is turned, so right is up
    lines.append(
        f'<text x="{middle}" y="{_HEIGHT - 12}" text-anchor="middle">{text(across.title)} ({better_x})</text>\n'
        f'<text transform="translate(18 {(_FRAME.top + _FRAME.bottom) / 2}) rotate(-90)" text-anchor="middle">'
        f"{text(up.title)} ({better_y})</text>\n"
    )
    lines.append(arrow)
    blocked = [taken, *map(_marked, spots)]
    boxes: list[_Box | None] = []
    for point, spot in zip(points, spots, strict=True):
        boxes.append(_free_place(point, spot, [*blocked, *(box for box in boxes if box is not None)]))
    for draw in (_leader, _marker, _name):  # names last, so that no line crosses them
        lines += [draw(point, spot, box) for point, spot, box in zip(points, spots, boxes, strict=True)]
    lines.append("</svg>\n")
    return "".join(lines)


def _marked(spot: tuple[float, float]) -> _Box:
    x, y = spot
    return _Box(x - 7, y - 7, x + 7, y + 7)


def _shown(point: Point) -> str:
    return point.name if len(point.name) <= _LONGEST else point.name[: _LONGEST - 1] + "…"


def _free_place(point: Point, spot: tuple[float, float], blocked: Sequence[_Box]) -> _Box | None:
    """The nearest place for a point's name; None when there is no room (the tooltip and the table have it)."""
    width = max(1, len(_shown(point))) * _LETTER
    for box in _places(*spot, width):
        if _FRAME.holds(box) and not any(map(box.meets, blocked)):
            return box
    return None


def _leader(point: Point, spot: tuple[float, float], box: _Box | None) -> str:
    """A line from a point to its name, where that is not beside it."""
    if box is None:
        return ""
    (x, y), near = spot, (min(max(spot[0], box.left), box.right), min(max(spot[1], box.top), box.bottom))
    if math.dist(near, spot) <= 14:
        return ""
    return f'<line class="leader" x1="{x:.1f}" y1="{y:.1f}" x2="{near[0]:.1f}" y2="{near[1]:.1f}"/>\n'


def _marker(point: Point, spot: tuple[float, float], box: _Box | None) -> str:
    x, y = spot
    shape = f'<circle class="point" cx="{x:.1f}" cy="{y:.1f}" r="{_RADIUS}">'
    if point.baseline:
        shape = f'<rect class="point baseline" x="{x - 4.5:.1f}" y="{y - 4.5:.1f}" width="9" height="9">'
    return f"{shape}<title>{text(point.name)}</title></{'rect' if point.baseline else 'circle'}>\n"


def _name(point: Point, spot: tuple[float, float], box: _Box | None) -> str:
    if box is None:
        return ""
    x, y = (box.left + box.right) / 2, box.bottom - 4
    return f'<text class="name" x="{x:.1f}" y="{y:.1f}" text-anchor="middle">{text(_shown(point))}</text>\n'


def _places(x: float, y: float, width: float) -> Iterator[_Box]:
    """Boxes for a name around a point, near ones first: right, left, above, below, then in rings."""
    for gap in (9.0, 22.0, 36.0, 52.0, 70.0, 90.0, 115.0, 145.0, 180.0, 220.0, 260.0):
        for turn in (0, 180, 270, 90, 315, 45, 225, 135, 338, 22, 202, 158):
            dx, dy = math.cos(math.radians(turn)), math.sin(math.radians(turn))
            cx = x + dx * (gap + width / 2) if abs(dx) > 0.1 else x
            cy = y + dy * (gap + _LINE / 2)
            yield _Box(cx - width / 2, cy - _LINE / 2, cx + width / 2, cy + _LINE / 2)


def _better_corner(right: bool, top: bool) -> tuple[str, _Box]:
    """An arrow into the corner where both are better, with its word -> it and the room that it takes."""
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
    return svg, _Box(left, min(y, tip_y) - 8, end, max(y, tip_y) + 8)


def _span(values: Sequence[float], share: float) -> tuple[float, float]:
    """An axis with some room at both ends of the values."""
    least, greatest = min(values), max(values)
    room = share * (greatest - least) or 0.05 * abs(least) or 1.0
    return least - room, greatest + room


def _ticks(least: float, greatest: float) -> list[float]:
    """Round numbers inside a span, four to nine of them.

    >>> _ticks(26.2, 33.1)
    [27.0, 28.0, 29.0, 30.0, 31.0, 32.0, 33.0]
    """
    rough = (greatest - least) / 6
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(each * power for each in (1, 2, 2.5, 5, 10) if each * power >= rough * 0.85)
    first = math.ceil(least / step)
    return [round(index * step, 12) for index in range(first, math.floor(greatest / step) + 1)]
