"""The deployment table: what each form of a model costs and what it is worth, measured here, in turn.

Each form is a file of OpenVINO, so that what is compared is numbers and not engines: kernels in fp32 with fp32
products, fp16 kernels with fp32 products, bf16 kernels with bf16 products where the processor has them, and the int8
file where there is one. Shapes: B pictures, C channels, H rows, W columns of the input, s the scale.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tessera.bench.processes import Program, run_program
from tessera.bench.turns import Run as Turn
from tessera.bench.turns import take_turns
from tessera.deploy.drop import score_result
from tessera.deploy.held_out import Pair
from tessera.deploy.openvino_ir import write_openvino
from tessera.deploy.passport import build_metadata
from tessera.deploy.profile import Profile, profile_network
from tessera.deploy.settings import ExportSettings, Precision
from tessera.engines.hardware import has_bf16
from tessera.engines.openvino.file_engine import OpenVinoFileEngine
from tessera.evaluate.levels import convert_to_gray
from tessera.evaluate.protocol import Protocol
from tessera.images.writer import write_picture
from tessera.metrics.niqe import PristineModel, niqe
from tessera.weights.files import load_weights
from tessera.weights.loaded_generator import LoadedGenerator

SIDE = 128
"""Of the input that is timed, and that costs are counted for."""
_PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "bf16")
Told = Callable[[str], None]


@dataclass(frozen=True)
class PrecisionFile:
    """A model in one precision, as a file."""

    precision: str
    path: Path
    products: str
    """What the engine is asked to multiply in where the file is not int8: fp32 or bf16."""

    @property
    def bytes(self) -> int:
        """Of the file, and of the one that belongs to it."""
        companion = self.path.with_suffix(".bin")
        return self.path.stat().st_size + (companion.stat().st_size if companion.is_file() else 0)


MakeCommand = Callable[[PrecisionFile, Path, Path], Sequence[str]]
"""The command that upscales a picture (the first path) into another file with a form of a model."""


@dataclass(frozen=True)
class Quality:
    """Means over the pictures; `niqe` is None where a picture is too small for it, or no model of it is here."""

    psnr_db: float
    ssim: float
    niqe: float | None
    to_fp32_db: float
    largest_levels: float


@dataclass(frozen=True, kw_only=True)
class Row:
    """One model in one precision."""

    model: str
    precision: str
    bytes: int
    cost: Profile
    quality: Quality
    pictures: int
    seconds: tuple[float, ...]
    """Of each turn, for an input of 128x128."""
    cpu_seconds: tuple[float, ...]
    """Of the processor, of each turn: what other work on the machine hardly changes."""
    ratios_to_bf16: tuple[float, ...]
    """How many times as fast as bf16, turn by turn; none where there is no bf16."""
    peak_bytes: int | None
    """Peak memory of a process that only upscales one picture of 128x128."""

    @property
    def latency_seconds(self) -> float:
        """The fastest turn."""
        return min(self.seconds)

    @property
    def megapixels_per_second(self) -> float:
        """Of output, by the fastest turn."""
        return (SIDE * self.cost.scale) ** 2 / 1e6 / self.latency_seconds


def list_deployed_forms(loaded: LoadedGenerator, folder: Path, int8: Path | None) -> tuple[PrecisionFile, ...]:
    """Write a model in each precision that this machine can run, into a folder, and add the int8 file."""
    forms: list[PrecisionFile] = []
    for precision in _PRECISIONS:
        if precision == "bf16" and not has_bf16("cpu"):
            continue
        settings = ExportSettings(format="openvino", precision=precision)
        path = folder / f"{precision}.xml"
        write_openvino(path, loaded.config, loaded.state, settings, build_metadata(loaded, settings))
        forms.append(PrecisionFile(precision, path, "bf16" if precision == "bf16" else "fp32"))
    if int8 is not None:
        forms.append(PrecisionFile("int8", int8, "bf16" if has_bf16("cpu") else "fp32"))
    return tuple(forms)


def measure_model(
    loaded: LoadedGenerator,
    forms: Sequence[PrecisionFile],
    pairs: Sequence[Pair],
    protocol: Protocol,
    *,
    folder: Path,
    make_command: MakeCommand,
    rounds: int,
    threads: int,
    pristine: PristineModel | None = None,
    told: Told = lambda _: None,
) -> list[Row]:
    """Measure each form of a model: quality, then time in turn, then memory in the process of `make_command`."""
    engines = {
        form.precision: OpenVinoFileEngine(load_weights(form.path), form.products, threads=threads) for form in forms
    }
    references: list[Tensor] = []
    qualities: dict[str, Quality] = {}
    for name, engine in engines.items():
        told(f"{loaded.name} {name}: {len(pairs)} pictures")
        results = [_round_to_levels(torch.from_numpy(engine.run(pair.lq.numpy()))) for pair in pairs]
        references = references or results
        qualities[name] = _measure_quality(results, references, pairs, protocol, pristine)
    turns = _time_engines(loaded, engines, rounds, told)
    seconds = {name: tuple(turn.seconds for turn in taken) for name, taken in turns.items()}
    found: list[Row] = []
    for form in forms:
        told(f"{loaded.name} {form.precision}: memory")
        name = form.precision
        slow = seconds.get("bf16")
        found.append(
            Row(
                model=loaded.name,
                precision=name,
                bytes=form.bytes,
                cost=profile_network(loaded.config, SIDE, SIDE),
                quality=qualities[name],
                pictures=len(pairs),
                seconds=seconds[name],
                cpu_seconds=tuple(turn.cpu_seconds or turn.seconds for turn in turns[name]),
                ratios_to_bf16=tuple(a / b for a, b in zip(slow, seconds[name], strict=True)) if slow else (),
                peak_bytes=_measure_peak_bytes(form, loaded.config.in_channels, folder, threads, make_command),
            )
        )
    return found


def _measure_quality(
    results: Sequence[Tensor],
    references: Sequence[Tensor],
    pairs: Sequence[Pair],
    protocol: Protocol,
    pristine: PristineModel | None,
) -> Quality:
    scores = [
        score_result(result / 255, pair.gt, protocol, protocol.get_crop(pair.gt.shape[2] // pair.lq.shape[2]))
        for result, pair in zip(results, pairs, strict=True)
    ]
    apart = [(one - other).abs() for one, other in zip(results, references, strict=True)]
    error = float(np.mean([float(each.square().mean()) for each in apart]))
    natural = [value for result in results if (value := _compute_niqe(result, protocol, pristine)) is not None]
    return Quality(
        psnr_db=statistics.fmean(each.psnr_db for each in scores),
        ssim=statistics.fmean(each.ssim for each in scores),
        niqe=statistics.fmean(natural) if len(natural) == len(results) else None,
        to_fp32_db=math.inf if error == 0 else 10 * math.log10(255**2 / error),
        largest_levels=max(float(each.max()) for each in apart),
    )


def _compute_niqe(result: Tensor, protocol: Protocol, pristine: PristineModel | None) -> float | None:
    if pristine is None:
        return None
    try:
        return niqe(convert_to_gray(result[0].expand(3, -1, -1).double().numpy(), protocol.niqe_gray), pristine)
    except ValueError:  # too small, or flat
        return None


def _time_engines(
    loaded: LoadedGenerator, engines: Mapping[str, OpenVinoFileEngine], rounds: int, told: Told
) -> dict[str, tuple[Turn, ...]]:
    """Each form's turns."""
    picture = np.random.default_rng(0).random((1, loaded.config.in_channels, SIDE, SIDE), np.float32)
    for engine in engines.values():  # compiled, and its memory taken
        engine.run(picture)

    def make_turn(engine: OpenVinoFileEngine) -> Callable[[], Turn]:
        def run() -> Turn:
            start, busy = time.perf_counter(), time.process_time()
            engine.run(picture)
            return Turn(seconds=time.perf_counter() - start, cpu_seconds=time.process_time() - busy, peak_bytes=None)

        return run

    told(f"{loaded.name}: {rounds} rounds in turn")
    runs, _ = take_turns({name: make_turn(engine) for name, engine in engines.items()}, rounds)
    return {name: tuple(taken) for name, taken in runs.items()}


def _measure_peak_bytes(
    form: PrecisionFile, channels: int, folder: Path, threads: int, make_command: MakeCommand
) -> int | None:
    source, output = folder / "memory.png", folder / "memory_out.png"
    if not source.is_file():
        pixels = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, channels), np.uint8)
        write_picture(pixels, source)
    program = Program(
        name=form.precision,
        products=form.products,
        command=tuple(make_command(form, source, output)),
        output=output,
        environment={"OMP_NUM_THREADS": str(threads)},
    )
    return run_program(program).peak_bytes


def _round_to_levels(result: Tensor) -> Tensor:
    return torch.round(result.clamp(0, 1) * 255)
