"""Which checkpoints are found where, in which order, and what is said where they make no series."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from explain.published import attention_state, multi_state, save_basicsr
from tessera.discriminators.attention_unet import AttentionUNetConfig
from tessera.discriminators.multi_scale import MultiScaleConfig
from tessera.discriminators.unet import UNetConfig
from tessera.errors import UsageError, WeightsError
from tessera.explain.series import find_checkpoints, open_checkpoint
from tessera.generators import RRDBNetConfig
from tessera.weights.discriminator_file import save_discriminator
from tessera.weights.files import save_weights


def ours(folder: Path, step: int, config: AttentionUNetConfig | MultiScaleConfig | UNetConfig) -> Path:
    place = folder / "checkpoints" / f"{step:09d}"
    place.mkdir(parents=True)
    save_discriminator(place / "discriminator.safetensors", config, config.build().state_dict())
    return place


def touch(folder: Path, *names: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()


def steps(*places: Path) -> list[int | None]:
    return [each.step for each in find_checkpoints(places)]


def test_basicsr_checkpoints_come_in_the_order_of_their_numbers_with_their_generators(tmp_path: Path) -> None:
    models = tmp_path / "experiments" / "a" / "models"
    names = ("net_d_5000.pth", "net_d_100000.pth", "net_d_20000.pth", "net_g_20000.pth", "net_d_latest.pth")
    touch(models, *names, "net_g_5000.pth.part", "note_d.txt", "5000.state")
    found = find_checkpoints([models.parent])
    assert [each.step for each in found] == [5000, 20000, 100000, None]
    assert [each.suffix for each in found] == ["_5000", "_20000", "_100000", "_net_d_latest"]
    assert [each.generator for each in found] == [None, models / "net_g_20000.pth", None, None]
    assert find_checkpoints([models]) == found


def test_a_run_of_ours_gives_every_checkpoint_with_the_average_of_the_generator(tmp_path: Path) -> None:
    run = tmp_path / "runs" / "a"
    for step in (10, 9, 100):
        place = ours(run, step, AttentionUNetConfig(features=1))
        touch(place, "generator.safetensors", *(["average.safetensors"] if step != 9 else []))
    touch(run / "checkpoints" / "000000200", "generator.safetensors")  # a run's checkpoint without a discriminator
    assert steps(run) == steps(run / "checkpoints") == [9, 10, 100]
    found = find_checkpoints([run])
    assert [each.generator.name for each in found if each.generator is not None] == 3 * ["generator.safetensors"]
    assert [each.average is not None for each in found] == [False, True, True]
    assert steps(run / "checkpoints" / "000000010") == [10]
    assert steps(run / "checkpoints" / "000000010" / "discriminator.safetensors", run) == [9, 10, 100]


@pytest.mark.parametrize(
    ("name", "step", "generator"),
    [
        ("D_100.pth", 100, "G_100.pth"),
        ("netD_7.pth", 7, "netG_7.pth"),
        ("discriminator_3.pth", 3, None),
        ("A_ESRGAN_Multi_D.pth", None, None),
    ],
)
def test_other_programs_names_are_known(name: str, step: int | None, generator: str | None, tmp_path: Path) -> None:
    touch(tmp_path, name, "other_model.pth", *([] if generator is None else [generator]))
    (found,) = find_checkpoints([tmp_path])
    assert (found.path.name, found.step) == (name, step)
    assert found.generator == (None if generator is None else tmp_path / generator)
    assert found.suffix == ("" if step is None else f"_{step}")


def test_nothing_found_two_of_one_step_and_no_such_place_are_said(tmp_path: Path) -> None:
    touch(tmp_path / "a", "net_g_5000.pth", "net_d_5.txt")
    with pytest.raises(UsageError, match="no checkpoints of a discriminator in this folder"):
        find_checkpoints([tmp_path / "a"])
    with pytest.raises(UsageError, match="no such file or folder"):
        find_checkpoints([tmp_path / "b"])
    touch(tmp_path / "c", "net_d_5.pth")
    touch(tmp_path / "d", "net_d_5.pth")
    with pytest.raises(UsageError, match="both step 5"):
        find_checkpoints([tmp_path / "c", tmp_path / "d"])


def test_a_series_has_one_architecture_and_its_files_are_named_where_it_has_not(tmp_path: Path) -> None:
    save_basicsr(tmp_path / "net_d_1.pth", multi_state(2, 0))
    save_basicsr(tmp_path / "net_d_2.pth", multi_state(2, 5))
    save_basicsr(tmp_path / "net_d_3.pth", attention_state(2, 0))
    found = find_checkpoints([tmp_path])
    first = open_checkpoint(found[0])
    assert first.config == MultiScaleConfig(features=2)
    assert open_checkpoint(found[1], first).sha256 != first.sha256
    with pytest.raises(
        UsageError, match=r"net_d_3\.pth: expected multi-scale .*net_d_1\.pth, found attention-unet with 2"
    ):
        open_checkpoint(found[2], first)


def test_a_generator_and_a_discriminator_without_gates_are_refused_by_what_they_are(tmp_path: Path) -> None:
    config = RRDBNetConfig(features=2, growth=2, blocks=1)
    torch.save({"params": config.build().state_dict()}, tmp_path / "net_d_1.pth")
    with pytest.raises(WeightsError, match=r"net_d_1\.pth: this is a generator"):
        open_checkpoint(find_checkpoints([tmp_path])[0])
    save_weights(tmp_path / "generator.safetensors", config, config.build().state_dict())
    with pytest.raises(WeightsError, match="this is a generator that Tessera wrote"):
        open_checkpoint(find_checkpoints([tmp_path / "generator.safetensors"])[0])
    place = ours(tmp_path / "run", 5, UNetConfig(features=1))
    with pytest.raises(UsageError, match=r"discriminator\.safetensors: The discriminator unet has no attention gates"):
        open_checkpoint(find_checkpoints([place])[0])
    gray = AttentionUNetConfig(features=1, in_channels=1)
    save_discriminator(tmp_path / "d.safetensors", gray, gray.build().state_dict())
    with pytest.raises(UsageError, match="expected a discriminator of RGB pictures, found one of 1 channels"):
        open_checkpoint(find_checkpoints([tmp_path / "d.safetensors"])[0])
