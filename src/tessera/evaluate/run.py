"""Upscale pictures by every method and score the results, or score existing results.

Results of an earlier run with the same inputs, weights and settings are reused (the journal of `upscaling` decides).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tessera.errors import TesseraError, UsageError
from tessera.evaluate.naming import PREPARED, check_distinct, make_folder_name, name_pictures
from tessera.evaluate.pairs import Pairing, PicturePair
from tessera.evaluate.resampling import UpsamplingKernel, downsample, resize_to, upsample
from tessera.evaluate.scores import Evaluation, ScoreRow
from tessera.evaluate.scoring import PictureScores, Scorer
from tessera.evaluate.summary import ScoredPicture, summarize
from tessera.storage.files import check_inside
from tessera.upscaling.batch import run_batch
from tessera.upscaling.batch_run import BatchOptions
from tessera.upscaling.finding import Task
from tessera.upscaling.journal import Journal
from tessera.upscaling.upscaler import Upscaler
from tessera.wording import format_count

Progress = Callable[[str], None]
"""Called with the next step, in words."""

_KERNELS: dict[str, UpsamplingKernel] = {"bicubic": "bicubic", "lanczos": "lanczos3"}


@dataclass(frozen=True, kw_only=True)
class Method:
    """A way to upscale: a baseline by its name, or a model."""

    name: str
    """Distinct within an evaluation, also as the name of a folder."""
    upscaler: Upscaler | None = None


def evaluate_results(
    pairing: Pairing, scorer: Scorer, *, title: str, progress: Progress = lambda _: None
) -> Evaluation:
    """Score existing results, pairs (sr, gt)."""
    pairing = name_pictures(pairing)
    scored: list[ScoredPicture] = []
    for pair in pairing.pairs:
        progress(pair.name)
        assert pair.sr is not None
        scored.append(_score_picture("result", pair, pair.sr, scorer))
    return summarize(title, pairing, scorer, ("result",), scored)


def evaluate_methods(
    pairing: Pairing,
    methods: Sequence[Method],
    scorer: Scorer,
    output: Path,
    *,
    title: str,
    progress: Progress = lambda _: None,
) -> Evaluation:
    """Upscale every input by every method, into `output`/pictures, and score the results.

    Missing inputs are made from the references. A picture that fails becomes a sentence in `problems`; the others are
    still scored. Raises UsageError for methods whose names are equal, or whose scale is another, and
    FileError for a folder of `output` that is a link to a place outside.
    """
    check_distinct([method.name for method in methods])
    pairing = name_pictures(pairing)
    for method in methods:
        if method.upscaler is not None and method.upscaler.scale != scorer.scale:
            raise UsageError(
                f"expected {method.upscaler.scale}, the scale of {method.name}, found {scorer.scale}.", field="scale"
            )
    pictures = output / "pictures"
    for folder in PREPARED:
        check_inside(pictures / folder / "any", output)
    problems: list[str] = list(pairing.problems)
    pairs: list[PicturePair] = []
    for pair in pairing.pairs:
        try:
            pairs.append(_prepare(pair, scorer, pictures))
        except TesseraError as error:
            problems.append(str(error))
    scored: list[ScoredPicture] = []
    for method in methods:
        folder = pictures / make_folder_name(method.name)
        check_inside(folder / "any", output)
        failed = _upscale(method, pairs, folder, scorer, progress)
        for pair in pairs:
            progress(f"{method.name}: {pair.name}")
            if pair.name in failed:
                row = ScoreRow(method=method.name, picture=pair.name, scores={}, problems=(failed[pair.name],))
                scored.append(ScoredPicture(row, PictureScores(scores={})))
            else:
                scored.append(_score_picture(method.name, pair, folder / f"{pair.name}.png", scorer))
    made = any(pair.lq is None for pair in pairing.pairs) and not scorer.protocol.upscale_originals
    notes = (*pairing.notes, *((f"Inputs were made: {scorer.protocol.input_resampling}.",) if made else ()))
    prepared = dataclasses.replace(pairing, problems=tuple(problems), notes=notes)
    return summarize(title, prepared, scorer, tuple(method.name for method in methods), scored)


def _prepare(pair: PicturePair, scorer: Scorer, pictures: Path) -> PicturePair:
    """A pair with an input, in the sizes of the protocol."""
    protocol, lq, gt = scorer.protocol, pair.lq, pair.gt
    if protocol.upscale_originals:
        original = gt or lq
        assert original is not None
        return PicturePair(pair.name, lq=original)
    if lq is None:
        assert gt is not None
        lq = pictures / "input" / f"{pair.name}.png"
        downsample(gt, lq, scorer.scale, protocol.lq_kernel)
    if protocol.lq_size is not None:
        resized = pictures / "input_resized" / f"{pair.name}.png"
        resize_to(lq, resized, protocol.lq_size, "area")
        lq = resized
    if gt is not None and protocol.gt_size is not None:
        resized = pictures / "reference_resized" / f"{pair.name}.png"
        resize_to(gt, resized, protocol.gt_size, "area")
        gt = resized
    return PicturePair(pair.name, gt=gt, lq=lq)


def _upscale(
    method: Method, pairs: Sequence[PicturePair], folder: Path, scorer: Scorer, progress: Progress
) -> dict[str, str]:
    """Make a method's results -> a sentence about each failure, by picture."""
    if method.upscaler is None:
        return _resample_baseline(method.name, pairs, folder, scorer)
    progress(f"{method.name}: upscaling {format_count(len(pairs), 'picture')}")
    tasks = [Task(pair.lq, folder / f"{pair.name}.png", named_by_user=True) for pair in pairs if pair.lq is not None]
    # Results that an evaluation of other pictures or settings left in this folder are replaced.
    report = run_batch(tasks, method.upscaler, Journal(folder), BatchOptions(existing="refresh"))
    return {result.output.stem: result.message for result in report.results if result.state in ("failed", "dropped")}


def _resample_baseline(name: str, pairs: Sequence[PicturePair], folder: Path, scorer: Scorer) -> dict[str, str]:
    failed: dict[str, str] = {}
    for pair in pairs:
        assert pair.lq is not None
        target, deep = folder / f"{pair.name}.png", not scorer.protocol.rounded
        try:
            upsample(pair.lq, target, scorer.scale, _KERNELS[name], deep=deep)
        except TesseraError as error:
            failed[pair.name] = str(error)
    return failed


def _score_picture(method: str, pair: PicturePair, sr: Path, scorer: Scorer) -> ScoredPicture:
    found = scorer.score(sr, gt=pair.gt, lq=pair.lq)
    row = ScoreRow(
        method=method,
        picture=pair.name,
        scores=found.scores,
        problems=found.problems,
        sr=sr,
        gt=pair.gt,
        lq=pair.lq,
    )
    return ScoredPicture(row, found)
