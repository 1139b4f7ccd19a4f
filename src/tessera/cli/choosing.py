"""Which model and devices `tessera upscale` takes, and when it is worth saying that another model is much faster."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from tessera.cli import print_error
from tessera.errors import ModelNotFoundError, TesseraError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tessera.tiling.settings import Settings
    from tessera.upscaling.devices import DeviceBatch
    from tessera.upscaling.finding import Task
    from tessera.upscaling.upscaler import Upscaler

LONG_SECONDS = 60.0
"""From here on a user should know that there is a faster model."""


def model_name(model: str | None, model_path: str | None, denoise: float | None, *, fast: bool = False) -> str:
    """Give the one model that -n, --model_path, -dn and --fast name together. Raises UsageError."""
    from tessera.weights.published import DEFAULT_MODEL, FAST_MODEL, find_model

    if fast:
        _refuse_another(model, model_path, denoise, FAST_MODEL)
        return FAST_MODEL
    if model_path is not None:
        if denoise is not None:
            raise UsageError(
                "-dn mixes two published models: use it with -n realesr-general-x4v3, without --model_path."
            )
        if not Path(model_path).exists():
            raise UsageError(f"--model_path {model_path}: there is no such file.")
        return model_path
    name = model or DEFAULT_MODEL
    if denoise is None:
        return name
    if not 0 <= denoise <= 1:
        raise UsageError(f"-dn {denoise}: expected 0 (keeps noise) to 1 (removes it).")
    general, wdn = "realesr-general-x4v3", "realesr-general-wdn-x4v3"
    with contextlib.suppress(ModelNotFoundError):
        name = find_model(name).name
    if name != general:
        raise UsageError(f"-dn works with -n {general} only; for other pairs mix files: -n A.pth@0.2+B.pth@0.8.")
    return general if denoise == 1 else f"{general}@{denoise}+{wdn}@{round(1 - denoise, 9)}"


def _refuse_another(model: str | None, model_path: str | None, denoise: float | None, fast: str) -> None:
    """--fast names the model: another name beside it is a contradiction."""
    from tessera.weights.published import find_model

    with contextlib.suppress(ModelNotFoundError):
        if model is not None and find_model(model).name == fast:
            model = None
    named = {"-n": model, "--model_path": model_path, "-dn": denoise}
    for option, value in named.items():
        if value is not None:
            raise UsageError(f"--fast takes the model {fast}, and {option} {value} asks for another; leave one out.")


def suggest_fast(upscaler: Upscaler, pixels: int, seconds: float) -> None:
    """Say in one line what --fast would take, where the default model is expected to take more than a minute."""
    from tessera.cli.progress import duration
    from tessera.upscaling.upscaler import Upscaler
    from tessera.weights.published import DEFAULT_MODEL, FAST_MODEL

    if upscaler.generator.name != DEFAULT_MODEL or seconds <= LONG_SECONDS:
        return
    expected: list[float] = []
    with contextlib.suppress(TesseraError):  # where it cannot be had there is nothing to suggest
        other = Upscaler(FAST_MODEL, settings=upscaler.settings, offline=True)
        other.expect(pixels, on_plan=expected.append)
        other.plan_lines()
    if expected and expected[0] < seconds:
        print_error(
            f"{DEFAULT_MODEL} is expected to take about {duration(seconds)} here; with --fast ({FAST_MODEL}, which"
            f" restores less detail) it would be about {duration(expected[0])}."
        )


def device_batch(
    model: str,
    settings: Settings,
    offline: bool,
    tasks: Sequence[Task],
    devices: Sequence[str],
    journal_folder: Path,
    overwrite: bool,
    ignored: int,
) -> DeviceBatch:
    """Get the weights once, before the processes that want them, and gather what those need to know."""
    from tessera.cli.forecast import pixels_of
    from tessera.upscaling.devices import DeviceBatch
    from tessera.zoo.models import load_model

    return DeviceBatch(
        tasks=tuple(tasks),
        devices=tuple(devices),
        model=model,
        model_sha256=load_model(model, offline=offline).sha256,
        settings=settings,
        journal_folder=journal_folder,
        pixels=pixels_of(tasks, settings),
        overwrite=overwrite,
        ignored=ignored,
    )
