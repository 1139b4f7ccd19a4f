"""Pairs that a teacher makes: what it is shown, what is kept of it, and that stopping changes nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch.nn import functional as F

from stand_ins import FunctionEngine, nearest, repeated
from tessera.dataset.decoding import read_rgb
from tessera.dataset.sources import Listing, list_pictures
from tessera.dataset.taught import read_teaching
from tessera.degrade import Area, MatlabBicubic
from tessera.engines.pytorch.engine import TorchEngine
from tessera.errors import UsageError
from tessera.generators import RRDBNetConfig
from tessera.train.teaching import BATCH, DEFAULT_KINDS, InputKind, TeachingConfig, degrade_crops, teach
from tessera.weights.files import load_weights, save_weights
from train.runs import make_pictures

AREA = TeachingConfig(side=16, margin=8, seed=5, kinds=(InputKind(name="area", share=1, degradation=Area()),))


@pytest.fixture
def photos(tmp_path: Path) -> Listing:
    make_pictures(tmp_path / "photos", side=96)
    return list_pictures([tmp_path / "photos"])


def make(folder: Path, photos: Listing, config: TeachingConfig = AREA, **more: Any) -> Generator[int]:
    chosen = {"pairs": 20, "resume": False, "show_message": print, **more}
    yield from teach(nearest(), FunctionEngine(repeated()), photos, folder, config, **chosen)


def pixels_of(folder: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    listing = list_pictures([folder])
    assert listing.lq is not None
    return [(read_rgb(lq).pixels, read_rgb(gt).pixels) for lq, gt in zip(listing.lq, listing.gt, strict=True)]


def test_outputs_are_what_the_teacher_gives_for_the_stored_inputs(photos: Listing, tmp_path: Path) -> None:
    config = RRDBNetConfig(features=4, growth=2, blocks=1)
    torch.manual_seed(3)
    save_weights(tmp_path / "big.safetensors", config, config.build().state_dict())
    teacher = load_weights(tmp_path / "big.safetensors")
    list(
        teach(
            teacher, TorchEngine(teacher), photos, tmp_path / "store", AREA, pairs=9, resume=False, show_message=print
        )
    )
    found = pixels_of(tmp_path / "store")
    assert len(found) == 9
    for lq, gt in found:
        with torch.inference_mode():
            output = teacher.network(torch.from_numpy(lq.transpose(2, 0, 1).copy())[None] / 255)[0]
        expected = (output.clamp(0, 1) * 255).round().permute(1, 2, 0).numpy()
        assert np.abs(gt - expected).max() <= 1  # where it lies between two levels
        assert (gt == expected).mean() > 0.999
    assert read_teaching(tmp_path / "store").sha256 == teacher.sha256


def test_inputs_are_crops_of_the_photographs_made_small(photos: Listing, tmp_path: Path) -> None:
    list(make(tmp_path / "store", photos, pairs=1))
    ((lq, _),) = pixels_of(tmp_path / "store")
    places = set()
    for ref in photos.gt:
        whole = torch.from_numpy(read_rgb(ref).pixels.transpose(2, 0, 1).copy()).float()[None]
        for turned in (each for x in (whole, whole.mT) for each in (x, x.flip(-1), x.flip(-2), x.flip(-1, -2))):
            for top, left in ((a, b) for a in range(4) for b in range(4)):
                small = F.avg_pool2d(turned[..., top:, left:], 4).round()[0].permute(1, 2, 0).numpy()
                windows = np.lib.stride_tricks.sliding_window_view(small, (16, 16, 3))[:, :, 0]
                if (np.abs(windows - lq).max((-1, -2, -3)) <= 1).any():
                    places.add(ref)
    assert len(places) == 1


def test_a_store_that_was_stopped_is_finished_as_if_it_had_not_been(photos: Listing, tmp_path: Path) -> None:
    list(make(tmp_path / "whole", photos))
    with contextlib.closing(make(tmp_path / "halves", photos)) as stopped:
        assert list(islice(stopped, 1)) == [BATCH]
    assert list(make(tmp_path / "halves", photos, resume=True)) == [16, 20]
    whole, halves = pixels_of(tmp_path / "whole"), pixels_of(tmp_path / "halves")
    assert len(whole) == 20
    assert all(
        np.array_equal(a, b) for one, other in zip(whole, halves, strict=True) for a, b in zip(one, other, strict=True)
    )


def test_a_store_may_be_made_larger_from_the_middle_of_a_batch(photos: Listing, tmp_path: Path) -> None:
    list(make(tmp_path / "whole", photos, pairs=19))
    list(make(tmp_path / "grown", photos, pairs=11))
    assert list(make(tmp_path / "grown", photos, pairs=11, resume=True)) == [11]
    assert list(make(tmp_path / "grown", photos, pairs=19, resume=True)) == [16, 19]
    for one, other in zip(pixels_of(tmp_path / "whole"), pixels_of(tmp_path / "grown"), strict=True):
        assert np.array_equal(one[0], other[0])


def test_all_pairs_differ_and_another_seed_gives_others(photos: Listing, tmp_path: Path) -> None:
    list(make(tmp_path / "one", photos))
    list(make(tmp_path / "other", photos, AREA.model_copy(update={"seed": 6})))
    inputs = [{lq.tobytes() for lq, _ in pixels_of(tmp_path / name)} for name in ("one", "other")]
    assert len(inputs[0]) == 20
    assert not inputs[0] & inputs[1]


def test_kinds_come_as_often_as_their_shares_say() -> None:
    config = TeachingConfig(
        kinds=(
            InputKind(name="often", share=3, degradation=Area()),
            InputKind(name="rare", share=1, degradation=MatlabBicubic()),
        )
    )
    names = [config.choose_kind(batch).name for batch in range(2000)]
    assert names.count("often") / 2000 == pytest.approx(0.75, abs=0.04)
    assert [config.choose_kind(batch).name for batch in range(20)] == names[:20]


@pytest.mark.parametrize("kind", DEFAULT_KINDS, ids=lambda kind: kind.name)
def test_the_default_kinds_damage_as_much_as_their_names_say(kind: InputKind) -> None:
    config = TeachingConfig(side=32, margin=16, kinds=(kind,))
    y, x = torch.meshgrid(torch.arange(160.0), torch.arange(160.0), indexing="ij")
    gt = (0.5 + 0.3 * torch.sin(x / 9) * torch.cos(y / 7)).expand(BATCH, 3, -1, -1)
    clean = F.avg_pool2d(gt, 4)[..., 4:-4, 4:-4]
    errors = [float((degrade_crops(gt, config, batch, 4) - clean).abs().mean()) * 255 for batch in range(12)]
    assert degrade_crops(gt, config, 0, 4).shape == (BATCH, 3, 32, 32)
    low, high = {"clean": (0.0, 1.5), "mild": (0.5, 5.0), "second order": (5.0, 60.0)}[kind.name]
    assert low <= np.mean(errors) <= high


def test_what_a_teacher_cannot_work_with_is_refused_before_a_folder_is_made(photos: Listing, tmp_path: Path) -> None:
    def refused(teacher, listing: Listing, config: TeachingConfig, match: str) -> None:
        with pytest.raises(UsageError, match=match):
            list(
                teach(
                    *(teacher, FunctionEngine(repeated()), listing, tmp_path / "store", config),
                    pairs=1,
                    resume=False,
                    show_message=print,
                )
            )

    refused(nearest(channels=1), photos, AREA, "has 1 input and 1 output channels; choose an RGB teacher")
    refused(nearest(multiple=5), photos, AREA, "side: expected a multiple of 5 for stand-in, found 16")
    refused(nearest(scale=3), photos, AREA, "margin: expected a multiple of the scale, 3; found 8")
    refused(nearest(), Listing(photos.gt, photos.gt), AREA, "these are pairs already")
    assert not (tmp_path / "store").exists()


def test_two_kinds_of_one_name_are_refused() -> None:
    with pytest.raises(ValidationError, match="two kinds of inputs have the same name"):
        TeachingConfig(kinds=(*DEFAULT_KINDS, DEFAULT_KINDS[0]))
