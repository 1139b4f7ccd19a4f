"""The training loop, from the first step or the last checkpoint to the end: read, prepare, step, monitor, log, save.

SIGINT, SIGTERM and SIGUSR1 let the current step finish, save a checkpoint and exit with 128 + signal, which schedulers
understand; a second signal exits at once. However a run ended, it resumes from the last valid checkpoint; on the CPU,
every later weight and loss then equals that of an uninterrupted run, bit for bit.
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

from tessera.dataset.loading import Batch, iterate_batches, make_loader, to_unit
from tessera.dataset.samples import CropDataset
from tessera.dataset.sources import list_pictures
from tessera.errors import TrainingError
from tessera.train.batches import TrainingBatch, prepare_batch
from tessera.train.checkpoints import Checkpoint, find_newest_checkpoint
from tessera.train.monitor import NonFiniteGuard
from tessera.train.networks import load_networks
from tessera.train.parts import build_parts
from tessera.train.picture_set import describe_change, read_picture_set, store_picture_set
from tessera.train.pool import PairPool
from tessera.train.processes import Processes
from tessera.train.recipe import Recipe
from tessera.train.records import RunFolder, describe_write_error
from tessera.train.resuming import (
    Start,
    describe_noted_changes,
    find_start,
    format_changed_config,
    set_results_aside,
)
from tessera.train.run_logger import ProgressDisplay, RunLogger
from tessera.train.saving import restore_run, save_run, store_pool
from tessera.train.step import StepInfo, train_step
from tessera.wording import format_count

CALIBRATION_CROPS = 16
"""Minimum number of inputs that decide which blocks a network starts with."""


@dataclass(frozen=True)
class RunResult:
    """The result of a run."""

    step: int
    stopped_by: int = 0
    """The signal that stopped it; 0 at the last step."""
    is_first: bool = True
    """Whether this is the first process, which writes and prints."""


def train(recipe: Recipe, *, resume: bool, restart: bool = False, display: ProgressDisplay) -> RunResult:
    """Start or resume a run.

    Args:
        recipe: the configuration of the run.
        resume: resume from the newest intact checkpoint.
        restart: start at step 0, after earlier results were moved aside; with `resume`, only if no checkpoint is
            intact.
        display: receives messages and steps.

    Raises:
        TrainingError: the run exists, has no intact checkpoint or is locked, losses diverge, or the disk is full.
        UsageError: the recipe does not fit this machine or the run to resume.
        PictureError, WeightsError: pictures or weights cannot be read.
    """
    processes = Processes(recipe.device)
    folder = RunFolder(recipe.folder)
    with contextlib.ExitStack() as stack:
        stack.callback(processes.finish)
        logger = RunLogger(recipe, folder, display, silent=not processes.is_first)
        start = Start("new")
        if processes.is_first or resume:  # the folder of a new run is the first process's business
            start = find_start(folder, recipe, resume=resume, restart=restart, report=logger.log_message)
        # Missing or wrong files raise here, before anything is written.
        run = _Run(recipe, folder, processes, logger, measures_blocks=start.checkpoint is None)
        config = format_changed_config(start, recipe)
        processes.wait()  # all have seen the folder as it was
        if processes.is_first:
            if start.kind == "new":
                folder.create()
            stack.enter_context(folder.claim(config, is_new=start.kind == "new"))
            if start.earlier is not None:
                set_results_aside(folder, start.earlier)
        processes.wait()
        stack.callback(run.logger.close)
        run.start(start)
        return run.run()


class _Run:
    """The state of a run between its steps."""

    def __init__(
        self, recipe: Recipe, folder: RunFolder, processes: Processes, logger: RunLogger, *, measures_blocks: bool
    ) -> None:
        """Find the pictures and build all parts of the recipe."""
        self.recipe = recipe
        self.folder = folder
        self.processes = processes
        self.logger = logger
        self.step = 0
        self.samples = 0
        """Crops drawn so far by all processes; a rollback does not reset it."""
        self.samples_per_batch = recipe.data.batch * processes.count
        self.samples_per_step = self.samples_per_batch * recipe.step.accumulate
        data = recipe.data
        self.listing = list_pictures(data.train, data.lq, root=data.root, recursive=data.recursive)
        paired = self.listing.lq is not None
        crops = data.model_copy(update={"patch": data.patch if paired else recipe.read_patch})
        writers = max(1, data.workers) * processes.count
        self.dataset = CropDataset(self.listing, crops, seed=recipe.seed, scale=recipe.generator.scale, writers=writers)
        networks = load_networks(recipe)
        self.pictures = read_picture_set(self.listing)
        self.pool = PairPool(0 if paired else recipe.pool)
        self.guard = NonFiniteGuard(recipe.watch)
        read_calibration = self._read_calibration if measures_blocks else None
        self.parts = build_parts(recipe, networks, processes, read_calibration=read_calibration)
        self.steps = recipe.steps or math.ceil(recipe.epochs * len(self.listing) / self.samples_per_step)

    def _read_calibration(self) -> list[Tensor]:
        """The first inputs of the run, batches (B, 3, p, p) in [0, 1], on which to measure blocks."""
        inputs: list[Tensor] = []
        loader = make_loader(self.dataset, first_number=0, batch=self.recipe.data.batch, workers=0)
        for number, batch in enumerate(iterate_batches(loader)):
            inputs.append(self._prepare(batch, number, PairPool(0), process=0).lq)
            if sum(map(len, inputs)) >= CALIBRATION_CROPS:
                break
        return inputs

    def start(self, start: Start) -> None:
        """Restore the checkpoint, if any, and open the log."""
        for sentence in (*self.listing.problems, *self.parts.notes):
            self.logger.log_message(sentence)
        newest = start.checkpoint
        if newest is not None:
            self._restore(newest)
            self.logger.best, self.logger.loss_sums = newest.facts["best"], dict(newest.facts["sums"])
            self.guard = NonFiniteGuard(self.recipe.watch, **newest.facts["soundness"])
        if self.processes.is_first:
            self._record_start(start)
            self.folder.drop_lines_after(self.step)
        self.logger.open(self.parts, self.listing.gt[0], purge_after=None if start.kind == "new" else self.step)
        self.logger.log_message(self._describe_start(resumed=newest is not None))
        if newest is None and self.recipe.fresh_start is not None:
            self.logger.log_message(self.recipe.fresh_start)
        if newest is None:
            if self.recipe.start.generator and self.recipe.validation.every:
                self.logger.validate(0, self.parts)  # the starting point, for comparison
            self._save()

    def _record_start(self, start: Start) -> None:
        """Note what changed since the last start, and store the training set that runs now."""
        if start.kind == "resume" and start.before is not None:
            changed = describe_noted_changes(start.before.recipe, self.recipe)
            pictures = start.checkpoint.facts.get("pictures") if start.checkpoint is not None else None
            for sentence in (changed, describe_change(self.folder.path, pictures, self.pictures)):
                if sentence:
                    self.logger.log_message(sentence)
        try:
            store_picture_set(self.folder.path, self.pictures)
        except OSError as error:
            raise describe_write_error(self.folder.path, error) from error

    def _describe_start(self, *, resumed: bool) -> str:
        weights = sum(parameter.numel() for parameter in self.parts.generator.parameters())
        count, device = self.processes.count, self.processes.device
        return (
            f"{'Resuming' if resumed else 'Starting'} at step {self.step:,} of {self.steps:,}: "
            f"{format_count(len(self.listing), 'picture')}, {self.samples_per_step} crops per step,"
            f" a generator of {weights:,} parameters,"
            f" {self.recipe.step.precision} on {f'{count} x {device}' if count > 1 else device}."
        )

    def run(self) -> RunResult:
        """Train to the last step, or until a signal."""
        with _stop_on_signals() as stop_request:
            reading = self._read_batches()
            self.logger.show_start(self.step, self.steps)
            while self.step < self.steps:
                batches = self._take_batches(reading)
                if self._run_step(batches):
                    reading = self._read_batches()
                (stop,) = self.processes.any(stop_request.number != 0)
                if stop:
                    self._save()
                    self.logger.log_message(f"Stopped after step {self.step:,}; saved. Continue with `resume`.")
                    self.logger.write_report()
                    return RunResult(self.step, stop_request.number or signal.SIGTERM, self.processes.is_first)
            if self.logger.meter.samples:
                self.logger.log_message(self.logger.describe_throughput())
            self.logger.write_report()
            return RunResult(self.step, is_first=self.processes.is_first)

    def _read_batches(self) -> Iterator[Batch]:
        """Batches from the next sample on; the waiting time is measured."""
        loader = make_loader(
            self.dataset,
            first_number=self.samples,
            batch=self.recipe.data.batch,
            workers=self.recipe.data.workers,
            rank=self.processes.rank,
            world=self.processes.count,
            pin=self.processes.device.type == "cuda",
        )
        batches = iterate_batches(loader)
        while True:
            with self.logger.meter.measure_waiting():
                batch = next(batches)
            for problem in batch["problem"]:
                self.logger.log_message(problem)
            yield batch

    def _take_batches(self, reading: Iterator[Batch]) -> list[Batch]:
        """The batches of one step. After an error in the data, the run is saved before it ends."""
        try:
            return [next(reading) for _ in range(self.recipe.step.accumulate)]
        except BaseException:
            if self.processes.count == 1:  # with several processes, the others would wait for ever
                with contextlib.suppress(TrainingError, OSError):
                    self._save()
            raise

    def _run_step(self, batches: list[Batch]) -> bool:
        """One step with its logging and saving -> whether the run rolled back to a checkpoint."""
        number = self.samples // self.samples_per_batch
        info = StepInfo(self.step + 1, self.steps, number, self.guard.rate)
        with self.logger.meter.measure_computing(self.samples_per_step):
            rank = self.processes.rank
            prepared = [self._prepare(batch, number + i, self.pool, rank) for i, batch in enumerate(batches)]
            result = train_step(self.recipe, self.parts, prepared, info)
        self.samples += self.samples_per_step
        self.logger.record_draws(number, prepared)
        match self.guard.decide(finite=result.finite):
            case "continue":
                pass
            case "skip":
                sentence = f"Step {info.step:,}: the loss or a gradient is not finite; skipped."
                self.logger.record_event(self.step, sentence)
                return False
            case "roll back":
                self._roll_back()
                return True
            case "stop":
                raise TrainingError(
                    f"{self.folder.path}: losses are not finite after {self.guard.roll_backs} rollbacks with lower"
                    " learning rates. Lower optimizer.rate, set step.clip = 1, or train in fp32; the last checkpoint"
                    " is kept."
                )
        self.step += 1
        self.logger.log_step(self.step, self.steps, self.parts, result.losses, result.statistics)
        self.logger.log_histograms(self.step, self.parts, prepared[0])
        self.logger.log_attention(self.step, self.parts)
        self._validate_and_save()
        return False

    def _prepare(self, batch: Batch, number: int, pool: PairPool, process: int) -> TrainingBatch:
        device = self.processes.device
        gt = to_unit(batch["gt"].to(device, non_blocking=True))
        lq = to_unit(batch["lq"].to(device, non_blocking=True)) if "lq" in batch else None
        return prepare_batch(self.recipe, gt, lq, pool, number, process)

    def _validate_and_save(self) -> None:
        validation, last = self.recipe.validation, self.step == self.steps
        if validation.every and (self.step % validation.every == 0 or last):
            self.logger.validate(self.step, self.parts)
            self.processes.wait()
        self.logger.save_discriminator(self.step, self.parts)
        if self.step % self.recipe.checkpoint.every == 0 or last:
            self._save()

    def _roll_back(self) -> None:
        """Roll back to the last checkpoint, with lower learning rates and new crops."""
        found = find_newest_checkpoint(self.folder.checkpoints, self.logger.log_message)
        if found is None:
            raise TrainingError(f"{self.folder.path}: losses are not finite, and there is no checkpoint.")
        bad, samples = self.step + 1, self.samples
        self._restore(found)
        self.samples, self.logger.loss_sums = samples, dict(found.facts["sums"])
        self.processes.wait()
        if self.processes.is_first:
            self.folder.drop_lines_after(self.step, events=False)
        self.logger.record_event(
            self.step,
            f"Step {bad:,}: losses or gradients were not finite repeatedly. Rolled back to step {self.step:,};"
            f" learning rates x {self.guard.rate:g}.",
        )

    def _save(self) -> None:
        """Write a checkpoint; the first process writes, the others wait."""
        if self.processes.count > 1:  # each process has its own pool
            store_pool(self.folder.checkpoints, self.processes.rank, self.pool)
            self.processes.wait()
        if self.processes.is_first:
            facts = {
                "samples": self.samples,
                "best": self.logger.best,
                "sums": self.logger.loss_sums,
                "soundness": self.guard.facts,
                "processes": self.processes.count,
                "pictures": self.pictures.facts,
            }
            if self.step:  # first, so that latest.safetensors is never older than the newest checkpoint
                self.logger.save_latest(self.step, self.parts)
            save_run(self.folder.checkpoints, self.step, self.recipe, self.parts, self.pool, facts)
        self.processes.wait()

    def _restore(self, found: Checkpoint) -> None:
        restore_run(found, self.parts, self.pool)
        self.step = found.step
        self.samples = math.ceil(found.facts["samples"] / self.samples_per_batch) * self.samples_per_batch
        if found.facts["processes"] != self.processes.count:
            self.logger.log_message(
                f"This run had {found.facts['processes']} processes and now has {self.processes.count}: it resumes from"
                " the checkpoint, but results will not be bit-identical."
            )


# ----------------------------------------------------------------------------------------------------------- signals


@dataclass
class _StopRequest:
    number: int = 0


@contextlib.contextmanager
def _stop_on_signals() -> Generator[_StopRequest]:
    """Take SIGINT, SIGTERM and SIGUSR1 as requests to stop after this step; a second signal stops at once."""
    stop_request = _StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield stop_request
        return

    def take(number: int, frame: FrameType | None) -> None:
        del frame
        if stop_request.number:
            raise KeyboardInterrupt
        stop_request.number = number

    names = ("SIGINT", "SIGTERM", "SIGUSR1")
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in numbers}
    taken = [number for number, handler in before.items() if handler is not signal.SIG_IGN]
    for number in taken:
        signal.signal(number, take)
    try:
        yield stop_request
    finally:
        for number in taken:
            signal.signal(number, before[number])
