"""What a block adds: against networks taken apart by other means, and against sums done by hand."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor, nn

from pruning.networks import adding, made, pictures
from tessera.generators.rrdbnet.network import RRDBNet
from tessera.pruning.importance import BlockImportance, compute_outputs, find_least_important, measure_importance
from tessera.weights.loaded_generator import LoadedGenerator


def measured(generator: LoadedGenerator, batches: list[Tensor], *, dense: bool = True) -> tuple[BlockImportance, ...]:
    assert isinstance(generator.network, RRDBNet)
    return measure_importance(generator.network, batches, compute_outputs(generator.network, batches), dense=dense)


def error_without(generator: LoadedGenerator, module: str, x: Tensor) -> float:
    """The mean squared error when a module gives back what it is given."""
    cut = copy.deepcopy(generator.network)
    parent, _, name = module.rpartition(".")
    setattr(cut.get_submodule(parent), name, nn.Identity())
    with torch.inference_mode():
        return float((cut(x).clamp(0, 1) - generator.network(x).clamp(0, 1)).double().square().mean())


def test_a_block_is_worth_what_the_output_loses_when_it_passes_its_input_on() -> None:
    generator, x = made(3), pictures()
    found = measured(generator, [x])
    for block in range(3):
        assert found[block].block == block
        assert found[block].error == pytest.approx(error_without(generator, f"body.{block}", x), rel=1e-4)
        expected = [error_without(generator, f"body.{block}.rdb{part}", x) for part in (1, 2, 3)]
        assert found[block].dense == pytest.approx(expected, rel=1e-4)
    assert len({each.error for each in found}) == 3


def test_constants_that_blocks_add_are_found_to_the_digit() -> None:
    found = measured(adding([0.1, -0.05, 0.025]), [pictures()], dense=False)
    assert [each.error for each in found] == pytest.approx([0.1**2, 0.05**2, 0.025**2], rel=1e-4)
    assert [each.psnr_db for each in found] == pytest.approx([20.0, 26.0206, 32.0412], abs=1e-3)
    assert found[0].dense == ()


def test_pictures_count_alike_in_one_batch_or_in_several() -> None:
    generator, x = made(2), pictures(3)
    together, apart = measured(generator, [x]), measured(generator, [x[:1], x[1:]])
    for one, other in zip(together, apart, strict=True):
        assert one.error == pytest.approx(other.error, rel=1e-5)


def test_a_block_that_changes_nothing_is_worth_nothing_and_goes_first() -> None:
    found = measured(adding([0.1, 0.0, 0.05]), [pictures()])
    assert (found[1].error, found[1].psnr_db) == (0.0, math.inf)
    assert find_least_important(found).block == 1


def test_of_equal_blocks_the_last_goes_first() -> None:
    found = [BlockImportance(number, error, ()) for number, error in enumerate((0.2, 0.1, 0.1))]
    assert find_least_important(found).block == 2
