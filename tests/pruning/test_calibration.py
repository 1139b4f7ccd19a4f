"""Which pictures blocks are measured on, and what of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from pictures import random_pixels, save
from tessera.dataset.sources import PictureRef, list_pictures
from tessera.errors import PictureError, UsageError
from tessera.generators import RRDBNetConfig
from tessera.pruning.calibration import choose_evenly, read_center_crops


def test_the_middle_of_each_picture_is_read_and_equal_sizes_make_a_batch(tmp_path: Path) -> None:
    large, small = (random_pixels(*size, 3, np.uint8, seed=1) for size in ((40, 52), (20, 24)))
    for name, pixels in (("a.png", large), ("b.png", small), ("c.png", large)):
        save(tmp_path / name, pixels)
    first, second = read_center_crops(list_pictures([tmp_path]).gt, RRDBNetConfig(), pictures=8, side=32)
    middle = torch.from_numpy(large[4:36, 10:42].transpose(2, 0, 1).copy()) / 255
    assert first.shape == (2, 3, 32, 32)
    assert torch.equal(first[0], middle)
    assert torch.equal(first[0], first[1])
    assert second.shape == (1, 3, 20, 24)


def test_sides_divide_by_what_the_network_needs(tmp_path: Path) -> None:
    save(tmp_path / "a.png", random_pixels(39, 26, 3, np.uint8))
    (batch,) = read_center_crops(list_pictures([tmp_path]).gt, RRDBNetConfig(scale=1), pictures=1, side=30)
    assert batch.shape == (1, 3, 28, 24)


def test_the_pictures_are_spread_over_all() -> None:
    refs = [PictureRef(str(number)) for number in range(10)]
    assert [ref.place for ref in choose_evenly(refs, 4)] == ["0", "2", "5", "7"]
    assert choose_evenly(refs, 99) == refs


def test_what_cannot_be_measured_on_is_said(tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"bad")
    refs = list_pictures([tmp_path]).gt
    with pytest.raises(PictureError, match=r"bad\.png"):
        read_center_crops(refs, RRDBNetConfig(), pictures=1, side=32)
    with pytest.raises(UsageError, match="on RGB pictures, and the network takes 1 channels"):
        read_center_crops(refs, RRDBNetConfig(in_channels=1, out_channels=1), pictures=1, side=32)
    save(tmp_path / "bad.png", random_pixels(3, 30, 3, np.uint8))
    with pytest.raises(UsageError, match="expected at least 4 pixels a side"):
        read_center_crops(refs, RRDBNetConfig(scale=1), pictures=1, side=32)
