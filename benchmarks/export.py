"""The figures of docs/howto/export.md on exported files: bytes, and the distance of each file from its model.

`python benchmarks/export.py [MODEL ...]`; models are names or files (default: those of the page); TESSERA_ASSETS
names the folder whose `weights` has those published as .pth. Each becomes ONNX in every precision as
`tessera export` makes it, and the first RRDBNet also the other formats that the page names. The comparison uses the
built-in chart; the worse of its two pieces counts. It takes minutes on two cores.
"""

import os
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from tessera.deploy.exporting import Exported, export
from tessera.deploy.settings import settings_from_words
from tessera.weights.files import LoadedGenerator, inspect_weights
from tessera.zoo.models import load_model

MODELS = ("realesr-animevideov3", "realesrgan-x4plus")
PRECISIONS = ("fp32", "fp16", "bf16")
OTHERS = ((".xml", "fp16"), (".param", "fp16"), (".pt", "bf16"))


def loaded_from(model: str) -> tuple[LoadedGenerator, str]:
    """A model, with what its weights were published in (kernels in fp16 have biases in fp32)."""
    own = Path(os.environ.get("TESSERA_ASSETS", "")) / "weights" / f"{model}.pth"
    loaded = load_model(str(own) if own.is_file() else model)
    dtypes = () if loaded.source is None else inspect_weights(loaded.source).dtypes
    return loaded, ", ".join(dtypes)


def exported(loaded: LoadedGenerator, folder: Path, ending: str, precision: str) -> Exported:
    output = folder / f"model-{precision}{ending}"
    settings = settings_from_words(output, format_name=None, precision=precision, shape="dynamic", opset=None)
    done = export(loaded, output, settings)
    for path in done.paths:
        path.unlink()
    return done


def figures(done: Exported) -> tuple[str, str, str]:
    """Bytes, the largest difference in levels of 255, PSNR: of the worse piece."""
    largest = max(each.largest_levels for each in done.differences)
    psnr_db = min(each.psnr_db for each in done.differences)
    return f"{done.bytes:,}", f"{largest:.4f}" if largest < 0.1 else f"{largest:.2f}", f"{psnr_db:.1f} dB"


def main() -> None:
    print(f"ONNX with ONNX Runtime {version('onnxruntime')}, the built-in chart, the worse of the two pieces:\n")
    print("| model | published in |" + "".join(f" {each}: bytes, largest, PSNR |" for each in PRECISIONS))
    print("|---" * (2 + len(PRECISIONS)) + "|")
    models = [loaded_from(model) for model in sys.argv[1:] or MODELS]
    with tempfile.TemporaryDirectory() as folder:
        for loaded, dtypes in models:
            cells = ["; ".join(figures(exported(loaded, Path(folder), ".onnx", each))) for each in PRECISIONS]
            print(f"| `{loaded.name}` | {dtypes} | {' | '.join(cells)} |", flush=True)
        large = next((loaded for loaded, _ in models if loaded.config.network == "rrdbnet"), None)
        if large is not None:
            print(f"\n{large.name} in the other formats:\n\n| file | bytes | largest | PSNR | run with |")
            print("|---" * 5 + "|")
            for ending, precision in OTHERS:
                done = exported(large, Path(folder), ending, precision)
                print(f"| `{ending}` {precision} | {' | '.join(figures(done))} | {done.runtime} |", flush=True)


if __name__ == "__main__":
    main()
