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
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tessera.storage.checksum import compute_sha256
from tessera.upscaling import journal as module
from tessera.upscaling.journal import JOURNAL_NAME, Journal, key_of


@pytest.fixture
def output(tmp_path: Path) -> Path:
    path = tmp_path / "out" / "a.png"
    path.parent.mkdir()
    path.write_bytes(b"whole")
    return path


@pytest.fixture
def journal(output: Path, tmp_path: Path) -> Journal:
    """One in which a.png was made from in/a.jpg under the key "k"."""
    journal = Journal(output.parent)
    journal.begin(output, "k", tmp_path / "in" / "a.jpg")
    journal.finish(output, "k")
    return journal


def again(journal: Journal) -> Journal:
    """The same journal as the next process reads it."""
    return Journal(journal.folder)


def test_what_was_finished_is_done_in_the_next_process_too(journal: Journal, output: Path) -> None:
    assert journal.is_done(output, "k")
    assert again(journal).is_done(output, "k")


def test_what_was_only_begun_is_not_done(journal: Journal, output: Path, tmp_path: Path) -> None:
    journal.begin(output, "k", tmp_path / "in" / "a.jpg")
    assert not journal.is_done(output, "k")
    assert not again(journal).is_done(output, "k")


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


def test_a_line_from_before_sums_were_recorded_is_believed_on_its_size(output: Path) -> None:
    line = {"output": output.name, "state": "done", "key": "k", "bytes": 5, "input": "../in/a.jpg"}
    (output.parent / JOURNAL_NAME).write_text(json.dumps(line) + "\n")
    journal = Journal(output.parent)
    assert journal.is_done(output, "k")
    output.write_bytes(b"who")
    assert not journal.is_done(output, "k")


def test_a_journal_that_did_not_change_is_not_opened_again(
    journal: Journal, output: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Path] = []
    original = Path.open

    def counted(path: Path, *more: Any, **options: Any) -> Any:
        opened.append(path)
        return original(path, *more, **options)

    other = again(journal)
    journal.is_done(output, "k")
    monkeypatch.setattr(Path, "open", counted)
    for _ in range(10):
        assert journal.is_done(output, "k")
    assert not opened
    other.begin(output, "k2", tmp_path / "a.jpg")
    opened.clear()
    assert not journal.is_done(output, "k")
    assert not journal.is_done(output, "k")
    assert len(opened) == 1


def test_it_remembers_which_picture_an_output_was_made_from(journal: Journal, output: Path, tmp_path: Path) -> None:
    source = again(journal).source_of(output)
    assert source == "../in/a.jpg"
    assert source == journal.path_from_here(tmp_path / "in" / "a.jpg")
    assert journal.source_of(output.with_name("b.png")) is None


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
    after.begin(other, "kb", tmp_path / "b.jpg")
    after.finish(other, "kb")
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
    early.begin(output, "k", tmp_path / "a.jpg")
    early.finish(output, "k")
    assert late.is_done(output, "k")
    assert late.source_of(output) is not None


def test_two_processes_with_one_key_agree_that_it_is_done(output: Path, tmp_path: Path) -> None:
    first, second = Journal(output.parent), Journal(output.parent)
    for each in (first, second):
        each.begin(output, "k", tmp_path / "a.jpg")
    for each in (first, second):
        each.finish(output, "k")
    assert Journal(output.parent).is_done(output, "k")


INTERLEAVINGS = sorted({"".join(order) for order in itertools.permutations("aaabbb")})


@pytest.mark.parametrize("order", INTERLEAVINGS)
def test_two_processes_with_two_keys_never_claim_the_others_output(output: Path, tmp_path: Path, order: str) -> None:
    """Each begins, puts its file in its place, and finishes; whoever is claimed must be the last to have written."""
    journals = {"a": Journal(output.parent), "b": Journal(output.parent)}
    steps: Counter[str] = Counter()
    for name in order:
        if steps[name] == 0:
            journals[name].begin(output, name, tmp_path / "x.jpg")
        elif steps[name] == 1:
            output.write_bytes(name.encode())
        else:
            journals[name].finish(output, name)
        steps[name] += 1
    reader = Journal(output.parent)
    for name in "ab":
        assert not reader.is_done(output, name) or output.read_bytes() == name.encode()
    if order in ("aaabbb", "bbbaaa"):
        assert reader.is_done(output, order[-1])


WRITER = """
import sys
from pathlib import Path
from tessera.upscaling.journal import Journal

folder, number = Path(sys.argv[1]), sys.argv[2]
journal = Journal(folder)
for index in range(25):
    path = folder / f"{number}-{index}.png"
    path.write_bytes(b"x" * index)
    journal.begin(path, "k" * 50, path)
    journal.finish(path, "k" * 50)
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


def test_a_journal_that_was_deleted_meanwhile_begins_anew(journal: Journal, output: Path, tmp_path: Path) -> None:
    (journal.folder / JOURNAL_NAME).unlink()
    other = output.with_name("b.png")
    other.write_bytes(b"b")
    journal.begin(other, "kb", tmp_path / "b.jpg")
    journal.finish(other, "kb")
    assert journal.is_done(other, "kb")
    assert again(journal).is_done(other, "kb")


def test_names_that_are_no_utf_8_survive(tmp_path: Path) -> None:
    output = tmp_path / os.fsdecode(b"caf\xe9 \n.png")
    output.write_bytes(b"x")
    journal = Journal(tmp_path)
    journal.begin(output, "k", output)
    journal.finish(output, "k")
    assert again(journal).is_done(output, "k")
    assert again(journal).outputs == {output.name}


def test_a_disk_that_takes_half_a_line_is_an_error(
    journal: Journal, output: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:10]))
    with pytest.raises(OSError, match="No space"):
        journal.begin(output, "k2", tmp_path / "a.jpg")
    assert again(journal).is_done(output, "k")


def test_keys_differ_in_every_part_and_in_where_parts_end() -> None:
    assert len({key_of("a", "b"), key_of("ab"), key_of("b", "a"), key_of("a", "b", ""), key_of("a", "c")}) == 5
