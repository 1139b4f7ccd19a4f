"""How a picture is to be upscaled: the choices a user can make, checked once, in one frozen record."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import re
from dataclasses import dataclass
from typing import Literal

from tessera.engines.engine import Precision
from tessera.engines.opening import EngineName
from tessera.errors import LimitError, UsageError
from tessera.images.picture_format import Limits

SMALLEST_TILE = 32
MOST_THREADS = 1024
LONGEST_SIDE = 2**31 - 1
"""What TIFF and PNG can write down, in pixels; the other formats hold less."""
AlphaMode = Literal["auto", "model", "lanczos"]


@dataclass(frozen=True)
class OutScale:
    """The size that is asked for: a factor of the input's, or a width, or a height in pixels."""

    factor: float | None = None
    width: int | None = None
    height: int | None = None

    @staticmethod
    def parse(text: str | float) -> OutScale:
        """Read `2`, `1.5`, `1920x` (that width) or `x1080` (that height). Raises UsageError.

        >>> OutScale.parse("1920x").size(height=100, width=200)
        (960, 1920)
        >>> OutScale.parse(2.5).size(height=101, width=200)
        (252, 500)
        """
        word = str(text).strip().lower()
        if found := re.fullmatch(r"(\d{1,7})x", word):
            return OutScale(width=_positive(int(found[1]), word))
        if found := re.fullmatch(r"x(\d{1,7})", word):
            return OutScale(height=_positive(int(found[1]), word))
        try:
            factor = float(word)
        except ValueError:
            factor = 0.0
        if not 0 < factor < math.inf:
            raise UsageError(f"--outscale {text}: expected a factor such as 2 or 1.5, or 1920x, or x1080.")
        return OutScale(factor=factor)

    def size(self, *, height: int, width: int) -> tuple[int, int]:
        """The (H, W) that a picture of this size gets; the other side keeps the proportions.

        Raises LimitError when a side would be longer than any format can write down.
        """
        if self.width is not None:
            sides: tuple[float, float] = round(height * self.width / width), self.width
        elif self.height is not None:
            sides = self.height, round(width * self.height / height)
        else:
            assert self.factor is not None
            sides = height * self.factor, width * self.factor
        if max(sides) > LONGEST_SIDE:
            raise LimitError(
                f"With --outscale {self} a side of a picture of {width}x{height} would be {max(sides):.3g} pixels long,"
                f" and no format holds more than {LONGEST_SIDE:,}; choose a smaller one."
            )
        return max(1, int(sides[0])), max(1, int(sides[1]))

    def __str__(self) -> str:
        if self.width is not None:
            return f"{self.width}x"
        return f"x{self.height}" if self.height is not None else f"{self.factor:g}"


def _positive(value: int, word: str) -> int:
    if value <= 8:  # "4x" is what people say for four times as large
        raise UsageError(f"--outscale {word} would be {value} pixels; for {value} times as large write {value}.")
    return value


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All choices for upscaling. Raises UsageError when one makes no sense."""

    outscale: OutScale | None = None
    """None is the network's own scale."""
    precision: Precision = "auto"
    engine: EngineName = "auto"
    device: str = "cpu"
    threads: int | None = None
    """How many threads the engine gets on the processor; None chooses."""
    tile: int | None = None
    """Longest side of a tile in input pixels; 0 is one piece; None chooses."""
    overlap: int | None = None
    """Context on each side of a tile in input pixels; None takes the measured value for the network."""
    alpha: AlphaMode = "auto"
    flat_lock: bool = True
    color_lock: bool = False
    seamless: bool = False
    tta: bool = False
    frames: bool = False
    quality: int | None = None
    limits: Limits = dataclasses.field(default_factory=Limits)

    def __post_init__(self) -> None:
        for name, value, kind in (
            ("tile", self.tile, int),
            ("threads", self.threads, int),
            ("overlap", self.overlap, int),
            ("quality", self.quality, int),
            ("outscale", self.outscale, OutScale),
        ):
            if value is not None and not isinstance(value, kind):
                raise UsageError(f"The setting {name} is {value!r}: expected None or {kind.__name__}.")
        if self.tile is not None and self.tile != 0 and self.tile < SMALLEST_TILE:
            raise UsageError(f"--tile {self.tile}: expected at least {SMALLEST_TILE} pixels, or 0 for one piece.")
        if self.threads is not None and not 1 <= self.threads <= MOST_THREADS:
            raise UsageError(f"--threads {self.threads}: expected 1 to {MOST_THREADS}.")
        if self.overlap is not None and not 0 <= self.overlap <= 1024:
            raise UsageError(f"--overlap {self.overlap}: expected 0 to 1024 input pixels.")
        if self.tile and self.overlap is not None and 2 * self.overlap >= self.tile:
            raise UsageError(
                f"--overlap {self.overlap} on both sides leaves nothing of a tile of {self.tile}; make it smaller than"
                f" {self.tile // 2} or the tile larger."
            )
        if self.quality is not None and not 1 <= self.quality <= 100:
            raise UsageError(f"--quality {self.quality}: expected 1 to 100.")
        if self.alpha not in ("auto", "model", "lanczos"):
            raise UsageError(f"--alpha {self.alpha}: expected auto, model or lanczos.")

    @property
    def fingerprint(self) -> str:
        """A short hash of everything that can change the pixels of the output."""
        values = dataclasses.asdict(self)
        del values["limits"], values["threads"]
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]
