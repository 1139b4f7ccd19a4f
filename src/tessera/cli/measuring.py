"""Options that the measuring commands share: parsing and completion."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import typer

from tessera.errors import UsageError
from tessera.evaluate.protocol import PROTOCOLS
from tessera.metrics.catalog import metric_names

_PROTOCOLS = [protocol.name for protocol in PROTOCOLS]
ProtocolOption = Annotated[
    str,
    typer.Option(
        "--protocol",
        help=f"How scores are measured: {', '.join(_PROTOCOLS[:-1])} or {_PROTOCOLS[-1]}.",
        autocompletion=lambda: _PROTOCOLS,
    ),
]


def parse_crop(text: str | None) -> int | str | None:
    """A number of pixels, or "scale"; None stays None. Raises UsageError.

    >>> parse_crop("4"), parse_crop("scale"), parse_crop(None)
    (4, 'scale', None)
    """
    if text is None or text == "scale":
        return text
    if not text.isdecimal():
        raise UsageError(f"expected a number of pixels, or scale, found {text!r}.", field="crop")
    return int(text)


def split_words(values: Iterable[str] | None) -> tuple[str, ...]:
    """Split the values of a repeatable option at commas, without doubles.

    >>> split_words(["Set5, Set14", "Set5"]), split_words(None)
    (('Set5', 'Set14'), ())
    """
    words = (word.strip() for value in values or () for word in value.split(","))
    return tuple(dict.fromkeys(word for word in words if word))


def complete_metrics(incomplete: str) -> list[str]:
    """Completions of a comma-separated list of metrics.

    >>> complete_metrics("psnr,ms")
    ['psnr,ms-ssim']
    """
    before, comma, last = incomplete.rpartition(",")
    return [f"{before}{comma}{name}" for name in metric_names() if name.startswith(last)]
