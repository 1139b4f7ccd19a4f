"""`tessera evaluate`: score results or models, and write tables, intervals and a report."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from tessera.cli import make_printable, print_error
from tessera.cli.measuring import ProtocolOption, complete_metrics, parse_crop, split_words
from tessera.cli.reports import make_lines_printable
from tessera.cli.shared_options import Device, NiqeModel, Offline
from tessera.engines.engine import Precision
from tessera.errors import PictureError
from tessera.evaluate.protocol import Averaging, Channels, LqKernel, NiqeGray
from tessera.metrics.catalog import metric_names

app = typer.Typer(add_completion=False, rich_markup_mode=None)

_Opt = typer.Option
Sr = Annotated[Path | None, _Opt("--sr", help="Folder of existing results to score.")]
Gt = Annotated[Path | None, _Opt("--gt", help="Folder of references (ground truth).")]
Lq = Annotated[Path | None, _Opt("--lq", help="Folder of inputs (low resolution).")]
Models = Annotated[
    list[str] | None,
    _Opt("-n", "--model", help="Model name, weights file, blend A@0.5+B@0.5, bicubic or lanczos; repeatable."),
]
Bench = Annotated[
    list[str] | None,
    _Opt(
        "--bench", help="Test set: Set5, Set14, BSD100, Urban100, Manga109, DIV2K, RealSRSet ...; several: Set5,Set14."
    ),
]
Data = Annotated[Path | None, _Opt("--data", help="Folder that contains the test sets. [default: TESSERA_DATA]")]
Scale = Annotated[int, _Opt("-s", "--scale", help="Upscaling factor.")]
MetricsOption = Annotated[
    list[str] | None,
    _Opt(
        "--metrics",
        help=f"Comma-separated: {', '.join(metric_names())}. [default: psnr,ssim with references, else niqe]",
        autocompletion=complete_metrics,
    ),
]
ChannelsOption = Annotated[Channels | None, _Opt("--channels", help="Channels of PSNR and SSIM. [default: protocol's]")]
Crop = Annotated[
    str | None, _Opt("--crop", help="Pixels cropped from each side before scoring, or scale. [default: protocol's]")
]
Eps = Annotated[float | None, _Opt("--eps", help="Added to the mean squared error. [default: protocol's]")]
AveragingOption = Annotated[
    Averaging | None, _Opt("--averaging", help="Average PSNR over pictures or over pixels. [default: protocol's]")
]
LqKernelOption = Annotated[
    LqKernel | None, _Opt("--lq-kernel", help="Kernel that makes inputs from references. [default: protocol's]")
]
Luma = Annotated[NiqeGray | None, _Opt("--luma", help="Gray conversion of NIQE. [default: protocol's]")]
Output = Annotated[Path, _Opt("-o", "--output", help="Folder for tables, pictures and the report.")]
Ma = Annotated[
    str | None, _Opt("--ma", help="Ma scores for pi: a table (picture, score) or a command with {picture} in it.")
]
PrecisionOption = Annotated[Precision, _Opt("--precision", help="Precision of the models; exact is fp32.")]
Companions = Annotated[bool, _Opt("--companions", help="Also write the files that esrdgan's test mode writes.")]
Limit = Annotated[int | None, _Opt("--limit", help="Maximum number of pictures: the first ones.")]

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
    channels: ChannelsOption = None,
    crop: Crop = None,
    eps: Eps = None,
    averaging: AveragingOption = None,
    lq_kernel: LqKernelOption = None,
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
    """Score results against references, or models on a test set, under a protocol that is printed with the scores.

    Writes scores.csv, scores.json, scores.md and report.html into the output folder; models are always compared with
    bicubic and Lanczos. Exit codes: 0 all scored, 1 some pictures or metrics failed, 2 wrong usage.
    """
    from tessera.engines.devices import parse_device
    from tessera.evaluate.protocol import find_protocol
    from tessera.evaluate.session import EvaluationRequest, run_evaluation
    from tessera.evaluate.tables import scores_as_markdown
    from tessera.report import write_report

    request = EvaluationRequest(
        protocol=find_protocol(
            protocol,
            channels=channels,
            crop=parse_crop(crop),
            eps=eps,
            averaging=averaging,
            lq_kernel=lq_kernel,
            niqe_gray=luma,
        ),
        output=output,
        scale=scale,
        sr=sr,
        gt=gt,
        lq=lq,
        models=tuple(models or ()),
        bench=split_words(bench),
        data=data,
        metrics=tuple(word.lower() for word in split_words(metrics)),
        limit=limit,
        device=parse_device(device),
        precision=precision,
        niqe_model=niqe_model,
        ma=ma,
        companions=companions,
        offline=offline,
    )
    with _show_progress() as progress:
        evaluations, problems = run_evaluation(request, progress)
    typer.echo(make_lines_printable(scores_as_markdown(evaluations)), nl=False)
    try:
        write_report(evaluations, output / "report.html")
        places = f"Report with pictures: {output / 'report.html'}; all scores: {output / 'scores.csv'}"
        typer.echo(make_printable(places))
    except PictureError as error:
        problems.append(str(error))
    for problem in problems:
        print_error(problem)
    if problems or not all(evaluation.means for evaluation in evaluations):
        raise typer.Exit(1)


@contextmanager
def _show_progress() -> Generator[Callable[[str], None]]:
    """Show the current picture on one line, if standard error is a terminal."""
    shows = sys.stderr.isatty()

    def show(what: str) -> None:
        if shows:
            typer.echo(f"\r\x1b[K{make_printable(what)[:100]}", nl=False, err=True)

    try:
        yield show
    finally:
        if shows:
            typer.echo("\r\x1b[K", nl=False, err=True)
