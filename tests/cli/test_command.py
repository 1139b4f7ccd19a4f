"""Every command refuses what would be lost in silence: a second value, an empty value, a contradiction."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

import pytest
import typer

import tessera.cli
from tessera.cli import main
from tessera.cli.command import Command, make_strict

MODULES = {name: module for name, (module, _) in vars(tessera.cli)["_COMMANDS"].items()}


def commands() -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, module in MODULES.items():
        app = importlib.import_module(module).app
        make_strict(app)
        yield from below((name,), typer.main.get_command(app))


def below(names: tuple[str, ...], command: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
    if hasattr(command, "commands"):
        for name, inner in command.commands.items():
            yield from below((*names, name), inner)
    else:
        yield names, command


def options() -> Iterator[tuple[tuple[str, ...], Any]]:
    for names, command in commands():
        for parameter in command.params:
            if parameter.param_type_name == "option" and parameter.name != "help":
                yield names, parameter


VALUES = [(names, each) for names, each in options() if not each.is_flag]
SINGLE = [(names, each.opts[-1]) for names, each in VALUES if not each.multiple]
NOT_EMPTY = [(names, each.opts[-1]) for names, each in VALUES if each.name not in ("suffix", "label")]


def test_there_are_options_to_test() -> None:
    assert len(SINGLE) > 100
    assert all(isinstance(command, Command) for _, command in commands())


@pytest.mark.parametrize(("names", "option"), SINGLE, ids=lambda value: " ".join(value) if value else "")
def test_a_second_value_is_an_error(names: tuple[str, ...], option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*names, option, "1", option, "2"]) == 2
    assert f"{option} was given 2 times, and takes one value; leave one out." in capsys.readouterr().err


@pytest.mark.parametrize(("names", "option"), NOT_EMPTY, ids=lambda value: " ".join(value) if value else "")
def test_an_empty_value_is_an_error(names: tuple[str, ...], option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*names, option, ""]) == 2
    assert f"{option}: the value is empty" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["-n", "a", "--model_name=b"], "-n was given 2 times"),
        (["-o", "a", "-o", "a"], "-o was given 2 times"),
        (["--flat-lock", "--no-flat-lock"], "--flat-lock and --no-flat-lock contradict each other."),
        (["--denoise", "0.5"], "unknown option --denoise; did you mean --denoise-strength?"),
    ],
)
def test_what_was_lost_in_silence_is_named(words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["upscale", "a.png", *words]) == 2
    assert sentence in capsys.readouterr().err


def test_flags_may_be_repeated_and_inputs_are_collected(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["upscale", "-r", "-r", "--suffix", "", "-i", "/no/a.png", "-i", "/no/b.png"]) == 1
    err = capsys.readouterr().err
    assert "/no/a.png" in err
    assert "/no/b.png" in err
