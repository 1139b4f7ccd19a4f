"""What this machine is and what it has left: processor, cores, memory, disk.

What Linux says lies in text files, and each is read by a function of that text, or of the folders where it lies
(`proc`, `cgroup`). A container's limits count: memory and processor time that its control group withholds are not
there. Where a system does not say, the answer is None.
"""

from __future__ import annotations

import contextlib
import math
import os
import platform
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from platformdirs import user_cache_path, user_data_path

_FALLBACK_MEMORY_BYTES = 2 * 2**30
_LEAST_MEMORY_BYTES = 2**26
_NO_LIMIT_BYTES = 2**60  # version 1 of control groups writes "no limit" as the largest multiple of a page

PROC = Path("/proc")
CGROUP = Path("/sys/fs/cgroup")


# ------------------------------------------------------------------------------------------------------ the processor

# What each feature is called here, in Linux's list of flags, and by macOS's sysctl.
_FEATURES = (
    ("AVX2", "avx2", "hw.optional.avx2_0"),
    ("AVX-512", "avx512f", "hw.optional.avx512f"),
    ("AVX-512 BF16", "avx512_bf16", ""),
    ("AVX-512 FP16", "avx512_fp16", ""),
    ("AVX-512 VNNI", "avx512_vnni", "hw.optional.avx512vnni"),
    ("AVX-VNNI", "avx_vnni", ""),
    ("AMX", "amx_tile", ""),
    ("AMX BF16", "amx_bf16", ""),
    ("AMX INT8", "amx_int8", ""),
    ("NEON", "asimd", "hw.optional.neon"),
    ("FP16", "asimdhp", "hw.optional.arm.FEAT_FP16"),
    ("DotProd", "asimddp", "hw.optional.arm.FEAT_DotProd"),
    ("BF16", "bf16", "hw.optional.arm.FEAT_BF16"),
    ("I8MM", "i8mm", "hw.optional.arm.FEAT_I8MM"),
    ("SVE", "sve", ""),
    ("SVE2", "sve2", ""),
)


@dataclass(frozen=True, kw_only=True)
class Processor:
    """What multiplies; `features` are those that upscaling can make use of, None where the system does not list any."""

    name: str | None
    architecture: str
    features: tuple[str, ...] | None


def parse_cpuinfo(text: str, architecture: str) -> Processor:
    """Read `/proc/cpuinfo` of x86 or Arm; a feature counts when every processor has it.

    >>> parse_cpuinfo("model name : Some CPU\\nflags : fpu avx2 avx512f\\n", "x86_64").features
    ('AVX2', 'AVX-512')
    """
    name: str | None = None
    common: set[str] | None = None
    for line in text.splitlines():
        key, _, value = (part.strip() for part in line.partition(":"))
        if key in ("model name", "Model") and value:
            name = name or value
        elif key in ("flags", "Features"):
            flags = set(value.split())
            common = flags if common is None else common & flags
    features = None if common is None else tuple(name for name, flag, _ in _FEATURES if flag in common)
    return Processor(name=name, architecture=architecture, features=features)


def parse_sysctl(text: str, architecture: str) -> Processor:
    """Read what `sysctl machdep.cpu.brand_string hw.optional` prints on macOS."""
    values = _read_sysctl(text)
    known = any(key.startswith("hw.optional.") for key in values)
    features = tuple(name for name, _, key in _FEATURES if key and values.get(key) == "1") if known else None
    return Processor(name=values.get("machdep.cpu.brand_string"), architecture=architecture, features=features)


def processor(proc: Path = PROC) -> Processor:
    """Say what this machine's processor is."""
    architecture = platform.machine()
    if sys.platform == "darwin":
        return parse_sysctl(_ask_sysctl("machdep.cpu.brand_string", "hw.optional"), architecture)
    try:
        return parse_cpuinfo((proc / "cpuinfo").read_text(encoding="utf-8", errors="replace"), architecture)
    except OSError:
        return Processor(name=platform.processor() or None, architecture=architecture, features=None)


def _read_sysctl(text: str) -> dict[str, str]:
    pairs = (line.partition(":") for line in text.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs if value.strip()}


def _ask_sysctl(*names: str) -> str:
    try:
        return subprocess.run(["sysctl", *names], capture_output=True, text=True, timeout=5, check=False).stdout
    except (OSError, subprocess.SubprocessError):
        return ""


# ---------------------------------------------------------------------------------------------------------- the cores


@dataclass(frozen=True, kw_only=True)
class Cores:
    """How many logical processors there are, how many this process may run on, and for how much of the time."""

    installed: int
    allowed: int
    quota: float | None
    """Processors' worth of time that the control group grants, None without a limit."""

    @property
    def usable(self) -> int:
        """How many threads get something done: what is allowed and granted, rounded to the nearest, at least 1.

        >>> [Cores(installed=8, allowed=4, quota=quota).usable for quota in (None, 0.2, 1.4, 1.5, 6.0)]
        [4, 1, 1, 2, 4]
        """
        granted = self.allowed if self.quota is None else math.floor(self.quota + 0.5)
        return max(1, min(self.allowed, granted))


def cores(proc: Path = PROC, cgroup: Path = CGROUP) -> Cores:
    """Say which share of the machine's processors this process may use."""
    installed = os.cpu_count() or 1
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else installed
    return Cores(installed=installed, allowed=allowed, quota=cpu_quota(proc, cgroup))


def cpu_quota(proc: Path = PROC, cgroup: Path = CGROUP) -> float | None:
    """The smallest share of processor time that a control group around this process grants, in processors."""
    quotas: list[float] = []
    for folder in _list_groups("", proc, cgroup):
        with contextlib.suppress(OSError, ValueError):
            quota, period = (folder / "cpu.max").read_text().split()
            quotas.append(math.inf if quota == "max" else int(quota) / int(period))
    for folder in _list_groups("cpu", proc, cgroup):
        quota, period = (_read_number(folder / name) for name in ("cpu.cfs_quota_us", "cpu.cfs_period_us"))
        if quota is not None and period:
            quotas.append(math.inf if quota < 0 else quota / period)
    least = min(quotas, default=math.inf)
    return least if 0 < least < math.inf else None


# ---------------------------------------------------------------------------------------------------------- the memory


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Bytes of memory: the machine's, and what a control group allows; None where the system does not say."""

    total_bytes: int | None
    available_bytes: int | None
    """What can be taken now, within the limit."""
    limit_bytes: int | None
    swap_total_bytes: int | None
    swap_used_bytes: int | None


def parse_meminfo(text: str) -> dict[str, int]:
    """Read `/proc/meminfo`, in bytes.

    >>> parse_meminfo("MemTotal:  16 kB\\nHugePages_Total: 0\\n")
    {'MemTotal': 16384}
    """
    words = (line.replace(":", " ").split() for line in text.splitlines())
    return {item[0]: int(item[1]) * 1024 for item in words if len(item) == 3 and item[2] == "kB" and item[1].isdigit()}


def memory(proc: Path = PROC, cgroup: Path = CGROUP) -> Memory:
    """Say how much memory there is, and how much of it can be taken now."""
    read: Mapping[str, int] = {}
    with contextlib.suppress(OSError):
        read = parse_meminfo((proc / "meminfo").read_text())
    total, available = read.get("MemTotal"), read.get("MemAvailable")
    if total is None and sys.platform == "darwin":
        told = _read_sysctl(_ask_sysctl("hw.memsize")).get("hw.memsize", "")
        total = int(told) if told.isdigit() else None
    groups = list(_list_memory_groups(proc, cgroup))
    for limit, used in groups:
        left = max(limit - used, 0)
        available = left if available is None else min(available, left)
    swap, swap_free = read.get("SwapTotal"), read.get("SwapFree")
    return Memory(
        total_bytes=total,
        available_bytes=available,
        limit_bytes=min((limit for limit, _ in groups), default=None),
        swap_total_bytes=swap,
        swap_used_bytes=None if swap is None or swap_free is None else swap - swap_free,
    )


def find_address_limit() -> int | None:
    """The bytes of address space that this process may use (`ulimit -v`); None if they are not limited."""
    if sys.platform == "win32":
        return None
    import resource

    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    return None if limit == resource.RLIM_INFINITY else limit


def address_space(proc: Path = PROC) -> dict[str, int]:
    """The address space of this process in bytes, now (VmSize) and at most (VmPeak); empty where unknown."""
    with contextlib.suppress(OSError):
        return parse_meminfo((proc / "self" / "status").read_text())
    return {}


def available_memory_bytes() -> int:
    """Memory that can be taken now: the system's, what a container's control group leaves, or the address limit."""
    available = memory().available_bytes
    available = _FALLBACK_MEMORY_BYTES if available is None else available
    limit = find_address_limit()
    if limit is not None:
        available = min(available, limit - address_space().get("VmSize", 0))
    return max(available, _LEAST_MEMORY_BYTES)


def _list_memory_groups(proc: Path, cgroup: Path) -> Iterator[tuple[int, int]]:
    """The limit of each control group around this process and what counts against it, in bytes."""
    for controller, limit_name, used_name, idle in (
        ("", "memory.max", "memory.current", "inactive_file"),
        ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        for folder in _list_groups(controller, proc, cgroup):
            limit, used = _read_number(folder / limit_name), _read_number(folder / used_name)
            if limit is None or used is None or limit >= _NO_LIMIT_BYTES:
                continue
            statistics: dict[str, str] = {}
            with contextlib.suppress(OSError, ValueError):
                statistics = dict(line.split(maxsplit=1) for line in (folder / "memory.stat").read_text().splitlines())
            # Files that were read and lie idle in the cache are counted as used, and given back when asked for.
            idle_bytes = int(statistics.get(idle, "0")) if statistics.get(idle, "0").isdigit() else 0
            yield limit, max(used - idle_bytes, 0)


def _list_groups(controller: str, proc: Path, cgroup: Path) -> Iterator[Path]:
    """The folders of the control groups around this process, innermost first: version 2, or a controller of version 1.

    A container often sees its own group as the root while the path it is told is the host's: only the root is there.
    """
    inside = PurePosixPath("/")
    with contextlib.suppress(OSError):
        for line in (proc / "self" / "cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2) if line.count(":") >= 2 else ("", "none", "/")
            if controller in controllers.split(","):
                inside = PurePosixPath(path)
                break
    names = () if ".." in inside.parts else inside.parts[1:]
    base = cgroup / controller if controller else cgroup
    for depth in range(len(names), -1, -1):
        folder = base.joinpath(*names[:depth])
        if folder.is_dir():
            yield folder


def _read_number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


# ------------------------------------------------------------------------------------------------------------ the disk


def process_seconds(proc: Path = PROC) -> float:
    """How long this process has been running; where the system does not tell, how much work it has done."""
    try:
        fields = (proc / "self" / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        began = int(fields[19]) / os.sysconf("SC_CLK_TCK")  # proc(5): starttime, in ticks since the system started
        return max(time.clock_gettime(time.CLOCK_BOOTTIME) - began, 0.0)
    except (OSError, ValueError, IndexError, AttributeError):
        return time.process_time()


def free_disk_bytes(folder: Path) -> int | None:
    """Bytes free where a folder is, or will be made; None when the system does not say."""
    try:
        there = next((place for place in (folder, *folder.parents) if place.exists()), folder)
        return shutil.disk_usage(there).free
    except OSError:
        return None


def expand_home(text: str) -> Path:
    """A path in which a leading ~ is the home folder; ~NAME stays where that user is unknown."""
    return Path(os.path.expanduser(text))  # noqa: PTH111 - raises for unknown users


def cache_folder() -> Path:
    """Return the folder of cached results: `TESSERA_CACHE`, or the system's folder for caches of the user.

    Where the home folder is read-only or missing, it is a folder of the user's own in the temporary folder, so that
    measurements and compiled models are not made again in each run.
    """
    chosen = os.environ.get("TESSERA_CACHE")
    if chosen:
        return expand_home(chosen)
    usual = _find_folder(user_cache_path)
    return usual if _is_creatable(usual) else _find_private_folder() or usual


def data_folder() -> Path:
    """Return the system's folder for data of the user."""
    return _find_folder(user_data_path)


def _find_folder(find: Callable[..., Path]) -> Path:
    """A folder of the user; without a home folder a path below the null device, where no file can be."""
    nowhere = Path(os.devnull) / "no home folder"
    try:
        folder = find("tessera", appauthor=False)
    except RuntimeError:
        return nowhere
    return folder if folder.is_absolute() else nowhere


def _is_creatable(folder: Path) -> bool:
    """Whether a folder is writable, or can be created."""
    existing = next((each for each in (folder, *folder.parents) if each.exists()), folder)
    return existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)


def _find_private_folder() -> Path | None:
    """A folder in the temporary folder that only this user can write to; None where there is none."""
    if os.name != "posix":
        return None
    try:
        folder = Path(tempfile.gettempdir()) / f"tessera-{os.getuid()}"
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        found = folder.lstat()
    except OSError:
        return None
    is_private = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077
    return folder if is_private else None
