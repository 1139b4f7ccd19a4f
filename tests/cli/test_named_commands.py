"""Every `tessera ...` command in a message, docstring or page is a real command with real options.

Only what is marked as code counts: backticks and blocks in pages, backticks in strings of the sources.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from tessera.cli import app
from tessera.cli.options import OPTIONS

ROOT = Path(__file__).parent.parent.parent
SOURCES = sorted((ROOT / "src" / "tessera").rglob("*.py"))
PAGES = [ROOT / "README.md", *sorted(page for page in (ROOT / "docs").rglob("*.md") if "generated" not in page.parts)]
ROOT_COMMAND: Any = typer.main.get_command(app)


def strings(path: Path) -> Iterator[str]:
    """String constants of a module; the fields of f-strings become FIELD."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "FIELD" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def commands_in(text: str, *, page: bool) -> set[str]:
    """Command lines that start with `tessera`, without what follows a pipe or a comment."""
    found: set[str] = set(re.findall(r"`(tessera [^`\n]+)`", text))
    if page:
        for block in re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
            joined = block.replace("\\\n", " ")
            found |= {line.strip() for line in joined.splitlines() if line.strip().startswith("tessera ")}
    return {re.split(r"  #| \| | > | && ", words)[0] for words in found}


def refusal(words: list[str]) -> str | None:
    """Why a command line is not real; None when every command and option of it exists."""
    command = ROOT_COMMAND
    for position, word in enumerate(words):
        if hasattr(command, "get_command"):
            if word.startswith("-"):
                continue
            if not re.fullmatch(r"[a-z][a-z-]*", word):  # a placeholder such as COMMAND or FIELD
                return None
            below = command.get_command(typer.Context(command), word)
            if below is None:
                return f"no command {' '.join(words[: position + 1])!r}"
            command = below
        elif re.match(r"--?[a-zA-Z]", word):
            options = {name for each in command.params for name in (*each.opts, *each.secondary_opts)}
            name = word.split("=")[0].rstrip(".,;:)")
            if name not in {*options, "--help", "-h"} and "FIELD" not in name:
                return f"{' '.join(words)!r} has no option {name}"
    return None


def check(text: str, *, page: bool) -> list[str]:
    found: list[str] = []
    for line in sorted(commands_in(text, page=page)):
        problem = refusal(line.split()[1:])
        if problem is not None:
            found.append(problem)
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_commands_named_in_the_sources_exist(path: Path):
    assert [problem for text in strings(path) for problem in check(text, page=False)] == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_commands_named_in_the_pages_exist(path: Path):
    assert check(path.read_text(encoding="utf-8"), page=True) == []


def test_the_check_finds_commands_and_options_that_do_not_exist():
    assert check("get them by `tessera models fetch` now", page=False) == ["no command 'models fetch'"]
    assert check("```sh\ntessera upscale a.png --enlarge 2  # x\n```\n", page=True) == [
        "'upscale a.png --enlarge 2' has no option --enlarge"
    ]
    assert check("`tessera upscale a.png --tile=0` and `tessera COMMAND --help`", page=False) == []


def test_every_field_that_is_shown_as_an_option_has_one():
    known: set[str] = set()
    pending = [ROOT_COMMAND]
    while pending:
        command = pending.pop()
        known |= {name for each in command.params for name in (*each.opts, *each.secondary_opts)}
        if hasattr(command, "list_commands"):
            context = typer.Context(command)
            pending += [command.get_command(context, name) for name in command.list_commands(context)]
    assert {option for option in OPTIONS.values() if option not in known} == set()
