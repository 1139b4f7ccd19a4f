"""The convolutional trunks of learned metrics and perceptual losses, as modules that give named feature maps.

Their files are other people's work and are not part of Tessera: `load_trunk` finds them in the models folder, fetches
them from their published address, or reads a file that the user names, in each case without executing anything in it.

Shapes: B pictures, C channels of a map, H height, W width; h, w those of a map.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from tessera.checkpoint import read_checkpoint
from tessera.dialects import compare, unwrap
from tessera.errors import UnknownModelError, UsageError, WeightsError
from tessera.published import WEIGHTS_SUFFIXES, Model, RemoteFile
from tessera.safetensors_file import read_safetensors
from tessera.zoo import fetch, models_folder

Widths = tuple[tuple[int, ...], ...]

VGG16_WIDTHS: Widths = ((64,) * 2, (128,) * 2, (256,) * 3, (512,) * 3, (512,) * 3)
VGG19_WIDTHS: Widths = ((64,) * 2, (128,) * 2, (256,) * 4, (512,) * 4, (512,) * 4)
INCEPTION_CLASSES = 1008
_INCEPTION_EPS = 0.001


@dataclass(frozen=True)
class Normalisation:
    """What a trunk was trained to see: (picture in [0, 1] - mean) / deviation, per channel of RGB."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def apply(self, batch: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] -> the same shape, in what the trunk sees."""
        mean, std = (torch.tensor(values).to(batch).view(3, 1, 1) for values in (self.mean, self.std))
        return (batch - mean) / std


IMAGENET = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
FROM_MINUS_ONE_TO_ONE = Normalisation((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
AS_IT_IS = Normalisation((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


class Trunk(nn.Module):
    """Layers one after another, each of which has a name.

    (B, 3, H, W), normalised as `normalisation` has it -> for each wanted name (B, C, h, w)
    """

    def __init__(
        self,
        parts: Sequence[tuple[str, nn.Module]],
        normalisation: Normalisation,
        *,
        numbered: bool = True,
        mixing: bool = False,
    ) -> None:
        """Take parts in order: `numbered` ones lie under `features`, as torchvision has them, others under their name.

        With `mixing` a 1x1 convolution before all (`conv0`) turns RGB into what the first part was trained on.
        """
        super().__init__()
        self.normalisation = normalisation
        self.layers = tuple(name for name, _ in parts)
        self.conv0 = nn.Conv2d(3, 3, 1) if mixing else nn.Identity()
        if numbered:
            self.features = nn.Sequential(*(module for _, module in parts))
            self._places = tuple(f"features.{index}" for index in range(len(parts)))
        else:
            for name, module in parts:
                self.add_module(name, module)
            self._places = self.layers

    def forward(
        self, batch: Tensor, layers: Sequence[str], pool: Callable[[Tensor], Tensor] | None = None
    ) -> dict[str, Tensor]:
        """Give the maps of these layers, in the order asked for; with `pool`, it takes the place of every max pool.

        Raises UsageError for a layer that is not there.
        """
        strange = [name for name in layers if name not in self.layers]
        if strange:
            raise UsageError(
                f"This trunk has no layer {' and no layer '.join(map(repr, strange))}; it has {', '.join(self.layers)}."
            )
        found: dict[str, Tensor] = {}
        x = self.conv0(batch)
        for name, place in zip(self.layers, self._places, strict=True):
            if len(found) == len(set(layers)):
                break
            module = self.get_submodule(place)
            x = pool(x) if pool is not None and isinstance(module, nn.MaxPool2d) else module(x)
            if name in layers:
                found[name] = x
        return {name: found[name] for name in layers}


# ------------------------------------------------------------------------------------------ VGG, AlexNet, SqueezeNet


def vgg(
    widths: Widths, normalisation: Normalisation = IMAGENET, *, mixing: bool = False, mirrored: bool = False
) -> Trunk:
    """VGG with these channels in each block: conv1_1, relu1_1, conv1_2, relu1_2, pool1, conv2_1 ... (Simonyan 2014).

    `conv` maps are those before activation. `mirrored` borders repeat the picture in place of zeros.
    """
    parts: list[tuple[str, nn.Module]] = []
    inputs = 3
    for block, row in enumerate(widths, 1):
        if block > 1:
            parts.append((f"pool{block - 1}", nn.MaxPool2d(2)))
        for number, width in enumerate(row, 1):
            conv = nn.Conv2d(inputs, width, 3, padding=1, padding_mode="reflect" if mirrored else "zeros")
            parts += [(f"conv{block}_{number}", conv), (f"relu{block}_{number}", nn.ReLU())]
            inputs = width
    return Trunk(parts, normalisation, mixing=mixing)


def alexnet(normalisation: Normalisation = IMAGENET) -> Trunk:
    """AlexNet as torchvision has it: conv1, relu1, pool1, conv2 ... relu5 (Krizhevsky 2014, "one weird trick")."""

    def conv(inputs: int, outputs: int, kernel: int, padding: int, stride: int = 1) -> nn.Conv2d:
        return nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=padding)

    convs = (
        conv(3, 64, 11, 2, 4),
        conv(64, 192, 5, 2),
        conv(192, 384, 3, 1),
        conv(384, 256, 3, 1),
        conv(256, 256, 3, 1),
    )
    parts: list[tuple[str, nn.Module]] = []
    for number, each in enumerate(convs, 1):
        parts += [(f"conv{number}", each), (f"relu{number}", nn.ReLU())]
        if number < 3:
            parts.append((f"pool{number}", nn.MaxPool2d(3, stride=2)))
    return Trunk(parts, normalisation)


class Fire(nn.Module):
    """Few channels, then many again, half of them by 3x3 (Iandola 2016, section 3.2).

    (B, C, H, W) -> (B, 2E, H, W)
    """

    def __init__(self, inputs: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(inputs, squeezed, 1)
        self.expand1x1 = nn.Conv2d(squeezed, expanded, 1)
        self.expand3x3 = nn.Conv2d(squeezed, expanded, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Squeeze, expand in both ways, and put them side by side."""
        x = torch.relu(self.squeeze(x))
        return torch.relu(torch.cat((self.expand1x1(x), self.expand3x3(x)), dim=1))


def squeezenet(normalisation: Normalisation = IMAGENET) -> Trunk:
    """SqueezeNet 1.1 as torchvision has it: conv1, relu1, pool1, fire2, fire3, pool3, fire4 ... fire9."""
    parts: list[tuple[str, nn.Module]] = [("conv1", nn.Conv2d(3, 64, 3, stride=2)), ("relu1", nn.ReLU())]
    inputs = 64
    for number, expanded in enumerate((64, 64, 128, 128, 192, 192, 256, 256), 2):
        if number in (2, 4, 6):
            parts.append((f"pool{number - 1}", nn.MaxPool2d(3, stride=2, ceil_mode=True)))
        parts.append((f"fire{number}", Fire(inputs, expanded // 4, expanded)))
        inputs = 2 * expanded
    return Trunk(parts, normalisation)


# ---------------------------------------------------------------------------------------------------------- Inception


class ConvNorm(nn.Module):
    """Convolution without bias, batch normalisation, ReLU: (B, C, H, W) -> (B, C', h, w)."""

    def __init__(
        self, inputs: int, outputs: int, kernel: tuple[int, int], stride: int = 1, padding: tuple[int, int] = (0, 0)
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=padding, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=_INCEPTION_EPS)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the three in order."""
        return torch.relu(self.bn(self.conv(x)))


@dataclass(frozen=True)
class _Step:
    """One convolution of a branch; where it strides, nothing is padded."""

    name: str
    outputs: int
    kernel: tuple[int, int] = (1, 1)
    stride: int = 1


_Branch = tuple[nn.Module | None, tuple[tuple[_Step, ...], ...]]
"""What pools first, and the steps after it; steps in one tuple read the same map and lie side by side."""


class Mixed(nn.Module):
    """Branches that read the same map and are put side by side (Szegedy 2015): (B, C, H, W) -> (B, C', h, w)."""

    def __init__(self, inputs: int, branches: Sequence[_Branch]) -> None:
        super().__init__()
        self.pools = nn.ModuleList(nn.Identity() if pool is None else pool for pool, _ in branches)
        self._levels = tuple(levels for _, levels in branches)
        for levels in self._levels:
            channels = inputs
            for level in levels:
                for step in level:
                    height, width = step.kernel
                    padding = (height // 2, width // 2) if step.stride == 1 else (0, 0)
                    self.add_module(step.name, ConvNorm(channels, step.outputs, step.kernel, step.stride, padding))
                channels = level[0].outputs

    def forward(self, x: Tensor) -> Tensor:
        """Run every branch."""
        ends: list[Tensor] = []
        for pool, levels in zip(self.pools, self._levels, strict=True):
            maps: list[Tensor] = [pool(x)]
            for level in levels:
                maps = [self.get_submodule(step.name)(maps[0]) for step in level]
            ends += maps
        return torch.cat(ends, dim=1)


class _Mean(nn.Module):
    """The mean over all places: (B, C, h, w) -> (B, C)."""

    def forward(self, x: Tensor) -> Tensor:
        """Take the mean."""
        return x.mean(dim=(2, 3))


def _chain(*steps: _Step) -> _Branch:
    return None, tuple((step,) for step in steps)


def _pooled(outputs: int, *, largest: bool = False) -> _Branch:
    # The published network divides by the places inside the picture only, and has a max pool in its last block.
    pool = nn.MaxPool2d(3, 1, 1) if largest else nn.AvgPool2d(3, 1, 1, count_include_pad=False)
    return pool, ((_Step("branch_pool", outputs),),)


def _shrunk() -> _Branch:
    return nn.MaxPool2d(3, 2), ()


def _mixed_5(inputs: int, pooled: int) -> Mixed:
    double, five = "branch3x3dbl", "branch5x5"
    return Mixed(
        inputs,
        (
            _chain(_Step("branch1x1", 64)),
            _chain(_Step(f"{five}_1", 48), _Step(f"{five}_2", 64, (5, 5))),
            _chain(_Step(f"{double}_1", 64), _Step(f"{double}_2", 96, (3, 3)), _Step(f"{double}_3", 96, (3, 3))),
            _pooled(pooled),
        ),
    )


def _mixed_6a(inputs: int) -> Mixed:
    double = "branch3x3dbl"
    return Mixed(
        inputs,
        (
            _chain(_Step("branch3x3", 384, (3, 3), 2)),
            _chain(_Step(f"{double}_1", 64), _Step(f"{double}_2", 96, (3, 3)), _Step(f"{double}_3", 96, (3, 3), 2)),
            _shrunk(),
        ),
    )


def _mixed_6(inputs: int, inner: int) -> Mixed:
    across, down = (1, 7), (7, 1)
    single, double = "branch7x7", "branch7x7dbl"
    return Mixed(
        inputs,
        (
            _chain(_Step("branch1x1", 192)),
            _chain(_Step(f"{single}_1", inner), _Step(f"{single}_2", inner, across), _Step(f"{single}_3", 192, down)),
            _chain(
                _Step(f"{double}_1", inner),
                _Step(f"{double}_2", inner, down),
                _Step(f"{double}_3", inner, across),
                _Step(f"{double}_4", inner, down),
                _Step(f"{double}_5", 192, across),
            ),
            _pooled(192),
        ),
    )


def _mixed_7a(inputs: int) -> Mixed:
    long = "branch7x7x3"
    return Mixed(
        inputs,
        (
            _chain(_Step("branch3x3_1", 192), _Step("branch3x3_2", 320, (3, 3), 2)),
            _chain(
                _Step(f"{long}_1", 192),
                _Step(f"{long}_2", 192, (1, 7)),
                _Step(f"{long}_3", 192, (7, 1)),
                _Step(f"{long}_4", 192, (3, 3), 2),
            ),
            _shrunk(),
        ),
    )


def _mixed_7(inputs: int, *, largest: bool) -> Mixed:
    def fork(name: str) -> tuple[_Step, ...]:
        return _Step(f"{name}a", 384, (1, 3)), _Step(f"{name}b", 384, (3, 1))

    double = "branch3x3dbl"
    return Mixed(
        inputs,
        (
            _chain(_Step("branch1x1", 320)),
            (None, ((_Step("branch3x3_1", 384),), fork("branch3x3_2"))),
            (None, ((_Step(f"{double}_1", 448),), (_Step(f"{double}_2", 384, (3, 3)),), fork(f"{double}_3"))),
            _pooled(192, largest=largest),
        ),
    )


def inception(normalisation: Normalisation = FROM_MINUS_ONE_TO_ONE) -> Trunk:
    """Inception v3 as FID uses it, for pictures of 299x299: `pool3` gives (B, 2048), `fc` (B, 1008) before softmax.

    The layout is torchvision's; the weights are those that TensorFlow published on 2015-12-05, in which average pools
    leave out the padding and Mixed_7c has a max pool (Heusel 2017; Seitzer's port).
    """
    parts: list[tuple[str, nn.Module]] = [
        ("Conv2d_1a_3x3", ConvNorm(3, 32, (3, 3), 2)),
        ("Conv2d_2a_3x3", ConvNorm(32, 32, (3, 3))),
        ("Conv2d_2b_3x3", ConvNorm(32, 64, (3, 3), padding=(1, 1))),
        ("pool1", nn.MaxPool2d(3, 2)),
        ("Conv2d_3b_1x1", ConvNorm(64, 80, (1, 1))),
        ("Conv2d_4a_3x3", ConvNorm(80, 192, (3, 3))),
        ("pool2", nn.MaxPool2d(3, 2)),
        ("Mixed_5b", _mixed_5(192, 32)),
        ("Mixed_5c", _mixed_5(256, 64)),
        ("Mixed_5d", _mixed_5(288, 64)),
        ("Mixed_6a", _mixed_6a(288)),
        ("Mixed_6b", _mixed_6(768, 128)),
        ("Mixed_6c", _mixed_6(768, 160)),
        ("Mixed_6d", _mixed_6(768, 160)),
        ("Mixed_6e", _mixed_6(768, 192)),
        ("Mixed_7a", _mixed_7a(768)),
        ("Mixed_7b", _mixed_7(1280, largest=False)),
        ("Mixed_7c", _mixed_7(2048, largest=True)),
        ("pool3", _Mean()),
        ("fc", nn.Linear(2048, INCEPTION_CLASSES)),
    ]
    return Trunk(parts, normalisation, numbered=False)


# -------------------------------------------------------------------------------------------------------- the table


@dataclass(frozen=True, kw_only=True)
class PublishedTrunk:
    """One trunk that is published as a file; `licence` is that under which its publisher gives it."""

    name: str
    remote: RemoteFile
    licence: str
    normalisation: Normalisation
    build: Callable[[Normalisation], Trunk]


def _torchvision(name: str, size: int, sha256: str) -> RemoteFile:
    return RemoteFile(name, (f"https://download.pytorch.org/models/{name}",), size, frozenset({sha256}))


# The names of the files begin their sha256, as torchvision publishes it; the whole sums are those that several public
# projects pin independently of each other.
TRUNKS: tuple[PublishedTrunk, ...] = (
    PublishedTrunk(
        name="vgg16",
        remote=_torchvision(
            "vgg16-397923af.pth", 553_433_881, "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0"
        ),
        licence="BSD-3-Clause",
        normalisation=IMAGENET,
        build=lambda normalisation: vgg(VGG16_WIDTHS, normalisation),
    ),
    PublishedTrunk(
        name="vgg19",
        remote=_torchvision(
            "vgg19-dcbb9e9d.pth", 574_673_361, "dcbb9e9dad569fff7a846263a77324fc34978fea2bfb039c012d710e1776ae44"
        ),
        licence="BSD-3-Clause",
        normalisation=IMAGENET,
        build=lambda normalisation: vgg(VGG19_WIDTHS, normalisation),
    ),
    PublishedTrunk(
        name="alexnet",
        remote=_torchvision(
            "alexnet-owt-7be5be79.pth", 244_408_911, "7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02"
        ),
        licence="BSD-3-Clause",
        normalisation=IMAGENET,
        build=alexnet,
    ),
    PublishedTrunk(
        name="squeezenet1_1",
        remote=_torchvision(
            "squeezenet1_1-b8a52dc0.pth", 4_958_839, "b8a52dc049b60e4b6ab68ad0df457362afab8b6304b2febdc1650a5dab4d7e7b"
        ),
        licence="BSD-3-Clause",
        normalisation=IMAGENET,
        build=squeezenet,
    ),
    PublishedTrunk(
        name="inception",
        remote=RemoteFile(
            "pt_inception-2015-12-05-6726825d.pth",
            (
                "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/"
                "pt_inception-2015-12-05-6726825d.pth",
            ),
            95_628_359,
            frozenset({"6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"}),
        ),
        licence="Apache-2.0",
        normalisation=FROM_MINUS_ONE_TO_ONE,
        build=inception,
    ),
)


# ---------------------------------------------------------------------------------------------------------- loading


def load_trunk(name_or_path: str | os.PathLike[str], *, offline: bool = False) -> Trunk:
    """Give a trunk of the table, fetched if need be, or that of a file: fp32, eval mode, frozen.

    A file is known by its keys. A VGG in it may have other channel counts than the published one; it may also be the
    distilled VGG19 encoder of Wang 2020 (`conv0`, `conv11` to `conv51`), which ends at relu5_1 and normalises itself.

    Raises UnknownModelError (no such name, no such file), ModelNotFoundError (not here while offline), DownloadError,
    and WeightsError where tensors are missing or of another shape.
    """
    text = os.fspath(name_or_path)
    path = Path(text)
    if path.is_file() and (path.parent != Path() or path.suffix.lower() in WEIGHTS_SUFFIXES):
        state = read_tensors(path)
        with torch.device("meta"):
            trunk, names, what = _recognised(path, state)
        return _filled(trunk, names, path, state, what)
    published = next((trunk for trunk in TRUNKS if trunk.name == text.strip().casefold()), None)
    if published is None:
        raise UnknownModelError(
            f"There is no trunk {text!r} and no file of that name. "
            f"Give the path of a weights file, or one of {', '.join(trunk.name for trunk in TRUNKS)}."
        )
    path = fetch_published(published.name, published.remote, published.licence, offline=offline)
    with torch.device("meta"):
        trunk = published.build(published.normalisation)
    return _filled(trunk, _own_names(trunk), path, read_tensors(path), published.name)


def fetch_published(name: str, remote: RemoteFile, licence: str, *, offline: bool = False) -> Path:
    """Give a published file from the models folder, verified, downloading it as models are (see `zoo.fetch`)."""
    model = Model(name=name, aliases=(), network=name, scale=1, good_for="measuring", licence=licence, remote=remote)
    return fetch(model, models_folder(), offline=offline)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read the named tensors of a checkpoint or a safetensors file without running any of it. Raises WeightsError."""
    if path.suffix.lower() != ".safetensors":
        return _unwrapped(path, read_checkpoint(path).content)
    try:
        state, _ = read_safetensors(path)
    except WeightsError as error:
        raise type(error)(f"{path}: {error}") from error.__cause__
    return _unwrapped(path, state)


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
    """The tensors of a trunk, each under its own name; the counters of batch normalisation are no weights."""
    return {name: name for name in trunk.state_dict() if not name.endswith("num_batches_tracked")}


def _filled(trunk: Trunk, names: Mapping[str, str], path: Path, state: Mapping[str, Tensor], what: str) -> Trunk:
    """Put the tensors of a file into a trunk without any; `names` gives for each of its own the one in the file."""
    shapes = {names[own]: tuple(tensor.shape) for own, tensor in trunk.state_dict().items() if own in names}
    taken = take_tensors(path, state, shapes, what)
    trunk.load_state_dict({own: taken[name] for own, name in names.items()}, assign=True)
    return trunk.eval().requires_grad_(False)


def _recognised(path: Path, state: Mapping[str, Tensor]) -> tuple[Trunk, dict[str, str], str]:
    """The trunk that these keys belong to, without weights, its names in the file, and what it is."""
    if "conv0.weight" in state and "conv11.weight" in state:
        return _distilled(state)
    closest, share = TRUNKS[0], 0.0
    for published in TRUNKS:
        names = _own_names(published.build(published.normalisation)).keys()
        others = {name for name in state if name.startswith("features.")} - names
        here = len(names & state.keys()) / (len(names) + len(others))
        if here > share:
            closest, share = published, here
    if share < 0.5:
        raise WeightsError(
            f"{path}: its keys ({', '.join(list(state)[:3])} ...) are those of no trunk that is known here: "
            f"{', '.join(trunk.name for trunk in TRUNKS)}."
        )
    trunk = closest.build(closest.normalisation)
    for name, widths in (("vgg16", VGG16_WIDTHS), ("vgg19", VGG19_WIDTHS)):
        if closest.name == name:
            places = iter(own for own, tensor in trunk.state_dict().items() if tensor.ndim == 4)
            trunk = vgg(_found_widths(widths, places, state), closest.normalisation)
    return trunk, _own_names(trunk), closest.name


def _distilled(state: Mapping[str, Tensor]) -> tuple[Trunk, dict[str, str], str]:
    """Collaborative Distillation's encoder (Wang et al. 2020): thin channels, mirrored borders, RGB in [0, 1]."""
    layout: Widths = (*VGG19_WIDTHS[:4], VGG19_WIDTHS[4][:1])
    convs = [f"conv{block}{number}" for block, row in enumerate(layout, 1) for number in range(1, len(row) + 1)]
    widths = _found_widths(layout, (f"{conv}.weight" for conv in convs), state)
    trunk = vgg(widths, AS_IT_IS, mixing=True, mirrored=True)
    own = [name.removesuffix(".weight") for name in trunk.state_dict() if name.endswith(".weight")]
    pairs = zip(own, ("conv0", *convs), strict=True)
    names = {f"{mine}.{kind}": f"{theirs}.{kind}" for mine, theirs in pairs for kind in ("weight", "bias")}
    return trunk, names, "the distilled VGG19 encoder"


def _found_widths(layout: Widths, names: Iterable[str], state: Mapping[str, Tensor]) -> Widths:
    """The channels that these convolutions give, as the file has them; where one is missing, the published ones."""
    found = iter(names)

    def width(published: int) -> int:
        tensor = state.get(next(found))
        return tensor.shape[0] if tensor is not None and tensor.ndim == 4 else published

    return tuple(tuple(width(published) for published in row) for row in layout)
