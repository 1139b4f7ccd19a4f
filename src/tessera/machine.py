"""What this machine has left: memory and disk."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

_FALLBACK_MEMORY_BYTES = 2 * 2**30
_LEAST_MEMORY_BYTES = 2**26


def available_memory_bytes() -> int:
    """Memory that can be taken now: the system's, or what the control group of a container leaves."""
    available = _FALLBACK_MEMORY_BYTES
    with contextlib.suppress(OSError, ValueError, IndexError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        available = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    with contextlib.suppress(OSError, ValueError):
        limit = int(Path("/sys/fs/cgroup/memory.max").read_text())
        used = int(Path("/sys/fs/cgroup/memory.current").read_text())
        available = min(available, limit - used)
    return max(available, _LEAST_MEMORY_BYTES)


def free_disk_bytes(folder: Path) -> int | None:
    """Bytes free where a folder is, or will be made; None when the system does not say."""
    there = next((place for place in (folder, *folder.parents) if place.exists()), folder)
    try:
        return shutil.disk_usage(there).free
    except OSError:
        return None
