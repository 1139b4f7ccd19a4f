"""Lets autodoc read docstrings written as plain text with `code` in single backticks, which is not reStructuredText."""

from __future__ import annotations

import re
from typing import Any

_CODE = re.compile(r"(?<!`)`([^`]+)`(?!`)")


def escape_line(line: str) -> str:
    """One docstring line -> reStructuredText: code in double backticks, and no other inline markup.

    >>> escape_line("(H, W) -> (s*H, s*W); `None` chooses, _x_ and |x| stay")
    '(H, W) -> (s\\\\*H, s\\\\*W); ``None`` chooses, \\\\_x\\\\_ and \\\\|x\\\\| stay'
    """
    parts = _CODE.split(line)  # text, code, text, code, ...
    escaped = (re.sub(r"([*|]|(?<!\w)_|_(?!\w))", r"\\\1", part) for part in parts[::2])
    return "".join(
        text + (f"``{code}``" if code else "") for text, code in zip(escaped, [*parts[1::2], ""], strict=True)
    )


def _process(app: Any, what: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
    lines[:] = [line if line.lstrip().startswith(">>>") else escape_line(line) for line in lines]


def setup(app: Any) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("autodoc-process-docstring", _process, priority=100)  # before napoleon, which writes markup
    return {"parallel_read_safe": True}
