"""Rows of a picture file from the top down, so that no picture need fit in memory.

Pixels are uint8 or uint16 in RGB or gray, with straight alpha last. Shapes: H height, W width, C channels (1 gray,
2 gray and alpha, 3 RGB, 4 RGB and alpha).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np

from tessera.errors import PictureError
from tessera.images.damage import explain_errors
from tessera.images.metadata import Metadata
from tessera.images.picture_format import Limits, OpenPicture, PictureInfo, ReadOptions
from tessera.images.pixels import Pixels, choose_row_count, is_color_noise, measure_color
from tessera.images.survey import PictureSurvey, open_picture

_CLEARLY_IN_COLOR = {8: 2, 16: 258}
"""Differences between channels that are not noise; further rows need not be measured then."""


class ChannelRanges(NamedTuple):
    """Values that occur in a picture."""

    least: Pixels
    """Smallest value of each channel, (C,)."""
    greatest: Pixels
    is_gray: bool
    """Whether no visible pixel has a color: one channel, or channels at most 1 of 255 apart."""


class PictureReader:
    """Rows of a picture file, upright, from the top down; a context manager.

    Args:
        source: A file, or its survey: then the header is not read again before the first rows, and the options are
            those of the survey.
        frames: Read all frames of an animation, one below the other.
        random: Allow rows in any order, at the cost of a decoded copy (on disk if it is large).
        limits: Largest number of pixels; None for the defaults.

    Raises:
        PictureError: The file cannot be read.
        LimitError: It has more pixels than `limits` allow.
    """

    def __init__(
        self,
        source: Path | PictureSurvey,
        *,
        frames: bool = False,
        random: bool = False,
        limits: Limits | None = None,
    ) -> None:
        self._opened: OpenPicture | None = None
        self._next_row = 0
        if isinstance(source, PictureSurvey):
            self._survey = source
            return
        options = ReadOptions(frames=frames, random=random, limits=limits or Limits())
        self._opened = opened = open_picture(source, options)
        self._survey = PictureSurvey(path=source, info=opened.info, metadata=opened.metadata, options=options)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._opened = None

    @property
    def survey(self) -> PictureSurvey:
        """What the header says."""
        return self._survey

    @property
    def path(self) -> Path:
        """The file."""
        return self._survey.path

    @property
    def info(self) -> PictureInfo:
        """Size, channels, depth and notes."""
        return self._survey.info

    @property
    def metadata(self) -> Metadata:
        """EXIF, XMP, IPTC, ICC profile, density."""
        return self._survey.metadata

    @property
    def height(self) -> int:
        """Number of rows (of all frames)."""
        return self.info.height * self.info.frames

    @property
    def width(self) -> int:
        """Pixels in a row."""
        return self.info.width

    def rewind(self) -> None:
        """Go back to the first row."""
        if self._next_row and self._opened is not None and not self._opened.rereads:
            self._opened = self._open()
        self._next_row = 0

    def read_rows(self, first: int, count: int) -> Pixels:
        """Rows `first` to `first + count` -> (count, W, C). Without `random`, each row can be read once, in order.

        Raises PictureError if the file turns out to be damaged.
        """
        if self._opened is None:
            self._opened = self._open()
        self._next_row = first + count
        with explain_errors(self.path):
            return self._opened.read_rows(first, count)

    def read_all(self) -> Iterator[Pixels]:
        """Yield all rows from the top down, (h, W, C), as many at a time as fit in a few MiB."""
        step = choose_row_count(self.width * self.info.channels * self.info.dtype.itemsize)
        for first in range(0, self.height, step):
            yield self.read_rows(first, min(step, self.height - first))

    def measure_ranges(self) -> ChannelRanges:
        """Decode the whole picture -> the values in it; finds damage early."""
        apart, in_color = 0, self.info.channels > 2
        least = np.full(self.info.channels, np.iinfo(self.info.dtype).max, self.info.dtype)
        greatest = np.zeros(self.info.channels, self.info.dtype)
        for rows in self.read_all():
            if in_color and apart < _CLEARLY_IN_COLOR[self.info.depth]:
                apart = max(apart, measure_color(rows))
            flat = rows.reshape(-1, self.info.channels)
            np.minimum(least, flat.min(axis=0), out=least)
            np.maximum(greatest, flat.max(axis=0), out=greatest)
        self.rewind()
        contrast = int(greatest[:3].max()) - int(least[:3].min())
        is_gray = not in_color or is_color_noise(apart, contrast, self.info.depth)
        return ChannelRanges(least, greatest, is_gray)

    def _open(self) -> OpenPicture:
        opened = open_picture(self.path, self._survey.options)
        if _shape_of(opened.info) != _shape_of(self.info):
            raise PictureError(f"{self.path}: changed while it was processed; try again.")
        return opened


def _shape_of(info: PictureInfo) -> tuple[int, int, int, int, int]:
    return info.height, info.width, info.channels, info.depth, info.frames
