"""Standard streams that are closed or full, folders and homes that are gone: one sentence, and the work is done."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pictures import ramp, save
from tessera.generators import SRVGGNetCompactConfig
from tessera.weights.files import save_weights

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the shell of POSIX")

START = {
    "as usual": "",
    "no home": "import os, pwd; os.environ.pop('HOME', None); pwd.getpwuid = lambda number: {}[number]; ",
    "no temporary folder": "import tempfile; tempfile._candidate_tempdir_list = lambda: ['/nonexistent']; ",
}


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = SRVGGNetCompactConfig(features=4, convolutions=1, scale=2)
    torch.manual_seed(0)
    save_weights(tmp_path / "tiny.safetensors", config, config.build().state_dict())
    save(tmp_path / "a.png", ramp(12, 16, 3))


def run(arguments: str, redirections: str = "", start: str = "", before: str = "") -> tuple[int, str]:
    """Run a command in a shell -> exit code and what arrives at standard error, or in the file `e`."""
    code = f"{start}import sys; from tessera.cli import main; sys.exit(main())"
    line = f"{before} {shlex.quote(sys.executable)} -c {shlex.quote(code)} {arguments} {redirections}"
    result = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=False)
    found = Path("e").read_text() if Path("e").exists() else result.stderr
    assert "Traceback" not in found
    assert "this is a bug" not in found
    return result.returncode, found


UPSCALE = "upscale a.png -n tiny.safetensors --engine pytorch -o out"


@pytest.mark.parametrize("closed", ["0<&-", ">&-", "2>&-", ">&- 2>&-", "0<&- >&- 2>&-"])
def test_a_closed_stream_changes_nothing(closed: str) -> None:
    code, _ = run(UPSCALE, closed)
    assert code == 0
    assert Path("out/a_out.png").stat().st_size
    assert Path("out/a_out.png").read_bytes()[1:4] == b"PNG"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize(
    ("words", "redirections", "code"),
    [
        (UPSCALE, ">/dev/full 2>e", 1),
        (UPSCALE + " --json-progress", ">/dev/full 2>e", 1),
        (UPSCALE + " -v", "2>/dev/full", 0),
        (UPSCALE + " --dry-run", ">/dev/full 2>e", 1),
        ("models list", ">/dev/full 2>e", 1),
        ("--version", ">/dev/full 2>e", 1),
    ],
)
def test_a_full_stream_is_one_sentence_and_the_work_is_done(words: str, redirections: str, code: int) -> None:
    got, err = run(words, redirections)
    assert got == code
    assert err.count("No space left") == code
    if words.startswith(UPSCALE) and "--dry-run" not in words:
        assert Path("out/a_out.png").exists()


def test_a_working_folder_that_is_gone_is_one_sentence(tmp_path: Path) -> None:
    words = f"upscale {tmp_path}/a.png -n {tmp_path}/tiny.safetensors --engine pytorch"
    before = "mkdir gone; cd gone; rmdir ../gone; "
    code, err = run(f"{words} -o out", before=before)
    assert code == 1
    assert err == "tessera: the working folder no longer exists; change to another folder and run the command again.\n"


@pytest.mark.parametrize("start", START)
@pytest.mark.parametrize("words", [UPSCALE, UPSCALE + " --dry-run", "models list"])
def test_a_machine_without_these_folders_still_works(words: str, start: str) -> None:
    assert run(words, start=START[start])[0] == 0


def test_doctor_names_a_missing_home() -> None:
    code = f"{START['no home']}import sys; from tessera.cli import main; sys.exit(main())"
    environment = {name: value for name, value in os.environ.items() if name not in ("TESSERA_CACHE", "XDG_CACHE_HOME")}
    found = subprocess.run(
        [sys.executable, "-c", code, "doctor", "--json"], capture_output=True, text=True, check=False, env=environment
    )
    assert any(warning.startswith("No home folder") for warning in json.loads(found.stdout)["warnings"])


@pytest.mark.skipif(sys.platform != "linux", reason="limits the address space")
@pytest.mark.parametrize(
    ("arguments", "mebibytes"),
    [
        (UPSCALE, 300),
        (UPSCALE, 700),
        (UPSCALE.replace("pytorch", "openvino"), 900),
        ("export tiny.safetensors -o a.pt --format torchscript", 500),
    ],
)
def test_too_little_address_space_is_a_sentence(arguments: str, mebibytes: int) -> None:
    """An import of PyTorch takes 590 MB of address space, one of OpenVINO 290 MB, and less ends in a crash."""
    code, errors = run(arguments, before=f"ulimit -v {mebibytes * 1024}; ")
    assert code == 1, errors
    advice = rf"[Rr]aise the limit of this process's address space, which is {mebibytes} MiB \(`ulimit -v`\)\."
    assert re.search(advice, errors), errors
