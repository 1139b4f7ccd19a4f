"""Text in a picture: drawn by libvips if it was built with text support, else with a bitmap font of 5 by 7 dots.

The bitmap font has ASCII; other characters are drawn as boxes.
Shapes: H height, W width.
"""

from __future__ import annotations

import functools
import html
import unicodedata

import numpy as np
import numpy.typing as npt

from tessera.images.libvips import vips

Coverage = npt.NDArray[np.uint8]
"""(H, W), 0 to 255 (full ink)."""

LINE_HEIGHT = 22
_DOT = 2
_ADVANCE = 6 * _DOT
_TOP = 3

# The columns of each character from space to tilde, five bytes each, the lowest bit on top: the font of character
# displays.
_COLUMNS = bytes.fromhex(
    "0000000000 00005f0000 0007000700 147f147f14 242a7f2a12 2313086462 3649562050 0008070300 001c224100 0041221c00"
    "2a1c7f1c2a 08083e0808 0080703000 0808080808 0000606000 2010080402 3e5149453e 00427f4000 7249494946 2141494d33"
    "1814127f10 2745454539 3c4a494931 4121110907 3649494936 464949291e 0000140000 0040340000 0008142241 1414141414"
    "0041221408 0201590906 3e415d594e 7c1211127c 7f49494936 3e41414122 7f4141413e 7f49494941 7f09090901 3e41415173"
    "7f0808087f 00417f4100 2040413f01 7f08142241 7f40404040 7f021c027f 7f0408107f 3e4141413e 7f09090906 3e4151215e"
    "7f09192946 2649494932 03017f0103 3f4040403f 1f2040201f 3f4038403f 6314081463 0304780403 6159494d43 007f414141"
    "0204081020 004141417f 0402010204 4040404040 0003070800 2054547840 7f28444438 3844444428 384444287f 3854545418"
    "00087e0902 18a4a49c78 7f08040478 00447d4000 2040403d00 7f10284400 00417f4000 7c04780478 7c08040478 3844444438"
    "fc18242418 18242418fc 7c08040408 4854545424 04043f4424 3c4040207c 1c2040201c 3c4030403c 4428102844 4c9090907c"
    "4464544c44 0008364100 0000770000 0041360800 0201020402"
)
_BOX = bytes.fromhex("7f4141417f")


@functools.cache
def can_draw_text() -> bool:
    """Whether this libvips can draw text and has a font."""
    try:
        return bool(vips().Image.text("A").max() > 0)
    except vips().Error:
        return False


def has_missing_glyphs(line: str) -> bool:
    """Whether some characters of a line are drawn as boxes."""
    return not can_draw_text() and any(not " " <= each <= "~" for each in line)


def draw_text(line: str, width: int, *, bold: bool = False) -> Coverage:
    """Draw one line, (LINE_HEIGHT, width); text that does not fit is truncated with an ellipsis."""
    canvas = np.zeros((LINE_HEIGHT, width), np.uint8)
    if not line.strip():
        return canvas
    ink, top = _draw_with_libvips(line, width, bold) if can_draw_text() else (_draw_bitmap(line, width, bold), _TOP)
    part = canvas[top : top + ink.shape[0]]
    part[:, : ink.shape[1]] = ink[: part.shape[0], :width]
    return canvas


def _draw_bitmap(line: str, width: int, bold: bool) -> Coverage:
    fits = max(1, width // _ADVANCE)
    if len(line) > fits:
        line = line[: max(0, fits - 3)] + "..."
    columns: list[int] = []
    for each in line:
        at = 5 * (ord(each) - ord(" "))
        columns += [*(_COLUMNS[at : at + 5] if " " <= each <= "~" else _BOX), 0]
    bits = np.unpackbits(np.array(columns or [0], np.uint8)[None, :], axis=0, bitorder="little")
    ink = bits.repeat(_DOT, axis=0).repeat(_DOT, axis=1) * np.uint8(255)
    if bold:
        ink[:, 1:] = np.maximum(ink[:, 1:], ink[:, :-1])
    return ink


def _draw_with_libvips(line: str, width: int, bold: bool) -> tuple[Coverage, int]:
    """Draw with libvips, which takes Pango markup -> the ink and its offset from the top of the line."""
    shown = "".join(each if unicodedata.category(each) not in ("Cc", "Cs") else "\ufffd" for each in line)
    while True:
        image = vips().Image.text(html.escape(shown) or " ", font=f"sans{' bold' if bold else ''} 11", dpi=90)
        if image.width <= width or len(shown) <= 2:
            top = int(image.get("yoffset")) if image.get_typeof("yoffset") else 0
            ink = np.asarray(image.numpy(), np.uint8).reshape(image.height, image.width)
            return ink, max(0, min(top + 1, LINE_HEIGHT - 1))
        shown = shown.removesuffix("…")[: max(1, min(len(shown) - 2, len(shown) * width // image.width))] + "…"
