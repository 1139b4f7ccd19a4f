"""The commands of `tessera config`, run through their own application."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from tessera.cli import main
from tessera.cli.config import app
from tessera.errors import TesseraError, UsageError
from tessera.train.recipe import RECIPES, load_recipe

OPTIONS = """\
name: compact
model_type: RealESRNetModel
scale: 4
gt_usm: true
gt_size: 128
queue_size: 16
unheard_of: 3
datasets:
  train:
    type: RealESRGANDataset
    dataroot_gt: photos
    use_hflip: true
    use_rot: false
    batch_size_per_gpu: 16
network_g: {type: SRVGGNetCompact, num_conv: 16, upscale: 4}
train:
  optim_g: {type: Adam, lr: 2e-4, betas: [0.9, 0.99]}
  total_iter: 1000
  pixel_opt: {type: L1Loss, loss_weight: 1.0}
"""


@pytest.fixture
def options(tmp_path: Path) -> Path:
    path = tmp_path / "options.yml"
    path.write_text(OPTIONS, encoding="utf-8")
    return path


def run(*arguments: object) -> Result:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if isinstance(result.exception, Exception) and not isinstance(result.exception, TesseraError):
        raise result.exception
    return result


def refused(*arguments: object) -> str:
    """The sentence that `main` will print."""
    result = run(*arguments)
    assert isinstance(result.exception, UsageError), result.output
    return str(result.exception)


def test_an_import_is_printed_with_what_was_left_out_on_the_other_stream(
    options: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["config", "import", str(options)]) == 0
    out, err = capsys.readouterr()
    assert "unheard_of: has no counterpart in Tessera." in err
    assert err.startswith("tessera: ")
    (tmp_path / "again.toml").write_text(out, encoding="utf-8")
    recipe = load_recipe(str(tmp_path / "again.toml"))
    assert (recipe.name, recipe.steps, recipe.data.train) == ("compact", 1000, (Path("photos"),))
    assert "#   unheard_of: has no counterpart in Tessera." in out


def test_an_import_never_replaces_a_file_unasked(options: Path, tmp_path: Path) -> None:
    out = tmp_path / "mine.toml"
    assert run("import", options, "-o", out).exit_code == 0
    assert load_recipe(str(out)).name == "compact"
    out.write_text("precious = 1\n", encoding="utf-8")
    assert (
        refused("import", options, "-o", out)
        == f"{out} already exists. Choose another name, or replace it with --overwrite."
    )
    assert out.read_text(encoding="utf-8") == "precious = 1\n"
    assert run("import", options, "-o", out, "--overwrite").exit_code == 0
    assert load_recipe(str(out)).name == "compact"
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_an_output_is_toml_and_in_a_folder_that_is_there(options: Path, tmp_path: Path) -> None:
    assert "Use a name that ends in .toml." in refused("import", options, "-o", tmp_path / "mine.yml")
    result = run("import", options, "-o", tmp_path / "nowhere" / "mine.toml")
    assert isinstance(result.exception, TesseraError)
    assert "cannot write this file" in str(result.exception)


def test_a_wrong_file_is_a_sentence_and_exit_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.yml").write_text("model_type: [", encoding="utf-8")
    assert main(["config", "import", str(tmp_path / "a.yml")]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert "not valid YAML" in err


def test_the_recipes_are_listed_with_what_they_are() -> None:
    printed = run("recipes").output
    entries = re.split(r"\n(?=\S)", printed.strip())
    assert [each.split()[0] for each in entries] == list(RECIPES)
    for each in entries:
        summary = " ".join(each.split()[1:])
        assert len(summary) > 20
        assert summary.endswith(".")  # no sentence is cut
    assert "#" not in printed
    assert max(map(len, printed.splitlines())) <= 120


def test_the_schema_is_json_on_the_terminal_or_in_a_file(tmp_path: Path) -> None:
    printed = json.loads(run("schema").output)
    out = tmp_path / "recipe.schema.json"
    assert run("schema", "-o", out).exit_code == 0
    assert json.loads(out.read_text(encoding="utf-8")) == printed
    assert "pool" in printed["properties"]
    assert "exists" in refused("schema", "-o", out)


def test_a_sound_recipe_is_told_in_a_few_lines(tmp_path: Path) -> None:
    lines = run("check", "esrgan", "data.train=photos", "start.generator=weights/mine.pth").output.splitlines()
    said = {line.split("  ")[1].strip(): line for line in lines[1:]}
    assert lines[0] == "esrgan: the recipe is valid."
    assert "rrdbnet, x4; starts from weights/mine.pth; not found" in said["generator"]
    assert "400,000, each of 16 crops of 128x128 pixels" in said["steps"]
    assert "0.0001 from step 1, 5e-05 from step 50,001, 2.5e-05 from step 100,001" in said["rate"]
    assert "vgg-style; random initialization" in said["discriminator"]
    assert "photos; not found; inputs are generated by matlab-bicubic" in said["pictures"]
    weights = tmp_path / "mine.pth"
    weights.write_bytes(b"")
    assert "not there" not in run("check", "esrgan", f"start.generator={weights}", f"data.train={tmp_path}").output


def test_a_check_names_the_teacher_and_what_it_is_for() -> None:
    lines = run("check", "esrgan", "distillation.teacher=realesrgan-x4plus", "distillation.share=0.4").output
    assert "teacher        realesrgan-x4plus; 40 % of the pixel and perceptual loss compares with its outputs" in lines
    assert "teacher" not in run("check", "esrgan").output


def test_the_discriminators_own_rates_are_told() -> None:
    own_schedule = ("discriminator_schedule.kind=multi-step", "discriminator_schedule.milestones=[0.5]")
    own_rate = "discriminator_optimizer.rate=4e-4"
    lines = run("check", "realesrgan", own_rate, *own_schedule, "schedule.warm_up=100").output.splitlines()
    (own,) = [line for line in lines if line.strip().startswith("its rate")]
    assert "0.0004 from step 1, 0.0002 from step 200,001" in own
    (rate,) = [line for line in lines if line.strip().startswith("rate")]
    assert "over 100 steps up to 0.0001 from step 1" in rate


def test_rates_of_a_run_that_is_counted_in_passes_are_told_as_shares() -> None:
    output = run("check", "esrgan-pytorch-gan").output
    assert "120 epochs" in output
    assert "0.0001 from 0 %, 5e-05 from 12.5 %, 2.5e-05 from 25 %" in output


def test_what_is_wrong_with_a_recipe_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('recipe = "esrgan"\n[data]\nbach = 3\n', encoding="utf-8")
    assert "Unknown key `data.bach`; did you mean `data.batch`?" in refused("check", path)
    assert "data.patch is 130" in refused("check", "realesrgan", "data.patch=130")
    assert "did you mean esrgan?" in refused("check", "esrgam")
