"""A loaded generator: its configuration, and its weights as arrays, which may be read later, on first use.

The configuration of a file that was read before is cached (`zoo.known_files`), and so are the models that engines
compile from the weights. With both, the weights are not needed. A PyTorch network is built when it is asked for.

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
from tessera.generators.kinds import find_generator
from tessera.weights.arrays import State, format_dtype, view_bytes
from tessera.weights.file_network import FileNetwork
from tessera.weights.torch_tensors import to_arrays

if TYPE_CHECKING:
    from torch import Tensor, nn

    from tessera.generators import GeneratorConfig


_EXPORTS = {"onnx": "an ONNX file", "openvino": "an OpenVINO file"}


class NetworkWeights:
    """The weights of a network as arrays in fp32, and the PyTorch network around them, once it was asked for.

    `given` holds the arrays, or reads them on first use: once, in any thread. An error goes to the caller, and the next
    use tries again. `state_sha256` is their checksum (`compute_state_sha256`) where it is known. Once the network is
    built, the arrays are views of its tensors, so that the weights are in memory once and a change of one is one of
    the other.
    """

    def __init__(self, given: State | Callable[[], State], state_sha256: str | None = None) -> None:
        self._read = given if callable(given) else None
        self._arrays = None if callable(given) else given
        self._state_sha256 = state_sha256
        self._network: nn.Module | None = None
        self._lock = threading.RLock()

    @property
    def is_read(self) -> bool:
        """Whether the weights were read."""
        return self._arrays is not None or self._network is not None

    @property
    def arrays(self) -> State:
        """The weights by name, in fp32."""
        with self._lock:
            if self._network is not None:
                return to_arrays(self._network.state_dict())
            if self._arrays is None:
                assert self._read is not None
                self._arrays = self._read()
            return self._arrays

    @property
    def state_sha256(self) -> str:
        """The checksum of the current weights; those of a built network may change."""
        with self._lock:
            if self._network is not None or self._state_sha256 is None:
                found = compute_state_sha256(self.arrays)
                self._state_sha256 = found if self._network is None else None
                return found
            return self._state_sha256

    def build(self, config: GeneratorConfig) -> nn.Module:
        """The network, built on first use; the same one each time."""
        with self._lock:
            if self._network is None:
                from tessera.weights.assembling import assemble  # imports PyTorch

                self._network = assemble(config, self.arrays)
                self._arrays = None
            return self._network


class _WhenAsked:
    """The attribute `network` of a loaded generator: set as a network, a file or weights, read as a network."""

    def __get__(self, generator: LoadedGenerator | None, kind: type) -> nn.Module:
        if generator is None:  # `dataclass` asks whether there is a default
            raise AttributeError("network")
        given = get_given_network(generator)
        match given:
            case NetworkWeights():
                return given.build(generator.config)
            case FileNetwork():
                return given.module
            case _:
                return given

    def __set__(self, generator: LoadedGenerator, given: nn.Module | NetworkWeights | FileNetwork) -> None:
        vars(generator)["network"] = given


@dataclass(frozen=True, kw_only=True, eq=False)
class LoadedGenerator:
    """A generator ready to run, and where it came from.

    Args:
        config: The configuration of the network; its kind, sizes and scale.
        network: The PyTorch network in eval mode, in fp32, without gradients: (B, C, H, W) -> (B, C, s*H, s*W), RGB in
            [0, 1], not clipped. Given as `NetworkWeights`, it is built on first use, which raises WeightsError if its
            file has changed, and ImportError without PyTorch; given as a `FileNetwork`, a runtime runs it.
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
        """Whether the weights are in memory, so that accessing them is free."""
        given = get_given_network(self)
        return not isinstance(given, NetworkWeights) or given.is_read

    @property
    def is_own(self) -> bool:
        """Whether the network is Tessera's own, and of this configuration; unread ones always are."""
        given = get_given_network(self)
        if isinstance(given, FileNetwork) or find_generator(self.config) is None:
            return False
        return isinstance(given, NetworkWeights) or self.config.is_config_of(given)

    @property
    def file(self) -> FileNetwork | None:
        """The network of an ONNX or OpenVINO file, which a runtime runs; None for all others."""
        given = get_given_network(self)
        return given if isinstance(given, FileNetwork) else None

    @property
    def arrays(self) -> State:
        """The weights by name, in fp32. Raises WeightsError for ONNX and OpenVINO files, which can only be run."""
        self._require_weights()
        given = get_given_network(self)
        return given.arrays if isinstance(given, NetworkWeights) else to_arrays(self.network.state_dict())

    @property
    def exported_as(self) -> str | None:
        """What the file is, if only a runtime can run it; None for weights."""
        return _EXPORTS.get(self.dialect)

    @property
    def state(self) -> dict[str, Tensor]:
        """The weights as PyTorch's tensors by name. Raises WeightsError as `arrays` does."""
        self._require_weights()
        return self.network.state_dict()

    def _require_weights(self) -> None:
        if self.exported_as is not None:
            raise WeightsError(
                f"{self.source}: {self.exported_as} can be run, but its weights cannot be converted, blended or"
                " trained. Give the file that it was exported from."
            )

    @property
    def state_sha256(self) -> str:
        """The SHA-256 of the current weights; known even before they are read."""
        given = get_given_network(self)
        return given.state_sha256 if isinstance(given, NetworkWeights) else compute_state_sha256(self.arrays)

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


def get_given_network(generator: LoadedGenerator) -> nn.Module | NetworkWeights | FileNetwork:
    """The network of a generator as it was set."""
    return vars(generator)["network"]


def compute_state_sha256(state: State) -> str:
    """Compute the SHA-256 of weights: of names, types, shapes and values, in any order."""
    digest = hashlib.sha256()
    for name, array in sorted(state.items()):
        digest.update(f"{name} {format_dtype(array.dtype)} {array.shape}\n".encode())
        digest.update(view_bytes(array))
    return digest.hexdigest()
