"""A self-contained HTML file: its frame, escaping, tables, and atomic writing.

All outside text (names of pictures and models, messages about them) goes through `text` or `name`.
"""

from __future__ import annotations

import html
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tessera.errors import PictureError
from tessera.report.style import SORT, STYLE
from tessera.storage.files import replace_file
from tessera.version import __version__

_ALONE = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
"""Content security policy: the browser loads nothing from outside."""


@dataclass(frozen=True)
class Cell:
    """One cell of a table: HTML, the sort value, CSS classes."""

    content: str
    value: float | str | None = None
    classes: str = ""


def text(value: object) -> str:
    """Escape any value as HTML text; control characters and bytes that are not UTF-8 become escapes.

    >>> text('<b>"a"\\x1b\\udcff')
    '&lt;b&gt;&quot;a&quot;\\\\x1b\\\\udcff'
    """
    return html.escape(
        "".join(
            each.encode("unicode_escape").decode() if unicodedata.category(each) in ("Cc", "Cs") else each
            for each in str(value)
        )
    )


def name(value: object) -> str:
    """Escape a name and isolate its text direction from its surroundings."""
    return f"<bdi>{text(value)}</bdi>"


def page(title: str, body: Iterable[str], *, script: str = "") -> Iterator[str]:
    """Yield the pieces of a page."""
    yield (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_ALONE}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta name="generator" content="Tessera {text(__version__)}">\n'
        f"<title>{text(title)}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{name(title)}</h1>\n"
    )
    yield from body
    yield f"</main>\n<footer>Made by Tessera {text(__version__)}.</footer>\n"
    yield f"<script>\n{SORT}{script}</script>\n</body>\n</html>\n"


def section(title: str, *parts: str) -> str:
    """A section with a heading; its id is the first word of the title."""
    return f'<section id="{text(title.split()[0].lower())}">\n<h2>{text(title)}</h2>\n{"".join(parts)}</section>\n'


def sentences(lines: Iterable[str], classes: str = "") -> str:
    """A bullet list of sentences."""
    items = "".join(f"<li>{name(line)}</li>\n" for line in lines)
    return f'<ul class="{classes}">\n{items}</ul>\n'


def table(caption: str, head: Sequence[str], rows: Sequence[Sequence[Cell]], *, sortable: bool = False) -> str:
    """A table that scrolls horizontally on narrow screens; the first cell of a row is its heading.

    `head` is HTML. A `sortable` table has a button in each column head.
    """
    words = [all("words" in row[column].classes for row in rows) for column in range(len(head))]
    heads = "".join(
        f'<th scope="col"{" class=words" if left else ""}{" aria-sort=none" if sortable else ""}>'
        f"{f'<button type=button>{each}</button>' if sortable else each}</th>"
        for each, left in zip(head, words, strict=True)
    )
    lines = [
        f'<p class="soft">{text(caption)}</p>\n'
        f'<div class="scroll" role="region" aria-label="{text(caption)}" tabindex="0">\n'
        f"<table{' class=sortable' if sortable else ''}>\n<thead><tr>{heads}</tr></thead>\n<tbody>\n"
    ]
    for row in rows:
        first, *others = row
        cells = f'<th scope="row"{_attributes(first)}>{first.content}</th>'
        lines.append(f"<tr>{cells}{''.join(f'<td{_attributes(each)}>{each.content}</td>' for each in others)}</tr>\n")
    lines.append("</tbody>\n</table>\n</div>\n")
    return "".join(lines)


def write_page(path: Path, pieces: Iterable[str]) -> None:
    """Write a page atomically. Raises PictureError if it cannot be written."""
    try:
        with replace_file(path) as file:
            file.writelines(piece.encode("utf-8", "backslashreplace") for piece in pieces)
    except OSError as error:
        raise PictureError(f"{path}: cannot be written: {error.strerror}.") from None


def _attributes(cell: Cell) -> str:
    value = "" if cell.value is None else f' data-value="{text(cell.value)}"'
    return value + (f' class="{cell.classes}"' if cell.classes else "")
