"""A picture file on its way through upscaling: opened once, decoded once to check it."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Self

import numpy as np

from tessera.images.picture_format import PictureInfo
from tessera.images.reader import ChannelRanges, PictureReader
from tessera.tiling.settings import Settings


class Source:
    """An opened picture file; a context manager.

    Raises PictureError or LimitError when the file is not a readable picture, or larger than the limits.
    """

    def __init__(self, path: Path, settings: Settings) -> None:
        self.path = path
        self.reader = PictureReader(path, frames=settings.frames, random=settings.seamless, limits=settings.limits)

    def __enter__(self) -> Self:
        self.reader.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.reader.__exit__(*error)

    @property
    def info(self) -> PictureInfo:
        """Size, channels and format, from the header."""
        return self.reader.info

    @property
    def pixels(self) -> int:
        """Input pixels of all frames that are upscaled."""
        return self.info.height * self.info.width * self.info.frames

    @functools.cached_property
    def ranges(self) -> ChannelRanges:
        """The values in the picture. Decodes the whole file, which finds damage early."""
        return self.reader.measure_ranges()

    @property
    def flat_alpha(self) -> int | None:
        """The value of alpha where it is the same everywhere."""
        least, greatest = self.ranges.least, self.ranges.greatest
        return int(least[-1]) if self.info.has_alpha and least[-1] == greatest[-1] else None

    @property
    def has_visible_alpha(self) -> bool:
        """Whether the picture has alpha that is not opaque everywhere."""
        return self.info.has_alpha and int(self.ranges.least[-1]) != np.iinfo(self.info.dtype).max
