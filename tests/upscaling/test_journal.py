"""The journal: what counts as done, and what a crash or a second process can do to it."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stand_ins import nearest
from tessera import Upscaler
from tessera.storage.checksum import compute_sha256
from tessera.storage.files import open_for_reading
from tessera.upscaling import batch_run
from tessera.upscaling import journal as module
from tessera.upscaling.journal import JOURNAL_NAME, Job, Journal, key_of
from tessera.zoo.int8_file import Int8File


@pytest.fixture
def output(tmp_path: Path) -> Path:
    path = tmp_path / "out" / "a.png"
    path.parent.mkdir()
    path.write_bytes(b"whole")
    return path


def job(key: str) -> Job:
    return Job(key=key, setup=f"setup of {key}", description=f"model {key}")


def finish(journal: Journal, output: Path, key: str, source: Path) -> None:
    """Record the file that is in place, as a run does before it renames the file."""
    journal.begin(output, job(key), source)
    journal.finish(output, job(key), source, written=output)


@pytest.fixture
def journal(output: Path, tmp_path: Path) -> Journal:
    """One in which a.png was made from in/a.jpg under the key "k"."""
    journal = Journal(output.parent)
    finish(journal, output, "k", tmp_path / "in" / "a.jpg")
    return journal


def again(journal: Journal) -> Journal:
    """The same journal as the next process reads it."""
    return Journal(journal.folder)


def test_what_was_finished_is_done_in_the_next_process_too(journal: Journal, output: Path) -> None:
    assert journal.is_done(output, "k")
    assert again(journal).is_done(output, "k")


def test_what_was_only_begun_is_not_done(output: Path, tmp_path: Path) -> None:
    journal = Journal(output.parent)
    journal.begin(output, job("k"), tmp_path / "in" / "a.jpg")
    assert not journal.is_done(output, "k")
    assert not again(journal).is_done(output, "k")
    assert journal.find_origin(output) is None
    assert not journal.outputs


def test_what_is_begun_again_is_done_as_long_as_its_file_stands(journal: Journal, output: Path, tmp_path: Path) -> None:
    journal.begin(output, job("k"), tmp_path / "in" / "a.jpg")
    journal.begin(output, job("k2"), tmp_path / "in" / "a.jpg")
    assert again(journal).is_done(output, "k")
    assert not again(journal).is_done(output, "k2")


def test_another_key_is_not_done(journal: Journal, output: Path) -> None:
    assert not journal.is_done(output, "other")


@pytest.mark.parametrize("harm", ["deleted", "truncated", "emptied", "grown"])
def test_an_output_that_is_not_there_in_full_is_not_done(journal: Journal, output: Path, harm: str) -> None:
    if harm == "deleted":
        output.unlink()
    else:
        output.write_bytes({"truncated": b"who", "emptied": b"", "grown": b"whole and more"}[harm])
    assert not again(journal).is_done(output, "k")


def test_an_output_damaged_at_the_same_size_is_not_done(journal: Journal, output: Path) -> None:
    output.write_bytes(b"whale")
    assert not journal.is_done(output, "k")
    assert not again(journal).is_done(output, "k")


def test_an_output_that_was_touched_is_done(journal: Journal, output: Path) -> None:
    os.utime(output, ns=(1, 1))
    assert again(journal).is_done(output, "k")


def test_a_copied_folder_is_as_done_as_the_first(journal: Journal, output: Path, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(output.parent, tmp_path / "copy", copy_function=shutil.copyfile))
    os.utime(copied / output.name, ns=(1, 1))
    assert Journal(copied).is_done(copied / output.name, "k")
    (copied / output.name).write_bytes(b"whale")
    assert not Journal(copied).is_done(copied / output.name, "k")


def test_bytes_are_read_only_where_the_time_is_another(
    journal: Journal, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []

    def counted(path: Path) -> str:
        read.append(path)
        return compute_sha256(path)

    monkeypatch.setattr(module, "compute_sha256", counted)
    assert journal.is_done(output, "k")
    assert not read
    os.utime(output, ns=(1, 1))
    assert journal.is_done(output, "k")
    assert read == [output]


def test_a_line_without_a_checksum_counts_for_nothing(output: Path) -> None:
    line = {"output": output.name, "state": "done", "key": "k", "bytes": 5, "input": "../in/a.jpg"}
    (output.parent / JOURNAL_NAME).write_text(json.dumps(line) + "\n")
    journal = Journal(output.parent)
    assert not journal.is_done(output, "k")
    assert journal.find_origin(output) is None


def test_a_journal_that_did_not_change_is_not_opened_again(
    journal: Journal, output: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Path] = []

    def count(path: Path, *, max_bytes: int) -> int:
        opened.append(path)
        return open_for_reading(path, max_bytes=max_bytes)

    other = again(journal)
    journal.is_done(output, "k")
    monkeypatch.setattr(module, "open_for_reading", count)
    for _ in range(10):
        assert journal.is_done(output, "k")
    assert not opened
    other.begin(output, job("k2"), tmp_path / "a.jpg")
    opened.clear()
    assert journal.is_done(output, "k")
    assert journal.is_done(output, "k")
    assert len(opened) == 1


def test_it_knows_what_an_unchanged_output_was_made_from(journal: Journal, output: Path, tmp_path: Path) -> None:
    origin = again(journal).find_origin(output)
    assert origin is not None
    assert (origin.source, origin.setup, origin.description) == ("../in/a.jpg", "setup of k", "model k")
    assert origin.source == journal.path_from_here(tmp_path / "in" / "a.jpg")
    assert journal.find_origin(output.with_name("b.png")) is None
    output.write_bytes(b"whale")
    assert journal.find_origin(output) is None


def test_the_latest_of_several_entries_describes_equal_bytes(journal: Journal, output: Path, tmp_path: Path) -> None:
    for key in ("k2", "k3", "k"):
        finish(journal, output, key, tmp_path / "b.jpg")
        origin = again(journal).find_origin(output)
        assert origin is not None
        assert origin.key == key


def test_one_file_has_one_path_however_its_folder_is_spelled(journal: Journal, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "link").symlink_to("in")
    assert journal.path_from_here(tmp_path / "link" / "a.jpg") == "../in/a.jpg"


@pytest.mark.parametrize(
    "damage",
    [
        b'{"output": "a.png", "state": "beg',
        b"\x00" * 4096,
        b"\xff\xfe not UTF-8 \xff",
        b'[]\n17\nnull\n"text"\n{}',
        b'{"output": "a.png", "state": "done", "key": "k"}',
        b'{"output": "a.png", "state": "done", "key": "k", "bytes": "many"}',
        b'{"output": "a.png", "state": "done", "key": "k", "bytes": Infinity}',
        b'{"output": "a.png", "state": "done", "key": "k", "bytes": 5, "mtime_ns": null}',
        b"[" * 100_000,
    ],
)
def test_damaged_lines_are_ignored_and_swallow_no_later_line(
    journal: Journal, output: Path, tmp_path: Path, damage: bytes
) -> None:
    with (journal.folder / JOURNAL_NAME).open("ab") as file:
        file.write(damage)
    after = again(journal)
    assert after.is_done(output, "k")
    other = output.with_name("b.png")
    other.write_bytes(b"b")
    finish(after, other, "kb", tmp_path / "b.jpg")
    for reader in (after, again(journal)):
        assert reader.is_done(output, "k")
        assert reader.is_done(other, "kb")


def test_a_journal_cut_anywhere_forgets_at_most_its_last_lines(journal: Journal, output: Path) -> None:
    path = journal.folder / JOURNAL_NAME
    data = path.read_bytes()
    for length in range(len(data) + 1):
        path.write_bytes(data[:length])
        assert again(journal).is_done(output, "k") == (length == len(data))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_no_bytes_in_a_journal_make_it_fail(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    folder = tmp_path_factory.getbasetemp() / "any-bytes"
    folder.mkdir(exist_ok=True)
    (folder / JOURNAL_NAME).write_bytes(data)
    assert not Journal(folder).is_done(folder / "a.png", "k")


def test_a_process_sees_what_another_finished_meanwhile(output: Path, tmp_path: Path) -> None:
    early, late = Journal(output.parent), Journal(output.parent)
    finish(early, output, "k", tmp_path / "a.jpg")
    assert late.is_done(output, "k")
    assert late.find_origin(output) is not None


def test_two_processes_with_one_key_agree_that_it_is_done(output: Path, tmp_path: Path) -> None:
    first, second = Journal(output.parent), Journal(output.parent)
    for each in (first, second):
        each.begin(output, job("k"), tmp_path / "a.jpg")
    for each in (first, second):
        each.finish(output, job("k"), tmp_path / "a.jpg", written=output)
    assert Journal(output.parent).is_done(output, "k")


INTERLEAVINGS = sorted({"".join(order) for order in itertools.permutations("aaabbb")})


@pytest.mark.parametrize("order", INTERLEAVINGS)
def test_two_processes_with_two_keys_never_claim_the_others_output(output: Path, tmp_path: Path, order: str) -> None:
    """Each begins, records its finished file, and renames it; only the last to rename is done, and known as ours."""
    output.unlink()
    journals = {"a": Journal(output.parent), "b": Journal(output.parent)}
    steps: Counter[str] = Counter()
    for name in order:
        written = output.with_name(f"temporary-{name}")
        if steps[name] == 0:
            journals[name].begin(output, job(name), tmp_path / "x.jpg")
        elif steps[name] == 1:
            written.write_bytes(name.encode())
            journals[name].finish(output, job(name), tmp_path / "x.jpg", written=written)
        else:
            written.replace(output)
        steps[name] += 1
        for reader in (Journal(output.parent), *journals.values()):
            for key in "ab":
                assert reader.is_done(output, key) == (output.exists() and output.read_bytes() == key.encode())
            origin = reader.find_origin(output)
            assert (origin.key if origin else "") == (output.read_text() if output.exists() else "")


WRITER = """
import sys
from pathlib import Path
from tessera.upscaling.journal import Job, Journal

folder, number = Path(sys.argv[1]), sys.argv[2]
journal = Journal(folder)
for index in range(25):
    path = folder / f"{number}-{index}.png"
    path.write_bytes(b"x" * index)
    job = Job(key="k" * 50, setup="s" * 50, description="model")
    journal.begin(path, job, path)
    journal.finish(path, job, path, written=path)
"""


def test_lines_of_many_processes_do_not_mix(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WRITER, str(tmp_path)]
    processes = [subprocess.Popen([*command, str(number)]) for number in range(4)]
    assert [process.wait() for process in processes] == [0] * 4
    # An empty line is one process's newline after what it took for another's torn line, seen while that was written.
    for line in filter(None, (tmp_path / JOURNAL_NAME).read_text().split("\n")):
        json.loads(line)
    journal = Journal(tmp_path)
    assert all(journal.is_done(tmp_path / f"{n}-{i}.png", "k" * 50) for n in range(4) for i in range(25))


def test_a_journal_that_was_deleted_meanwhile_restarts(journal: Journal, output: Path, tmp_path: Path) -> None:
    (journal.folder / JOURNAL_NAME).unlink()
    other = output.with_name("b.png")
    other.write_bytes(b"b")
    finish(journal, other, "kb", tmp_path / "b.jpg")
    assert journal.is_done(other, "kb")
    assert again(journal).is_done(other, "kb")


def test_names_that_are_no_utf_8_survive(tmp_path: Path) -> None:
    output = tmp_path / os.fsdecode(b"caf\xe9 \n.png")
    output.write_bytes(b"x")
    journal = Journal(tmp_path)
    finish(journal, output, "k", output)
    assert again(journal).is_done(output, "k")
    assert again(journal).outputs == {output.name}


def test_a_disk_that_takes_half_a_line_is_an_error(
    journal: Journal, output: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:10]))
    with pytest.raises(OSError, match="No space"):
        journal.begin(output, job("k2"), tmp_path / "a.jpg")
    assert again(journal).is_done(output, "k")


def test_keys_differ_in_every_part_and_in_where_parts_end() -> None:
    assert len({key_of("a", "b"), key_of("ab"), key_of("b", "a"), key_of("a", "b", ""), key_of("a", "c")}) == 5


def test_a_line_of_a_megabyte_is_ignored(journal: Journal, output: Path) -> None:
    line = {"output": output.name, "state": "done", "key": "long", "bytes": 5, "sha256": compute_sha256(output)}
    with (journal.folder / JOURNAL_NAME).open("a") as file:
        file.write(json.dumps({**line, "input": "x" * 2**20}) + "\n" + json.dumps({**line, "key": "short"}) + "\n")
    assert again(journal).is_done(output, "short")
    assert not again(journal).is_done(output, "long")


def test_another_int8_companion_makes_the_output_again(tmp_path, monkeypatch):
    """The companion's pixels are in the output, so its digest is part of the key."""
    keys: set[str] = set()
    with Upscaler(nearest()) as upscaler:
        for digit in (None, "1", "2"):
            companion = None if digit is None else Int8File(tmp_path / "a.int8.xml", 0.1, True, digit * 64)
            monkeypatch.setattr(batch_run, "find_companion", lambda *_, found=companion: found)
            run = batch_run.BatchRun([], upscaler, Journal(tmp_path), batch_run.BatchOptions())
            keys.add(run._make_job("0" * 64, "a.png").key)
    assert len(keys) == 3
