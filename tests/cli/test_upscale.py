"""`tessera upscale` as it is called: options, exit codes, what is printed, signals."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pictures import ramp, save
from tessera.cli import main, progress, stopping, upscale_run
from tessera.cli import upscale as command
from tessera.cli.choosing import model_name
from tessera.cli.heartbeat import Heartbeat, choose_interval
from tessera.cli.migration import INSTEAD
from tessera.errors import UsageError
from tessera.generators import SRVGGNetCompactConfig
from tessera.images.picture import read_picture
from tessera.storage.atomic import PART_MARK
from tessera.tiling.settings import Settings
from tessera.upscaling.journal import JOURNAL_NAME
from tessera.upscaling.upscaler import Upscaler
from tessera.weights.files import save_weights

COMMAND = [sys.executable, "-c", "import sys; from tessera.cli import main; sys.exit(main())", "upscale"]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network of a few hundred numbers, times two."""
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    config = SRVGGNetCompactConfig(features=4, convolutions=1, scale=2)
    torch.manual_seed(0)
    save_weights(path, config, config.build().state_dict())
    return path


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def picture(name: str, height: int = 12, width: int = 16, seed: int = 0) -> Path:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    return save(path, ramp(height, width, 3, seed=seed))


@pytest.fixture
def upscale(tiny: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run the command in this process -> (exit code, standard output, standard error)."""

    def run(*words: object) -> tuple[int, str, str]:
        texts = [str(word) for word in words]
        model = [] if "--model_path" in texts or "-n" in texts else ["-n", str(tiny)]
        engine = [] if "--engine" in texts else ["--engine", "pytorch"]
        code = main(["upscale", *texts, *model, *engine])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


Run = Callable[..., tuple[int, str, str]]


def parts() -> list[Path]:
    return [path for path in Path().rglob(".*") if PART_MARK in path.name]


# ---------------------------------------------------------------------------------------------- exit codes, one summary


def test_all_done_is_0_and_one_line(upscale: Run) -> None:
    picture("a.png")
    code, out, err = upscale("a.png")
    assert (code, err) == (0, "")
    assert out.count("\n") == 1
    assert out.startswith("1 done in ")
    assert out.endswith("with tiny; results in results\n")
    assert read_picture(Path("results/a_out.png")).pixels.shape == (24, 32, 3)
    assert upscale("a.png")[1].startswith("0 done, 1 already done")


def test_some_failed_is_1_and_the_rest_is_done(upscale: Run) -> None:
    picture("a.png")
    Path("bad.png").write_bytes(b"bad")
    code, out, err = upscale("missing.png", "bad.png", "a.png", "none*.png")
    assert code == 1
    assert out.startswith("1 done, 3 failed")
    assert err.count("\n") == 3
    for line, name in zip(err.splitlines(), ("missing.png", "bad.png", "none*.png"), strict=True):
        assert line.startswith("tessera: ")
        assert name in line


def test_when_nothing_can_be_tried_no_network_is_loaded(monkeypatch: pytest.MonkeyPatch, upscale: Run) -> None:
    monkeypatch.setattr(upscale_run, "_open", None)
    code, out, err = upscale("missing.png", "--report", "r.json")
    assert code == 1
    assert out.startswith("0 done, 1 failed")
    assert err == "tessera: missing.png: no such file or folder.\n"
    assert json.loads(Path("r.json").read_text())["failed"] == 1


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["empty"], "No pictures in empty."),
        (["a.png", "-s", "big"], "--outscale: expected a factor such as 2 or 1.5, 1920x or x1080, found 'big'"),
        (["a.png", "-s", "4x"], "for 4 times as large write 4"),
        (["a.png", "-t", "8"], "--tile: expected at least 32 input pixels, or 0 (disables tiling), found 8"),
        (["a.png", "--ext", "psd"], "--ext: expected"),
        (
            ["a.png", "--alpha", "bicubic"],
            "expected auto, model or lanczos, found bicubic",
        ),
        (["a.png", "--alpha_upsampler", "x"], "--alpha-upsampler: expected realesrgan or bicubic, found x"),
        (
            ["a.png", "--precision", "half"],
            "--precision: expected exact, auto or fast, found half",
        ),
        (["a.png", "--precision", "fast", "--fp32"], "contradict"),
        (["a.png", "-g", "0,,1"], "expected a device, or several separated by commas"),
        (["a.png", "-g", "0,1", "--dry-run"], "name one of the devices"),
        (["a.png", "-dn", "2"], "-dn 2.0: expected 0"),
        (["a.png", "-dn", "0.5"], "-dn works with -n realesr-general-x4v3 only"),
        (["a.png", "--max-pixels", "-1"], "--max-pixels -1"),
        (["a.png", "--model_path", "no.pth"], "--model_path no.pth: no such file"),
        (["a.png", "-o", "a.png"], "inputs are never replaced"),
        (["a.png", "-o", "x.bmp"], "can be read, not written"),
        (["a.png", "--report", "empty"], "--report empty: is a folder"),
        (["a.png", "--report", "a.png"], "is one of the inputs"),
        (["a.png", "--report", "a.png/r.json"], "--report a.png/r.json: cannot be written there"),
        (["a.png", "--report", "r.json", "--dry-run"], "--report with --dry-run"),
        (["weights.pth", "-i", "a.png"], "is a weights file, not a picture; write -n weights.pth"),
        (["", "a.png"], "empty text"),
        (["a.png", "-o", ""], "-o: the value is empty"),
        (["a.png", "--model_path", ""], "--model_path: the value is empty"),
        (["a.png", "-n", "weights.pth", "--model_path", "weights.pth"], "name two models; leave one out"),
        (["a.png", "-n", "a.png"], "-n a.png: is a picture, not weights; write `tessera upscale a.png`"),
        (["a.png", "-o", "out.xyz"], "--output: out.xyz: .xyz is not the extension of a format that can be written"),
        (["a.png", "-o", "out.xyz"], "expected one of jpg, png, webp, tif, avif, gif, "),
        (["a.png", "b.jpg", "-o", "o.png"], "o.png is the name of one picture, and there are 2 inputs"),
        (["empty", "-o", "o.png"], "o.png is the name of one picture, and the input is a folder"),
        (["a.png", "--report", "results/a_out.png"], "is the name of an output"),
        (["a.png", "--report", "./results/../results/A_OUT.png"], "is the name of an output"),
        (["a.png", "--report", "results/.tessera-journal.jsonl"], "is the name of an output"),
        (["a.png", "--report", "other.png"], "--report other.png: exists and is not a report of Tessera"),
        (["a.png", "--report", "link"], "--report link: exists and is not a report of Tessera"),
    ],
)
def test_wrong_usage_is_2_and_one_sentence_before_any_work(upscale: Run, words: list[str], sentence: str) -> None:
    picture("a.png")
    picture("other.png")
    Path("link").symlink_to("weights.pth")
    Path("empty").mkdir()
    Path("weights.pth").touch()
    before = sorted(Path().rglob("*"))
    code, out, err = upscale(*words)
    assert code == 2
    assert out == ""
    assert err.count("\n") == 1
    assert sentence in err
    assert sorted(Path().rglob("*")) == before


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["-g", "cuda:0"], 2, "This PyTorch cannot use a CUDA device; set --device to cpu"),
        (["-g", "tpu9"], 2, "'tpu9' is not a device"),
        (["-g", "0", "--engine", "openvino"], 2, "The OpenVINO engine runs on the CPU"),
        (["-n", "realesrgan-x4pluss"], 2, "Did you mean realesrgan-x4plus"),
        (["-n", "missing.pth"], 2, "missing.pth: no such file here or in "),
        (["-n", "bsrgan-x4", "--offline"], 1, "bsrgan-x4 is not on this machine, and --offline forbids downloads"),
    ],
)
def test_what_is_not_there_is_wrong_usage_and_missing_weights_are_a_failure(
    tiny: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    code: int,
    sentence: str,
) -> None:
    if "-g" in words and torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    monkeypatch.setenv("TESSERA_MODELS", str(Path("models").absolute()))
    picture("a.png")
    assert main(["upscale", "a.png", *words, *([] if "-n" in words else ["-n", str(tiny)])]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert sentence in captured.err
    assert not Path("results").exists()


def test_the_help_tells_these_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    main(["upscale", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert (
        "1 some failed or weights unavailable, 2 wrong usage (including an unknown model or an unavailable GPU)" in text
    )


@pytest.mark.parametrize(("scale", "code"), [("1e9", 1), ("1e300", 1), ("nan", 2), ("inf", 2), ("1e400", 2)])
def test_an_absurd_outscale_is_one_sentence(upscale: Run, scale: str, code: int) -> None:
    picture("a.png")
    found, out, err = upscale("a.png", "-s", scale)
    assert found == code
    assert err.count("\n") == 1
    assert "bug" not in err
    assert ("0 done, 1 failed" in out) == (code == 1)


@pytest.mark.parametrize("name", [name for names in INSTEAD for name in names])
def test_an_option_of_another_tool_is_refused_with_what_to_write_instead(upscale: Run, name: str) -> None:
    picture("a.png")
    for words in (["a.png", name], [name, "7", "a.png"], [f"{name}=7", "a.png"], ["-o", "out", name, "-i", "a.png"]):
        code, out, err = upscale(*words)
        assert (code, out) == (2, "")
        assert err.startswith(f"tessera: `tessera upscale` has no option {name}: ")
        assert err.count("\n") == 1
        assert err.endswith(".\n")


def test_what_the_table_of_other_tools_options_advises_does_exist() -> None:
    known = {name for parameter in command_options() for name in parameter.opts}
    for names, words in INSTEAD.items():
        assert not known & set(names)
        for word in words.replace(",", " ").replace(";", " ").replace(".", " ").split():
            if word.strip("()").startswith("-") and word.strip("()") != "--cpu":
                assert word.strip("()") in known, word


def command_options() -> list[Any]:
    import typer

    return [each for each in typer.main.get_command(command.app).params if each.param_type_name == "option"]


def test_a_value_that_looks_like_another_tools_option_is_a_value(upscale: Run) -> None:
    picture("-f.png")
    shutil.copy("-f.png", "-v")
    assert upscale("-i", "-v", "--suffix", "-f", "-o", "out")[0] == 0
    assert Path("out/-v_-f.png").is_file()
    assert upscale("-o", "out", "-i", "-f.png")[0] == 0


# --------------------------------------------------------------------------------- what Real-ESRGAN's users are used to


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], Settings()),
        (["-t", "0"], Settings(tile=0)),
        (["--tile", "64", "--tile_pad", "10"], Settings(tile=64, overlap=10)),
        (["--fp32"], Settings(precision="exact")),
        (["-g", "cuda:1"], Settings(device="cuda:1")),
        (["-g", "-1"], Settings(device="cpu")),
        (["--gpu-id", "-1"], Settings(device="cpu")),
        (["--alpha_upsampler", "realesrgan"], Settings(alpha="model")),
        (["--alpha_upsampler", "bicubic"], Settings(alpha="lanczos")),
        (["--alpha", "lanczos"], Settings(alpha="lanczos")),
        (["-x", "--seamless", "--no-flat-lock"], Settings(tta=True, seamless=True, flat_lock=False)),
    ],
)
def test_options_become_settings(
    upscale: Run, monkeypatch: pytest.MonkeyPatch, words: list[str], expected: Settings
) -> None:
    picture("a.png")
    seen: list[Settings] = []

    def opened(request: upscale_run.Request) -> Upscaler:
        seen.append(request.settings)
        raise UsageError("enough")

    monkeypatch.setattr(upscale_run, "_open", opened)
    upscale("a.png", *words)
    from dataclasses import replace

    assert [replace(each, engine="auto") for each in seen] == [expected]


def test_dn_mixes_the_two_general_models() -> None:
    mix = model_name
    assert mix("realesr-general-x4v3", None, 1) == "realesr-general-x4v3"
    assert mix("realesr-general-x4v3", None, 0.3) == "realesr-general-x4v3@0.3+realesr-general-wdn-x4v3@0.7"
    assert mix("realesr-general-x4v3", None, 0) == "realesr-general-x4v3@0+realesr-general-wdn-x4v3@1"
    assert mix("realesr-general-x4v3", None, 0.1).endswith("@0.9")


@pytest.mark.parametrize(("scale", "size"), [("4", (48, 64)), ("1.5", (18, 24)), ("40x", (30, 40)), ("x9", (9, 12))])
def test_outscale_sets_the_size_whatever_the_networks_own_scale(
    upscale: Run, scale: str, size: tuple[int, int]
) -> None:
    picture("a.png")
    assert upscale("a.png", "-s", scale)[0] == 0
    assert read_picture(Path("results/a_out.png")).pixels.shape[:2] == size


def test_names_go_where_the_options_say(upscale: Run) -> None:
    picture("in/a.png")
    picture("in/x/b.jpg")
    assert upscale("-i", "in", "-r", "--ext", "webp", "--suffix", "", "-o", "out")[0] == 0
    assert upscale("in/a.png", "-o", "new/name.tif")[0] == 0
    found = sorted(str(path) for path in Path().rglob("*") if path.is_file() and not path.name.startswith("."))
    assert found == ["in/a.png", "in/x/b.jpg", "new/name.tif", "out/a.webp", "out/x/b.webp"]


# ------------------------------------------------------------------------------------------- reports, progress, dry run


def test_the_report_is_written_with_every_outcome(upscale: Run) -> None:
    name = os.fsdecode(b"bad-\xff.png")
    Path(name).write_bytes(b"bad")
    picture("a.png")
    code, _, err = upscale("a.png", name, "--report", "deep/down/r.json")
    assert code == 1
    assert "\\udcff" in err
    report = json.loads(Path("deep/down/r.json").read_bytes())
    assert [entry["state"] for entry in report["files"]] == ["done", "failed"]
    assert os.fsencode(report["files"][1]["input"]) == b"bad-\xff.png"
    assert sorted(path.name for path in Path("deep/down").iterdir()) == ["r.json"]


def test_notes_of_a_report_name_options(upscale: Run) -> None:
    """Options by `tessera upscale --help`; the library's own name of the setting is `keep_color_noise`."""
    save(Path("gray.png"), np.repeat(ramp(8, 9, 1), 3, axis=2))
    assert upscale("gray.png", "--report", "r.json")[0] == 0
    (note,) = json.loads(Path("r.json").read_bytes())["files"][0]["notes"]
    assert "--keep-color-noise" in note
    assert "keep_color_noise" not in note


def test_what_is_not_a_picture_lists_the_formats(upscale: Run) -> None:
    Path("notes.txt").write_text("")
    Path("texts").mkdir()
    Path("texts/notes.txt").write_text("a note")
    for given in ("notes.txt", "texts/notes.txt", "texts"):
        code, _, err = upscale(given)
        assert code != 0
        assert "upported: JPEG, PNG, WebP, TIFF, AVIF, GIF" in err


def test_a_report_replaces_an_earlier_report(upscale: Run) -> None:
    picture("a.png")
    Path("empty.json").touch()
    for name in ("r.json", "empty.json"):
        for done in (1, 0):
            assert upscale("a.png", "-o", name[:-5], "--report", name)[0] == 0
            assert json.loads(Path(name).read_text())["done"] == done


@pytest.mark.parametrize("name", ["v1.5", "results.20261129", "out.xyz/", "o.png/"])
def test_a_folder_may_have_a_dot_in_its_name(upscale: Run, name: str) -> None:
    picture("a.png")
    assert upscale("a.png", "-o", name)[0] == 0
    assert Path(name, "a_out.png").is_file()


def test_results_are_where_there_are_any(upscale: Run) -> None:
    Path("bad.png").write_bytes(b"bad")
    code, out, _ = upscale("bad.png")
    assert code == 1
    assert "results in" not in out
    picture("a.png")
    assert upscale("a.png", "bad.png")[1].endswith("; results in results\n")


def test_in_a_pipe_a_line_says_what_is_left(upscale: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lines themselves, without the clock: at each event what the heartbeat would print then."""
    lines: list[str] = []
    for name in ("begin", "tile", "end"):
        original = getattr(progress.LineWatcher, name)

        def noting(self: Any, *values: Any, original: Any = original) -> None:
            lines.append(self.describe())
            original(self, *values)
            lines.append(self.describe())

        monkeypatch.setattr(progress.LineWatcher, name, noting)
    picture("a.png", 40, 80)
    picture("b.png", 40, 80)
    assert upscale("a.png", "b.png", "-t", "32")[0] == 0
    assert lines[0] == "preparing: reading pictures, choosing the engine"
    assert lines[1] == "file 1 of 2, a.png: at the first tile"
    assert lines[3].startswith("file 1 of 2, a.png: 1 of ")
    assert lines[3].endswith(" left")
    assert any(line.startswith("file 2 of 2, b.png: ") and line.endswith(" left") for line in lines)


def test_a_heartbeat_prints_until_it_is_stopped(capsys: pytest.CaptureFixture[str]) -> None:
    told = threading.Event()
    words = iter(["", "one", "two"])

    def describe() -> str:
        word = next(words, None)
        if word is None:
            told.set()
        return word or ""

    beat = Heartbeat(describe, seconds=0.001)
    beat.start()
    assert told.wait(30)
    beat.stop()
    assert capsys.readouterr().err == "tessera: one\ntessera: two\n"


def test_lines_are_rarer_in_a_log_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (tmp_path / "log").open("w") as log:
        monkeypatch.setattr(sys, "stderr", log)
        assert 10 < choose_interval() < 30
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as pipe:
        monkeypatch.setattr(sys, "stderr", pipe)
        assert choose_interval() < 10
    os.close(reading)


def test_a_report_to_a_device_is_written_to_it_and_does_not_replace_it(upscale: Run) -> None:
    picture("a.png")
    ours, theirs = pty.openpty()
    try:
        device = Path(os.ttyname(theirs))
        assert upscale("a.png", "--report", device)[0] == 0
        assert device.is_char_device()
        assert b'"tessera"' in os.read(ours, 100)
    finally:
        os.close(ours)
        os.close(theirs)


def test_json_progress_is_one_object_a_line_from_begin_to_summary(upscale: Run) -> None:
    picture("a.png", 40, 80)
    Path("bad.png").write_bytes(b"bad")
    code, out, err = upscale("a.png", "bad.png", "-t", "32", "--json-progress")
    assert code == 1
    assert err.count("\n") == 1
    events = [json.loads(line) for line in out.splitlines()]
    tiles = [event for event in events if event["event"] == "tile"]
    first, second = ([event["event"] for event in events[:-1] if event["file"] == number] for number in (1, 2))
    assert (first, second) == (["begin", *["tile"] * len(tiles), "end"], ["begin", "end"])
    assert events[-1]["event"] == "summary"
    assert len(tiles) > 1
    assert [tile["tiles"] for tile in tiles] == list(range(1, len(tiles) + 1))
    assert {tile["of"] for tile in tiles} == {len(tiles)}
    assert tiles[-1]["pixels"] == 40 * 80
    assert tiles[-1]["seconds_left"] == 0
    assert all(tile["pixels_per_second"] > 0 for tile in tiles)
    assert {event["files"] for event in events[:-1]} == {2}
    assert [event["state"] for event in events if event["event"] == "end"] == ["done", "failed"]
    assert (events[-1]["done"], events[-1]["failed"]) == (1, 1)


def test_a_dry_run_says_what_would_happen_and_writes_nothing(upscale: Run) -> None:
    picture("a.png", 20, 30)
    picture("b.png")
    Path("bad.png").write_bytes(b"bad")
    upscale("b.png")
    before = sorted(Path().rglob("*"))
    code, out, err = upscale("a.png", "b.png", "bad.png", "--dry-run")
    assert (code, err) == (1, "")
    lines = out.splitlines()
    assert lines[0].startswith("a.png -> results/a_out.png: 30x20 -> 60x40, 1 tiles of ")
    assert re.search(r" \d+ MiB of memory, up to [\d.]+ KiB on the disk", lines[0])
    assert lines[1] == "b.png: already done"
    assert lines[2].startswith("bad.png: would fail: bad.png: ")
    assert lines[3].startswith("1 to do, 1 already done: about ")
    assert sorted(Path().rglob("*")) == before
    code, out, _ = upscale("a.png", "b.png", "bad.png", "--dry-run", "--json-progress")
    events = [json.loads(line) for line in out.splitlines()]
    assert [event.get("state") for event in events] == ["pending", "skipped", "failed", None]
    assert (events[-1]["pending"], "done" in events[-1]) == (1, False)
    assert events[0]["output_size"] == [60, 40]
    assert sorted(Path().rglob("*")) == before


def test_equal_notes_are_said_once(upscale: Run) -> None:
    for name in "abc":
        save(Path(f"{name}.tif"), ramp(8, 8, 3, "uint16"))
    code, _, err = upscale("a.tif", "b.tif", "c.tif", "--ext", "jpg")
    assert code == 0
    [line] = [line for line in err.splitlines() if "16-bit" in line]
    assert line.startswith("a.tif: ")
    assert line.endswith("(and 2 more pictures)")


def test_a_bug_shows_its_traceback_when_asked(upscale: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise KeyError("oops")

    monkeypatch.setattr(Upscaler, "upscale_file", broken)
    picture("a.png")
    assert "Traceback" not in upscale("a.png")[2]
    assert "KeyError: 'oops'" in upscale("a.png", "--traceback")[2]


def read_terminal(words: list[str], tmp_path: Path) -> tuple[int, str]:
    """Run with standard error on a terminal -> (exit code, what the terminal got)."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "120", "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [*COMMAND, *words], stdout=subprocess.DEVNULL, stderr=theirs, env=environment, cwd=tmp_path
    )
    os.close(theirs)
    seen = b""
    try:
        while piece := os.read(ours, 65_536):
            seen += piece
    except OSError:  # the other end is closed
        pass
    os.close(ours)
    return process.wait(), seen.decode("utf-8", "replace")


def test_on_a_terminal_a_bar_shows_tiles_speed_and_time_left(tiny: Path, tmp_path: Path) -> None:
    picture("[bold]a.png", 300, 300)
    picture("b.png", 200, 200)
    Path("bad[red].png").write_bytes(b"bad")
    words = ["[bold]a.png", "bad[red].png", "b.png", "-n", str(tiny), "-t", "32", "--engine", "pytorch"]
    code, seen = read_terminal(words, tmp_path)
    assert code == 1
    for expected in ("[bold]a.png", " tiles  ", " kpx/s", "file 1/3", "0:00:0", "tessera: bad[red].png: "):
        assert expected in seen
    assert "Traceback" not in seen


# -------------------------------------------------------------------------------------------------------------- signals

SIGNALS = [(signal.SIGINT, 130), (signal.SIGTERM, 143)]


@pytest.mark.parametrize(("number", "code"), SIGNALS)
@pytest.mark.parametrize(("moment", "least", "most"), [("begin", 1, 1), ("tile", 1, 1), ("end", 2, 3)])
def test_a_signal_drops_the_file_at_hand_and_says_how_to_go_on(
    upscale: Run, monkeypatch: pytest.MonkeyPatch, number: int, code: int, moment: str, least: int, most: int
) -> None:
    for name in "abcde":
        picture(f"in/{name}.png", 40, 40)
    original = getattr(progress.LineWatcher, moment)

    def with_signal(self: Any, index: int, *more: Any) -> None:
        original(self, index, *more)
        if index == 1 and not sent:
            sent.append(number)
            os.kill(os.getpid(), number)
            assert handled.wait(30)  # the main thread handles it, which may be another one

    def handle(self: stopping.Stop, *about: Any) -> None:
        try:
            handle_signal(self, *about)
        finally:
            handled.set()

    sent: list[int] = []
    handled, handle_signal = threading.Event(), stopping.Stop.__call__
    handlers = [signal.getsignal(each) for each, _ in SIGNALS]
    with monkeypatch.context() as patch:
        patch.setattr(progress.LineWatcher, moment, with_signal)
        patch.setattr(stopping.Stop, "__call__", handle)
        got, out, err = upscale("in", "-t", "32", "--report", "r.json")
    assert got == code
    left = json.loads(Path("r.json").read_text())["left"]
    done = 5 - left
    assert least <= done <= most
    assert out.startswith(f"{done} done")
    assert f"tessera: stopped, {left} left to do; run the same command again to resume." in err
    assert not parts()
    assert [signal.getsignal(each) for each, _ in SIGNALS] == handlers
    got, out, _ = upscale("in", "-t", "32")
    assert got == 0
    assert out.startswith(f"{left} done, {done} already done")


@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_a_signal_while_the_network_is_loaded_stops_at_once(
    upscale: Run, monkeypatch: pytest.MonkeyPatch, number: int, code: int
) -> None:
    picture("a.png")
    reached: list[str] = []

    def opened(*_: Any) -> None:
        os.kill(os.getpid(), number)
        time.sleep(0.01)
        reached.append("went on")

    monkeypatch.setattr(upscale_run, "_open", opened)
    got, out, err = upscale("a.png")
    assert (got, out) == (code, "")
    assert err == "tessera: stopped; run the same command again to resume.\n"
    assert not reached
    assert not Path("results").exists()


def test_a_second_signal_does_not_wait_for_the_tile(upscale: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    picture("a.png", 40, 40)

    def impatient(self: Any, index: int, *more: Any) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError("the second signal should have ended this")

    monkeypatch.setattr(progress.LineWatcher, "tile", impatient)
    code, out, _ = upscale("a.png", "-t", "32")
    assert code == 143
    assert out.startswith("0 done, 1 dropped")
    assert not parts()


def test_a_signal_that_was_told_to_be_ignored_stays_ignored(upscale: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    picture("a.png")
    original = progress.LineWatcher.begin

    def with_signal(self: Any, index: int, *more: Any) -> None:
        original(self, index, *more)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(progress.LineWatcher, "begin", with_signal)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert upscale("a.png")[0] == 0
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_a_real_process_stops_within_a_tile(tiny: Path, tmp_path: Path, number: int, code: int) -> None:
    picture("in/a.png", 900, 900)
    words = ["in", "-n", str(tiny), "-t", "32", "--engine", "pytorch", "--json-progress"]
    process = subprocess.Popen([*COMMAND, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path)
    assert process.stdout is not None
    while json.loads(process.stdout.readline())["event"] != "tile":
        pass
    process.send_signal(number)
    out, err = process.communicate()
    assert process.returncode == code
    assert b"run the same command again" in err
    events = [json.loads(line) for line in out.splitlines()]
    assert events[-1]["interrupted"] is True
    assert sum(event["event"] == "tile" for event in events) < 20  # of more than 900
    assert sorted(path.name for path in Path("results").iterdir()) == [JOURNAL_NAME]


def test_a_reader_that_goes_away_ends_the_command_quietly(tiny: Path, tmp_path: Path) -> None:
    picture("in/a.png", 300, 300)
    words = ["in", "-n", str(tiny), "-t", "32", "--engine", "pytorch", "--json-progress"]
    process = subprocess.Popen([*COMMAND, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait() == 141
    assert not parts()


# ------------------------------------------------------------------------------------- places behind folders to come


def test_a_place_behind_a_folder_that_does_not_exist_yet_is_checked_as_the_place_it_becomes(upscale: Run) -> None:
    """`new/../a.png` is a.png once `new` was created."""
    picture("a.png")
    before = Path("a.png").read_bytes()
    Path("mine.json").write_text("{}")
    assert "never replaced" in upscale("a.png", "-o", "new/../a.png")[2]
    assert upscale("a.png", "-o", "results", "--report", "results/../a.png")[0] == 2
    assert upscale("a.png", "-o", "out", "--report", "out/../mine.json")[0] == 2
    assert Path("a.png").read_bytes() == before
    assert Path("mine.json").read_text() == "{}"


def test_a_run_says_which_weights_of_a_file_it_used(upscale: Run, tmp_path: Path) -> None:
    config = SRVGGNetCompactConfig(features=4, convolutions=1, scale=2)
    states = [config.build().state_dict() for _ in range(2)]
    torch.save({"netG": states[0], "netG_ema": states[1]}, tmp_path / "both.pth")
    picture("a.png")
    code, _, errors = upscale("a.png", "-n", str(tmp_path / "both.pth"))
    assert code == 0
    assert "Used the averaged weights in `netG_ema`, not those in `netG`." in errors
