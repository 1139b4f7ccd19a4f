"""A network's work on a GPU, recorded once per tile shape and replayed: one launch instead of hundreds.

Deep networks are hundreds of small convolutions; on a fast GPU launching them takes longer than computing them.

Shapes: B tiles, C channels, h and w the tile.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import torch
from torch import Tensor

from tessera.engines.pytorch.lanes import Network

Recorder = Callable[[Network, Tensor], Network]

_RECORDED_AFTER = 2
"""Runs of a shape before it is recorded: for a small picture a recording does not pay."""
_MOST_RECORDINGS = 2
"""Each holds the memory of its feature maps: one for whole batches, one for the rest of a picture."""


class Replayed:
    """A network that replays recordings, and runs normally where recording fails.

    `record` takes the network and an example (B, C, h, w) and returns its replay for that shape. Safe to call from
    several threads.
    """

    def __init__(self, network: Network, record: Recorder) -> None:
        self._network, self._record = network, record
        self._runs: dict[tuple[int, ...], int] = {}
        self._recordings: dict[tuple[int, ...], Network] = {}
        self._is_refused = False
        self._lock = threading.Lock()

    def __call__(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> the network's output, owned by the caller."""
        with self._lock:
            replay = self._recording(x)
            if replay is not None:
                return replay(x)
        return self._network(x)

    def _recording(self, x: Tensor) -> Network | None:
        shape = tuple(x.shape)
        if shape in self._recordings or self._is_refused or len(self._recordings) == _MOST_RECORDINGS:
            return self._recordings.get(shape)
        self._runs[shape] = self._runs.get(shape, 0) + 1
        if self._runs[shape] <= _RECORDED_AFTER:
            return None
        try:
            self._recordings[shape] = self._record(self._network, x)
        except RuntimeError:  # too little memory for a second set of maps, or an operation that cannot be recorded
            self._is_refused = True
        return self._recordings.get(shape)


def record_on_cuda(network: Network, x: Tensor) -> Network:
    """Record a CUDA graph of the network for tiles of this shape. Raises RuntimeError when that fails."""
    place = x.clone()
    beside, here = torch.cuda.Stream(x.device), torch.cuda.current_stream(x.device)
    beside.wait_stream(here)
    with torch.cuda.stream(beside):  # libraries choose algorithms and allocate memory in the first run
        network(place)
    here.wait_stream(beside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        made = network(place)

    def replay(tiles: Tensor) -> Tensor:
        place.copy_(tiles)
        graph.replay()
        return made.clone()

    return replay
