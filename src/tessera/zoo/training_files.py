"""Published files besides generators: discriminators, series of their checkpoints, and test sets.

Sizes and checksums are not published for any of them; a file is pinned when it was first read as what it should be.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tessera.weights.published import RemoteFile, list_a_esrgan_urls, make_release_url

_BSD = "BSD-3-Clause"


@dataclass(frozen=True, kw_only=True)
class PublishedDiscriminator:
    """The weights of a discriminator, to resume training from or to explain."""

    name: str
    aliases: tuple[str, ...]
    network: str
    good_for: str
    remote: RemoteFile
    license: str = _BSD

    @property
    def kind(self) -> str:
        """Its kind in lists."""
        return "discriminator"


@dataclass(frozen=True, kw_only=True)
class PublishedArchive:
    """A ZIP archive of checkpoints or of test sets."""

    name: str
    aliases: tuple[str, ...]
    contents: Literal["checkpoints", "test sets"]
    good_for: str
    remote: RemoteFile
    license: str

    @property
    def kind(self) -> str:
        """Its kind in lists."""
        return self.contents


TrainingFile = PublishedDiscriminator | PublishedArchive


def _declare_realesrgan_file(tag: str, name: str) -> RemoteFile:
    return RemoteFile(name, (make_release_url("xinntao/Real-ESRGAN", tag, name),), None, frozenset())


def _declare_a_esrgan_file(name: str) -> RemoteFile:
    return RemoteFile(name, list_a_esrgan_urls(name), None, frozenset())


PUBLISHED_DISCRIMINATORS: tuple[PublishedDiscriminator, ...] = (
    PublishedDiscriminator(
        name="a-esrgan-multi-d",
        # The release has a hyphen where the project's own pages and scripts have an underscore.
        aliases=("A_ESRGAN_Multi_D", "A-ESRGAN_Multi_D"),
        network="multi-scale",
        good_for="the two attention U-Nets of a-esrgan-multi",
        remote=_declare_a_esrgan_file("A-ESRGAN_Multi_D.pth"),
    ),
    PublishedDiscriminator(
        name="a-esrgan-single-d",
        aliases=("A_ESRGAN_Single_D",),
        network="attention-unet",
        good_for="the attention U-Net of a-esrgan-single",
        remote=_declare_a_esrgan_file("A_ESRGAN_Single_D.pth"),
    ),
    PublishedDiscriminator(
        name="realesrgan-x4plus-d",
        aliases=("RealESRGAN_x4plus_netD",),
        network="unet",
        good_for="the U-Net of realesrgan-x4plus, for fine-tuning",
        remote=_declare_realesrgan_file("v0.2.2.3", "RealESRGAN_x4plus_netD.pth"),
    ),
    PublishedDiscriminator(
        name="realesrgan-x2plus-d",
        aliases=("RealESRGAN_x2plus_netD",),
        network="unet",
        good_for="the U-Net of realesrgan-x2plus, for fine-tuning",
        remote=_declare_realesrgan_file("v0.2.2.3", "RealESRGAN_x2plus_netD.pth"),
    ),
    PublishedDiscriminator(
        name="realesrgan-x4plus-anime-d",
        aliases=("RealESRGAN_x4plus_anime_6B_netD",),
        network="unet",
        good_for="the U-Net of realesrgan-x4plus-anime, for fine-tuning",
        remote=_declare_realesrgan_file("v0.2.2.4", "RealESRGAN_x4plus_anime_6B_netD.pth"),
    ),
)

PUBLISHED_ARCHIVES: tuple[PublishedArchive, ...] = (
    PublishedArchive(
        name="a-esrgan-single-series",
        aliases=("single.zip",),
        contents="checkpoints",
        good_for="70 discriminators of a-esrgan-single, every 5,000 steps to 350,000",
        remote=_declare_a_esrgan_file("single.zip"),
        license=_BSD,
    ),
    PublishedArchive(
        name="a-esrgan-multi-series",
        aliases=("multi.zip",),
        contents="checkpoints",
        good_for="37 discriminators of a-esrgan-multi, every 5,000 steps to 185,000",
        remote=_declare_a_esrgan_file("multi.zip"),
        license=_BSD,
    ),
    PublishedArchive(
        name="a-esrgan-test-sets",
        aliases=("DatasetsForSR.zip", "DatasetsForSR"),
        contents="test sets",
        good_for="Set5, Set14, BSD100, Sun-Hays80 and Urban100 as A-ESRGAN uses them",
        remote=_declare_a_esrgan_file("DatasetsForSR.zip"),
        license="research sets",
    ),
)

TRAINING_FILES: tuple[TrainingFile, ...] = (*PUBLISHED_DISCRIMINATORS, *PUBLISHED_ARCHIVES)


def find_training_file(name: str) -> TrainingFile | None:
    """Find a published discriminator or archive by name or alias, ignoring case and `.pth`; None for other names."""
    wanted = name.strip().casefold().removesuffix(".pth")
    return next(
        (each for each in TRAINING_FILES if wanted in (label.casefold() for label in (each.name, *each.aliases))),
        None,
    )
