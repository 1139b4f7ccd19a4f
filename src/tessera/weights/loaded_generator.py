"""A loaded generator; its network may be read later, when it is first used.

The configuration of a file that was read before is cached (`zoo.known_files`), and so are the models that engines
compile from the weights. With both, neither the weights nor PyTorch are needed.

Shapes: B pictures in a batch, C channels, H rows, W columns, s the scale.
"""

from __future__ import annotations

import dataclasses
import hashlib
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tessera.errors import WeightsError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from tessera.generators import GeneratorConfig


class Unread:
    """A network that is read on first use, once, in any thread.

    `state_sha256` is the checksum of the weights (`compute_state_sha256`). An error of `read` goes to the caller, and
    the next use tries again.
    """

    def __init__(self, read: Callable[[], nn.Module], state_sha256: str) -> None:
        self.state_sha256 = state_sha256
        self._read = read
        self._network: nn.Module | None = None
        self._lock = threading.Lock()

    @property
    def is_read(self) -> bool:
        """Whether the network was read."""
        return self._network is not None

    @property
    def network(self) -> nn.Module:
        """The network."""
        with self._lock:
            if self._network is None:
                self._network = self._read()
            return self._network


class _WhenAsked:
    """The attribute `network` of a loaded generator: set as a network or as an unread one, read as a network."""

    def __get__(self, generator: LoadedGenerator | None, kind: type) -> nn.Module:
        if generator is None:  # `dataclass` asks whether there is a default
            raise AttributeError("network")
        given = get_given_network(generator)
        return given.network if isinstance(given, Unread) else given

    def __set__(self, generator: LoadedGenerator, given: nn.Module | Unread) -> None:
        vars(generator)["network"] = given


@dataclass(frozen=True, kw_only=True, eq=False)
class LoadedGenerator:
    """A generator ready to run, and where it came from.

    Args:
        config: The configuration of the network; its kind, sizes and scale.
        network: The network in eval mode, in fp32, without gradients: (B, C, H, W) -> (B, C, s*H, s*W), RGB in [0, 1],
            not clipped. An `Unread` is read on first use, which raises WeightsError if its file has changed.
        name: The name of a published model, else the name of the file or blend.
        source: The file; None if there is none, as for a blend.
        sha256: Digest of all its files (`weights.parts`), or of the blended weights of an interpolation.
        dialect: Naming scheme of the tensors in the file.
        wrapper: The structure around the tensors in the file.
        metadata: Text entries of the file's header.
        notes: Remarks about reading the file, as sentences.
        choices: Those of the notes that say which of several sets of weights in the file was used.
        license: From the table of published models or the file; None if unknown.
    """

    config: GeneratorConfig
    network: _WhenAsked = _WhenAsked()
    name: str
    source: Path | None
    sha256: str
    dialect: str
    wrapper: str
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])
    notes: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    license: str | None = None

    def __repr__(self) -> str:
        return f"LoadedGenerator({self.name!r}, {self.config!r}, source={self.source!r}, sha256={self.sha256!r})"

    @property
    def is_read(self) -> bool:
        """Whether the network is in memory, so that accessing it is free."""
        given = get_given_network(self)
        return not isinstance(given, Unread) or given.is_read

    @property
    def state(self) -> dict[str, Tensor]:
        """The tensors by name. Raises WeightsError for ONNX and OpenVINO files, which can only be run."""
        if self.dialect in ("onnx", "openvino"):
            kind = "an ONNX file" if self.dialect == "onnx" else "an OpenVINO file"
            raise WeightsError(
                f"{self.source}: {kind} can be run, but its weights cannot be converted, blended or trained. Give"
                " the file that it was exported from."
            )
        return self.network.state_dict()

    @property
    def state_sha256(self) -> str:
        """The SHA-256 of the current weights; known even before the network is read."""
        given = get_given_network(self)
        return (
            given.state_sha256 if isinstance(given, Unread) and not given.is_read else compute_state_sha256(self.state)
        )

    def with_name(self, name: str, license: str | None) -> LoadedGenerator:
        """Copy the generator under another name, without reading its network.

        Args:
            name: The new name.
            license: The license of the weights; None if unknown.

        Returns:
            A generator with the same network and weights.
        """
        return dataclasses.replace(self, network=get_given_network(self), name=name, license=license)

    def with_notes(self, *notes: str) -> LoadedGenerator:
        """Copy the generator with further notes, without reading its network.

        Args:
            *notes: Sentences to add.

        Returns:
            A generator with the same network and weights.
        """
        return dataclasses.replace(self, network=get_given_network(self), notes=(*self.notes, *notes))


def get_given_network(generator: LoadedGenerator) -> nn.Module | Unread:
    """The network of a generator as it was set, read or not."""
    return vars(generator)["network"]


def compute_state_sha256(state: Mapping[str, Tensor]) -> str:
    """Compute the SHA-256 of weights: of names, types, shapes and values, in any order."""
    digest = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        array = tensor.detach().cpu().numpy()
        digest.update(f"{name} {array.dtype} {array.shape}\n".encode())
        digest.update(array.reshape(-1).view("uint8").data)
    return digest.hexdigest()
