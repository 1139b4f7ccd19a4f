"""A long series takes no more memory than a short one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from explain.published import multi_state, save_basicsr
from tessera.images.writer import write_picture

_RUN = """\
import resource, sys
from tessera.cli import main
assert main(["attention", *sys.argv[1:], "-q"]) == 0
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def peak_mib(folder: Path, *words: str) -> float:
    done = subprocess.run([sys.executable, "-c", _RUN, *words], cwd=folder, capture_output=True, text=True, check=True)
    return int(done.stdout.split()[-1]) / 1024


@pytest.mark.slow
def test_thirty_checkpoints_take_little_more_memory_than_six(tmp_path: Path) -> None:
    for count in (6, 30):
        models = tmp_path / f"models{count}"
        models.mkdir()
        for number in range(count):
            save_basicsr(models / f"net_d_{number * 5000}.pth", multi_state(2, number))
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8).repeat(8, axis=0).repeat(8, axis=1)
    write_picture(pixels, tmp_path / "a.png")
    few = peak_mib(tmp_path, "a.png", "-c", "models6", "-o", "few", "--real-only")
    many = peak_mib(tmp_path, "a.png", "-c", "models30", "-o", "many", "--real-only")
    assert len(list((tmp_path / "many").glob("A?_D?_*.png"))) == 180
    assert (tmp_path / "many" / "attention.html").stat().st_size < 12 * 2**20
    # frames of the animation (48 at most) and pictures of the page (24 checkpoints at most) are kept until the end
    assert many - few < 60, (few, many)
