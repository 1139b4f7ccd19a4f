"""`tessera evaluate`: pictures and references, or models and a test set, in; tables, intervals and a report out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tessera.cli import make_printable, print_error
from tessera.cli.measuring import pristine_model, protocol_from_options
from tessera.errors import UsageError

if TYPE_CHECKING:
    from tessera.evaluate.pairs import Found
    from tessera.evaluate.protocol import Protocol
    from tessera.evaluate.run import Method
    from tessera.evaluate.scores import Evaluation

app = typer.Typer(add_completion=False, rich_markup_mode=None)

_Opt = typer.Option
Sr = Annotated[Path | None, _Opt("--sr", help="A folder of results to score.")]
Gt = Annotated[Path | None, _Opt("--gt", help="A folder of references.")]
Lq = Annotated[Path | None, _Opt("--lq", help="A folder of inputs.")]
Models = Annotated[
    list[str] | None, _Opt("-n", "--model", help="A model (name, file, mix), bicubic or lanczos; as often as you like.")
]
Bench = Annotated[str | None, _Opt("--bench", help="A test set: Set5, Set14, BSD100, Urban100, Manga109, DIV2K ...")]
Data = Annotated[Path | None, _Opt("--data", help="The folder that test sets lie in. [default: TESSERA_DATA]")]
Scale = Annotated[int, _Opt("-s", "--scale", help="The factor.")]
MetricsOption = Annotated[
    str | None, _Opt("--metrics", help="Such as psnr,ssim,niqe. [default: psnr,ssim with references, else niqe]")
]
ProtocolOption = Annotated[
    str, _Opt("--protocol", help="paper, basicsr, a-esrgan, vacc, esrdgan or pyiqa: how numbers are measured.")
]
Channels = Annotated[str | None, _Opt("--channels", help="Instead of the protocol's: y, y-full or rgb.")]
Crop = Annotated[str | None, _Opt("--crop", help="Instead of the protocol's: pixels cut from each side, or scale.")]
Eps = Annotated[float | None, _Opt("--eps", help="Instead of the protocol's: added to the mean squared error.")]
Averaging = Annotated[str | None, _Opt("--averaging", help="Instead of the protocol's: pictures or pixels.")]
LqKernel = Annotated[
    str | None, _Opt("--lq-kernel", help="Instead of the protocol's: bicubic, area, lanczos3 or bilinear.")
]
Luma = Annotated[str | None, _Opt("--luma", help="NIQE's gray instead of the protocol's: y, gray or pil-l.")]
Output = Annotated[Path, _Opt("-o", "--output", help="The folder for tables, pictures and the report.")]
NiqeModel = Annotated[Path | None, _Opt("--niqe-model", help="NIQE's statistics (.npz). [default: fetched]")]
Ma = Annotated[str | None, _Opt("--ma", help="For pi: a table (picture, score), or a command with {picture} in it.")]
Companions = Annotated[bool, _Opt("--companions", help="Also write what esrdgan's test mode writes.")]
Limit = Annotated[int | None, _Opt("--limit", help="Only the first so many pictures.")]
Device = Annotated[str, _Opt("-g", "--device", help="cpu, 0 (the first GPU), mps.")]
PrecisionOption = Annotated[str, _Opt("--precision", help="exact (fp32), auto or fast.")]
Offline = Annotated[bool, _Opt("--offline", help="Never download anything.")]

_CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 110}


@app.command(context_settings=_CONTEXT)
def evaluate(
    sr: Sr = None,
    gt: Gt = None,
    lq: Lq = None,
    models: Models = None,
    bench: Bench = None,
    data: Data = None,
    scale: Scale = 4,
    metrics: MetricsOption = None,
    protocol: ProtocolOption = "paper",
    channels: Channels = None,
    crop: Crop = None,
    eps: Eps = None,
    averaging: Averaging = None,
    lq_kernel: LqKernel = None,
    luma: Luma = None,
    output: Output = Path("evaluation"),
    niqe_model: NiqeModel = None,
    ma: Ma = None,
    companions: Companions = False,
    limit: Limit = None,
    device: Device = "cpu",
    precision: PrecisionOption = "exact",
    offline: Offline = False,
) -> None:
    """Score results against references, or models on a test set, under a protocol that is printed with the numbers.

    Writes scores.csv, scores.json, scores.md and report.html into the output folder; bicubic and Lanczos are rows that
    are always there. Exit code: 0 all scored, 1 something could not be, 2 wrong usage.
    """
    from tessera.evaluate import run
    from tessera.evaluate.learned import load_learned
    from tessera.evaluate.scoring import Scorer

    chosen = protocol_from_options(
        protocol, channels=channels, crop=crop, eps=eps, averaging=averaging, lq_kernel=lq_kernel, luma=luma
    )
    if not 1 <= scale <= 16:
        raise UsageError(f"--scale {scale}: expected 1 to 16.")
    if limit is not None and limit < 1:
        raise UsageError(f"--limit {limit}: expected at least one picture.")
    title, found = _pictures(sr, gt, lq, models, bench, data, scale, limit)
    names = _metrics(metrics, found, chosen, sr is not None)
    scorer = Scorer(
        metrics=names,
        protocol=chosen,
        scale=scale,
        pristine=pristine_model(niqe_model, offline=offline) if {"niqe", "pi"} & set(names) else None,
        learned=load_learned(names, ma=ma, offline=offline),
    )
    with _Saying() as say:
        if sr is not None:
            result = run.evaluate_results(found, scorer, title=title, say=say)
        else:
            methods = _methods(models or [], precision, device, offline, scale)
            result = run.evaluate_methods(found, methods, scorer, output, title=title, say=say)
    problems = [*result.failures]
    _write(result, output)
    if companions:
        problems += _companions(result, output)
    typer.echo(make_lines_printable(result.as_markdown()))
    typer.echo(make_printable(f"{output / 'report.html'} has the pictures, {output / 'scores.csv'} every score."))
    for problem in problems:
        print_error(problem)
    if problems or not result.means:
        raise typer.Exit(1)


def make_lines_printable(text: str) -> str:
    """Text of several lines, safe to show."""
    return "\n".join(make_printable(line) for line in text.splitlines())


def _pictures(
    sr: Path | None,
    gt: Path | None,
    lq: Path | None,
    models: Sequence[str] | None,
    bench: str | None,
    data: Path | None,
    scale: int,
    limit: int | None,
) -> tuple[str, Found]:
    """What is to be scored, from the options; senseless combinations get their sentence."""
    import dataclasses
    import os

    from tessera.evaluate.pairs import find_benchmark, open_benchmark, pair_folders

    if sr is not None and (models or bench or lq is not None):
        raise UsageError(
            "--sr scores pictures that are there; --model, --bench and --lq make them: use one or the other."
        )
    if bench is not None and (gt is not None or lq is not None):
        raise UsageError("--bench knows its pictures; --gt and --lq name others: use one or the other.")
    if bench is not None:
        place = data or (Path(os.environ["TESSERA_DATA"]) if os.environ.get("TESSERA_DATA") else None)
        if place is None:
            raise UsageError(f"--bench {bench}: --data (or TESSERA_DATA) names the folder that test sets lie in.")
        benchmark = find_benchmark(bench)
        title, found = f"{benchmark.name} x{scale}", open_benchmark(benchmark, place, scale)
    elif sr is not None or gt is not None or lq is not None:
        title = " against ".join(str(place) for place in (sr or lq, gt) if place is not None)
        found = pair_folders(sr=sr, lq=lq, gt=gt)
    else:
        raise UsageError("Nothing to score: give --sr with --gt, or --model with --bench, or --lq, or --gt.")
    if sr is None and not models:
        raise UsageError("--model says what shall be scored on these pictures: a name, a file, bicubic or lanczos.")
    if not found.pairs:
        raise UsageError("No two pictures belong together by their names: " + " ".join(found.problems[:3]))
    return title, dataclasses.replace(found, pairs=found.pairs[:limit])


def _metrics(text: str | None, found: Found, protocol: Protocol, given: bool) -> tuple[str, ...]:
    from tessera.evaluate.scoring import METRICS

    known = [metric.name for metric in METRICS]
    has_gt = any(pair.gt is not None for pair in found.pairs) and not protocol.enlarge_originals
    if text is None:
        return ("psnr", "ssim") if has_gt else ("niqe",)
    words = [word.strip().lower() for word in text.split(",") if word.strip()]
    names = tuple(dict.fromkeys("lpips-alex" if word == "lpips" else word for word in words))
    for name in names:
        if name not in known:
            raise UsageError(f"--metrics {name}: there are {', '.join(known)}.")
        needs = next(metric.needs for metric in METRICS if metric.name == name)
        if "gt" in needs and not has_gt:
            raise UsageError(f"--metrics {name} needs references (--gt), and there are none here.")
        if "lq" in needs and given:
            raise UsageError(f"--metrics {name} needs the inputs, which --sr does not know; use --model instead.")
    if not names:
        raise UsageError(f"--metrics names none; there are {', '.join(known)}.")
    return names


def _methods(models: Sequence[str], precision: str, device: str, offline: bool, scale: int) -> list[Method]:
    """The baselines, and each model once, under names that differ."""
    from tessera.evaluate.run import BASELINES, Method
    from tessera.upscaling.upscaler import Upscaler

    if precision not in ("exact", "auto", "fast"):
        raise UsageError(f"--precision {precision}: expected exact, auto or fast.")
    methods = [Method(name=name) for name in BASELINES]
    for model in dict.fromkeys(models):
        if model in BASELINES:
            continue
        # What papers score is the network's own output: in one number type throughout, its colors as they are.
        upscaler = Upscaler(
            model,
            precision=precision,
            device=f"cuda:{device}" if device.isdecimal() else device,
            flat_lock=False,
            offline=offline,
        )
        name = upscaler.generator.name
        methods.append(Method(name=name if all(name != each.name for each in methods) else model, upscaler=upscaler))
    return methods


def _write(result: Evaluation, folder: Path) -> None:
    from tessera.report import write_report

    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "scores.csv").write_text(result.as_csv(), encoding="utf-8")
        (folder / "scores.json").write_text(json.dumps(result.as_json(), indent=2) + "\n", encoding="utf-8")
        (folder / "scores.md").write_text(result.as_markdown(), encoding="utf-8")
        write_report(result, folder / "report.html")
    except OSError as error:
        raise UsageError(f"-o {folder}: cannot be written to: {error.strerror}.") from None


def _companions(result: Evaluation, folder: Path) -> list[str]:
    from tessera.evaluate.companions import write_companions
    from tessera.evaluate.run import BASELINES

    problems: list[str] = []
    for method in result.methods:
        if method not in BASELINES:
            problems += write_companions(result, method, folder / "companions" / method.replace("/", "_"))
    return problems


class _Saying:
    """One line on the terminal that says what is at hand; nothing when nobody looks."""

    def __enter__(self) -> Any:
        import sys

        self._shows = sys.stderr.isatty()
        return self._say

    def _say(self, what: str) -> None:
        if self._shows:
            typer.echo(f"\r\x1b[K{make_printable(what)[:100]}", nl=False, err=True)

    def __exit__(self, *_: object) -> None:
        if self._shows:
            typer.echo("\r\x1b[K", nl=False, err=True)
