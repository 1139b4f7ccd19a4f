"""Logging of a run: to the display, to its folder, to TensorBoard, to the report.

Only the logger of the first process writes; those of the others are silent.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor

from tessera.dataset.decoding import read_rgb, to_chw
from tessera.dataset.loading import to_unit
from tessera.dataset.sources import PictureRef
from tessera.dataset.throughput import ThroughputMeter
from tessera.degrade import to_json
from tessera.errors import PictureError, TesseraError
from tessera.explain.live import LIVE_SIDE, compute_live_maps, read_live_picture
from tessera.machine import cores
from tessera.report.training import write_training_report
from tessera.train.batches import TrainingBatch
from tessera.train.board import Board
from tessera.train.monitor import StepStatistics, TrainingMonitor
from tessera.train.parts import Parts
from tessera.train.recipe import Recipe
from tessera.train.records import BEST, LATEST, RunFolder
from tessera.train.saving import publish, publish_discriminator
from tessera.train.sheets import assemble_sheet, write_sheet
from tessera.train.validation import Validation, crop_center, is_better


class ProgressDisplay(Protocol):
    """Receives the progress of a run, such as a progress bar."""

    def show_message(self, sentence: str) -> None:
        """Show a message to the user."""
        ...

    def show_start(self, step: int, steps: int) -> None:
        """The run waits for its first batch after `step` steps of `steps`."""
        ...

    def show_step(self, step: int, steps: int, values: dict[str, float]) -> None:
        """Show the losses of a finished step."""
        ...


class RunLogger:
    """Logs a run; a checkpoint stores its `best` and `loss_sums`."""

    def __init__(self, recipe: Recipe, folder: RunFolder, display: ProgressDisplay, *, silent: bool) -> None:
        self.meter = ThroughputMeter()
        self.best: float | None = None
        self._best_metric: str | None = None
        self.loss_sums: dict[str, list[float]] = {}
        """Losses since the last log line: sum and count, because not every step has every loss."""
        self._recipe = recipe
        self._folder = folder
        self._display = display
        self._silent = silent
        self._logged: set[str] = set()
        self._monitor = TrainingMonitor(recipe.watch, adversarial=recipe.adversarial is not None)
        self._board = Board(None)

    def open(self, parts: Parts, first: PictureRef, *, purge_after: int | None) -> None:
        """Read the pictures for validation and attention maps, and open TensorBoard. The folder must exist.

        `first` is the first training picture.
        """
        if self._silent:
            return
        self._validation = Validation(self._recipe, parts.perceptual, self.log_message)
        events = self._folder.events if self._recipe.report.tensorboard else None
        self._board = Board(events, purge_after=purge_after)
        self._attention_picture = self._read_attention_picture(first)

    def close(self) -> None:
        """Close TensorBoard."""
        self._board.close()

    def log_message(self, sentence: str) -> None:
        """Show and log a message, once in a run."""
        if not self._silent and sentence not in self._logged:
            self._logged.add(sentence)
            self._display.show_message(sentence)
            if self._folder.exists:
                self._folder.log(sentence)

    def show_start(self, step: int, steps: int) -> None:
        """Tell the display that the first batch is awaited."""
        if not self._silent:
            self._display.show_start(step, steps)

    def record_event(self, step: int, sentence: str) -> None:
        """Show and log a message, and record it in the metrics."""
        self.log_message(sentence)
        if not self._silent:
            self._folder.record(step, "event", {"sentence": sentence})

    def record_draws(self, number: int, batches: list[TrainingBatch]) -> None:
        """Log how the batches from this number on were degraded, if the recipe asks for it."""
        if self._recipe.report.draws and not self._silent:
            for index, batch in enumerate(batches):
                if batch.drawn is not None:
                    self._folder.record_draw(number + index, to_json(batch.drawn))

    def log_step(
        self, step: int, steps: int, parts: Parts, losses: Mapping[str, float], statistics: StepStatistics
    ) -> None:
        """Log a finished step: losses and rates at their interval, warnings of the monitor at once."""
        if self._silent:
            return
        for name, value in losses.items():
            total, count = self.loss_sums.get(name, (0.0, 0))
            self.loss_sums[name] = [total + value, count + 1]
        self._display.show_step(step, steps, dict(losses))
        for sentence in self._monitor.update(statistics):
            self.record_event(step, sentence)
        if step % self._recipe.report.every and step != steps:
            return
        means = {name: total / count for name, (total, count) in self.loss_sums.items()}
        means["rate"] = parts.optimizer.param_groups[0]["lr"]
        self._folder.record(step, "train", {**means, "waiting": round(self.meter.waiting_share, 4)})
        self._board.add_scalars(step, "train", means)
        shown = ", ".join(f"{name} {value:.4g}" for name, value in means.items())
        self._folder.log(f"step {step:,}: {shown}; {self.describe_throughput()}")
        self.loss_sums = {}

    def describe_throughput(self) -> str:
        """Describe whether reading or computing limits the speed."""
        data = self._recipe.data
        return self.meter.describe(workers=data.workers, cores=cores().usable, cached=data.cache != "none")

    @torch.no_grad()
    def log_histograms(self, step: int, parts: Parts, batch: TrainingBatch) -> None:
        """Log histograms of first and last layers, gradients, outputs and predictions to TensorBoard."""
        every = self._recipe.report.histograms_every
        if not every or step % every or not self._board.is_on:
            return
        self._board.add_end_layers(step, "generator", parts.generator)
        sr = parts.trained(batch.lq)
        self._board.add_histogram(step, "pixels/sr", sr)
        if parts.discriminator is None:
            return
        self._board.add_end_layers(step, "discriminator", parts.discriminator)
        parts.discriminator.eval()
        for name, pictures in (("real", batch.gt), ("fake", sr)):
            for scale, logits in enumerate(parts.discriminator(pictures), 1):
                self._board.add_histogram(step, f"answers/{name}{scale}", logits.sigmoid())
        parts.discriminator.train()

    def validate(self, step: int, parts: Parts) -> None:
        """Score the generator, write the sample sheet, store the generator if it is the best."""
        if self._silent or not self._validation.pairs:
            return
        result = self._validation.run(parts.trained, parts.processes.device)
        self._folder.record(step, "validation", result.scores)
        self._board.add_scalars(step, "validation", result.scores)
        pixels = assemble_sheet(result.rows)
        write_sheet(self._folder.samples / f"{step:09d}.png", pixels)
        self._board.add_picture(step, "samples (input, bicubic, output, truth)", pixels)
        scores = ", ".join(f"{name} {value:.4f}" for name, value in result.scores.items())
        self.log_message(f"Step {step:,}: {scores}")
        wanted = self._choose_best_metric(result.scores)
        score = result.scores.get(wanted, math.nan)
        if self._recipe.checkpoint.best and step and is_better(wanted, score, self.best):
            self.best = score
            publish(
                self._folder.path / BEST, step, self._recipe, parts, {"tessera.validation": f"{wanted} {score:.4f}"}
            )
        self.write_report()

    def _choose_best_metric(self, scores: Mapping[str, float]) -> str:
        """The metric that selects the best checkpoint, the same in all validations of a run."""
        if self._best_metric is None:
            known = [name for name in self._recipe.best_metrics if not math.isnan(scores.get(name, math.nan))]
            self._best_metric = (known or [self._recipe.best_metrics[0]])[0]
        return self._best_metric

    def log_attention(self, step: int, parts: Parts) -> None:
        """Log the attention maps of the discriminator for one picture, at their interval."""
        every = self._recipe.report.attention_every
        if self._silent or not every or step % every or parts.discriminator is None or self._attention_picture is None:
            return
        live = compute_live_maps(parts.discriminator, self._attention_picture)
        self._folder.record(step, "attention", live.numbers)
        self._board.add_scalars(step, "attention", live.numbers)
        self._board.add_picture(step, "attention", live.sheet)
        write_sheet(self._folder.attention / f"{step:09d}.png", live.sheet)

    def _read_attention_picture(self, first: PictureRef) -> Tensor | None:
        """Read the center of the picture for attention maps; None, with a message, if it cannot be read."""
        if not self._recipe.report.attention_every:
            return None
        own = self._recipe.report.attention_picture
        try:
            if own is not None:
                return read_live_picture(own)
            if self._validation.pairs:
                return crop_center(self._validation.pairs[0].gt, LIVE_SIDE)
            return crop_center(to_unit(to_chw(read_rgb(first).pixels)).unsqueeze(0), LIVE_SIDE)
        except PictureError as error:
            self.log_message(f"{error} The run continues without attention maps.")
            return None

    def save_discriminator(self, step: int, parts: Parts) -> None:
        """Store the weights of the discriminator, at their interval."""
        every = self._recipe.checkpoint.keep_discriminator_every
        if not self._silent and every and step % every == 0:
            publish_discriminator(self._folder.discriminators, step, self._recipe, parts)

    def save_latest(self, step: int, parts: Parts) -> None:
        """Write the current generator as `latest.safetensors`."""
        publish(self._folder.path / LATEST, step, self._recipe, parts, {})

    def write_report(self) -> None:
        """Write the report; a failure is logged and does not stop the run."""
        if self._silent:
            return
        try:
            write_training_report(self._folder.path)
        except TesseraError as error:
            self.log_message(str(error))
