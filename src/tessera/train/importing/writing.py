"""A recipe as the find_shortest TOML that gives it: as changes to the nearest shipped recipe, or to the defaults."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from typing import Any, cast

from tessera.config import Values, validate
from tessera.errors import UsageError
from tessera.train.recipe import RECIPES, Recipe, override, read_shipped_recipe

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_LONG = 10_000
"""Integers from here on are written with underscores."""
_EXACT = 2**53
"""Below it, every integral floating-point number is written as an integer."""
_ALWAYS = ("name",)
"""Keys that are always written."""


def find_shortest(recipe: Recipe) -> tuple[str, Values]:
    """Find the shipped recipe ("" for none) that needs the fewest changes to give this recipe, and the changes."""
    whole = cast(Values, _format_value(recipe.model_dump(mode="json")))
    candidates: list[tuple[str, Values, Values]] = []
    for base in RECIPES:
        lower = read_shipped_recipe(base)
        if not _gives(recipe, override(lower, whole)):
            continue  # it has parts that a change cannot remove, such as a discriminator
        values = copy.deepcopy(whole)
        _drop_equal(values, cast(Values, _format_value(validate(Recipe, lower, base).model_dump(mode="json"))))
        if _gives(recipe, override(lower, values)):
            candidates.append((base, lower, values))
    nearest = min(candidates, key=lambda candidate: _size(candidate[2]), default=None)
    alone: tuple[str, Values, Values] = ("", {}, whole)
    best: tuple[str, Values] | None = None
    for base, lower, values in (alone,) if nearest is None else (nearest, alone):
        _drop_needless(recipe, lower, values)
        if best is None or _size(values) < _size(best[1]):
            best = base, values
    assert best is not None, "a recipe gives itself"
    return best


def _format_value(value: Any) -> Any:
    """Drop null, which TOML lacks."""
    if isinstance(value, dict):
        table = cast(Values, value)
        return {key: _format_value(inner) for key, inner in table.items() if inner is not None}
    return [_format_value(inner) for inner in cast("list[Any]", value)] if isinstance(value, list) else value


def _gives(recipe: Recipe, values: Values) -> bool:
    try:
        return validate(Recipe, values, "") == recipe
    except UsageError:
        return False


def _drop_equal(values: Values, below: Values) -> None:
    for key in [key for key in values if key in below]:
        if values[key] == below[key] and key not in _ALWAYS:
            del values[key]
        elif isinstance(values[key], dict) and isinstance(below[key], dict):
            _drop_equal(values[key], below[key])


def _drop_needless(recipe: Recipe, lower: Values, values: Values) -> None:
    """Drop tables, then keys, that do not change the result."""
    for table, key in [*_places(values, tables=True), *_places(values, tables=False)]:
        if key not in table or (table is values and key in _ALWAYS):
            continue
        kept = table.pop(key)
        if not _gives(recipe, override(lower, values)):
            table[key] = kept


def _places(values: Values, *, tables: bool) -> Iterator[tuple[Values, str]]:
    for key, value in list(values.items()):
        if isinstance(value, dict):
            if tables:
                yield values, key
            yield from _places(cast(Values, value), tables=tables)
        elif not tables:
            yield values, key


def _size(values: Values) -> int:
    """Number of lines."""
    return sum(1 + _size(cast(Values, value)) if isinstance(value, dict) else 1 for value in values.values())


# ------------------------------------------------------------------------------------------------------------- TOML


def format_recipe(values: Values) -> str:
    """Format values as TOML, tables in their order, tables of numbers in one line.

    >>> print(format_recipe({"steps": 400000, "pixel": {"weight": 1e-7}, "a": {"layers": {"conv5_4": 1.0}}}))
    steps = 400_000
    <BLANKLINE>
    [pixel]
    weight = 1e-7
    <BLANKLINE>
    [a]
    layers = { conv5_4 = 1.0 }
    <BLANKLINE>
    """
    return "".join(f"{line}\n" for line in _lines(values, ())).removeprefix("\n")


def _lines(values: Values, path: tuple[str, ...]) -> Iterator[str]:
    inner = {key: value for key, value in values.items() if isinstance(value, dict) and not _fits_one_line(path, key)}
    plain = {key: value for key, value in values.items() if key not in inner}
    if path and (plain or not inner):
        yield ""
        yield f"[{'.'.join(map(_key, path))}]"
    for key, value in plain.items():
        yield f"{_key(key)} = {_value(value)}"
    for key, value in inner.items():
        yield from _lines(cast(Values, value), (*path, key))


def _fits_one_line(path: tuple[str, ...], key: str) -> bool:
    return bool(path) and key in ("layers", "shares")


def _key(key: str) -> str:
    return key if _BARE_KEY.fullmatch(key) else json.dumps(key)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return f"{value:_}" if abs(value) >= _LONG else str(value)
    if isinstance(value, float):
        return _float(value)
    if isinstance(value, list):
        return f"[{', '.join(_value(each) for each in cast('list[Any]', value))}]"
    if isinstance(value, dict):
        pairs = cast(Values, value).items()
        return f"{{ {', '.join(f'{_key(key)} = {_value(each)}' for key, each in pairs)} }}"
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")


def _float(value: float) -> str:
    if value.is_integer() and _LONG <= abs(value) < _EXACT:
        return _value(int(value))
    text = repr(value)
    if 0 < abs(value) < 1e-3 and "e" not in text:
        text = min((f"{value:.{digits}e}" for digits in range(17)), key=lambda each: (float(each) != value, len(each)))
    return re.sub(r"e([+-])0*(\d)", lambda found: f"e{found[1].replace('+', '')}{found[2]}", text)
