"""What a run does when something is in its way: it says so in a sentence, and nothing is lost."""

import json
import math
import os
import shutil
import signal
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from tessera import save_weights
from tessera.degrade import apply, draw, from_json
from tessera.errors import TesseraError, TrainingError, UsageError
from tessera.generators import RRDBNetConfig
from tessera.train import checkpoints, loop
from tessera.train.checkpoints import list_checkpoints, read_checkpoint_folder
from tessera.train.loop import train
from tessera.train.recipe import Recipe, load_recipe
from tessera.train.seeding import derive_rng
from tessera.weights.files import load_weights
from train.runs import SMALL, SMALL_RRDB, RecordingDisplay, make_pictures, trained_lines


@pytest.fixture
def desk(tmp_path, monkeypatch) -> Path:
    make_pictures(tmp_path / "photos")
    make_pictures(tmp_path / "val", count=2)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def small(*more: str, recipe: str = "rrdb-psnr") -> Recipe:
    return load_recipe(recipe, [*SMALL, *SMALL_RRDB, "pool=0", "name=run", "steps=6", "checkpoint.every=2", *more])


def weights_of(run: Path) -> dict[str, torch.Tensor]:
    return dict(load_weights(run / "latest.safetensors").network.state_dict())


def test_a_run_leaves_everything_that_is_needed(desk):
    recipe = small("validation.every=3", "report.tensorboard=true", "report.histograms_every=2", "ema=0.9")
    watcher = RecordingDisplay()
    assert train(recipe, resume=False, display=watcher).step == 6
    run = desk / "runs" / "run"
    assert {path.name for path in run.iterdir() if not path.name.startswith(".")} >= {
        *("best.safetensors", "checkpoints", "config.toml", "latest.safetensors", "log.txt", "metrics.jsonl"),
        *("samples", "tensorboard"),
    }
    assert sorted(path.name for path in (run / "samples").iterdir()) == ["000000003.png", "000000006.png"]
    kinds = [line["kind"] for line in trained_lines(run)]
    assert (kinds.count("train"), kinds.count("validation")) == (6, 2)
    scores = next(line for line in trained_lines(run) if line["kind"] == "validation")
    assert 5 < scores["psnr"] < 50
    assert watcher.steps == [1, 2, 3, 4, 5, 6]
    assert list((run / "tensorboard").iterdir())
    assert load_weights(run / "best.safetensors").metadata["tessera.run"] == "run"


def test_validation_scores_the_average_and_best_is_the_best(desk):
    recipe = small("validation.every=1", "ema=0.5", "optimizer.rate=0.01")
    train(recipe, resume=False, display=RecordingDisplay())
    lines = [line for line in trained_lines(desk / "runs" / "run") if line["kind"] == "validation"]
    best = max(lines, key=lambda line: line["psnr"])
    found = load_weights(desk / "runs" / "run" / "best.safetensors")
    assert found.metadata["tessera.step"] == str(best["step"])
    assert found.metadata["tessera.validation"] == f"psnr {best['psnr']:.4f}"


def test_a_run_that_exists_is_refused_and_one_that_does_not_cannot_be_resumed(desk):
    with pytest.raises(TrainingError, match="no run to resume"):
        train(small(), resume=True, display=RecordingDisplay())
    train(small(), resume=False, display=RecordingDisplay())
    before = (desk / "runs" / "run" / "metrics.jsonl").read_bytes()
    with pytest.raises(TrainingError, match=r"exists\. Resume it \(`resume`\)"):
        train(small(), resume=False, display=RecordingDisplay())
    assert (desk / "runs" / "run" / "metrics.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("start.generator=nowhere.pth", "nowhere.pth"),
        ("data.train=nowhere", "nowhere"),
        ("device=cuda:99", "unavailable here"),
    ],
)
def test_what_is_missing_is_said_before_anything_is_written(desk, change, sentence):
    with pytest.raises(TesseraError, match=sentence):
        train(small(change), resume=False, display=RecordingDisplay())
    assert not (desk / "runs").exists()


def test_a_missing_trunk_is_said_before_anything_is_written(desk):
    recipe = load_recipe("realesrgan", [*SMALL, *SMALL_RRDB, "perceptual.weight=1", "perceptual.trunk=none.pth"])
    with pytest.raises(TesseraError, match=r"none\.pth"):
        train(recipe, resume=False, display=RecordingDisplay())
    assert not (desk / "runs").exists()


def test_weights_that_do_not_fit_are_named_and_taken_in_part_on_request(desk):
    torch.manual_seed(0)
    config = RRDBNetConfig(scale=2, features=4, growth=2, blocks=1)
    state = config.build().state_dict()
    save_weights(desk / "x2.safetensors", config, state)
    with pytest.raises(TrainingError, match=r"`conv_first.weight` should be \(4, 3, 3, 3\).*start.partial = true"):
        train(small("start.generator=x2.safetensors"), resume=False, display=RecordingDisplay())
    watcher = RecordingDisplay()
    recipe = small("start.generator=x2.safetensors", "start.partial=true", "optimizer.rate=1e-30")
    train(recipe, resume=False, display=watcher)
    assert any("tensors fit and were loaded" in sentence for sentence in watcher.sentences)
    after = weights_of(desk / "runs" / "run")
    assert torch.allclose(after["conv_last.weight"], state["conv_last.weight"], atol=1e-6)


def test_esrdgans_weights_fit_its_recipe_though_they_are_an_rrdbnet(desk):
    """Its generator with kernels of 3 is RRDBNet under other names, and its files are recognized as that."""
    torch.manual_seed(0)
    state = RRDBNetConfig(features=4, growth=2, blocks=1).build().state_dict()
    save_weights(desk / "start.safetensors", RRDBNetConfig(features=4, growth=2, blocks=1), state)
    watcher = RecordingDisplay()
    recipe = small(
        *("start.generator=start.safetensors", "optimizer.rate=1e-30", "discriminator.features=4", "pool=0"),
        recipe="esrdgan",
    )
    train(recipe, resume=False, display=watcher)
    assert any("loaded in order" in sentence for sentence in watcher.sentences)
    after = weights_of(desk / "runs" / "run")
    assert all(torch.allclose(one, other, atol=1e-6) for one, other in zip(after.values(), state.values(), strict=True))


def test_a_torn_checkpoint_is_passed_over_for_the_one_before(desk):
    train(small(), resume=False, display=RecordingDisplay())
    expected = weights_of(desk / "runs" / "run")
    folders = list(list_checkpoints(desk / "runs" / "run" / "checkpoints"))
    assert [folder.name for folder in folders] == ["000000002", "000000004", "000000006"]
    torn = folders[-1] / "optimizers.safetensors"
    torn.write_bytes(torn.read_bytes()[:-7])
    watcher = RecordingDisplay()
    train(small(), resume=True, display=watcher)
    assert any("optimizers.safetensors does not match its checksum" in sentence for sentence in watcher.sentences)
    assert any("Resuming at step 4 of 6" in sentence for sentence in watcher.sentences)
    for name, value in weights_of(desk / "runs" / "run").items():
        assert torch.equal(value, expected[name])


@pytest.mark.parametrize("damage", ["state.json", "missing", "flipped"])
def test_every_kind_of_damage_is_noticed(desk, damage):
    train(small(), resume=False, display=RecordingDisplay())
    folder = list(list_checkpoints(desk / "runs" / "run" / "checkpoints"))[-1]
    if damage == "state.json":
        (folder / "state.json").write_text(
            (folder / "state.json").read_text().replace('\\"step\\": 6', '\\"step\\": 9')
        )
    elif damage == "missing":
        (folder / "generator.safetensors").unlink()
    else:
        data = bytearray((folder / "generator.safetensors").read_bytes())
        data[-1] ^= 1
        (folder / "generator.safetensors").write_bytes(bytes(data))
    with pytest.raises(TrainingError):
        read_checkpoint_folder(folder)


def test_checkpoints_are_kept_as_asked(desk):
    recipe = small("steps=9", "checkpoint.every=1", "checkpoint.keep=2", "checkpoint.keep_every=4")
    train(recipe, resume=False, display=RecordingDisplay())
    kept = [int(folder.name) for folder in list_checkpoints(desk / "runs" / "run" / "checkpoints")]
    assert kept == [4, 8, 9]


def test_a_full_disk_ends_the_run_with_a_sentence_and_keeps_what_was_saved(desk, monkeypatch):
    written = []
    real = checkpoints.write_safetensors

    def full(path, tensors, metadata):
        written.append(path)
        if len(written) > 4:
            raise OSError(28, "No space left on device")
        real(path, tensors, metadata)

    monkeypatch.setattr(checkpoints, "write_safetensors", full)
    with pytest.raises(TrainingError, match=r"cannot write the checkpoint \(No space left on device\).*`resume`"):
        train(small(), resume=False, display=RecordingDisplay())
    monkeypatch.undo()
    monkeypatch.chdir(desk)
    run = desk / "runs" / "run"
    assert [folder.name for folder in list_checkpoints(run / "checkpoints")] == ["000000000", "000000002"]
    assert not [path for path in (run / "checkpoints").iterdir() if path.name.startswith(".")]
    assert train(small(), resume=True, display=RecordingDisplay()).step == 6


def test_an_unreadable_picture_is_said_once_and_replaced(desk):
    (desk / "photos" / "p1.png").write_bytes((desk / "photos" / "p0.png").read_bytes()[:900])
    watcher = RecordingDisplay()
    assert train(small(), resume=False, display=watcher).step == 6
    assert len([sentence for sentence in watcher.sentences if "p1.png" in sentence]) == 1
    assert "p1.png" in (desk / "runs" / "run" / "log.txt").read_text()


def test_when_nothing_can_be_read_the_run_ends_saved(desk):
    recipe = small("steps=4", "checkpoint.every=100")
    train(recipe, resume=False, display=RecordingDisplay())
    for path in (desk / "photos").iterdir():
        path.write_bytes(b"nothing")
    with pytest.raises(TesseraError, match="could not be read"):
        train(small("steps=9", "checkpoint.every=100"), resume=True, display=RecordingDisplay())
    assert read_checkpoint_folder(list(list_checkpoints(desk / "runs" / "run" / "checkpoints"))[-1]).step == 4


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX")
@pytest.mark.parametrize(
    "number",
    [signal.SIGINT, *(pytest.param(each, marks=pytest.mark.slow) for each in (signal.SIGTERM, signal.SIGUSR1))],
)
def test_a_signal_saves_and_is_told(desk, number):
    class Impatient(RecordingDisplay):
        def show_step(self, step, steps, values):
            super().show_step(step, steps, values)
            if step == 3:
                signal.raise_signal(number)

    expected = train(small("name=whole"), resume=False, display=RecordingDisplay())
    outcome = train(small(), resume=False, display=Impatient())
    assert (outcome.step, outcome.stopped_by) == (3, number)
    assert signal.getsignal(number) in (signal.default_int_handler, signal.SIG_DFL, signal.SIG_IGN)
    assert train(small(), resume=True, display=RecordingDisplay()).step == expected.step == 6
    one, other = (weights_of(desk / "runs" / name) for name in ("whole", "run"))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert trained_lines(desk / "runs" / "whole") == trained_lines(desk / "runs" / "run")


def test_a_run_in_a_thread_needs_no_signals(desk):
    found = []
    thread = threading.Thread(
        target=lambda: found.append(train(small("steps=1"), resume=False, display=RecordingDisplay()))
    )
    thread.start()
    thread.join()
    assert found[0].step == 1


def poisoned(monkeypatch, when) -> None:
    """Make the inputs of some steps NaN."""
    real = loop.prepare_batch
    calls = []

    def prepare_batch(*given):
        calls.append(given)
        made = real(*given)
        if when(len(calls)):
            made.lq.fill_(math.nan)
        return made

    monkeypatch.setattr(loop, "prepare_batch", prepare_batch)


def test_a_bad_step_does_not_stop_later_checkpoints(desk, monkeypatch):
    poisoned(monkeypatch, lambda call: call == 2)
    changes = ("discriminator.features=4", "steps=4", "checkpoint.every=1")
    assert train(small(*changes, recipe="esrgan"), resume=False, display=RecordingDisplay()).step == 4


def test_what_a_run_starts_from_is_shown_first(desk):
    torch.manual_seed(0)
    config = RRDBNetConfig(features=4, growth=2, blocks=1)
    save_weights(desk / "start.safetensors", config, config.build().state_dict())
    changes = ("start.generator=start.safetensors", "validation.every=3")
    train(small(*changes), resume=False, display=RecordingDisplay())
    run = desk / "runs" / "run"
    assert [line["step"] for line in trained_lines(run) if line["kind"] == "validation"] == [0, 3, 6]
    assert (run / "samples" / "000000000.png").exists()


def test_one_bad_step_is_left_out(desk, monkeypatch):
    poisoned(monkeypatch, lambda call: call == 3)
    watcher = RecordingDisplay()
    assert train(small(), resume=False, display=watcher).step == 6
    assert any("Step 3: the loss or a gradient is not finite" in sentence for sentence in watcher.sentences)
    assert all(np.isfinite(value.numpy()).all() for value in weights_of(desk / "runs" / "run").values())
    steps = [line["step"] for line in trained_lines(desk / "runs" / "run") if line["kind"] == "train"]
    assert steps == [1, 2, 3, 4, 5, 6]


def test_bad_steps_in_a_row_go_back_to_the_checkpoint_with_a_lower_rate(desk, monkeypatch):
    poisoned(monkeypatch, lambda call: 4 <= call <= 6)
    watcher = RecordingDisplay()
    assert train(small("watch.skips=2"), resume=False, display=watcher).step == 6
    assert any("Rolled back to step 2; learning rates x 0.5" in sentence for sentence in watcher.sentences)
    lines = [line for line in trained_lines(desk / "runs" / "run") if line["kind"] == "train"]
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]
    events = [line["sentence"] for line in trained_lines(desk / "runs" / "run") if line["kind"] == "event"]
    assert any("Rolled back" in sentence for sentence in events)


def test_a_run_that_does_not_recover_stops_with_a_reason(desk, monkeypatch):
    poisoned(monkeypatch, lambda call: call > 3)
    with pytest.raises(TrainingError, match=r"losses are not finite after 2 rollbacks.*step\.clip"):
        train(small("watch.skips=1", "watch.roll_backs=2"), resume=False, display=RecordingDisplay())
    assert all(np.isfinite(value.numpy()).all() for value in weights_of(desk / "runs" / "run").values())


def test_epochs_become_steps(desk):
    recipe = small("steps=0", "epochs=5", "data.batch=2")
    assert train(recipe, resume=False, display=RecordingDisplay()).step == 8  # 5 times 3 pictures, 2 at a time


def test_a_longer_run_goes_on_where_the_shorter_one_ended(desk):
    constant = ("schedule.periods=[1000]",)
    train(small("name=whole", "steps=9", *constant), resume=False, display=RecordingDisplay())
    train(small(*constant), resume=False, display=RecordingDisplay())
    train(small("steps=9", *constant), resume=True, display=RecordingDisplay())
    one, other = (weights_of(desk / "runs" / name) for name in ("whole", "run"))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_draws_are_written_and_can_be_repeated(desk):
    recipe = small("steps=2", "report.draws=true", "pool=0", recipe="realesrnet")
    train(recipe, resume=False, display=RecordingDisplay())
    lines = [json.loads(line) for line in (desk / "runs" / "run" / "draws.jsonl").read_text().splitlines()]
    assert [line["number"] for line in lines] == [0, 1]
    side = recipe.read_patch
    gt = torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    again = draw(
        recipe.degradation, pictures=2, height=side, width=side, scale=4, rng=derive_rng(recipe.seed, "degradation", 1)
    )
    logged = from_json(json.dumps(lines[1]["draw"]))
    assert logged == again
    assert torch.equal(apply(gt, logged).lq, apply(gt, again).lq)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")  # of the compiler itself
@pytest.mark.skipif(shutil.which("g++") is None, reason="compiling for the CPU needs g++")
def test_a_compiled_run_goes_where_the_plain_one_goes(desk):
    for name, more in (("plain", ()), ("compiled", ("step.compile=true",))):
        train(small(f"name={name}", "steps=3", *more), resume=False, display=RecordingDisplay())
    one, other = (weights_of(desk / "runs" / name) for name in ("plain", "compiled"))
    assert one.keys() == other.keys()
    for name in one:
        torch.testing.assert_close(one[name], other[name], rtol=1e-2, atol=1e-4)


def test_a_live_run_shows_what_its_discriminator_looks_at(desk):
    changes = ("steps=4", "report.attention_every=2", "discriminator.features=4", "report.tensorboard=true")
    train(small(*changes, recipe="a-esrgan-multi"), resume=False, display=RecordingDisplay())
    run = desk / "runs" / "run"
    assert sorted(path.name for path in (run / "attention").iterdir()) == ["000000002.png", "000000004.png"]
    lines = [line for line in trained_lines(run) if line["kind"] == "attention"]
    assert [line["step"] for line in lines] == [2, 4]
    assert 0 < lines[0]["A1_D1_mean"] < 1
    page = (run / "report.html").read_text()
    assert "Attention maps of one fixed picture" in page
    assert "Attention to edges" in page
    with pytest.raises(UsageError, match="needs a discriminator with attention gates"):
        small("report.attention_every=2", recipe="realesrgan")


def test_maps_does_not_change_the_run(desk):
    for name, every in (("plain", 0), ("watched", 1)):
        changes = (f"name={name}", f"report.attention_every={every}", "discriminator.features=4", "steps=2")
        train(small(*changes, recipe="a-esrgan-multi"), resume=False, display=RecordingDisplay())
    one, other = (weights_of(desk / "runs" / name) for name in ("plain", "watched"))
    assert all(torch.equal(one[name], other[name]) for name in one)
