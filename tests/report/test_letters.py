"""Words in pictures."""

from __future__ import annotations

import numpy as np
import pytest

from tessera.report import letters

LINES = ("", "A", "LR_x4", "<b>&amp;", "schön", "😀 שלום", "\u202egnp", "a\x00\x1b\udcffb", "W" * 400)


@pytest.fixture(params=["dots", "libvips"])
def _hand(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "dots":
        monkeypatch.setattr(letters, "can_draw_text", lambda: False)
    elif not letters.can_draw_text():
        pytest.skip("this libvips has no text or no font")


@pytest.mark.usefixtures("_hand")
@pytest.mark.parametrize("bold", [False, True])
@pytest.mark.parametrize("line", LINES)
def test_any_line_fits_its_room(line: str, bold: bool) -> None:
    for width in (1, 5, 40, 300):
        ink = letters.draw_text(line, width, bold=bold)
        assert (ink.shape, ink.dtype) == ((letters.LINE_HEIGHT, width), np.uint8)
    assert bool(ink.any()) == bool(line)


def test_dots_spell_letters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(letters, "can_draw_text", lambda: False)
    ink = letters.draw_text("L1", 24)[3:19:2, ::2] > 0
    drawn = ["".join("#" if dot else " " for dot in row) for row in ink]
    assert drawn[:7] == [
        "#       #   ",
        "#      ##   ",
        "#       #   ",
        "#       #   ",
        "#       #   ",
        "#       #   ",
        "#####  ###  ",
    ]
    assert letters.has_missing_glyphs("é")
    assert not letters.has_missing_glyphs("e ~")
