"""ncnn on the CPU, in fp32."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tessera.engines.engine import Engine, EngineInfo, OpenOptions

if TYPE_CHECKING:
    from tessera.weights.loaded_generator import LoadedGenerator


def _open(generator: LoadedGenerator, options: OpenOptions) -> Engine:
    from tessera.engines.ncnn.engine import NcnnEngine

    return NcnnEngine(generator, threads=options.threads)


NCNN = EngineInfo(
    name="ncnn",
    title="ncnn",
    open=_open,
    package="ncnn",
    module="ncnn",
    install="pip install 'tessera-sr[ncnn]'",
)
