"""A picture in memory with what came with it, and the reading of a whole file.

Shapes: H height, W width, C channels (1 gray, 2 gray and alpha, 3 RGB, 4 RGB and alpha).
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from tessera.images.metadata import Metadata
from tessera.images.picture_format import Limits, PictureInfo
from tessera.images.pixels import Pixels
from tessera.images.reader import PictureReader


@dataclass(frozen=True)
class Picture:
    """A picture in memory.

    Args:
        pixels: (H, W) for gray or (H, W, C) in uint8 or uint16, straight alpha last.
        metadata: EXIF, XMP, IPTC, ICC profile, texts and density of the file it came from.
        info: Facts about that file; None if it came from no file.
    """

    pixels: Pixels
    metadata: Metadata = field(default_factory=Metadata)
    info: PictureInfo | None = None

    def with_pixels(self, pixels: Pixels) -> Picture:
        """Copy the picture with other pixels.

        Args:
            pixels: (H, W) for gray or (H, W, C) in uint8 or uint16, of any size.

        Returns:
            A picture with these pixels and the same metadata.
        """
        info = self.info
        if info is not None:
            height, width = pixels.shape[:2]
            channels = 1 if pixels.ndim == 2 else pixels.shape[2]
            info = replace(info, height=height, width=width, channels=channels, depth=pixels.dtype.itemsize * 8)
        return Picture(pixels, self.metadata, info)


def read_picture(path: str | os.PathLike[str], *, limits: Limits | None = None) -> Picture:
    """Read a whole picture file.

    Args:
        path: A file in any of the supported formats; its first bytes decide, not its name.
        limits: Largest number of pixels; None for the defaults (2**28).

    Returns:
        The picture, upright (EXIF orientation applied), gray or RGB: pixels (H, W) for gray, (H, W, C) otherwise, uint8
        or uint16. CMYK is converted through its profile to sRGB.

    Raises:
        PictureError: The file cannot be read.
        LimitError: It has more pixels than `limits` allow.
    """
    with PictureReader(Path(path), limits=limits) as reader:
        pixels = np.concatenate(list(reader.read_all()))
        return Picture(pixels[..., 0] if pixels.shape[2] == 1 else pixels, reader.metadata, reader.info)
