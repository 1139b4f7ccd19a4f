"""Networks that a runtime runs from their file: the common part of ONNX and OpenVINO files.

Shapes: B pictures, C channels, H rows, W columns, s the scale.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tessera.errors import WeightsError

if TYPE_CHECKING:
    from torch import nn

Planes = NDArray[np.float32]

MULTIPLES = (1, 2, 4, 8, 16, 32, 64)
LARGEST_SCALE = 16
PROBE = (65, 67)
"""Odd and unequal, so that a network that needs even or equal sides fails on it."""

SMALL_PROBE = (5, 7)
"""For files whose metadata describe the network, which only have to agree with it."""

Fixed = tuple[int | None, ...]


class FileNetwork(ABC):
    """A file as a network: (B, C, H, W) float32 in [0, 1] -> (B, C, s*H, s*W) float32, not clipped.

    `fixed` is batch, channels, height and width; None where the size is dynamic. For a file of one fixed size, smaller
    pictures are padded by repeating their edges, and the result is cropped. Safe to call from several threads.
    Raises WeightsError for pictures larger than a fixed size, and for sides that are not a multiple of `multiple`.
    """

    def __init__(self, path: Path, fixed: Fixed) -> None:
        self.path, self.fixed = path, fixed
        self.multiple = 1
        """Height and width must divide by this number, as far as it is known."""
        self._module: nn.Module | None = None
        self._module_lock = threading.Lock()

    @property
    def module(self) -> nn.Module:
        """The same as a PyTorch module, built on first use."""
        with self._module_lock:
            if self._module is None:
                from tessera.weights.file_module import FileModule  # imports PyTorch

                self._module = FileModule(self.run).eval()
            return self._module

    def run(self, x: Planes) -> Planes:
        """Upscale a batch."""
        height, width = x.shape[2:]
        below, right = ((side or own) - own for side, own in zip(self.fixed[2:], (height, width), strict=True))
        if min(below, right) < 0:
            raise WeightsError(
                f"{self.path}: expected pictures of {self.fixed[3]}x{self.fixed[2]}, found {width}x{height}. Use tiles"
                f" of that size (`tile` {min(side for side in self.fixed[2:] if side)}), or a file with dynamic sizes."
            )
        if (height + below) % self.multiple or (width + right) % self.multiple:
            raise WeightsError(
                f"{self.path}: expected sides that divide by {self.multiple}, found {width}x{height}. `tessera upscale`"
                " pads them."
            )
        if below or right:
            x = np.pad(x, ((0, 0), (0, 0), (0, below), (0, right)), mode="edge")
        batches = np.split(x, len(x)) if self.fixed[0] == 1 else (x,)
        out = np.concatenate([self.run_batch(batch) for batch in batches])
        scale = out.shape[2] // x.shape[2]
        return out[:, :, : scale * height, : scale * width]

    @abstractmethod
    def run_batch(self, batch: Planes) -> Planes:
        """Run a batch of an accepted size: (B, C, H, W) -> (B, C, s*H, s*W), float32."""


def read_channels(shape: Sequence[int | str | None]) -> int:
    """Read the channels of a file from the shape of its input; open sizes are not integers there.

    Raises WeightsError, without the file's name, where the input is not a batch of pictures.
    """
    channels = shape[1] if len(shape) == 4 else None
    if not isinstance(channels, int) or channels not in (1, 3):
        shown = [each if each is not None else "?" for each in shape]
        raise WeightsError(
            f"its input has the shape {shown}; expected (batch, channels, height, width) with 1 or 3 channels."
        )
    if isinstance(shape[0], int) and shape[0] != 1:
        raise WeightsError(
            f"it takes batches of exactly {shape[0]} pictures; export it with a dynamic batch, or with 1."
        )
    return channels


def probe_sizes(
    fixed: Fixed,
    channels: int,
    made: Callable[[tuple[int, ...]], tuple[int, ...]],
    probe: tuple[int, int] = PROBE,
) -> tuple[int, int, int]:
    """Try sizes with growing multiples -> scale, channels of the result, the first multiple that works.

    `made` returns the output shape for an input shape; any exception means that the file does not accept it. Raises
    WeightsError, without the file's name, when the result is not an upscaled picture.
    """
    said = ""
    for multiple in MULTIPLES:
        height, width = (only or -(-side // multiple) * multiple for only, side in zip(fixed[2:], probe, strict=True))
        shape = (1, channels, height, width)
        try:
            out = made(shape)
        except Exception as error:  # the runtimes' errors have no common root
            said = shorten_message(error)
            continue
        if len(out) != 4 or out[1] not in (1, 3):
            raise WeightsError(f"its result for the input {shape} has the shape {out}, which is not a picture.")
        scale, rest = divmod(out[2], height)
        if rest or out[3] != scale * width or not 1 <= scale <= LARGEST_SCALE:
            raise WeightsError(
                f"it turns {width}x{height} into {out[3]}x{out[2]}; expected an integer scale up to {LARGEST_SCALE} in"
                " both directions."
            )
        return scale, out[1], multiple
    raise WeightsError(f"it failed on pictures of every tested size ({said}).")


def describe_limits(fixed: Fixed, results: Sequence[str]) -> tuple[str, ...]:
    """Notes about a file with one fixed size or several outputs."""
    notes: list[str] = []
    if len(results) > 1:
        notes.append(f"It has {len(results)} outputs; the first ({results[0]}) is used.")
    if any(fixed[2:]):
        width, height = (fixed[place] or "any" for place in (3, 2))
        notes.append(f"It accepts one size only, {width}x{height}: use tiles of that size.")
    return tuple(notes)


def shorten_message(error: BaseException) -> str:
    """The message of a runtime's error in one line of at most 300 characters."""
    return " ".join(str(error).split())[:300].rstrip(".") or type(error).__name__
