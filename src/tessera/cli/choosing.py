"""Model and devices of `tessera upscale`, and the suggestion of a faster model."""

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
"""From here on a faster model is suggested."""
NOTICEABLE_SECONDS = 10
"""From here on a missing engine is reported."""


def model_name(model: str | None, model_path: str | None, denoise: float | None, *, fast: bool = False) -> str:
    """The model that -n, --model_path, -dn and --fast name together. Raises UsageError."""
    from tessera.weights.published import DEFAULT_MODEL, FAST_MODEL, find_model

    if fast:
        _refuse_another(model, model_path, denoise, FAST_MODEL)
        return FAST_MODEL
    if model_path is not None:
        if denoise is not None:
            raise UsageError(
                "-dn blends two published models: use it with -n realesr-general-x4v3, without --model_path."
            )
        if not Path(model_path).exists():
            raise UsageError(f"--model_path {model_path}: no such file.")
        if model is not None:
            raise UsageError(f"-n {model} and --model_path {model_path} name two models; leave one out.")
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
        raise UsageError(f"-dn works with -n {general} only; blend other pairs with -n A.pth@0.2+B.pth@0.8.")
    return general if denoise == 1 else f"{general}@{denoise}+{wdn}@{round(1 - denoise, 9)}"


def _refuse_another(model: str | None, model_path: str | None, denoise: float | None, fast: str) -> None:
    """--fast names a model: another name next to it is a contradiction."""
    from tessera.weights.published import find_model

    with contextlib.suppress(ModelNotFoundError):
        if model is not None and find_model(model).name == fast:
            model = None
    named = {"-n": model, "--model_path": model_path, "-dn": denoise}
    for option, value in named.items():
        if value is not None:
            raise UsageError(f"--fast selects the model {fast}, and {option} {value} another; leave one out.")


def suggest_fast(upscaler: Upscaler, pixels: int, seconds: float) -> None:
    """Suggest --fast in one line, with its expected time, where the default model would take more than a minute."""
    from tessera.cli.progress import duration
    from tessera.upscaling.upscaler import Upscaler
    from tessera.weights.published import DEFAULT_MODEL, FAST_MODEL

    if upscaler.generator.name != DEFAULT_MODEL or seconds <= LONG_SECONDS:
        return
    expected: float | None = None
    with contextlib.suppress(TesseraError):  # nothing to suggest where the fast model is unavailable
        other = Upscaler(FAST_MODEL, settings=upscaler.settings, offline=True)
        other.expect(pixels)
        choice = other.prepare().choice
        expected = None if choice is None else choice.seconds
    if expected is not None and expected < seconds:
        print_error(
            f"{DEFAULT_MODEL} is expected to take about {duration(seconds)} here; with --fast ({FAST_MODEL}) it would"
            f" be about {duration(expected)}, at a cost: skin, hair and small text are smoothed. Compare one picture."
        )


def report_missing_engines(upscaler: Upscaler, seconds: float) -> None:
    """Print one line where a job takes a while and an engine that is a part of Tessera was not built here."""
    from tessera.engines.opening import ENGINES

    if upscaler.settings.engine != "auto" or seconds <= NOTICEABLE_SECONDS:
        return
    for info in ENGINES:
        problem = info.find_problem() if info.package is None else None
        if problem is not None:
            print_error(f"The {info.title} engine, a part of Tessera, is unavailable: this may take longer. {problem}")


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
    """Fetch the weights once, before the processes that use them, and collect what those need."""
    from tessera.upscaling.batch_run import count_pixels
    from tessera.upscaling.devices import DeviceBatch
    from tessera.zoo.models import load_model

    return DeviceBatch(
        tasks=tuple(tasks),
        devices=tuple(devices),
        model=model,
        model_sha256=load_model(model, offline=offline).sha256,
        settings=settings,
        journal_folder=journal_folder,
        pixels=count_pixels(tasks, settings),
        overwrite=overwrite,
        ignored=ignored,
    )
