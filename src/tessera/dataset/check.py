"""Checks of training data: findings about pictures, pairs and whole folders."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tessera.dataset.blemishes import BLOCKY_FROM
from tessera.dataset.examine import Examination, Examined, Survey, examine, has_expected_size
from tessera.dataset.fingerprint import POSITIONS, compute_correlation, find_same_pictures, has_contrast, orient
from tessera.dataset.processes import process_each
from tessera.dataset.sources import Listing, PictureRef
from tessera.errors import PictureError

_LEAST_LIKENESS = 0.9


@dataclass(frozen=True)
class FindingKind:
    """A kind of finding; a note does not count as a problem."""

    name: str
    title: str
    note: bool = False


KINDS: tuple[FindingKind, ...] = (
    FindingKind("corrupt", "cannot be read completely"),
    FindingKind("leak", "shows the same as a test picture"),
    FindingKind("mis-paired", "the input shows something else"),
    FindingKind("mis-scaled", "the input's size is not that of the ground truth divided by the scale"),
    FindingKind("misaligned", "the input is shifted against the ground truth"),
    FindingKind("partnerless", "has no partner"),
    FindingKind("duplicate", "has the same pixels as another"),
    FindingKind("near-duplicate", "shows the same as another"),
    FindingKind("upscaled", "has no fine detail: upscaled before, or out of focus"),
    FindingKind("blocky", "shows blocks of strong JPEG compression"),
    FindingKind("near-blank", "has nearly a single color"),
    FindingKind("tiny", "has a side below the minimum"),
    FindingKind("rotated", "has an EXIF rotation, which Tessera applies and many other tools ignore", note=True),
)


@dataclass(frozen=True)
class Finding:
    """A finding: the name of its kind, the picture, and a sentence."""

    kind: str
    picture: str
    sentence: str
    other: str = ""


@dataclass(frozen=True)
class Report:
    """All findings, in the order of KINDS."""

    pictures: int
    findings: tuple[Finding, ...]

    @property
    def clean(self) -> bool:
        """Whether there are no findings, except for notes."""
        notes = {kind.name for kind in KINDS if kind.note}
        return all(finding.kind in notes for finding in self.findings)


Results = Iterable[tuple[Examination, Examined | PictureError]]


def check(
    listing: Listing,
    *,
    scale: int = 1,
    against: Sequence[PictureRef] = (),
    smallest: int = 128,
    workers: int = 1,
    watch: Callable[[Results, int], Results] = lambda steps, _: steps,
) -> Report:
    """Read all pictures of a listing, and the test pictures they must not overlap with, and report problems.

    `watch` wraps the iteration over the steps, given their number. A few kilobytes of each picture are stored.
    """
    inputs: Sequence[PictureRef | None] = listing.lq if listing.lq is not None else [None] * len(listing)
    jobs = [Examination(gt, lq, scale) for gt, lq in zip(listing.gt, inputs, strict=True)]
    jobs += [Examination(ref, fully=False) for ref in against]
    findings: list[Finding] = [Finding("partnerless", problem.split(": ")[0], problem) for problem in listing.problems]
    seen: list[tuple[str, Survey]] = []
    tested: list[tuple[str, Survey]] = []
    for number, (job, result) in enumerate(watch(process_each(examine, jobs, workers=workers), len(jobs))):
        examined = Examined(str(result)) if isinstance(result, PictureError) else result
        findings += _describe_unreadable(job, examined)
        if isinstance(examined.gt, str):
            continue
        if number >= len(listing):
            tested.append((str(job.gt), examined.gt))
            continue
        seen.append((str(job.gt), examined.gt))
        findings += _check_picture(str(job.gt), examined.gt, smallest)
        if job.lq is not None and isinstance(examined.lq, Survey):
            findings += _check_pair(job, examined.gt, examined.lq, examined.shift)
    findings += _find_duplicates(seen)
    findings += _find_leaks(seen, tested)
    order = [kind.name for kind in KINDS]
    return Report(len(listing), tuple(sorted(findings, key=lambda finding: order.index(finding.kind))))


def _describe_unreadable(job: Examination, examined: Examined) -> Iterator[Finding]:
    for ref, seen in ((job.gt, examined.gt), (job.lq, examined.lq)):
        if isinstance(seen, str):
            yield Finding("corrupt", str(ref), seen)


def _check_picture(name: str, seen: Survey, smallest: int) -> Iterator[Finding]:
    height, width = seen.size
    if min(height, width) < smallest:
        yield Finding("tiny", name, f"{name}: is only {width}x{height}; the minimum side is {smallest}.")
    if seen.orientation != 1:
        said = f"{name}: has EXIF orientation {seen.orientation}; Tessera rotates it, other tools may not."
        yield Finding("rotated", name, said)
    if seen.near_blank:
        yield Finding("near-blank", name, f"{name}: 98 % of its pixels have nearly the same brightness.")
        return
    if seen.finest is not None:
        said = f"{name}: has no detail finer than {seen.finest:.0%} of its resolution"
        yield Finding("upscaled", name, f"{said}: upscaled before, or out of focus.")
    if seen.blockiness >= BLOCKY_FROM:
        yield Finding("blocky", name, f"{name}: shows the 8x8 blocks of strong JPEG compression.")


def _check_pair(job: Examination, gt: Survey, lq: Survey, shift: tuple[int, int] | None) -> Iterator[Finding]:
    gt_name, lq_name = str(job.gt), str(job.lq)
    if not has_expected_size(gt.size, lq.size, job.scale):
        sizes = f"is {lq.size[1]}x{lq.size[0]}, and {gt_name} is {gt.size[1]}x{gt.size[0]}"
        yield Finding("mis-scaled", lq_name, f"{lq_name}: {sizes}, which is not {job.scale} times that.", gt_name)
    if not has_contrast(np.stack([gt.thumb, lq.thumb])).all():
        return
    likeness = [float(compute_correlation(gt.thumb, orient(lq.thumb, position))) for position in range(POSITIONS)]
    if likeness[0] < _LEAST_LIKENESS:
        how = "shows it mirrored or rotated" if max(likeness) >= _LEAST_LIKENESS else "shows something else"
        said = f"{lq_name}: is paired with {gt_name} by name and {how} (correlation {likeness[0]:.2f})."
        yield Finding("mis-paired", lq_name, said, gt_name)
    elif shift is not None:
        down, right = shift
        said = f"{lq_name}: is shifted against {gt_name} by {down} pixels down and {right} to the right."
        yield Finding("misaligned", lq_name, said, gt_name)


def _find_duplicates(seen: Sequence[tuple[str, Survey]]) -> Iterator[Finding]:
    """Equal pixels first; similar pictures among the rest, so that no pair is reported twice."""
    first: dict[bytes, str] = {}
    rest: list[tuple[str, Survey]] = []
    for name, each in seen:
        if (other := first.setdefault(each.digest, name)) != name:
            yield Finding("duplicate", name, f"{name}: has the same pixels as {other}.", other)
        elif not each.near_blank:
            rest.append((name, each))
    if len(rest) > 1:
        for one, other in find_same_pictures(_stack_thumbs(rest)):
            name, earlier = rest[one][0], rest[other][0]
            yield Finding("near-duplicate", name, f"{name}: shows the same as {earlier}.", earlier)


def _find_leaks(seen: Sequence[tuple[str, Survey]], tested: Sequence[tuple[str, Survey]]) -> Iterator[Finding]:
    if not seen or not tested:
        return
    known = {each.digest: name for name, each in tested}
    same = dict(find_same_pictures(_stack_thumbs(seen), _stack_thumbs(tested), turns=True))
    for index, (name, each) in enumerate(seen):
        other = known.get(each.digest) or (tested[same[index]][0] if index in same else None)
        if other is not None:
            yield Finding("leak", name, f"{name}: shows the same as the test picture {other}.", other)


def _stack_thumbs(seen: Sequence[tuple[str, Survey]]) -> npt.NDArray[np.float32]:
    return np.stack([each.thumb for _, each in seen])
