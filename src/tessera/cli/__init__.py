"""The command line: one file for each command, read only when that command is called.

`tessera --help` must not import torch (it answers in a tenth of a second), so commands are listed here by name with
their one line of help, and their modules are imported when they run.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

import typer
from typer.core import TyperGroup

from tessera.errors import Interrupted, TesseraError, UsageError
from tessera.version import __version__

_COMMANDS = {
    "upscale": ("tessera.cli.upscale", "Enlarge pictures, folders of pictures, textures and animations."),
    "models": ("tessera.cli.models", "List, inspect, convert, fetch and mix weights."),
}

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
            import difflib

            near = difflib.get_close_matches(args[0], _COMMANDS, 1)
            hint = f"; did you mean `tessera {near[0]}`?" if near else f"; there are {' and '.join(_COMMANDS)}."
            raise UsageError(f"`tessera {args[0]}`: no such command{hint}")
        return super().resolve_command(ctx, args)


app = typer.Typer(
    cls=_LazyGroup,
    help="Tessera: one toolkit for the ESRGAN family of super-resolution.",
    rich_markup_mode=None,
    add_completion=False,
    no_args_is_help=True,
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


def main() -> None:
    """The `tessera` command: exit code 0 all done, 1 some failed, 2 wrong usage, 128 + signal when stopped."""
    try:
        app()
    except UsageError as error:
        _print_error(error)
        sys.exit(2)
    except Interrupted as error:
        _print_error(error)
        sys.exit(130)
    except TesseraError as error:
        _print_error(error)
        sys.exit(1)
    except BrokenPipeError:
        sys.exit(141)


def _print_error(error: TesseraError) -> None:
    print(f"tessera: {error}", file=sys.stderr)
