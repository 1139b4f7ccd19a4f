"""The files of esrdgan's test mode: results, inputs, nearest and bicubic upscalings, references, metrics.csv."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tessera.errors import TesseraError
from tessera.evaluate.feeds import load_metrics
from tessera.evaluate.protocol import find_protocol
from tessera.evaluate.resampling import copy_as_png, upsample
from tessera.evaluate.scores import Evaluation
from tessera.evaluate.scoring import Scorer
from tessera.evaluate.tables import format_csv
from tessera.storage.files import write_text


def write_companions(evaluation: Evaluation, method: str, folder: Path) -> tuple[str, ...]:
    """Write NAME_sr_4x.png, _nearest_4x, _bicubic_4x, _lr, _hr and metrics.csv for a method -> failures.

    metrics.csv has PSNR as esrdgan measures it under any protocol: all channels, no crop, results not rounded.
    """
    scale = evaluation.scale or 4
    scorer = Scorer(metrics=load_metrics(("psnr",)), protocol=find_protocol("esrdgan"), scale=scale)
    folder.mkdir(parents=True, exist_ok=True)
    problems: list[str] = []
    table: list[Sequence[str | float | None]] = [["image", "PSNR"]]
    for row in evaluation.rows:
        if row.method != method or row.sr is None or row.lq is None:
            continue
        names = {role: folder / f"{row.picture}_{role}_{scale}x.png" for role in ("sr", "nearest", "bicubic")}
        try:
            copy_as_png(row.sr, names["sr"])
            upsample(row.lq, names["nearest"], scale, "nearest")
            upsample(row.lq, names["bicubic"], scale, "bicubic")
            copy_as_png(row.lq, folder / f"{row.picture}_lr.png")
            if row.gt is not None:
                copy_as_png(row.gt, folder / f"{row.picture}_hr.png")
        except TesseraError as error:
            problems.append(str(error))
            continue
        for role, path in names.items():
            scores = scorer.score(path, gt=row.gt).scores
            if "psnr" in scores:
                table.append([f"{row.picture}_{role}", scores["psnr"]])
    try:
        write_text(folder / "metrics.csv", format_csv(table))
    except OSError as error:
        problems.append(f"{folder / 'metrics.csv'}: cannot be written: {error.strerror}.")
    return tuple(problems)
