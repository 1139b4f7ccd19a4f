"""`tessera bench`: time engines and other programs in turn on one picture, and check their results."""

from __future__ import annotations

import json
import re
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from tessera.cli import print_progress
from tessera.cli.reports import check_reports, make_lines_printable, write_report
from tessera.cli.shared_options import Device, MarkdownFile, Offline, OptionalModel, Threads
from tessera.engines.engine import Precision
from tessera.engines.opening import EngineName
from tessera.errors import UsageError

if TYPE_CHECKING:
    from tessera.bench.turns import BenchResult
    from tessera.images.pixels import Pixels
    from tessera.weights.files import LoadedGenerator

app = typer.Typer(add_completion=False, rich_markup_mode=None)

_Opt = typer.Option
PictureFile = Annotated[
    Path | None,
    typer.Argument(metavar="[PICTURE]", help="Picture; its center is upscaled. [default: synthetic]"),
]
Size = Annotated[str, _Opt("--size", help="Size of the crop, as HEIGHTxWIDTH.")]
Rounds = Annotated[int, _Opt("--rounds", min=1, help="Number of rounds.")]
# Typer has no lists of Literals, so `_choose` checks these two and the Literals complete them.
PrecisionOption = Annotated[
    list[str] | None,
    _Opt(
        "--precision",
        metavar=f"[{'|'.join(get_args(Precision))}]",
        help="Precision; repeatable. [default: exact and auto]",
        autocompletion=lambda: list(get_args(Precision)),
    ),
]
EngineOption = Annotated[
    list[str] | None,
    _Opt(
        "--engine",
        metavar=f"[{'|'.join(get_args(EngineName))}]",
        help="Engine; repeatable; auto: with --whole only. [default: all]",
        autocompletion=lambda: list(get_args(EngineName)),
    ),
]
Whole = Annotated[bool, _Opt("--whole", help="Time whole `tessera upscale` processes, from start to finished file.")]
Peers = Annotated[bool, _Opt("--peers/--no-peers", help="Also time ncnn and spandrel as their users run them.")]
JsonFile = Annotated[Path | None, _Opt("--json", help="Write all runs to this JSON file.")]


@app.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
def bench(
    model: OptionalModel = None,
    picture: PictureFile = None,
    size: Size = "128x128",
    rounds: Rounds = 5,
    precision: PrecisionOption = None,
    engine: EngineOption = None,
    threads: Threads = None,
    device: Device = "cpu",
    whole: Whole = False,
    peers: Peers = True,
    json_file: JsonFile = None,
    markdown_file: MarkdownFile = None,
    offline: Offline = False,
) -> None:
    """Time engines in turn (A, B, C, A, B, C ...): medians, ranges, speed-ups over the plain PyTorch script.

    Each result is compared with the fp32 reference of the same run; a wrong one is marked and gets no ratio. Without
    --whole only the network is timed, together with the rate of matrix products. Exit codes: 0 all results are right, 1
    some are wrong.
    """
    from tessera.bench.surroundings import describe_machine
    from tessera.bench.tables import as_dict, as_markdown
    from tessera.engines.devices import parse_device
    from tessera.upscaling.doctor import examine
    from tessera.weights.published import DEFAULT_MODEL
    from tessera.zoo.models import load_model

    height, width = _parse_size(size)
    engines, precisions = _parse_engines(engine, whole=whole), _parse_precisions(precision)
    check_reports({"--json": json_file, "--markdown": markdown_file})
    name = model or DEFAULT_MODEL
    generator = load_model(name, offline=offline)
    pixels = _read_pixels(picture, height, width, generator.config.multiple)
    subject = f"{generator.name}, {pixels.shape[1]}x{pixels.shape[0]} of {picture or 'a synthetic picture'}"
    found = examine()
    count = threads or found.cores.usable
    surroundings = describe_machine(found, count)
    chosen = _Chosen(engines, precisions, parse_device(device), count, rounds, peers)
    comparison = (
        _bench_programs(name, pixels, subject, chosen) if whole else _bench_network(generator, pixels, subject, chosen)
    )
    text = as_markdown([comparison], surroundings)
    typer.echo(make_lines_printable(text), nl=False)
    write_report(markdown_file, text)
    write_report(json_file, json.dumps(as_dict([comparison], surroundings), indent=2) + "\n")
    if any(each.problem for each in comparison.measured):
        raise typer.Exit(1)


@dataclass(frozen=True)
class _Chosen:
    engines: tuple[EngineName, ...]
    precisions: tuple[Precision, ...]
    device: str
    threads: int
    rounds: int
    peers: bool


def _bench_network(generator: LoadedGenerator, pixels: Pixels, subject: str, chosen: _Chosen) -> BenchResult:
    import torch

    from tessera.bench.network import measure_network
    from tessera.bench.peaks import make_probes
    from tessera.bench.peers import list_contenders
    from tessera.tiling.mosaic import to_planes

    torch.set_num_threads(chosen.threads)
    config = generator.config
    tensor = torch.from_numpy(to_planes(pixels)[None, : config.in_channels])
    candidates = list_contenders(
        generator,
        engines=chosen.engines,
        precisions=chosen.precisions,
        device=chosen.device,
        with_peers=chosen.peers,
    )
    return measure_network(
        candidates,
        tensor,
        subject=f"{subject}, the network alone",
        rounds=chosen.rounds,
        multiply_adds=config.multiply_adds(pixels.shape[0], pixels.shape[1]),
        probes=make_probes() if chosen.device == "cpu" else None,
        progress=print_progress,
    )


def _bench_programs(model: str, pixels: Pixels, subject: str, chosen: _Chosen) -> BenchResult:
    from tessera.bench.processes import Program, measure_programs
    from tessera.engines.opening import choose_products
    from tessera.images.writer import write_picture

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        source = folder / "picture.png"
        write_picture(pixels, source)

        def make_program(engine: EngineName, precision: Precision) -> Program:
            output = folder / f"{engine}-{precision}" / "out.png"
            output.parent.mkdir(exist_ok=True)
            command = (sys.executable, "-m", "tessera", "upscale", str(source), "-o", str(output), "--overwrite")
            options = ("-n", model, "--engine", engine, "--precision", precision, "-g", chosen.device, "--offline")
            return Program(
                name=f"{engine} {precision}",
                products=choose_products(engine, precision, chosen.device),
                command=(*command, *options),
                output=output,
                environment={"OMP_NUM_THREADS": str(chosen.threads)},
            )

        programs = [make_program("pytorch", "exact")]  # the reference, also where it was not asked for
        for engine in chosen.engines:
            for precision in chosen.precisions:
                if (engine, precision) != ("pytorch", "exact"):
                    programs.append(make_program(engine, precision))
        return measure_programs(
            programs, subject=f"{subject}, whole processes", rounds=chosen.rounds, progress=print_progress
        )


def _parse_size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{1,5})[xX](\d{1,5})", text)
    if match is None or 0 in (int(match[1]), int(match[2])):
        raise UsageError(f"expected HEIGHTxWIDTH in pixels, such as 128x128, found {text}.", field="size")
    return int(match[1]), int(match[2])


def _read_pixels(path: Path | None, height: int, width: int, multiple: int) -> Pixels:
    from tessera.bench.subject import crop_middle, make_picture
    from tessera.images.picture import read_picture

    pixels = make_picture(height, width) if path is None else read_picture(path).pixels
    return crop_middle(pixels, height, width, multiple=multiple)


def _parse_engines(asked: Sequence[str] | None, *, whole: bool) -> tuple[EngineName, ...]:
    from tessera.bench.peers import NAMES

    if asked and "auto" in asked and not whole:
        raise UsageError("--engine auto: needs --whole, because `tessera upscale` chooses the engine; or name engines.")
    return tuple(_choose("--engine", name, get_args(EngineName)) for name in asked) if asked else NAMES


def _parse_precisions(asked: Sequence[str] | None) -> tuple[Precision, ...]:
    return tuple(_choose("--precision", name, get_args(Precision)) for name in asked or ("exact", "auto"))


def _choose(option: str, value: str, known: Sequence[Any]) -> Any:
    if value not in known:
        raise UsageError(f"{option} {value}: expected {', '.join(known[:-1])} or {known[-1]}.")
    return value
