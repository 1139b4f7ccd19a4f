"""A generator loaded into an ncnn net, for the CPU or for a Vulkan device.

Weights that came as ncnn files are read from these files. Any other weights are written in ncnn's format, in memory
(`tessera.weights.ncnn_writer`).
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np

from tessera.engines.ncnn.net import Net, NetOptions, open_net
from tessera.errors import EngineError, WeightsError
from tessera.generators import find_generator, list_names
from tessera.weights.arrays import to_float32
from tessera.weights.dialects import read_shapes, state_shapes
from tessera.weights.ncnn import read_ncnn
from tessera.weights.ncnn_text import NcnnLayer, parse_param
from tessera.weights.ncnn_writer import write_param, write_values

if TYPE_CHECKING:
    from tessera.weights.loaded_generator import LoadedGenerator


def load_net(generator: LoadedGenerator, options: NetOptions) -> Net:
    """Load a generator's weights into a net.

    Raises EngineError for networks outside the family, and when the `ncnn` package cannot be imported.
    """
    config = generator.config
    if find_generator(config) is None or read_shapes(generator.arrays) != state_shapes(config):
        raise EngineError(
            f"The ncnn engine runs {list_names()}, and {generator.name} is {config.network}; use the pytorch engine."
        )
    own = _load_own_files(generator, options)
    if own is not None:
        return own
    text, values = write_param(config)
    content = io.BytesIO(write_values(generator.arrays, values))
    return Net(open_net(text, content, options), "in0", "out0")


def _load_own_files(generator: LoadedGenerator, options: NetOptions) -> Net | None:
    """Load the files that a generator came from; None if there are none, or they have changed since."""
    if generator.dialect != "ncnn" or generator.source is None:
        return None
    try:
        weights = read_ncnn(generator.source)
        arrays = generator.arrays
        if weights.config != generator.config or any(
            not np.array_equal(to_float32(stored), arrays[name]) for name, stored in weights.state.items()
        ):
            return None
        layers = parse_param(weights.param)
        with weights.bin.open("rb") as numbers:
            net = open_net(weights.param.read_text(encoding="ascii"), numbers, options)
    except (OSError, WeightsError):
        return None
    return Net(net, next(layer.outputs[0] for layer in layers if layer.kind == "Input"), _network_output(layers))


def _network_output(layers: list[NcnnLayer]) -> str:
    """The network's output, before the downscaling that some files end with (`weights.ncnn` leaves it out, too)."""
    read = {name for layer in layers for name in layer.inputs}
    makers = {name: layer for layer in layers for name in layer.outputs}
    end = next(name for name in makers if name not in read)
    last = makers[end]
    while last.kind in ("Noop", "Split"):
        last = makers[last.inputs[0]]
    return last.inputs[0] if last.kind == "Interp" and last.numbers.get(1, 1.0) < 1 else end
