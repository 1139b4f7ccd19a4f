import errno
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tessera.errors import PictureError
from tessera.tiling import canvas as module
from tessera.tiling.canvas import Canvas


@given(
    st.integers(1, 150),
    st.integers(1, 60),
    st.sampled_from([1, 3, 4]),
    st.sampled_from([np.uint8, np.uint16]),
    st.booleans(),
    st.data(),
)
def test_what_is_put_down_in_blocks_comes_up_in_rows(tmp_path_factory, height, width, channels, dtype, spilled, data):
    rng = np.random.default_rng(height * width)
    pixels = rng.integers(0, 255, (height, width, channels)).astype(dtype)
    cuts = sorted({0, width, *data.draw(st.lists(st.integers(0, width), max_size=4))})
    wanted = data.draw(st.integers(1, height)), data.draw(st.integers(1, width))
    folder = tmp_path_factory.getbasetemp() if spilled else None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "LARGEST_IN_MEMORY_BYTES", 0)
        with Canvas(height, width, channels, np.dtype(dtype), folder=folder) as canvas:
            for left, right in pairwise(cuts):
                canvas.put(left, pixels[:, left:right])
            rows = np.concatenate([strip.copy() for strip in canvas.rows(*wanted)])
    np.testing.assert_array_equal(rows, pixels[: wanted[0], : wanted[1]])


def test_a_spilled_canvas_leaves_no_file(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "LARGEST_IN_MEMORY_BYTES", 0)
    with Canvas(10, 10, 3, np.dtype(np.uint8), folder=tmp_path) as canvas:
        canvas.put(0, np.zeros((10, 10, 3), np.uint8))
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "LARGEST_IN_MEMORY_BYTES", 0)

    class Full:
        def seek(self, place: int) -> None: ...
        def write(self, data: bytes) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        def close(self) -> None: ...

    with Canvas(10, 10, 3, np.dtype(np.uint8), folder=tmp_path) as opened:
        canvas: Any = opened
        canvas._file.close()
        canvas._file = Full()
        with pytest.raises(PictureError, match="cannot store temporary rows"):
            canvas.put(0, np.zeros((10, 10, 3), np.uint8))
