"""Time of a training step in networks and in everything else, for the realesrgan recipe.

`python benchmarks/train_step.py [KEY=VALUE ...]` takes changes as `tessera train` does (data.batch=4 is shorter).
Pictures are synthetic; the perceptual trunk has VGG19's shape and random weights, which take the same time. Everything
outside the networks: reading and cropping, degradation, pool, losses, optimizers, the average, the watch.
"""

from __future__ import annotations

import dataclasses
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tessera import write_picture
from tessera.dataset.loading import iterate_batches, make_loader, to_unit
from tessera.dataset.samples import CropDataset
from tessera.dataset.sources import list_pictures
from tessera.losses import PerceptualLoss
from tessera.train.batches import prepare_batch
from tessera.train.parts import Parts, build_parts
from tessera.train.pool import PairPool
from tessera.train.processes import Processes
from tessera.train.recipe import Recipe, load_recipe
from tessera.train.step import StepInfo, train_step
from tessera.trunks import VGG19_WIDTHS, vgg

STEPS = 4


class Clock:
    """Adds up seconds under names; what runs inside something that is timed already belongs to that."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._inside = False

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*given: Any, **named: Any) -> Any:
            if self._inside:
                return function(*given, **named)
            self._inside = True
            start = time.perf_counter()
            try:
                return function(*given, **named)
            finally:
                self.seconds[name] += time.perf_counter() - start
                self._inside = False

        return run


def main(changes: list[str]) -> None:
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        rng = np.random.default_rng(0)
        for index in range(4):
            pixels = np.kron(rng.integers(0, 256, (64, 96, 3), np.uint8), np.ones((12, 12, 1), np.uint8))
            write_picture(pixels, Path(folder) / f"{index}.jpg")
        small = ["device=cpu", "pool=48", "data.workers=1", "perceptual.weight=0", f"data.train={folder}"]
        measure(load_recipe("realesrgan", [*small, *changes]))


def measure(recipe: Recipe) -> None:
    clock = Clock()
    plain = build_parts(recipe, Processes("cpu"))
    judging = load_recipe("realesrgan").perceptual
    assert judging is not None
    parts: Parts = dataclasses.replace(plain, perceptual=PerceptualLoss(vgg(VGG19_WIDTHS), judging))
    assert parts.perceptual is not None
    assert parts.discriminator is not None
    for name, network in (
        ("generator forward", parts.generator),
        ("discriminator forward", parts.discriminator),
        ("trunk forward", parts.perceptual.trunk),
    ):
        network.forward = clock.timed(name, network.forward)
    torch.Tensor.backward = clock.timed("backward", torch.Tensor.backward)
    crops = recipe.data.model_copy(update={"patch": recipe.read_patch})
    dataset = CropDataset(list_pictures(recipe.data.train), crops, seed=0)
    loader = make_loader(dataset, first_number=0, batch=recipe.data.batch, workers=recipe.data.workers)
    pool, reading = PairPool(recipe.pool), iterate_batches(loader)
    wait, degrade = clock.timed("reading", lambda: next(reading)), clock.timed("degradation and pool", prepare_batch)
    shares: list[float] = []
    for step in range(1, STEPS + 2):
        clock.seconds.clear()
        start = time.perf_counter()
        batch = wait()
        ready = degrade(recipe, to_unit(batch["gt"]), None, pool, step, 0)
        train_step(recipe, parts, [ready], StepInfo(step, 1000, step))
        whole = time.perf_counter() - start
        if step > 1:  # the first one lays out memory
            shares.append(report(step, whole, dict(clock.seconds)))
    print(f"outside the networks: {100 * statistics.median(shares):.1f} % (median of {len(shares)} steps)")


def report(step: int, whole: float, seconds: dict[str, float]) -> float:
    networks = sum(value for name, value in seconds.items() if "forward" in name or name == "backward")
    rest = whole - sum(seconds.values())
    shown = ", ".join(f"{name} {100 * value / whole:.1f} %" for name, value in seconds.items())
    print(f"step {step}: {whole:.2f} s: {shown}, losses and optimizers {100 * rest / whole:.1f} %")
    return 1 - networks / whole


if __name__ == "__main__":
    main(sys.argv[1:])
