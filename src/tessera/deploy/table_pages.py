"""The deployment table as Markdown, JSON and one HTML page with a plot of quality against speed."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from typing import Any

from tessera.bench.surroundings import Surroundings
from tessera.deploy.drop import MOST_DB
from tessera.deploy.table import SIDE, Row
from tessera.evaluate.protocol import Protocol
from tessera.report.axis import AxisLabel
from tessera.report.page import Cell, page, section, sentences, table, text
from tessera.report.plot import Point, draw_scatter

_HEADS = (
    "model",
    "precision",
    "G multiply-adds",
    "GFLOP (2 x multiply-adds)",
    'VACC "Flops(G)"',
    "M parameters",
    "MB on disk",
    "PSNR dB",
    "SSIM",
    "NIQE",
    "PSNR to fp32 dB",
    "largest difference",
    "latency ms",
    "output MP/s",
    "times bf16",
    "by processor time",
    "peak MiB",
)
_WORDS = 2
_ACROSS = AxisLabel(title="Output megapixels per second", higher_is_better=True)
_UP = AxisLabel(title="PSNR against the reference (dB)", higher_is_better=True)


def list_notes(rows: Sequence[Row], protocol: Protocol, surroundings: Surroundings) -> list[str]:
    """What has to be known to read the table."""
    pictures = max((row.pictures for row in rows), default=0)
    words = "; ".join(f"{name}: {value}" for name, value in protocol.describe(None).items())
    found = [
        surroundings.sentence,
        f"{pictures} pictures. {words}. PSNR is capped at {MOST_DB:.1f} dB per picture, the limit of 8-bit rounding.",
        f"Multiply-adds of the convolutions, latency and throughput are those of one input of {SIDE}x{SIDE}, with"
        " OpenVINO; the precisions alternate, and the fastest run of each counts. The speed-up over bf16 is the"
        " ratio of"
        " the fastest runs; by processor time, that of the least CPU seconds, which other load affects less.",
        'VACC "Flops(G)" is 2 x (multiply-adds + biases + outputs of leaky ReLUs) / 0.9e9, as VastModelZOO prints it.',
        "fp16 stores kernels in 16 bits and multiplies in fp32; bf16 stores and multiplies in 16 bits; int8 stores and"
        " multiplies in 8 bits, except for the layers that its file lists. Peak memory is that of a whole process that"
        f" upscales one picture of {SIDE}x{SIDE}.",
    ]
    if surroundings.is_busy:
        found.append("Other processes were running: times are upper bounds, and ratios are more reliable than seconds.")
    return found


def as_dict(rows: Sequence[Row], protocol: Protocol, surroundings: Surroundings) -> dict[str, Any]:
    """Everything, for programs."""
    return {
        "notes": list_notes(rows, protocol, surroundings),
        "protocol": protocol.describe(None),
        "rows": [
            {
                "model": row.model,
                "precision": row.precision,
                "multiply_adds": row.cost.multiply_adds,
                "gflop": row.cost.gflop,
                "vacc_gflops": row.cost.vacc_gflops,
                "parameters": row.cost.parameters,
                "bytes": row.bytes,
                "psnr_db": row.quality.psnr_db,
                "ssim": row.quality.ssim,
                "niqe": row.quality.niqe,
                "psnr_to_fp32_db": row.quality.to_fp32_db if math.isfinite(row.quality.to_fp32_db) else None,
                "largest_levels": row.quality.largest_levels,
                "pictures": row.pictures,
                "seconds": list(row.seconds),
                "megapixels_per_second": row.megapixels_per_second,
                "times_bf16": compute_speedup(row, rows),
                "times_bf16_of_processor": compute_processor_speedup(row, rows),
                "median_ratio_to_bf16": statistics.median(row.ratios_to_bf16) if row.ratios_to_bf16 else None,
                "peak_bytes": row.peak_bytes,
            }
            for row in rows
        ],
    }


def as_markdown(rows: Sequence[Row], protocol: Protocol, surroundings: Surroundings) -> str:
    """A table, and what has to be known to read it."""
    lines = [_render_line(_HEADS), _render_line(["---"] * _WORDS + ["---:"] * (len(_HEADS) - _WORDS))]
    lines += [_render_line(_render_cells(row, rows)) for row in rows]
    return "\n".join([*lines, "", *(f"- {note}" for note in list_notes(rows, protocol, surroundings)), ""])


def as_html(rows: Sequence[Row], protocol: Protocol, surroundings: Surroundings) -> Iterator[str]:
    """The pieces of a page: the plot, the table, the notes."""
    yield from page("Cost and quality of each precision", _render_body(rows, protocol, surroundings))


def compute_speedup(row: Row, rows: Sequence[Row]) -> float | None:
    """How many times as fast as the same model in bf16, by the fastest turns of the same rounds."""
    other = _find_bf16_row(row, rows)
    return None if other is None else other.latency_seconds / row.latency_seconds


def compute_processor_speedup(row: Row, rows: Sequence[Row]) -> float | None:
    """The same by the least time of the processor; None where there is no bf16."""
    other = _find_bf16_row(row, rows)
    return None if other is None else min(other.cpu_seconds) / min(row.cpu_seconds)


def _find_bf16_row(row: Row, rows: Sequence[Row]) -> Row | None:
    return next((each for each in rows if (each.model, each.precision) == (row.model, "bf16")), None)


def _render_body(rows: Sequence[Row], protocol: Protocol, surroundings: Surroundings) -> Iterator[str]:
    points = [
        Point(name=f"{row.model} {row.precision}", x=row.megapixels_per_second, y=row.quality.psnr_db) for row in rows
    ]
    yield section("Quality against speed", f"<figure>{draw_scatter(points, _ACROSS, _UP)}</figure>")
    cells = [
        [
            Cell(text(content), classes="words" if place < _WORDS else "")
            for place, content in enumerate(_render_cells(row, rows))
        ]
        for row in rows
    ]
    yield section("Table", table("One row for each model and precision", [text(head) for head in _HEADS], cells))
    yield section("Notes", sentences(list_notes(rows, protocol, surroundings)))


def _render_cells(row: Row, rows: Sequence[Row]) -> list[str]:
    quality, cost = row.quality, row.cost
    is_reference = row.precision == "fp32"
    ratio, of_processor = compute_speedup(row, rows), compute_processor_speedup(row, rows)
    return [
        row.model,
        row.precision,
        f"{cost.multiply_adds / 1e9:.1f}",
        f"{cost.gflop:.1f}",
        f"{cost.vacc_gflops:.3f}",
        f"{cost.parameters / 1e6:.3f}",
        f"{row.bytes / 1e6:.2f}",
        f"{quality.psnr_db:.3f}",
        f"{quality.ssim:.4f}",
        "" if quality.niqe is None else f"{quality.niqe:.3f}",
        "" if is_reference else "identical" if math.isinf(quality.to_fp32_db) else f"{quality.to_fp32_db:.1f}",
        "" if is_reference else f"{quality.largest_levels:.0f}",
        f"{row.latency_seconds * 1000:.0f}",
        f"{row.megapixels_per_second:.2f}",
        "" if ratio is None else f"{ratio:.2f}",
        "" if of_processor is None else f"{of_processor:.2f}",
        "" if row.peak_bytes is None else f"{row.peak_bytes / 2**20:,.0f}",
    ]


def _render_line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
