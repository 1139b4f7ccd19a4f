"""Pictures of two sets matched by name: results with references, inputs with ground truth.

Equal names match first, over both sets. Then marks of scale and role are removed from the ends of the names that are
left: `0801x4` matches `0801`, and `baby_LR` matches `baby_HR`. A scale mark counts only if all matched names of its set
carry it, because `box2` is a name, too. Doubtful pairs are refused, never guessed.
"""

from __future__ import annotations

import itertools
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePath

_MARK = re.compile(
    r"[ _.-](?:HR|LR|SR|GT|LQ|out|output|rlt|result|nearest|bilinear|bicubic|lanczos)$"
    r"|[ _.-](?:SRF[ _-]?|sr_)(?P<factor>\d{1,2})x?$"
    r"|[ _.-]?x(?P<scale>\d)$|[ _.-](?P<times>[1-9])x$",
    re.IGNORECASE,
)
_SUB_IMAGE = re.compile(r"_s\d{3,9}$", re.IGNORECASE)
NO_PARTNER = "has no partner"
_LONGEST_MARK = 16
_MOST_MARKS = 6


def key_of(path: PurePath) -> str:
    """Remove all marks of scale and role from a file's name, and fold case; a sub-image keeps its number.

    >>> [key_of(PurePath(name)) for name in ("img_001_SRF_4_HR.png", "babyx4.png", "Baby_out.jpg")]
    ['img_001', 'baby', 'baby']
    >>> key_of(PurePath("0001x4_s012.png")) == key_of(PurePath("0001_s012.png"))
    True
    """
    return _fold(remove_marks(path.stem))


def remove_marks(stem: str) -> str:
    """Remove all marks of scale and role from a name without folder and extension.

    >>> [remove_marks(stem) for stem in ("Bird_x4_SR", "out", "img_002")]
    ['Bird', 'out', 'img_002']
    """
    return _list_stems(stem)[-1][0]


def _list_stems(stem: str) -> list[tuple[str, frozenset[str]]]:
    """The name with ever more marks removed, and the scale marks that were."""
    number = ""
    if (found := _SUB_IMAGE.search(stem[-_LONGEST_MARK:])) is not None and len(found[0]) < len(stem):
        stem, number = stem[: -len(found[0])], found[0]
    scales: frozenset[str] = frozenset()
    stems = [(stem + number, scales)]
    for _ in range(_MOST_MARKS):
        found = _MARK.search(stem[-_LONGEST_MARK:])
        if found is None or len(found[0]) == len(stem):
            break
        stem = stem[: -len(found[0])]
        factor = found["factor"] or found["scale"] or found["times"]
        scales |= {f"x{factor}"} if factor else set[str]()
        stems.append((stem + number, scales))
    return stems


@dataclass(frozen=True)
class ReducedName:
    """A name without some of its marks."""

    key: str
    """The rest of the name, below the same folder."""
    scales: frozenset[str] = frozenset()
    """Scale marks that were removed, such as x4."""


def list_forms(name: str) -> tuple[ReducedName, ...]:
    """List the forms of a name (a path below its set's folder), from no mark removed to all, with case folded.

    >>> [form.key for form in list_forms("Box1_x4_out.png")]
    ['box1_x4_out', 'box1_x4', 'box1', 'bo']
    """
    folder, slash, file = name.replace(os.sep, "/").rpartition("/")
    below = _fold(folder) + slash
    stem, _ = os.path.splitext(file)  # noqa: PTH122 - a hundred thousand of these
    return tuple(ReducedName(below + _fold(rest), scales) for rest, scales in _list_stems(stem))


def _fold(text: str) -> str:
    return text.lower() if text.isascii() else unicodedata.normalize("NFC", text).casefold()


@dataclass(frozen=True)
class NamePair:
    """Two matching names, by their positions in the two sets."""

    first: int
    second: int
    forms: tuple[ReducedName, ReducedName]
    """The forms in which they are equal."""


@dataclass(frozen=True)
class Matches:
    """The result of `match_names`."""

    pairs: tuple[NamePair, ...]
    """In the order of the first set."""
    reasons: tuple[dict[int, str], dict[int, str]]
    """For each name of the first and of the second set that is left, why: the predicate of a sentence."""


def match_names(first: Sequence[str], second: Sequence[str], *, mixed_scales: bool = False) -> Matches:
    """Match the names of two sets, paths below the sets' folders, in time linear in their number.

    With `mixed_scales`, a scale mark counts even if other names of its set do not carry it.

    >>> [(pair.first, pair.second) for pair in match_names(["box1.png", "box2.png"], ["box1.png", "box2.png"]).pairs]
    [(0, 0), (1, 1)]
    >>> match_names(["box1.png"], ["box2.png"]).reasons
    ({0: 'has no partner'}, {0: 'has no partner'})
    """
    reasons: tuple[dict[int, str], dict[int, str]] = {}, {}
    sets = _Names(first), _Names(second)
    pairs: dict[int, NamePair] = {}
    for levels in _list_rounds(sets):
        if not (sets[0].left and sets[1].left):
            break
        found, doubtful = _match_round(sets, levels)
        for pair in found:
            pairs[pair.first] = pair
            sets[0].left.discard(pair.first)
            sets[1].left.discard(pair.second)
        for side in (0, 1):
            reasons[side].update(dict.fromkeys(doubtful[side], "has several possible partners"))
            sets[side].left.difference_update(doubtful[side])
    kept = tuple(pair for _, pair in sorted(pairs.items()))
    if not mixed_scales:
        kept = _drop_stray_scales(kept, sets, reasons)
    for side in (0, 1):
        reasons[side].update(dict.fromkeys(sets[side].left, NO_PARTNER))
    return Matches(kept, reasons)


_EXACT = 2
"""Forms before those of `list_forms`: the name itself, and the name without its extension."""
_MOST_COMPARED = 64


class _Names:
    """The names of a set, with their forms, which are listed when they are first needed."""

    def __init__(self, names: Sequence[str]) -> None:
        self.left = set(range(len(names)))
        """Names without a partner, and without several candidates."""
        self._names = names
        self._forms: dict[int, tuple[ReducedName, ...]] = {}

    def get_form(self, index: int, level: int) -> ReducedName | None:
        """Get a form: the name itself, the name without its extension, then those of `list_forms`."""
        if level == 0:
            return ReducedName(self._names[index])
        if level == 1:
            return ReducedName(os.path.splitext(self._names[index])[0])  # noqa: PTH122 - a hundred thousand of these
        forms = self._list(index)
        return forms[level - _EXACT] if level - _EXACT < len(forms) else None

    def count_marks(self) -> int:
        """Count the marks of the name with the most among those that are left."""
        return max((len(self._list(index)) for index in self.left), default=1) - 1

    def list_scales(self, index: int) -> frozenset[str]:
        """List all scale marks of a name."""
        return self._list(index)[-1].scales

    def _list(self, index: int) -> tuple[ReducedName, ...]:
        if index not in self._forms:
            self._forms[index] = list_forms(self._names[index])
        return self._forms[index]


def _list_rounds(sets: tuple[_Names, _Names]) -> Iterator[list[tuple[int, int]]]:
    """Pairs of forms to compare, in the order of their doubtfulness: equal names, then one mark, then two and so on."""
    yield from ([(level, level)] for level in range(_EXACT))
    most = [names.count_marks() for names in sets]
    for removed in range(sum(most) + 1):
        yield [
            (_EXACT + number, _EXACT + removed - number)
            for number in range(removed + 1)
            if number <= most[0] and removed - number <= most[1]
        ]


def _match_round(
    sets: tuple[_Names, _Names], levels: Sequence[tuple[int, int]]
) -> tuple[list[NamePair], tuple[set[int], set[int]]]:
    """Find the pairs of a round, and the names with more than one candidate."""
    candidates: list[NamePair] = []
    doubtful = set[int](), set[int]()
    for pair_of_levels in levels:
        groups: dict[str, tuple[list[tuple[int, ReducedName]], list[tuple[int, ReducedName]]]] = {}
        for side, level in enumerate(pair_of_levels):
            for index in sets[side].left:
                form = sets[side].get_form(index, level)
                if form is not None:
                    groups.setdefault(form.key, ([], []))[side].append((index, form))
        for ours, theirs in groups.values():
            if len(ours) * len(theirs) > _MOST_COMPARED:
                doubtful[0].update(index for index, _ in ours)
                doubtful[1].update(index for index, _ in theirs)
                continue
            for (one, form), (other, equal) in itertools.product(ours, theirs):
                if not (form.scales and equal.scales) or form.scales == equal.scales:
                    candidates.append(NamePair(one, other, (form, equal)))
    for side in (0, 1):
        count = Counter((pair.first, pair.second)[side] for pair in candidates)
        for pair in candidates:
            if count[(pair.first, pair.second)[side]] > 1:
                doubtful[0].add(pair.first)
                doubtful[1].add(pair.second)
    found = [pair for pair in candidates if pair.first not in doubtful[0] and pair.second not in doubtful[1]]
    return found, doubtful


def _drop_stray_scales(
    pairs: tuple[NamePair, ...], sets: tuple[_Names, _Names], reasons: tuple[dict[int, str], dict[int, str]]
) -> tuple[NamePair, ...]:
    """Drop pairs that match by a scale mark which other matched names of their set do not carry."""
    if not any(form.scales for pair in pairs for form in pair.forms):
        return pairs
    carried: list[frozenset[str]] = []
    for side in (0, 1):
        marks = [sets[side].list_scales((pair.first, pair.second)[side]) for pair in pairs]
        carried.append(frozenset.intersection(*marks) if marks else frozenset())
    kept: list[NamePair] = []
    for pair in pairs:
        stray = [sorted(form.scales - common) for form, common in zip(pair.forms, carried, strict=True)]
        if any(stray):
            mark = next(marks for marks in stray if marks)[0]
            for side, index in enumerate((pair.first, pair.second)):
                reasons[side][index] = f"has only a doubtful partner (not all names end in {mark})"
        else:
            kept.append(pair)
    return tuple(kept)
