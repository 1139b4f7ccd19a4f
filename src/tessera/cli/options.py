"""Field names of the library as options of the command line: `tile` becomes --tile.

Errors of the library name fields and arguments, because it has callers without a command line. `show_options` and
`describe_error` translate a message just before it is printed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from tessera.errors import UsageError

OPTIONS: dict[str, str] = {
    "alpha": "--alpha",
    "averaging": "--averaging",
    "blocks": "--blocks",
    "bench": "--bench",
    "calibration": "--calibration",
    "channels": "--channels",
    "check": "--check",
    "checkpoints": "--checkpoints",
    "color_lock": "--color-lock",
    "columns": "--columns",
    "crop": "--crop",
    "data": "--data",
    "device": "--device",
    "engine": "--engine",
    "eps": "--eps",
    "evaluation": "--eval",
    "extension": "--ext",
    "format": "--format",
    "frames": "--frames",
    "generated": "--generated",
    "gt": "--gt",
    "keep_color_noise": "--keep-color-noise",
    "keep_times": "--keep-times",
    "labels": "--label",
    "limit": "--limit",
    "lq": "--lq",
    "lq_kernel": "--lq-kernel",
    "ma": "--ma",
    "max_drop_db": "--max-drop",
    "max_output_pixels": "--max-output-pixels",
    "max_pixels": "--max-pixels",
    "max_side": "--max-side",
    "method": "--method",
    "metrics": "--metrics",
    "model": "--model",
    "most_kept": "--layers",
    "niqe_crop": "--crop",
    "niqe_gray": "--luma",
    "niqe_model": "--niqe-model",
    "offline": "--offline",
    "opset": "--opset",
    "output": "--output",
    "outscale": "--outscale",
    "overlap": "--overlap",
    "overwrite": "--overwrite",
    "precision": "--precision",
    "protocol": "--protocol",
    "quality": "--quality",
    "recursive": "--recursive",
    "reference": "--reference",
    "restart": "--restart",
    "resume": "--resume",
    "scale": "--scale",
    "seamless": "--seamless",
    "shape": "--shape",
    "side": "--size",
    "size": "--size",
    "sr": "--sr",
    "suffix": "--suffix",
    "threads": "--threads",
    "tile": "--tile",
}
"""Fields that messages of the library name, each with its option (tests check that the option exists)."""


@dataclass
class _Running:
    """The options of the command that runs; None before one does, and outside of commands."""

    options: frozenset[str] | None = None


_running = _Running()


def set_running_options(options: Iterable[str] | None) -> None:
    """Tell which options the running command has: only those are named in its messages."""
    _running.options = None if options is None else frozenset(options)


def show_options(text: str) -> str:
    """Replace field names in backticks by their options, if the running command has them.

    >>> set_running_options(None)
    >>> show_options("already exists; `overwrite` replaces it (the package `ncnn` is unrelated)")
    'already exists; --overwrite replaces it (the package `ncnn` is unrelated)'
    """

    def find_option(found: re.Match[str]) -> str:
        option = OPTIONS.get(found[1])
        known = option is not None and (_running.options is None or option in _running.options)
        return option if option is not None and known else found[0]

    return re.sub(r"`(\w+)`", find_option, text)


def describe_error(error: BaseException) -> str:
    """The text of an error with its fields as options.

    >>> set_running_options(None)
    >>> describe_error(UsageError("expected 1 to 100, found 101", field="quality"))
    '--quality: expected 1 to 100, found 101'
    """
    if isinstance(error, UsageError) and error.field is not None:
        return f"{show_options(f'`{error.field}`').strip('`')}: {show_options(error.facts)}"
    return show_options(str(error))
