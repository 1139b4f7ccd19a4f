"""A comparison as one HTML file: a slider between two of the pictures, and the same region of all, 1:1 and enlarged."""

from __future__ import annotations

from collections.abc import Iterator

from tessera.report.comparison import ENLARGED, Comparison, View
from tessera.report.page import name, text
from tessera.report.views import Region, data_uri


def html_part(comparison: Comparison) -> Iterator[str]:
    """The pieces of the page that show one group."""
    yield f"<section>\n<h2>{name(comparison.name)}</h2>\n"
    if len(comparison.views) > 1:
        yield from _slider(comparison)
    elif comparison.views:
        (view,) = comparison.views
        height, width = comparison.target
        source = data_uri(view.whole, exact=False)
        yield f'<p><img src="{source}" width="{width}" height="{height}" alt="{text(view.label)}"'
        yield ' style="max-width:100%;height:auto"></p>\n'
    if comparison.views:
        yield from _crops(comparison)
    for sentence in (*comparison.notes, *comparison.problems):
        yield f"<p class=soft>{name(sentence)}</p>\n"
    yield "</section>\n"


def _slider(comparison: Comparison) -> Iterator[str]:
    height, width = comparison.target
    region, full = comparison.region, comparison.full
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
        for index, view in enumerate(comparison.views):
            pressed = "true" if index == (side == "right") else "false"
            yield f'<button type="button" aria-pressed="{pressed}">{name(view.label)}</button>\n'
        yield "</div>\n"
    # as wide as its pixels (small pictures a little wider), never wider or much higher than the window
    wide = f"width:min(100%,{max(width, min(512, 4 * width))}px,{85 * width / height:.1f}vh)"
    yield f'<div class="slider{pixels}" style="aspect-ratio:{width}/{height};{wide}">\n'
    for index, view in enumerate(comparison.views):
        side = ("left", "right", "")[min(index, 2)]
        source = data_uri(view.whole, exact=False)
        yield f'<img class="{side}" src="{source}" alt="{text(view.label)}" draggable="false">\n'
    first, second = comparison.views[:2]
    yield f'<div class="region" style="{box}"></div><div class="edge"></div>\n'
    yield f'<span class="tag left" aria-hidden="true">{text(first.label)}</span>'
    yield f'<span class="tag right" aria-hidden="true">{text(second.label)}</span>\n</div>\n'
    yield (
        f'<input type="range" min="0" max="100" value="50" step="1" style="{wide}"'
        f' aria-label="How much of the left picture of {text(comparison.name)} is shown">\n</div>\n'
    )


def _crops(comparison: Comparison) -> Iterator[str]:
    region = comparison.region
    yield (
        f"<p class=soft>Region {region} (x, y, size) of {comparison.full[1]}x{comparison.full[0]}, dashed above: 1:1,"
        f" then {ENLARGED} times by nearest.</p>\n"
    )
    for times in (1, ENLARGED):
        yield '<div class="crops">\n'
        for view in comparison.views:
            yield _crop(view, region, times)
        yield "</div>\n"


def _crop(view: View, region: Region, times: int) -> str:
    width, height = times * region.width, times * region.height
    said = name(view.label) if times == 1 else f"<strong>{name(view.label)}</strong>"
    if times > 1:
        how = f", {text(view.how)}" if view.how != "as it is" else ""
        said += f" · {name(view.path.name)} · {view.size[1]}x{view.size[0]}{how}"
    return (
        f'<figure><img src="{data_uri(view.crop)}" width="{width}" height="{height}"'
        f' alt="{text(view.label)}, {"1:1" if times == 1 else f"{times} times"}">'
        f'<figcaption style="max-width:{max(96, width)}px">{said}</figcaption></figure>\n'
    )
