"""The help of every command: each option has a text, in plain words."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import typer

from tessera.cli import app

ARCHAIC = re.compile(
    r"""\b(
    anew | thither | hence | wherein | lest | whoever | somebody | nobody | beside | enlarge[sd]? | enlargement |
    licence | colour | grey | whole\ numbers? | cannot\ be\ had | goes?\ on\ with | going\ on | begin\ again |
    (is|are)\ no\ (picture|file|text|number)s? | that\ there\ is\ not | there\ is\ no\ such | 0\ lifts | one\ piece |
    a\ mix | the\ truth | laid\ over | lay\ over | not\ ours | of\ their\ own | of\ its\ own | as\ often\ as |
    (Real-ESRGAN's\ )users\ know
    )\b""",
    re.VERBOSE | re.IGNORECASE,
)


def walk(words: tuple[str, ...], command: Any, context: Any) -> Iterator[tuple[tuple[str, ...], Any, Any]]:
    yield words, command, context
    if hasattr(command, "list_commands"):
        for name in command.list_commands(context):
            member = command.get_command(context, name)
            yield from walk((*words, name), member, typer.Context(member, info_name=name, parent=context))


def every_command() -> dict[tuple[str, ...], tuple[Any, Any]]:
    root: Any = typer.main.get_command(app)
    return {words: (command, context) for words, command, context in walk((), root, typer.Context(root))}


COMMANDS = every_command()


def test_the_commands_are_found() -> None:
    assert len([words for words in COMMANDS if len(words) == 1]) >= 18
    assert ("models", "list") in COMMANDS


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_command_and_all_its_options_have_help(words: tuple[str, ...]) -> None:
    command, _ = COMMANDS[words]
    assert command.help, "the command has no help text"
    silent = [parameter.opts[0] for parameter in command.params if not (parameter.help or "").strip()]
    assert not silent, f"without help text: {silent}"


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_the_help_of_a_command_is_in_plain_words(words: tuple[str, ...]) -> None:
    command, _ = COMMANDS[words]
    texts = [command.help, *(parameter.help for parameter in command.params)]
    found = [match[0] for text in texts for match in ARCHAIC.finditer(" ".join((text or "").split()))]
    assert not found
