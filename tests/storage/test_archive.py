"""Archives are checked as a whole before anything is written; a test archive is built by zipfile."""

import stat
import zipfile

import pytest

from tessera.errors import FileError
from tessera.storage.archive import list_members, unpack_archive


def pack(path, members, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return path


def test_files_and_folders_are_unpacked_as_they_are(tmp_path):
    archive = pack(
        tmp_path / "single.zip",
        [
            ("single/", b""),
            ("single/net_d_5000.pth", bytes(range(256)) * 9000),
            ("single/deep/b.txt", "ü".encode()),
            ("win\\c.txt", b"c"),
            ("__MACOSX/single/._net_d_5000.pth", b"resource fork"),
            ("single/.DS_Store", b"view"),
            ("empty.txt", b""),
        ],
    )
    seen = []
    folder = unpack_archive(archive, tmp_path / "out", on_progress=lambda here, total: seen.append((here, total)))
    files = {each.relative_to(folder).as_posix(): each.read_bytes() for each in folder.rglob("*") if each.is_file()}
    assert files == {
        "single/net_d_5000.pth": bytes(range(256)) * 9000,
        "single/deep/b.txt": "ü".encode(),
        "win/c.txt": b"c",
        "empty.txt": b"",
    }
    assert seen[-1] == (2_304_003, 2_304_003)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["out", "single.zip"]


@pytest.mark.parametrize(
    "name",
    [
        *("../a", "a/../../b", "/etc/passwd", "C:/a", "C:a", "..\\a", "\\\\server\\a", "a//b", "a/..", ".", "..", "/"),
        *("con.txt", "a/NUL", "a. ", "a\nb", "x" * 300, "file:stream"),
    ],
)
def test_names_that_lead_elsewhere_stop_everything(name, tmp_path):
    archive = pack(tmp_path / "a.zip", [("good.txt", b"good"), (name, b"bad")])
    with pytest.raises(FileError, match="expected names of files inside the archive"):
        unpack_archive(archive, tmp_path / "deep" / "out")
    assert [each.name for each in tmp_path.iterdir()] == ["a.zip"]


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_links_and_devices_stop_everything(kind, tmp_path):
    info = zipfile.ZipInfo("folder/link")
    info.create_system, info.external_attr = 3, (kind | 0o777) << 16
    archive = pack(tmp_path / "a.zip", [("good.txt", b"good"), (info, b"/etc/passwd")])
    with pytest.raises(FileError, match="expected regular files, found a"):
        unpack_archive(archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "names", [("a", "A"), ("a", "a/b"), ("a/b", "A"), ("u\u0308", "\u00fc")], ids=["case", "folder", "both", "composed"]
)
def test_one_place_for_two_members_stops_everything(names, tmp_path):
    archive = pack(tmp_path / "a.zip", [(name, b"x") for name in names])
    with pytest.raises(FileError, match="contains"):
        unpack_archive(archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_count_and_size_are_checked_before_anything_is_written(tmp_path):
    archive = pack(tmp_path / "a.zip", [(f"{n}.txt", b"12345") for n in range(4)])
    with pytest.raises(FileError, match="more than 3 files"):
        unpack_archive(archive, tmp_path / "out", most_files=3)
    with pytest.raises(FileError, match="more than 19 bytes"):
        unpack_archive(archive, tmp_path / "out", most_bytes=19)
    assert len(list_members(archive, most_files=4, most_bytes=20)) == 4
    assert [each.name for each in tmp_path.iterdir()] == ["a.zip"]


def test_a_bomb_stops_everything(tmp_path):
    archive = pack(tmp_path / "a.zip", [("a.txt", bytes(3_000_000))], zipfile.ZIP_DEFLATED)
    with pytest.raises(FileError, match=r"unpacks from [\d,]+ to 3,000,000 bytes"):
        unpack_archive(archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_damaged_member_leaves_nothing(tmp_path):
    archive = pack(tmp_path / "a.zip", [("a.txt", b"first"), ("b.txt", b"second")])
    data = archive.read_bytes()
    archive.write_bytes(data.replace(b"second", b"sXcond", 1))
    with pytest.raises(FileError, match=r"b\.txt is damaged"):
        unpack_archive(archive, tmp_path / "out")
    assert [each.name for each in tmp_path.iterdir()] == ["a.zip"]
    archive.write_bytes(b"no archive")
    with pytest.raises(FileError, match="expected a ZIP archive"):
        list_members(archive)


def test_an_existing_place_is_left_alone(tmp_path):
    archive = pack(tmp_path / "a.zip", [("a.txt", b"first")])
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileError, match="already exists"):
        unpack_archive(archive, tmp_path / "out")
    assert list((tmp_path / "elsewhere").iterdir()) == []
