"""`make demo`: upscale the pictures in examples/ with the default weights and lay before and after side by side."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np

from tessera import Picture, read_picture, write_picture
from tessera.images.pixels import flatten_on_white

ROOT = Path(__file__).resolve().parent.parent
GAP = 12


def main() -> None:
    results = ROOT / "out" / "demo"
    examples = sorted(path for path in (ROOT / "examples").iterdir() if path.suffix in (".jpg", ".png", ".webp"))
    command = [sys.executable, "-m", "tessera", "upscale", *map(str, examples), "-o", str(results), "--overwrite"]
    print("$ tessera", *command[3:], flush=True)
    subprocess.run(command, check=True)
    rows = [side_by_side(path, results / f"{path.stem}_out{path.suffix}") for path in examples]
    width = max(row.shape[1] for row in rows)
    parts: list[np.ndarray] = []
    for row in rows:
        row = np.pad(row, ((0, GAP), (0, width - row.shape[1]), (0, 0)), constant_values=255)
        parts.append(row)
    comparison = ROOT / "out" / "demo" / "before_after.png"
    write_picture(Picture(np.concatenate(parts)), comparison)
    print("\nThe results are in", results)
    for path in examples:
        print("  ", results / f"{path.stem}_out{path.suffix}")
    print("Before (nearest neighbor, left) and after (right):", comparison)


def side_by_side(before: Path, after: Path) -> np.ndarray:
    """Both pictures at the size of the larger, in 8-bit RGB on white -> (H, 2*W + gap, 3)."""
    small, large = (on_white(read_picture(path).pixels) for path in (before, after))
    factor = large.shape[0] // small.shape[0]
    gap = np.full((large.shape[0], GAP, 3), 255, np.uint8)
    return np.concatenate((small.repeat(factor, 0).repeat(factor, 1), gap, large), axis=1)


def on_white(pixels: np.ndarray) -> np.ndarray:
    return flatten_on_white(pixels) if pixels.shape[2] == 4 else pixels


if __name__ == "__main__":
    main()
