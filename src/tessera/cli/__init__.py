"""The command line: one module per command, imported when that command runs.

The commands and their one-line help are listed here, so that `tessera --help` imports no command and no torch, and
answers in a tenth of a second.
"""

from __future__ import annotations

import difflib
import importlib
import os
import re
import sys
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, cast

import typer
from typer.core import TyperGroup

from tessera.cli.command import make_strict
from tessera.cli.options import describe_error, set_running_options, show_options
from tessera.cli.streams import close_streams, describe_system_error, leave_output, open_streams, write_line
from tessera.errors import Interrupted, TesseraError, UsageError
from tessera.libraries import describe_failed_import, find_extra, find_library
from tessera.memory_errors import advise_on_memory, guard_imports, is_probably_memory_error
from tessera.version import __version__

_COMMANDS = {
    "upscale": ("tessera.cli.upscale", "Upscale pictures, folders, textures and animations."),
    "evaluate": ("tessera.cli.evaluate", "Score results or models under a named protocol."),
    "niqe": ("tessera.cli.niqe", "Score pictures with NIQE, without references."),
    "compare": ("tessera.cli.compare", "Show pictures of several folders side by side, as a page or a sheet."),
    "data": ("tessera.cli.data", "Check training data, cut pictures, and store a teacher's outputs."),
    "train": ("tessera.cli.train", "Train and fine-tune generators; every run can be resumed."),
    "attention": ("tessera.cli.attention", "Show what a discriminator attends to, over time and depth."),
    "report": ("tessera.cli.report", "Write a training run as one HTML file: curves, pictures, events."),
    "degrade": ("tessera.cli.degrade", "Preview the degradation of a recipe; estimate it from your pictures."),
    "config": ("tessera.cli.config", "List and check recipes, and import those of other programs."),
    "models": ("tessera.cli.models", "List, download, inspect, convert and blend weights."),
    "export": ("tessera.cli.export", "Export a model to other formats, and verify the file."),
    "prune": ("tessera.cli.prune", "Remove the least important blocks of a network."),
    "quantize": ("tessera.cli.quantize", "Quantize a model to int8, its loss measured and limited."),
    "deploy-table": ("tessera.cli.deploy_table", "Compare models and precisions: cost, quality, speed, memory."),
    "profile": ("tessera.cli.profile", "Count a network's parameters, multiply-adds and memory."),
    "npz": ("tessera.cli.npz", "Convert pictures to and from the NumPy archives of accelerator tools."),
    "bench": ("tessera.cli.bench", "Benchmark engines on this machine, and check their results."),
    "doctor": ("tessera.cli.doctor", "Check installation and hardware: memory, GPUs, engines, weights."),
}

_EXTRAS = {"data": "train", "export": "export", "prune": "train", "quantize": "export", "train": "train"}
"""Commands that need more than one library of an extra, which messages then name."""

# The base class of typer's usage errors, which typer does not export: BadParameter -> UsageError's base.
_Refusal = cast("type[Exception]", typer.BadParameter.__mro__[2])

_context = {"help_option_names": ["-h", "--help"], "max_content_width": 110}


class _LazyGroup(TyperGroup):
    """A group whose commands are known by name; a command's module is imported when it is needed."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in _COMMANDS:
            return None
        module_name, _ = _COMMANDS[cmd_name]
        module = importlib.import_module(module_name)
        make_strict(module.app)
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
            hint = f"did you mean `tessera {near[0]}`?" if near else f"the commands are {', '.join(names)}."
            raise UsageError(f"`tessera {args[0]}`: unknown command; {hint}")
        return super().resolve_command(ctx, args)


app = typer.Typer(
    cls=_LazyGroup,
    help="Upscale pictures with the ESRGAN family of super-resolution networks, and train, measure and deploy them.",
    rich_markup_mode=None,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings=_context,
)


def _show_version(value: bool) -> None:
    if value:
        typer.echo(f"tessera {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Options of `tessera` itself; its help is that of the app."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the `tessera` command -> exit code: 0 all done, 1 some failed, 2 wrong usage, 128 + signal if stopped."""
    open_streams()
    guard_imports()
    return close_streams(_run(arguments))


def _run(arguments: Sequence[str] | None) -> int:
    set_running_options(None)
    try:
        Path.cwd()  # checked before any library needs it
    except OSError:
        print_error("the working folder no longer exists; change to another folder and run the command again.")
        return 1
    try:
        code = app(None if arguments is None else list(arguments), prog_name="tessera", standalone_mode=False)
    except TesseraError as error:
        print_error(describe_error(error))
        return 2 if isinstance(error, UsageError) else 130 if isinstance(error, Interrupted) else 1
    except _Refusal as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            print(cast(Any, error).format_message(), file=sys.stderr)
        else:
            print_error(_describe_refusal(error))
        return 2
    except typer.Abort:
        return 130
    except BrokenPipeError:
        return leave_output()
    except Exception as error:
        if is_probably_memory_error(error):
            advice = advise_on_memory("close other programs, or choose smaller inputs or tiles")
            print_error(f"out of memory; {advice}.")
            return 1
        if isinstance(error, OSError):
            print_error(describe_system_error(error))
            return 1
        given = sys.argv[1:] if arguments is None else arguments
        problem = _describe_failed_import(error, given) if isinstance(error, ImportError) else None
        if problem is None:
            raise
        print_error(problem)
        return 2
    return code if isinstance(code, int) else 0


def _describe_failed_import(error: ImportError, arguments: Sequence[str]) -> str | None:
    """One sentence about an optional library that the command needs; None if the error is not about one."""
    command = next((word for word in arguments if word in _COMMANDS), "")
    extra = _EXTRAS.get(command)
    if extra is not None and find_library(error.name or "") not in find_extra(extra).list_libraries():
        extra = None
    return describe_failed_import(f"`{f'tessera {command}'.rstrip()}`", error, extra=extra)


def print_error(message: str) -> None:
    """Print one line on standard error, after the program's name; fields of the library become options."""
    write_line(f"tessera: {make_printable(show_options(message))}", to_errors=True)


def print_progress(words: str) -> None:
    """Print one line on standard error if it is a terminal."""
    if sys.stderr.isatty():
        write_line(f"tessera: {words}", to_errors=True)


def make_printable(text: str) -> str:
    r"""Escape control characters, and bytes of file names that are not UTF-8, so that the text is safe to print.

    >>> print(make_printable("a\nb\x1b[31m\udcff.png"))
    a\nb\x1b[31m\udcff.png
    """
    return "".join(
        character.encode("unicode_escape").decode() if unicodedata.category(character) in ("Cc", "Cs") else character
        for character in text
    )


_CHOICE = re.compile(
    r"Invalid value for '(?P<option>\S+)'.*?: .*?'(?P<found>.*)' is not one of (?P<known>'.*', '.*')\.?"
)
"""How typer says that a value is not in a closed set."""


def _describe_refusal(refusal: Any) -> str:
    """Turn a usage error of typer into one sentence that says what to do."""
    context = refusal.ctx
    command = context.command_path if context is not None else "tessera"
    if context is None or not hasattr(refusal, "possibilities"):
        text = refusal.format_message()
        if (choice := _CHOICE.fullmatch(text)) is not None:
            *first, last = re.findall(r"'([^']*)'", choice["known"])
            text = f"{choice['option']}: expected {', '.join(first)} or {last}, found {choice['found']}."
        end = "" if text.endswith(("?", ".")) else "."
        return f"{text}{end} `{command} --help` explains all options."
    options = [name for parameter in context.command.params for name in parameter.opts if name.startswith("-")]
    name = refusal.option_name.lower()
    near = [option for option in options if name.startswith("--") and option.startswith(name)]
    near = near or difflib.get_close_matches(name, options, 1)
    hint = f"did you mean {near[0]}?" if near else f"`{command} --help` lists all options."
    return f"`{command}`: unknown option {refusal.option_name}; {hint}"
