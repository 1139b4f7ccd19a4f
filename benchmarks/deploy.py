"""The int8 figures of docs/explanation/quantization.md: quantized on photographs, measured on others, two protocols.

`python benchmarks/deploy.py FOLDER [MODEL ...]`; TESSERA_ASSETS names the folder with `photos/train`, `photos/val`
and `weights`. Files and pages go to FOLDER; existing models are measured again but not rebuilt. For
each model and protocol a table is written (.md, .json, .html), and `int8.md` has a row for each with the limits: at
most 0.01 dB lost in fp16 and bf16, in int8 0.2 dB and 0.02 of SSIM, and 1.7 times the throughput of bf16. It takes an
hour or more on two cores.
"""

import json
import os
import sys
from pathlib import Path

from tessera.cli import main as tessera

MODELS = ("realesrgan-x4plus", "realesrgan-x4plus-anime", "realsr-df2k", "realesr-animevideov3")
MOST_DB, MOST_SSIM, LEAST_RATIO, MOST_HALF_DB = 0.2, 0.02, 1.7, 0.01
ROUNDS = 9
SIZE = 96
"""Of inputs under the protocol paper: the middle of each photograph; vacc takes all of it, shrunk to 128x128."""


def figures(folder: Path, model: str, protocol: str, assets: Path, spec: str) -> dict[str, float]:
    """Measure a model with its int8 file under a protocol -> what must hold."""
    place = folder / f"{model}-{protocol}"
    pages = [f"--{kind}={place.with_suffix(f'.{end}')}" for kind, end in (("json", "json"), ("html", "html"))]
    size = ["--size", str(SIZE)] if protocol == "paper" else []
    command = ["deploy-table", spec, "--bench", str(assets / "photos" / "val"), "--protocol", protocol, *size]
    niqe = ["--niqe-model", str(assets / "weights" / "niqe_pris_params.npz")]
    options = ["--int8", str(folder / f"{model}.xml"), "--rounds", str(ROUNDS), f"--markdown={place}.md", *pages, *niqe]
    if tessera([*command, *options, "--offline"]) != 0:
        sys.exit(f"{model}: no table")
    rows = {row["precision"]: row for row in json.loads(place.with_suffix(".json").read_text())["rows"]}
    exact, whole = rows["fp32"], rows["int8"]
    return {
        "drop_db": exact["psnr_db"] - whole["psnr_db"],
        "ssim_drop": exact["ssim"] - whole["ssim"],
        "times_bf16": whole["times_bf16"],
        "of_processor": whole["times_bf16_of_processor"],
        "fp16_db": exact["psnr_db"] - rows["fp16"]["psnr_db"],
        "bf16_db": exact["psnr_db"] - rows["bf16"]["psnr_db"],
        "to_fp32_db": whole["psnr_to_fp32_db"],
    }


def blame(report: Path) -> str:
    """What a model that did not fit the budget lost, and where."""
    if not report.is_file():
        return "no file"
    found = json.loads(report.read_text())
    worst = ", ".join(f"{unit['name']} {unit['share']:.0%}" for unit in found["units"][:5])
    return (
        f"no: {found['psnr_drop_db']:.3f} dB and {found['ssim_drop']:.4f} of SSIM lost with {len(found['kept'])} of"
        f" {found['layers']} layers kept; most in {worst}"
    )


def main() -> None:
    if len(sys.argv) < 2 or not os.environ.get("TESSERA_ASSETS"):
        sys.exit(__doc__)
    folder, assets = Path(sys.argv[1]), Path(os.environ["TESSERA_ASSETS"])
    folder.mkdir(parents=True, exist_ok=True)
    lines = [
        "| model | protocol | fp16 loses, dB | bf16 loses, dB | int8 loses, dB | of SSIM | times bf16 |"
        " by processor time | PSNR to fp32 | holds |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---|",
    ]
    for model in sys.argv[2:] or MODELS:
        own = assets / "weights" / f"{model}.pth"
        spec = str(own) if own.is_file() else model
        if not (folder / f"{model}.xml").is_file():
            pictures = ["--calibration", str(assets / "photos" / "train"), "--eval", str(assets / "photos" / "val")]
            report = folder / f"{model}-report.json"
            report.unlink(missing_ok=True)
            output = ["-o", str(folder / f"{model}.xml"), "--max-drop", str(MOST_DB), "--offline", f"--report={report}"]
            if tessera(["quantize", spec, *pictures, *output]) != 0:
                lines.append(f"| {model} | | | | | | | | | {blame(report)} |")
                continue
        for protocol in ("paper", "vacc"):
            found = figures(folder, model, protocol, assets, spec)
            half = max(found["fp16_db"], found["bf16_db"])
            misses = [
                words
                for words, missed in (
                    (f"fp16 or bf16 by {half - MOST_HALF_DB:.3f} dB too low", half > MOST_HALF_DB),
                    (f"PSNR by {found['drop_db'] - MOST_DB:.3f} dB too low", found["drop_db"] > MOST_DB),
                    (f"SSIM by {found['ssim_drop'] - MOST_SSIM:.4f} too low", found["ssim_drop"] > MOST_SSIM),
                    (f"{LEAST_RATIO - found['times_bf16']:.2f} too slow", found["times_bf16"] < LEAST_RATIO),
                )
                if missed
            ]
            lines.append(
                f"| {model} | {protocol} | {found['fp16_db']:.3f} | {found['bf16_db']:.3f} | {found['drop_db']:.3f} |"
                f" {found['ssim_drop']:.4f} | {found['times_bf16']:.2f} | {found['of_processor']:.2f} |"
                f" {found['to_fp32_db']:.1f} | {', '.join(misses) or 'yes'} |"
            )
    text = "\n".join([*lines, ""])
    (folder / "int8.md").write_text(text, encoding="utf-8")
    print(text, end="")


if __name__ == "__main__":
    main()
