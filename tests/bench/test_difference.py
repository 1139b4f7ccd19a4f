"""How far results are from the reference, and what is too far."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from tessera.bench.difference import Deviation, compare_pixels, compare_tensors, find_problem


def test_a_known_change_gives_the_levels_and_the_psnr_of_arithmetic():
    reference = torch.full((1, 3, 10, 10), 0.5)
    result = reference.clone()
    result[0, 0, 0, :6] += 4 / 255
    found = compare_tensors(result, reference)
    assert found is not None
    assert found.largest_levels == 4
    assert found.share_within_one == pytest.approx(294 / 300)
    assert found.psnr_db == pytest.approx(-10 * math.log10((4 / 255) ** 2 * 6 / 300), abs=1e-4)


def test_values_beyond_white_count_as_white():
    reference = torch.ones(1, 1, 4, 4)
    found = compare_tensors(reference + 0.3, reference)
    assert found == Deviation(largest_levels=0, share_within_one=1.0, psnr_db=None)


@pytest.mark.parametrize(
    "result", [torch.zeros(1, 3, 8, 9), torch.full((1, 3, 8, 8), torch.nan), torch.full((1, 3, 8, 8), torch.inf)]
)
def test_another_size_and_what_is_no_number_are_wrong_in_every_type(result: torch.Tensor):
    found = compare_tensors(result, torch.zeros(1, 3, 8, 8))
    assert found is None
    for products in ("fp32", "bf16", "int8"):
        assert "non-finite values" in (find_problem(found, products) or "")


def test_finished_pictures_are_compared_without_wrapping_around():
    reference = np.zeros((4, 4, 3), np.uint8)
    result = reference.copy()
    result[0, 0, 0] = 255
    found = compare_pixels(result, reference)
    assert found is not None
    assert found.largest_levels == 255
    assert compare_pixels(reference[:2], reference) is None


@pytest.mark.parametrize(
    ("largest", "share", "psnr", "right"),
    [
        (0, 1.0, None, {"fp32", "bf16", "int8"}),
        (1, 1.0, 90.0, {"fp32", "bf16", "int8"}),
        (2, 0.995, 55.0, {"bf16", "int8"}),
        (9, 0.98, 40.0, {"int8"}),
        (90, 0.5, 34.0, set()),
    ],
)
def test_each_type_is_held_to_what_its_policy_promises(largest: int, share: float, psnr: float | None, right: set[str]):
    found = Deviation(largest_levels=largest, share_within_one=share, psnr_db=psnr)
    assert {products for products in ("fp32", "bf16", "int8") if find_problem(found, products) is None} == right


def test_of_many_results_the_worst_is_kept():
    one = Deviation(largest_levels=3, share_within_one=0.999, psnr_db=None)
    two = Deviation(largest_levels=1, share_within_one=0.995, psnr_db=60.0)
    assert one.combine_worst(two) == Deviation(largest_levels=3, share_within_one=0.995, psnr_db=60.0)
    assert one.combine_worst(None) == one
