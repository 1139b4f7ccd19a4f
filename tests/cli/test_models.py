"""The commands of `tessera models`, run through their own application."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner, Result

from explain.published import attention_state, multi_state, save_basicsr
from tessera.cli.models import app
from tessera.errors import ModelNotFoundError, TesseraError, UsageError
from tessera.generators import RRDBNetConfig, SRVGGNetCompactConfig
from tessera.storage.checksum import compute_sha256
from tessera.weights.files import load_weights, save_weights
from tessera.weights.published import MODELS, find_model
from tessera.zoo import models as zoo
from tessera.zoo.training_files import TRAINING_FILES

SMALL = SRVGGNetCompactConfig(features=4, convolutions=1, scale=2)


@pytest.fixture(autouse=True)
def _own_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TESSERA_MODELS", str(tmp_path / "models"))
    monkeypatch.delenv("TESSERA_MIRROR", raising=False)
    monkeypatch.delenv("TESSERA_OFFLINE", raising=False)


def run(*arguments: object) -> Result:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if isinstance(result.exception, Exception) and not isinstance(result.exception, TesseraError):
        raise result.exception
    return result


def refused(*arguments: object, by: type[TesseraError] = UsageError) -> str:
    """The sentence that `main` will print."""
    result = run(*arguments)
    assert isinstance(result.exception, by), result.output
    return str(result.exception)


def write(path: Path, value: float, config: SRVGGNetCompactConfig | RRDBNetConfig = SMALL, **metadata: str) -> Path:
    state = {key: torch.full_like(tensor, value) for key, tensor in config.build().state_dict().items()}
    save_weights(path, config, state, metadata=metadata)
    return path


def packaged(name: str) -> Path:
    path = zoo.locate(find_model(name))
    if path is None:
        pytest.skip("the data package is not installed")
    return path


def test_the_list_shows_each_model_on_one_line_and_the_folder(tmp_path: Path) -> None:
    lines = run("list").output.splitlines()
    for model in MODELS:
        (line,) = [line for line in lines if line.split()[:1] == [model.name]]
        assert f"x{model.scale}" in line
        assert model.license in line
    assert lines[-1] == f"Models folder: {tmp_path / 'models'}"


def test_the_list_says_which_models_are_here(tmp_path: Path) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "BSRGAN.pth").write_bytes(b"")
    entries = {entry["name"]: entry for entry in json.loads(run("list", "--json").output)}
    assert set(entries) == {each.name for each in (*MODELS, *TRAINING_FILES)}
    assert {entry["kind"] for entry in entries.values()} == {"generator", "discriminator", "checkpoints", "test sets"}
    assert entries["bsrgan-x4"]["here"] == str(folder / "BSRGAN.pth")
    assert entries["a-esrgan-multi"]["here"] is None
    assert entries["realesrgan-x2plus"]["bytes"] == 67_061_725
    here = {line.split()[0]: line for line in run("list").output.splitlines() if line}
    assert " folder " in here["bsrgan-x4"]
    assert " by hand " in here["esrgan-psnr-x4"]
    assert " no " in here["a-esrgan-multi"]


def test_inspect_tells_what_is_in_a_file(tmp_path: Path) -> None:
    path = write(tmp_path / "a.safetensors", 0.5)
    output = run("inspect", path).output
    for part in (str(path), "srvggnetcompact", "x2", "float32", "parameters"):
        assert part in output
    (report,) = json.loads(run("inspect", path, "--json").output)
    assert report["scale"] == 2
    assert report["config"]["features"] == 4
    assert report["problem"] is None
    assert report["parameters"] == sum(tensor.numel() for tensor in SMALL.build().state_dict().values())


def test_inspect_describes_discriminators_and_archives(tmp_path: Path) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    save_basicsr(folder / "A_ESRGAN_Multi_D.pth", multi_state(2, 1))
    (report,) = json.loads(run("inspect", "a-esrgan-multi-d", "--json").output)
    assert (report["kind"], report["network"], report["licence"]) == ("discriminator", "multi-scale", "BSD-3-Clause")
    assert report["problem"] is None
    assert "attention" in run("inspect", save_basicsr(tmp_path / "net_d_5.pth", attention_state(2, 1))).output
    with zipfile.ZipFile(tmp_path / "series.zip", "w") as archive:
        archive.write(tmp_path / "net_d_5.pth", "outer/net_d_5.pth")
        archive.writestr("outer/net_d_10.pth", b"12345")
    output = run("inspect", tmp_path / "series.zip").output
    size = (tmp_path / "net_d_5.pth").stat().st_size + 5
    assert f"2 files (2 .pth), {size:,} bytes unpacked" in output
    assert "tessera models pull a-esrgan-single-series" in refused("inspect", "single.zip", by=ModelNotFoundError)


def test_pull_unpacks_a_series(tmp_path: Path) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    with zipfile.ZipFile(folder / "multi.zip", "w") as archive:
        archive.writestr("net_d_5000.pth", b"12345")
    lines = run("pull", "a-esrgan-multi-series", "--offline").output.splitlines()
    unpacked = Path(lines[0].removeprefix("a-esrgan-multi-series: "))
    assert (unpacked / "net_d_5000.pth").read_bytes() == b"12345"
    assert compute_sha256(folder / "multi.zip") in lines[1]


def test_inspect_knows_models_by_name() -> None:
    path = packaged("realesr-animevideov3")
    (report,) = json.loads(run("inspect", "realesr-animevideov3", "--json").output)
    assert report["path"] == str(path)
    assert report["dialect"] == "ncnn"


def test_inspect_tells_the_license_of_a_published_file_whatever_its_name(assets: Path, tmp_path: Path) -> None:
    renamed = tmp_path / "renamed.pth"
    shutil.copy(assets / "weights" / "realesr-animevideov3.pth", renamed)
    assert "  license     BSD-3-Clause\n" in run("inspect", renamed).output
    assert json.loads(run("inspect", renamed, "--json").output)[0]["licence"] == "BSD-3-Clause"


def test_inspect_tells_the_license_that_a_file_tells_and_else_that_it_is_unknown(tmp_path: Path) -> None:
    told, silent = write(tmp_path / "a.safetensors", 0.5, license="CC0-1.0"), write(tmp_path / "b.safetensors", 0.5)
    assert "  license     CC0-1.0\n" in run("inspect", told).output
    assert "  license     unknown\n" in run("inspect", silent).output
    reports = json.loads(run("inspect", told, silent, "--json").output)
    assert [report["licence"] for report in reports] == ["CC0-1.0", None]


def test_a_model_without_a_published_sum_has_a_license_by_its_name(tmp_path: Path) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    path = folder / "A_ESRGAN_Multi.pth"
    torch.save(RRDBNetConfig(features=4, growth=2, blocks=1).build().state_dict(), path)
    assert json.loads(run("inspect", "a-esrgan-multi", "--json").output)[0]["licence"] == "BSD-3-Clause"
    assert json.loads(run("inspect", path, "--json").output)[0]["licence"] is None
    assert run("convert", "a-esrgan-multi", tmp_path / "out.safetensors").exit_code == 0
    assert load_weights(tmp_path / "out.safetensors").license == "BSD-3-Clause"


def test_metadata_cannot_write_to_the_terminal(tmp_path: Path) -> None:
    path = write(tmp_path / "a.safetensors", 0.5, license="\x1b[31mred", author="a\nb")
    output = run("inspect", path).output
    assert "\x1b" not in output
    assert r"a\nb" in output


def test_inspect_names_a_file_that_is_not_there_once() -> None:
    message = refused("inspect", "missing.pth")
    assert message.count("missing.pth") == 1
    assert message.startswith("missing.pth: no such file here or in ")
    assert "Did you mean realesrgan-x4plus" in refused("inspect", "realesrgan-x4pluss.pth")


def test_inspect_ends_with_1_and_says_why_if_one_file_cannot_be_used(tmp_path: Path) -> None:
    good, bad = write(tmp_path / "good.safetensors", 0.5), tmp_path / "bad.safetensors"
    bad.write_bytes(b"<html>not found</html>")
    result = run("inspect", good, bad)
    assert result.exit_code == 1
    assert "srvggnetcompact" in result.output
    assert "cannot be used" in result.output
    assert json.loads(run("inspect", bad, "--json").output)[0]["problem"]
    assert "no such file" in refused("inspect", tmp_path / "missing.pth", by=ModelNotFoundError)


def test_convert_of_ncnn_is_exact_and_says_so(tmp_path: Path) -> None:
    source, output = packaged("realesr-animevideov3"), tmp_path / "out.safetensors"
    result = run("convert", "realesr-animevideov3", output)
    assert "converted without loss" in result.output
    before, after = load_weights(source).network.state_dict(), load_weights(output)
    assert all(torch.equal(before[key], tensor) for key, tensor in after.network.state_dict().items())
    assert after.metadata["tessera.source"] == "realesr-animevideov3"


def test_convert_writes_down_source_sum_and_license_and_keeps_them_when_converted_again(tmp_path: Path) -> None:
    path = packaged("realesr-animevideov3")
    first, second = tmp_path / "first.safetensors", tmp_path / "second.safetensors"
    run("convert", path, first)
    run("convert", first, second, "--half")
    for output in (first, second):
        metadata = load_weights(output).metadata
        assert metadata["tessera.source"] == path.stem
        assert metadata["tessera.source_file"] == path.name
        both = "".join(compute_sha256(each) for each in (path.with_suffix(".param"), path.with_suffix(".bin")))
        assert metadata["tessera.source_sha256"] == hashlib.sha256(both.encode()).hexdigest()
        assert metadata["tessera.licence"] == "BSD-3-Clause"
        assert "  license     BSD-3-Clause\n" in run("inspect", output).output


def test_convert_to_half_is_half_the_size_and_says_that_it_rounds(tmp_path: Path) -> None:
    config = SRVGGNetCompactConfig(features=32, convolutions=4, scale=2)
    source = write(tmp_path / "a.safetensors", 0.1, config)
    output = tmp_path / "half.safetensors"
    assert "rounded to fp16" in run("convert", source, output, "--half").output
    assert output.stat().st_size < 0.6 * source.stat().st_size
    (report,) = json.loads(run("inspect", output, "--json").output)
    assert report["dtypes"] == ["float16"]


def test_convert_does_not_replace_a_file_unless_asked(tmp_path: Path) -> None:
    source, output = write(tmp_path / "a.safetensors", 0.5), write(tmp_path / "b.safetensors", 2.0)
    assert "--overwrite" in refused("convert", source, output)
    assert load_weights(output).network.state_dict()["body.0.weight"].max() == 2.0
    assert run("convert", source, output, "--overwrite").exit_code == 0
    assert load_weights(output).network.state_dict()["body.0.weight"].max() == 0.5


def test_an_output_that_cannot_be_is_refused_before_the_work(tmp_path: Path) -> None:
    assert ".safetensors" in refused("convert", "no-such-model", tmp_path / "out.pth")
    assert "does not exist. Create it first" in refused(
        "convert", "no-such-model", tmp_path / "missing" / "out.safetensors"
    )


def test_pull_of_what_is_here_says_where_it_is() -> None:
    path = packaged("realesrgan-x4plus")
    assert run("pull", "RealESRGAN_x4plus", "--offline").output == f"realesrgan-x4plus: {path}\n"


def test_pull_into_a_folder_wants_the_published_file_there(tmp_path: Path) -> None:
    message = refused("pull", "realesrgan-x4plus", "--folder", tmp_path, "--offline", by=ModelNotFoundError)
    assert "RealESRGAN_x4plus.pth" in message
    assert str(tmp_path) in message


def test_a_misspelled_name_stops_pull_before_the_first_download(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tessera.storage.download.download", lambda *_, **__: pytest.fail("a download began"))
    assert "Did you mean" in refused("pull", "bsrgan-x4", "realesrgan-x4pluss", by=ModelNotFoundError)


def test_interpolate_mixes_in_the_direction_of_the_paper(tmp_path: Path) -> None:
    smooth, sharp = write(tmp_path / "psnr.safetensors", 0.0), write(tmp_path / "gan.safetensors", 1.0)
    output = tmp_path / "mix.safetensors"
    result = run("interpolate", smooth, sharp, "--alpha", "0.75", "-o", output)
    assert result.output == f"{output}: 0.25 x psnr + 0.75 x gan\n"
    mixed = load_weights(output)
    assert all(torch.equal(tensor, torch.full_like(tensor, 0.75)) for tensor in mixed.network.state_dict().values())
    assert [part["name"] for part in json.loads(mixed.metadata["tessera.mixed_from"])] == ["psnr", "gan"]


def test_interpolate_writes_down_files_sums_and_both_licenses(tmp_path: Path) -> None:
    smooth = write(tmp_path / "psnr.safetensors", 0.0, license="Apache-2.0")
    sharp = write(tmp_path / "gan.safetensors", 1.0, license="MIT")
    output = tmp_path / "mix.safetensors"
    run("interpolate", smooth, sharp, "--alpha", "0.75", "-o", output)
    metadata = load_weights(output).metadata
    assert metadata["tessera.licence"] == "Apache-2.0 AND MIT"
    assert json.loads(metadata["tessera.mixed_from"]) == [
        {
            "name": path.stem,
            "file": path.name,
            "sha256": compute_sha256(path),
            "share": share,
            "licence": license,
        }
        for path, share, license in ((smooth, 0.25, "Apache-2.0"), (sharp, 0.75, "MIT"))
    ]
    assert "tessera.source_sha256" not in metadata
    assert "  license     Apache-2.0 AND MIT\n" in run("inspect", output).output


def test_interpolate_of_different_networks_is_refused(tmp_path: Path) -> None:
    first = write(tmp_path / "a.safetensors", 0.5)
    other = write(tmp_path / "b.safetensors", 0.5, RRDBNetConfig(features=4, growth=2, blocks=1, scale=4))
    message = refused("interpolate", first, other, "-o", tmp_path / "mix.safetensors")
    assert "cannot be blended" in message


@pytest.mark.parametrize("command", ["", "list", "inspect", "convert", "pull", "interpolate"])
def test_help_is_plain_text_as_that_of_upscale_is(command: str) -> None:
    output = run(*[command] * bool(command), "--help").output
    assert output.lstrip().startswith("Usage:")
    assert not set(output) & set("╭│╰─")


def test_neither_the_application_nor_the_list_imports_torch() -> None:
    code = (
        "import sys\n"
        "from typer.testing import CliRunner\n"
        "from tessera.cli.models import app\n"
        "for arguments in (['--help'], ['list'], ['list', '--json']):\n"
        "    assert CliRunner().invoke(app, arguments).exit_code == 0\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
