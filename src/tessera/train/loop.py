"""A run from its first step, or from its last checkpoint, to its end: read, prepare, step, watch, tell, save.

Stopping is part of it. SIGINT, SIGTERM and SIGUSR1 let the step at hand finish, save, and end with 128 + signal, which
schedulers understand; a second signal ends at once. Whatever ends a run, `--resume` goes on from the last whole
checkpoint and, on the CPU, makes every later weight and loss what it would have been.
"""

from __future__ import annotations

import contextlib
import math
import signal
import threading
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from types import FrameType

from torch import Tensor

from tessera.dataset.loading import Batch, batches_of, make_loader, to_unit
from tessera.dataset.samples import CropDataset
from tessera.dataset.sources import list_pictures
from tessera.errors import TrainingError
from tessera.train.batches import TrainingBatch, prepare
from tessera.train.checkpoints import Checkpoint, newest_whole, remove_parts
from tessera.train.parts import build_parts
from tessera.train.pool import PairPool
from tessera.train.processes import Processes
from tessera.train.recipe import Recipe
from tessera.train.records import RunFolder
from tessera.train.saving import leave_pool, restore_run, save_run
from tessera.train.step import Moment, train_step
from tessera.train.telling import Teller, Watcher
from tessera.train.watch import Soundness
from tessera.wording import counted

MEASURED_CROPS = 16
"""At least so many inputs decide which blocks a network begins with."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    step: int
    stopped_by: int = 0
    """The signal that stopped it; 0 when it reached its end."""
    is_first: bool = True
    """Whether this process is the one that speaks for all."""


def train(recipe: Recipe, *, resume: bool, watcher: Watcher) -> Outcome:
    """Begin a run, or go on with one. Raises TrainingError, UsageError, PictureError, WeightsError with a sentence."""
    processes = Processes(recipe.device)
    folder = RunFolder(recipe.folder)
    _refuse_unless(folder, begun=resume)
    with contextlib.ExitStack() as stack:
        stack.callback(processes.finish)
        # Everything that can be missing or wrong comes up here, before anything is written.
        run = _Run(recipe, folder, processes, Teller(recipe, folder, watcher, silent=not processes.is_first))
        if processes.is_first:
            if not resume:
                folder.create(recipe)
            stack.enter_context(folder.only_one())
            remove_parts(folder.checkpoints)
        processes.wait()
        stack.callback(run.teller.close)
        run.begin(resume=resume)
        return run.go()


def _refuse_unless(folder: RunFolder, *, begun: bool) -> None:
    if begun and not folder.exists:
        raise TrainingError(f"{folder.path}: there is no run to go on with. Leave out --resume to begin one.")
    if folder.exists and not begun:
        raise TrainingError(
            f"{folder.path}: a run of this name exists. Go on with it by --resume, or give another name=..."
        )


class _Run:
    """The state of a run between its steps."""

    def __init__(self, recipe: Recipe, folder: RunFolder, processes: Processes, teller: Teller) -> None:
        """Find the pictures and make all parts, as the recipe has them."""
        self.recipe = recipe
        self.folder = folder
        self.processes = processes
        self.teller = teller
        self.step = 0
        self.samples = 0
        """Crops drawn so far, by all processes; never goes back, also when the step does."""
        self.samples_per_batch = recipe.data.batch * processes.count
        self.samples_per_step = self.samples_per_batch * recipe.step.accumulate
        data = recipe.data
        self.listing = list_pictures(data.train, data.lq, root=data.root, recursive=data.recursive)
        paired = self.listing.lq is not None
        crops = data.model_copy(update={"patch": data.patch if paired else recipe.read_patch})
        writers = max(1, data.workers) * processes.count
        self.dataset = CropDataset(self.listing, crops, seed=recipe.seed, scale=recipe.generator.scale, writers=writers)
        self.pool = PairPool(0 if paired else recipe.pool)
        self.soundness = Soundness(recipe.watch)
        chooses = isinstance(recipe.start.blocks, int) and newest_whole(folder.checkpoints) is None
        self.parts = build_parts(recipe, processes, calibration=self._first_inputs if chooses else None)
        self.steps = recipe.steps or math.ceil(recipe.epochs * len(self.listing) / self.samples_per_step)

    def _first_inputs(self) -> list[Tensor]:
        """The first inputs of the run, (B, 3, p, p) each in [0, 1], for measuring blocks on; the pool stays empty."""
        inputs: list[Tensor] = []
        loader = make_loader(self.dataset, first_number=0, batch=self.recipe.data.batch, workers=0)
        for number, batch in enumerate(batches_of(loader)):
            inputs.append(self._prepared(batch, number, PairPool(0), process=0).lq)
            if sum(map(len, inputs)) >= MEASURED_CROPS:
                break
        return inputs

    def begin(self, *, resume: bool) -> None:
        """Take up the last checkpoint where there is one, and open the record."""
        for sentence in (*self.listing.problems, *self.parts.notes):
            self.teller.say(sentence)
        newest = newest_whole(self.folder.checkpoints, self.teller.say) if resume else None
        if newest is not None:
            self._restore(newest)
            self.teller.best, self.teller.sums = newest.facts["best"], dict(newest.facts["sums"])
            self.soundness = Soundness(self.recipe.watch, **newest.facts["soundness"])
        if self.processes.is_first:
            self.folder.drop_after(self.step)
        self.teller.open(self.parts, self.listing.gt[0], purge_after=self.step if resume else None)
        self.teller.say(self._beginning(resumed=newest is not None))
        if newest is None:
            if self.recipe.start.generator and self.recipe.validation.every:
                self.teller.validate(0, self.parts)  # what it begins from, to compare with
            self._save()

    def _beginning(self, *, resumed: bool) -> str:
        weights = sum(parameter.numel() for parameter in self.parts.generator.parameters())
        count, device = self.processes.count, self.processes.device
        return (
            f"{'Going on' if resumed else 'Beginning'} at step {self.step:,} of {self.steps:,}: "
            f"{counted(len(self.listing), 'picture')}, {self.samples_per_step} crops a step,"
            f" a generator of {weights:,} weights,"
            f" {self.recipe.step.precision} on {f'{count} x {device}' if count > 1 else device}."
        )

    def go(self) -> Outcome:
        """Train to the end, or until a signal."""
        with _signals() as wish:
            reading = self._reading()
            while self.step < self.steps:
                batches = self._next(reading)
                if self._advance(batches):
                    reading = self._reading()
                (stop,) = self.processes.any(wish.number != 0)
                if stop:
                    self._save()
                    self.teller.say(f"Stopped after step {self.step:,}, saved. Go on with --resume.")
                    self.teller.page()
                    return Outcome(self.step, wish.number or signal.SIGTERM, self.processes.is_first)
            if self.teller.meter.samples:
                self.teller.say(self.teller.throughput())
            self.teller.page()
            return Outcome(self.step, is_first=self.processes.is_first)

    def _reading(self) -> Iterator[Batch]:
        """Batches from the sample that comes next, with the time that waiting for them takes."""
        loader = make_loader(
            self.dataset,
            first_number=self.samples,
            batch=self.recipe.data.batch,
            workers=self.recipe.data.workers,
            rank=self.processes.rank,
            world=self.processes.count,
            pin=self.processes.device.type == "cuda",
        )
        batches = batches_of(loader)
        while True:
            with self.teller.meter.waiting():
                batch = next(batches)
            for problem in batch["problem"]:
                self.teller.say(problem)
            yield batch

    def _next(self, reading: Iterator[Batch]) -> list[Batch]:
        """The batches of one step. An error of the data saves the run before it ends it."""
        try:
            return [next(reading) for _ in range(self.recipe.step.accumulate)]
        except BaseException:
            if self.processes.count == 1:  # the others would wait for this one, and not for its error
                with contextlib.suppress(TrainingError, OSError):
                    self._save()
            raise

    def _advance(self, batches: list[Batch]) -> bool:
        """One step and what belongs to it -> whether the run went back to a checkpoint."""
        number = self.samples // self.samples_per_batch
        moment = Moment(self.step + 1, self.steps, number, self.soundness.rate)
        with self.teller.meter.computing(self.samples_per_step):
            rank = self.processes.rank
            prepared = [self._prepared(batch, number + i, self.pool, rank) for i, batch in enumerate(batches)]
            result = train_step(self.recipe, self.parts, prepared, moment)
        self.samples += self.samples_per_step
        self.teller.drawn(number, prepared)
        match self.soundness.judge(finite=result.finite):
            case "go on":
                pass
            case "skip":
                sentence = f"Step {moment.step:,}: the loss or a gradient is not finite; the step is left out."
                self.teller.event(self.step, sentence)
                return False
            case "roll back":
                self._roll_back()
                return True
            case "stop":
                raise TrainingError(
                    f"{self.folder.path}: losses are not finite after going back {self.soundness.roll_backs} times with"
                    " lower rates. Lower optimizer.rate, set step.clip = 1, or train in fp32; the last good"
                    " checkpoint is kept."
                )
        self.step += 1
        self.teller.step(self.step, self.steps, self.parts, result.losses, result.sight)
        self.teller.histograms(self.step, self.parts, prepared[0])
        self.teller.attention(self.step, self.parts)
        self._occasionally()
        return False

    def _prepared(self, batch: Batch, number: int, pool: PairPool, process: int) -> TrainingBatch:
        device = self.processes.device
        gt = to_unit(batch["gt"].to(device, non_blocking=True))
        lq = to_unit(batch["lq"].to(device, non_blocking=True)) if "lq" in batch else None
        return prepare(self.recipe, gt, lq, pool, number, process)

    def _occasionally(self) -> None:
        validation, last = self.recipe.validation, self.step == self.steps
        if validation.every and (self.step % validation.every == 0 or last):
            self.teller.validate(self.step, self.parts)
            self.processes.wait()
        if self.step % self.recipe.checkpoint.every == 0 or last:
            self._save()

    def _roll_back(self) -> None:
        """Go back to the last checkpoint, with lower rates and other crops than those it failed on."""
        found = newest_whole(self.folder.checkpoints, self.teller.say)
        if found is None:
            raise TrainingError(f"{self.folder.path}: losses are not finite, and there is no checkpoint to go back to.")
        bad, samples = self.step + 1, self.samples
        self._restore(found)
        self.samples, self.teller.sums = samples, dict(found.facts["sums"])
        self.processes.wait()
        if self.processes.is_first:
            self.folder.drop_after(self.step, events=False)
        self.teller.event(
            self.step,
            f"Step {bad:,}: losses or gradients were not finite again and again. Went back to step {self.step:,},"
            f" with {self.soundness.rate:g} of the learning rates.",
        )

    def _save(self) -> None:
        """A checkpoint of everything; the first process writes, the others wait."""
        if self.processes.count > 1:  # each process has a pool of its own
            leave_pool(self.folder.checkpoints, self.processes.rank, self.pool)
            self.processes.wait()
        if self.processes.is_first:
            facts = {
                "samples": self.samples,
                "best": self.teller.best,
                "sums": self.teller.sums,
                "soundness": self.soundness.facts,
                "processes": self.processes.count,
            }
            if self.step:  # before the checkpoint: whoever finds that has the network of the same step, or a later one
                self.teller.latest(self.step, self.parts)
            save_run(self.folder.checkpoints, self.step, self.recipe, self.parts, self.pool, facts)
        self.processes.wait()

    def _restore(self, found: Checkpoint) -> None:
        restore_run(found, self.parts, self.pool)
        self.step = found.step
        self.samples = math.ceil(found.facts["samples"] / self.samples_per_batch) * self.samples_per_batch
        if found.facts["processes"] != self.processes.count:
            self.teller.say(
                f"This run had {found.facts['processes']} processes and has {self.processes.count} now: it goes on from"
                " these weights, but not to the bit."
            )


# ----------------------------------------------------------------------------------------------------------- signals


@dataclass
class _Wish:
    number: int = 0


@contextlib.contextmanager
def _signals() -> Generator[_Wish]:
    """Take SIGINT, SIGTERM and SIGUSR1 as the wish to stop after this step; the second one stops at once."""
    wish = _Wish()
    if threading.current_thread() is not threading.main_thread():
        yield wish
        return

    def take(number: int, frame: FrameType | None) -> None:
        del frame
        if wish.number:
            raise KeyboardInterrupt
        wish.number = number

    names = ("SIGINT", "SIGTERM", "SIGUSR1")
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in numbers}
    taken = [number for number, handler in before.items() if handler is not signal.SIG_IGN]
    for number in taken:
        signal.signal(number, take)
    try:
        yield wish
    finally:
        for number in taken:
            signal.signal(number, before[number])
