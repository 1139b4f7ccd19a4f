"""Pairs of pictures: results, references and inputs matched by name; test sets in their published layouts.

A test set's folder is recognized in the layouts in circulation: SelfExSR's (image_SRF_4/img_001_SRF_4_HR.png),
EDSR's (HR, LR_bicubic/X4/babyx4.png), BasicSR's (GTmod12, LRbicx4), DIV2K's, and plain folders of references.
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tessera.dataset.pairing import NO_PARTNER, Matches, key_of, list_forms, match_names
from tessera.errors import UsageError
from tessera.images.formats import is_picture_name


@dataclass(frozen=True)
class PicturePair:
    """The files of one picture: reference, input and result, if they exist."""

    name: str
    gt: Path | None = None
    lq: Path | None = None
    sr: Path | None = None


@dataclass(frozen=True)
class Pairing:
    """The pairs, and sentences about pictures without a partner."""

    pairs: tuple[PicturePair, ...]
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class BenchmarkSet:
    """A test set used in papers."""

    name: str
    aliases: tuple[str, ...]
    pictures: int
    has_references: bool = True


BENCHMARKS: tuple[BenchmarkSet, ...] = (
    BenchmarkSet(name="Set5", aliases=("set5",), pictures=5),
    BenchmarkSet(name="Set14", aliases=("set14",), pictures=14),
    BenchmarkSet(name="BSD100", aliases=("bsd100", "b100", "bsds100"), pictures=100),
    BenchmarkSet(name="Urban100", aliases=("urban100",), pictures=100),
    BenchmarkSet(name="Manga109", aliases=("manga109",), pictures=109),
    BenchmarkSet(name="Sun-Hays80", aliases=("sunhays80", "sunhay80"), pictures=80),
    BenchmarkSet(name="DIV2K", aliases=("div2k", "div2kvalid", "div2k100"), pictures=100),
    BenchmarkSet(name="RealSRSet", aliases=("realsrset", "realsrset5images"), pictures=20, has_references=False),
)


def list_pictures_in(folder: Path) -> list[Path]:
    """List the pictures in a folder by name. Raises UsageError for a missing folder or one without pictures."""
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder.")
    found = sorted(path for path in folder.iterdir() if is_picture_name(path) and path.is_file())
    if not found:
        raise UsageError(f"{folder}: no pictures in this folder.")
    return found


def match_by_name(
    first: Sequence[Path], second: Sequence[Path], names: tuple[str, str]
) -> tuple[list[PicturePair], list[str]]:
    """Match results with references by name -> pairs (sr, gt), and sentences about pictures without a partner.

    Equal names first, then names without marks of scale and role (`match_names`); then results whose names are the
    references' with the name of a method, which is the same for all (baby_RCAN_x4 and baby_HR_x4). Doubtful pairs are
    refused. `names` describe the two groups in those sentences.
    """
    matches = match_names([path.name for path in first], [path.name for path in second])
    partners = {pair.first: pair.second for pair in matches.pairs}
    partners |= _match_methods(first, second, matches)
    pairs = [
        PicturePair(_name_pair(first[i], second[j]), sr=first[i], gt=second[j]) for i, j in sorted(partners.items())
    ]
    counts = Counter(pair.name for pair in pairs)  # `box1` and `box2` are both `bo` without marks
    pairs = [
        replace(pair, name=pair.gt.stem) if counts[pair.name] > 1 and pair.gt is not None else pair for pair in pairs
    ]
    used = partners.keys(), set(partners.values())
    problems = [
        f"{paths[index]}: {reason} among the {others}."
        for paths, reasons, done, others in zip((first, second), matches.reasons, used, reversed(names), strict=True)
        for index, reason in sorted(reasons.items())
        if index not in done
    ]
    return pairs, problems


def _name_pair(first: Path, second: Path) -> str:
    return first.stem if first.stem == second.stem else key_of(second)


def _match_methods(first: Sequence[Path], second: Sequence[Path], matches: Matches) -> dict[int, int]:
    """Match results that are left by the longest reference name that they start with: position -> partner.

    The rest of the name is taken for a method if it has letters and is the same for all results that match so.
    """
    results = [index for index, reason in matches.reasons[0].items() if reason == NO_PARTNER]
    keys: dict[str, set[int]] = {}
    for index, path in enumerate(second):
        for form in list_forms(path.name):
            keys.setdefault(form.key, set()).add(index)
    found: dict[int, int] = {}
    methods: set[str] = set()
    for index in results:
        name = list_forms(first[index].name)[0].key
        ends = [match.start() for match in re.finditer(r"[_ -]", name)]
        end = next((end for end in reversed(ends) if name[:end] in keys), None)
        if end is None:
            continue
        partners = keys[name[:end]]
        (partner, *more) = partners
        if not more and matches.reasons[1].get(partner) == NO_PARTNER and re.search(r"[^\W\d_]", name[end:]):
            methods.add(name[end:])
            found[index] = partner
    shared = Counter(found.values())
    return {} if len(methods) > 1 else {index: partner for index, partner in found.items() if shared[partner] == 1}


def pair_folders(*, sr: Path | None = None, lq: Path | None = None, gt: Path | None = None) -> Pairing:
    """Match two folders by name, results or inputs with references; or list a single folder."""
    if sr is not None and gt is not None:
        pairs, problems = match_by_name(list_pictures_in(sr), list_pictures_in(gt), ("results", "references"))
        return Pairing(tuple(pairs), tuple(problems))
    if lq is not None and gt is not None:
        pairs, problems = match_by_name(list_pictures_in(lq), list_pictures_in(gt), ("inputs", "references"))
        return Pairing(tuple(PicturePair(pair.name, gt=pair.gt, lq=pair.sr) for pair in pairs), tuple(problems))
    only = sr or lq or gt
    assert only is not None
    paths = list_pictures_in(only)
    if sr is not None:
        return Pairing(tuple(PicturePair(path.stem, sr=path) for path in paths))
    if lq is not None:
        return Pairing(tuple(PicturePair(path.stem, lq=path) for path in paths))
    return Pairing(tuple(PicturePair(path.stem, gt=path) for path in paths))


def find_benchmark(name: str) -> BenchmarkSet:
    """Find a test set by a name in use. Raises UsageError with the nearest name."""
    folded = _fold(name)
    for benchmark in BENCHMARKS:
        if folded in benchmark.aliases or folded == _fold(benchmark.name):
            return benchmark
    names = [benchmark.name for benchmark in BENCHMARKS]
    near = difflib.get_close_matches(name, names, 1, cutoff=0.4)
    hint = f"; did you mean {near[0]}?" if near else "."
    raise UsageError(
        f"unknown test set {name!r}; known are {', '.join(names)}{hint} For others give `gt` or `lq`.", field="bench"
    )


def open_benchmark(benchmark: BenchmarkSet, data: Path, scale: int) -> Pairing:
    """Find a test set below a folder and pair its pictures for a scale. Raises UsageError if it is missing."""
    if not data.is_dir():
        raise UsageError(f"no such folder: {data}.", field="data")
    roots = [place for place in (data, *_list_folders(data, depth=2)) if _fold(place.name) in benchmark.aliases]
    if benchmark.name == "DIV2K":
        roots += [data] if any(place.name.startswith("DIV2K_") for place in _list_folders(data, depth=1)) else []
    if not roots:
        raise UsageError(f"no folder {benchmark.name} below {data}. Give the folder that contains it.", field="data")
    for root in roots:
        found = _match_layout(root, scale, benchmark)
        if found is not None:
            there = len(found.pairs)
            if there != benchmark.pictures:
                note = f"{benchmark.name} has {benchmark.pictures} pictures; {there} were found in {root}."
                return Pairing(found.pairs, found.problems, (*found.notes, note))
            return found
    raise UsageError(f"{roots[0]}: no pictures for scale {scale} in any known layout of {benchmark.name}.")


def _match_layout(root: Path, scale: int, benchmark: BenchmarkSet) -> Pairing | None:
    folders = {place.relative_to(root).as_posix().casefold(): place for place in _list_folders(root, depth=2)}
    mixed = _find_first(folders, (rf"image_srf_{scale}", rf"srf_{scale}"))
    if mixed is not None:
        return _pair_mixed(list_pictures_in(mixed))
    gt = _find_first(
        folders, (rf"hr_x{scale}", "gtmod12", r"gtmod\d+", rf"hr/x{scale}", r"div2k_valid_hr", "hr", "gt", "original")
    )
    lq = _find_first(
        folders,
        (
            *(rf"lr_x{scale}", rf"lrbicx{scale}", rf"lr_bicubic/x{scale}", rf"div2k_valid_lr_bicubic/x{scale}"),
            *(rf"div2k_valid_lr_bicubic_x{scale}", rf"lr/x{scale}", rf"lrx{scale}", rf"x{scale}"),
        ),
    )
    if gt is not None and lq is not None:
        return pair_folders(lq=lq, gt=gt)
    if gt is not None:
        return pair_folders(gt=gt)
    other = _find_first(folders, (r"image_srf_\d+", r"srf_\d+"))
    if other is not None:  # Sun-Hays80 exists for x8 only
        return _take_references(list_pictures_in(other), scale)
    flat = sorted(path for path in root.iterdir() if is_picture_name(path) and path.is_file())
    if not flat:
        return None
    if any(re.search(rf"_SRF_{scale}_(HR|LR)$", path.stem) for path in flat):
        return _pair_mixed([path for path in flat if f"_SRF_{scale}_" in path.name])
    if not benchmark.has_references:
        return Pairing(
            tuple(PicturePair(path.stem, lq=path) for path in flat), notes=(f"{benchmark.name} has no references.",)
        )
    return Pairing(tuple(PicturePair(path.stem, gt=path) for path in flat))


def _pair_mixed(paths: Sequence[Path]) -> Pairing:
    """Pair references (_HR) and inputs (_LR) in one folder; results of other methods are ignored."""
    gt, lq = ([path for path in paths if path.stem.upper().endswith(f"_{role}")] for role in ("HR", "LR"))
    if not lq:
        return Pairing(tuple(PicturePair(key_of(path), gt=path) for path in gt))
    pairs, problems = match_by_name(lq, gt, ("inputs", "references"))
    return Pairing(tuple(PicturePair(pair.name, gt=pair.gt, lq=pair.sr) for pair in pairs), tuple(problems))


def _take_references(paths: Sequence[Path], scale: int) -> Pairing | None:
    """The references of a set that exists for another scale; None without any."""
    found = [path for path in paths if path.stem.upper().endswith("_HR")]
    note = (
        f"{found[0].parent.name} has no inputs for x{scale}: its references are used, and inputs are made from them"
        " where a score needs them."
        if found
        else ""
    )
    return Pairing(tuple(PicturePair(key_of(path), gt=path) for path in found), notes=(note,)) if found else None


def _find_first(folders: dict[str, Path], patterns: Sequence[str]) -> Path | None:
    for pattern in patterns:
        for name, place in sorted(folders.items()):
            if re.fullmatch(pattern, name):
                return place
    return None


def _list_folders(root: Path, *, depth: int) -> list[Path]:
    found = sorted(place for place in root.iterdir() if place.is_dir() and not place.name.startswith("."))
    if depth > 1:
        found += [below for place in found for below in _list_folders(place, depth=depth - 1)]
    return found


def _fold(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.casefold())
