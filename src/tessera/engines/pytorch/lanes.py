"""Batches transferred to a device and back, overlapping copies and computation.

While one part of a batch is computed, the next is uploaded and the previous one downloaded. A lane hides how a device
does that: CUDA with streams, everything else in sequence.

Shapes: B tiles, C channels, h and w the tile, s the scale.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from tessera.engines.engine import Tiles

Network = Callable[[Tensor], Tensor]


class Lane(Protocol):
    """Transfers tiles to a device and back; all methods but `finish` may return early."""

    def upload(self, tiles: Tensor) -> Any:
        """(B, C, h, w) float32 on the host -> a ticket for them on the device."""
        ...

    def compute(self, uploaded: Any) -> Any:
        """Run the network on uploaded tiles -> a ticket for the output."""
        ...

    def download(self, computed: Any) -> Tensor:
        """Copy the output to the host: (B, C, s*h, s*w), valid after `finish`."""
        ...

    def finish(self) -> None:
        """Wait until everything is done."""
        ...


def run_in_parts(lane: Lane, tiles: Tiles, at_once: int) -> Tiles:
    """(B, C, h, w) float32 -> (B, C, s*h, s*w) float32, in parts of `at_once` tiles."""
    parts: Sequence[Tensor] = torch.from_numpy(tiles).split(at_once)
    made: list[Tensor] = []
    following = lane.upload(parts[0])
    for index in range(len(parts)):
        here = following
        if index + 1 < len(parts):
            following = lane.upload(parts[index + 1])
        made.append(lane.download(lane.compute(here)))
    lane.finish()
    result = [part.numpy().astype(np.float32, copy=False) for part in made]
    return result[0] if len(result) == 1 else np.concatenate(result)


class PlainLane:
    """In sequence, for CPUs and for devices without streams."""

    def __init__(self, network: Network, device: torch.device, dtype: torch.dtype) -> None:
        self._network, self._device, self._dtype = network, device, dtype

    def upload(self, tiles: Tensor) -> Tensor:
        """To the device, in channels-last and in the type of the products; to a GPU as bytes where that is lossless."""
        if self._device.type != "cpu":
            tiles = unpack_tiles(pack_tiles(tiles).to(self._device))
        return tiles.to(self._device, self._dtype, memory_format=torch.channels_last)

    def compute(self, uploaded: Tensor) -> Tensor:
        """Run the network."""
        return self._network(uploaded)

    def download(self, computed: Tensor) -> Tensor:
        """To the host, as float32."""
        return computed.to("cpu", torch.float32).contiguous()

    def finish(self) -> None:
        """Nothing to wait for."""


class CudaLane:
    """One stream per direction next to the computing one, and pinned memory, which is copied without the CPU.

    Outputs of reduced precision are transferred as fp16, in half the bytes: in [0, 1] it holds all digits of bf16.
    """

    def __init__(self, network: Network, device: torch.device, dtype: torch.dtype) -> None:
        self._network, self._device, self._dtype = network, device, dtype
        self._there, self._back = torch.cuda.Stream(device), torch.cuda.Stream(device)

    def upload(self, tiles: Tensor) -> tuple[Tensor, Any]:
        """From pinned memory, as bytes where that is lossless, converted on the device."""
        pinned = pack_tiles(tiles).contiguous().pin_memory()
        with torch.cuda.stream(self._there):
            x = unpack_tiles(pinned.to(self._device, non_blocking=True))
            return x.to(self._dtype, memory_format=torch.channels_last), self._there.record_event()

    def compute(self, uploaded: tuple[Tensor, Any]) -> tuple[Tensor, Any]:
        """Run the network when the tiles have arrived."""
        x, arrived = uploaded
        stream = torch.cuda.current_stream(self._device)
        stream.wait_event(arrived)
        x.record_stream(stream)
        y = self._network(x)
        reduced = self._dtype != torch.float32
        y = y.to(torch.float16 if reduced else torch.float32).contiguous()
        return y, stream.record_event()

    def download(self, computed: tuple[Tensor, Any]) -> Tensor:
        """Into pinned memory."""
        y, made = computed
        place = torch.empty(y.shape, dtype=y.dtype, pin_memory=True)
        with torch.cuda.stream(self._back):
            self._back.wait_event(made)
            place.copy_(y, non_blocking=True)
        y.record_stream(self._back)
        return place

    def finish(self) -> None:
        """Wait for the last copy back, which comes after everything else."""
        self._back.synchronize()


def pack_tiles(tiles: Tensor) -> Tensor:
    """Float32 in whole levels of 255 -> uint8, a quarter of the bytes; other values stay float32.

    >>> pack_tiles(torch.tensor([0.0, 1.0])).dtype, pack_tiles(torch.tensor([0.5])).dtype
    (torch.uint8, torch.float32)
    """
    levels = (tiles * 255).round().to(torch.uint8)
    return levels if torch.equal(unpack_tiles(levels), tiles) else tiles


def unpack_tiles(tiles: Tensor) -> Tensor:
    """The inverse of `pack_tiles`, exact on every device, because division is rounded alike everywhere."""
    return tiles.to(torch.float32) / 255 if tiles.dtype == torch.uint8 else tiles


def lane_for(network: Network, device: torch.device, dtype: torch.dtype) -> Lane:
    """The lane for a device."""
    return (CudaLane if device.type == "cuda" else PlainLane)(network, device, dtype)
