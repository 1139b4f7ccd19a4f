"""ONNX files as generators: run by ONNX Runtime, described by what they say of themselves and what they do.

Files that Tessera exported carry their configuration. Of others the shapes of input and output are read, and a few
small pictures tell the rest: the scale, and which sizes they take.

Shapes: B pictures, C channels, H rows, W columns, s the scale.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tessera.errors import WeightsError

INSTALL = "pip install 'tessera-sr[onnx]'"
CPU = "CPUExecutionProvider"
Providers = Sequence[tuple[str, Mapping[str, str]]]

_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
_MULTIPLES = (1, 2, 4, 8, 16, 32, 64)
_LARGEST_SCALE = 16
_PROBE = (65, 67)
"""Odd and unequal, so that a network that wants more than that says so."""


class OnnxNetwork(nn.Module):
    """A session of ONNX Runtime as a network: (B, C, H, W) float32 in [0, 1] -> (B, C, s*H, s*W) float32, not clipped.

    A file that takes one size only is given smaller pictures with their edges repeated, and what is more is cut away.
    Safe to call from several threads. Raises WeightsError for pictures that are larger than the one size.
    """

    def __init__(self, path: Path, session: Any) -> None:
        super().__init__()
        self.path, self.session = path, session
        only = session.get_inputs()[0]
        self._name: str = only.name
        self._type = _TYPES[only.type]
        self.fixed: tuple[int | None, ...] = tuple(each if isinstance(each, int) else None for each in only.shape)
        """Batch, channels, height and width, as far as they cannot be chosen."""

    def forward(self, x: Tensor) -> Tensor:
        """Enlarge a batch."""
        height, width = x.shape[2:]
        below, right = ((side or own) - own for side, own in zip(self.fixed[2:], (height, width), strict=True))
        if min(below, right) < 0:
            raise WeightsError(
                f"{self.path}: takes pictures of {self.fixed[3]}x{self.fixed[2]} and got {width}x{height}. Use tiles of"
                f" that size (--tile {min(side for side in self.fixed[2:] if side)}), or a file with dynamic sizes."
            )
        if below or right:
            x = F.pad(x, (0, right, 0, below), mode="replicate")
        batches = x.split(1) if self.fixed[0] == 1 else (x,)
        out = torch.cat([self.as_it_is(batch) for batch in batches])
        scale = out.shape[2] // x.shape[2]
        return out[:, :, : scale * height, : scale * width]

    def as_it_is(self, batch: Tensor) -> Tensor:
        """Run a batch of a size that the file takes: (B, C, H, W) -> what it makes of it, float32."""
        array = batch.detach().to("cpu").contiguous().numpy().astype(self._type, copy=False)
        return torch.from_numpy(np.asarray(self.session.run(None, {self._name: array})[0], np.float32))


@dataclass(frozen=True)
class OnnxFile:
    """What there is to know about an ONNX file before it is used."""

    network: OnnxNetwork
    in_channels: int
    out_channels: int
    scale: int
    multiple: int
    architecture: str
    metadata: Mapping[str, str]
    notes: tuple[str, ...]
    type_name: str
    """Of the numbers that it takes: float32 or float16."""


def open_session(path: Path, providers: Providers, *, threads: int | None = None) -> Any:
    """Open a file with these execution providers, the first preferred. Raises WeightsError, without the file's name."""
    try:
        runtime: Any = importlib.import_module("onnxruntime")
    except (ImportError, OSError) as error:
        raise WeightsError(f"ONNX files need the package onnxruntime ({error}): {INSTALL}.") from error
    options = runtime.SessionOptions()
    options.log_severity_level = 4
    if threads is not None:
        options.intra_op_num_threads = threads
    try:
        return runtime.InferenceSession(
            str(path),
            sess_options=options,
            providers=[name for name, _ in providers],
            provider_options=[dict(settings) for _, settings in providers],
        )
    except Exception as error:  # its errors have no common root
        raise WeightsError(f"ONNX Runtime cannot open this file ({_first_sentence(error)}).") from error


def read_onnx(path: Path) -> OnnxFile:
    """Open an ONNX file on the processor and find out what it does. Raises WeightsError, without the file's name."""
    session = open_session(path, [(CPU, {})])
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if len(inputs) != 1:
        raise WeightsError(
            f"it takes {len(inputs)} inputs ({', '.join(each.name for each in inputs)}), not one picture."
        )
    if inputs[0].type not in _TYPES:
        raise WeightsError(f"it takes {inputs[0].type}; pictures are given as float32 or float16 in [0, 1].")
    shape = list(inputs[0].shape)
    channels = shape[1] if len(shape) == 4 else None
    if channels not in (1, 3):
        raise WeightsError(
            f"its input has the shape {shape}; expected (batch, channels, height, width) with 1 or 3 channels."
        )
    if isinstance(shape[0], int) and shape[0] != 1:
        raise WeightsError(
            f"it takes batches of exactly {shape[0]} pictures; export it with a dynamic batch, or with 1."
        )
    network = OnnxNetwork(path, session)
    scale, made, multiple = _probed(network, channels)
    meta = session.get_modelmeta()
    notes: list[str] = []
    if len(outputs) > 1:
        notes.append(f"It gives {len(outputs)} results; the first ({outputs[0].name}) is used.")
    if any(network.fixed[2:]):
        width, height = (network.fixed[place] or "any" for place in (3, 2))
        notes.append(f"It takes one size only, {width}x{height}: use tiles of that size.")
    return OnnxFile(
        network=network,
        in_channels=channels,
        out_channels=made,
        scale=scale,
        multiple=multiple,
        architecture=f"ONNX ({meta.graph_name})" if meta.graph_name else "ONNX",
        metadata=dict(meta.custom_metadata_map),
        notes=tuple(notes),
        type_name=np.dtype(_TYPES[inputs[0].type]).name,
    )


def _probed(network: OnnxNetwork, channels: int) -> tuple[int, int, int]:
    """Try sizes that divide by more and more -> scale, channels of the result, the first multiple that works."""
    said = ""
    for multiple in _MULTIPLES:
        height, width = (
            only or -(-side // multiple) * multiple for only, side in zip(network.fixed[2:], _PROBE, strict=True)
        )
        example = torch.rand(1, channels, height, width, generator=torch.Generator().manual_seed(0))
        try:
            out = network.as_it_is(example)
        except Exception as error:  # the runtime's errors have no common root
            said = _first_sentence(error)
            continue
        if out.ndim != 4 or out.shape[1] not in (1, 3):
            raise WeightsError(f"it makes {tuple(out.shape)} of {tuple(example.shape)}, which is no picture.")
        scale, rest = divmod(out.shape[2], height)
        if rest or out.shape[3] != scale * width or not 1 <= scale <= _LARGEST_SCALE:
            raise WeightsError(
                f"it makes {out.shape[3]}x{out.shape[2]} of {width}x{height}; expected a whole multiple up to"
                f" {_LARGEST_SCALE} in both directions."
            )
        return scale, out.shape[1], multiple
    raise WeightsError(f"it fails on pictures of every size that was tried ({said}).")


def _first_sentence(error: BaseException) -> str:
    return " ".join(str(error).split())[:300].rstrip(".") or type(error).__name__
