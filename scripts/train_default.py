"""Train the networks that come with Tessera: tessera-x4-psnr, then tessera-x4 from it.

    python scripts/train_default.py --photos PHOTOS --bench BENCH --minutes 5

The photographs are compared with scripts/train_default.tsv, so that a network is never said to come from others than
it saw. Each call trains for so many minutes, saves, says where it stands and ends with 75 as long as something is left
to do; 0 means that both networks are trained, scored and written. A call that is killed loses what it did since the
last checkpoint, and nothing else. So a machine that is lent in pieces trains by

    while python scripts/train_default.py --photos PHOTOS --bench BENCH; [ $? = 75 ]; do :; done
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from tessera.config import read_toml, validate
from tessera.errors import TesseraError, TrainingError, UsageError
from tessera.storage.atomic import choose_temporary_name, put_in_place
from tessera.storage.checksum import compute_sha256
from tessera.train.ancestry import TEACHER_KEY
from tessera.train.checkpoints import find_newest_checkpoint
from tessera.train.loop import train
from tessera.train.recipe import Recipe, load_recipe
from tessera.train.records import CONFIG_NAME, RunFolder
from tessera.train.saving import STEP_KEY
from tessera.weights.files import load_weights, save_weights
from tessera.weights.license import LICENSE_KEY

ROOT = Path(__file__).resolve().parent.parent
PICTURES = Path(__file__).with_suffix(".tsv")
MODELS = ROOT / "src" / "tessera" / "models"
LICENSE = "Apache-2.0"
BESIDE = "realesrgan-x4plus"
"""What is scored beside our own on degraded photographs."""
MORE_TO_DO = 75
"""The exit code for "come again" (EX_TEMPFAIL of sysexits.h)."""


@dataclass(frozen=True)
class Stage:
    """One network: its recipe, and the network before it that it begins from."""

    recipe: str
    begins_from: str = ""
    validates_on_set5: bool = False


STAGES = (
    Stage("tessera-x4-psnr", validates_on_set5=True),
    Stage("tessera-x4", begins_from="tessera-x4-psnr"),
)


@dataclass(frozen=True)
class Places:
    """Where everything lies."""

    photos: Path
    bench: Path
    folder: Path

    def run(self, stage: Stage) -> Path:
        return self.folder / "runs" / stage.recipe

    def trained(self, recipe: str) -> Path:
        """The network as its run left it, in the precision it was trained with."""
        return self.folder / "runs" / recipe / "latest.safetensors"

    def start(self, stage: Stage) -> Path:
        """A copy of the network that a stage begins from, which stays what it is when that one is trained further."""
        return self.folder / "runs" / f"{stage.recipe}.start.safetensors"

    def shipped(self, stage: Stage) -> Path:
        return self.folder / f"{stage.recipe}.safetensors"

    @property
    def scored(self) -> Path:
        """What was scored, by its sums: written last of all."""
        return self.folder / "scores" / "scored.json"


# ------------------------------------------------------------------------------------------------------------- pictures


def check_pictures(photos: Path, table: Path = PICTURES, part: str = "train") -> str:
    """Compare the photographs of a part with the table, to the byte -> the hash of their names and sums.

    Raises TrainingError where one is missing, is another, or is not in the table and would be trained on.
    """
    with table.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file, delimiter="\t") if row["file"].startswith(f"{part}/")]
    wanted = {row["file"]: row["sha256"] for row in rows}
    there = {path.relative_to(photos).as_posix() for path in (photos / part).rglob("*") if path.is_file()}
    for name in sorted(wanted.keys() - there):
        raise TrainingError(f"{photos / name} is missing; {table.name} lists {len(wanted)} photographs of {part}.")
    for name in sorted(there - wanted.keys()):
        raise TrainingError(f"{photos / name} is not in {table.name}: put it elsewhere, or it would be trained on.")
    for name, digest in wanted.items():
        found = compute_sha256(photos / name)
        if found != digest:
            raise TrainingError(f"{photos / name} is another picture: sha256 expected {digest}, found {found}.")
    lines = "".join(f"{wanted[name]}  {name}\n" for name in sorted(wanted))
    return hashlib.sha256(lines.encode()).hexdigest()


# ------------------------------------------------------------------------------------------------------------- training


class Lines:
    """A progress display that prints each message, and one line every so many steps."""

    def __init__(self, every: int) -> None:
        self._every = every

    def show_message(self, sentence: str) -> None:
        print(sentence, flush=True)

    def show_start(self, step: int, steps: int) -> None:
        print(f"step {step:,} of {steps:,}: waiting for the first pictures", flush=True)

    def show_step(self, step: int, steps: int, values: dict[str, float]) -> None:
        if step % self._every == 0:
            told = "  ".join(f"{name} {value:.4g}" for name, value in values.items() if "gradient" not in name)
            print(f"step {step:,} of {steps:,}  {told}", flush=True)


def recipe_of(stage: Stage, places: Places, changes: Sequence[str] = ()) -> Recipe:
    """The stage's recipe with its data; a run that was begun goes on with what it was begun with."""
    begun = places.run(stage) / CONFIG_NAME
    if begun.exists():
        return validate(Recipe, read_toml(begun), str(begun))
    words = [f"runs={places.folder / 'runs'}", f"data.train={places.photos / 'train'}"]
    if stage.validates_on_set5:
        set5 = places.bench / "Set5"
        words += [f"data.val={set5 / 'HR_x4'}", f"data.val_lq={set5 / 'LR_x4'}"]
    else:
        words.append(f"data.val={places.photos / 'val'}")
    words += [f"data.cache_folder={places.folder / 'cache'}", "data.cache=disk", "data.workers=1"]
    if stage.begins_from:
        words.append(f"start.generator={places.start(stage)}")
    return load_recipe(stage.recipe, [*words, *changes])


def step_reached(folder: Path) -> int | None:
    """The step of a run's last whole checkpoint; None where no run has begun."""
    run = RunFolder(folder)
    if not run.exists:
        return None
    newest = find_newest_checkpoint(run.checkpoints)
    return newest.step if newest is not None else 0


def is_done(recipe: Recipe) -> bool:
    return (step_reached(recipe.folder) or 0) >= recipe.steps


def train_piece(recipe: Recipe, seconds: float) -> int:
    """Begin a run or go on with it, for so many seconds (0: to its end) -> the step it is at then.

    A signal from outside stops it too, after its step and with a checkpoint, and then ends the script.
    """
    timer = threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGUSR1))
    timer.daemon = True
    if seconds:
        timer.start()
    try:
        resume = RunFolder(recipe.folder).exists
        outcome = train(recipe, resume=resume, display=Lines(recipe.report.every))
    finally:
        timer.cancel()
    if outcome.stopped_by and outcome.stopped_by != signal.SIGUSR1:
        raise SystemExit(128 + outcome.stopped_by)
    return outcome.step


# -------------------------------------------------------------------------------------------------- writing and scoring


def write_shipped(stage: Stage, recipe: Recipe, output: Path, data_hash: str) -> None:
    """Write what a run made as it is shipped: half precision, with where it comes from in the metadata.

    Raises TrainingError where the run went further than its recipe says, or its network is not of its last step.
    """
    trained = load_weights(recipe.folder / "latest.safetensors")
    step = trained.metadata.get(STEP_KEY)
    if step != str(recipe.steps):
        raise TrainingError(f"{trained.source} is of step {step}, and the recipe has {recipe.steps} steps.")
    metadata = {
        LICENSE_KEY: LICENSE,
        "tessera.recipe": recipe.name,
        STEP_KEY: step,
        "tessera.seed": str(recipe.seed),
        "tessera.scale": str(recipe.generator.scale),
        "tessera.training_pictures": f"{PICTURES.name}, train, sha256 {data_hash}",
    }
    if recipe.start.generator:
        metadata["tessera.begun_from"] = f"{stage.begins_from}, sha256 {compute_sha256(Path(recipe.start.generator))}"
    if TEACHER_KEY in trained.metadata:
        metadata[TEACHER_KEY] = trained.metadata[TEACHER_KEY]
    save_weights(output, trained.config, trained.state, metadata=metadata, dtype=torch.float16)


def _copy(source: Path, place: Path) -> None:
    """Copy a file so that its place has all of it or nothing, whenever the script is killed."""
    part = choose_temporary_name(place)
    shutil.copyfile(source, part)
    put_in_place(part, place)


def is_written(stage: Stage, recipe: Recipe, places: Places) -> bool:
    """Whether what is written is of the run's last step: a run may be given more."""
    path = places.shipped(stage)
    return path.exists() and load_weights(path).metadata.get(STEP_KEY) == str(recipe.steps)


def score(stages: Sequence[Stage], places: Places) -> None:
    """Score the shipped files: Set5 and Set14 as papers do, photographs under second-order degradation."""
    files = [str(places.shipped(stage)) for stage in stages]
    models = [word for file in files for word in ("-n", file)]
    for bench in ("Set5", "Set14"):
        lq, gt = (places.bench / bench / f"{side}_x4" for side in ("LR", "HR"))
        output = places.folder / "scores" / bench
        arguments = ("--lq", str(lq), "--gt", str(gt), *models, "--metrics", "psnr,ssim", "-o", str(output))
        _run("-m", "tessera", "evaluate", *arguments)
    second_order = str(ROOT / "benchmarks" / "second_order.py")
    output = places.folder / "scores" / "second-order.json"
    _run(second_order, *files, BESIDE, "--photos", str(places.photos / "val"), "-o", str(output))
    places.scored.parent.mkdir(parents=True, exist_ok=True)
    places.scored.write_text(json.dumps(_sums(stages, places)) + "\n", encoding="utf-8")


def is_scored(stages: Sequence[Stage], places: Places) -> bool:
    """Whether the scores are of what is written now."""
    return places.scored.exists() and json.loads(places.scored.read_text(encoding="utf-8")) == _sums(stages, places)


def _sums(stages: Sequence[Stage], places: Places) -> dict[str, str]:
    return {stage.recipe: compute_sha256(places.shipped(stage)) for stage in stages}


def ship(places: Places, stages: Sequence[Stage] = STAGES, models: Path = MODELS) -> list[str]:
    """Copy what is written into the package -> what src/tessera/published.py and docs/models/*.md have to say of it."""
    lines: list[str] = []
    for stage in stages:
        path = places.shipped(stage)
        if path.exists():
            shutil.copyfile(path, models / path.name)
            found = load_weights(path)
            lines.append(
                f"{stage.recipe}: {found.config.network}, {path.stat().st_size:,} bytes, sha256 {found.sha256}"
            )
    return lines


def _run(*words: str) -> None:
    print("$ python", *words, flush=True)
    subprocess.run([sys.executable, *words], check=True)


# ------------------------------------------------------------------------------------------------------------- the rest


def status(places: Places, stages: Sequence[Stage] = STAGES) -> list[str]:
    """Where every network stands, a line each."""
    lines: list[str] = []
    for stage in stages:
        reached, steps = step_reached(places.run(stage)), recipe_of(stage, places).steps
        if reached is None:
            lines.append(f"{stage.recipe}: not begun")
        elif reached < steps:
            lines.append(f"{stage.recipe}: step {reached:,} of {steps:,}")
        else:
            written = places.shipped(stage).exists()
            lines.append(f"{stage.recipe}: trained{f', written to {places.shipped(stage)}' if written else ''}")
    return lines


def one_piece(
    places: Places,
    seconds: float,
    *,
    stages: Sequence[Stage] = STAGES,
    table: Path = PICTURES,
    changes: Sequence[str] = (),
) -> bool:
    """Train the first network that is not done -> whether there is nothing left to train; what is done is written."""
    data_hash = check_pictures(places.photos, table)
    check_pictures(places.photos, table, part="val")
    places.folder.mkdir(parents=True, exist_ok=True)
    recipes = [(stage, recipe_of(stage, places, changes)) for stage in stages]
    left = next(((stage, recipe) for stage, recipe in recipes if not is_done(recipe)), None)
    if left is not None:
        stage, recipe = left
        if stage.begins_from and not places.start(stage).exists():
            _copy(places.trained(stage.begins_from), places.start(stage))
        train_piece(recipe, seconds)
    for stage, recipe in recipes:
        if is_done(recipe) and not is_written(stage, recipe, places):
            write_shipped(stage, recipe, places.shipped(stage), data_hash)
    return all(is_done(recipe) for _, recipe in recipes)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True, help="the folder with train/ and val/")
    parser.add_argument("--bench", type=Path, required=True, help="the folder with Set5/ and Set14/, each LR_x4, HR_x4")
    parser.add_argument("--folder", type=Path, default=Path("out/own"), help="where runs and results go (out/own)")
    parser.add_argument("--minutes", type=float, default=5.0, help="how long to train; 0: to the end (5)")
    parser.add_argument("--status", action="store_true", help="say where it stands, and do nothing")
    parser.add_argument("--ship", action="store_true", help="put what is written into the package, and do nothing else")
    chosen = parser.parse_args(arguments)
    places = Places(chosen.photos.resolve(), chosen.bench.resolve(), chosen.folder.resolve())
    if chosen.ship:
        print("\n".join(ship(places)) or "nothing is written yet")
        return 0
    if chosen.status:
        print("\n".join(status(places)))
        return 0
    try:
        done = one_piece(places, 60 * chosen.minutes)
        while not done and not chosen.minutes:
            done = one_piece(places, 0)
        if done and not is_scored(STAGES, places):
            score(STAGES, places)
    except (TesseraError, UsageError, subprocess.CalledProcessError) as error:
        print(f"train_default: {error}", file=sys.stderr)
        return 1
    print("\n".join(status(places)))
    return 0 if done else MORE_TO_DO


if __name__ == "__main__":
    sys.exit(main())
