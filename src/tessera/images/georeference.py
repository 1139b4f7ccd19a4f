"""Where on the Earth a picture lies (OGC 19-008r4, "GeoTIFF Standard" 1.1), fitted to another number of pixels."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

_SCALE, _TIE_POINTS, _TRANSFORMATION, _KEYS, _NUMBERS, _TEXTS = 33550, 33922, 34264, 34735, 34736, 34737
_GDAL_METADATA, _GDAL_NO_DATA = 42112, 42113
GEOREFERENCE_TAGS = frozenset(
    (_SCALE, _TIE_POINTS, _TRANSFORMATION, _KEYS, _NUMBERS, _TEXTS, _GDAL_METADATA, _GDAL_NO_DATA)
)
_RASTER_TYPE_KEY, _PIXEL_IS_POINT = 1025, 2
_TIE_POINT_NUMBERS = 6

Values = tuple[float, ...] | tuple[int, ...] | bytes
"""Of doubles, of shorts, of a text."""


@dataclass(frozen=True)
class Georeference:
    """The tags of a georeference, for a picture of this size."""

    height: int
    width: int
    tags: Mapping[int, Values]

    def fit(self, *, height: int, width: int) -> Georeference:
        """Return the georeference of the same area with another number of pixels.

        Where a pixel stands for an area, its corner is at whole coordinates; where it stands for a point, its center
        (section 7.1.1 of the standard).
        """
        across, down = width / self.width, height / self.height
        shift = 0.5 if self._pixel_is_point() else 0.0
        tags = dict(self.tags)
        if (scale := self._read_doubles(_SCALE)) is not None and len(scale) >= 2:
            tags[_SCALE] = (scale[0] / across, scale[1] / down, *scale[2:])
        if (points := self._read_doubles(_TIE_POINTS)) is not None:
            moved: list[float] = []
            for at in range(0, len(points) - len(points) % _TIE_POINT_NUMBERS, _TIE_POINT_NUMBERS):
                column, row, *rest = points[at : at + _TIE_POINT_NUMBERS]
                moved += ((column + shift) * across - shift, (row + shift) * down - shift, *rest)
            tags[_TIE_POINTS] = tuple(moved)
        if (matrix := self._read_doubles(_TRANSFORMATION)) is not None and len(matrix) == 16:
            fitted = list(matrix)
            for at in range(0, 16, 4):
                column, row = matrix[at], matrix[at + 1]
                fitted[at : at + 2] = column / across, row / down
                fitted[at + 3] += column * (shift / across - shift) + row * (shift / down - shift)
            fitted[12:] = matrix[12:]
            tags[_TRANSFORMATION] = tuple(fitted)
        return replace(self, height=height, width=width, tags=tags)

    def _pixel_is_point(self) -> bool:
        keys = self.tags.get(_KEYS, ())
        if isinstance(keys, bytes):
            return False
        entries = (keys[at : at + 4] for at in range(4, len(keys), 4))
        return any(
            len(entry) == 4 and entry[0] == _RASTER_TYPE_KEY and entry[3] == _PIXEL_IS_POINT for entry in entries
        )

    def _read_doubles(self, tag: int) -> tuple[float, ...] | None:
        values = self.tags.get(tag)
        if values is None or isinstance(values, bytes) or not all(math.isfinite(value) for value in values):
            return None
        return values
