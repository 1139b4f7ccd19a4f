"""Pictures that show the same, read for a sheet: each whole and bounded in size, and one region of all, aligned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tessera.errors import PictureError, UsageError
from tessera.images.picture_format import Limits
from tessera.images.resample import resample_array
from tessera.report.partners import Entry, Group
from tessera.report.views import (
    Region,
    Shown,
    Size,
    bounded,
    fit,
    read_region,
    read_size,
    read_whole,
    where_they_differ,
)

CROP_SIDE = 96
ENLARGED = 4
"""How many times crops are enlarged."""
LONGEST_CROP = 512
_SEARCH_SIDE = 1024


@dataclass(frozen=True, kw_only=True)
class SheetSettings:
    """How a sheet is made."""

    crop: Region | None = None
    max_side: int = 1024
    columns: int | None = None
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        if self.crop is not None:
            sides = self.crop.width, self.crop.height
            if min(sides) < 1 or max(sides) > LONGEST_CROP:
                raise UsageError(f"--crop {self.crop}: its sides may be 1 to {LONGEST_CROP} pixels.")
        if not 16 <= self.max_side <= 16_384:
            raise UsageError(f"--max-side {self.max_side}: expected 16 to 16384 pixels.")
        if self.columns is not None and not 1 <= self.columns <= 100:
            raise UsageError(f"--columns {self.columns}: expected 1 to 100.")


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A group whose files' heads were read: sizes, that of the largest, and what cannot be read."""

    group: Group
    sizes: dict[Path, Size]
    full: Size
    target: Size
    """The size at which each is shown whole."""
    problems: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class View:
    """One picture as it is shown; `whole` and `crop` are of equal size in all views of a group."""

    label: str
    path: Path
    size: Size
    how: str
    whole: Shown
    crop: Shown


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A group as it is shown."""

    name: str
    full: Size
    target: Size
    region: Region
    views: tuple[View, ...]
    problems: tuple[str, ...]
    notes: tuple[str, ...]


def measure(group: Group, settings: SheetSettings) -> Measured:
    """Read the heads of a group's files."""
    sizes: dict[Path, Size] = {}
    problems: list[str] = []
    for entry in group.entries:
        try:
            sizes[entry.path] = read_size(entry.path, settings.limits)
        except PictureError as error:
            problems.append(str(error))
    full = max(sizes.values(), key=lambda size: (size[0] * size[1], size), default=(1, 1))
    return Measured(
        group=group, sizes=sizes, full=full, target=bounded(full, settings.max_side), problems=tuple(problems)
    )


def read_comparison(measured: Measured, settings: SheetSettings) -> Comparison:
    """Read a group's pictures; those that turn out to be damaged are missing from the views and named in problems."""
    full, problems = measured.full, list(measured.problems)
    searched = bounded(full, max(settings.max_side, _SEARCH_SIDE))
    wholes: dict[Path, Shown] = {}
    for entry in measured.group.entries:
        if entry.path in measured.sizes:
            try:
                laid = fit(measured.sizes[entry.path], full)
                wholes[entry.path] = read_whole(entry.path, laid, searched, settings.limits)
            except PictureError as error:
                problems.append(str(error))
    notes: list[str] = []
    region = _region(list(wholes.values()), full, settings.crop, measured.group.name, notes)
    views: list[View] = []
    for entry in measured.group.entries:
        if entry.path in wholes:
            try:
                views.append(_view(entry, measured, wholes.pop(entry.path), region, settings.limits))
            except PictureError as error:  # it changed since it was read whole
                problems.append(str(error))
    said = ", ".join(f"{view.label} ({view.how})" for view in views if view.how != "as it is")
    if said:
        notes.append(f"{measured.group.name}: shown at the size of the largest, {full[1]}x{full[0]}: {said}.")
    return Comparison(
        name=measured.group.name,
        full=full,
        target=measured.target,
        region=region,
        views=tuple(views),
        problems=tuple(problems),
        notes=tuple(notes),
    )


def _view(entry: Entry, measured: Measured, whole: Shown, region: Region, limits: Limits) -> View:
    laid = fit(measured.sizes[entry.path], measured.full)
    if whole.shape[:2] != measured.target:
        whole = _smaller(whole, measured.target)
    return View(
        label=entry.label,
        path=entry.path,
        size=laid.size,
        how=laid.how,
        whole=whole,
        crop=read_region(entry.path, laid, region, limits),
    )


def _smaller(picture: Shown, target: Size) -> Shown:
    return resample_array(picture, target).astype(np.uint8)


def _region(wholes: Sequence[Shown], full: Size, wished: Region | None, group_name: str, notes: list[str]) -> Region:
    if wished is not None:
        region = wished.inside(full)
        if region != wished:
            notes.append(f"{group_name}: the region {wished} reaches beyond {full[1]}x{full[0]}; {region} is shown.")
        return region
    if not wholes:
        return Region(x=0, y=0, width=CROP_SIDE, height=CROP_SIDE).inside(full)
    return where_they_differ(wholes, full, side=CROP_SIDE)
