"""Tiny runs for tests: pictures to train on, and changes that make any recipe small."""

import json
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from tessera import write_picture

SMALL = (
    "data.train=photos",
    "data.val=val",
    "data.workers=0",
    "data.batch=2",
    "data.patch=32",
    "device=cpu",
    "perceptual.weight=0",
    "pool=4",
    "report.every=1",
    "report.tensorboard=false",
    "validation.every=0",
    "validation.pictures=1",
)
SMALL_RRDB = ("generator.features=4", "generator.growth=2", "generator.blocks=1")


def make_trunk(path: Path) -> None:
    """A VGG19 of a few random channels under the published names, to stand in for ImageNet's."""
    rng = torch.Generator().manual_seed(0)
    state, before, place = {}, 3, 0
    for channels, convolutions in ((2, 2), (4, 2), (4, 4), (6, 4), (6, 4)):
        for _ in range(convolutions):
            state[f"features.{place}.weight"] = torch.randn(channels, before, 3, 3, generator=rng) / before
            state[f"features.{place}.bias"] = torch.randn(channels, generator=rng) / 10
            before, place = channels, place + 2
        place += 1
    save_file(state, path)


class RecordingDisplay:
    """A watcher that remembers."""

    def __init__(self) -> None:
        self.sentences: list[str] = []
        self.steps: list[int] = []
        self.waits_at: tuple[int, int] | None = None

    def show_message(self, sentence: str) -> None:
        self.sentences.append(sentence)

    def show_start(self, step: int, steps: int) -> None:
        self.waits_at = (step, steps)

    def show_step(self, step: int, steps: int, values: dict[str, float]) -> None:
        self.steps.append(step)


def make_pictures(folder: Path, count: int = 3, side: int = 80, shrink: int = 1) -> None:
    """Smooth pictures with edges, all different; `shrink` times smaller, they are inputs for those of side `side`."""
    folder.mkdir(parents=True, exist_ok=True)
    y, x = np.mgrid[:side:shrink, : side + 8 : shrink]
    for index in range(count):
        rng = np.random.default_rng(index)
        waves = np.dstack([127 + 90 * np.sin(x / (3 + c + index)) * np.cos(y / (4 + c)) for c in range(3)])
        write_picture((waves + rng.normal(0, 5, waves.shape)).clip(0, 255).astype(np.uint8), folder / f"p{index}.png")


def trained_lines(run: Path) -> list[dict]:
    """The metrics of a run, without what depends on the clock."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "waiting"} for line in lines]
