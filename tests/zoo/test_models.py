"""The list of models, and how a name becomes a verified file."""

from __future__ import annotations

import hashlib
import http.server
import importlib.util
import json
import os
import subprocess
import sys
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import platformdirs
import platformdirs.macos
import platformdirs.unix
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tessera.errors import DownloadError, ModelNotFoundError, UsageError, WeightsError
from tessera.generators import SRVGGNetCompactConfig
from tessera.storage.checksum import compute_sha256
from tessera.weights import published
from tessera.weights.files import inspect_weights
from tessera.weights.published import MODELS, Model, PackagedFile, RemoteFile, find_model
from tessera.zoo import models as zoo
from tessera.zoo.blend_spec import parse_blend
from tessera.zoo.fetching import models_folder
from tessera.zoo.models import load_model, pull, resolve

BODY = b"weights of a kind " * 1000
SUM = hashlib.sha256(BODY).hexdigest()


@pytest.fixture(autouse=True)
def _own_surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("TESSERA_MIRROR", "TESSERA_OFFLINE", "http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TESSERA_MODELS", str(tmp_path / "models"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "models"
    path.mkdir()
    return path


@pytest.fixture
def bodies() -> dict[str, bytes]:
    """What the server answers to a path, where it is not the usual bytes."""
    return {}


@pytest.fixture
def server(bodies: dict[str, bytes]) -> Iterator[tuple[str, list[str]]]:
    asked: list[str] = []

    class Visit(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            found = "missing" not in self.path
            self.send_response(200 if found else 404)
            body = bodies.get(self.path, BODY) if found else b""
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Visit) as running:
        running.daemon_threads = False
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{running.server_address[1]}", asked
        running.shutdown()
        thread.join()


@pytest.fixture
def list_one(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Model]:
    """Make a list of one model."""

    def make(**changes: object) -> Model:
        facts = {"name": "toy-x4", "aliases": ("Toy_x4",), "network": "rrdbnet", "scale": 4}
        facts |= {"good_for": "tests", "license": "Apache-2.0"}
        model = Model(**{**facts, **changes})  # type: ignore[arg-type]
        monkeypatch.setattr(published, "MODELS", (model,))
        return model

    return make


def a_remote(*urls: str, sums: frozenset[str] = frozenset({SUM}), size: int | None = len(BODY)) -> RemoteFile:
    return RemoteFile("Toy_x4.pth", urls, size, sums, page="https://example.org/by-hand")


def a_package(folder: Path, monkeypatch: pytest.MonkeyPatch, sha256: str = SUM) -> PackagedFile:
    package = folder / "toy_data_package"
    (package / "models").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('a data package was executed')")
    (package / "models" / "TOY.bin").write_bytes(BODY)
    (package / "models" / "TOY.param").write_text("7767517\n")
    monkeypatch.syspath_prepend(str(folder))
    param = hashlib.sha256(b"7767517\n").hexdigest()
    return PackagedFile("toy_data_package", "models/TOY.bin", sha256, "pip install toy-data", param)


# ------------------------------------------------------------------------------------------------------------- the list


def test_names_and_aliases_are_unique_whatever_their_capitals() -> None:
    labels = [label.casefold() for model in MODELS for label in (model.name, *model.aliases)]
    assert len(labels) == len(set(labels))


def test_every_entry_can_be_had_somehow_and_says_how_it_is_checked() -> None:
    for model in MODELS:
        assert model.packaged or model.remote, model.name
        assert model.scale in (1, 2, 4)
        assert model.license in ("BSD-3-Clause", "Apache-2.0")
        for digest in (
            *(model.remote.sha256 if model.remote else ()),
            *([model.packaged.sha256] if model.packaged else ()),
        ):
            assert len(digest) == 64, model.name
            assert set(digest) <= set("0123456789abcdef"), model.name
        if model.remote is not None:
            assert all(url.startswith("https://github.com/") for url in model.remote.urls)
            assert model.remote.urls or model.remote.page, model.name
            if not model.remote.sha256:
                assert "No checksum is published for this file" in " ".join(model.notes), model.name


def test_every_network_of_the_table_is_one_of_the_generators() -> None:
    from tessera.generators import GENERATORS

    assert {model.network for model in MODELS} <= {generator.name for generator in GENERATORS}


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("RealESRGAN_x4plus", "realesrgan-x4plus"),
        ("REALESRGAN_X4PLUS_UP4X", "realesrgan-x4plus"),
        ("realesrgan-X4PLUS", "realesrgan-x4plus"),
        ("RealESRGAN_x4plus_anime_6B.pth", "realesrgan-x4plus-anime"),
        ("RealESRNet_x4plus", "realesrnet-x4plus"),
        ("realesr-animevideov3", "realesr-animevideov3"),
        ("RRDB_ESRGAN_x4.pth", "esrgan-x4"),
        ("RRDB_PSNR_x4", "esrgan-psnr-x4"),
        ("ESRGAN_SRx4_DF2KOST_official-ff704c30", "esrgan-df2kost-x4"),
        ("A_ESRGAN_Multi", "a-esrgan-multi"),
        (" BSRGAN ", "bsrgan-x4"),
    ],
)
def test_the_names_that_other_programs_use_are_understood(written: str, name: str) -> None:
    assert find_model(written).name == name


def test_the_default_is_in_the_list() -> None:
    assert find_model(zoo.DEFAULT_MODEL).name == zoo.DEFAULT_MODEL


def test_a_misspelled_name_gets_a_suggestion() -> None:
    with pytest.raises(ModelNotFoundError, match=r"realesgan.*Did you mean.*realesrgan-x4plus.*tessera models list"):
        find_model("realesgan-x4plus")


def test_a_name_like_no_other_gets_no_suggestion() -> None:
    with pytest.raises(ModelNotFoundError) as caught:
        find_model("qqqq")
    assert "Did you mean" not in str(caught.value)


# ----------------------------------------------------------------------------------------------------------- the folder


def test_the_folder_is_read_from_the_environment_at_each_call(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert models_folder() == tmp_path / "models"
    monkeypatch.setenv("TESSERA_MODELS", "~/elsewhere")
    assert models_folder() == Path.home() / "elsewhere"


@pytest.mark.skipif(sys.platform != "linux", reason="the XDG folders")
@pytest.mark.parametrize(
    ("home", "base"), [("data", "data"), ("", ".local/share")], ids=["XDG_DATA_HOME", "the default of XDG"]
)
def test_models_are_in_the_data_folder_of_the_system(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, home: str, base: str
) -> None:
    """XDG Base Directory Specification 0.8: $XDG_DATA_HOME, and $HOME/.local/share if it is empty."""
    monkeypatch.delenv("TESSERA_MODELS")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / home) if home else "")
    assert models_folder() == tmp_path / base / "tessera/models"


@pytest.mark.parametrize(
    ("kind", "tail"),
    [
        (platformdirs.macos.MacOS, ("Library", "Application Support", "tessera", "models")),
        (platformdirs.unix.Unix, (".local", "share", "tessera", "models")),
    ],
)
def test_each_platform_has_its_place(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: type[platformdirs.PlatformDirs], tail: tuple[str, ...]
) -> None:
    for name in ("TESSERA_MODELS", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(platformdirs, "PlatformDirs", kind)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert models_folder() == tmp_path.joinpath(*tail)


def test_a_relative_data_home_is_ignored_as_its_specification_asks(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("TESSERA_MODELS")
    monkeypatch.setattr(platformdirs, "PlatformDirs", platformdirs.unix.Unix)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_DATA_HOME", "data")
    assert models_folder() == tmp_path / ".local/share/tessera/models"


def test_importing_reads_no_environment_and_no_torch() -> None:
    code = (
        "import os, sys\n"
        "real, seen = os.environ.get, []\n"
        "os.environ.get = lambda name, default=None: seen.append(name) or real(name, default)\n"
        "import tessera.zoo.models, tessera.storage.download\n"
        "print([name for name in seen if name.startswith('TESSERA')], 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[] False\n"


# ------------------------------------------------------------------------------------------------------ names to files


def test_an_existing_path_wins_over_a_model_of_that_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    Path("RealESRGAN_x4plus.pth").write_bytes(b"mine")
    assert resolve("RealESRGAN_x4plus.pth", offline=True) == Path("RealESRGAN_x4plus.pth")
    assert resolve(tmp_path / "RealESRGAN_x4plus.pth", offline=True).read_bytes() == b"mine"


def test_a_file_that_only_has_the_name_of_a_model_does_not_win(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, list_one: Callable[..., Model]
) -> None:
    list_one(packaged=a_package(tmp_path / "site", monkeypatch))
    monkeypatch.chdir(tmp_path)
    Path("toy-x4").write_bytes(b"a text about toy-x4")
    assert resolve("toy-x4", offline=True).name == "TOY.bin"


def test_a_missing_path_is_no_name(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match=r"missing\.pth: no such file"):
        resolve(tmp_path / "missing.pth", offline=True)


def test_a_folder_is_no_weights_file(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="is a folder"):
        resolve(tmp_path, offline=True)


def test_an_unknown_name_says_where_own_files_are_found(folder: Path) -> None:
    with pytest.raises(ModelNotFoundError) as caught:
        resolve("4x_Unheard.pth", offline=True)
    assert "4x_Unheard.pth: no such file here or in" in str(caught.value)
    assert str(folder) in str(caught.value)


def test_a_file_of_ones_own_in_the_folder_has_its_name(folder: Path) -> None:
    (folder / "4x_Own.safetensors").write_bytes(b"own")
    (folder / "notes.txt").write_bytes(b"no weights")
    assert resolve("4x_Own", offline=True) == folder / "4x_Own.safetensors"
    assert resolve("4x_Own.safetensors", offline=True) == folder / "4x_Own.safetensors"
    with pytest.raises(ModelNotFoundError):
        resolve("notes", offline=True)


def test_a_packaged_file_comes_first_and_is_not_executed(
    list_one: Callable[..., Model], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    list_one(packaged=a_package(tmp_path / "site", monkeypatch), remote=a_remote("https://models.invalid/x"))
    (folder / "Toy_x4.pth").write_bytes(BODY)
    assert resolve("Toy_x4") == tmp_path / "site/toy_data_package/models/TOY.bin"
    assert "toy_data_package" not in sys.modules


def test_a_changed_packaged_file_is_not_used(
    list_one: Callable[..., Model], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    package = a_package(tmp_path / "site", monkeypatch, sha256="0" * 64)
    list_one(packaged=package, remote=a_remote())
    with pytest.raises(ModelNotFoundError, match=r"TOY\.bin is not the published file.*--force-reinstall"):
        resolve("toy-x4", offline=True)
    (folder / "Toy_x4.pth").write_bytes(BODY)
    assert resolve("toy-x4", offline=True) == folder / "Toy_x4.pth"
    list_one(packaged=package)
    with pytest.raises(ModelNotFoundError, match="is not the published file"):
        resolve("toy-x4", offline=True)


def test_half_a_pair_is_not_found(
    list_one: Callable[..., Model], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    list_one(packaged=a_package(tmp_path / "site", monkeypatch))
    (tmp_path / "site/toy_data_package/models/TOY.param").unlink()
    with pytest.raises(ModelNotFoundError, match="pip install toy-data"):
        resolve("toy-x4")


def test_a_model_that_only_a_package_holds_names_the_package(list_one: Callable[..., Model]) -> None:
    list_one(packaged=PackagedFile("no_such_package", "x.bin", SUM, 'pip install "tessera-sr[toy]"'))
    with pytest.raises(ModelNotFoundError, match=r'pip install "tessera-sr\[toy\]"'):
        resolve("toy-x4")


def test_a_download_lands_in_the_folder_and_is_found_there_again(
    list_one: Callable[..., Model], server: tuple[str, list[str]], tmp_path: Path
) -> None:
    base, asked = server
    list_one(remote=a_remote(f"{base}/missing", f"{base}/Toy_x4.pth"))
    told: list[int] = []
    path = resolve("toy-x4", on_progress=lambda here, total: told.append(here))
    assert path == tmp_path / "models" / "Toy_x4.pth"
    assert path.read_bytes() == BODY
    assert told[-1] == len(BODY)
    assert resolve("toy-x4", offline=True) == path
    assert asked == ["/missing", "/Toy_x4.pth"]


def test_the_mirror_is_asked_first_by_file_name(
    list_one: Callable[..., Model], server: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    base, asked = server
    list_one(remote=a_remote(f"{base}/release/Toy_x4.pth"))
    monkeypatch.setenv("TESSERA_MIRROR", f"{base}/mirror/")
    resolve("toy-x4")
    assert asked == ["/mirror/Toy_x4.pth"]
    resolve("toy-x4", folder=tmp_path / "second", mirror=f"{base}/other")
    assert asked[1:] == ["/other/Toy_x4.pth"]


def test_a_mirror_without_the_file_is_passed_over(
    list_one: Callable[..., Model], server: tuple[str, list[str]]
) -> None:
    base, asked = server
    list_one(remote=a_remote(f"{base}/release/Toy_x4.pth"))
    resolve("toy-x4", mirror=f"{base}/missing")
    assert asked == ["/missing/Toy_x4.pth", "/release/Toy_x4.pth"]


def test_offline_names_the_file_its_address_and_the_folder(
    list_one: Callable[..., Model], monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    list_one(remote=a_remote("https://models.invalid/release/Toy_x4.pth"))
    with pytest.raises(ModelNotFoundError) as caught:
        resolve("toy-x4", offline=True)
    for part in ("`offline`", "Toy_x4.pth", "18,000 bytes", "https://models.invalid/release/Toy_x4.pth", str(folder)):
        assert part in str(caught.value)
    monkeypatch.setenv("TESSERA_OFFLINE", "1")
    with pytest.raises(ModelNotFoundError, match="TESSERA_OFFLINE forbids"):
        resolve("toy-x4")


def test_a_file_without_an_address_is_asked_for_by_hand(list_one: Callable[..., Model], folder: Path) -> None:
    list_one(remote=a_remote())
    with pytest.raises(ModelNotFoundError, match=r"download Toy_x4.pth .* from https://example.org/by-hand by hand"):
        resolve("toy-x4")
    (folder / "Toy_x4.pth").write_bytes(BODY)
    assert resolve("toy-x4") == folder / "Toy_x4.pth"


def test_a_damaged_file_in_the_folder_is_refused_and_kept(list_one: Callable[..., Model], folder: Path) -> None:
    list_one(remote=a_remote("https://models.invalid/x"))
    (folder / "Toy_x4.pth").write_bytes(BODY[:-1])
    with pytest.raises(DownloadError, match=f"published: SHA-256 expected {SUM}.*downloaded again"):
        resolve("toy-x4")
    assert (folder / "Toy_x4.pth").exists()


def test_either_of_two_published_sums_is_accepted(list_one: Callable[..., Model], folder: Path) -> None:
    list_one(remote=a_remote(sums=frozenset({"0" * 64, SUM})))
    (folder / "Toy_x4.pth").write_bytes(BODY)
    assert resolve("toy-x4").read_bytes() == BODY


TOY = SRVGGNetCompactConfig(features=4, convolutions=1, scale=4)


@pytest.fixture
def toy_bytes(tmp_path: Path) -> bytes:
    torch.save(TOY.build().state_dict(), tmp_path / "toy.pth")
    return (tmp_path / "toy.pth").read_bytes()


def unpublished(folder: Path, base: str) -> RemoteFile:
    return a_remote(f"{base}/Toy_x4.pth", sums=frozenset(), size=None)


def test_a_file_without_a_published_checksum_is_pinned_when_it_was_read_as_the_model(
    list_one: Callable[..., Model], folder: Path, toy_bytes: bytes
) -> None:
    list_one(remote=unpublished(folder, "https://models.invalid"), network="srvggnetcompact")
    path = folder / "Toy_x4.pth"
    path.write_bytes(toy_bytes)
    memory, digest = folder / "Toy_x4.pth.sha256", hashlib.sha256(toy_bytes).hexdigest()
    assert resolve("toy-x4") == path
    assert not memory.exists(), "to find a file is not to read it"
    loaded = load_model("toy-x4")
    assert memory.read_text() == f"{digest}  Toy_x4.pth\n"
    assert any(digest in note for note in loaded.notes)
    assert not any(digest in note for note in load_model("toy-x4").notes)

    path.write_bytes(toy_bytes + b"!")
    with pytest.raises(DownloadError, match=r"pinned.*or Toy_x4.pth.sha256, if you replaced it on purpose"):
        load_model("toy-x4")


@pytest.mark.parametrize("page", [b"<!DOCTYPE html><title>Sign in</title>", b"", b"PK\x03\x04" + bytes(100)])
def test_the_page_of_a_portal_is_never_pinned_and_the_next_run_downloads_again(
    list_one: Callable[..., Model],
    server: tuple[str, list[str]],
    folder: Path,
    toy_bytes: bytes,
    page: bytes,
    bodies: dict[str, bytes],
) -> None:
    base, asked = server
    list_one(remote=unpublished(folder, base), network="srvggnetcompact")
    bodies["/Toy_x4.pth"] = page
    with pytest.raises(DownloadError, match="is not toy-x4"):
        load_model("toy-x4")
    assert [path.name for path in folder.iterdir() if not path.name.startswith(".")] == []
    bodies["/Toy_x4.pth"] = toy_bytes
    assert load_model("toy-x4").config == TOY
    assert len(asked) == 2


def test_another_network_is_not_pinned_and_a_file_of_the_user_is_not_deleted(
    list_one: Callable[..., Model], folder: Path
) -> None:
    list_one(remote=unpublished(folder, "https://models.invalid"), network="srvggnetcompact")
    path = folder / "Toy_x4.pth"
    torch.save(TOY.model_copy(update={"scale": 2}).build().state_dict(), path)
    with pytest.raises(DownloadError, match=r"expected srvggnetcompact x4, found srvggnetcompact x2.*"):
        load_model("toy-x4")
    assert [each.name for each in folder.iterdir()] == ["Toy_x4.pth"]


def test_a_checksum_given_by_hand_is_required_and_pinned(
    list_one: Callable[..., Model],
    server: tuple[str, list[str]],
    folder: Path,
    bodies: dict[str, bytes],
    toy_bytes: bytes,
) -> None:
    base, _ = server
    list_one(remote=unpublished(folder, base), network="srvggnetcompact")
    digest = hashlib.sha256(toy_bytes).hexdigest()
    bodies["/Toy_x4.pth"] = b"<html>"
    with pytest.raises(DownloadError, match=f"expected {digest}"):
        pull("toy-x4", sha256=digest)
    bodies["/Toy_x4.pth"] = toy_bytes
    assert pull("toy-x4", sha256=digest.upper()) == (folder / "Toy_x4.pth", digest)
    assert (folder / "Toy_x4.pth.sha256").read_text().startswith(digest)
    with pytest.raises(UsageError, match="64 hexadecimal digits"):
        pull("toy-x4", sha256="abc")
    list_one(remote=a_remote(f"{base}/Toy_x4.pth"))
    with pytest.raises(UsageError, match="not the published SHA-256"):
        pull("toy-x4", sha256=digest)


def test_a_pinned_checksum_also_guards_the_next_download(
    list_one: Callable[..., Model], server: tuple[str, list[str]], folder: Path
) -> None:
    base, _ = server
    list_one(remote=a_remote(f"{base}/Toy_x4.pth", sums=frozenset(), size=None))
    (folder / "Toy_x4.pth.sha256").write_text("0" * 64)
    with pytest.raises(DownloadError, match="another file than was published"):
        resolve("toy-x4")
    (folder / "Toy_x4.pth.sha256").write_text("scribble")
    with pytest.raises(DownloadError, match="expected the SHA-256"):
        resolve("toy-x4")


@pytest.mark.parametrize("model", [model for model in MODELS if model.packaged], ids=lambda model: model.name)
def test_the_data_packages_hold_what_the_list_says(model: Model) -> None:
    assert model.packaged is not None
    if importlib.util.find_spec(model.packaged.package) is None:
        pytest.skip(f"{model.packaged.package} is not installed")
    path = resolve(model.name, offline=True)
    assert path == zoo.locate(model)
    assert path.suffix != ".bin" or path.with_suffix(".param").is_file()
    assert model.packaged.package == "tessera" or model.packaged.package not in sys.modules


def test_weights_of_our_own_are_small_listed_and_say_where_they_come_from() -> None:
    folder = Path(published.__file__).parents[1] / "zoo" / "weights"
    files = sorted(folder.iterdir())
    listed = {model.packaged.path: model for model in MODELS if model.packaged and model.packaged.package == "tessera"}
    assert {f"zoo/weights/{file.name}" for file in files} == set(listed)
    assert sum(file.stat().st_size for file in files) <= 8_000_000
    for file in files:
        model, report = listed[f"zoo/weights/{file.name}"], inspect_weights(file)
        assert report.dtypes == ("float16",)
        assert (report.network, report.scale) == (model.network, model.scale)
        assert report.parameters is not None
        assert report.parameters <= 1_500_000
        assert report.license == report.metadata["tessera.licence"] == model.license == "Apache-2.0"
        assert {"tessera.recipe", "tessera.step", "tessera.seed", "tessera.training_pictures"} <= set(report.metadata)


@pytest.mark.parametrize("name", ["tessera-x4", "tessera-x4-psnr"])
def test_weights_of_our_own_need_no_network_and_take_a_tenth_of_the_work(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TESSERA_MODELS", str(tmp_path / "empty"))
    ours, default = (load_model(each, offline=True).config for each in (name, "realesrgan-x4plus"))
    assert 10 * ours.multiply_adds(128, 128) <= default.multiply_adds(128, 128)


def test_a_shipped_file_that_was_changed_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, list_one: Callable[..., Model]
) -> None:
    package = a_package(tmp_path / "site", monkeypatch)
    (tmp_path / "site" / "toy_data_package" / "models" / "own.safetensors").write_bytes(BODY + b"!")
    list_one(packaged=replace(package, path="models/own.safetensors"))
    with pytest.raises(ModelNotFoundError, match="is not the published file"):
        resolve("toy-x4", offline=True)


# ---------------------------------------------------------------------------------------------------------------- mixes


@pytest.mark.parametrize(
    ("spec", "mix"),
    [
        ("A", [("A", 1.0)]),
        ("A.safetensors@0.2+B.safetensors@0.8", [("A.safetensors", 0.2), ("B.safetensors", 0.8)]),
        ("A@0.5+B@0.25+C@0.25", [("A", 0.5), ("B", 0.25), ("C", 0.25)]),
        ("dir+1/A.pth@0.2+B@0.8", [("dir+1/A.pth", 0.2), ("B", 0.8)]),
        ("a@home.pth@0.2+B@0.8", [("a@home.pth", 0.2), ("B", 0.8)]),
        ("A@1", [("A", 1.0)]),
        ("a.pth@50|b.pth@50", [("a.pth", 0.5), ("b.pth", 0.5)]),
        ("a:25&b:75", [("a", 0.25), ("b", 0.75)]),
        (r"C:\m\a.pth:25&C:\m\b.pth:75", [(r"C:\m\a.pth", 0.25), (r"C:\m\b.pth", 0.75)]),
        ("a@-20|b@120", [("a", -0.2), ("b", 1.2)]),
    ],
)
def test_mixes_are_read_in_all_their_spellings(spec: str, mix: list[tuple[str, float]]) -> None:
    found = parse_blend(spec)
    assert [name for name, _ in found] == [name for name, _ in mix]
    assert [share for _, share in found] == pytest.approx([share for _, share in mix])


@pytest.mark.parametrize("name", ["a+b@0.5.pth", "x|y.pth", "4x@1+2.pth", "a@0.5+b@0.5"])
def test_a_path_that_exists_is_not_taken_apart(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes(b"")
    assert parse_blend(name) == [(name, 1.0)]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("A@0.2+B@0.7", r"sum to 0\.9, expected 1"),
        ("A@50+B@50", "sum to 100, expected 1"),
        ("a@50|b@40", "sum to 90, expected 100"),
        ("A@0.5", "sum to 0.5"),
        ("A+B", "needs a name and a share"),
        ("A@0.2+B", "needs a name and a share"),
        ("A@0.2+B@0.8+", "needs a name and a share"),
        ("a@50|b", "needs a name and a share"),
        ("A@much+B@0.5", "is not a number"),
        ("A@nan+B@0.5", "is not a number"),
        ("A@inf+B@0.5", "is not a number"),
        ("  ", "found an empty text"),
    ],
)
def test_a_mix_that_does_not_add_up_is_told_in_a_sentence(spec: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_blend(spec)


@given(
    names=st.lists(
        st.text("abcXYZ019_-./ ", min_size=1).filter(lambda name: name.strip() == name), min_size=1, max_size=4
    ),
    raw=st.lists(st.integers(0, 1000), min_size=4, max_size=4),
)
def test_every_mix_that_is_written_is_read_back(names: list[str], raw: list[int]) -> None:
    total = sum(raw[: len(names)])
    shares = [share / total for share in raw[: len(names)]] if total else [1.0] + [0.0] * (len(names) - 1)
    spec = "+".join(f"{name}@{share!r}" for name, share in zip(names, shares, strict=True) if "e" not in repr(share))
    if spec.count("@") < len(names):
        return
    found = parse_blend(spec, exists=lambda _: False)
    assert found == list(zip(names, shares, strict=True))


# -------------------------------------------------------------------------------------------------------------- loading


def test_a_published_model_is_loaded_under_its_name() -> None:
    if zoo.locate(find_model("realesr-animevideov3")) is None:
        pytest.skip("the data package is not installed")
    loaded = zoo.load_model("REALESRGAN_ANIMAVIDEOV3_UP4X", offline=True)
    assert (loaded.name, loaded.config.network, loaded.config.scale) == ("realesr-animevideov3", "srvggnetcompact", 4)
    with pytest.raises(WeightsError, match="x2"):
        zoo.load_model("realesr-animevideov3", offline=True, scale=2)


def test_a_mix_of_files_is_the_mean_of_their_weights(tmp_path: Path) -> None:
    import torch

    from tessera.generators import SRVGGNetCompactConfig
    from tessera.weights.files import save_weights

    config = SRVGGNetCompactConfig(features=4, convolutions=1, scale=2)
    for name, value in (("a", 1.0), ("b", 3.0)):
        state = {key: torch.full_like(tensor, value) for key, tensor in config.build().state_dict().items()}
        save_weights(tmp_path / f"{name}.safetensors", config, state)
    mixed = zoo.load_model(f"{tmp_path}/a.safetensors@0.25+{tmp_path}/b.safetensors@0.75")
    assert all(torch.equal(tensor, torch.full_like(tensor, 2.5)) for tensor in mixed.network.state_dict().values())
    assert zoo.load_model(tmp_path / "a.safetensors").name == "a"


def test_the_addresses_are_those_of_the_releases() -> None:
    addresses = {model.name: model.remote.urls for model in MODELS if model.remote}
    host = "https://github.com/xinntao/Real-ESRGAN/releases/download"
    assert addresses["realesrgan-x4plus"] == (f"{host}/v0.1.0/RealESRGAN_x4plus.pth",)
    assert addresses["realesr-general-wdn-x4v3"] == (f"{host}/v0.2.5.0/realesr-general-wdn-x4v3.pth",)
    for spelling in ("aesrgan", "aergan"):
        address = f"https://github.com/{spelling}/A-ESRGAN/releases/download/v1.0.0/A_ESRGAN_Multi.pth"
        assert address in addresses["a-esrgan-multi"]
    for model in MODELS:
        for url in model.remote.urls if model.remote else ():
            assert urllib.parse.quote(url, safe=":/") == url
    assert json.dumps(addresses)


@pytest.mark.assets
def test_the_official_file_of_the_asset_folder_has_the_listed_sum() -> None:
    assets = os.environ.get("TESSERA_ASSETS")
    if not assets:
        pytest.skip("TESSERA_ASSETS is not set")
    path = resolve(Path(assets) / "weights/realesr-animevideov3.pth", offline=True)
    remote = find_model("realesr-animevideov3").remote
    assert remote is not None
    assert compute_sha256(path) in remote.sha256
    assert path.stat().st_size == remote.bytes
