"""Stores of pairs: what is read is what was added, and what was begun is finished."""

from __future__ import annotations

from pathlib import Path

import lmdb
import numpy as np
import pytest

from pictures import random_pixels
from tessera.dataset.config import DataConfig
from tessera.dataset.decoding import read_rgb
from tessera.dataset.samples import CropDataset
from tessera.dataset.sources import list_pictures
from tessera.dataset.taught import Pair, Teaching, open_taught, read_teaching
from tessera.errors import PictureError, UsageError

TEACHING = Teaching(teacher="big", sha256="ab" * 32, license="BSD-3-Clause", scale=2, side=16, inputs={"seed": 3})


def pairs(count: int, seed: int = 0) -> list[Pair]:
    return [
        (
            random_pixels(16, 16, 3, np.uint8, seed=2 * n + 1000 * seed),
            random_pixels(32, 32, 3, np.uint8, seed=2 * n + 1),
        )
        for n in range(count)
    ]


def made(folder: Path, count: int) -> list[Pair]:
    given = pairs(count)
    with open_taught(folder, TEACHING, pairs=count, resume=False) as store:
        store.add(given)
    return given


def test_what_is_read_is_what_was_added_to_the_bit(tmp_path: Path) -> None:
    given = made(tmp_path / "store", 3)
    listing = list_pictures([tmp_path / "store"])
    assert listing.lq is not None
    assert len(listing) == 3
    for (lq, gt), lq_ref, gt_ref in zip(given, listing.lq, listing.gt, strict=True):
        assert np.array_equal(read_rgb(lq_ref).pixels, lq)
        assert np.array_equal(read_rgb(gt_ref).pixels, gt)
    assert read_teaching(tmp_path / "store") == TEACHING


def test_training_reads_pairs_of_it_whole(tmp_path: Path) -> None:
    given = made(tmp_path / "store", 2)
    config = DataConfig(patch=32, flips=False, rotations=False)
    dataset = CropDataset(list_pictures([tmp_path / "store"]), config, seed=0, scale=2)
    for number in range(2):
        sample = dataset[number]
        assert "picture" in sample
        assert "lq" in sample
        lq, gt = given[sample["picture"]]
        assert np.array_equal(sample["lq"].numpy(), lq.transpose(2, 0, 1))
        assert np.array_equal(sample["gt"].numpy(), gt.transpose(2, 0, 1))
    assert {dataset[number]["picture"] for number in range(2)} == {0, 1}


def test_its_two_halves_are_stores_as_any(tmp_path: Path) -> None:
    given = made(tmp_path / "store", 2)
    listing = list_pictures([tmp_path / "store" / "gt"], [tmp_path / "store" / "lq"])
    assert listing.lq is not None
    assert np.array_equal(read_rgb(listing.lq[1]).pixels, given[1][0])


def test_pairs_are_added_behind_those_that_are_there(tmp_path: Path) -> None:
    first = made(tmp_path / "store", 2)
    more = pairs(2, seed=1)
    with open_taught(tmp_path / "store", TEACHING, pairs=4, resume=True) as store:
        assert store.count == 2
        store.add(more)
        assert store.count == 4
    listing = list_pictures([tmp_path / "store"])
    assert listing.lq is not None
    found = [read_rgb(ref).pixels for ref in listing.lq]
    assert all(np.array_equal(pixels, pair[0]) for pixels, pair in zip(found, [*first, *more], strict=True))


def test_an_input_whose_output_was_not_written_any_more_does_not_count(tmp_path: Path) -> None:
    made(tmp_path / "store", 2)
    with lmdb.open(str(tmp_path / "store" / "lq")) as inputs, inputs.begin(write=True) as transaction:
        transaction.put(b"00000002", b"half of a pair")
    (again,) = pairs(1, seed=7)
    with open_taught(tmp_path / "store", TEACHING, pairs=3, resume=True) as store:
        assert store.count == 2
        store.add([again])
    listing = list_pictures([tmp_path / "store"])
    assert listing.lq is not None
    assert np.array_equal(read_rgb(listing.lq[2]).pixels, again[0])


def test_pairs_that_do_not_fit_leave_the_store_as_it_was(tmp_path: Path) -> None:
    with open_taught(tmp_path / "store", TEACHING, pairs=1, resume=False) as store:
        store.add(pairs(1))
        with pytest.raises(PictureError, match=r"pairs cannot be added .*free some space and resume"):
            store.add(pairs(6000))
        assert store.count == 1


def test_a_folder_with_something_else_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with (
        pytest.raises(UsageError, match=r"output: .* is not empty\. Choose another"),
        open_taught(tmp_path / "mine", TEACHING, pairs=1, resume=False),
    ):
        pass
    with (
        pytest.raises(UsageError, match=r"is not a store of pairs: it has no teaching\.json"),
        open_taught(tmp_path / "mine", TEACHING, pairs=1, resume=True),
    ):
        pass
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["letter.txt"]


@pytest.mark.parametrize("change", [{"sha256": "cd" * 32}, {"inputs": {"seed": 4}}, {"side": 32}])
def test_a_store_is_not_finished_by_another_teacher_or_in_another_way(
    change: dict[str, object], tmp_path: Path
) -> None:
    made(tmp_path / "store", 1)
    other = TEACHING.model_copy(update=change)
    with (
        pytest.raises(UsageError, match=f"were made with a different {next(iter(change))}"),
        open_taught(tmp_path / "store", other, pairs=2, resume=True),
    ):
        pass


def test_two_commands_do_not_add_to_one_store(tmp_path: Path) -> None:
    with (
        open_taught(tmp_path / "store", TEACHING, pairs=1, resume=False),
        pytest.raises(PictureError, match="another process is adding"),
        open_taught(tmp_path / "store", TEACHING, pairs=1, resume=True),
    ):
        pass


def test_a_record_that_is_no_record_is_said(tmp_path: Path) -> None:
    (tmp_path / "teaching.json").write_text("{}")
    with pytest.raises(PictureError, match=r"teaching.json: cannot be read: expected a record"):
        read_teaching(tmp_path)


def test_a_store_that_was_copied_in_part_is_not_added_to(tmp_path: Path) -> None:
    made(tmp_path / "store", 3)
    data = tmp_path / "store" / "gt" / "data.mdb"
    data.write_bytes(data.read_bytes()[:-4096])
    with (
        pytest.raises(PictureError, match=r"gt/data\.mdb: expected at least .* bytes, found"),
        open_taught(tmp_path / "store", TEACHING, pairs=4, resume=True),
    ):
        pass
