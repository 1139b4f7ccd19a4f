"""Colors and mixtures against the published formulae and tables."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch

from tessera.explain.colormaps import apply_colormap, blend_heat, stretch_to_gray, table, to_levels
from tessera.images.color import rgb_to_lab


def test_jet_is_the_published_one_to_a_level_and_exact_where_its_table_is_known() -> None:
    jet = table("jet")
    v = np.arange(256) / 255
    formula = np.stack([np.clip(1.5 - np.abs(4 * v - k), 0, 1) for k in (3, 2, 1)], axis=1) * 255
    assert np.abs(jet - formula).max() <= 1.5
    # from OpenCV's COLORMAP_JET
    known = {0: (0, 0, 128), 31: (0, 0, 252), 33: (0, 4, 255), 90: (0, 232, 255), 96: (2, 255, 254)}
    known |= {159: (254, 255, 1), 160: (255, 252, 0), 222: (255, 4, 0), 224: (252, 0, 0), 255: (128, 0, 0)}
    for level, color in known.items():
        assert tuple(jet[level]) == color, level
    assert jet.sum(axis=0).tolist() == [30592, 32448, 30591]
    digest = "661fa696672fecb0ffa3e76bff80e0119d8308227c361c0043f705d8c867faad"  # of OpenCV's table, as RGB
    assert hashlib.sha256(jet.tobytes()).hexdigest() == digest


def test_values_are_cut_off_to_levels_and_not_rounded() -> None:
    values = np.array([[0.0, 0.499, 0.9999, 1.0, 0.5, 3.0, -1.0]], np.float32)
    assert to_levels(values).tolist() == [[0, 127, 254, 255, 127, 255, 0]]
    assert apply_colormap(values, "gray")[0, :, 0].tolist() == [0, 127, 254, 255, 127, 255, 0]
    assert tuple(apply_colormap(values, "jet")[0, 3]) == (128, 0, 0)


def test_viridis_gets_lighter_evenly_and_jet_does_not() -> None:
    def lightness(name: str) -> np.ndarray:
        colors = torch.from_numpy(table(name).astype(np.float64) / 255).T[:, :, None]  # pyright: ignore
        return rgb_to_lab(colors)[0, :, 0].numpy()

    steps = np.diff(lightness("viridis")[::16])
    assert (steps > 0).all()
    assert steps.max() < 1.6 * steps.min()
    assert (np.diff(lightness("jet")[::16]) < 0).any()
    matplotlib = {0: (68, 1, 84), 64: (59, 82, 139), 128: (33, 145, 140), 192: (94, 201, 98), 255: (253, 231, 37)}
    for level, color in matplotlib.items():
        assert np.abs(table("viridis")[level].astype(int) - color).max() <= 3


def test_published_logits_are_stretched_from_minimum_to_maximum() -> None:
    logits = np.array([[-3.0, -1.0, 5.0]], np.float32)
    assert stretch_to_gray(logits).tolist() == [[0, 63, 255]]
    assert stretch_to_gray(np.full((2, 2), 7.0)).max() == 0


@pytest.mark.parametrize(("mix", "expected"), [(0.7, 170), (0.0, 100), (1.0, 200)])
def test_the_share_of_the_heat_map_is_the_mix(mix: float, expected: int) -> None:
    picture, heat = np.full((1, 1, 3), 100, np.uint8), np.full((1, 1, 3), 200, np.uint8)
    assert blend_heat(picture, heat, mix).flat[0] == expected


def test_the_overlay_of_every_pair_of_levels_is_the_one_that_opencv_computes() -> None:
    picture = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 256, axis=1)
    found = blend_heat(picture, picture.T, 0.7)
    ties = {(0, 45): 32, (29, 204): 152, (72, 137): 118, (136, 101): 112, (242, 227): 232}
    assert {pair: found[pair] for pair in ties} == ties
    # addWeighted(picture, 0.3, heat, 0.7, 0) of OpenCV 5.0.0
    digest = "ce4b66175f4bd33ac26e4bbc9fc398ce84f39d4ffa54da93d8807216b333b806"
    assert hashlib.sha256(found.tobytes()).hexdigest() == digest
