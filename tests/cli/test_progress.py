"""Lines about a run on a pipe."""

from __future__ import annotations

import re
from pathlib import Path

from tessera.cli.progress import LineWatcher
from tessera.upscaling.batch_report import FileResult
from tessera.upscaling.finding import Task


def test_files_that_end_out_of_order_leave_a_time_that_is_not_negative(monkeypatch):
    """Two devices: the third file of three ends first, while half of the first is done."""
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    watcher = LineWatcher(3)
    for index in range(3):
        watcher.begin(index, Task(Path(f"{index}.png"), Path(f"out/{index}.png")))
    now = 130.0
    watcher.tile(2, 4, 4, 100)
    watcher.end(2, FileResult(Path("2.png"), Path("out/2.png"), "done"))
    watcher.tile(0, 2, 4, 100)
    watcher.tile(1, 2, 4, 100)
    # 30 seconds for 1 + 0.5 + 0.5 files: 15 for the other one.
    found = re.search(r"about (.*) left", watcher.describe())
    assert found
    assert found[1] == "15.0 s"
