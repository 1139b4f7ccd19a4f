"""The command itself: what it costs to start, what it says to mistakes, what its modules do when they are imported."""

from __future__ import annotations

import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import tessera
from tessera.cli import main, make_printable

MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(tessera.__path__, "tessera.")
    if not module.name.endswith(".libtessera_kernels")  # a library that lies there, and no module
)
HEAVY = {
    "torch",
    "numpy",
    "openvino",
    "pyvips",
    "safetensors",
    "tessera.upscaling.upscaler",
}  # typer itself imports pydantic


def python(code: str, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, cwd=cwd, check=False
    )


COMMANDS = ("upscale", "evaluate", "niqe", "compare", "models")


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], *([name, "--help"] for name in COMMANDS), []])
def test_help_and_version_import_nothing_heavy(arguments: list[str]) -> None:
    code = "import sys; from tessera.cli import main; main(sys.argv[1:]); print('LOADED', *sys.modules)"
    result = python(code, *arguments)
    loaded = set(result.stdout.split("LOADED")[1].split())
    assert not loaded & HEAVY
    assert result.stdout.lstrip().startswith("Usage" if "--help" in arguments else "tessera" if arguments else "LOADED")


def test_the_installed_command_answers() -> None:
    command = Path(sys.executable).with_name("tessera")
    if not command.exists():
        pytest.skip("the package is not installed beside this Python")
    result = subprocess.run([command, "--version"], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (0, f"tessera {tessera.__version__}\n")


def test_no_arguments_show_the_help_as_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "Commands:" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["upscael"], "unknown command; did you mean `tessera upscale`?"),
        (["frobnicate"], "unknown command; the commands are upscale, evaluate, niqe, "),
        ([__file__], f"did you mean `tessera upscale {__file__}`?"),
        (["--nonsense"], "unknown option --nonsense"),
        (["upscale", "--tiel", "4", "a.png"], "did you mean --tile?"),
        (["upscale", "--Overwrite", "a.png"], "did you mean --overwrite?"),
        (["upscale", "-q", "a.png"], "unknown option -q; `tessera upscale --help` lists all options."),
        (["upscale", "-t", "big", "a.png"], "'--tile'"),
        (["upscale", "a.png", "-t"], "requires an argument"),
        (["upscale"], "Nothing to upscale"),
        (["models", "inspekt"], "inspekt"),
        (["models", "list", "--jsn"], "did you mean --json?"),
    ],
)
def test_wrong_usage_is_one_sentence_and_exit_code_2(
    capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("tessera: ")
    assert words in captured.err
    assert "Usage:" not in captured.err


def test_what_is_shown_holds_no_control_characters() -> None:
    assert make_printable("a\nb\rc\td\x1b[2J\x00\x9b\udcff") == r"a\nb\rc\td\x1b[2J\x00\x9b\udcff"
    assert make_printable("Grüße 世界 🎉 'x'") == "Grüße 世界 🎉 'x'"


def test_names_that_the_terminals_encoding_cannot_say_are_escaped(tmp_path: Path) -> None:
    code = "import sys; from tessera.cli import main; sys.exit(main(['upscale', 'no-\\u4e16.png', '-o', '\\u4e16']))"
    result = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        check=False,
    )
    assert result.returncode == 1
    assert result.stdout.startswith("0 done, 1 failed")
    assert result.stderr == "tessera: no-\\u4e16.png: no such file or folder.\n"


GUARD = """
import builtins, logging, os, signal, sys, warnings
import numpy, openvino, pydantic, pyvips, rich.progress, safetensors.torch, torch, typer

found = []

def caller():
    frame = sys._getframe(2)
    while frame is not None and frame.f_code.co_filename.startswith(("<frozen os", "<frozen _coll", os.__file__)):
        frame = frame.f_back
    return frame.f_globals.get("__name__", "") if frame is not None else ""

class Guarded(type(os.environ)):
    def __getitem__(self, name):
        if caller().startswith("tessera"):
            found.append(f"reads {name} from the environment")
        return super().__getitem__(name)

def audit(event, arguments):
    if event == "open" and isinstance(arguments[0], str):
        writes = arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if writes and ".pyc" not in arguments[0] and arguments[0] != os.devnull:
            found.append(f"writes {arguments[0]}")
    elif event in ("os.mkdir", "os.rename", "os.remove", "os.putenv", "socket.connect", "subprocess.Popen"):
        if "__pycache__" not in str(arguments) and ".pyc" not in str(arguments):
            found.append(f"{event} {arguments}")

def state():
    return {
        "logging": (list(logging.root.handlers), logging.root.level),
        "threads": torch.get_num_threads(),
        "signals": [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)],
        "warnings": list(warnings.filters),
        "arguments": list(sys.argv),
        "torch's random numbers": torch.random.initial_seed(),
        "CUDA": torch.cuda.is_initialized(),
    }

os.environ.__class__ = Guarded
sys.addaudithook(audit)
failed = 0
for name in sys.argv[1:]:
    child = os.fork()
    if child == 0:
        before = state()
        __import__(name)
        found += [f"changes {key}" for key, value in state().items() if value != before[key]]
        for each in found:
            print(f"{name}: {each}", flush=True)
        os._exit(bool(found))
    failed += os.waitpid(child, 0)[1] != 0
sys.exit(failed != 0)
"""


@pytest.mark.slow  # more than a minute of imports
def test_every_module_imports_alone_and_without_side_effects(tmp_path: Path) -> None:
    """Each in a process of its own: no file, folder or variable is touched, nothing global changed, no CUDA."""
    assert "tessera.upscaling.batch" in MODULES
    result = python(GUARD, *MODULES, cwd=tmp_path)
    assert (result.returncode, result.stdout) == (0, ""), result.stdout + result.stderr
    assert not list(tmp_path.iterdir())


def test_the_guard_of_that_test_sees_side_effects(tmp_path: Path) -> None:
    code = "import os, logging\nopen('x', 'w').close()\nos.environ.get('HOME')\nlogging.basicConfig()\n"
    (tmp_path / "tessera_bad.py").write_text(code)
    result = python(GUARD, "tessera_bad", cwd=tmp_path)
    assert result.returncode == 1
    for words in ("writes x", "reads HOME from the environment", "changes logging"):
        assert f"tessera_bad: {words}" in result.stdout
