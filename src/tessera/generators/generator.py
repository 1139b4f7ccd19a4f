"""The declaration of a generator: one frozen value with everything that other packages need to know.

Each network's folder has two files: `declaration.py` (configuration, drawing, dialects and this value, without
PyTorch) and `network.py` (the modules). `tessera.generators.kinds` lists the declarations.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tessera.generators.config import GeneratorConfig, load_class
from tessera.generators.dialect import Dialect
from tessera.generators.structure import LayerList


@dataclass(frozen=True, kw_only=True)
class Generator:
    """One kind of network."""

    name: str
    """The value of `network` in its configurations."""
    summary: str
    config: type[GeneratorConfig]
    """Its configuration, which draws it and knows the class of the network."""
    dialects: tuple[Dialect[Any], ...] = ()
    """How files name its weights, apart from Tessera's own files."""
    from_layers: Callable[[LayerList], GeneratorConfig] | None = None
    """The sizes of the network from its layers without names, as ncnn files have them. Raises pydantic's
    ValidationError. None for a network whose layers are those of another one."""
    bf16_wrapper: str | None = None
    """A class, as `module:Class`, around the network in bf16 that keeps sums in fp32 where that pays."""

    @property
    def class_name(self) -> str:
        """The name of the network's class, which TorchScript files have, too."""
        return self.config.network_class.partition(":")[2]

    def wrap_bf16(self, network: Any) -> Any:
        """Wrap a network in bf16 in its mixed-precision form, where there is one."""
        return network if self.bf16_wrapper is None else load_class(self.bf16_wrapper)(network)


def keep_names(config: GeneratorConfig) -> dict[str, str]:
    """Name the weights as the network does."""
    return {name: name for name in config.layers.weight_names}


def own_names(kind: type[GeneratorConfig]) -> Callable[[Any], dict[str, str] | None]:
    """Make the `names` of a dialect in which one kind of network keeps its own names."""
    return lambda config: keep_names(config) if isinstance(config, kind) else None


def rename_modules(config: GeneratorConfig, modules: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Name the weights by pairs of (module of the network, module in the file)."""
    theirs = dict(modules)
    renamed: dict[str, str] = {}
    for name in config.layers.weight_names:
        module, _, part = name.rpartition(".")
        renamed[name] = f"{theirs[module]}.{part}"
    return renamed
