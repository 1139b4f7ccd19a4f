import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tessera.tiling.rows import ArrayRows, BledRows, FrameRows, RollingRows, WrappedRows, bleed_colors


def ramp(height: int, width: int, channels: int = 3) -> np.ndarray:
    return np.arange(height * width * channels, dtype=np.uint16).reshape(height, width, channels)


class ReadOnce(ArrayRows):
    """Fails when a row is asked for twice or out of order, as a file read from the top down would."""

    def __init__(self, pixels: np.ndarray) -> None:
        super().__init__(pixels)
        self.next = 0

    def read_rows(self, first, count):
        assert first == self.next
        self.next += count
        assert self.next <= self.height
        return super().read_rows(first, count)


@given(st.integers(1, 60), st.data())
def test_a_window_moving_down_reads_every_row_once_and_shows_the_right_ones(height, data):
    pixels = ramp(height, 3)
    rolling = RollingRows(ReadOnce(pixels))
    first = last = 0
    while last < height:
        first = data.draw(st.integers(first, last))
        last = data.draw(st.integers(max(last, first + 1), height + 5))
        np.testing.assert_array_equal(rolling.window(first, last), pixels[first : min(last, height)])


def test_a_window_can_jump_over_rows_nobody_wants():
    pixels = ramp(50, 2)
    rolling = RollingRows(ReadOnce(pixels))
    rolling.window(0, 5)
    np.testing.assert_array_equal(rolling.window(20, 30), pixels[20:30])


@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 30))
def test_a_wrapped_picture_equals_numpys_wrapped_padding(height, width, margin):
    pixels = ramp(height, width)
    wrapped = WrappedRows(ArrayRows(pixels), margin)
    expected = np.pad(pixels, ((margin, margin), (margin, margin), (0, 0)), mode="wrap")
    np.testing.assert_array_equal(wrapped.read_rows(0, wrapped.height), expected)
    np.testing.assert_array_equal(wrapped.read_rows(margin, 1), expected[margin : margin + 1])


def test_a_frame_is_its_part_of_the_strip():
    pixels = ramp(30, 4)
    np.testing.assert_array_equal(FrameRows(ArrayRows(pixels), 10, 2).read_rows(3, 4), pixels[23:27])


def test_transparent_pixels_take_the_color_of_their_visible_neighbors():
    pixels = np.zeros((9, 9, 4), np.uint8)
    pixels[4, 4] = (200, 100, 50, 255)
    result = bleed_colors(pixels)
    assert (result[..., :3] == (200, 100, 50)).all()
    np.testing.assert_array_equal(result[..., 3], pixels[..., 3])


def test_visible_pixels_keep_their_colors():
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (40, 40, 4), dtype=np.uint8)
    pixels[rng.random((40, 40)) < 0.5, 3] = 0
    result = bleed_colors(pixels)
    visible = pixels[..., 3] >= 32
    np.testing.assert_array_equal(result[visible], pixels[visible])


@pytest.mark.parametrize("alpha", [1, 8, 16])
def test_the_dark_matte_of_a_soft_edge_is_covered_by_the_color_beside_it(alpha):
    pixels = np.zeros((9, 12, 4), np.uint8)
    pixels[:, :5] = (200, 100, 50, 255)
    pixels[:, 5, 3] = alpha
    result = bleed_colors(pixels)
    matte_left = (alpha / 32) ** 2 + alpha / 255
    for column in (5, 6):
        lacking = (np.array((200, 100, 50)) - result[:, column, :3]) / (200, 100, 50)
        assert (np.abs(lacking) <= matte_left + 0.01).all()
    np.testing.assert_array_equal(result[..., 3], pixels[..., 3])


def test_a_faint_shadow_keeps_its_own_color():
    pixels = np.full((20, 40, 4), 255, np.uint8)
    pixels[:, 10:, :3] = 0
    pixels[:, 10:, 3] = np.linspace(200, 0, 30).astype(np.uint8)
    result = bleed_colors(pixels)
    assert (result[:, 12:, :3] == 0).all()


@given(st.integers(1, 90), st.integers(1, 40))
def test_bleeding_in_strips_equals_bleeding_the_whole(height, step):
    rng = np.random.default_rng(height)
    pixels = rng.integers(0, 255, (height, 30, 4), dtype=np.uint8)
    pixels[..., 3] = np.where(rng.random((height, 30)) < 0.05, 255, 0)
    rows = BledRows(ReadOnce(pixels))
    strips = [rows.read_rows(first, min(step, height - first)) for first in range(0, height, step)]
    np.testing.assert_array_equal(np.concatenate(strips), bleed_colors(pixels))
