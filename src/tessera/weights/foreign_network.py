"""Networks outside the family: recognized and built by the `spandrel` package from tensors that were read safely."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

from tessera.errors import EngineError, UnknownNetworkError, WeightsError
from tessera.generators import GeneratorConfig
from tessera.generators.drawing import Map, Pen
from tessera.libraries import find_install, import_library
from tessera.weights.arrays import State
from tessera.weights.torch_tensors import to_tensors

if TYPE_CHECKING:
    from torch import nn

FOREIGN_RADIUS = 128


class ForeignConfig(GeneratorConfig, frozen=True, extra="forbid"):
    """A network outside the family.

    Its layers are unknown, so its receptive field is a generous guess and its cost is 0.
    """

    network: Literal["foreign"] = "foreign"
    architecture: str = "unknown"
    input_multiple: int = 1

    @property
    def multiple(self) -> int:
        """Height and width of the input must divide by this number."""
        return self.input_multiple

    @property
    def receptive_radius(self) -> int:
        """A guess that is large enough for most networks; global attention covers the whole picture."""
        return FOREIGN_RADIUS

    def multiply_adds(self, height: int, width: int) -> int:
        """Unknown: 0."""
        return 0

    def draw(self, pen: Pen[Map], picture: Map) -> Map:
        """Impossible: raises EngineError."""
        raise EngineError(f"The layers of {self.architecture} are unknown to Tessera.")

    def build(self) -> nn.Module:
        """Impossible without a file: raises WeightsError."""
        raise WeightsError(f"{self.architecture} can only be loaded from a file.")


def build_foreign(state: State, error: UnknownNetworkError) -> tuple[ForeignConfig, nn.Module]:
    """Build a network from tensors that no dialect of the family has, with `spandrel`.

    `error` says why they are unknown. Raises UnknownNetworkError that continues it, with how to install the package.
    """
    spandrel = _import_spandrel(error)
    try:
        model: Any = spandrel.ModelLoader(device="cpu").load_from_state_dict(to_tensors(state))
    except Exception as foreign:  # its errors have no common root
        raise UnknownNetworkError(f"{error} The package spandrel does not know it either.") from foreign
    size: Any = model.size_requirements
    config = ForeignConfig(
        architecture=str(model.architecture.name),
        in_channels=model.input_channels,
        out_channels=model.output_channels,
        scale=model.scale,
        input_multiple=math.lcm(int(size.multiple_of or 1), 1),
    )
    return config, model.model


def _import_spandrel(error: UnknownNetworkError) -> Any:
    install = f"`{find_install('spandrel')}`"
    try:
        return import_library("spandrel")
    except Exception as problem:
        if isinstance(problem, ModuleNotFoundError) and problem.name == "spandrel":
            raise UnknownNetworkError(
                f"{error} If it is a network outside the family, the package spandrel may load it: {install}."
            ) from error
        said = " ".join(str(problem).split())[:300].rstrip(".") or "no reason given"
        raise UnknownNetworkError(
            f"{error} If it is a network outside the family, the package spandrel may load it; it is installed and"
            f" cannot be imported ({type(problem).__name__}: {said}), which {install} may repair."
        ) from problem
