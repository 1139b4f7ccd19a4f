"""The class of all commands: strict about options that are repeated or empty, and stopped by signals whatever runs."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand

from tessera.cli.options import set_running_options
from tessera.cli.streams import leave_output
from tessera.cli.watchdog import watch_signals
from tessera.errors import UsageError
from tessera.storage.files import resolve_parents

_PLACES = frozenset({"output", "report"})
"""Parameters with files or folders that a command writes."""
_RENAMED = {"--force": "--overwrite", "--pictures": "--limit", "--side": "--size"}
"""Earlier names of options, which scripts may still give, and their names today; commands that have the earlier name
keep it."""
_MAY_BE_EMPTY = frozenset({"suffix", "label"})


class Command(TyperCommand):
    """A command that refuses what would be lost in silence: a second value of an option, an empty value."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Check the line, then read it as usual. Raises UsageError."""
        args = self._rename_options(args)
        if not ctx.resilient_parsing:
            set_running_options(name for option in self.params for name in option.opts)
            self._check_options(ctx, args)
        rest = super().parse_args(ctx, args)
        for name in _PLACES & ctx.params.keys():
            if isinstance(ctx.params[name], Path):
                ctx.params[name] = resolve_parents(ctx.params[name])
        return rest

    def _rename_options(self, args: list[str]) -> list[str]:
        """Replace earlier names of options, up to `--`."""
        known = {name for option in self.params for name in option.opts}
        end = args.index("--") if "--" in args else len(args)
        renamed: list[str] = []
        for word in args[:end]:
            name, equals, value = word.partition("=")
            today = _RENAMED.get(name)
            renamed.append(f"{today}{equals}{value}" if today in known and name not in known else word)
        return [*renamed, *args[end:]]

    def invoke(self, ctx: Any) -> Any:
        """Run the command under the watchdog; 141 (SIGPIPE) when the reader of standard output has gone."""
        with watch_signals():
            try:
                return super().invoke(ctx)
            except BrokenPipeError:  # typer would exit with 1
                raise typer.Exit(leave_output()) from None

    def _check_options(self, ctx: Any, args: list[str]) -> None:
        parser: Any = self.make_parser(ctx)
        values, _, order = parser.parse_args(args=list(args))
        given = Counter(id(parameter) for parameter in order)
        for parameter in order:
            if parameter.param_type_name != "option":
                continue
            name = _find_spelling(parameter, args)
            if parameter.is_flag:
                if parameter.secondary_opts and _are_both_given(parameter, args):
                    raise UsageError(f"{parameter.opts[0]} and {parameter.secondary_opts[0]} contradict each other.")
                continue
            if given[id(parameter)] > 1 and not parameter.multiple:
                raise UsageError(f"{name} was given {given[id(parameter)]} times, and takes one value; leave one out.")
            value = values.get(parameter.name)
            if (value == "" or (isinstance(value, list) and "" in value)) and parameter.name not in _MAY_BE_EMPTY:
                raise UsageError(f"{name}: the value is empty; give one, or leave {name} out.")


def make_strict(app: typer.Typer) -> None:
    """Give all commands of an app, and of its groups, the class `Command`, unless they have a subclass of it."""
    for info in app.registered_commands:
        if not issubclass(info.cls or TyperCommand, Command):
            info.cls = Command
    for group in app.registered_groups:
        if group.typer_instance is not None:
            make_strict(group.typer_instance)


def _find_spelling(parameter: Any, args: list[str]) -> str:
    """The option as the user wrote it."""
    names = [*parameter.opts, *parameter.secondary_opts]
    words = {word.split("=")[0] for word in args}
    return next((name for name in names if name in words), names[0])


def _are_both_given(parameter: Any, args: list[str]) -> bool:
    return all(any(word in names for word in args) for names in (parameter.opts, parameter.secondary_opts))
