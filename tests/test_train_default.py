"""The script that trains the networks of our own: it knows its pictures, comes in pieces, and writes what it says."""

import functools
import hashlib
import sys
from pathlib import Path

import pytest
import torch

from tessera.errors import TrainingError
from tessera.weights.files import load_weights
from tessera.weights.license import LICENSE_KEY
from train.runs import make_pictures

sys.path.insert(0, str(Path(__file__).parent.parent / "scripts"))
import train_default as script

TINY = (
    *("steps=2", "data.batch=2", "data.patch=32", "data.workers=0", "device=cpu", "perceptual.weight=0", "pool=4"),
    *("generator.features=4", "generator.convolutions=1", "step.precision=fp32", "report.tensorboard=false"),
    *("validation.every=0", "checkpoint.every=1", "report.every=1", "warm_up.pixel_only=1", "data.cache=memory"),
)
FIRST = script.Stage("tessera-x4-psnr")
SECOND = script.Stage("tessera-x4", begins_from="tessera-x4-psnr")


@pytest.fixture
def places(tmp_path: Path) -> script.Places:
    make_pictures(tmp_path / "photos" / "train", side=200)
    make_pictures(tmp_path / "photos" / "val", count=1)
    return script.Places(tmp_path / "photos", tmp_path / "bench", tmp_path / "own")


@pytest.fixture
def table(places: script.Places) -> Path:
    rows = ["sha256\tfile\tsource\tlicense\tauthor"]
    for path in sorted(places.photos.rglob("*.png")):
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        rows.append(f"{digest}\t{path.relative_to(places.photos)}\tdrawn\tCC0-1.0\t")
    path = places.photos.parent / "pictures.tsv"
    path.write_text("\n".join(rows) + "\n")
    return path


def test_the_pictures_are_known_to_the_byte(places: script.Places, table: Path) -> None:
    known = script.check_pictures(places.photos, table)
    assert known == script.check_pictures(places.photos, table)
    first, *_ = sorted((places.photos / "train").iterdir())
    good = first.read_bytes()

    first.write_bytes(good + b"\0")
    with pytest.raises(TrainingError, match="is another picture"):
        script.check_pictures(places.photos, table)
    first.unlink()
    with pytest.raises(TrainingError, match="is missing"):
        script.check_pictures(places.photos, table)
    first.write_bytes(good)
    (places.photos / "train" / "one_more.png").write_bytes(good)
    with pytest.raises(TrainingError, match="it would be trained on"):
        script.check_pictures(places.photos, table)


def test_the_hash_of_the_data_changes_with_a_picture(places: script.Places, table: Path) -> None:
    before = script.check_pictures(places.photos, table)
    first, *_ = sorted((places.photos / "train").iterdir())
    old = hashlib.sha256(first.read_bytes()).hexdigest()
    first.write_bytes(first.read_bytes() + b"\0")
    table.write_text(table.read_text().replace(old, hashlib.sha256(first.read_bytes()).hexdigest()))
    assert script.check_pictures(places.photos, table) != before


def test_the_table_in_the_repository_names_a_license_for_every_picture() -> None:
    lines = script.PICTURES.read_text(encoding="utf-8").splitlines()
    assert lines[0].split("\t") == ["sha256", "file", "source", "license", "author"]
    rows = [line.split("\t") for line in lines[1:]]
    allowed = ("Unsplash license", "CC0-1.0", "Public domain", "CC-BY-2.0", "CC-BY-3.0", "CC-BY-4.0", "BSD-2-clause")
    assert {row[3] for row in rows} <= set(allowed)
    assert all(row[4] for row in rows if row[3].startswith("CC-BY"))  # whose attribution is what they ask for
    assert not {row[1] for row in rows if row[1].startswith("train/")} & {row[1] for row in rows if "/val" in row[1]}
    assert len({row[0] for row in rows}) == len(rows) == 88


@pytest.mark.assets
def test_the_photographs_at_hand_are_those_of_the_table(assets: Path) -> None:
    assert len(script.check_pictures(assets / "photos")) == 64
    script.check_pictures(assets / "photos", part="val")


def test_both_networks_are_trained_in_pieces_one_from_the_other(
    places: script.Places, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each piece is ended by the script's own alarm, here at the first step, as if its minutes were over."""

    class AlarmAtOnce:
        def __init__(self, seconds: float, alarm: object, arguments: tuple[int, int]) -> None:
            monkeypatch.setattr(script.Lines, "show_step", lambda *_: alarm(*arguments))  # type: ignore[operator]

        def start(self) -> None: ...
        def cancel(self) -> None: ...

    monkeypatch.setattr(script.threading, "Timer", AlarmAtOnce)
    stages = (FIRST, SECOND)

    def piece() -> bool:
        return script.one_piece(places, 60, stages=stages, table=table, changes=TINY)

    assert not piece()
    assert script.status(places, stages) == ["tessera-x4-psnr: step 1 of 2", "tessera-x4: not begun"]
    assert not any(places.folder.glob("*.safetensors"))
    pieces = 1
    while not piece():
        pieces += 1
        assert pieces < 9
    assert pieces == 3  # before the fourth: two steps each, one a piece
    assert [line.split(":")[1].split(",")[0] for line in script.status(places, stages)] == [" trained", " trained"]

    first, second = (load_weights(places.shipped(stage)) for stage in stages)
    kept = load_weights(places.trained("tessera-x4-psnr"))
    for name, tensor in kept.state.items():
        assert torch.equal(first.state[name].float(), tensor.half().float())
    assert not all(torch.equal(first.state[name], second.state[name]) for name in first.state)
    assert first.license == second.license == script.LICENSE
    metadata = second.metadata
    assert metadata[LICENSE_KEY] == script.LICENSE
    assert (metadata["tessera.recipe"], metadata["tessera.step"], metadata["tessera.seed"]) == ("tessera-x4", "2", "0")
    assert script.check_pictures(places.photos, table) in metadata["tessera.training_pictures"]

    package = places.folder / "package"
    package.mkdir()
    lines = script.ship(places, stages, package)
    assert [line.split(":")[0] for line in lines] == sorted((path.stem for path in package.iterdir()), reverse=True)
    for line, stage in zip(lines, stages, strict=True):
        digest = hashlib.sha256((package / f"{stage.recipe}.safetensors").read_bytes()).hexdigest()
        assert line.startswith(f"{stage.recipe}: srvggnetcompact, ")
        assert line.endswith(digest)


def test_a_run_goes_on_with_what_it_was_begun_with(places: script.Places) -> None:
    recipe = script.recipe_of(FIRST, places, TINY)
    recipe.folder.mkdir(parents=True)
    from tessera.config import format_toml

    (recipe.folder / "config.toml").write_text(format_toml(recipe))
    assert script.recipe_of(FIRST, places, ("steps=7",)) == recipe


def test_a_run_that_is_given_more_steps_is_trained_written_and_scored_again(
    places: script.Places, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scored: list[str] = []

    def run(*words: str) -> None:
        if "second_order" in words[0]:
            scored.append(load_weights(Path(words[1])).metadata["tessera.step"])

    monkeypatch.setattr(script, "_run", run)
    monkeypatch.setattr(script, "STAGES", (FIRST,))
    monkeypatch.setattr(script, "PICTURES", table)
    one_piece = functools.partial(script.one_piece, stages=(FIRST,), table=table, changes=TINY)
    monkeypatch.setattr(script, "one_piece", one_piece)
    words = ["--photos", str(places.photos), "--bench", str(places.bench), "--folder", str(places.folder)]
    assert [script.main(words), script.main(words)] == [0, 0]
    assert scored == ["2"]

    config = places.run(FIRST) / "config.toml"
    config.write_text(config.read_text().replace("steps = 2", "steps = 3"))
    assert [script.main(words), script.main(words)] == [0, 0]
    assert scored == ["2", "3"]

    (places.folder / "scores" / "scored.json").write_text('{"tessera-x4-psnr": "another"}')
    assert script.main(words) == 0
    assert scored == ["2", "3", "3"]


def test_a_network_that_is_not_of_the_last_step_is_not_shipped(
    places: script.Places, table: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert script.one_piece(places, 0, stages=(FIRST,), table=table, changes=TINY)
    places.shipped(FIRST).unlink()
    config = places.run(FIRST) / "config.toml"
    config.write_text(config.read_text().replace("steps = 2", "steps = 1"))
    with pytest.raises(TrainingError, match="is of step 2, and the recipe has 1 steps"):
        script.one_piece(places, 0, stages=(FIRST,), table=table)
    assert not places.shipped(FIRST).exists()


def test_a_network_says_what_it_was_begun_from_and_taught_by(places: script.Places, table: Path) -> None:
    from tessera.generators import SRVGGNetCompactConfig
    from tessera.weights.files import save_weights

    config = SRVGGNetCompactConfig(features=4, convolutions=1)
    teacher = places.photos.parent / "teacher.safetensors"
    save_weights(teacher, config, config.build().state_dict())
    changes = (*TINY, "steps=1", f"distillation.teacher={teacher}")
    while not script.one_piece(places, 0, stages=(FIRST, SECOND), table=table, changes=changes):
        pass
    first, second = (load_weights(places.shipped(stage)).metadata for stage in (FIRST, SECOND))
    trained = places.trained("tessera-x4-psnr")
    digest = hashlib.sha256(trained.read_bytes()).hexdigest()
    assert "tessera.begun_from" not in first
    assert second["tessera.begun_from"] == f"tessera-x4-psnr, sha256 {digest}"
    assert second["tessera.teacher"] == f"teacher, sha256 {hashlib.sha256(teacher.read_bytes()).hexdigest()}"
    assert places.start(SECOND).read_bytes() == trained.read_bytes()


def test_a_call_says_when_it_should_be_called_again(
    places: script.Places, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--photos", str(places.photos), "--bench", str(places.bench), "--folder", str(places.folder)]
    monkeypatch.setattr(script, "one_piece", lambda *_: False)
    assert script.main(words) == script.MORE_TO_DO
    assert capsys.readouterr().out == "tessera-x4-psnr: not begun\ntessera-x4: not begun\n"

    monkeypatch.setattr(script, "one_piece", lambda *_: True)
    monkeypatch.setattr(script, "is_scored", lambda *_: False)
    monkeypatch.setattr(script, "score", lambda *_: None)
    assert script.main(words) == 0


def test_what_is_wrong_with_the_pictures_is_said_in_a_sentence(
    places: script.Places, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--photos", str(places.photos), "--bench", str(places.bench), "--folder", str(places.folder)]
    assert script.main(words) == 1
    assert capsys.readouterr().err.startswith("train_default: ")
    assert not places.folder.exists()
