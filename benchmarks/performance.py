"""Complete programs in turn, from the start to the finished file: the tables of docs/explanation/performance.md.

Each case is one network and the center of one photograph of the folder TESSERA_ASSETS names; its programs are the plain
PyTorch script, the plain ncnn script (benchmarks/plain) and `tessera upscale` at each precision. Wall time, processor
time and peak memory are those of the program alone, and every picture is compared with that of the plain script.

`python benchmarks/performance.py [--case NAME] [--program NAME] [--rounds N] [--cold] [--json FILE] [--markdown FILE]`;
--case and --program are repeatable. With --cold, there is no run before the rounds. Plans and compiled networks go to a
separate cache folder, so the first run of a program makes them.
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

import torch

from tessera.bench.processes import Program, measure_programs
from tessera.bench.subject import crop_middle
from tessera.bench.surroundings import describe_machine
from tessera.bench.tables import as_dict, as_markdown
from tessera.engines.opening import choose_products
from tessera.images.picture import read_picture
from tessera.images.writer import write_picture
from tessera.upscaling.doctor import examine
from tessera.weights.ncnn_writer import write_param, write_values
from tessera.zoo.models import load_model

PLAIN = Path(__file__).parent / "plain"
PHOTOGRAPH = "photos/val/clic_0369d229ba4c9965.webp"
LARGE_PHOTOGRAPH = "photos/val/clic_f67f11de4ca9ebda.webp"

# name -> model, height, width of the crop, photograph
CASES = {
    "x4plus-128": ("realesrgan-x4plus", 128, 128, PHOTOGRAPH),
    "x4plus-512": ("realesrgan-x4plus", 512, 512, PHOTOGRAPH),
    "compact-128": ("realesr-animevideov3", 128, 128, PHOTOGRAPH),
    "compact-1mp": ("realesr-animevideov3", 1000, 1000, LARGE_PHOTOGRAPH),
}


def prepare(model: str, assets: Path, folder: Path) -> str:
    """Write the weights as each plain script takes them -> the model as `tessera upscale -n` takes it."""
    own = assets / "weights" / f"{model}.pth"
    spec = str(own) if own.exists() else model
    generator = load_model(spec)
    config, state = generator.config, dict(generator.network.state_dict())
    if config.network == "rrdbnet":
        kind, numbers = "rrdbnet", (config.features, config.growth, config.blocks)
    else:
        kind, numbers = "compact", (config.features, config.convolutions, config.scale)
    torch.save({"kind": kind, "numbers": numbers, "state": state}, folder / "plain.pth")
    text, modules = write_param(config)
    (folder / "plain.param").write_text(text, encoding="ascii")
    (folder / "plain.bin").write_bytes(write_values(generator.arrays, modules))
    return spec


def programs(spec: str, source: Path, folder: Path, threads: int) -> list[Program]:
    environment = {"OMP_NUM_THREADS": str(threads), "TESSERA_CACHE": str(folder / "cache")}

    def program(name: str, products: str, *command: str) -> Program:
        output = folder / f"{name.replace(' ', '-')}" / "out.png"
        output.parent.mkdir(exist_ok=True)
        filled = tuple(str(output) if word == "OUT" else word for word in command)
        return Program(
            name=name, products=products, command=(sys.executable, *filled), output=output, environment=environment
        )

    found = [
        program(
            "plain PyTorch", "fp32", str(PLAIN / "pytorch_script.py"), str(folder / "plain.pth"), str(source), "OUT"
        ),
        program("plain ncnn", "fp32", str(PLAIN / "ncnn_script.py"), str(folder / "plain"), str(source), "OUT"),
    ]
    # The flat lock changes the picture on purpose (up to 4 levels here), and the plain scripts have none.
    upscale = ("-m", "tessera", "upscale", str(source), "-o", "OUT", "--overwrite", "-n", spec, "--no-flat-lock")
    for precision in ("exact", "auto", "fast"):
        products = choose_products("pytorch", precision)
        found.append(program(f"tessera {precision}", products, *upscale, "--precision", precision))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", action="append", choices=CASES)
    parser.add_argument("--program", action="append")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cold", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    chosen = parser.parse_args()
    assets = Path(os.environ["TESSERA_ASSETS"])
    found = examine()
    surroundings = describe_machine(found, found.cores.usable)
    comparisons = []
    for case in chosen.case or CASES:
        model, height, width, photograph = CASES[case]
        with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as place:
            folder = Path(place)
            spec = prepare(model, assets, folder)
            pixels = crop_middle(read_picture(assets / photograph).pixels, height, width)
            source = folder / "source.png"
            write_picture(pixels, source)
            entered = programs(spec, source, folder, found.cores.usable)
            if chosen.program:
                entered = [entered[0], *(each for each in entered[1:] if each.name in chosen.program)]
            comparison = measure_programs(
                entered,
                subject=f"{model}, {pixels.shape[1]}x{pixels.shape[0]} photograph, whole processes",
                rounds=chosen.rounds,
                warm=not chosen.cold,
                progress=lambda words: print(words, file=sys.stderr, flush=True),
            )
        comparisons.append(comparison)
        # After every case: a run takes long, and what is measured stays measured when it is stopped.
        text = as_markdown(comparisons, surroundings)
        if chosen.markdown:
            chosen.markdown.write_text(text, encoding="utf-8")
        if chosen.json:
            chosen.json.write_text(json.dumps(as_dict(comparisons, surroundings), indent=2) + "\n", encoding="utf-8")
    print(text, end="")


if __name__ == "__main__":
    main()
