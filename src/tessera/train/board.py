"""TensorBoard events of a training run.

Shapes: H, W the height and width of a picture.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from tessera.errors import UsageError
from tessera.libraries import describe_missing, import_library
from tessera.train.records import describe_write_error


class Board:
    """TensorBoard events of a run; without a folder, nothing is written."""

    def __init__(self, folder: Path | None, *, purge_after: int | None = None) -> None:
        """Write to `folder`; earlier events after step `purge_after` are hidden. Raises UsageError, TrainingError.

        All writing methods raise TrainingError too: TensorBoard reports write errors of its thread in the next call.
        """
        self._writer: Any = None
        self._folder = folder
        if folder is None:
            return
        try:
            module = import_library("torch.utils.tensorboard")
        except ModuleNotFoundError as error:
            raise UsageError(
                f"{describe_missing('report.tensorboard', 'tensorboard')}, or set report.tensorboard=false."
            ) from error
        with self._report_errors():
            self._writer = module.SummaryWriter(
                str(folder), purge_step=None if purge_after is None else purge_after + 1
            )

    @contextlib.contextmanager
    def _report_errors(self) -> Generator[None]:
        try:
            yield
        except OSError as error:
            raise describe_write_error(self._folder or Path(), error) from error

    @property
    def is_on(self) -> bool:
        """Whether anything is written."""
        return self._writer is not None

    def add_scalars(self, step: int, group: str, values: Mapping[str, float]) -> None:
        """Write numbers under `group/name`."""
        for name, value in values.items():
            if self._writer is not None and math.isfinite(value):
                with self._report_errors():
                    self._writer.add_scalar(f"{group}/{name}", value, step)

    def add_histogram(self, step: int, name: str, values: Tensor | None) -> None:
        """Write how values are spread."""
        if self._writer is not None and values is not None and values.numel():
            numbers = values.detach().float().cpu().numpy().ravel()
            if np.isfinite(numbers).all():
                with self._report_errors():
                    self._writer.add_histogram(name, numbers, step)

    def add_end_layers(self, step: int, name: str, network: nn.Module) -> None:
        """Write weights and gradients of a network's first and last layer."""
        layers = [(layer, module) for layer, module in network.named_modules() if _has_weight(module)]
        for layer, module in {id(pair[1]): pair for pair in (layers[0], layers[-1])}.values() if layers else ():
            for parameter_name, parameter in module.named_parameters(recurse=False):
                self.add_histogram(step, f"{name}/{layer}.{parameter_name}", parameter)
                self.add_histogram(step, f"{name}/{layer}.{parameter_name}.gradient", parameter.grad)

    def add_picture(self, step: int, name: str, pixels: np.ndarray) -> None:
        """Write a picture (H, W, 3) of uint8."""
        if self._writer is not None and pixels.size:
            with self._report_errors():
                self._writer.add_image(name, pixels, step, dataformats="HWC")

    def close(self) -> None:
        """Finish the file."""
        if self._writer is not None:
            with self._report_errors():
                self._writer.close()


def _has_weight(module: nn.Module) -> bool:
    return any(parameter.dim() > 1 for parameter in module.parameters(recurse=False))
