"""Look for Vulkan devices in a separate process, because a broken driver can crash or hang the process that loads it.

Run by `tessera.engines.ncnn.vulkan`; prints one JSON object. Each device computes a small network, and its result is
compared with ncnn's on the CPU. Shapes: C channels, h and w the tile.
"""

from __future__ import annotations

import io
import json
import math
from typing import Any

import numpy as np

from tessera.engines.engine import Tiles
from tessera.engines.ncnn.net import Net, NetOptions, open_net
from tessera.errors import TesseraError
from tessera.libraries import import_library

SIDE = 16
_PARAM = """7767517
3 3
Input in0 0 1 in0 0=3
Convolution conv0 1 1 in0 mid 0=16 1=3 4=1 5=1 6=432 9=2 -23310=1,2.000000e-01
Convolution conv1 1 1 mid out0 0=3 1=3 4=1 5=1 6=432
"""
"""Two 3x3 convolutions with a leaky ReLU between them: 3 -> 16 -> 3 channels."""
_FP32_TAG = bytes(4)


def main() -> None:
    """Print {"devices": [...]} as JSON; `error` is the largest difference of a device from the CPU on the network."""
    ncnn = import_library("ncnn")
    devices = [_describe(ncnn, index) for index in range(ncnn.get_gpu_count())]
    ncnn.destroy_gpu_instance()
    print(json.dumps({"devices": devices}))


def _describe(ncnn: Any, index: int) -> dict[str, object]:
    info: Any = ncnn.get_gpu_info(index)
    return {
        "index": index,
        "name": str(info.device_name()),
        "type": int(info.type()),
        "vendor": int(info.vendor_id()),
        "driver": int(info.driver_version()),
        "memory_bytes": int(ncnn.get_gpu_device(index).get_heap_budget()) * 2**20,
        "error": _measure_error(index),
    }


def _measure_error(index: int) -> float | None:
    """Largest difference between a device and the CPU on the test network; None if the device fails."""
    try:
        expected, found = _run(NetOptions()), _run(NetOptions(vulkan_device=index))
    except TesseraError:
        return None
    error = float(np.abs(found - expected).max())
    return error if math.isfinite(error) else None


def _run(options: NetOptions) -> Tiles:
    """The output (3, h, w) of the test network for a fixed input."""
    random = np.random.default_rng(0)
    first, second = (random.normal(0, 0.2, size).astype("<f4").tobytes() for size in (432 + 16, 432 + 3))
    content = io.BytesIO(_FP32_TAG + first + _FP32_TAG + second)
    tile = random.random((3, SIDE, SIDE), np.float32)
    result = np.empty_like(tile)
    Net(open_net(_PARAM, content, options), "in0", "out0").run(tile, result)
    return result


if __name__ == "__main__":
    main()
