"""The help of every command: each option has a text, in plain words."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

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


CLOSED = {
    ("upscale", "--ext"): ("auto", "jpg", "png", "webp", "avif", "tif"),
    ("upscale", "--precision"): ("exact", "auto", "fast"),
    ("upscale", "--engine"): ("auto", "kernels", "ncnn", "openvino", "pytorch", "onnxruntime"),
    ("evaluate", "--protocol"): ("paper", "vacc"),
    ("evaluate", "--precision"): ("exact", "auto", "fast"),
    ("evaluate", "--channels"): ("y", "rgb"),
    ("deploy-table", "--protocol"): ("paper", "vacc"),
    ("export", "--format"): ("onnx", "openvino", "torchscript", "ncnn", "safetensors"),
    ("export", "--precision"): ("fp32", "fp16", "bf16"),
    ("quantize", "--format"): ("openvino", "onnx"),
    ("quantize", "--method"): ("max", "percentile", "mse", "kl"),
    ("attention", "--colormap"): ("jet", "viridis", "gray"),
    ("attention", "--animation"): ("webp", "gif", "none"),
    ("bench", "--precision"): ("exact", "auto", "fast"),
    ("bench", "--engine"): ("kernels", "ncnn", "openvino", "pytorch", "onnxruntime"),
}
"""Some values of each option that takes one of a closed set."""


@pytest.mark.parametrize(("name", "option"), CLOSED, ids=" ".join)
def test_the_shell_completes_the_values_of_an_option(name: str, option: str, capfd: pytest.CaptureFixture[str]) -> None:
    words = f"tessera {name} {option} "
    asked = {"COMP_WORDS": words, "COMP_CWORD": "3", "_TESSERA_COMPLETE": "complete_bash"}
    result = CliRunner().invoke(app, [], prog_name="tessera", env=asked)
    assert set(CLOSED[name, option]) <= set(result.output.split())


def test_an_option_that_commands_share_has_one_text_and_one_short_name() -> None:
    """What an option is for may depend on the command; such options are listed here and have their own texts."""
    different = {
        *("--alpha", "--bench", "--calibration", "--crop", "--device", "--engine", "--json", "--limit", "--lq"),
        *("--luma", "--model", "--output", "--overwrite", "--precision", "--recipe", "--report", "--resume"),
        *("--rounds", "--scale", "--seed", "--shape", "--size", "--threads", "--workers"),
    }
    texts: dict[str, dict[tuple[str | None, tuple[str, ...]], list[str]]] = {}
    for words, (command, _) in COMMANDS.items():
        for parameter in command.params:
            for name in parameter.opts:
                if name.startswith("--"):
                    spelled = parameter.help, tuple(sorted(parameter.opts))
                    texts.setdefault(name, {}).setdefault(spelled, []).append(" ".join(words))
    assert {name for name, said in texts.items() if len(said) > 1} == different


@pytest.mark.parametrize(
    ("words", "was"), [("config import", "--force"), ("data teach", "--side=9"), ("prune", "--pictures")]
)
def test_earlier_names_of_options_still_work(words: str, was: str) -> None:
    command, context = COMMANDS[tuple(words.split())]
    today = {"--force": "--overwrite", "--side=9": "--size=9", "--pictures": "--limit"}[was]
    assert command._rename_options(["x", was, "--", was]) == ["x", today, "--", was]
    assert was.partition("=")[0] not in command.get_help(context)
