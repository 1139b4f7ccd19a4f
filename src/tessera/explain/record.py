"""What the page of attention maps shows of one picture.

Shapes: H, W height and width.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tessera.explain.subject import Role

ALWAYS = -1
"""In place of the checkpoint's index: a picture that is the same at every checkpoint."""


@dataclass(frozen=True)
class Strip:
    """Pictures of one gate, or of the answers of one network, at each checkpoint of the page."""

    title: str
    note: str
    sources: dict[str, dict[int, str]]
    """Picture addresses by label, then by checkpoint index, or `ALWAYS`."""


@dataclass(frozen=True, kw_only=True)
class PictureRecord:
    """Content of the page about one picture."""

    path: Path
    role: Role
    size: tuple[int, int]
    """(H, W)"""
    labels: tuple[str, ...]
    """Of the checkpoints on the page."""
    strips: tuple[Strip, ...]
    numbers: tuple[Mapping[str, Any], ...]
    """Statistics of every checkpoint, as in attention.json."""

    def values(self, role: str, gate: str, statistic: str) -> list[float]:
        """One statistic over the checkpoints; NaN where undefined."""
        found = (each.get(role, {}).get(gate, {}).get(statistic) for each in self.numbers)
        return [math.nan if value is None else float(value) for value in found]
