"""Files of other programs -> tables of keys and values: YAML, JSON with comments, ini, TOML. Nothing is executed.

Time and memory are linear in the size of the file: anchors and merges of YAML are counted before they are expanded, and
ini files are read line by line.
"""

from __future__ import annotations

import json
import re
import tomllib
import unicodedata
from pathlib import Path
from typing import Any, cast

from tessera.errors import UsageError
from tessera.libraries import describe_missing, import_library

LARGEST_BYTES = 4 << 20
MOST_VALUES = 100_000
"""Keys and values of a YAML file, with those that anchors and merges repeat."""
_COMMENT_OR_TEXT = re.compile(r'"(?:\\.|[^"\\\n])*"?|//[^\n]*')


def read_yaml(path: Path) -> dict[str, Any]:
    """Read YAML with the loader that builds plain values only.

    Raises UsageError, with the line of a mistake, also for anchors that refer to themselves or repeat too much.
    """
    try:
        yaml = import_library("yaml")
    except ModuleNotFoundError:
        raise UsageError(describe_missing(f"{path}: reading YAML", "yaml")) from None
    try:
        loader = yaml.SafeLoader(_read_text(path))
        node = loader.get_single_node()
        if node is None:
            return _check_table(path, None)
        if _count_values(node, {}) > MOST_VALUES:
            raise UsageError(f"{path}: expected at most {MOST_VALUES:,} keys and values, found more (anchors, merges).")
        return _check_table(path, loader.construct_document(node))
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # an impossible date is a ValueError
        if isinstance(error, UsageError):
            raise
        raise UsageError(f"{path}: not valid YAML: {_describe_yaml_error(error)}.") from None


def _count_values(node: Any, counted: dict[int, int]) -> int:
    """The number of scalars, lists and tables under a YAML node, each as often as aliases repeat it.

    A node is visited once. One that contains itself is counted as too many.
    """
    known = counted.get(id(node))
    if known is not None:
        return known
    counted[id(node)] = MOST_VALUES + 1  # until it is known: seen again from inside, it contains itself
    inner: list[Any] = node.value if isinstance(node.value, list) else []
    parts = [part for each in inner for part in (cast(Any, each) if isinstance(each, tuple) else (each,))]
    counted[id(node)] = min(1 + sum(_count_values(part, counted) for part in parts), MOST_VALUES + 1)
    return counted[id(node)]


def _describe_yaml_error(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "its values are nested too deeply"
    problem, mark = getattr(error, "problem", None), getattr(error, "problem_mark", None)
    where = f" (line {mark.line + 1})" if mark is not None else ""
    return f"{' '.join(str(problem or error).split())}{where}"


def read_commented_json(path: Path) -> dict[str, Any]:
    """Read JSON in which // starts a comment. Raises UsageError, with the line of a mistake."""
    text = _COMMENT_OR_TEXT.sub(lambda found: found[0] if found[0].startswith('"') else "", _read_text(path))
    try:
        return _check_table(path, json.loads(text))
    except json.JSONDecodeError as error:
        raise UsageError(f"{path}: not valid JSON: {error.msg} (line {error.lineno}).") from None
    except (ValueError, RecursionError):  # numbers of thousands of digits, brackets without end
        raise UsageError(f"{path}: this JSON cannot be read.") from None


def read_foreign_toml(path: Path) -> dict[str, Any]:
    """Read TOML. Raises UsageError, with the line of a mistake."""
    try:
        return _check_table(path, tomllib.loads(_read_text(path)))
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path}: not valid TOML: {error}.") from None
    except RecursionError:
        raise UsageError(f"{path}: not valid TOML: its values are nested too deeply.") from None


def read_ini(path: Path) -> dict[str, Any]:
    """Read an ini file as sections of text, [DEFAULT] like any other.

    Blanks and invisible characters around keys and values do not count, indented lines are keys too, and keys are in
    lower case. Raises UsageError, with the line, for anything else.
    """
    sections: dict[str, dict[str, str | None]] = {}
    section: dict[str, str | None] | None = None
    for number, raw in enumerate(_read_text(path).replace("\r\n", "\n").split("\n"), 1):
        line = _strip_invisible(raw)
        if not line or line[0] in "#;":
            continue
        if line[0] == "[":
            name, bracket, _ = line[1:].partition("]")
            if not bracket or name in sections:
                problem = "an unfinished section" if not bracket else f"the section [{name}] twice"
                raise UsageError(f"{path}: not a valid ini file: {problem} (line {number}).")
            section = sections[name] = {}
            continue
        key, sign, value = _split_option(line)
        if section is None or not key or key in section:
            problem = "a key outside of all sections" if section is None else f"the key {key!r} is missing or double"
            raise UsageError(f"{path}: not a valid ini file: {problem} (line {number}).")
        section[key] = _strip_invisible(value) if sign else None
    return dict(sections)


def _split_option(line: str) -> tuple[str, str, str]:
    """`key = value` or `key: value`, whichever sign comes first."""
    signs = [place for place in (line.find("="), line.find(":")) if place >= 0]
    if not signs:
        return line.lower(), "", ""
    place = min(signs)
    return _strip_invisible(line[:place]).lower(), line[place], line[place + 1 :]


def _strip_invisible(text: str) -> str:
    """Strip blanks, control and format characters, such as a zero-width space, from both ends."""
    start, end = 0, len(text)
    while start < end and _is_invisible(text[start]):
        start += 1
    while end > start and _is_invisible(text[end - 1]):
        end -= 1
    return text[start:end]


def _is_invisible(letter: str) -> bool:
    return letter.isspace() or unicodedata.category(letter) in ("Cc", "Cf")


def _read_text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{path}: this file cannot be read ({error.strerror or error}).") from error
    if len(content) > LARGEST_BYTES:
        raise UsageError(f"{path}: expected a configuration of at most {LARGEST_BYTES >> 20} MiB, found a larger file.")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UsageError(f"{path}: not UTF-8 text. Save it as UTF-8.") from None


def _check_table(path: Path, content: Any) -> dict[str, Any]:
    if not isinstance(content, dict) or not content:
        found = "nothing" if not content else f"a {type(content).__name__}"
        raise UsageError(f"{path}: expected a table of keys and values, found {found}.")
    return {str(key): value for key, value in cast("dict[Any, Any]", content).items()}
