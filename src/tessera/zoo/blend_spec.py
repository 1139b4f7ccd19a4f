"""The notation of blends: `A@0.2+B@0.8` and its variants in percent."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable

from tessera.errors import UsageError


def parse_blend(spec: str, *, exists: Callable[[str], bool] = os.path.exists) -> list[tuple[str, float]]:
    """Parse a blend such as `A@0.2+B@0.8` into models and their shares; a single name is a blend of one.

    `A@50|B@50` and `A:50&B:50`, in percent, are accepted too. An existing path is never split.

    >>> parse_blend("realesrgan-x4plus")
    [('realesrgan-x4plus', 1.0)]
    >>> parse_blend("sharp.pth@0.2+smooth.pth@0.8")
    [('sharp.pth', 0.2), ('smooth.pth', 0.8)]
    >>> parse_blend("sharp.pth:25&smooth.pth:75")
    [('sharp.pth', 0.25), ('smooth.pth', 0.75)]

    Raises UsageError if a share is missing or the shares do not sum to 1.
    """
    if not spec.strip():
        raise UsageError(
            "expected a name from `tessera models list` or a path, found an empty text.",
            field="model",
        )
    if exists(spec):
        return [(spec, 1.0)]
    example = "write it like sharp.pth@0.2+smooth.pth@0.8"
    percent = re.search(r"[|&]", spec) is not None
    if percent:
        texts = [re.fullmatch(r"(.+)[@:]([^@:]+)", part.strip()) for part in re.split(r"[|&]", spec)]
        matches = [part for part in texts if part is not None]
        complete = len(matches) == len(texts)
    else:
        matches = list(re.finditer(r"(.+?)@([^@+]+)(?:\+|$)", spec))
        complete = sum(len(match[0]) for match in matches) == len(spec) and not spec.endswith("+")
        if not matches and "+" not in spec:
            return [(spec, 1.0)]
    if not complete:
        raise UsageError(f"{spec!r} is not a file, and in a blend each part needs a name and a share: {example}.")
    parts = [(match[1].strip(), _parse_share(match[2], spec, percent=percent)) for match in matches]
    total = math.fsum(share for _, share in parts)
    if abs(total - 1.0) > 1e-6:
        whole, found = ("100", total * 100) if percent else ("1", total)
        raise UsageError(f"The shares in {spec!r} sum to {found:g}, expected {whole}: {example}.")
    return parts


def _parse_share(text: str, spec: str, *, percent: bool) -> float:
    try:
        share = float(text) / (100 if percent else 1)
    except ValueError:
        share = math.nan
    if not math.isfinite(share):
        usual = "0 to 100" if percent else "0 to 1"
        raise UsageError(f"The share {text!r} in {spec!r} is not a number; shares are usually from {usual}.")
    return share
