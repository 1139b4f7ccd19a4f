"""What reading a generator and reading a discriminator have in common: dialects, and what they turn weights into."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic

from pydantic import ValidationError

from tessera.config import explain
from tessera.errors import UnknownNetworkError
from tessera.generators import GENERATORS
from tessera.generators.dialect import ConfigT, Dialect, MisfitError, ScaleHint
from tessera.weights.arrays import Array, State
from tessera.weights.dialects.states import compare, read_shapes

GENERATOR_DIALECTS: tuple[Dialect[Any], ...] = tuple(
    dialect for generator in GENERATORS for dialect in generator.dialects
)


@dataclass(frozen=True)
class Recognized(Generic[ConfigT]):
    """Weights under the names of the network that `config` builds."""

    config: ConfigT
    state: dict[str, Array]
    dialect: str
    notes: tuple[str, ...] = ()


def infer_config(dialect: Dialect[ConfigT], state: State, hint: ScaleHint) -> tuple[ConfigT, Mapping[str, str]]:
    """Infer the configuration of weights in a dialect, and their names in the file by their own names.

    Raises UnknownNetworkError when the shapes are not those of such a network.
    """
    start = f"these weights look like {dialect.description}, but "
    try:
        config = dialect.infer(read_shapes(state), hint)
    except MisfitError as error:
        raise UnknownNetworkError(f"{start}{error}.") from error
    except ValidationError as error:
        raise UnknownNetworkError(f"{start}its sizes are out of range: {explain(error)}.") from error
    names = dialect.names(config)
    assert names is not None, "a dialect names the networks that it infers"
    return config, names


def rename(
    dialect: Dialect[Any], names: Mapping[str, str], expected: Mapping[str, tuple[int, ...]], state: State
) -> dict[str, Array]:
    """Give weights in a dialect the network's own names, after comparing them with the expected shapes.

    Raises UnknownNetworkError when they differ.
    """
    problems = compare({theirs: expected[ours] for ours, theirs in names.items()}, state)
    if problems:
        raise UnknownNetworkError(f"these weights look like {dialect.description}, but {problems}.")
    return {ours: state[theirs] for ours, theirs in names.items()}
