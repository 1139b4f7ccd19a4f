"""A whole evaluation from one request: pictures found, metrics and models loaded, results made, scored and written."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tessera.engines.engine import Precision
from tessera.errors import UsageError
from tessera.evaluate.companions import write_companions
from tessera.evaluate.feeds import load_metrics
from tessera.evaluate.pairs import Pairing, find_benchmark, open_benchmark, pair_folders
from tessera.evaluate.protocol import Protocol
from tessera.evaluate.run import Method, Progress, evaluate_methods, evaluate_results
from tessera.evaluate.scores import Evaluation
from tessera.evaluate.scoring import Scorer
from tessera.evaluate.summary import BASELINES
from tessera.metrics.catalog import find_metric
from tessera.metrics.metric import Sources
from tessera.storage.files import write_text
from tessera.upscaling.upscaler import Upscaler

DATA_VARIABLE = "TESSERA_DATA"
"""Names the folder of test sets where a request does not."""


@dataclass(frozen=True, kw_only=True)
class EvaluationRequest:
    """What to score and how: existing results (`sr`), or models on a test set or on folders."""

    protocol: Protocol
    output: Path
    """Tables, pictures and companions are written here."""
    scale: int = 4
    sr: Path | None = None
    gt: Path | None = None
    lq: Path | None = None
    models: tuple[str, ...] = ()
    bench: str | None = None
    """A test set by name."""
    data: Path | None = None
    """The folder that test sets are in."""
    metrics: tuple[str, ...] = ()
    """Names; none means psnr and ssim with references, else niqe."""
    limit: int | None = None
    """Only the first pictures."""
    device: str = "cpu"
    precision: Precision = "exact"
    niqe_model: Path | None = None
    ma: str | None = None
    companions: bool = False
    """Whether what esrdgan's test mode writes is written, too."""
    offline: bool = False


def run_evaluation(request: EvaluationRequest, progress: Progress = lambda _: None) -> tuple[Evaluation, list[str]]:
    """Run an evaluation and write its tables -> the evaluation, and sentences about everything that failed.

    Raises UsageError for a request that makes no sense, and what loading models and weights raises.
    """
    title, pairing = _find_pictures(request)
    names = choose_metrics(request, pairing)
    sources = Sources(offline=request.offline, niqe_model=request.niqe_model, ma=request.ma)
    scorer = Scorer(metrics=load_metrics(names, sources), protocol=request.protocol, scale=request.scale)
    if request.sr is not None:
        found = evaluate_results(pairing, scorer, title=title, progress=progress)
    else:
        methods = _load_methods(request)
        found = evaluate_methods(pairing, methods, scorer, request.output, title=title, progress=progress)
    problems = [*found.failures]
    _write_tables(found, request.output)
    if request.companions:
        for method in found.methods:
            if method not in BASELINES:
                folder = request.output / "companions" / method.replace("/", "_")
                problems += write_companions(found, method, folder)
    return found, problems


def choose_metrics(request: EvaluationRequest, pairing: Pairing) -> tuple[str, ...]:
    """The requested metrics, or the usual ones. Raises UsageError for those that need pictures that are missing."""
    has_gt = any(pair.gt is not None for pair in pairing.pairs) and not request.protocol.upscale_originals
    if not request.metrics:
        return ("psnr", "ssim") if has_gt else ("niqe",)
    names = tuple(dict.fromkeys(find_metric(name).info.name for name in request.metrics))
    for name in names:
        needs = find_metric(name).info.needs
        if "gt" in needs and not has_gt:
            raise UsageError(f"{name} needs references (`gt`), and there are none here.", field="metrics")
        if "lq" in needs and request.sr is not None:
            raise UsageError(f"{name} needs inputs, which `sr` does not have; use `model` instead.", field="metrics")
    return names


def _find_pictures(request: EvaluationRequest) -> tuple[str, Pairing]:
    """A title and the pairs to score."""
    _check_combination(request)
    if request.bench is not None:
        place = request.data or (Path(os.environ[DATA_VARIABLE]) if os.environ.get(DATA_VARIABLE) else None)
        if place is None:
            raise UsageError(
                f"to find {request.bench}, give the folder that contains test sets, here or in {DATA_VARIABLE}.",
                field="data",
            )
        benchmark = find_benchmark(request.bench)
        title, pairing = f"{benchmark.name} x{request.scale}", open_benchmark(benchmark, place, request.scale)
    else:
        title = " against ".join(str(place) for place in (request.sr or request.lq, request.gt) if place is not None)
        pairing = pair_folders(sr=request.sr, lq=request.lq, gt=request.gt)
    if request.sr is None and not request.models:
        raise UsageError("name what to score on these pictures: a model, bicubic or lanczos.", field="model")
    if not pairing.pairs:
        raise UsageError("No pictures match by name: " + " ".join(pairing.problems[:3]))
    return title, dataclasses.replace(pairing, pairs=pairing.pairs[: request.limit])


def _check_combination(request: EvaluationRequest) -> None:
    """Raise UsageError for values out of range and for sources of pictures that exclude each other."""
    if not 1 <= request.scale <= 16:
        raise UsageError(f"expected 1 to 16, found {request.scale}.", field="scale")
    if request.limit is not None and request.limit < 1:
        raise UsageError(f"expected 1 or more pictures, found {request.limit}.", field="limit")
    if request.sr is not None and (request.models or request.bench or request.lq is not None):
        raise UsageError(
            "scores existing results; `model`, `bench` and `lq` make new ones. Use one or the other.", field="sr"
        )
    if request.bench is not None and (request.gt is not None or request.lq is not None):
        raise UsageError("has its own pictures; `gt` and `lq` name others. Use one or the other.", field="bench")
    if request.bench is None and request.sr is None and request.gt is None and request.lq is None:
        raise UsageError("Nothing to score: give `sr` with `gt`, or `model` with `bench`, `lq` or `gt`.")


def _load_methods(request: EvaluationRequest) -> list[Method]:
    """The baselines, and each model once, under distinct names."""
    methods = [Method(name=name) for name in BASELINES]
    for model in dict.fromkeys(request.models):
        if model in BASELINES:
            continue
        # Papers score the network's own output: one number type throughout, colors not corrected.
        upscaler = Upscaler(
            model, precision=request.precision, device=request.device, flat_lock=False, offline=request.offline
        )
        name = upscaler.generator.name
        methods.append(Method(name=name if _is_new(name, methods) else model, upscaler=upscaler))
    return methods


def _is_new(name: str, methods: Sequence[Method]) -> bool:
    return all(name != method.name for method in methods)


def _write_tables(found: Evaluation, folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / "scores.csv", found.as_csv())
        write_text(folder / "scores.json", json.dumps(found.as_json(), indent=2) + "\n")
        write_text(folder / "scores.md", found.as_markdown())
    except OSError as error:
        raise UsageError(f"{folder} cannot be written to: {error.strerror}.", field="output") from None
