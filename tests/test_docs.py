"""The documentation: commands and Python run as written, each page on its own; links and figures are right."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from tessera import Picture, read_picture, save_weights, write_picture
from tessera.cli import main
from tessera.generators import RRDBNetConfig, SRVGGNetCompactConfig
from tessera.storage.checksum import compute_sha256
from tessera.train.loop import train
from tessera.train.recipe import load_recipe
from tessera.weights.files import inspect_weights, load_weights
from tessera.zoo.models import resolve
from train.runs import RecordingDisplay

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = (ROOT / "README.md", *sorted(page for page in DOCS.rglob("*.md") if "generated" not in page.parts))
# Overrides for the training commands of the pages, which would run for days.
SMALL = (
    *("steps=2", "data.batch=2", "data.patch=32", "data.workers=0", "pool=0", "device=cpu"),
    *("start.generator=", "start.discriminator="),
    "perceptual.weight=0",  # the trunk may be unavailable
)
SMALL_NETWORK = {
    "compact-psnr": ("generator.features=4", "generator.convolutions=1"),
    "rrdb-psnr": ("generator.features=4", "generator.growth=2", "generator.blocks=1"),
    "realesrnet": ("generator.features=4", "generator.growth=2", "generator.blocks=1"),
    "x4plus-lite": ("generator.features=4", "generator.growth=2", "generator.blocks=1"),
    "": ("generator.features=4", "generator.growth=2", "generator.blocks=1", "discriminator.features=4"),
}
LONGEST_PAGE = 250


def blocks(page: Path) -> list[tuple[str, str]]:
    """The blocks of a page that run, in order: (console or python, text). Blocks marked `sh` do not run here."""
    text = page.read_text(encoding="utf-8")
    return re.findall(r"^```(console|python)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


PAGES_THAT_RUN = [page for page in PAGES if blocks(page)]


@pytest.fixture(scope="module")
def files_of_the_pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that the pages name. Each page works on its own copy."""
    folder = tmp_path_factory.mktemp("pages")
    (folder / "photos").mkdir()
    y, x = np.mgrid[:14, :18]
    pixels = np.stack((x * 12, y * 15, (x + y) * 7), -1).astype(np.uint8)
    for name in ("photo.jpg", "scan.png", "texture.png", "photos/one.jpg"):
        write_picture(Picture(pixels), folder / name)
    write_picture(Picture(pixels), folder / "animation.gif")
    config = SRVGGNetCompactConfig(features=4, convolutions=1)
    for seed, name in enumerate(("model", "other")):
        torch.manual_seed(seed)
        save_weights(folder / f"{name}.safetensors", config, config.build().state_dict())
    large = RRDBNetConfig(features=4, growth=2, blocks=2)
    save_weights(folder / "big.safetensors", large, large.build().state_dict())
    (folder / "esrgan_x4.yaml").write_text(
        "name: esrgan_x4\nfrontend: {shape: {input: [1, 3, 16, 24]}, type: onnx, checkpoint: model.safetensors}\n"
        "backend: {type: tvm_vacc, dtype: fp16, compile: {data_transport_mode: 1}}\n"
    )
    _lay_out_test_sets(folder)
    _lay_out_training(folder)
    return folder


def _lay_out_training(folder: Path) -> None:
    """Pictures to train on, scans to measure, and another program's options."""
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:48, :64]
    for index in range(3):
        waves = np.dstack([127 + 90 * np.sin(x / (3 + c + index)) * np.cos(y / (4 + c)) for c in range(3)])
        noisy = (waves + rng.normal(0, 5, waves.shape)).clip(0, 255).astype(np.uint8)
        for place in (f"photos/p{index}.png", f"scans/p{index}.jpg", "holiday.jpg"):
            (folder / place).parent.mkdir(parents=True, exist_ok=True)
            write_picture(noisy, folder / place)
    for name in ("sr.png", "gt.png"):
        write_picture(noisy, folder / name)
    changes = [*SMALL, *SMALL_NETWORK[""], "checkpoint.every=1"]
    places = [f"data.train={folder / 'photos'}", f"runs={folder / 'runs'}"]
    train(load_recipe("a-esrgan-multi", [*changes, *places]), resume=False, display=RecordingDisplay())
    (folder / "train_realesrgan_x4plus.yml").write_text(
        "name: portraits\nmodel_type: RealESRGANModel\nscale: 4\n"
        "datasets: {train: {type: RealESRGANDataset, dataroot_gt: photos, gt_size: 256, batch_size_per_gpu: 12}}\n"
        "network_g: {type: RRDBNet, num_in_ch: 3, num_out_ch: 3, num_feat: 64, num_block: 23}\n"
        "network_d: {type: UNetDiscriminatorSN, num_in_ch: 3, num_feat: 64}\n"
        "train: {total_iter: 400000, optim_g: {type: Adam, lr: 1e-4}, optim_d: {type: Adam, lr: 1e-4},"
        " gan_opt: {type: GANLoss, gan_type: vanilla, loss_weight: 0.1}}\n"
    )


def _lay_out_test_sets(folder: Path) -> None:
    """Set5, inputs, references and results of the measuring page, and statistics for NIQE."""
    rng = np.random.default_rng(0)
    for index in range(2):
        gt = rng.integers(40, 200, (48, 52, 3), dtype=np.uint8).repeat(4, 0).repeat(4, 1)
        for place, pixels in (
            (f"testsets/Set5/HR/p{index}.png", gt[:96, :96]),
            (f"references/p{index}.png", gt),
            (f"made/p{index}_out.png", gt + np.uint8(3)),
            (f"inputs/p{index}.png", gt[::4, ::4]),
        ):
            (folder / place).parent.mkdir(parents=True, exist_ok=True)
            write_picture(pixels, folder / place)
    y, x = np.mgrid[:96, :96]
    for index in range(8):
        waves = np.dstack([127 + 90 * np.sin(x / (3 + c + index)) * np.cos(y / (4 + c)) for c in range(3)])
        (folder / "calibration").mkdir(exist_ok=True)
        write_picture(waves.astype(np.uint8), folder / "calibration" / f"p{index}.png")
    features = rng.normal(1, 0.3, (200, 36))
    covariance = np.cov(features, rowvar=False)
    np.savez(folder / "niqe_pris_params.npz", mu_pris_param=features.mean(0), cov_pris_param=covariance)


def run(command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Run one command of a page in the current folder."""
    command, _, target = command.split("  #")[0].strip().partition(" > ")
    program, *arguments = shlex.split(command)
    assert program == "tessera", f"{command}: only `tessera` commands run here; mark others as `sh`"
    if arguments[0] == "train":
        arguments += [*SMALL, *SMALL_NETWORK.get(arguments[1], SMALL_NETWORK[""])]
        arguments += ["steps=3"] if "--resume" in arguments else []
    monkeypatch.setattr("sys.argv", ["tessera", *arguments])
    try:
        code = main()
    except SystemExit as stopped:
        code = stopped.code
    output = capsys.readouterr()
    finds_problems = arguments[:2] == ["data", "check"]  # in the synthetic pictures, and its exit code says so
    assert code == 1 if finds_problems else not code, f"{command}\n{output.err}"
    if target:
        Path(target).write_text(output.out, encoding="utf-8")


def test_the_pages_show_commands() -> None:
    assert len(PAGES_THAT_RUN) > 15
    assert sum(language == "console" for page in PAGES for language, _ in blocks(page)) > 30


@pytest.mark.parametrize("page", PAGES_THAT_RUN, ids=name_of)
def test_a_page_runs_as_written(
    page: Path,
    files_of_the_pages: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = shutil.copytree(files_of_the_pages, tmp_path / "files")
    monkeypatch.chdir(folder)
    for language, text in blocks(page):
        if language == "python":
            exec(compile(text, str(page), "exec"), {})
        else:
            for command in text.splitlines():
                run(command, monkeypatch, capsys)


def test_the_python_of_the_readme_writes_its_picture(
    files_of_the_pages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(shutil.copytree(files_of_the_pages, tmp_path / "files"))
    [code] = [text for language, text in blocks(ROOT / "README.md") if language == "python"]
    exec(compile(code, "README.md", "exec"), {})
    assert read_picture("photo_x4.png").pixels.shape == (56, 72, 3)


@pytest.mark.parametrize("page", sorted({*PAGES, *ROOT.glob("*.md")}), ids=name_of)
def test_links_and_files_that_a_page_names_exist(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8")):
        if not target.startswith("http") and "generated/" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_a_page_is_short(page: Path) -> None:
    assert len(page.read_text(encoding="utf-8").splitlines()) <= LONGEST_PAGE


@pytest.mark.parametrize("name", ["tessera-x4", "tessera-x4-psnr"])
def test_a_models_card_is_of_the_file_that_is_shipped(name):
    card = (ROOT / "docs" / "models" / f"{name}.md").read_text(encoding="utf-8")
    path = resolve(name, offline=True)
    report = inspect_weights(path)
    assert f"`{compute_sha256(path)}`" in card
    assert f"{path.stat().st_size:,} bytes" in card
    assert f"{report.parameters:,} weights" in card
    assert f"{int(report.metadata['tessera.step']):,}" in card
    assert report.metadata["tessera.recipe"] == name
    assert load_recipe(name).steps == int(report.metadata["tessera.step"])
    assert load_recipe(name).generator == load_weights(path).config


def test_no_page_waits_for_a_figure():
    for page in (*PAGES, ROOT / "docs" / "architecture.md", ROOT / "CHANGELOG.md"):
        waiting = r"\b(?:[A-Z]+_(?:TABLE|ROWS|FIGURE)|TODO|TBD|XXX)\b|(?<!\w)@[A-Z]{2,}\d*\b"
        assert not re.findall(waiting, page.read_text(encoding="utf-8"))


def test_the_scripts_of_the_makefile_are_there():
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    for path in re.findall(r"(?:scripts|benchmarks)/[\w.]+", text):
        assert (ROOT / path).exists(), path
    assert subprocess.run(["bash", "-n", ROOT / ".ci" / "run"], check=False).returncode == 0
