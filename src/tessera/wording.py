"""Numbers and lists in sentences."""

from __future__ import annotations

from collections.abc import Iterable


def format_count(number: int, noun: str) -> str:
    """A number with its noun.

    >>> format_count(1, "picture"), format_count(22_000, "picture")
    ('1 picture', '22,000 pictures')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def format_bytes(size: int) -> str:
    """A size in binary units, for people.

    >>> [format_bytes(size) for size in (0, 1023, 300_000, 5_000_000, 1_610_612_736, 270_582_939_648)]
    ['0 bytes', '1,023 bytes', '293 KiB', '4.8 MiB', '1.5 GiB', '252 GiB']
    """
    for unit, power in (("GiB", 30), ("MiB", 20), ("KiB", 10)):
        value = size / 2**power
        if value >= 1:
            return f"{value:.1f} {unit}" if value < 9.95 else f"{value:,.0f} {unit}"
    return f"{size:,} bytes"


def join_words(words: Iterable[str], conjunction: str = "and") -> str:
    """List words in a sentence.

    >>> join_words(["exact", "auto", "fast"], "or"), join_words(["auto"])
    ('exact, auto or fast', 'auto')
    """
    *before, last = words
    return f"{', '.join(before)} {conjunction} {last}" if before else last
