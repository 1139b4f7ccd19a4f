"""Files with what a command has found."""

import os
from pathlib import Path

import pytest

from tessera.cli.reports import check_reports, write_report
from tessera.errors import PictureError, UsageError


def test_a_place_that_can_be_written_is_no_trouble(tmp_path: Path):
    (tmp_path / "old.json").write_text("old")
    check_reports({"--json": tmp_path / "new.json", "--markdown": tmp_path / "old.json", "--html": None})


@pytest.mark.parametrize(
    ("place", "sentence"),
    [("nowhere/out.json", "nowhere does not exist"), ("folder", "is a folder; name a file")],
)
def test_places_that_cannot_be_written_are_refused_by_their_option(place: str, sentence: str, tmp_path: Path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(UsageError, match=f"^--json .*{sentence}"):
        check_reports({"--json": tmp_path / place})


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="this user may write everywhere")
def test_a_folder_that_may_not_be_written_to_is_refused(tmp_path: Path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(UsageError, match="is not writable"):
            check_reports({"--json": tmp_path / "out.json"})
    finally:
        tmp_path.chmod(0o700)


def test_a_report_replaces_the_last_one(tmp_path: Path):
    report = tmp_path / "out.json"
    report.write_text("old")
    write_report(report, "new")
    write_report(None, "nobody wants this")
    assert report.read_text() == "new"
    assert [each.name for each in tmp_path.iterdir()] == ["out.json"]


def test_a_report_that_cannot_be_written_is_a_sentence(tmp_path: Path):
    with pytest.raises(PictureError, match=r"out\.json: cannot be written: "):
        write_report(tmp_path / "gone" / "out.json", "text")
