"""Published discriminators, series and test sets, downloaded from a local server."""

from __future__ import annotations

import hashlib
import http.server
import io
import stat
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from explain.published import attention_state, multi_state
from tessera.errors import DownloadError, FileError, ModelNotFoundError, UnknownModelError
from tessera.explain.series import find_checkpoints
from tessera.zoo.discriminators import fetch_training_file, find_checkpoint_place, find_discriminator
from tessera.zoo.training_files import PUBLISHED_ARCHIVES, PUBLISHED_DISCRIMINATORS, find_training_file


def checkpoint(state: dict[str, torch.Tensor]) -> bytes:
    file = io.BytesIO()
    torch.save({"params": state}, file)
    return file.getvalue()


def archive(*members: tuple[str | zipfile.ZipInfo, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as packed:
        for name, data in members:
            packed.writestr(name, data)
    return file.getvalue()


MULTI, SINGLE = checkpoint(multi_state(2, 1)), checkpoint(attention_state(2, 3, "layer0."))
PICTURE = b"\x89PNG\r\n\x1a\n"
FILES = {
    "/A-ESRGAN_Multi_D.pth": MULTI,
    "/A_ESRGAN_Single_D.pth": SINGLE,
    "/single.zip": archive(*((f"single/net_d_{step}.pth", SINGLE) for step in (5000, 10000, 350000))),
    "/multi.zip": archive(*((f"net_d_{step}.pth", MULTI) for step in (5000, 10000))),
    "/DatasetsForSR.zip": archive(("DatasetsForSR/Set5/baby.png", PICTURE), ("DatasetsForSR/readme.txt", b"x")),
}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[list[str]]:
    """Names that a mirror was asked for; it serves `FILES`."""
    asked: list[str] = []

    class Visit(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            body = FILES.get(self.path, b"<html>log in</html>")
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Visit) as running:
        running.daemon_threads = False
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        for name in ("TESSERA_OFFLINE", "http_proxy", "HTTP_PROXY"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("TESSERA_MIRROR", f"http://127.0.0.1:{running.server_address[1]}")
        monkeypatch.setenv("TESSERA_MODELS", str(tmp_path / "models"))
        yield asked
        running.shutdown()
        thread.join()


def test_addresses_are_those_of_the_releases() -> None:
    addresses = {each.name: each.remote.urls for each in (*PUBLISHED_DISCRIMINATORS, *PUBLISHED_ARCHIVES)}
    host = "https://github.com/aesrgan/A-ESRGAN/releases/download/v1.0.0"
    assert addresses["a-esrgan-multi-d"][0] == f"{host}/A-ESRGAN_Multi_D.pth"
    assert addresses["a-esrgan-single-series"][0] == f"{host}/single.zip"
    assert addresses["realesrgan-x4plus-anime-d"] == (
        "https://github.com/xinntao/Real-ESRGAN/releases/download/v0.2.2.4/RealESRGAN_x4plus_anime_6B_netD.pth",
    )
    assert len(addresses) == 8


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("A_ESRGAN_Multi_D.pth", "a-esrgan-multi-d"),
        ("A-ESRGAN_Multi_D", "a-esrgan-multi-d"),
        ("a_esrgan_single_d.PTH", "a-esrgan-single-d"),
        ("RealESRGAN_x2plus_netD.pth", "realesrgan-x2plus-d"),
        ("multi.zip", "a-esrgan-multi-series"),
        ("DatasetsForSR.zip", "a-esrgan-test-sets"),
        ("single", None),
        ("a-esrgan-multi", None),
    ],
)
def test_published_names_are_aliases(written: str, name: str | None) -> None:
    found = find_training_file(written)
    assert (found and found.name) == name


def test_a_discriminator_is_downloaded_once_and_pinned(asked: list[str], tmp_path: Path) -> None:
    path = find_discriminator("A_ESRGAN_Multi_D.pth")
    assert path == tmp_path / "models" / "A-ESRGAN_Multi_D.pth"
    assert find_discriminator("a-esrgan-multi-d") == path
    assert asked == ["/A-ESRGAN_Multi_D.pth"]
    pin = path.with_name("A-ESRGAN_Multi_D.pth.sha256").read_text()
    assert pin.split() == [hashlib.sha256(MULTI).hexdigest(), path.name]
    path.write_bytes(SINGLE)
    with pytest.raises(DownloadError, match="is not the file that was pinned"):
        find_discriminator("a-esrgan-multi-d")


def test_a_file_under_the_name_of_the_pages_is_found(asked: list[str], tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "A_ESRGAN_Multi_D.pth").write_bytes(MULTI)
    assert find_discriminator("a-esrgan-multi-d").name == "A_ESRGAN_Multi_D.pth"
    assert asked == []


def test_another_network_or_a_login_page_is_not_pinned(
    asked: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(FILES, "/A-ESRGAN_Multi_D.pth", SINGLE)
    with pytest.raises(DownloadError, match="it was deleted: expected the discriminator multi-scale"):
        find_discriminator("a-esrgan-multi-d")
    for name in ("realesrgan-x4plus-d", "a-esrgan-test-sets"):
        entry = find_training_file(name)
        assert entry is not None
        if name.endswith("sets"):
            monkeypatch.delitem(FILES, "/DatasetsForSR.zip")
        with pytest.raises(DownloadError, match="it was deleted"):
            fetch_training_file(entry)
    assert [each.name for each in (tmp_path / "models").iterdir() if not each.name.startswith(".")] == []


def test_a_series_is_found_by_name_by_archive_and_by_outer_folder(asked: list[str], tmp_path: Path) -> None:
    by_name = find_checkpoint_place("a-esrgan-single-series")
    assert [each.step for each in find_checkpoints([by_name])] == [5000, 10000, 350000]
    assert by_name.name == "single"  # the outer folder of the archive is entered
    assert find_checkpoint_place(by_name.parent) == by_name
    own = tmp_path / "own.zip"
    own.write_bytes(FILES["/multi.zip"])
    assert [each.step for each in find_checkpoints([find_checkpoint_place(own)])] == [5000, 10000]
    assert find_checkpoint_place("single.zip") == by_name
    assert asked == ["/single.zip"]
    one = tmp_path / "one.pth"
    one.write_bytes(SINGLE)
    assert find_checkpoint_place(one) == one
    renamed = one.rename(tmp_path / "renamed.zip")  # PyTorch writes ZIP archives itself
    assert find_checkpoint_place(renamed) == renamed


def test_an_archive_with_a_link_is_not_unpacked(asked: list[str], tmp_path: Path) -> None:
    link = zipfile.ZipInfo("net_d_1.pth")
    link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    (tmp_path / "own.zip").write_bytes(archive((link, b"/etc/passwd")))
    with pytest.raises(FileError, match="found a link"):
        find_checkpoint_place(tmp_path / "own.zip")
    assert not (tmp_path / "models" / "unpacked").exists()


def test_names_that_are_not_checkpoints_are_refused(asked: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnknownModelError, match="contains test sets, expected checkpoints"):
        find_checkpoint_place("a-esrgan-test-sets")
    with pytest.raises(UnknownModelError, match="no such file, and no published discriminator"):
        find_checkpoint_place("a-esrgan-multi")
    with pytest.raises(ModelNotFoundError, match="`offline` forbids downloads"):
        find_discriminator("a-esrgan-multi-d", offline=True)
    assert asked == []
