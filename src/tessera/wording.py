"""Words of sentences that depend on numbers."""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """A number with its noun.

    >>> counted(1, "picture"), counted(22_000, "picture")
    ('1 picture', '22,000 pictures')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
