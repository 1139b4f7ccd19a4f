import itertools
import multiprocessing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pictures import random_pixels, save
from tessera.dataset.config import DataConfig
from tessera.dataset.loading import SeenMessages, collate, iterate_batches, make_loader, to_unit
from tessera.dataset.samples import CropDataset, Sample
from tessera.dataset.sources import list_pictures
from tessera.errors import PictureError, TrainingError, UsageError


@pytest.fixture
def data(tmp_path) -> CropDataset:
    (tmp_path / "hr").mkdir()
    for number in range(7):
        save(tmp_path / "hr" / f"{number}.png", random_pixels(24, 24, 3, np.uint8, seed=number))
    return CropDataset(list_pictures([tmp_path / "hr"]), DataConfig(patch=16), seed=2)


def taken(data: CropDataset, count: int, **options: Any) -> list[Any]:
    return list(
        itertools.islice(
            iterate_batches(make_loader(data, batch=4, **{"workers": 0, "first_number": 0, **options})), count
        )
    )


def same(one: list[Any], other: list[Any]) -> bool:
    return len(one) == len(other) and all(
        torch.equal(a["gt"], b["gt"]) and torch.equal(a["number"], b["number"]) for a, b in zip(one, other, strict=True)
    )


def test_any_number_of_workers_gives_the_same_batches_and_a_later_start_the_rest(data):
    whole = taken(data, 6)
    assert [batch["number"].tolist() for batch in whole[:2]] == [[0, 1, 2, 3], [4, 5, 6, 7]]
    for workers in (1, 3):
        assert same(taken(data, 6, workers=workers), whole)
    assert same(taken(data, 4, first_number=8), whole[2:])
    assert same(taken(data, 4, first_number=8, workers=2), whole[2:])


def test_two_processes_together_read_what_one_with_their_batches_joined_reads(data):
    one = list(itertools.islice(iterate_batches(make_loader(data, first_number=0, batch=8, workers=0)), 3))
    ranks = [taken(data, 3, rank=rank, world=2) for rank in range(2)]
    for step in range(3):
        assert torch.equal(torch.cat([ranks[0][step]["gt"], ranks[1][step]["gt"]]), one[step]["gt"])


def numpy_state() -> np.ndarray:
    state: Any = np.random.get_state()
    return state[1].copy()


def test_reading_leaves_the_global_streams_of_chance_alone(data):
    torch.manual_seed(1)
    np.random.seed(1)
    before = torch.get_rng_state(), numpy_state()
    taken(data, 3)
    taken(data, 3, workers=1)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (numpy_state() == before[1]).all()


def test_a_batch_is_bytes_unless_one_of_it_has_16_bits():
    eight = Sample(gt=torch.full((3, 2, 2), 255, dtype=torch.uint8), number=0, picture=0, problem="")
    deep = Sample(gt=torch.full((3, 2, 2), 0.5), number=1, picture=1, problem="a\nb")
    assert collate([eight, eight])["gt"].dtype == torch.uint8
    mixed = collate([eight, deep, deep])
    assert mixed["gt"].dtype == torch.float32
    assert mixed["gt"][:, 0, 0, 0].tolist() == [1.0, 0.5, 0.5]
    assert mixed["problem"] == ["a", "b"]
    assert torch.equal(to_unit(collate([eight])["gt"]), torch.ones(1, 3, 2, 2))
    assert to_unit(mixed["gt"]) is mixed["gt"]


def test_a_bad_picture_in_the_middle_is_said_once_and_loses_nothing(data, tmp_path):
    (tmp_path / "hr" / "4.png").write_bytes(b"damaged")
    heard = SeenMessages()
    said = [sentence for batch in taken(data, 8, workers=2) for sentence in heard.filter_new(batch["problem"])]
    assert len(said) == 1
    assert "4.png: is not a picture" in said[0]
    assert [number for batch in taken(data, 8) for number in batch["number"].tolist()] == list(range(32))


@pytest.mark.parametrize("workers", [0, 1])
def test_when_nothing_can_be_read_a_worker_says_so_in_a_sentence(workers, data, tmp_path):
    for path in Path(tmp_path / "hr").iterdir():
        path.write_bytes(b"")
    with pytest.raises(PictureError, match=r"^7 pictures in a row could not be read; the first: ") as error:
        taken(data, 1, workers=workers)
    assert "Traceback" not in str(error.value)


def killing(batches):
    """Batches whose readers are killed as soon as the first is there."""
    for batch in batches:
        yield batch
        for child in multiprocessing.active_children():
            child.kill()


@pytest.mark.slow  # PyTorch looks after its workers every five seconds
def test_a_worker_that_is_killed_is_a_sentence(data):
    batches = killing(iterate_batches(make_loader(data, first_number=0, batch=4, workers=1)))
    with pytest.raises(TrainingError, match="was killed, most often because memory ran out"):
        list(batches)


def test_a_wrong_call_is_refused(data):
    with pytest.raises(UsageError, match="process 2 of 2"):
        make_loader(data, first_number=0, batch=4, workers=0, rank=2, world=2)
