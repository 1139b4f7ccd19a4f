"""From the JSON in a file's metadata to the configuration of a network, generator or discriminator.

Nothing here needs PyTorch.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

from pydantic import BaseModel, ValidationError

from tessera.errors import WeightsError

ConfigT = TypeVar("ConfigT", bound=BaseModel, covariant=True)


class Kind(Protocol[ConfigT]):
    """One kind of network: its name in configurations and the type of these."""

    @property
    def name(self) -> str:
        """The word under `network` in a configuration."""
        ...

    @property
    def config(self) -> type[ConfigT]:
        """The type of the configurations of this network."""
        ...


def config_from_json(text: str, key: str, kinds: Sequence[Kind[ConfigT]]) -> ConfigT:
    """Rebuild the configuration that stands as JSON under a key of the metadata.

    Raises WeightsError for anything but a complete configuration of one of these kinds, without the name of the file.
    """
    try:
        values: Any = json.loads(text)
        network: Any = values["network"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise WeightsError(f"its metadata has under `{key}` no configuration of a network.") from None
    known = next((kind for kind in kinds if kind.name == network), None)
    if known is None:
        names = ", ".join(kind.name for kind in kinds)
        raise WeightsError(
            f"its metadata names the network {str(network)[:60]!r}, and this program knows {names}. "
            "A newer version may know more."
        )
    try:
        return known.config.model_validate_json(text, strict=True)
    except ValidationError as error:
        raise WeightsError(f"the configuration in its metadata is not one of {network}: {explain(error)}.") from error


def explain(error: ValidationError) -> str:
    """Say in words what pydantic found wrong with a configuration."""
    details = error.errors(include_url=False, include_context=False, include_input=False)
    return "; ".join(
        f"{'.'.join(map(str, detail['loc'])) + ': ' if detail['loc'] else ''}{detail['msg']}"[:200]
        for detail in details[:3]
    )
