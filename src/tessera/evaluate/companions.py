"""What esrdgan's test mode leaves beside each result: the input, nearest and bicubic, the reference, metrics.csv."""

from __future__ import annotations

import csv
from pathlib import Path

from tessera.errors import TesseraError
from tessera.evaluate import making
from tessera.evaluate.protocol import find_protocol
from tessera.evaluate.scores import Evaluation
from tessera.evaluate.scoring import Scorer


def write_companions(evaluation: Evaluation, method: str, folder: Path) -> tuple[str, ...]:
    """Write NAME_sr_4x.png, _nearest_4x, _bicubic_4x, _lr, _hr and metrics.csv for a method -> problems.

    metrics.csv has PSNR as esrdgan measures it, whatever protocol the evaluation follows: all channels, no crop,
    results not rounded.
    """
    scale = evaluation.scale or 4
    scorer = Scorer(metrics=("psnr",), protocol=find_protocol("esrdgan"), scale=scale)
    folder.mkdir(parents=True, exist_ok=True)
    problems: list[str] = []
    with (folder / "metrics.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["image", "PSNR"])
        for row in evaluation.rows:
            if row.method != method or row.sr is None or row.lq is None:
                continue
            names = {role: folder / f"{row.picture}_{role}_{scale}x.png" for role in ("sr", "nearest", "bicubic")}
            try:
                making.copy(row.sr, names["sr"])
                making.enlarge(row.lq, names["nearest"], scale, "nearest")
                making.enlarge(row.lq, names["bicubic"], scale, "bicubic")
                making.copy(row.lq, folder / f"{row.picture}_lr.png")
                if row.gt is not None:
                    making.copy(row.gt, folder / f"{row.picture}_hr.png")
            except TesseraError as error:
                problems.append(str(error))
                continue
            for role, path in names.items():
                measured = scorer.measure(path, gt=row.gt)
                if "psnr" in measured.scores:
                    table.writerow([f"{row.picture}_{role}", measured.scores["psnr"]])
    return tuple(problems)
