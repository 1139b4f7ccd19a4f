"""Communication between the processes of a run, through Hugging Face Accelerate if there are several.

A run is started once (`tessera train ...`) or once per process (`torchrun`, `accelerate launch`); the launcher states
the number in WORLD_SIZE. Every process computes gradients of one batch; they are averaged, so that all networks
stay equal.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from tessera.errors import UsageError
from tessera.libraries import describe_missing, import_library
from tessera.wording import format_count

LAUNCHER_VARIABLES = ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
"""What a launcher sets next to WORLD_SIZE; without them, each process would train alone."""


class Processes:
    """The processes of a run, seen from one of them."""

    def __init__(self, device: str) -> None:
        """Connect to the other processes, if the launcher started several.

        Args:
            device: auto, cpu, cuda, cuda:1 or mps.

        Raises:
            UsageError: the device is unavailable, WORLD_SIZE is not a number, or not as many processes connect as it
                states.
        """
        stated = os.environ.get("WORLD_SIZE", "1")
        if not stated.isdecimal() or not int(stated):
            raise UsageError(f"WORLD_SIZE: expected the number of processes that train together, found {stated!r}.")
        self.count = int(stated)
        self.rank = 0
        self._accelerator: Any = None
        if self.count > 1:
            self._accelerator = _connect(device)
            self.rank, connected = self._accelerator.process_index, self._accelerator.num_processes
            if connected != self.count:
                raise UsageError(
                    f"WORLD_SIZE: the launcher started {self.count} processes, and {connected} connected on"
                    f" {self._accelerator.device}. Set device = cpu, or one process per GPU."
                )
            self.device: torch.device = self._accelerator.device
        else:
            self.device = _find_device(device)

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes files and messages."""
        return self.rank == 0

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace each gradient by the mean over all processes."""
        if self.count == 1:
            return
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        joined = torch.cat([gradient.reshape(-1) for gradient in gradients])
        joined = self._accelerator.reduce(joined, reduction="mean")
        for gradient, mean in zip(gradients, joined.split([gradient.numel() for gradient in gradients]), strict=True):
            gradient.copy_(mean.view(gradient.shape))

    def mean(self, values: Tensor) -> Tensor:
        """Return the mean over all processes; gradients flow to all of them."""
        return values if self.count == 1 else _MeanOfProcesses.apply(values, self._accelerator)

    def any(self, *flags: bool) -> tuple[bool, ...]:
        """Return for each flag whether it is set in any process. All processes get the same answer."""
        if self.count == 1:
            return flags
        raised = torch.tensor([float(flag) for flag in flags], device=self.device)
        return tuple(bool(flag) for flag in self._accelerator.reduce(raised, reduction="sum") > 0)

    def wait(self) -> None:
        """Wait until all processes arrive here."""
        if self.count > 1:
            self._accelerator.wait_for_everyone()

    def finish(self) -> None:
        """Disconnect from the other processes."""
        if self.count > 1:
            self._accelerator.end_training()


class _MeanOfProcesses(torch.autograd.Function):
    """The mean over processes. Its gradient is the mean of their gradients, because all of them depend on it."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, accelerator: Any) -> Tensor:
        ctx.accelerator = accelerator
        return accelerator.reduce(values.clone(), reduction="mean")

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return ctx.accelerator.reduce(gradients[0].clone(), reduction="mean"), None


def _connect(device: str) -> Any:
    """Connect the processes. Without a GPU, `auto` connects them on the CPU, not each alone."""
    try:
        accelerate = import_library("accelerate")
    except ModuleNotFoundError as error:
        raise UsageError(describe_missing("Training in several processes", "accelerate")) from error
    missing = [name for name in LAUNCHER_VARIABLES if not os.environ.get(name)]
    if missing:
        raise UsageError(
            f"WORLD_SIZE: {os.environ['WORLD_SIZE']} processes are stated, but {', '.join(missing)} not. Start the run"
            " with torchrun or accelerate launch, or unset WORLD_SIZE."
        )
    if device not in ("auto", "cpu"):
        _find_device(device)  # raises for a device that is unavailable
    gpus = torch.cuda.device_count()
    on_cpu = device == "cpu" or not gpus
    place = os.environ.get("LOCAL_RANK", "0")
    if not on_cpu and place.isdecimal() and int(place) >= gpus:
        raise UsageError(
            f"LOCAL_RANK: this machine has {format_count(gpus, 'GPU')}, and process {place} has none. Start at most"
            f" {format_count(gpus, 'process')} per machine, or set device = cpu."
        )
    # This module has the default process group as a default argument of its functions, and is imported by an
    # optimizer's first step. If processes were connected by then, it would keep the group alive until the interpreter
    # shuts down; a thread of gloo that still releases a tensor then aborts the process.
    import_library("torch.distributed.nn.functional")
    try:
        return accelerate.Accelerator(cpu=on_cpu)
    except (RuntimeError, ValueError, OSError) as error:
        reason = str(error).partition("\n")[0][:200].rstrip(".")
        raise UsageError(
            f"WORLD_SIZE: the {os.environ['WORLD_SIZE']} processes could not be connected through"
            f" {os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']} ({reason})."
        ) from error


def _find_device(name: str) -> torch.device:
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        first = str(error).splitlines()[0][:200].rstrip(".")
        raise UsageError(
            f"device: expected auto, cpu, cuda, cuda:N or mps, and {name!r} is unavailable here ({first})."
        ) from error
    return device
