"""Numbers and lists in sentences."""

from __future__ import annotations

from collections.abc import Iterable


def counted(number: int, noun: str) -> str:
    """A number with its noun.

    >>> counted(1, "picture"), counted(22_000, "picture")
    ('1 picture', '22,000 pictures')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def join_words(words: Iterable[str], conjunction: str = "and") -> str:
    """List words in a sentence.

    >>> join_words(["exact", "auto", "fast"], "or"), join_words(["auto"])
    ('exact, auto or fast', 'auto')
    """
    *before, last = words
    return f"{', '.join(before)} {conjunction} {last}" if before else last
