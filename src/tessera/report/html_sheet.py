"""A comparison as one HTML file: a slider between two pictures, and the same region of all, 1:1 and magnified."""

from __future__ import annotations

from collections.abc import Iterator

from tessera.report.comparison import MAGNIFICATION, GroupView, View
from tessera.report.page import name, text
from tessera.report.views import Region, encode_data_uri


def render_group(group_view: GroupView) -> Iterator[str]:
    """The HTML of one group."""
    yield f"<section>\n<h2>{name(group_view.name)}</h2>\n"
    if len(group_view.views) > 1:
        yield from _slider(group_view)
    elif group_view.views:
        (view,) = group_view.views
        height, width = group_view.target
        source = encode_data_uri(view.whole, exact=False)
        yield f'<p><img src="{source}" width="{width}" height="{height}" alt="{text(view.label)}"'
        yield ' style="max-width:100%;height:auto"></p>\n'
    if group_view.views:
        yield from _crops(group_view)
    for sentence in (*group_view.notes, *group_view.problems):
        yield f"<p class=soft>{name(sentence)}</p>\n"
    yield "</section>\n"


def _slider(group_view: GroupView) -> Iterator[str]:
    height, width = group_view.target
    region, full = group_view.region, group_view.full
    box = "left:{:.3f}%;top:{:.3f}%;width:{:.3f}%;height:{:.3f}%".format(
        *(
            100 * part / whole
            for part, whole in zip((region.x, region.y, region.width, region.height), full[::-1] * 2, strict=True)
        )
    )
    pixels = " pixels" if max(height, width) < 256 else ""
    yield '<div class="compare">\n'
    for side in ("left", "right"):
        yield f'<div class="choose {side}" role="group" aria-label="{side} picture"><span>{side.capitalize()}</span>\n'
        for index, view in enumerate(group_view.views):
            pressed = "true" if index == (side == "right") else "false"
            yield f'<button type="button" aria-pressed="{pressed}">{name(view.label)}</button>\n'
        yield "</div>\n"
    # as wide as its pixels (small pictures a little wider), never wider or much higher than the window
    wide = f"width:min(100%,{max(width, min(512, 4 * width))}px,{85 * width / height:.1f}vh)"
    yield f'<div class="slider{pixels}" style="aspect-ratio:{width}/{height};{wide}">\n'
    for index, view in enumerate(group_view.views):
        side = ("left", "right", "")[min(index, 2)]
        source = encode_data_uri(view.whole, exact=False)
        yield f'<img class="{side}" src="{source}" alt="{text(view.label)}" draggable="false">\n'
    first, second = group_view.views[:2]
    yield f'<div class="region" style="{box}"></div><div class="edge"></div>\n'
    yield f'<span class="tag left" aria-hidden="true">{text(first.label)}</span>'
    yield f'<span class="tag right" aria-hidden="true">{text(second.label)}</span>\n</div>\n'
    yield (
        f'<input type="range" min="0" max="100" value="50" step="1" style="{wide}"'
        f' aria-label="Position of the divider, {text(group_view.name)}">\n</div>\n'
    )


def _crops(group_view: GroupView) -> Iterator[str]:
    region = group_view.region
    yield (
        f"<p class=soft>Region {region} (x, y, size) of {group_view.full[1]}x{group_view.full[0]}, marked above: 1:1,"
        f" then {MAGNIFICATION}x by nearest.</p>\n"
    )
    for times in (1, MAGNIFICATION):
        yield '<div class="crops">\n'
        for view in group_view.views:
            yield _crop(view, region, times)
        yield "</div>\n"


def _crop(view: View, region: Region, times: int) -> str:
    width, height = times * region.width, times * region.height
    said = name(view.label) if times == 1 else f"<strong>{name(view.label)}</strong>"
    if times > 1:
        how = f", {text(view.how)}" if view.how != "as it is" else ""
        said += f" · {name(view.path.name)} · {view.size[1]}x{view.size[0]}{how}"
    return (
        f'<figure><img src="{encode_data_uri(view.crop)}" width="{width}" height="{height}"'
        f' alt="{text(view.label)}, {"1:1" if times == 1 else f"{times}x"}">'
        f'<figcaption style="max-width:{max(96, width)}px">{said}</figcaption></figure>\n'
    )
