"""`tessera attention`, run as the command runs it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from explain.published import (
    attention_state,
    direct_logits,
    direct_maps,
    direct_multi_maps,
    multi_state,
    save_basicsr,
    split_multi,
)
from tessera import read_picture, write_picture
from tessera.cli import main
from tessera.explain import series
from tessera.generators import RRDBNetConfig
from tessera.images.libvips import vips

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.chdir(tmp_path)

    def call(*words: str) -> tuple[int, str, str]:
        code = main(["attention", *words])
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """Three checkpoints of a multi-scale discriminator; the second with its generator."""
    folder = tmp_path / "models"
    folder.mkdir()
    for number, step in enumerate((5000, 10000, 15000)):
        save_basicsr(folder / f"net_d_{step}.pth", multi_state(2, 10 * number))
    torch.manual_seed(0)
    state = RRDBNetConfig(features=2, growth=2, blocks=1).build().state_dict()
    torch.save({"params_ema": state}, folder / "net_g_10000.pth")
    return folder


def photo(path: Path, height: int = 50, width: int = 44, seed: int = 0) -> np.ndarray:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    pixels[:, width // 2 :] //= 3
    write_picture(pixels, path)
    return pixels


def read(path: Path) -> np.ndarray:
    return read_picture(path).pixels


def jet(values: np.ndarray) -> np.ndarray:
    v = (values * np.float32(255)).astype(np.uint8).astype(int)
    planes = (np.minimum(4 * v - 382, 1148 - 4 * v), np.minimum(4 * v - 128, 892 - 4 * v))
    blue = np.where(v == 159, 1, np.minimum(4 * v + 128, 638 - 4 * v))
    return np.stack((*planes, blue), axis=-1).clip(0, 255).astype(np.uint8)


def test_every_gate_of_every_checkpoint_is_drawn_under_the_names_of_a_esrgan(run: Run, models: Path) -> None:
    photo(Path("a.png"))
    code, out, err = run("a.png", "--checkpoints", "models", "-o", "maps")
    assert (code, err) == (0, "")
    assert out.startswith("maps: 6 gates at 3 checkpoints, 1 picture; open maps/attention.html.\n")
    for depth, sides in ((1, ((13, 11), (7, 6))), (2, ((25, 22), (13, 11))), (3, ((50, 44), (25, 22)))):
        for scale, size in enumerate(sides, 1):
            for step in (5000, 10000, 15000):
                name = f"A{depth}_D{scale}_{step}.png"
                assert read(Path("maps") / name).shape == (*size, 3), name
                assert read(Path("maps/upscaled") / name).shape == (50, 44, 3)
                assert read(Path("maps/combined") / name).shape == (50, 44, 3)
    for scale, size in ((1, (50, 44)), (2, (25, 22))):
        gray = read(Path(f"maps/output_{scale}_15000.png"))
        assert gray.squeeze().shape == size
        assert (gray.min(), gray.max()) == (0, 255)


def test_the_picture_is_rgb_and_bgr_only_on_request_and_colors_are_the_published_ones(run: Run) -> None:
    state = attention_state(2, 4)
    save_basicsr(Path("net_d_5000.pth"), {f"layer0.{name}": tensor for name, tensor in state.items()})
    pixels = photo(Path("a.png"), 48, 64)
    for words, seen in (((), pixels), (("--bgr",), pixels[..., ::-1])):
        assert run("a.png", "net_d_5000.pth", "-o", "maps", "-q", *words) == (0, "", "")
        x = torch.from_numpy(seen.astype(np.float32) / 255).permute(2, 0, 1)[None]
        for number, wanted in enumerate(direct_maps(state, x), 1):
            drawn = read(Path(f"maps/A{number}_5000.png"))
            # a value that lies on the edge of a level may fall on either side of it
            assert (drawn != jet(wanted[0, 0].numpy())).any(axis=2).mean() < 0.01
        heat = read(Path("maps/upscaled/A1_5000.png")).astype(float)
        over = read(Path("maps/combined/A1_5000.png"))
        assert np.abs(over - (0.3 * pixels + 0.7 * heat)).max() <= 0.5 + 1e-9


@pytest.mark.parametrize("size", [(48, 64), (37, 41)], ids=str)
def test_as_published_gives_every_pixel_of_the_published_scripts(run: Run, size: tuple[int, int]) -> None:
    """BGR, training mode, times 255, cut off to levels, JET; logits from minimum to maximum, in single precision."""
    state = multi_state(2, 5)
    save_basicsr(Path("net_d_5000.pth"), state)
    pixels = photo(Path("a.png"), *size)
    assert run("a.png", "net_d_5000.pth", "-o", "maps", "-q", "--as-published", "--real-only") == (0, "", "")
    x = torch.from_numpy(np.ascontiguousarray(pixels[..., ::-1])).permute(2, 0, 1)[None].float().div(255)
    names = [f"A{depth}_D{scale}" for scale in (1, 2) for depth in (1, 2, 3)]
    for name, wanted in zip(names, direct_multi_maps(state, x, training=True), strict=True):
        assert (read(Path(f"maps/{name}_5000.png")) == jet(wanted[0, 0].numpy())).all(), name
    if size == (48, 64):  # at other sizes the published script for answers fails
        for number, part in enumerate(split_multi(state, x), 1):
            logits = direct_logits(*part, training=True)[0, 0].numpy()
            wanted = (logits - logits.min()) / (logits.max() - logits.min()) * 255
            drawn = read(Path(f"maps/output_{number}_5000.png")).squeeze()
            # a value that lies on the edge of a level may fall on either side of it
            assert (drawn != wanted.astype(np.uint8)).mean() < 0.01
    eval_mode = direct_multi_maps(state, x)
    assert (read(Path("maps/A3_D1_5000.png")) != jet(eval_mode[2][0, 0].numpy())).any()


def test_without_answers_only_maps_are_drawn(run: Run, models: Path) -> None:
    photo(Path("a.png"))
    assert run("a.png", "-c", "models", "-o", "maps", "--no-answers")[0] == 0
    files = {path.name for path in Path("maps").iterdir()}
    assert {"A1_D1_5000.png", "over_time.png", "over_depth.png", "upscaled", "combined"} <= files
    assert not [name for name in files if name.startswith(("output", "answers", "probabilities"))]
    page = Path("maps/attention.html").read_text(encoding="utf-8")
    assert "The answers of the discriminator were not computed." in page
    assert "probability" not in page
    (picture,) = json.loads(Path("maps/attention.json").read_text())["pictures"]
    assert "probabilities" not in picture["series"][0]


def test_the_page_says_nothing_of_a_second_network_or_a_difference_that_is_not_there(run: Run) -> None:
    save_basicsr(Path("net_d_5000.pth"), attention_state(2, 4))
    photo(Path("a.png"))
    assert run("a.png", "net_d_5000.pth", "-o", "maps")[0] == 0
    page = Path("maps/attention.html").read_text(encoding="utf-8")
    assert "A1 is the deepest gate and A3 the shallowest." in page
    text = re.sub(r"<style>.*?</style>|<script>.*?</script>|<[^>]*>", " ", page, flags=re.DOTALL)
    assert not [each for each in ("D1", "D2", "ifference", "Play", "slider") if each in text]
    assert "<input" not in page


def test_sheets_show_the_input_beside_maps_and_overlays_over_time_and_beside_the_answers(
    run: Run, models: Path
) -> None:
    pixels = photo(Path("a.png"), 128, 128)
    assert run("a.png", "-c", "models", "-o", "maps", "--real-only")[0] == 0
    sheet, gap = read(Path("maps/over_time.png")), 8
    # a row of maps and one of overlays for each of six gates; the input and three checkpoints across
    assert sheet.shape[1] == gap + 4 * (128 + gap)
    label = (sheet.shape[0] - gap - 12 * (128 + gap)) // 13  # a line of text above each row, and the title
    down, top = label + 128 + gap, gap + 2 * label
    assert (sheet[top : top + 128, gap : gap + 128] == pixels).all()
    heat, over = (read(Path("maps") / kind / "A1_D1_15000.png") for kind in ("upscaled", "combined"))
    left = gap + 3 * (128 + gap)
    assert (sheet[top : top + 128, left : left + 128] == heat).all()
    assert (sheet[top + down : top + down + 128, left : left + 128] == over).all()
    answers = read(Path("maps/answers.png"))
    assert answers.shape[1] == gap + 5 * (128 + gap)  # the input; two networks, from minimum to maximum and 0 to 1
    top = answers.shape[0] - gap - 128
    assert (answers[top : top + 128, gap : gap + 128] == pixels).all()
    first = read(Path("maps/output_1_15000.png")).squeeze()
    assert (answers[top : top + 128, gap + 136 : gap + 136 + 128, 0] == first).all()


def test_a_later_checkpoint_that_cannot_be_read_costs_itself_only(run: Run, models: Path) -> None:
    photo(Path("a.png"))
    (models / "net_d_10000.pth").write_bytes(b"cut off")
    save_basicsr(models / "net_d_20000.pth", attention_state(2, 4))
    code, out, err = run("a.png", "-c", "models", "-o", "maps", "--no-answers")
    assert code == 1
    assert out.startswith("maps: 6 gates at 2 checkpoints")
    assert "net_d_10000.pth" in err.splitlines()[0]
    assert "net_d_20000.pth: expected multi-scale" in err.splitlines()[1]
    found = json.loads(Path("maps/attention.json").read_text())
    assert [each["step"] for each in found["checkpoints"]] == [5000, 15000]
    assert len(found["pictures"][0]["series"]) == 2


def test_every_checkpoint_is_opened_once_for_several_pictures(
    run: Run, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b", "c"):
        photo(Path(f"{name}.png"), seed=ord(name))
    opened: list[str] = []
    load = series.load_discriminator
    monkeypatch.setattr(series, "load_discriminator", lambda path: (opened.append(path.name), load(path))[1])
    assert run("a.png", "b.png", "c.png", "-c", "models", "-o", "maps", "--no-answers", "--real-only")[0] == 0
    assert opened == [f"net_d_{step}.pth" for step in (5000, 10000, 15000)]


def test_the_generated_picture_is_of_the_raw_or_the_averaged_generator_as_asked(run: Run, models: Path) -> None:
    photo(Path("a.png"), 48, 48)
    config = RRDBNetConfig(features=2, growth=2, blocks=1)
    raw, averaged = (config.build().state_dict() for _ in range(2))
    torch.save({"params": raw, "params_ema": averaged}, models / "net_g_10000.pth")

    def generated(*words: str) -> dict[str, Any]:
        assert run("a.png", "-c", "models/net_d_10000.pth", "-o", "maps", "-q", *words) == (0, "", "")
        return json.loads(Path("maps/attention.json").read_text())["pictures"][0]["series"][0]

    for words, weights, state in (((), "raw", raw), (("--generator", "averaged"), "averaged", averaged)):
        found = generated(*words)
        assert found["generator"] == {"file": str(Path("models/net_g_10000.pth")), "weights": weights}
        assert f"generated by the {weights} generator" in Path("maps/attention.html").read_text(encoding="utf-8")
        torch.save(state, "alone.pth")
        assert found["generated"] == generated("-n", "alone.pth")["generated"]


def test_repeating_gives_identical_files_and_leaves_the_checkpoints_alone(run: Run, models: Path) -> None:
    photo(Path("a.png"))
    weights = {path: path.read_bytes() for path in models.iterdir()}
    assert run("a.png", "-c", "models", "-o", "maps")[0] == 0
    first = {path: path.read_bytes() for path in Path("maps").rglob("*") if path.is_file()}
    assert run("a.png", "-c", "models", "-o", "maps")[0] == 0
    assert {path: path.read_bytes() for path in Path("maps").rglob("*") if path.is_file()} == first
    assert {path: path.read_bytes() for path in models.iterdir()} == weights
    assert not list(Path("maps").rglob(".*"))


def test_the_numbers_name_files_steps_and_every_gate(run: Run, models: Path) -> None:
    photo(Path("a.png"))
    run("a.png", "-c", "models", "-o", "maps", "--animation", "none")
    found = json.loads(Path("maps/attention.json").read_text(encoding="utf-8"))
    assert [each["step"] for each in found["checkpoints"]] == [5000, 10000, 15000]
    assert all(len(each["sha256"]) == 64 for each in found["checkpoints"])
    (picture,) = found["pictures"]
    assert (picture["height"], picture["width"], picture["is"]) == (50, 44, "real")
    gates = {f"A{depth}_D{scale}" for scale in (1, 2) for depth in (1, 2, 3)}
    for number, each in enumerate(picture["series"]):
        assert set(each["real"]) == gates
        assert ("generated" in each) == (number == 1)  # the one with a generator beside it
        for values in each["real"].values():
            assert 0 < values["mean"] < 1
            assert values["spread"] > 0
            assert -1 <= values["edges_rank"] <= 1
            assert values["error_rank"] is None
    made = picture["series"][1]
    assert all(-1 <= values["error_rank"] <= 1 for values in made["generated"].values())
    assert made["probabilities"]["D1"]["difference_mean"] == pytest.approx(
        made["probabilities"]["D1"]["real_mean"] - made["probabilities"]["D1"]["generated_mean"], abs=1e-6
    )
    assert Path("maps/probabilities/D2_10000_difference.png").exists()
    assert not Path("maps/probabilities/D2_5000_difference.png").exists()


def test_with_a_reference_the_picture_is_the_generated_one_and_errors_are_against_it(run: Run, models: Path) -> None:
    truth = photo(Path("gt.png"))
    sr = truth.copy()
    sr[:10] = 255 - sr[:10]
    write_picture(sr, "sr.png")
    code, _, _ = run("sr.png", "-c", "models/net_d_5000.pth", "-o", "maps", "--reference", "gt.png")
    assert code == 0
    (picture,) = json.loads(Path("maps/attention.json").read_text())["pictures"]
    assert picture["is"] == "generated"
    assert picture["series"][0]["generated"]["A3_D1"]["error_roc"] is not None
    assert picture["series"][0]["real"]["A3_D1"]["error_roc"] is None
    difference = read(Path("maps/probabilities/D1_5000_difference.png")).squeeze().astype(float)
    real, generated = (read(Path(f"maps/probabilities/D1_5000_{role}.png")).squeeze() for role in ("real", "generated"))
    assert np.abs(difference - (255 + real.astype(float) - generated) / 2).max() <= 1.5
    assert abs(difference[-1].mean() - 127) <= 1  # far from where they differ there is no difference


@pytest.mark.parametrize("kind", ["webp", "gif"])
def test_the_animation_has_a_frame_for_each_checkpoint(run: Run, models: Path, kind: str) -> None:
    photo(Path("a.png"))
    run("a.png", "-c", "models", "-o", "maps", "--animation", kind, "--real-only")
    image = vips().Image.new_from_file(f"maps/over_time.{kind}", n=-1)
    assert image.get("n-pages") == 3
    assert image.get("delay")[0] == 500
    frames = image.numpy().reshape(3, -1, image.width, image.bands)
    assert not (frames[0] == frames[1]).all()


def test_the_page_is_whole_in_itself_and_has_a_slider_for_each_gate(run: Run, models: Path) -> None:
    photo(Path('a"<b>.png'))
    run('a"<b>.png', "-c", "models", "-o", "maps")
    text = Path("maps/attention.html").read_text(encoding="utf-8")
    assert "http" not in text.split("<style>")[0].replace("http-equiv", "")
    assert "<b>.png" not in text
    for gate in ("A1_D1", "A3_D2"):
        assert f'aria-label="Checkpoint of {gate}"' in text
    # the one in sight, and separate ones for the pictures, the gates, and the answers of two networks
    assert text.count('type="range" min="0" max="2"') == 1 + 1 + 6 + 2
    assert "Play</button>" in text
    assert "linear-gradient(to right, rgb(0 0 128)," in text  # the color bar, from the lowest color of JET
    for words in ("real, minimum to maximum", "real, probability", "generated by the averaged generator"):
        assert f"<figcaption>{words}</figcaption>" in text
    assert text.count('src="data:image/') == text.count("<img ")
    assert "Rank correlation with edges, D2" in text
    assert text.count('class="mean line2"') >= 2


def test_several_pictures_get_a_folder_each_and_one_that_cannot_be_read_a_sentence(run: Run, models: Path) -> None:
    Path("in").mkdir()
    photo(Path("in/a.png"))
    photo(Path("in/a.jpg"), seed=1)
    Path("in/b.png").write_bytes(b"no picture")
    code, out, err = run("in", "-c", "models/net_d_5000.pth", "-o", "maps", "--real-only", "--colormap", "gray")
    assert code == 1
    assert err.count("\n") == 1
    assert "b.png" in err
    assert "2 pictures" in out
    page = Path("maps/attention.html").read_text(encoding="utf-8")
    numbers = [
        each["series"][-1]["real"]["A1_D1"] for each in json.loads(Path("maps/attention.json").read_text())["pictures"]
    ]
    mean = sum(each["mean"] for each in numbers) / 2
    table = page.partition("Mean of the 2 pictures")[2].partition("</table>")[0]
    assert f"{mean:.3f}" in table.partition("A1_D1")[2]
    assert Path("maps/a/A1_D1_5000.png").exists()
    assert Path("maps/a-2/A1_D1_5000.png").exists()
    gray = read(Path("maps/a/A3_D1_5000.png"))
    assert (gray[..., 0] == gray[..., 1]).all()


def test_stretched_maps_use_the_whole_scale(run: Run, models: Path) -> None:
    photo(Path("a.png"))
    run("a.png", "-c", "models/net_d_5000.pth", "-o", "maps", "--stretch", "--colormap", "gray", "--real-only")
    drawn = read(Path("maps/A1_D1_5000.png"))
    assert (drawn.min(), drawn.max()) == (0, 255)


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("a.png",), 2, "Name the checkpoints"),
        (("models/net_d_5000.pth",), 2, "Name a picture"),
        (("a.png", "-c", "empty"), 2, "no checkpoints of a discriminator in this folder"),
        (("a.png", "-c", "models/net_g_10000.pth"), 1, "net_g_10000.pth: this is a generator"),
        (("none.png", "-c", "models"), 1, "none.png"),
        (("a.png", "-c", "models", "--reference", "small.png"), 2, "expected 44x50 pixels as in a.png, found 20x20"),
        (("a.png", "-c", "models", "--reference", "b.png", "--real-only"), 2, "exclude each other"),
        (("a.png", "small.png", "-c", "models", "--generated", "a.png"), 2, "is for one picture, found 2"),
        (("a.png", "-c", "models", "--mix", "2"), 2, "--mix 2.0"),
        (("a.png", "-c", "models", "--colormap", "hot"), 2, "--colormap hot"),
        (("a.png", "-c", "models", "--generator", "both"), 2, "--generator both"),
        (("a.png", "-c", "models", "--as-published", "--stretch"), 2, "--as-published: expected the colormap jet"),
        (("a.png", "-c", "models", "-o", "."), 2, "contains the input a.png"),
        (("a.png", "-c", "models", "-o", "models"), 2, "contains other files"),
        (("a.png", "-c", "models", "-o", "b.png"), 2, "is a file"),
        (("a.png", "-c", "models", "--device", "warp"), 2, "--device: warp is unavailable"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_cannot_be_done_is_said_in_one_line(
    run: Run, models: Path, words: tuple[str, ...], code: int, says: str
) -> None:
    for name in ("a.png", "b.png"):
        photo(Path(name))
    photo(Path("small.png"), 20, 20)
    Path("empty").mkdir()
    more = () if "-o" in words else ("-o", "maps")
    found, out, err = run(*words, *more)
    assert (found, out) == (code, "")
    assert err.startswith("tessera: ")
    assert err.count("\n") == 1
    assert says in err
    assert not Path("maps").exists()


def test_the_generated_picture_can_be_a_file_or_be_made_by_any_model(run: Run, models: Path) -> None:
    pixels = photo(Path("a.png"))
    write_picture(255 - pixels, "g.png")

    def answered(*words: str) -> list[dict[str, Any]]:
        assert run("a.png", "-c", "models", "-o", "maps", "--animation", "none", "-q", *words) == (0, "", "")
        return json.loads(Path("maps/attention.json").read_text())["pictures"][0]["series"]

    for words in (("--generated", "g.png"), ("-n", "models/net_g_10000.pth")):
        assert all("generated" in each for each in answered(*words))
    own = answered()[1]["generated"]
    assert own == answered("-n", "models/net_g_10000.pth")[1]["generated"]
    assert own != answered("--generated", "g.png")[1]["generated"]


def test_pictures_of_every_kind_and_size_are_shown(run: Run, models: Path) -> None:
    rng = np.random.default_rng(0)
    Path("in").mkdir()
    shapes = {"gray": (33, 20), "deep": (17, 40, 4), "one": (1, 1, 3), "wide": (3, 70, 3)}
    for name, shape in shapes.items():
        deep = name == "deep"
        write_picture(rng.integers(0, 65535 if deep else 255, shape, np.uint16 if deep else np.uint8), f"in/{name}.png")
    write_picture(np.full((20, 20, 3), 90, np.uint8), "in/flat.png")
    code, out, err = run("in", "-c", "models", "-o", "maps")
    assert (code, err) == (0, "")
    assert out.count("rank correlation, mean of 5 pictures: ") == 6
    for name, shape in shapes.items():
        assert read(Path(f"maps/{name}/upscaled/A1_D2_10000.png")).shape == (*shape[:2], 3)
    pictures = json.loads(Path("maps/attention.json").read_text())["pictures"]
    flat = next(each for each in pictures if each["file"] == "in/flat.png")
    assert flat["series"][0]["real"]["A3_D1"]["edges_rank"] is None  # there are no edges to agree with
