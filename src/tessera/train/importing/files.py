"""Files of other programs -> tables of keys and values: YAML, JSON with comments, ini. Nothing in them is executed."""

from __future__ import annotations

import configparser
import json
import re
from pathlib import Path
from typing import Any, cast

from tessera.errors import UsageError
from tessera.libraries import import_library

LARGEST_BYTES = 4 << 20
LONGEST_LINE = 4096
"""Characters in a line of an ini file; configparser takes time quadratic in them."""
_COMMENT_OR_TEXT = re.compile(r'"(?:\\.|[^"\\\n])*"?|//[^\n]*')  # a text without its end, too, for linear time


def read_yaml(path: Path) -> dict[str, Any]:
    """Read YAML with the loader that makes plain values only. Raises UsageError, with the line of a mistake."""
    try:
        yaml = import_library("yaml")
    except ModuleNotFoundError:
        raise UsageError(f"{path}: reading YAML needs the package PyYAML: pip install 'tessera-sr[train]'.") from None
    try:
        return _table(path, yaml.safe_load(_text(path)))
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # an impossible date is a ValueError
        if isinstance(error, UsageError):
            raise
        raise UsageError(f"{path}: this is not YAML as it can be read here: {_of_yaml(error)}.") from None


def _of_yaml(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "its values lie too deep in each other"
    problem, mark = getattr(error, "problem", None), getattr(error, "problem_mark", None)
    where = f" (line {mark.line + 1})" if mark is not None else ""
    return f"{' '.join(str(problem or error).split())}{where}"


def read_commented_json(path: Path) -> dict[str, Any]:
    """Read JSON in which // begins a comment. Raises UsageError, with the line of a mistake."""
    text = _COMMENT_OR_TEXT.sub(lambda found: found[0] if found[0].startswith('"') else "", _text(path))
    try:
        return _table(path, json.loads(text))
    except json.JSONDecodeError as error:
        raise UsageError(f"{path}: this is not JSON: {error.msg} (line {error.lineno}).") from None
    except (ValueError, RecursionError):  # numbers of thousands of digits, brackets without end
        raise UsageError(f"{path}: this JSON cannot be read.") from None


def read_ini(path: Path) -> dict[str, Any]:
    """Read an ini file as sections of text, [DEFAULT] like any other. Raises UsageError for what is none."""
    parser = configparser.ConfigParser(allow_no_value=True, interpolation=None, default_section="\n")
    try:
        parser.read_string(_check_lines(path, _text(path)))
    except configparser.Error as error:
        said = " ".join(error.message.replace("'<string>'", "").split())
        raise UsageError(f"{path}: this is not an ini file: {said}.") from None
    return {name: dict(parser.items(name)) for name in parser.sections()}


def _check_lines(path: Path, text: str) -> str:
    """Return the text of an ini file. Raises UsageError for a line that is too long."""
    for number, line in enumerate(text.splitlines(), 1):
        if len(line) > LONGEST_LINE:
            raise UsageError(
                f"{path}, line {number}: expected at most {LONGEST_LINE:,} characters, found {len(line):,}."
            )
    return text


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{path}: this file cannot be read ({error.strerror or error}).") from error
    if len(content) > LARGEST_BYTES:
        raise UsageError(f"{path}: this file is larger than {LARGEST_BYTES >> 20} MiB, and no configuration is.")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UsageError(f"{path}: this is no text in UTF-8. Save it as UTF-8.") from None


def _table(path: Path, content: Any) -> dict[str, Any]:
    if not isinstance(content, dict) or not content:
        found = "nothing" if not content else f"a {type(content).__name__}"
        raise UsageError(f"{path}: a configuration is a table of keys and values, and this file holds {found}.")
    return {str(key): value for key, value in cast("dict[Any, Any]", content).items()}
