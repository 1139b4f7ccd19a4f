"""Files for tests of batches: empty ones, and small pictures."""

from __future__ import annotations

import os
from pathlib import Path

from pictures import ramp, save


def touch(*names: str | bytes) -> list[Path]:
    paths = [Path(os.fsdecode(name)) for name in names]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return paths


def picture(name: str, seed: int = 0, channels: int = 3, side: int = 12) -> Path:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    return save(path, ramp(side, side + 4, channels, seed=seed))
