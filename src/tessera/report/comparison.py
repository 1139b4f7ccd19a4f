"""Pictures of one subject, read for a comparison sheet: each whole at a limited size, and an aligned region of all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tessera.errors import PictureError, UsageError
from tessera.images.picture_format import Limits
from tessera.images.resample import resample_array
from tessera.report.partners import Group, GroupPicture
from tessera.report.views import (
    Region,
    Shown,
    Size,
    find_difference,
    fit,
    read_region,
    read_size,
    read_whole,
    shrink_size,
)

CROP_SIDE = 96
MAGNIFICATION = 4
"""Magnification of the crops."""
LONGEST_CROP = 512
_SEARCH_SIDE = 1024


@dataclass(frozen=True, kw_only=True)
class SheetSettings:
    """Settings of a comparison sheet. Raises UsageError for values out of range."""

    crop: Region | None = None
    max_side: int = 1024
    columns: int | None = None
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        if self.crop is not None:
            sides = self.crop.width, self.crop.height
            if min(sides) < 1 or max(sides) > LONGEST_CROP:
                raise UsageError(f"expected sides of 1 to {LONGEST_CROP} pixels, found {self.crop}.", field="crop")
        if not 16 <= self.max_side <= 16_384:
            raise UsageError(f"expected 16 to 16384 pixels, found {self.max_side}.", field="max_side")
        if self.columns is not None and not 1 <= self.columns <= 100:
            raise UsageError(f"expected 1 to 100, found {self.columns}.", field="columns")


@dataclass(frozen=True, kw_only=True)
class SizedGroup:
    """A group with the sizes of its files, the largest size, and sentences about unreadable files."""

    group: Group
    sizes: dict[Path, Size]
    full: Size
    target: Size
    """The size at which whole pictures are shown."""
    problems: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class View:
    """One picture as shown; `whole` and `crop` have the same size in all views of a group."""

    label: str
    path: Path
    size: Size
    how: str
    whole: Shown
    crop: Shown


@dataclass(frozen=True, kw_only=True)
class GroupView:
    """A group as shown."""

    name: str
    full: Size
    target: Size
    region: Region
    views: tuple[View, ...]
    problems: tuple[str, ...]
    notes: tuple[str, ...]


def read_sizes(group: Group, settings: SheetSettings) -> SizedGroup:
    """Read the sizes of a group's files from their headers."""
    sizes: dict[Path, Size] = {}
    problems: list[str] = []
    for entry in group.entries:
        try:
            sizes[entry.path] = read_size(entry.path, settings.limits)
        except PictureError as error:
            problems.append(str(error))
    full = max(sizes.values(), key=lambda size: (size[0] * size[1], size), default=(1, 1))
    return SizedGroup(
        group=group, sizes=sizes, full=full, target=shrink_size(full, settings.max_side), problems=tuple(problems)
    )


def read_group(sized: SizedGroup, settings: SheetSettings) -> GroupView:
    """Read a group's pictures; damaged ones are named in `problems`."""
    full, problems = sized.full, list(sized.problems)
    searched = shrink_size(full, max(settings.max_side, _SEARCH_SIDE))
    wholes: dict[Path, Shown] = {}
    for entry in sized.group.entries:
        if entry.path in sized.sizes:
            try:
                placed = fit(sized.sizes[entry.path], full)
                wholes[entry.path] = read_whole(entry.path, placed, searched, settings.limits)
            except PictureError as error:
                problems.append(str(error))
    notes: list[str] = []
    region = _choose_region(list(wholes.values()), full, settings.crop, sized.group.name, notes)
    views: list[View] = []
    for entry in sized.group.entries:
        if entry.path in wholes:
            try:
                views.append(_read_view(entry, sized, wholes.pop(entry.path), region, settings.limits))
            except PictureError as error:  # it changed after it was read whole
                problems.append(str(error))
    resized = ", ".join(f"{view.label} ({view.how})" for view in views if view.how != "as it is")
    if resized:
        notes.append(f"{sized.group.name}: shown at the size of the largest, {full[1]}x{full[0]}: {resized}.")
    return GroupView(
        name=sized.group.name,
        full=full,
        target=sized.target,
        region=region,
        views=tuple(views),
        problems=tuple(problems),
        notes=tuple(notes),
    )


def _read_view(entry: GroupPicture, sized: SizedGroup, whole: Shown, region: Region, limits: Limits) -> View:
    placed = fit(sized.sizes[entry.path], sized.full)
    if whole.shape[:2] != sized.target:
        whole = _shrink(whole, sized.target)
    return View(
        label=entry.label,
        path=entry.path,
        size=placed.size,
        how=placed.how,
        whole=whole,
        crop=read_region(entry.path, placed, region, limits),
    )


def _shrink(picture: Shown, target: Size) -> Shown:
    return resample_array(picture, target).astype(np.uint8)


def _choose_region(
    wholes: Sequence[Shown], full: Size, wished: Region | None, group_name: str, notes: list[str]
) -> Region:
    if wished is not None:
        region = wished.inside(full)
        if region != wished:
            notes.append(
                f"{group_name}: the region {wished} lies partly outside {full[1]}x{full[0]}; {region} is shown instead."
            )
        return region
    if not wholes:
        return Region(x=0, y=0, width=CROP_SIDE, height=CROP_SIDE).inside(full)
    return find_difference(wholes, full, side=CROP_SIDE)
