"""Files of discriminators: from a file to a network and back.

Files of every program of the family are read (`.pth`, `.pt`, `.ckpt`, `.safetensors`), and nothing in them is executed.
What Tessera writes is safetensors with the complete configuration in its metadata and all buffers (the statistics of
normalizations, the vectors of spectral norms), so that training can resume from it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tessera.config import config_from_json
from tessera.discriminators.catalog import DISCRIMINATORS
from tessera.discriminators.config import DiscriminatorConfig
from tessera.errors import UsageError, WeightsError
from tessera.weights.arrays import Array, format_dtype, is_floating
from tessera.weights.checkpoint import read_checkpoint
from tessera.weights.described_file import (
    check_name,
    check_weight,
    prefix_errors,
    select_metadata,
    write_described,
)
from tessera.weights.dialects.discriminators import COUNTER, recognize_discriminator, unwrap_discriminator
from tessera.weights.dialects.reading import Recognized
from tessera.weights.dialects.states import compare, state_shapes
from tessera.weights.formats import identify_format
from tessera.weights.names import ARCHIVE_SUFFIX, CHECKPOINT_SUFFIXES
from tessera.weights.parts import read_digest
from tessera.weights.pickle_walk import Inert
from tessera.weights.safetensors_file import read_safetensors
from tessera.weights.torch_tensors import to_arrays

if TYPE_CHECKING:
    from torch import Tensor, nn

CONFIG_KEY = "tessera.discriminator"
GENERATOR_KEY = "tessera.config"

SUFFIXES = (*CHECKPOINT_SUFFIXES, ARCHIVE_SUFFIX, ".safetensors")

ONLY_AT_BIRTH = frozenset({"init_scale"})
"""Fields that say how weights are drawn, and mean nothing once there are weights."""


@dataclass(frozen=True)
class LoadedDiscriminator:
    """A discriminator ready to run, and its origin.

    `network` is in eval mode, in fp32, without gradients: (B, C, H, W), RGB in [0, 1] -> a tuple of logits. To train it
    on, put it into training mode and let its parameters have gradients. `sha256` is that of the file.
    """

    config: DiscriminatorConfig
    network: nn.Module
    dialect: str
    wrapper: str
    notes: tuple[str, ...]
    source: Path
    sha256: str
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])


# -------------------------------------------------------------------------------------------------------- reading


def load_discriminator(path: Path, *, config: DiscriminatorConfig | None = None) -> LoadedDiscriminator:
    """Read a file of any known format and make the discriminator that it belongs to.

    With `config`, the file must hold exactly that network; what weights cannot tell (an activation, whether there are
    skip connections) is then taken from it. Without, the file's metadata, names and shapes decide.

    Raises WeightsError, with the sentence that says what is wrong with the file.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"{path}: there is no such file. Give the path of a discriminator's weights.")
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise WeightsError(
            f"{path}: weights of discriminators end in {', '.join(SUFFIXES)}, and this file ends in "
            f"{suffix or 'nothing'}. Give one of those, or rename the file if it is one."
        )
    metadata: dict[str, str] = {}
    with prefix_errors(path):
        is_safetensors = identify_format(path) == "safetensors"
    if is_safetensors:
        with prefix_errors(path):
            found, wrapper, metadata = _read_safetensors(path)
    else:
        content = read_checkpoint(path).content
        with prefix_errors(path):
            found, wrapper = _recognize_by_names(content)
    with prefix_errors(path):
        chosen = _reconcile_config(found, config)
        _check_numbers(found.state)
    from tessera.weights.assembling import assemble  # imports PyTorch

    return LoadedDiscriminator(
        config=chosen,
        network=assemble(chosen, found.state),
        dialect=found.dialect,
        wrapper=wrapper,
        notes=found.notes,
        source=path,
        sha256=read_digest(path),
        metadata=metadata,
    )


def _recognize_by_names(content: Any) -> tuple[Recognized[DiscriminatorConfig], str]:
    if isinstance(content, Inert):
        raise WeightsError(f"it holds no dictionary of tensors but `{content.name}`.")
    unwrapped = unwrap_discriminator(content)
    found = recognize_discriminator(unwrapped.state)
    return dataclasses.replace(found, notes=(*unwrapped.notes, *found.notes)), unwrapped.wrapper


def _read_safetensors(path: Path) -> tuple[Recognized[DiscriminatorConfig], str, dict[str, str]]:
    state, metadata = read_safetensors(path)
    if CONFIG_KEY not in metadata and GENERATOR_KEY in metadata:
        raise WeightsError(
            "this is a generator that Tessera wrote, and a discriminator is needed. Give the discriminator's file."
        )
    if CONFIG_KEY not in metadata:
        found, wrapper = _recognize_by_names(state)
        return found, wrapper, metadata
    config = config_from_json(metadata[CONFIG_KEY], CONFIG_KEY, DISCRIMINATORS)
    problem = compare(state_shapes(config), state)
    if problem:
        raise WeightsError(
            f"its metadata says that it is {config.network}, and its tensors disagree: {problem}. One of the two was "
            "changed after it was written; use the original file."
        )
    ordered = {name: state[name] for name in state_shapes(config)}
    return Recognized(config, ordered, "tessera"), "raw", select_metadata(metadata, CONFIG_KEY)


def _reconcile_config(found: Recognized[DiscriminatorConfig], asked: DiscriminatorConfig | None) -> DiscriminatorConfig:
    """Give the configuration to build: what was asked for where the file allows it, else what the file says."""
    if asked is None or asked == found.config:
        return found.config
    if asked.network != found.config.network:
        raise WeightsError(
            f"it holds the discriminator {_describe_network(found.config)}, and {asked.network} was asked for. Ask for "
            f"{found.config.network}, or give another file."
        )
    theirs, ours = found.config.model_dump(), asked.model_dump()
    differing = [name for name in ours if ours[name] != theirs[name] and name not in ONLY_AT_BIRTH]
    decided = found.dialect == "tessera" or bool(compare(state_shapes(asked), found.state))
    if differing and decided:
        said = "; ".join(f"{name} is {theirs[name]}, and {ours[name]} was asked for" for name in differing)
        raise WeightsError(f"it holds another {asked.network}: {said}. Ask for what it holds, or give another file.")
    return asked


def _describe_network(config: DiscriminatorConfig) -> str:
    scales: int | None = getattr(config, "scales", None)
    return f"{config.network} with {scales} networks" if scales else config.network


def _check_numbers(state: Mapping[str, Array]) -> None:
    """Raise WeightsError for weights that are not finite floating-point values."""
    for name, tensor in state.items():
        if not name.endswith(COUNTER):
            check_weight(name, tensor)
        elif tensor.dtype.kind not in "iu":
            raise WeightsError(f"`{name}` counts batches; expected an integer, found {format_dtype(tensor.dtype)}.")


# -------------------------------------------------------------------------------------------------------- writing


def save_discriminator(
    path: Path,
    config: DiscriminatorConfig,
    state: Mapping[str, Array] | Mapping[str, Tensor],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write a discriminator as safetensors with the complete configuration in the metadata.

    `state` is the `state_dict` of the network that `config` builds, buffers included; every tensor keeps its type. The
    file appears whole or not at all, and the same weights give the same bytes.

    Raises UsageError when path, names, shapes or types do not fit, and WeightsError when values are not finite or the
    file cannot be written.
    """
    path = Path(path)
    check_name(path)
    if not any(isinstance(config, known.config) for known in DISCRIMINATORS):
        raise UsageError(f"{path}: the discriminator {config.network} cannot be written.")
    arrays = to_arrays(state)
    problem = compare(state_shapes(config), arrays)
    if problem:
        raise UsageError(f"{path}: these are not the weights of this {config.network}: {problem}.")
    for name, tensor in arrays.items():
        if not is_floating(tensor.dtype) and not name.endswith(COUNTER):
            raise UsageError(
                f"{path}: `{name}` has the type {format_dtype(tensor.dtype)}; expected floating-point weights."
            )
    with prefix_errors(path):
        _check_numbers(arrays)
    write_described(path, arrays, CONFIG_KEY, config, metadata)
