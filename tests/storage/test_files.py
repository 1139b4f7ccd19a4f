"""Writing and reading back in folders that may come out of an archive."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tessera.errors import FileError
from tessera.storage.files import (
    check_inside,
    hold_lock,
    open_for_appending,
    open_lock,
    read_bytes,
    replace_file,
    write_bytes,
    write_text,
)

posix = pytest.mark.skipif(sys.platform == "win32", reason="POSIX links and FIFOs")


def append(path, data, max_bytes=1 << 20):
    descriptor = open_for_appending(path, max_bytes=max_bytes)
    try:
        os.write(descriptor, data)
    finally:
        os.close(descriptor)


@posix
def test_a_link_is_replaced_and_its_target_stays(tmp_path):
    target = tmp_path / "bashrc"
    target.write_bytes(b"alias ll='ls -l'\n")
    (tmp_path / "scores.csv").symlink_to(target)
    write_bytes(tmp_path / "scores.csv", b"name,psnr\n")
    assert target.read_bytes() == b"alias ll='ls -l'\n"
    assert not (tmp_path / "scores.csv").is_symlink()
    assert (tmp_path / "scores.csv").read_bytes() == b"name,psnr\n"


@posix
@pytest.mark.parametrize("kind", ["link", "dangling link", "hard link", "fifo", "folder link"])
def test_nothing_is_appended_to_what_is_not_a_regular_file_of_its_own(tmp_path, kind):
    target = tmp_path / "bashrc"
    journal = tmp_path / "journal"
    if kind == "dangling link":
        journal.symlink_to(target)
    elif kind == "fifo":
        os.mkfifo(journal)
    elif kind == "folder link":
        journal.symlink_to(tmp_path)
    else:
        target.write_bytes(b"old\n")
        journal.symlink_to(target) if kind == "link" else os.link(target, journal)
    with pytest.raises(FileError, match=r"journal: expected a regular file, found"):
        append(journal, b"$(command)\n")
    assert not target.exists() or target.read_bytes() == b"old\n"


@posix
def test_a_device_is_neither_read_nor_appended_to():
    with pytest.raises(FileError, match="not a regular file"):
        append(Path("/dev/null"), b"x")
    with pytest.raises(FileError, match="not a regular file"):
        read_bytes(Path("/dev/zero"), max_bytes=10)


@posix
def test_reading_follows_no_link_and_waits_for_no_fifo(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "secret").write_bytes(b"s")
    (tmp_path / "link").symlink_to(tmp_path / "secret")
    for name in ("fifo", "link"):
        with pytest.raises(FileError, match=name):
            read_bytes(tmp_path / name, max_bytes=10)


def test_a_file_above_the_bound_is_refused_with_both_sizes(tmp_path):
    path = tmp_path / "journal"
    with path.open("wb") as file:
        file.truncate(3 << 30)  # sparse: takes no room on the disk
    with pytest.raises(FileError, match=r"expected at most 1,048,576 bytes, found 3,221,225,472"):
        append(path, b"x")
    with pytest.raises(FileError, match=r"found 3,221,225,472"):
        read_bytes(path, max_bytes=1 << 20)
    assert path.stat().st_size == 3 << 30


def test_records_are_appended_and_read_back(tmp_path):
    path = tmp_path / "journal"
    append(path, b"one\n")
    append(path, b"two\n")
    assert read_bytes(path, max_bytes=8) == b"one\ntwo\n"


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    path = tmp_path / "scores.csv"
    path.write_bytes(b"before")

    def write_half():
        with replace_file(path) as file:
            file.write(b"half")
            assert path.read_bytes() == b"before"
            raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        write_half()
    assert path.read_bytes() == b"before"
    assert [entry.name for entry in tmp_path.iterdir()] == ["scores.csv"]


@posix
def test_a_new_file_has_the_permissions_of_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "a.txt", "ü\r\n")
        os.close(open_lock(tmp_path / "lock"))
    finally:
        os.umask(before)
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "a.txt").read_bytes() == "ü\r\n".encode()
    assert (tmp_path / "lock").stat().st_mode & 0o777 == 0o640


@posix
def test_a_linked_subfolder_does_not_lead_out_of_the_named_folder(tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "results" / "inner").mkdir(parents=True)
    (tmp_path / "results" / "sub").symlink_to(tmp_path / "home")
    (tmp_path / "named").symlink_to(tmp_path / "results")
    results = tmp_path / "results"
    check_inside(results / "a.png", results)
    check_inside(results / "inner" / "a.png", results)
    check_inside(tmp_path / "named" / "inner" / "a.png", tmp_path / "named")
    with pytest.raises(FileError, match="leads out of"):
        check_inside(results / "sub" / "a.png", results)
    with pytest.raises(FileError, match="leads out of"):
        check_inside(results / ".." / "a.png", results)


def test_a_lock_is_held_by_one_process_until_its_block_ends(tmp_path: Path) -> None:
    other = (
        "import fcntl, sys; file = open(sys.argv[1], 'a')\n"
        "try: fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)\n"
        "except BlockingIOError: sys.exit(3)"
    )

    def try_elsewhere() -> int:
        return subprocess.run([sys.executable, "-c", other, str(tmp_path / "lock")], check=False).returncode

    with hold_lock(tmp_path / "lock") as is_locked:
        assert is_locked
        assert try_elsewhere() == 3
        with pytest.raises(BlockingIOError), hold_lock(tmp_path / "lock"):
            pass
    assert try_elsewhere() == 0
