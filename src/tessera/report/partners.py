"""Pictures of several folders matched by name, after suffixes such as _out, x4 and _SR are removed."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tessera.errors import UsageError
from tessera.evaluate.naming import shorten_paths
from tessera.images.formats import is_picture_name

_ENDING = re.compile(
    r"[ _.\-]+(?:out|output|sr|hr|lr|gt|lq|srf[ _\-]?\d|result|nearest|bilinear|bicubic|lanczos|[1-9]x)$"
    r"|[ _.\-]*x[1-9]$",  # also babyx4, as Set5's authors have it
    re.IGNORECASE,
)


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One picture of a group."""

    label: str
    path: Path


@dataclass(frozen=True, kw_only=True)
class Group:
    """Pictures of the same subject, in the order of the folders."""

    name: str
    entries: tuple[Entry, ...]


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
        entries = tuple(Entry(label=label, path=path) for label, path in zip(shown, inputs, strict=True))
        return Partners(labels=shown, groups=(Group(name=_subject_of(inputs[0].stem), entries=entries),))
    return _match_folders(inputs, shown)


def _match_folders(folders: Sequence[Path], labels: tuple[str, ...]) -> Partners:
    named = _match_names(folders)
    for folder, pictures in zip(folders, named, strict=True):
        if not pictures:
            raise UsageError(f"{folder}: no pictures in this folder.")
    keys = list(dict.fromkeys(key for pictures in named for key in sorted(pictures)))
    groups: list[Group] = []
    missing: dict[str, list[str]] = {}
    for key in sorted(keys):
        entries = [
            Entry(label=label, path=pictures[key])
            for label, pictures in zip(labels, named, strict=True)
            if key in pictures
        ]
        if len(entries) > 1:
            groups.append(Group(name=key, entries=tuple(entries)))
        for label, pictures in zip(labels, named, strict=True):
            if key not in pictures:
                missing.setdefault(label, []).append(key)
    if not groups:
        examples = " and ".join(
            f"{next(iter(sorted(each.values()))).name} in {f}" for f, each in zip(folders, named, strict=True)
        )
        raise UsageError(f"No picture names match between the folders; they have, for example, {examples}.")
    missing = {label: missing[label] for label in labels if label in missing}
    notes = (
        ()
        if not missing
        else ("Missing: " + "; ".join(f"{_shorten_list(v)} in {k}" for k, v in missing.items()) + ".",)
    )
    return Partners(labels=labels, groups=tuple(groups), notes=notes)


def _match_names(folders: Sequence[Path]) -> list[dict[str, Path]]:
    """The pictures of each folder by subject.

    If no name of a folder matches, the common suffix of its names is removed as the name of a method.
    """
    files = [_list_files(folder) for folder in folders]
    named = [_by_key(paths, "") for paths in files]
    for index, paths in enumerate(files):
        others = {key for other, pictures in enumerate(named) if other != index for key in pictures}
        if not others & named[index].keys():
            named[index] = _by_key(paths, _common_tail([path.stem for path in paths]))
    return named


def _list_files(folder: Path) -> list[Path]:
    try:
        return [path for path in folder.iterdir() if is_picture_name(path) and path.is_file()]
    except OSError as error:
        raise UsageError(f"{folder}: cannot list this folder ({error.strerror}).") from None


def _by_key(files: Sequence[Path], tail: str) -> dict[str, Path]:
    """Pictures of one folder by subject; of two with the same subject, the shorter name has priority."""
    found: dict[str, Path] = {}
    for path in sorted(files, key=lambda path: (len(path.stem), path.name)):
        keys = (_subject_of(path.stem.removesuffix(tail)), _plain(path.stem), _plain(path.name))
        key = next((key for key in keys if key not in found), None)
        if key is not None:
            found[key] = path
    return found


def _subject_of(stem: str) -> str:
    """The subject of a picture, by its name.

    >>> [_subject_of(stem) for stem in ("baby_out", "0801x4", "img_001_SRF_4_HR", "bird_x4_SR", "out", "babyx4")]
    ['baby', '0801', 'img_001', 'bird', 'out', 'baby']
    """
    while True:
        shorter = _ENDING.sub("", stem)
        if not shorter or shorter == stem:
            return _plain(stem)
        stem = shorter


def _plain(stem: str) -> str:
    return unicodedata.normalize("NFC", stem)


def _common_tail(stems: Sequence[str]) -> str:
    """The common suffix of all names of a folder, from an underscore on: often the name of a method.

    >>> _common_tail(["baby_RCAN_x4", "bird_RCAN_x4"]), _common_tail(["img_001", "img_002"]), _common_tail(["a_b"])
    ('_RCAN_x4', '', '')
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
