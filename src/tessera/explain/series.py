"""The checkpoints of a training run in the order of their steps: Tessera's, BasicSR's, esrdgan's, single files.

`net_d_5000.pth` next to `net_g_5000.pth`; `runs/NAME/checkpoints/000005000/discriminator.safetensors` next to the
generator, raw and averaged; or any discriminator file by name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tessera.discriminators.config import DiscriminatorConfig
from tessera.errors import UsageError, WeightsError
from tessera.explain.maps import list_gates
from tessera.weights.discriminator_file import SUFFIXES, LoadedDiscriminator, load_discriminator

_OURS = "discriminator.safetensors"
_AVERAGE, _RAW = "average.safetensors", "generator.safetensors"
# net_d_5000, net_d_latest, netD_5, D_100, discriminator_7, A_ESRGAN_Multi_D
_DISCRIMINATOR = re.compile(
    r"(?:.*[_.-])?(?:net_?)?d(?:iscriminator)?(?:[_-](?:iter[_-]?)?(\d{1,12}|latest))?", re.IGNORECASE
)
_NUMBER = re.compile(r".*?(\d{1,12})$")
_WITHIN = ("checkpoints", "discriminators", "models")
"""Folders of checkpoints in a run of Tessera and of BasicSR."""


@dataclass(frozen=True, kw_only=True)
class SeriesCheckpoint:
    """One checkpoint of a series."""

    path: Path
    step: int | None
    """None for a file name without a number."""
    generator: Path | None = None
    """The raw generator of the same step, if found next to it; BasicSR's file may hold the averaged one too."""
    average: Path | None = None
    """The averaged generator of the same step, if it has a separate file."""
    suffix: str = ""
    """Suffix of its output files, such as `_5000`."""
    sha256: str = ""

    @property
    def label(self) -> str:
        """Its name for readers."""
        return f"step {self.step:,}" if self.step is not None else self.path.stem


@dataclass(frozen=True)
class CheckpointSeries:
    """Checkpoints of one architecture."""

    config: DiscriminatorConfig
    checkpoints: tuple[SeriesCheckpoint, ...]


def find_checkpoints(places: Sequence[Path]) -> tuple[SeriesCheckpoint, ...]:
    """Find discriminator checkpoints in files, checkpoint folders and run folders, by step, then by name.

    Raises UsageError where there are none, or two of one step.
    """
    found: dict[Path, SeriesCheckpoint] = {}
    for place in places:
        if place.is_dir():
            within = list(_find_in_folder(place))
            if not within:
                raise UsageError(
                    f"{place}: no checkpoints of a discriminator in this folder (net_d_5000.pth, or"
                    f" checkpoints/000005000/{_OURS}). Name the folder of a run, the folder of its checkpoints, or a"
                    " file."
                )
        elif place.exists():
            within = [_read_place(place)]
        else:
            raise UsageError(f"{place}: no such file or folder. Name the checkpoints of a discriminator.")
        for each in within:
            found.setdefault(each.path.resolve(), each)
    ordered = sorted(found.values(), key=lambda each: (each.step is None, each.step or 0, each.path.name))
    return tuple(_add_suffixes(ordered))


def open_checkpoint(checkpoint: SeriesCheckpoint, first: LoadedDiscriminator | None = None) -> LoadedDiscriminator:
    """Load a checkpoint of the architecture of the series' `first`.

    Raises WeightsError for a file that is not a discriminator, and UsageError for one without gates or with another
    architecture than the first.
    """
    loaded = load_discriminator(checkpoint.path)
    try:
        list_gates(loaded.config)
    except UsageError as error:
        raise UsageError(f"{checkpoint.path}: {error}") from None
    if loaded.config.in_channels != 3:
        raise UsageError(
            f"{checkpoint.path}: expected a discriminator of RGB pictures, found one of"
            f" {loaded.config.in_channels} channels."
        )
    if first is not None and loaded.config != first.config:
        raise UsageError(
            f"{checkpoint.path}: expected {_describe_config(first.config)} as in {first.source}, found"
            f" {_describe_config(loaded.config)}. Name the checkpoints of one run."
        )
    return loaded


def _describe_config(config: DiscriminatorConfig) -> str:
    scales: int | None = getattr(config, "scales", None)
    of = f" of {scales} networks" if scales else ""
    return f"{config.network}{of} with {config.features} features"


def _find_in_folder(folder: Path) -> Iterator[SeriesCheckpoint]:
    try:
        inside = sorted(folder.iterdir())
    except OSError as error:
        raise WeightsError(f"{folder}: cannot list this folder ({error.strerror or error}).") from error
    ours = [each for each in (folder, *inside) if each.name.isdecimal() and (each / _OURS).is_file()]
    others = [each for each in inside if _is_discriminator(each) and each.name != _OURS]
    if ours or others:
        yield from (_read_place(each / _OURS) for each in ours)
        yield from map(_read_place, others)
        return
    steps: set[int] = set()
    for name in _WITHIN:
        for each in _find_in_folder(folder / name) if (folder / name).is_dir() else ():
            if each.step is None or each.step not in steps:  # a complete checkpoint, with its generator, comes first
                yield each
            steps |= {each.step} if each.step is not None else set()


def _is_discriminator(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and bool(_DISCRIMINATOR.fullmatch(path.stem)) and path.is_file()


def _read_place(path: Path) -> SeriesCheckpoint:
    if path.name == _OURS and path.parent.name.isdecimal():
        return SeriesCheckpoint(
            path=path,
            step=int(path.parent.name),
            generator=_find_sibling(path, _RAW),
            average=_find_sibling(path, _AVERAGE),
        )
    number = _NUMBER.fullmatch(path.stem)
    # net_d_5 -> net_g_5, netD_5 -> netG_5, D_5 -> G_5
    swapped = re.sub(r"(^|_|net_?)([dD])(?=_\d)", lambda m: m[1] + ("g" if m[2] == "d" else "G"), path.stem)
    return SeriesCheckpoint(
        path=path,
        step=int(number[1]) if number else None,
        generator=None if swapped == path.stem else _find_sibling(path, swapped + path.suffix),
    )


def _find_sibling(path: Path, name: str) -> Path | None:
    sibling = path.with_name(name)
    return sibling if sibling.is_file() else None


def _add_suffixes(ordered: Sequence[SeriesCheckpoint]) -> Iterator[SeriesCheckpoint]:
    """Give each checkpoint a distinct suffix: the step, or the file name where there are several."""
    taken: dict[str, Path] = {}
    for each in ordered:
        suffix = f"_{each.step}" if each.step is not None else f"_{each.path.stem}" if len(ordered) > 1 else ""
        if suffix in taken:
            raise UsageError(
                f"{taken[suffix]} and {each.path} are both {each.label}. Name the checkpoints of one run at a time."
            )
        taken[suffix] = each.path
        yield replace(each, suffix=suffix)
