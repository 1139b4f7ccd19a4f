"""Docstrings, messages and pages are in plain American technical English, without phrases of earlier versions."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ARCHAIC = re.compile(
    r"""
    (?<!there\ )\b(?:is|are|was|were)\ no\ (?!longer\b|more\b|less\b|faster\b|better\b)
    | \bthat\ there\ (?:is|are)\ not\b
    | \bwhole\ numbers?\b
    | \bgo(?:es)?\ on\ with\b
    | \bcannot\ be\ had\b
    | \bof\ (?:its|their)\ own\b
    | \b(?:anew|hence|thither|wherein|thereof|lest|whoever|somebody|nobody|beside)\b
    | \b(?:colou?rs\ back|laid\ over|enlarge(?:s|d)?(?![/`])|enlargement)\b
    | \b(?:exists\ already|[Mm]ake\ it\ first|[Ff]etch\ (?:it|both)|of\ the\ kind|without\ a\ word|have\ no\ need\ of)\b
    | \b(?:licence|colour|grey|neighbour|recognise|normalise|behaviour)\b
    """,
    re.VERBOSE | re.IGNORECASE,
)
KEYS = frozenset({"licence"})
"""Keys in files that exist, which are the whole string."""
NOT_VERBS = re.compile(
    r"""
    _*(?:
      (?!(?:need|feed|seed|embed|bleed|speed|exceed|proceed)(?:_|$))[a-z]+ed  # past participles
    | made|wanted|shown|told|kept|laid|written|chosen|drawn|taken|given|known|built|found|done
    | whole|same|together|some|both|best|larger|longer|fewer|wrong
    )(?:_|$)
    """,
    re.VERBOSE,
)
"""Beginnings of names that functions had: a function's name is a verb of the field."""
ALLOWED = ("tessera.licence", "normalise")  # keys in files that exist


def texts_of(path: Path) -> Iterator[tuple[int, str]]:
    """Each string literal and comment of a module, f-strings joined, or each line of a page, with its line number."""
    source = path.read_text(encoding="utf-8")
    if path.suffix != ".py":
        yield from enumerate(source.splitlines(), 1)
        return
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.JoinedStr):
            yield (
                node.lineno,
                "".join(str(part.value) if isinstance(part, ast.Constant) else "X" for part in node.values),
            )
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value not in KEYS:
            yield node.lineno, node.value
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


def pages() -> list[Path]:
    native = [path for path in (ROOT / "src").rglob("*") if path.suffix in (".c", ".h", ".inc")]
    docs = [page for page in (ROOT / "docs").rglob("*.md") if "generated" not in page.parts]
    return sorted([*(ROOT / "src").rglob("*.py"), *native, *docs, *ROOT.glob("*.md")])


@pytest.mark.parametrize("path", pages(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_file_has_no_archaic_phrases(path: Path) -> None:
    found = [
        f"line {line}: {match[0]!r} in {' '.join(text.split())[max(0, match.start() - 40) : match.end() + 40]!r}"
        for line, text in texts_of(path)
        for match in ARCHAIC.finditer(" ".join(text.split()))
        if not any(allowed in text for allowed in ALLOWED)
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "path", sorted((ROOT / "src" / "tessera").rglob("*.py")), ids=lambda path: path.relative_to(ROOT).as_posix()
)
def test_functions_are_named_by_verbs(path: Path) -> None:
    functions = [
        node
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef)
        and not any("property" in ast.unparse(each) for each in node.decorator_list)
    ]
    found = [f"line {node.lineno}: {node.name}" for node in functions if NOT_VERBS.match(node.name)]
    assert not found, "\n".join(found)
