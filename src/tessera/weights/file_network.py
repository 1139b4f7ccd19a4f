"""Networks that stay in their file and are run by a runtime: what ONNX and OpenVINO files have in common.

Shapes: B pictures, C channels, H rows, W columns, s the scale.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tessera.errors import WeightsError

MULTIPLES = (1, 2, 4, 8, 16, 32, 64)
LARGEST_SCALE = 16
PROBE = (65, 67)
"""Odd and unequal, so that a network that wants more than that says so."""

SMALL_PROBE = (5, 7)
"""For files whose metadata tell what the network is, so that only the agreement is tried."""

Fixed = tuple[int | None, ...]


class FileNetwork(nn.Module, ABC):
    """A file as a network: (B, C, H, W) float32 in [0, 1] -> (B, C, s*H, s*W) float32, not clipped.

    `fixed` is batch, channels, height and width, as far as they cannot be chosen. A file that takes one size only is
    given smaller pictures with their edges repeated, and what is more is cut away. Safe to call from several threads.
    Raises WeightsError for pictures that are larger than the one size, and for sides that do not divide as they must.
    """

    def __init__(self, path: Path, fixed: Fixed) -> None:
        super().__init__()
        self.path, self.fixed = path, fixed
        self.multiple = 1
        """What height and width have to divide by, as far as it is known."""

    def forward(self, x: Tensor) -> Tensor:
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
            x = F.pad(x, (0, right, 0, below), mode="replicate")
        batches = x.split(1) if self.fixed[0] == 1 else (x,)
        out = torch.cat([self.as_it_is(batch) for batch in batches])
        scale = out.shape[2] // x.shape[2]
        return out[:, :, : scale * height, : scale * width]

    @abstractmethod
    def as_it_is(self, batch: Tensor) -> Tensor:
        """Run a batch of a size that the file takes: (B, C, H, W) -> what it makes of it, float32."""


def channels_of(shape: Sequence[int | str | None]) -> int:
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


def probed(
    fixed: Fixed,
    channels: int,
    made: Callable[[tuple[int, ...]], tuple[int, ...]],
    probe: tuple[int, int] = PROBE,
) -> tuple[int, int, int]:
    """Try sizes that divide by more and more -> scale, channels of the result, the first multiple that works.

    `made` tells which shape the file makes of one; whatever it raises means that it does not take that. Raises
    WeightsError, without the file's name, when the result is not an upscaled picture.
    """
    said = ""
    for multiple in MULTIPLES:
        height, width = (only or -(-side // multiple) * multiple for only, side in zip(fixed[2:], probe, strict=True))
        shape = (1, channels, height, width)
        try:
            out = made(shape)
        except Exception as error:  # the runtimes' errors have no common root
            said = first_sentence(error)
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
    raise WeightsError(f"it fails on pictures of every size that was tried ({said}).")


def notes_on(fixed: Fixed, results: Sequence[str]) -> tuple[str, ...]:
    """What a user should know about a file that takes one size only or gives several results."""
    notes: list[str] = []
    if len(results) > 1:
        notes.append(f"It gives {len(results)} results; the first ({results[0]}) is used.")
    if any(fixed[2:]):
        width, height = (fixed[place] or "any" for place in (3, 2))
        notes.append(f"It takes one size only, {width}x{height}: use tiles of that size.")
    return tuple(notes)


def first_sentence(error: BaseException) -> str:
    """What a runtime said, in one line of at most 300 letters."""
    return " ".join(str(error).split())[:300].rstrip(".") or type(error).__name__
