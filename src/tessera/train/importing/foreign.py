"""A foreign configuration that records which keys were read, so that the others can be listed.

Values come as their format has them, so a number may be text (YAML 1.1 takes 1e-4 for a word, and ini files know
only text); the caller says which type it expects.
"""

from __future__ import annotations

import difflib
import math
import re
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

from tessera.errors import UsageError

Choice = TypeVar("Choice")
NO_COUNTERPART = "has no counterpart in Tessera"
MISSING_WORDS = frozenset({"", "none", "null", "~"})
_MOST_BITS = 1000
_SHOWN = reprlib.Repr()
_SHOWN.maxlevel = 2  # YAML's aliases make short files into values without end
_YES, _NO = frozenset({"true", "yes", "on", "1"}), frozenset({"false", "no", "off", "0"})


@dataclass(frozen=True)
class Note:
    """A key that was not taken as it is, and the reason."""

    key: str
    reason: str


class Table:
    """A table of a foreign file. Each method reads one key; a missing or null value gives the default.

    Raises UsageError, with file and key, for a value of another kind.
    """

    def __init__(
        self, values: Mapping[str, Any], file: Path, notes: list[Note], path: str = "", separator: str = "."
    ) -> None:
        self._values = values
        self.file = file
        self._path = path
        self._separator = separator
        self._read: set[str] = set()
        self._children: dict[str, Table] = {}
        self.notes = notes

    def name(self, key: str) -> str:
        """The key as it is called in sentences.

        >>> Table({}, Path("a.yml"), [], "train").name("ema_decay")
        'train.ema_decay'
        """
        return f"{self._path}{self._separator}{key}" if self._path else key

    def make_value_error(self, key: str, expected: str) -> UsageError:
        """The error for a wrong value."""
        shown = _SHOWN.repr(self._values.get(key))
        shown = shown if len(shown) <= 60 else shown[:57] + "..."
        return UsageError(f"{self.file}: `{self.name(key)}` should be {expected}, found {shown}.")

    def missing_key_error(self, key: str, what: str) -> UsageError:
        """The error for a missing key."""
        return UsageError(f"{self.file}: `{self.name(key)}` is missing: {what}.")

    def file_error(self, sentence: str) -> UsageError:
        """An error about the file."""
        return UsageError(f"{self.file}: {sentence}")

    def _value(self, key: str) -> Any:
        self._read.add(key)
        value = self._values.get(key)
        if isinstance(value, int) and value.bit_length() > _MOST_BITS:
            raise self.file_error(f"`{self.name(key)}` is a number with too many digits.")
        return None if isinstance(value, str) and value.strip().lower() in MISSING_WORDS else value

    def has(self, key: str) -> bool:
        """Whether the key has a value."""
        return self._value(key) is not None

    def contains(self, key: str) -> bool:
        """Whether the key exists, even without a value (`none`, null)."""
        self._read.add(key)
        return key in self._values

    def names(self) -> tuple[str, ...]:
        """All keys, in the order of the file."""
        return tuple(self._values)

    # ------------------------------------------------------------------------------------------------ single values

    def read_optional_number(self, key: str) -> float | None:
        """Read a number; text such as 1e-4 is one too."""
        value = self._value(key)
        if value is None:
            return None
        number = _as_number(value)
        if number is None:
            raise self.make_value_error(key, "a number")
        return number

    def read_number(self, key: str, default: float) -> float:
        """As `read_optional_number`, with a default."""
        value = self.read_optional_number(key)
        return default if value is None else value

    def read_optional_int(self, key: str) -> int | None:
        """Read an integer; 5e5 is one too."""
        number = self.read_optional_number(key)
        if number is None:
            return None
        if not number.is_integer():
            raise self.make_value_error(key, "an integer")
        return int(number)

    def read_int(self, key: str, default: int) -> int:
        """As `read_optional_int`, with a default."""
        value = self.read_optional_int(key)
        return default if value is None else value

    def read_flag(self, key: str, default: bool) -> bool:
        """Read true or false, in any of the usual words."""
        value = self._value(key)
        if value is None or isinstance(value, bool):
            return default if value is None else value
        word = str(value).strip().lower()
        if word not in _YES | _NO:
            raise self.make_value_error(key, "true or false")
        return word in _YES

    def read_text(self, key: str, default: str = "") -> str:
        """Read text; a number, such as a name of digits, is taken as it is written."""
        value = self._value(key)
        if isinstance(value, (dict, list)):
            raise self.make_value_error(key, "text")
        return default if value is None else str(value).strip()

    def read_choice(self, key: str, known: Mapping[str, Choice], default: str, what: str) -> Choice:
        """Read a name and return what it stands for. Raises UsageError with the known names."""
        name = self.read_text(key, default)
        if not name:
            raise self.missing_key_error(key, f"expected a {what}, one of {', '.join(known)}")
        if name not in known:
            near = difflib.get_close_matches(name, list(known), 1)
            meant = f" Did you mean {near[0]}?" if near else ""
            raise UsageError(
                f"{self.file}: `{self.name(key)}` is {name}, an unknown {what}.{meant} Known are {', '.join(known)}."
            )
        return known[name]

    # ------------------------------------------------------------------------------------------------ several values

    def read_numbers(self, key: str) -> list[float] | None:
        """Read numbers in a list, or in text with or without brackets."""
        value = self._value(key)
        if value is None:
            return None
        if isinstance(value, str):
            value = [part for part in re.split(r"[\s,]+", value.strip("[]() \t")) if part]
        listed = cast("list[Any]", value) if isinstance(value, list) else [value]
        numbers = [_as_number(each) for each in listed]
        if any(number is None for number in numbers):
            raise self.make_value_error(key, "a list of numbers")
        return [number for number in numbers if number is not None]

    def read_exact_numbers(self, key: str, count: int) -> list[float] | None:
        """Read a list of exactly `count` numbers."""
        numbers = self.read_numbers(key)
        if numbers is not None and len(numbers) != count:
            raise self.make_value_error(key, f"a list of {count} numbers")
        return numbers

    def read_words(self, key: str) -> list[str] | None:
        """Read a list of words."""
        value = self._value(key)
        if value is None:
            return None
        if not isinstance(value, list) or not all(isinstance(each, str) for each in cast("list[Any]", value)):
            raise self.make_value_error(key, "a list of words")
        return cast("list[str]", value)

    def read_paths(self, key: str) -> list[str]:
        """Read one path, or several in a list."""
        value = self._value(key)
        if value is None:
            return []
        listed = cast("list[Any]", value) if isinstance(value, list) else [value]
        if not all(isinstance(each, str) and each.strip() for each in listed):
            raise self.make_value_error(key, "a path, or a list of them")
        return [each.strip() for each in listed]

    def read_value(self, key: str) -> Any:
        """Read a value of any type."""
        return self._value(key)

    def read_table(self, key: str) -> Table | None:
        """Read a table inside this one; its unread keys are listed as well."""
        value = self._value(key)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise self.make_value_error(key, "a table of keys and values")
        if key in self._children:
            return self._children[key]
        inner = {str(name): each for name, each in cast("dict[Any, Any]", value).items()}
        child = Table(inner, self.file, self.notes, self.name(key))
        self._children[key] = child
        return child

    def read_section(self, key: str) -> Table | None:
        """As `read_table`, with keys named as in ini files: [TRAINING] niter."""
        child = self.read_table(key)
        if child is not None:
            child._path, child._separator = f"[{key}]", " "
        return child

    # ------------------------------------------------------------------------------------------------ unread keys

    def note(self, key: str, reason: str) -> None:
        """Add a note about a key."""
        self.notes.append(Note(self.name(key), reason))

    def skip(self, reason: str, *keys: str) -> None:
        """Note those of these keys that have a value as left out."""
        for key in keys:
            if self.has(key):
                self.note(key, reason)

    def skip_rest(self, reason: str) -> None:
        """Note every unread key as left out, for this reason."""
        self.skip(reason, *(key for key in self._values if key not in self._read))

    def finish(self) -> None:
        """Note all unread keys, here and in inner tables."""
        self.skip_rest(NO_COUNTERPART)
        for child in self._children.values():
            child.finish()


def _as_number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def drop_none(**values: Any) -> dict[str, Any]:
    """Drop keys whose value is None.

    >>> drop_none(batch=4, patch=None)
    {'batch': 4}
    """
    return {key: value for key, value in values.items() if value is not None}


def describe_notes(notes: Sequence[Note]) -> list[str]:
    """Notes as sentences, keys with one reason together, in the order of the file.

    >>> describe_notes([Note("a", "is not needed"), Note("b", "is new"), Note("c", "is not needed")])
    ['a, c: is not needed.', 'b: is new.']
    """
    together: dict[str, list[str]] = {}
    for note in notes:
        keys = together.setdefault(note.reason, [])
        if note.key not in keys:
            keys.append(note.key)
    return [f"{', '.join(keys)}: {reason}." for reason, keys in together.items()]
