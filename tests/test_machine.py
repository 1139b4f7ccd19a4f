"""What a machine says about itself, read from files as systems write them."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from tessera import machine
from tessera.machine import process_seconds
from tessera.storage.cache import read_cached, write_cached

X86 = """processor\t: 0
model name\t: Some Maker CPU @ 2.60GHz
flags\t\t: fpu sse2 avx2 avx512f avx512_bf16 avx512_vnni amx_tile amx_bf16

processor\t: 1
model name\t: Some Maker CPU @ 2.60GHz
flags\t\t: fpu sse2 avx2 avx512f avx512_bf16 avx512_vnni amx_tile amx_bf16
"""
ARM = """processor\t: 0
BogoMIPS\t: 2100.00
Features\t: fp asimd asimdhp asimddp sve i8mm bf16
CPU implementer\t: 0x41

processor\t: 1
Features\t: fp asimd asimdhp asimddp sve i8mm
"""
SYSCTL = """machdep.cpu.brand_string: Apple M2
hw.optional.neon: 1
hw.optional.avx2_0: 0
hw.optional.arm.FEAT_BF16: 1
hw.optional.arm.FEAT_I8MM: 1
hw.optional.arm.FEAT_DotProd: 1
"""
GB = 2**30


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    return write(
        tmp_path / "proc",
        {
            "meminfo": "MemTotal: 67108864 kB\nMemAvailable: 50331648 kB\n"
            "SwapTotal: 8388608 kB\nSwapFree: 6291456 kB\n",
            "self/cgroup": "0::/slice/pod/leaf\n",
            "cpuinfo": X86,
        },
    )


def test_an_x86_processor_is_known_by_its_name_and_flags():
    found = machine.parse_cpuinfo(X86, "x86_64")
    assert found.name == "Some Maker CPU @ 2.60GHz"
    assert found.features == ("AVX2", "AVX-512", "AVX-512 BF16", "AVX-512 VNNI", "AMX", "AMX BF16")


def test_a_feature_that_only_some_cores_have_does_not_count():
    found = machine.parse_cpuinfo(ARM, "aarch64")
    assert found.name is None
    assert found.features == ("NEON", "FP16", "DotProd", "I8MM", "SVE")
    first_core = machine.parse_cpuinfo(ARM.split("\n\n")[0], "aarch64")
    assert "BF16" in (first_core.features or ())


def test_macos_is_asked_by_sysctl():
    found = machine.parse_sysctl(SYSCTL, "arm64")
    assert (found.name, found.features) == ("Apple M2", ("NEON", "DotProd", "BF16", "I8MM"))


def test_nothing_is_invented_where_a_system_says_nothing(tmp_path: Path):
    assert machine.parse_cpuinfo("", "riscv64").features is None
    assert machine.parse_sysctl("", "arm64").features is None
    assert machine.processor(tmp_path).features is None
    assert machine.cpu_quota(tmp_path, tmp_path / "none") is None
    memory = machine.memory(tmp_path, tmp_path / "none")
    assert memory.available_bytes is None
    assert memory.limit_bytes is None
    assert memory.swap_used_bytes is None


def test_without_limits_the_memory_is_the_systems(proc: Path, tmp_path: Path):
    memory = machine.memory(proc, write(tmp_path / "cg", {"slice/memory.max": "max\n", "slice/memory.current": "5\n"}))
    assert memory.total_bytes == 64 * GB
    assert memory.available_bytes == 48 * GB
    assert memory.limit_bytes is None
    assert memory.swap_total_bytes == 8 * GB
    assert memory.swap_used_bytes == 2 * GB


def test_the_tightest_group_around_a_process_limits_its_memory(proc: Path, tmp_path: Path):
    cgroup = write(
        tmp_path / "cg",
        {
            "slice/memory.max": f"{16 * GB}\n",
            "slice/memory.current": f"{15 * GB}\n",
            "slice/pod/memory.max": f"{8 * GB}\n",
            "slice/pod/memory.current": f"{4 * GB}\n",
            "other/memory.max": "4096\n",
            "other/memory.current": "0\n",
        },
    )
    memory = machine.memory(proc, cgroup)
    assert memory.limit_bytes == 8 * GB
    assert memory.available_bytes == 1 * GB


def test_files_in_the_cache_of_a_container_are_not_memory_that_is_gone(proc: Path, tmp_path: Path):
    files = {"memory.max": f"{4 * GB}\n", "memory.current": f"{4 * GB}\n", "memory.stat": f"inactive_file {3 * GB}\n"}
    assert machine.memory(proc, write(tmp_path / "cg", files)).available_bytes == 3 * GB


def test_groups_of_version_1_are_read_too(proc: Path, tmp_path: Path):
    write(proc, {"self/cgroup": "5:memory:/docker/a\n4:cpu,cpuacct:/docker/a\n1:name=systemd:/\n0::/\n"})
    cgroup = write(
        tmp_path / "cg",
        {
            "memory/memory.limit_in_bytes": "9223372036854771712\n",
            "memory/memory.usage_in_bytes": "1\n",
            "memory/docker/a/memory.limit_in_bytes": f"{2 * GB}\n",
            "memory/docker/a/memory.usage_in_bytes": f"{GB}\n",
            "memory/docker/a/memory.stat": f"inactive_file 0\ntotal_inactive_file {GB // 2}\n",
            "cpu/cpu.cfs_quota_us": "-1\n",
            "cpu/cpu.cfs_period_us": "100000\n",
            "cpu/docker/a/cpu.cfs_quota_us": "250000\n",
            "cpu/docker/a/cpu.cfs_period_us": "100000\n",
        },
    )
    memory = machine.memory(proc, cgroup)
    assert memory.limit_bytes == 2 * GB
    assert memory.available_bytes == 3 * GB // 2
    assert machine.cpu_quota(proc, cgroup) == 2.5


def test_the_largest_number_of_version_1_is_no_limit(proc: Path, tmp_path: Path):
    files = {"memory/memory.limit_in_bytes": "9223372036854771712\n", "memory/memory.usage_in_bytes": "1\n"}
    assert machine.memory(proc, write(tmp_path / "cg", files)).limit_bytes is None


def test_a_group_that_is_seen_as_the_root_is_found_though_its_path_is_the_hosts(proc: Path, tmp_path: Path):
    write(tmp_path, {"cpu.max": "10000 100000\n"})  # what `..` would lead to is no control group
    files = {"cpu.max": "150000 100000\n", "memory.max": f"{GB}\n", "memory.current": "0\n"}
    cgroup = write(tmp_path / "cg", files)
    for path in ("/kubepods/not/here", "/../../other"):
        write(proc, {"self/cgroup": f"0::{path}\n"})
        assert machine.cpu_quota(proc, cgroup) == 1.5
        assert machine.memory(proc, cgroup).limit_bytes == GB


@pytest.mark.parametrize(("text", "quota"), [("max 100000", None), ("50000 100000", 0.5), ("", None), ("x y", None)])
def test_the_processor_time_of_version_2(text: str, quota: float | None, proc: Path, tmp_path: Path):
    assert machine.cpu_quota(proc, write(tmp_path / "cg", {"slice/cpu.max": text})) == quota


def test_this_machine_answers_for_itself():
    cores = machine.cores()
    assert 1 <= cores.usable <= cores.allowed <= cores.installed
    assert machine.available_memory_bytes() >= 2**26


def test_the_cache_lies_where_it_is_told_to(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("TESSERA_CACHE", str(tmp_path))
    assert machine.cache_folder() == tmp_path
    monkeypatch.delenv("TESSERA_CACHE")
    assert "tessera" in machine.cache_folder().parts


def test_free_disk_is_told_for_folders_that_are_not_there_yet(tmp_path: Path):
    there, later = (machine.free_disk_bytes(folder) for folder in (tmp_path, tmp_path / "a" / "b"))
    assert there is not None
    assert later is not None
    assert abs(there - later) < GB


def test_the_age_of_a_process_is_what_the_clock_says():
    code = (
        "import time; time.sleep(0.3); from tessera.machine import process_seconds; a = process_seconds();"
        " time.sleep(0.2); print(a, process_seconds() - a)"
    )
    began = time.monotonic()
    first, more = map(float, subprocess.check_output([sys.executable, "-c", code], text=True).split())
    assert 0.3 <= first <= time.monotonic() - began
    assert 0.19 <= more < 10


def test_where_the_system_does_not_tell_the_age_it_is_the_work_done(tmp_path):
    assert 0 < process_seconds(tmp_path) <= time.process_time()


@pytest.fixture
def without_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No usual cache folder can be made: a file is in its way. The temporary folder is empty."""
    (tmp_path / "home").write_text("a file")
    (tmp_path / "tmp").mkdir()
    monkeypatch.delenv("TESSERA_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home" / "cache"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    return tmp_path / "tmp" / f"tessera-{os.getuid()}"


@pytest.mark.skipif(sys.platform != "linux", reason="XDG_CACHE_HOME")
def test_without_a_writable_home_results_are_cached_in_a_private_folder(without_home: Path) -> None:
    assert machine.cache_folder() == without_home
    assert without_home.stat().st_mode & 0o777 == 0o700
    assert write_cached("plans", {"a": 1}, "value") is None
    assert read_cached("plans", {"a": 1}) == "value"


@pytest.mark.skipif(sys.platform != "linux", reason="XDG_CACHE_HOME")
@pytest.mark.parametrize("kind", ["open to others", "link", "file"])
def test_a_folder_that_others_may_have_prepared_is_not_used(without_home: Path, kind: str, tmp_path: Path) -> None:
    if kind == "link":
        (tmp_path / "elsewhere").mkdir(mode=0o700)
        without_home.symlink_to(tmp_path / "elsewhere")
    elif kind == "file":
        without_home.write_text("")
    else:
        without_home.mkdir()
        without_home.chmod(0o777)
    assert machine.cache_folder() == tmp_path / "home" / "cache" / "tessera"
    write_cached("plans", {"a": 1}, "value")
    assert read_cached("plans", {"a": 1}) is None
