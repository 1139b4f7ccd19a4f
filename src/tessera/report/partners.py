"""Pictures of several folders matched by name, after suffixes such as _out, x4 and _SR are removed."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tessera.dataset.pairing import match_names, remove_marks
from tessera.errors import UsageError
from tessera.evaluate.naming import shorten_paths
from tessera.images.formats import is_picture_name


@dataclass(frozen=True, kw_only=True)
class GroupPicture:
    """One picture of a group."""

    label: str
    path: Path


@dataclass(frozen=True, kw_only=True)
class Group:
    """Pictures of the same subject, in the order of the folders."""

    name: str
    entries: tuple[GroupPicture, ...]


@dataclass(frozen=True, kw_only=True)
class Partners:
    """The groups to compare, and sentences about pictures without a partner."""

    labels: tuple[str, ...]
    groups: tuple[Group, ...]
    notes: tuple[str, ...] = ()


def find_partners(inputs: Sequence[Path], labels: Sequence[str] = ()) -> Partners:
    """Match the pictures of two or more folders, or take two or more picture files as one group.

    Raises UsageError if there is nothing to compare, or the number of labels is wrong.
    """
    for path in inputs:
        if not os.path.exists(path):  # noqa: PTH110 - False, not an error, for any text
            raise UsageError(f"{path}: no such file or folder.")
    folders = [path for path in inputs if path.is_dir()]
    if len(inputs) < 2:
        what = f"found only {inputs[0]}" if inputs else "found nothing"
        raise UsageError(f"Name two or more folders, or two or more pictures, to compare; {what}.")
    if folders and len(folders) < len(inputs):
        file = next(path for path in inputs if not path.is_dir())
        raise UsageError(f"{folders[0]} is a folder and {file} is a file: name folders only, or pictures only.")
    if len({os.path.realpath(path) for path in inputs}) < len(inputs):
        raise UsageError("An input is named twice. Name different folders or pictures.")
    if labels and len(labels) != len(inputs):
        raise UsageError(
            f"expected one for each of the {len(inputs)} inputs, or none, found {len(labels)}.", field="labels"
        )
    shown = tuple(labels) or shorten_paths([path if folders else path.with_suffix("") for path in inputs])
    if not folders:
        entries = tuple(GroupPicture(label=label, path=path) for label, path in zip(shown, inputs, strict=True))
        return Partners(labels=shown, groups=(Group(name=remove_marks(inputs[0].stem), entries=entries),))
    return _match_folders(inputs, shown)


def _match_folders(folders: Sequence[Path], labels: tuple[str, ...]) -> Partners:
    files = [_list_files(folder) for folder in folders]
    for folder, paths in zip(folders, files, strict=True):
        if not paths:
            raise UsageError(f"{folder}: no pictures in this folder.")
    found = _match_files(files)
    groups: list[Group] = []
    missing: dict[str, list[str]] = {label: [] for label in labels}
    for name, members in sorted(_name_groups(found).items()):
        entries = tuple(
            GroupPicture(label=label, path=members[index]) for index, label in enumerate(labels) if index in members
        )
        if len(entries) > 1:
            groups.append(Group(name=name, entries=entries))
        for index, label in enumerate(labels):
            if index not in members:
                missing[label].append(name)
    if not groups:
        examples = " and ".join(f"{paths[0].name} in {folder}" for folder, paths in zip(folders, files, strict=True))
        raise UsageError(f"No picture names match between the folders; they have, for example, {examples}.")
    lacking = "; ".join(f"{_shorten_list(names)} in {label}" for label, names in missing.items() if names)
    return Partners(labels=labels, groups=tuple(groups), notes=(f"Missing: {lacking}.",) if lacking else ())


def _match_files(files: Sequence[list[Path]]) -> list[dict[int, Path]]:
    """Groups of pictures, each by the number of its folder; every folder is matched with those before it.

    If no name of a folder matches, the common suffixes of the names are removed as the names of methods.
    """
    groups = [{0: path} for path in files[0]]
    for index, paths in enumerate(files[1:], 1):
        earlier = [next(iter(group.values())) for group in groups]
        names = [path.name for path in earlier], [path.name for path in paths]
        pairs = match_names(*names, mixed_scales=True).pairs
        if not pairs:
            without = (_remove_common_tail(each) for each in (earlier, paths))
            pairs = match_names(*without, mixed_scales=True).pairs
        for pair in pairs:
            groups[pair.first][index] = paths[pair.second]
        matched = {pair.second for pair in pairs}
        groups += [{index: path} for number, path in enumerate(paths) if number not in matched]
    return groups


def _name_groups(groups: Sequence[dict[int, Path]]) -> dict[str, dict[int, Path]]:
    """Name each group by its pictures' names without marks, or by a file's name where two would be equal."""
    named: dict[str, dict[int, Path]] = {}
    for group in sorted(groups, key=lambda group: (-len(group), min(len(path.stem) for path in group.values()))):
        first = min(group.values(), key=lambda path: len(path.stem))
        equal = len({path.stem for path in group.values()}) == 1 < len(group)
        names = (first.stem if equal else remove_marks(first.stem), first.stem, first.name, str(first))
        named[next(name for name in map(_normalize, names) if name not in named)] = group
    return named


def _list_files(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if is_picture_name(path) and path.is_file())
    except OSError as error:
        raise UsageError(f"{folder}: cannot list this folder ({error.strerror}).") from None


def _normalize(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _remove_common_tail(paths: Sequence[Path]) -> list[str]:
    tail = _find_common_tail([path.stem for path in paths])
    return [path.stem.removesuffix(tail) + path.suffix for path in paths]


def _find_common_tail(stems: Sequence[str]) -> str:
    """The common suffix of all names of a folder, from an underscore on: often the name of a method.

    >>> [_find_common_tail(stems) for stems in (["baby_RCAN_x4", "bird_RCAN_x4"], ["img_001", "img_002"], ["a_b"])]
    ['_RCAN_x4', '', '']
    """
    if len(stems) < 2:
        return ""
    backwards = [stem[::-1] for stem in stems]
    common = os.path.commonprefix(backwards)[::-1]  # noqa: RUF071 - characters are what is meant
    start = common.find("_")
    tail = common[start:] if start >= 0 else ""
    return tail if all(len(stem) > len(tail) for stem in stems) else ""


def _shorten_list(names: Sequence[str]) -> str:
    """List names in a sentence, at most five.

    >>> _shorten_list(list("abcdefg"))
    'a, b, c, d, e and 2 more'
    """
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
