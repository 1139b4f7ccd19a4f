"""Libraries with a public hole are refused by their version, before any of their code runs."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tessera.libraries import import_library


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
        monkeypatch.delitem(sys.modules, "onnxruntime")
