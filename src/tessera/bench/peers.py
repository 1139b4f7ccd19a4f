"""Peers for benchmarks: PyTorch, ncnn and spandrel in their typical use.

Shapes: C channels, h and w the picture, s the scale.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor

from tessera.bench.network import Contender, Opened
from tessera.engines.engine import Precision
from tessera.engines.opening import EngineName, open_engine
from tessera.errors import EngineError
from tessera.libraries import find_install, import_library
from tessera.weights.loaded_generator import LoadedGenerator
from tessera.weights.ncnn_writer import write_param, write_values

NAMES: tuple[EngineName, ...] = tuple(name for name in get_args(EngineName) if name != "auto")


def list_contenders(
    generator: LoadedGenerator,
    *,
    engines: tuple[EngineName, ...] = NAMES,
    precisions: tuple[Precision, ...] = ("exact", "auto"),
    device: str = "cpu",
    with_peers: bool = True,
) -> list[Contender]:
    """List the contenders: plain PyTorch (the reference), the other peers, each engine at each precision."""
    found = [Contender("plain PyTorch", lambda: open_plain_pytorch(generator))]
    if with_peers:
        found.append(Contender("plain ncnn", lambda: open_plain_ncnn(generator)))
        found.append(Contender("spandrel", lambda: open_spandrel(generator)))
    for name in engines:
        found += [_make_contender(generator, name, precision, device) for precision in precisions]
    return found


def _make_contender(generator: LoadedGenerator, name: EngineName, precision: Precision, device: str) -> Contender:
    def open_programs() -> Opened:
        engine = open_engine(generator, precision, engine=name, device=device)

        def run(picture: Tensor) -> Tensor:
            return torch.from_numpy(engine.run(picture.numpy()))

        return Opened(f"{engine.name} {engine.precision}", engine.precision, run)

    return Contender(f"{name} {precision}", open_programs)


def open_plain_pytorch(generator: LoadedGenerator) -> Opened:
    """Open PyTorch as the published inference scripts do on a processor: whole picture, eager, fp32, NCHW, no_grad."""
    network = generator.network  # in the default layout; engines convert copies

    def run(picture: Tensor) -> Tensor:
        with torch.no_grad():
            return network(picture)

    return Opened("plain PyTorch", "fp32", run)


def open_plain_ncnn(generator: LoadedGenerator) -> Opened:
    """Open the `ncnn` package with its defaults: files, a net, an extractor for each picture."""
    try:
        ncnn = import_library("ncnn")
    except ImportError as error:
        raise EngineError(f"The package `ncnn` cannot be imported ({error}): {find_install('ncnn')}") from error
    text, values = write_param(generator.config)
    net: Any = ncnn.Net()
    net.opt.num_threads = torch.get_num_threads()
    with tempfile.TemporaryDirectory() as folder:
        param, values_file = Path(folder, "network.param"), Path(folder, "network.bin")
        param.write_text(text, encoding="ascii")
        values_file.write_bytes(write_values(generator.arrays, values))
        if net.load_param(str(param)) != 0 or net.load_model(str(values_file)) != 0:
            raise EngineError("ncnn cannot load this network.")

    def run(picture: Tensor) -> Tensor:
        extractor: Any = net.create_extractor()
        pixels = picture[0].contiguous().numpy()
        extractor.input("in0", ncnn.Mat(pixels))
        code, mat = extractor.extract("out0")
        if code != 0:
            raise EngineError(f"ncnn returned the error {code}.")
        return torch.from_numpy(np.array(mat))[None]

    return Opened("plain ncnn", "fp32", run)


def open_spandrel(generator: LoadedGenerator) -> Opened:
    """Open the `spandrel` package: its descriptor of these weights, called on the whole picture under no_grad."""
    try:
        spandrel = import_library("spandrel")
    except ImportError as error:
        raise EngineError(f"The package `spandrel` cannot be imported: {error}.") from error
    model: Any = spandrel.ModelLoader(device="cpu").load_from_state_dict(dict(generator.network.state_dict()))
    model.eval()

    def run(picture: Tensor) -> Tensor:
        with torch.no_grad():
            return model(picture)

    return Opened("spandrel", "fp32", run)
