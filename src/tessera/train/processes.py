"""One process or many: what a training step asks of the others. Where there are many, Hugging Face Accelerate does it.

A run is started once (`tessera train ...`) or once for each process (`torchrun`, `accelerate launch`); the environment
says which. Every process computes the gradients of its own batch; they are averaged, so that all networks stay equal.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from tessera.errors import UsageError
from tessera.libraries import import_library


class Processes:
    """The processes of a run, seen from one of them."""

    def __init__(self, device: str) -> None:
        """`device`: auto, cpu, cuda, cuda:1, mps. Raises UsageError where it is not there."""
        told = os.environ.get("WORLD_SIZE", "1")
        if not told.isdecimal():
            raise UsageError(f"WORLD_SIZE is {told!r}, and should be how many processes train together.")
        self.count = int(told)
        self.rank = 0
        self._accelerator: Any = None
        if self.count > 1:
            self._accelerator = _accelerator(cpu=device == "cpu")
            self.rank, self.count = self._accelerator.process_index, self._accelerator.num_processes
            self.device: torch.device = self._accelerator.device
        else:
            self.device = _device(device)

    @property
    def is_first(self) -> bool:
        """Whether this is the one that writes."""
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
        """The mean over all processes, through which gradients flow to all of them."""
        return values if self.count == 1 else _Mean.apply(values, self._accelerator)

    def any(self, *flags: bool) -> tuple[bool, ...]:
        """For each flag: whether it is raised in any process. All processes get the same answer."""
        if self.count == 1:
            return flags
        raised = torch.tensor([float(flag) for flag in flags], device=self.device)
        return tuple(bool(flag) for flag in self._accelerator.reduce(raised, reduction="sum") > 0)

    def wait(self) -> None:
        """Go on when all processes are here."""
        if self.count > 1:
            self._accelerator.wait_for_everyone()

    def finish(self) -> None:
        """Take leave of the others."""
        if self.count > 1:
            self._accelerator.end_training()


class _Mean(torch.autograd.Function):
    """The mean over processes. Its gradient is the mean of theirs, because all of them depend on it."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, accelerator: Any) -> Tensor:
        ctx.accelerator = accelerator
        return accelerator.reduce(values.clone(), reduction="mean")

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return ctx.accelerator.reduce(gradients[0].clone(), reduction="mean"), None


def _accelerator(*, cpu: bool) -> Any:
    try:
        accelerate = import_library("accelerate")
    except ModuleNotFoundError as error:
        raise UsageError("Training in several processes needs accelerate: pip install 'tessera-sr[train]'.") from error
    # This module has the group of that info as a default of its functions, and is imported by an optimizer's first
    # step. Were processes connected by then, it would keep the group alive to the very end; a thread of gloo that is
    # still giving back a tensor then asks for an interpreter that is no more, and the process aborts.
    import_library("torch.distributed.nn.functional")
    return accelerate.Accelerator(cpu=cpu)


def _device(name: str) -> torch.device:
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
            f"device = {name!r} cannot be used here ({first}). Say auto, cpu, cuda, cuda:N or mps."
        ) from error
    return device
