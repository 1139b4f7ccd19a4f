"""Which picture belongs to which: results, references and inputs matched by name, data sets as they are distributed.

A benchmark's folder is recognized in the layouts that are really around: SelfExSR's (image_SRF_4/img_001_SRF_4_HR.png),
EDSR's (HR, LR_bicubic/X4/babyx4.png), BasicSR's (GTmod12, LRbicx4), DIV2K's, and plain folders of references.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tessera.dataset.pairing import key_of as key_of
from tessera.errors import UsageError
from tessera.images.formats import is_picture_name


@dataclass(frozen=True)
class Pair:
    """One picture of a test set, as far as it is there."""

    name: str
    gt: Path | None = None
    lq: Path | None = None
    sr: Path | None = None


@dataclass(frozen=True)
class Found:
    """What was found, and sentences about what was not."""

    pairs: tuple[Pair, ...]
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """A test set that papers name."""

    name: str
    aliases: tuple[str, ...]
    pictures: int
    has_references: bool = True


BENCHMARKS: tuple[Benchmark, ...] = (
    Benchmark(name="Set5", aliases=("set5",), pictures=5),
    Benchmark(name="Set14", aliases=("set14",), pictures=14),
    Benchmark(name="BSD100", aliases=("bsd100", "b100", "bsds100"), pictures=100),
    Benchmark(name="Urban100", aliases=("urban100",), pictures=100),
    Benchmark(name="Manga109", aliases=("manga109",), pictures=109),
    Benchmark(name="Sun-Hays80", aliases=("sunhays80", "sunhay80"), pictures=80),
    Benchmark(name="DIV2K", aliases=("div2k", "div2kvalid", "div2k100"), pictures=100),
    Benchmark(name="RealSRSet", aliases=("realsrset", "realsrset5images"), pictures=20, has_references=False),
)


def pictures_in(folder: Path) -> list[Path]:
    """The pictures in a folder, in the order of their names. Raises UsageError when it is none or has none."""
    if not folder.is_dir():
        raise UsageError(f"{folder}: there is no such folder.")
    found = sorted(path for path in folder.iterdir() if is_picture_name(path) and path.is_file())
    if not found:
        raise UsageError(f"{folder}: there are no pictures in this folder.")
    return found


def matched(first: Sequence[Path], second: Sequence[Path], names: tuple[str, str]) -> tuple[list[Pair], list[str]]:
    """Pair results with references by name -> pairs (sr, gt), and sentences about those without partner.

    Equal stems first; then stems without the marks of scale and role; then results whose name goes on after the
    reference's (baby_RCAN_x4 and baby_HR_x4). `names` say what the two are.
    """
    by_stem = {path.stem: path for path in second}
    by_key: dict[str, list[Path]] = {}
    for path in second:
        by_key.setdefault(key_of(path), []).append(path)
    pairs: list[Pair] = []
    problems: list[str] = []
    used: set[Path] = set()
    for path in first:
        key = key_of(path)
        candidates = by_key.get(key, [])
        if not candidates:  # baby_RCAN belongs to baby, unless there is a baby_R as well
            begun = [other for other in by_key if re.match(re.escape(other) + r"[_ -]", key)]
            candidates = by_key[max(begun, key=len)] if begun else []
        partner = by_stem.get(path.stem) or (candidates[0] if len(candidates) == 1 else None)
        if partner is None:
            what = "has several possible partners" if candidates else "has no partner"
            problems.append(f"{path}: {what} among the {names[1]}.")
            continue
        if partner in used:
            problems.append(f"{path}: its partner {partner.name} belongs to another picture already.")
            continue
        used.add(partner)
        pairs.append(Pair(name=key_of(partner) if partner.stem != path.stem else path.stem, sr=path, gt=partner))
    problems += [f"{path}: has no partner among the {names[0]}." for path in second if path not in used]
    return pairs, problems


def pair_folders(*, sr: Path | None = None, lq: Path | None = None, gt: Path | None = None) -> Found:
    """Match two folders by name: results with references, or inputs with references; or take one folder as it is."""
    if sr is not None and gt is not None:
        pairs, problems = matched(pictures_in(sr), pictures_in(gt), ("results", "references"))
        return Found(tuple(pairs), tuple(problems))
    if lq is not None and gt is not None:
        pairs, problems = matched(pictures_in(lq), pictures_in(gt), ("inputs", "references"))
        return Found(tuple(Pair(pair.name, gt=pair.gt, lq=pair.sr) for pair in pairs), tuple(problems))
    only = sr or lq or gt
    assert only is not None
    paths = pictures_in(only)
    if sr is not None:
        return Found(tuple(Pair(path.stem, sr=path) for path in paths))
    if lq is not None:
        return Found(tuple(Pair(path.stem, lq=path) for path in paths))
    return Found(tuple(Pair(path.stem, gt=path) for path in paths))


def find_benchmark(name: str) -> Benchmark:
    """A test set by the name that people use for it. Raises UsageError with the nearest."""
    folded = _folded(name)
    for benchmark in BENCHMARKS:
        if folded in benchmark.aliases or folded == _folded(benchmark.name):
            return benchmark
    names = [benchmark.name for benchmark in BENCHMARKS]
    near = difflib.get_close_matches(name, names, 1, cutoff=0.4)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise UsageError(f"--bench {name}: known are {', '.join(names)}{hint} For others use --gt or --lq.")


def open_benchmark(benchmark: Benchmark, data: Path, scale: int) -> Found:
    """Find a test set below a folder and pair its pictures for a scale. Raises UsageError when it is not there."""
    if not data.is_dir():
        raise UsageError(f"--data {data}: there is no such folder.")
    roots = [place for place in (data, *_folders(data, depth=2)) if _folded(place.name) in benchmark.aliases]
    if benchmark.name == "DIV2K":
        roots += [data] if any(place.name.startswith("DIV2K_") for place in _folders(data, depth=1)) else []
    if not roots:
        raise UsageError(f"{data}: has no folder called {benchmark.name}; --data names the folder that it lies in.")
    for root in roots:
        found = _in_layout(root, scale, benchmark)
        if found is not None:
            there = len(found.pairs)
            if there != benchmark.pictures:
                note = f"{benchmark.name} has {benchmark.pictures} pictures; {there} were found in {root}."
                return Found(found.pairs, found.problems, (*found.notes, note))
            return found
    raise UsageError(f"{roots[0]}: holds no pictures for scale {scale} in any layout of {benchmark.name} known here.")


def _in_layout(root: Path, scale: int, benchmark: Benchmark) -> Found | None:
    folders = {place.relative_to(root).as_posix().casefold(): place for place in _folders(root, depth=2)}
    mixed = _first(folders, (rf"image_srf_{scale}", rf"srf_{scale}"))
    if mixed is not None:
        return _from_mixed(pictures_in(mixed))
    gt = _first(
        folders, (rf"hr_x{scale}", "gtmod12", r"gtmod\d+", rf"hr/x{scale}", r"div2k_valid_hr", "hr", "gt", "original")
    )
    lq = _first(
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
    flat = sorted(path for path in root.iterdir() if is_picture_name(path) and path.is_file())
    if not flat:
        return None
    if any(re.search(rf"_SRF_{scale}_(HR|LR)$", path.stem) for path in flat):
        return _from_mixed([path for path in flat if f"_SRF_{scale}_" in path.name])
    if not benchmark.has_references:
        return Found(tuple(Pair(path.stem, lq=path) for path in flat), notes=("It has no references.",))
    return Found(tuple(Pair(path.stem, gt=path) for path in flat))


def _from_mixed(paths: Sequence[Path]) -> Found:
    """References and inputs in one folder, told apart by _HR and _LR (other methods' results are left alone)."""
    gt, lq = ([path for path in paths if path.stem.upper().endswith(f"_{role}")] for role in ("HR", "LR"))
    if not lq:
        return Found(tuple(Pair(key_of(path), gt=path) for path in gt))
    pairs, problems = matched(lq, gt, ("inputs", "references"))
    return Found(tuple(Pair(pair.name, gt=pair.gt, lq=pair.sr) for pair in pairs), tuple(problems))


def _first(folders: dict[str, Path], patterns: Sequence[str]) -> Path | None:
    for pattern in patterns:
        for name, place in sorted(folders.items()):
            if re.fullmatch(pattern, name):
                return place
    return None


def _folders(root: Path, *, depth: int) -> list[Path]:
    found = sorted(place for place in root.iterdir() if place.is_dir() and not place.name.startswith("."))
    if depth > 1:
        found += [below for place in found for below in _folders(place, depth=depth - 1)]
    return found


def _folded(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.casefold())
