"""A network with fewer blocks: which stay, what it gives, what its file says."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from pruning.networks import adding, made, pictures
from stand_ins import nearest
from tessera.errors import UsageError
from tessera.pruning.cutting import check_prunable, describe_origin, keep_blocks, prune
from tessera.weights.assembling import assemble
from tessera.weights.license import LICENSE_KEY


def test_without_a_block_that_changes_nothing_the_output_is_equal_to_the_bit() -> None:
    generator, x = adding([0.1, 0.0, 0.05]), pictures()
    pruned = prune(generator, 2, [x])
    assert pruned.kept == (0, 2)
    assert (pruned.psnr_db, [each.block for each in pruned.removed]) == (math.inf, [1])
    with torch.inference_mode():
        assert torch.equal(assemble(pruned.config, pruned.state)(x), generator.network(x))
        assert not torch.equal(generator.network(x), adding([0.1, 0.0, 0.0]).network(x))


def test_what_is_left_is_measured_anew_after_each_block() -> None:
    generator = adding([0.1, -0.09, 0.05, 0.045])
    pruned = prune(generator, 2, [pictures()])
    # Alone, 0.05 and 0.045 are worth least. Once 0.045 is out, taking -0.09 makes half of that good again.
    assert [each.block for each in pruned.removed] == [3, 1]
    assert pruned.kept == (0, 2)
    assert [10 ** (-each.psnr_db / 20) for each in pruned.removed] == pytest.approx([0.045, 0.045], rel=1e-3)


def test_the_rest_of_the_network_is_what_it_was() -> None:
    generator, x = made(4), pictures()
    config, state = keep_blocks(check_prunable(generator), generator.state, (1, 3))
    whole = generator.network
    assert isinstance(whole.body, nn.Sequential)
    whole.body = nn.Sequential(whole.body[1], whole.body[3])
    with torch.inference_mode():
        assert torch.equal(assemble(config, state)(x), whole(x))
    assert config.blocks == 2
    assert config == generator.config.model_copy(update={"blocks": 2})


def test_the_fidelity_is_that_of_the_network_that_is_left() -> None:
    generator, x = made(4), pictures()
    pruned = prune(generator, 2, [x], dense=False)
    with torch.inference_mode():
        ours, theirs = (network(x).clamp(0, 1).double() for network in (
            assemble(pruned.config, pruned.state), generator.network))  # fmt: skip
    assert pruned.psnr_db == pytest.approx(float(-10 * (ours - theirs).square().mean().log10()), abs=1e-3)
    assert len(pruned.removed) == 2
    assert all(each.dense == () for each in pruned.measured)


@pytest.mark.parametrize("kept", [(), (1, 0), (0, 0), (0, 4), (-1, 2)])
def test_a_choice_that_is_none_is_refused(kept: tuple[int, ...]) -> None:
    generator = made(4)
    with pytest.raises(UsageError, match="expected some of 0 to 3, ascending"):
        keep_blocks(check_prunable(generator), generator.state, kept)


@pytest.mark.parametrize("blocks", [0, 4, 5])
def test_a_number_of_blocks_that_does_not_make_it_smaller_is_refused(blocks: int) -> None:
    with pytest.raises(UsageError, match=r"blocks: expected 1 to 3, because .* has 4 blocks"):
        prune(made(4), blocks, [pictures()])


def test_other_networks_and_no_pictures_are_refused() -> None:
    with pytest.raises(UsageError, match="expected weights of an rrdbnet, found nearest"):
        prune(nearest(), 1, [pictures()])
    with pytest.raises(UsageError, match="no pictures to measure"):
        prune(made(2), 1, [])


def test_a_derivative_stays_under_the_license() -> None:
    generator = adding([0.1, 0.0]).with_name("whole", "BSD-3-Clause")
    said = describe_origin(generator, prune(generator, 1, [pictures()]))
    assert said[LICENSE_KEY] == "BSD-3-Clause"
    assert said["tessera.begun_from"] == f"whole, sha256 {'0' * 64}"
    assert said["tessera.blocks"] == "0"
    assert LICENSE_KEY not in describe_origin(made(2), prune(made(2), 1, [pictures()]))
