"""The user's paths -> a listing of pictures, without opening any: 100,000 names take a second.

A path is a folder, a file, a pattern, a list (.txt, as BasicSR's meta-info files) or an LMDB store.
"""

from __future__ import annotations

import functools
import glob
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tessera.dataset.listing_file import read_lines
from tessera.dataset.pairing import match_names
from tessera.dataset.store import is_store, list_keys
from tessera.dataset.taught import INPUTS, OUTPUTS, is_taught
from tessera.errors import UsageError
from tessera.images.formats import list_readable_extensions

_MOST_PROBLEMS = 20
_MOST_QUOTED = 100


@dataclass(frozen=True, slots=True)
class PictureRef:
    """Location of a picture: a file, or a key in a store."""

    place: str
    key: str = ""

    def __str__(self) -> str:
        """Name in messages."""
        return f"{self.place}:{self.key}" if self.key else self.place

    @property
    def stem(self) -> str:
        """Name without folder and extension."""
        return self.key or Path(self.place).stem


@dataclass(frozen=True)
class Listing:
    """Pictures in a fixed order; `lq` has the inputs if there are pairs; messages about pictures that are left out."""

    gt: tuple[PictureRef, ...]
    lq: tuple[PictureRef, ...] | None = None
    problems: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.gt)


@dataclass(frozen=True, slots=True)
class _ListedPicture:
    """A picture with its path relative to the named place, and its input if a list has one."""

    ref: PictureRef
    below: str
    lq: PictureRef | None = None


def list_pictures(
    places: Sequence[Path],
    lq: Sequence[Path] | None = None,
    *,
    root: Path | None = None,
    recursive: bool = True,
) -> Listing:
    """List the pictures in `places` by name, paired with `lq` by name (or by the lists themselves).

    No file is opened or queried. Raises UsageError if a place is missing or has no pictures.
    """
    if lq is not None and len(lq) != len(places):
        raise UsageError(
            f"Expected one place of inputs for each of the {len(places)} of ground truth, found {len(lq)}."
        )
    found = [_list_entries(place, root, recursive) for place in places]
    if lq is not None:
        return _pair(places, found, lq, [_list_entries(place, root, recursive) for place in lq])
    entries = list({entry.ref: entry for part in found for entry in part}.values())
    with_input = [entry for entry in entries if entry.lq is not None]
    if with_input and len(with_input) < len(entries):
        raise UsageError(
            f"{len(with_input)} of {len(entries)} pictures have an input in their list: give one for each, or none."
        )
    inputs = tuple(entry.lq for entry in with_input if entry.lq is not None)
    return Listing(tuple(entry.ref for entry in entries), inputs or None)


def _pair(
    places: Sequence[Path],
    found: list[list[_ListedPicture]],
    lq_places: Sequence[Path],
    lq_found: list[list[_ListedPicture]],
) -> Listing:
    """Match ground truth and inputs by name, place by place."""
    gt: list[PictureRef] = []
    lq: list[PictureRef] = []
    problems: list[str] = []
    for place, gt_entries, lq_place, lq_entries in zip(places, found, lq_places, lq_found, strict=True):
        matches = match_names([entry.below for entry in gt_entries], [entry.below for entry in lq_entries])
        gt += [gt_entries[pair.first].ref for pair in matches.pairs]
        lq += [lq_entries[pair.second].ref for pair in matches.pairs]
        for entries, reasons, other in zip((gt_entries, lq_entries), matches.reasons, (lq_place, place), strict=True):
            problems += [f"{entries[index].ref}: {reason} in {other}." for index, reason in sorted(reasons.items())]
    if not gt:
        raise UsageError(
            f"No picture in {_join(places)} has a partner in {_join(lq_places)}: names must be equal, except for marks"
            f" such as x4, _LR or _HR. {problems[0]}"
        )
    more = len(problems) - _MOST_PROBLEMS
    return Listing(
        tuple(gt), tuple(lq), (*problems[:_MOST_PROBLEMS], *([f"{more} more have no partner."] if more > 0 else []))
    )


def _join(places: Sequence[Path]) -> str:
    return ", ".join(map(str, places))


def _list_entries(place: Path, root: Path | None, recursive: bool) -> list[_ListedPicture]:
    """List all pictures of one place, sorted."""
    if place.is_dir():
        if is_taught(place):
            return _list_taught(place)
        if is_store(place):
            return [_ListedPicture(PictureRef(str(place), key), key + ".png") for key in list_keys(place)]
        folder = str(place)
        return _check_not_empty(
            place, [_ListedPicture(PictureRef(path), path[len(folder) + 1 :]) for path in _walk(folder, recursive)]
        )
    if place.suffix.lower() == ".txt" and place.is_file():
        return _check_not_empty(place, _parse_list(place, root))
    if place.exists():
        return [_ListedPicture(PictureRef(str(place)), place.name)]
    if glob.has_magic(str(place)):
        matches = glob.iglob(str(place), recursive=True)  # noqa: PTH207 - the pattern may be absolute
        return _check_not_empty(
            place, [_ListedPicture(PictureRef(path), Path(path).name) for path in sorted(filter(_is_picture, matches))]
        )
    raise UsageError(f"{place}: no such folder, file, list or store.")


def _list_taught(place: Path) -> list[_ListedPicture]:
    """The pairs of a store made by a teacher."""
    outputs, inputs = place / OUTPUTS, place / INPUTS
    return [
        _ListedPicture(PictureRef(str(outputs), key), key + ".png", PictureRef(str(inputs), key))
        for key in list_keys(outputs)
    ]


def _check_not_empty(place: Path, entries: list[_ListedPicture]) -> list[_ListedPicture]:
    if not entries:
        raise UsageError(f"{place}: no pictures found.")
    return entries


def _walk(folder: str, recursive: bool) -> list[str]:
    """List the pictures below a folder by name; directory entries have their type, so no file is accessed."""
    found: list[str] = []
    waiting, seen = [folder], {os.path.realpath(folder)}
    while waiting:
        place = waiting.pop()
        try:
            with os.scandir(place) as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    if _is_picture(entry.name):
                        found.append(entry.path)
                    elif recursive and entry.is_dir():
                        real = os.path.realpath(entry.path)  # links may form a cycle
                        if real not in seen:
                            seen.add(real)
                            waiting.append(entry.path)
        except OSError as error:
            raise UsageError(f"{place}: this folder cannot be listed: {error.strerror}.") from None
    return sorted(found)


def _is_picture(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in list_readable_extensions()  # noqa: PTH122 - a hundred thousand of these


def _parse_list(listing: Path, root: Path | None) -> list[_ListedPicture]:
    """Parse a meta-info file, with lines `path (h,w,c)` or `gt, lq`; relative paths start at `root`."""
    base = root if root is not None else listing.parent
    entries: list[_ListedPicture] = []
    for number, line in read_lines(listing):
        if line.startswith("#"):
            continue
        paths = _parse_line(line.strip())
        if paths is None:
            found = line.strip()[:_MOST_QUOTED]
            raise UsageError(
                f"{listing}, line {number}: expected the path of a picture, or two with a comma; found {found!r}."
            )
        gt, lq = paths
        entries.append(
            _ListedPicture(PictureRef(str(base / gt)), gt, None if lq is None else PictureRef(str(base / lq)))
        )
    return entries


def _parse_line(line: str) -> tuple[str, str | None] | None:
    """Parse a line into ground truth and input, in time linear in its length; None if it names no picture.

    >>> _parse_line("hr/my cat.png (480,480,3), lr/my cat.png 1"), _parse_line("a.png (8,8,3) 1"), _parse_line("README")
    (('hr/my cat.png', 'lr/my cat.png'), ('a.png', None), None)
    """
    end = _match_path(line)
    if not end:
        return None
    rest = line[end:].lstrip()
    if (size := _SIZE.match(rest)) is not None:
        rest = rest[size.end() :].lstrip()
    if not rest.startswith(","):
        return line[:end], None
    rest = rest[1:].lstrip()
    lq_end = _match_path(rest)
    return (line[:end], rest[:lq_end]) if lq_end else None


_SIZE = re.compile(r"\([^()]{1,64}\)(?:\s{1,8}\d{1,9})?(?=[\s,]|$)")


def _match_path(text: str) -> int:
    """Length of the path at the start of a text: up to the first extension of a picture; 0 without one."""
    found = _compile_extensions().search(text, 1)
    return 0 if found is None else found.end()


@functools.cache
def _compile_extensions() -> re.Pattern[str]:
    extensions = "|".join(sorted(re.escape(extension) for extension in list_readable_extensions()))
    return re.compile(rf"(?:{extensions})(?=[\s,(]|$)", re.IGNORECASE)
