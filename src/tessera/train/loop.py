"""A run from its first step, or from its last checkpoint, to its end: read, prepare, step, watch, record, save.

Stopping is part of it. SIGINT, SIGTERM and SIGUSR1 let the step at hand finish, save, and end with 128 + signal, which
schedulers understand; a second signal ends at once. Whatever ends a run, `--resume` goes on from the last whole
checkpoint and, on the CPU, makes every later weight and loss what it would have been.
"""

from __future__ import annotations

import contextlib
import functools
import math
import os
import signal
import threading
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, Protocol

import torch
from torch import nn

from tessera.dataset.loading import Batch, Heard, batches_of, make_loader, to_unit
from tessera.dataset.samples import CropDataset
from tessera.dataset.sources import list_pictures
from tessera.dataset.throughput import ThroughputMeter
from tessera.degrade import to_json
from tessera.discriminators import save_discriminator
from tessera.errors import TesseraError, TrainingError
from tessera.report.training import write_training_report
from tessera.train.batches import TrainingBatch, prepare
from tessera.train.checkpoints import (
    Checkpoint,
    WriteFile,
    load_optimizer,
    newest_whole,
    optimizer_tensors,
    prune,
    remove_parts,
    tensor_writer,
    write_checkpoint,
)
from tessera.train.parts import Parts, build_parts
from tessera.train.pool import PairPool
from tessera.train.processes import Processes
from tessera.train.recipe import Recipe
from tessera.train.records import Board, RunFolder, sheet, write_sheet
from tessera.train.step import Moment, StepResult, train_step
from tessera.train.validation import Validation, is_better
from tessera.train.watch import Detectors, Soundness
from tessera.weights import save_weights

GENERATOR = "generator.safetensors"
AVERAGE = "average.safetensors"
DISCRIMINATOR = "discriminator.safetensors"
OPTIMIZERS = "optimizers.safetensors"
POOL = "pool.safetensors"
LATEST = "latest.safetensors"
BEST = "best.safetensors"


class Watcher(Protocol):
    """Whoever wants to see how a run goes."""

    def say(self, sentence: str) -> None:
        """Something happened that the user should know."""
        ...

    def step(self, step: int, steps: int, values: dict[str, float]) -> None:
        """A step is done."""
        ...


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    step: int
    stopped_by: int = 0
    """The signal that stopped it; 0 when it reached its end."""


def train(recipe: Recipe, *, resume: bool, watcher: Watcher) -> Outcome:
    """Begin a run, or go on with one. Raises TrainingError, UsageError, PictureError, WeightsError with a sentence."""
    processes = Processes(recipe.device)
    folder = RunFolder(recipe.folder)
    with contextlib.ExitStack() as stack:
        stack.callback(processes.finish)
        run = _Run(recipe, folder, processes, watcher)
        run.build(resume=resume)  # everything that can be missing or wrong, before anything is written
        if processes.is_first:
            if not resume:
                folder.create(recipe)
            stack.enter_context(folder.only_one())
            remove_parts(folder.checkpoints)
        processes.wait()
        run.begin(resume=resume)
        return run.go()


@dataclass
class _Run:
    """The state of a run between its steps."""

    recipe: Recipe
    folder: RunFolder
    processes: Processes
    watcher: Watcher
    step: int = 0
    samples: int = 0
    """Crops drawn so far, by all processes; never goes back, also when the step does."""
    best: float | None = None
    sums: dict[str, list[float]] = field(default_factory=dict[str, list[float]])
    """Losses since the last line of the log: sum and count, because not every step has every loss."""
    _heard: Heard = field(default_factory=Heard)

    # --------------------------------------------------------------------------------------------------- beginning

    def build(self, *, resume: bool) -> None:
        """Find the pictures and make all parts, as the recipe has them."""
        if resume != self.folder.exists:
            raise TrainingError(
                f"{self.folder.path}: "
                + (
                    "there is no run to go on with. Leave out --resume to begin one."
                    if resume
                    else "a run of this name exists. Go on with it by --resume, or give another name=..."
                )
            )
        recipe = self.recipe
        self.listing = list_pictures(
            recipe.data.train, recipe.data.lq, root=recipe.data.root, recursive=recipe.data.recursive
        )
        crops = recipe.data.model_copy(update={"patch": recipe.read_patch})
        writers = max(1, recipe.data.workers) * self.processes.count
        scale = recipe.generator.scale
        self.dataset = CropDataset(self.listing, crops, seed=recipe.seed, scale=scale, writers=writers)
        self.pool = PairPool(recipe.pool if self.listing.lq is None else 0)
        self.soundness = Soundness(recipe.watch)
        self.parts: Parts = build_parts(recipe, self.processes)
        self.steps = recipe.steps or self._steps_of_epochs(len(self.listing))
        self.detectors = Detectors(recipe.watch, adversarial=recipe.adversarial is not None)
        self.meter = ThroughputMeter()

    def begin(self, *, resume: bool) -> None:
        """Take up the last checkpoint where there is one, and open the record."""
        for sentence in (*self.listing.problems, *self.parts.notes):
            self.say(sentence)
        newest = newest_whole(self.folder.checkpoints, self.say) if resume else None
        if newest is not None:
            self._restore(newest)
            self.soundness = Soundness(self.recipe.watch, **newest.facts["soundness"])
        if self.processes.is_first:
            self.folder.drop_after(self.step)
            self.validation = Validation(self.recipe, self.parts.perceptual, self.say)
            events = self.folder.events if self.recipe.report.tensorboard else None
            self.board = Board(events, purge_after=self.step if resume else None)
        self.say(self._beginning(len(self.listing), resumed=newest is not None))
        if newest is None:
            self._save()

    def _steps_of_epochs(self, pictures: int) -> int:
        return math.ceil(self.recipe.epochs * pictures / self._samples_per_step)

    @property
    def _samples_per_batch(self) -> int:
        return self.recipe.data.batch * self.processes.count

    @property
    def _samples_per_step(self) -> int:
        return self._samples_per_batch * self.recipe.step.accumulate

    def _beginning(self, pictures: int, *, resumed: bool) -> str:
        weights = sum(parameter.numel() for parameter in self.parts.generator.parameters())
        where = (
            f"{self.processes.count} x {self.processes.device}" if self.processes.count > 1 else self.processes.device
        )
        return (
            f"{'Going on' if resumed else 'Beginning'} at step {self.step:,} of {self.steps:,}: {pictures:,} pictures,"
            f" {self._samples_per_step} crops a step, a generator of {weights:,} weights, {self.recipe.step.precision}"
            f" on {where}."
        )

    def say(self, sentence: str) -> None:
        """Tell the user, once, and the record."""
        if self.processes.is_first and self._heard.new([sentence]):
            self.watcher.say(sentence)
            if self.folder.exists:
                self.folder.log(sentence)

    def _event(self, sentence: str) -> None:
        self.say(sentence)
        if self.processes.is_first:
            self.folder.record(self.step, "event", {"sentence": sentence})

    # -------------------------------------------------------------------------------------------------------- going

    def go(self) -> Outcome:
        """Train to the end, or until a signal."""
        with _signals() as wish, contextlib.ExitStack() as stack:
            if self.processes.is_first:
                stack.callback(self.board.close)
            reading = self._reading()
            while self.step < self.steps:
                try:
                    batches = [next(reading) for _ in range(self.recipe.step.accumulate)]
                except BaseException:
                    self._rescue()
                    raise
                rolled_back = self._advance(batches)
                (stop,) = self.processes.any(wish.number != 0)
                if stop:
                    self._save()
                    self.say(f"Stopped after step {self.step:,}, saved. Go on with --resume.")
                    if self.processes.is_first:
                        self._report()
                    return Outcome(self.step, wish.number or signal.SIGTERM)
                if rolled_back:
                    reading = self._reading()
            if self.processes.is_first:
                self.say(self._throughput())
                self._report()
            return Outcome(self.step)

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
            with self.meter.waiting():
                batch = next(batches)
            for problem in batch["problem"]:
                self.say(problem)
            yield batch

    def _advance(self, batches: list[Batch]) -> bool:
        """One step and what belongs to it -> whether the run went back to a checkpoint."""
        number = self.samples // self._samples_per_batch
        moment = Moment(self.step + 1, self.steps, number, self.soundness.rate)
        with self.meter.computing(self._samples_per_step):
            prepared = [self._prepared(batch, number + index) for index, batch in enumerate(batches)]
            result = train_step(self.recipe, self.parts, prepared, moment)
        if self.recipe.report.draws and self.processes.is_first:
            for index, batch in enumerate(prepared):
                if batch.drawn is not None:
                    self.folder.record_draw(number + index, to_json(batch.drawn))
        self.samples += self._samples_per_step
        match self.soundness.judge(finite=result.finite):
            case "go on":
                pass
            case "skip":
                self._event(f"Step {self.step + 1:,}: the loss or a gradient is not finite; the step is left out.")
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
        if self.processes.is_first:
            self._record(result, prepared)
        self._occasionally()
        return False

    def _prepared(self, batch: Batch, number: int) -> TrainingBatch:
        device = self.processes.device
        gt = to_unit(batch["gt"].to(device, non_blocking=True))
        lq = to_unit(batch["lq"].to(device, non_blocking=True)) if "lq" in batch else None
        return prepare(self.recipe, gt, lq, self.pool, number, self.processes.rank)

    def _roll_back(self) -> None:
        found = newest_whole(self.folder.checkpoints, self.say)
        if found is None:
            raise TrainingError(f"{self.folder.path}: losses are not finite, and there is no checkpoint to go back to.")
        bad, samples = self.step + 1, self.samples
        self._restore(found)
        self.samples = samples  # other crops than those it failed on
        self.processes.wait()
        if self.processes.is_first:
            self.folder.drop_after(self.step, events=False)
        self._event(
            f"Step {bad:,}: losses or gradients were not finite again and again. Went back to step {self.step:,},"
            f" with {self.soundness.rate:g} of the learning rates."
        )

    # ---------------------------------------------------------------------------------------------------- recording

    def _record(self, result: StepResult, batches: list[TrainingBatch]) -> None:
        for name, value in result.losses.items():
            total, count = self.sums.get(name, (0.0, 0))
            self.sums[name] = [total + value, count + 1]
        self.watcher.step(self.step, self.steps, result.losses)
        for sentence in self.detectors.take(result.sight):
            self._event(sentence)
        report = self.recipe.report
        if self.step % report.every == 0 or self.step == self.steps:
            means = {name: total / count for name, (total, count) in self.sums.items()}
            rates = {"rate": self.parts.optimizer.param_groups[0]["lr"]}
            self.folder.record(self.step, "train", {**means, **rates, "waiting": round(self.meter.waiting_share, 4)})
            self.board.scalars(self.step, "train", means | rates)
            shown = ", ".join(f"{name} {value:.4g}" for name, value in means.items())
            self.folder.log(f"step {self.step:,}: {shown}; {self._throughput()}")
            self.sums = {}
        if report.histograms_every and self.step % report.histograms_every == 0 and self.board.is_on:
            self._histograms(batches[0])

    def _throughput(self) -> str:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        data = self.recipe.data
        return self.meter.sentence(workers=data.workers, cores=cores, cached=data.cache != "none")

    @torch.no_grad()
    def _histograms(self, batch: TrainingBatch) -> None:
        parts, step = self.parts, self.step
        self.board.ends_of(step, "generator", parts.generator)
        sr = parts.trained(batch.lq)
        self.board.histogram(step, "pixels/sr", sr)
        if parts.discriminator is not None:
            self.board.ends_of(step, "discriminator", parts.discriminator)
            parts.discriminator.eval()
            for name, pictures in (("real", batch.gt), ("fake", sr)):
                for scale, logits in enumerate(parts.discriminator(pictures), 1):
                    self.board.histogram(step, f"answers/{name}{scale}", logits.sigmoid())
            parts.discriminator.train()

    def _occasionally(self) -> None:
        validation, last = self.recipe.validation, self.step == self.steps
        if validation.every and (self.step % validation.every == 0 or last):
            if self.processes.is_first:
                self._validate()
            self.processes.wait()
        if self.step % self.recipe.checkpoint.every == 0 or last:
            self._save()

    def _validate(self) -> None:
        if not self.validation.pairs:
            return
        progress = self.validation.check(self.parts.trained, self.processes.device)
        self.folder.record(self.step, "validation", progress.scores)
        self.board.scalars(self.step, "validation", progress.scores)
        pixels = sheet(progress.rows)
        write_sheet(self.folder.samples / f"{self.step:09d}.png", pixels)
        self.board.picture(self.step, "samples (input, bicubic, output, truth)", pixels)
        scores = ", ".join(f"{name} {value:.4f}" for name, value in progress.scores.items())
        self.watcher.say(f"Step {self.step:,}: {scores}")
        self.folder.log(f"step {self.step:,}: validation: {scores}")
        wanted = self.recipe.validation.best
        score = progress.scores.get(wanted, math.nan)
        if self.recipe.checkpoint.best and is_better(wanted, score, self.best):
            self.best = score
            self._publish(BEST, {"tessera.validation": f"{wanted} {score:.4f}"})
        self._report()

    def _report(self) -> None:
        """The run as a page; one that cannot be written is no reason to stop."""
        try:
            write_training_report(self.folder.path)
        except TesseraError as error:
            self.say(str(error))

    # ------------------------------------------------------------------------------------------------------- saving

    def _publish(self, name: str, more: dict[str, str]) -> None:
        state = self.parts.trained.state_dict()
        save_weights(self.folder.path / name, self.recipe.generator, state, metadata=self._origin() | more)

    def _origin(self) -> dict[str, str]:
        return {"tessera.run": self.recipe.name, "tessera.step": str(self.step)}

    def _save(self) -> None:
        """A checkpoint of everything; the first process writes, the others wait."""
        if self.processes.is_first:
            write_checkpoint(self.folder.checkpoints, self.step, self._files(), self._facts())
            checkpoint = self.recipe.checkpoint
            every = checkpoint.keep_every
            prune(
                self.folder.checkpoints,
                keep=checkpoint.keep,
                spared=lambda step: bool(every) and step % every == 0 and step > 0,
            )
            if self.step:
                self._publish(LATEST, {})
        self.processes.wait()

    def _files(self) -> dict[str, WriteFile]:
        parts, recipe, origin = self.parts, self.recipe, self._origin()

        def weights(network: nn.Module) -> WriteFile:
            return functools.partial(save_weights, config=recipe.generator, state=network.state_dict(), metadata=origin)

        optimizers = optimizer_tensors(parts.optimizer, "generator")
        files = {GENERATOR: weights(parts.generator), POOL: tensor_writer(self.pool.state())}
        if parts.average is not None:
            files[AVERAGE] = weights(parts.average)
        if parts.discriminator is not None and recipe.discriminator is not None:
            files[DISCRIMINATOR] = functools.partial(
                save_discriminator,
                config=recipe.discriminator,
                state=parts.discriminator.state_dict(),
                metadata=origin,
            )
        if parts.discriminator_optimizer is not None:
            optimizers |= optimizer_tensors(parts.discriminator_optimizer, "discriminator")
        return files | {OPTIMIZERS: tensor_writer(optimizers)}

    def _facts(self) -> dict[str, Any]:
        return {
            "samples": self.samples,
            "best": self.best,
            "soundness": self.soundness.facts,
            "scaler": self.parts.scaler.state_dict(),
            "discriminator_scaler": self.parts.discriminator_scaler.state_dict(),
            "sums": self.sums,
            "processes": self.processes.count,
        }

    def _restore(self, found: Checkpoint) -> None:
        """Make everything what it was at a checkpoint."""
        parts, facts = self.parts, found.facts
        parts.generator.load_state_dict(found.tensors(GENERATOR))
        if parts.average is not None:
            parts.average.load_state_dict(found.tensors(AVERAGE))
        if parts.discriminator is not None:
            parts.discriminator.load_state_dict(found.tensors(DISCRIMINATOR))
        optimizers = found.tensors(OPTIMIZERS)
        load_optimizer(parts.optimizer, optimizers, "generator")
        if parts.discriminator_optimizer is not None:
            load_optimizer(parts.discriminator_optimizer, optimizers, "discriminator")
        parts.scaler.load_state_dict(dict(facts["scaler"]))
        parts.discriminator_scaler.load_state_dict(dict(facts["discriminator_scaler"]))
        self.pool.load(found.tensors(POOL), self.processes.device)
        if self.processes.count > 1:
            self.pool.keep_share(self.processes.rank, self.processes.count)
        self.step = found.step
        self.samples = math.ceil(facts["samples"] / self._samples_per_batch) * self._samples_per_batch
        self.best, self.sums = facts["best"], dict(facts["sums"])
        if facts["processes"] != self.processes.count:
            self.say(
                f"This run had {facts['processes']} processes and has {self.processes.count} now: it goes on from these"
                " weights, but not to the bit."
            )

    def _rescue(self) -> None:
        """Save before an error of the data ends the run, so that nothing is lost; a failing disk may not hide it."""
        with contextlib.suppress(TrainingError, OSError):
            self._save()


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
