"""The command line: one file for each command, read only when that command is called.

`tessera --help` must not import torch (it answers in a tenth of a second), so commands are listed here by name with
their one line of help, and their modules are imported when they run.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib
import os
import sys
import unicodedata
from collections.abc import Sequence
from typing import Any, cast

import typer
from typer.core import TyperGroup

from tessera.errors import Interrupted, TesseraError, UsageError
from tessera.version import __version__

_COMMANDS = {
    "upscale": ("tessera.cli.upscale", "Enlarge pictures, folders of pictures, textures and animations."),
    "evaluate": ("tessera.cli.evaluate", "Score results or models, under a protocol printed with the numbers."),
    "niqe": ("tessera.cli.niqe", "Score how natural pictures look, without references."),
    "compare": ("tessera.cli.compare", "Pictures of several folders side by side, as a page or a sheet."),
    "data": ("tessera.cli.data", "Cut training pictures into windows, and find what is wrong with them."),
    "train": ("tessera.cli.train", "Train and fine-tune generators; every run can be resumed."),
    "attention": ("tessera.cli.attention", "Show what a discriminator looks at: its attention, over time and depth."),
    "report": ("tessera.cli.report", "A training run as one HTML file: curves, pictures, events."),
    "degrade": ("tessera.cli.degrade", "Show what a network is trained on; measure your own pictures."),
    "config": ("tessera.cli.config", "List and check recipes, and import those of other programs."),
    "models": ("tessera.cli.models", "List, inspect, convert, fetch and mix weights."),
    "export": ("tessera.cli.export", "Write a model for other programs, and verify what was written."),
    "prune": ("tessera.cli.prune", "Take out the blocks that add least: the beginning of a faster network."),
    "quantize": ("tessera.cli.quantize", "Write a model in whole numbers (int8), its loss measured and in budget."),
    "deploy-table": ("tessera.cli.deploy_table", "One row per model and precision: cost, quality, speed, memory."),
    "profile": ("tessera.cli.profile", "Count what a network costs: parameters, work, memory."),
    "npz": ("tessera.cli.npz", "Pictures to and from the NumPy archives of accelerators' tools."),
    "bench": ("tessera.cli.bench", "Time engines and peers in turn on this machine, and check what they make."),
    "doctor": ("tessera.cli.doctor", "Say what this machine has: cores, memory, GPUs, engines, weights."),
}

# What typer raises for a command line it cannot make sense of: the class that BadParameter is a kind of a kind of.
_Refusal = cast("type[Exception]", typer.BadParameter.__mro__[2])

_context = {"help_option_names": ["-h", "--help"], "max_content_width": 110}


class _LazyGroup(TyperGroup):
    """Knows its commands by name; imports a command's module when it is called."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in _COMMANDS:
            return None
        module_name, _ = _COMMANDS[cmd_name]
        module = importlib.import_module(module_name)
        command = typer.main.get_command(module.app)
        command.name = cmd_name
        return command

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in _COMMANDS.items()])

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and args[0] not in _COMMANDS and not args[0].startswith("-"):
            names = list(_COMMANDS)
            near = difflib.get_close_matches(args[0], names, 1)
            if os.path.exists(args[0]):  # noqa: PTH110 - False, not an error, for any text
                near = [f"upscale {args[0]}"]
            known = f"{', '.join(names[:-1])} and {names[-1]}"
            hint = f"; did you mean `tessera {near[0]}`?" if near else f"; there are {known}."
            raise UsageError(f"`tessera {args[0]}`: no such command{hint}")
        return super().resolve_command(ctx, args)


app = typer.Typer(
    cls=_LazyGroup,
    help="Tessera: one toolkit for the ESRGAN family of super-resolution.",
    rich_markup_mode=None,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings=_context,
)


def _show_version(value: bool) -> None:
    if value:
        typer.echo(f"tessera {__version__}")
        raise typer.Exit


@app.callback()
def _root(  # pyright: ignore[reportUnusedFunction]
    version: bool = typer.Option(False, "--version", callback=_show_version, is_eager=True, help="Print the version."),
) -> None: ...


def main(arguments: Sequence[str] | None = None) -> int:
    """The `tessera` command -> exit code: 0 all done, 1 some failed, 2 wrong usage, 128 + signal when stopped."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # file names may hold what the terminal's encoding cannot say
            cast(Any, stream).reconfigure(errors="backslashreplace")
    try:
        code = app(None if arguments is None else list(arguments), prog_name="tessera", standalone_mode=False)
    except TesseraError as error:
        print_error(str(error))
        return 2 if isinstance(error, UsageError) else 130 if isinstance(error, Interrupted) else 1
    except _Refusal as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            print(cast(Any, error).format_message(), file=sys.stderr)
        else:
            print_error(_sentence(error))
        return 2
    except typer.Abort:
        return 130
    return code if isinstance(code, int) else 0


def print_error(message: str) -> None:
    """One line on standard error, with the command's name before it."""
    print(f"tessera: {printable(message)}", file=sys.stderr)


def print_progress(words: str) -> None:
    """One line on standard error for who watches; nothing where nobody does."""
    if sys.stderr.isatty():
        with contextlib.suppress(OSError):
            print(f"tessera: {words}", file=sys.stderr)


def printable(text: str) -> str:
    r"""Text safe to show: control characters, and bytes of file names that are no UTF-8, are written as escapes.

    >>> print(printable("a\nb\x1b[31m\udcff.png"))
    a\nb\x1b[31m\udcff.png
    """
    return "".join(
        character.encode("unicode_escape").decode() if unicodedata.category(character) in ("Cc", "Cs") else character
        for character in text
    )


def _sentence(refusal: Any) -> str:
    """What typer says about a wrong command line, as a sentence with a way on."""
    context = refusal.ctx
    command = context.command_path if context is not None else "tessera"
    if context is None or not hasattr(refusal, "possibilities"):
        said = refusal.format_message()
        return f"{said if said.endswith('?') else said.rstrip('.') + '.'} `{command} --help` explains all options."
    options = [name for parameter in context.command.params for name in parameter.opts if name.startswith("-")]
    near = difflib.get_close_matches(refusal.option_name.lower(), options, 1)
    hint = f"did you mean {near[0]}?" if near else f"`{command} --help` lists all options."
    return f"`{command}` has no option {refusal.option_name}; {hint}"
