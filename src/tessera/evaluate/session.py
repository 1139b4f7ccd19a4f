"""A whole evaluation from one request: finds the pictures, loads metrics and models, scores them, writes the tables."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tessera.engines.engine import Precision
from tessera.errors import UsageError
from tessera.evaluate.companions import write_companions
from tessera.evaluate.feeds import load_metrics
from tessera.evaluate.naming import make_folder_name, name_models
from tessera.evaluate.pairs import BenchmarkSet, Pairing, find_benchmark, open_benchmark, pair_folders
from tessera.evaluate.protocol import Protocol
from tessera.evaluate.published_scores import find_published_scores
from tessera.evaluate.run import Method, Progress, evaluate_methods, evaluate_results
from tessera.evaluate.scores import Evaluation
from tessera.evaluate.scoring import Scorer
from tessera.evaluate.summary import BASELINES
from tessera.evaluate.tables import scores_as_csv, scores_as_json, scores_as_markdown
from tessera.metrics.catalog import find_metric
from tessera.metrics.metric import Sources
from tessera.storage.files import check_inside, write_text
from tessera.upscaling.upscaler import Upscaler

DATA_VARIABLE = "TESSERA_DATA"
"""Environment variable with the folder of test sets, for requests without `data`."""


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
    bench: tuple[str, ...] = ()
    """Test sets by name; each is scored separately."""
    data: Path | None = None
    """The folder that contains the test sets."""
    metrics: tuple[str, ...] = ()
    """Names; empty means psnr and ssim with references, else niqe."""
    limit: int | None = None
    """Only the first pictures."""
    device: str = "cpu"
    precision: Precision = "exact"
    niqe_model: Path | None = None
    ma: str | None = None
    companions: bool = False
    """Whether to write the files of esrdgan's test mode, too."""
    offline: bool = False


@dataclass(frozen=True)
class _TestSet:
    """Pictures that are scored together: the title of their table, and the folder for their results."""

    title: str
    pairing: Pairing
    output: Path
    name: str = ""
    """The name of a published test set."""


def run_evaluation(
    request: EvaluationRequest, progress: Progress = lambda _: None
) -> tuple[tuple[Evaluation, ...], list[str]]:
    """Run an evaluation and write its tables -> an evaluation per test set, and sentences about all failures.

    Raises UsageError for a request that makes no sense or an output folder that cannot be created, and the errors of
    loading models and weights. Tables that cannot be written are among the failures, so that no score is lost.
    """
    _check_combination(request)
    sets = _find_sets(request)
    names = [choose_metrics(request, each.pairing) for each in sets]
    _create_folder(request.output)
    sources = Sources(offline=request.offline, niqe_model=request.niqe_model, ma=request.ma)
    loaded = {name: load_metrics((name,), sources)[0] for name in dict.fromkeys(itertools.chain(*names))}
    methods = _load_methods(request) if request.sr is None else []
    evaluations: list[Evaluation] = []
    problems: list[str] = []
    unwritten: list[str] = []
    for each, chosen in zip(sets, names, strict=True):
        scorer = Scorer(metrics=[loaded[name] for name in chosen], protocol=request.protocol, scale=request.scale)
        if request.sr is not None:
            found = evaluate_results(each.pairing, scorer, title=each.title, progress=progress)
        else:
            found = evaluate_methods(each.pairing, methods, scorer, each.output, title=each.title, progress=progress)
        found = dataclasses.replace(
            found, published=find_published_scores(request.protocol.name, each.name, request.scale)
        )
        evaluations.append(found)
        problems += [*found.failures, *(_write_companions(found, each.output) if request.companions else ())]
        unwritten = _write_tables(evaluations, request.output)
    return tuple(evaluations), [*problems, *unwritten]


def choose_metrics(request: EvaluationRequest, pairing: Pairing) -> tuple[str, ...]:
    """The requested metrics, or the usual ones. Raises UsageError for those whose reference pictures are missing."""
    has_gt = any(pair.gt is not None for pair in pairing.pairs) and not request.protocol.upscale_originals
    if not request.metrics:
        return ("psnr", "ssim") if has_gt else ("niqe",)
    names = tuple(dict.fromkeys(find_metric(name).info.name for name in request.metrics))
    usable = tuple(name for name in names if has_gt or "gt" not in find_metric(name).info.needs)
    if len(request.bench) > 1 and usable:  # a set without references among others
        return usable
    for name in names:
        if name not in usable:
            raise UsageError(f"{name} needs references (`gt`), and there are none here.", field="metrics")
        if "lq" in find_metric(name).info.needs and request.sr is not None:
            raise UsageError(f"{name} needs inputs, which `sr` does not have; use `model` instead.", field="metrics")
    return names


def _find_sets(request: EvaluationRequest) -> list[_TestSet]:
    """The pictures of each test set, or those of the folders of the request."""
    if not request.bench:
        title = " against ".join(str(place) for place in (request.sr or request.lq, request.gt) if place is not None)
        pairing = pair_folders(sr=request.sr, lq=request.lq, gt=request.gt)
        return [_TestSet(title, _limit_pairs(pairing, request.limit), request.output)]
    benchmarks = list(dict.fromkeys(map(find_benchmark, request.bench)))
    place = request.data or (Path(os.environ[DATA_VARIABLE]) if os.environ.get(DATA_VARIABLE) else None)
    if place is None:
        known = ", ".join(benchmark.name for benchmark in benchmarks)
        raise UsageError(
            f"to find {known}, give the folder that contains test sets, here or in {DATA_VARIABLE}.", field="data"
        )

    def find(benchmark: BenchmarkSet) -> _TestSet:
        pairing = _limit_pairs(open_benchmark(benchmark, place, request.scale), request.limit)
        output = request.output / benchmark.name if len(benchmarks) > 1 else request.output
        return _TestSet(f"{benchmark.name} x{request.scale}", pairing, output, benchmark.name)

    return [find(benchmark) for benchmark in benchmarks]


def _limit_pairs(pairing: Pairing, limit: int | None) -> Pairing:
    if not pairing.pairs:
        raise UsageError("No pictures match by name: " + " ".join(pairing.problems[:3]))
    return dataclasses.replace(pairing, pairs=pairing.pairs[:limit])


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
    if request.bench and (request.gt is not None or request.lq is not None):
        raise UsageError("has its own pictures; `gt` and `lq` name others. Use one or the other.", field="bench")
    if not request.bench and request.sr is None and request.gt is None and request.lq is None:
        raise UsageError("Nothing to score: give `sr` with `gt`, or `model` with `bench`, `lq` or `gt`.")
    if request.sr is None and not request.models:
        raise UsageError("name what to score on these pictures: a model, bicubic or lanczos.", field="model")


def _load_methods(request: EvaluationRequest) -> list[Method]:
    """The baselines, and each model once, under distinct names."""
    given = [model for model in dict.fromkeys(request.models) if model not in BASELINES]
    # Papers score the unmodified output of the network: fp32, without the flat lock, gray processed as color.
    upscalers = [
        Upscaler(
            model,
            precision=request.precision,
            device=request.device,
            flat_lock=False,
            keep_color_noise=True,
            offline=request.offline,
        )
        for model in given
    ]
    own = [upscaler.generator.name for upscaler in upscalers]
    names = name_models(list(zip(given, own, strict=True)), BASELINES)
    baselines = [Method(name=name) for name in BASELINES]
    return [*baselines, *(Method(name=name, upscaler=each) for name, each in zip(names, upscalers, strict=True))]


def _write_companions(found: Evaluation, output: Path) -> Iterator[str]:
    for method in found.methods:
        if method not in BASELINES:
            folder = output / "companions" / make_folder_name(method)
            check_inside(folder / "metrics.csv", output)
            yield from write_companions(found, method, folder)


def _create_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{folder} cannot be written to: {error.strerror}.", field="output") from None


def _write_tables(found: Sequence[Evaluation], folder: Path) -> list[str]:
    """Write the three tables; give a sentence about each that cannot be written."""
    tables = {
        "scores.csv": lambda: scores_as_csv(found),
        "scores.json": lambda: json.dumps(scores_as_json(found), indent=2, allow_nan=False) + "\n",
        "scores.md": lambda: scores_as_markdown(found),
    }
    problems: list[str] = []
    for name, build in tables.items():
        try:
            write_text(folder / name, build())
        except OSError as error:
            problems.append(f"{folder / name}: cannot be written: {error.strerror}.")
    return problems
