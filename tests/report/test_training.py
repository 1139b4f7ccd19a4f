"""The report of a training run, read back."""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from pictures import Array, random_pixels, save
from report.reading import Element, decoded, parsed
from tessera.errors import PictureError, UsageError
from tessera.report.axis import log_ticks, ticks
from tessera.report.curves import MOST_POINTS, Curve, Panel, downsample_series, draw_panel
from tessera.report.run_record import Series, read_run
from tessera.report.samples import MOST_SHEETS, find_differing_region, pick_evenly
from tessera.report.training import write_training_report

CONFIG = """\
name = "cats"
seed = 7
steps = 400
[generator]
network = "rrdbnet"
scale = 4
[discriminator]
network = "unet"
[start]
generator = "RRDB_PSNR_x4"
[data]
train = ["photos"]
patch = 128
batch = 4
[pixel]
criterion = "l1"
weight = 0.01
[adversarial]
form = "vanilla"
weight = 0.005
[validation]
best = "niqe"
"""
LOG = """\
2026-01-01 10:00:00 Beginning at step 0 of 400: 9 pictures, 4 crops a step, a generator of 9 weights, fp32 on cpu.
2026-01-01 10:10:00 step 100: pixel 0.5; 1.0 crops a second, 3% of the time waiting for data: computing limits.
2026-01-01 10:10:01 Stopped after step 100, saved. Go on with --resume.
2026-01-01 12:00:00 Going on at step 100 of 400: 9 pictures, 4 crops a step, a generator of 9 weights, fp32 on cpu.
2026-01-01 12:20:00 step 200: pixel 0.4; 2.5 crops a second, 40% of the time waiting for data: the data limits.
2026-01-01 12:20:00 Step 151: the loss or a gradient is not finite; the step is left out.
"""
HOSTILE = '</script><img src=x onerror="alert(1)">\u202e\x1b[31m'


def line(step: int, kind: str, **values: object) -> str:
    return json.dumps({"step": step, "kind": kind, **values}) + "\n"


def a_run(folder: Path, lines: list[str], *, config: str = CONFIG, log: str = LOG) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.toml").write_text(config, encoding="utf-8")
    (folder / "metrics.jsonl").write_text("".join(lines), encoding="utf-8")
    if log:
        (folder / "log.txt").write_text(log, encoding="utf-8")
    return folder


def train_lines(count: int = 20, every: int = 10) -> list[str]:
    return [
        line(
            index * every,
            "train",
            pixel=1.0 / index,
            adversarial=0.1 * index,
            d_real=0.5 + index / 100,
            d_fake=0.5 - index / 100,
            rate=1e-4,
            waiting=0.25,
        )
        for index in range(1, count + 1)
    ]


def page_of(folder: Path) -> tuple[str, Element]:
    text = write_training_report(folder).read_text(encoding="utf-8")
    return text, parsed(text)


def cells(root: Element, heading: str) -> list[str]:
    (row,) = [row for row in root.all("tr") if row.all("th", scope="row") and row.all("th")[0].text == heading]
    return [cell.text for cell in row.all("td")]


def facts(root: Element) -> dict[str, str]:
    names, values = root.all("dt"), root.all("dd")
    return {key.text: value.text for key, value in zip(names, values, strict=True)}


def panel_of(root: Element, title: str) -> Element:
    (box,) = [box for box in root.all("figure", **{"class": "curve-box"}) if box.all("h3")[0].text == title]
    return box


def axis_of(box: Element) -> list[tuple[float, float]]:
    """The ticks of the upright axis: pixels from the top, value."""
    found = [each for each in box.all("text") if each.attributes.get("text-anchor") == "end" and "k" not in each.text]
    upright = [each for each in found if float(str(each.attributes["x"])) < 100]
    return [(float(str(each.attributes["y"])) - 4, float(each.text.replace("−", "-"))) for each in upright]


def dots(box: Element, index: int = 0) -> list[tuple[float, float]]:
    found = box.all("circle", **{"class": f"dot line{index}"})
    return [(float(str(each.attributes["cx"])), float(str(each.attributes["cy"]))) for each in found]


# ---------------------------------------------------------------------------------------------------------- thinning


def test_a_spike_among_a_million_values_stays_visible_and_the_mean_is_the_mean() -> None:
    steps = np.arange(1, 1_000_001)
    values = np.full(1_000_000, 0.5)
    values[123_456], values[777_777] = 40.0, -3.0
    thin = downsample_series(Series(steps, values))
    assert len(thin.steps) == MOST_POINTS
    assert thin.greatest.max() == 40
    assert thin.least.min() == -3
    assert thin.steps[-1] == 1_000_000
    at = int(thin.greatest.argmax())
    assert thin.steps[at - 1] < 123_457 <= thin.steps[at]
    inside = (steps > thin.steps[at - 1]) & (steps <= thin.steps[at])
    assert thin.mean[at] == pytest.approx(values[inside].mean())


def test_what_is_no_number_is_left_out_of_a_stretch_and_told() -> None:
    values = np.ones(MOST_POINTS * 10)
    values[5] = math.nan
    values[100:160] = math.nan
    thin = downsample_series(Series(np.arange(len(values)), values))
    assert np.flatnonzero(thin.missing).tolist() == [0, *range(10, 16)]
    assert np.flatnonzero(np.isnan(thin.mean)).tolist() == list(range(10, 16))
    assert np.nanmax(thin.mean) == np.nanmin(thin.mean) == 1


def test_few_values_are_drawn_as_they_are() -> None:
    series = Series(np.array([3, 9]), np.array([2.0, math.nan]))
    thin = downsample_series(series)
    assert thin.steps.tolist() == [3, 9]
    assert thin.missing.tolist() == [False, True]


@pytest.mark.parametrize(("least", "greatest"), [(0.0, 1.0), (-7.0, 1e6), (1e-9, 3e-9), (0.5, 0.5001), (2.0, 2.0)])
def test_ticks_are_round_few_and_inside(least: float, greatest: float) -> None:
    found = ticks(least, greatest)
    assert len(found) <= 8
    assert all(least - 1e-9 * abs(least) <= value <= greatest * (1 + 1e-9) for value in found)
    assert least == greatest or len(found) >= 2


@pytest.mark.parametrize(("least", "greatest"), [(1e-12, 1e12), (0.9, 20.0), (0.011, 0.3)])
def test_ticks_of_a_logarithmic_axis_are_few_and_inside(least: float, greatest: float) -> None:
    found = log_ticks(least, greatest)
    assert 2 <= len(found) <= 7
    assert all(least <= value <= greatest for value in found)


# ------------------------------------------------------------------------------------------------------------ curves


def test_a_value_is_drawn_where_the_axis_says_that_it_is() -> None:
    values = np.array([0.2, 0.9, 0.4])
    series = Series(np.array([0, 50, 100]), values)
    panel = Panel(title="it", note="", curves=(Curve(label="it", series=series),))
    box = parsed(draw_panel(panel, last_step=200))
    marks = axis_of(box)
    slope, offset = np.polyfit([y for y, _ in marks], [value for _, value in marks], 1)
    spots = dots(box)
    np.testing.assert_allclose([slope * y + offset for _, y in spots], values, atol=0.004)
    xs = [x for x, _ in spots]
    assert xs[1] - xs[0] == pytest.approx(xs[2] - xs[1], abs=0.2)
    (zero,) = [float(str(each.attributes["x"])) for each in box.all("text") if each.text == "0"]
    assert xs[0] == pytest.approx(zero, abs=0.2)


def test_a_loss_that_falls_far_has_a_logarithmic_axis_and_says_so() -> None:
    values = np.array([10.0, 1.0, 0.1])
    far = Panel(title="far", note="", curves=(Curve(label="far", series=Series(np.array([1, 2, 3]), values)),))
    box = parsed(draw_panel(far, last_step=3))
    assert "Logarithmic axis" in box.text
    (_, top), (_, middle), (_, bottom) = dots(box)
    assert middle - top == pytest.approx(bottom - middle, abs=0.2)
    below = Panel(title="near", note="", curves=(Curve(label="", series=Series(np.arange(3), values - 5)),))
    assert "Logarithmic" not in draw_panel(below, last_step=3)


def test_a_curve_breaks_where_a_value_is_no_number_and_marks_the_place() -> None:
    series = Series(np.arange(5), np.array([1.0, 2.0, math.nan, 3.0, math.nan]))
    box = parsed(draw_panel(Panel(title="", note="", curves=(Curve(label="", series=series),)), last_step=4))
    (path,) = box.all("path", **{"class": "mean line0"})
    assert str(path.attributes["d"]).count("M") == 2
    assert "h0" in str(path.attributes["d"])  # a single value between gaps is a dot
    (gap,) = box.all("path", **{"class": "gap"})
    assert str(gap.attributes["d"]).count("M") == 2
    assert "nan" not in str(box.all("div")[0].attributes["data-points"]).lower()


@pytest.mark.parametrize(
    "values", [[], [math.nan], [0.0], [1e300, -1e300], [5.0, 5.0], [1e-320, 1.0], [1e-320, 1e308]], ids=str
)
def test_strange_values_can_be_drawn(values: list[float]) -> None:
    series = Series(np.arange(len(values)), np.array(values, dtype=np.float64))
    drawn = draw_panel(Panel(title="it", note="", curves=(Curve(label="it", series=series),)), last_step=0)
    parsed(drawn)
    assert "nan" not in drawn
    assert "inf" not in drawn


# ---------------------------------------------------------------------------------------------------------- the page


def test_a_weight_says_that_it_is_that_of_each_scale(tmp_path: Path) -> None:
    config = CONFIG.replace('network = "unet"', 'network = "multi-scale"\nscales = 2').replace(
        "weight = 0.005", 'weight = 0.1\nscales = "sum"'
    )
    _, root = page_of(a_run(tmp_path / "cats", train_lines(), config=config))
    assert facts(root)["Losses"] == "0.01 × pixel (l1) + 0.1 × adversarial (vanilla) for each of 2 scales"
    config = config.replace('"sum"', '"mean"')
    _, root = page_of(a_run(tmp_path / "dogs", train_lines(), config=config))
    assert facts(root)["Losses"].endswith("+ 0.1 × adversarial (vanilla)")


def test_six_gates_get_a_panel_for_each_network_and_a_line_style_each(tmp_path: Path) -> None:
    gates = [f"A{depth}_D{scale}" for scale in (1, 2) for depth in (1, 2, 3)]
    lines = [
        line(step, "attention", **{f"{gate}_edges_rank": 0.1 * place for place, gate in enumerate(gates)})
        for step in (100, 200)
    ]
    text, root = page_of(a_run(tmp_path / "cats", [*train_lines(), *lines]))
    panels = [each for each in root.all("figure") if "Attention to edges" in each.text]
    assert [each.all("h3")[0].text for each in panels] == ["Attention to edges, D1", "Attention to edges, D2"]
    for panel, of in zip(panels, (gates[:3], gates[3:]), strict=True):
        keys = [each for each in panel.all("span") if "key" in str(each.attributes.get("class"))]
        assert [each.text.strip() for each in keys] == of
        assert [each.attributes["class"] for each in keys] == [f"key line{index}" for index in range(3)]
    styles = dict(re.findall(r"\.(line\d) \{ --line-color: ([^}]*) \}", text))
    assert len(styles) == len(set(styles.values())) == 6
    dashes = [re.search(r"--dashes: ([^;]*)", each) for each in styles.values()]
    assert len({each[1] if each else "solid" for each in dashes}) == 6  # apart without color, too


def test_the_page_is_whole_alone_and_tells_what_the_run_is(tmp_path: Path) -> None:
    lines = [*train_lines(), line(100, "validation", psnr=24.5, niqe=6.0), line(200, "validation", psnr=24.0, niqe=5.0)]
    text, root = page_of(a_run(tmp_path / "cats", lines))
    assert "http:" not in text
    assert "https:" not in text
    assert not root.all("link")
    assert all("src" not in script.attributes for script in root.all("script"))
    assert root.all("h1")[0].text == "Training run cats"
    told = facts(root)
    assert told["Progress"].startswith("step 200 of 400 (50 %)")
    assert "RRDB_PSNR_x4" in told["Started from"]
    assert told["Losses"] == "0.01 × pixel (l1) + 0.005 × adversarial (vanilla)"
    assert told["Best checkpoint"] == "not stored; the best niqe was 5, at step 200"
    assert "photos; crops of 128, 4 per batch" in told["Trained on"]
    assert "generator.network = rrdbnet" in root.all("pre")[0].text


def test_the_page_tells_of_a_grid_loss_and_of_a_teacher(tmp_path: Path) -> None:
    config = CONFIG + '\n[grid]\nweight = 30.0\nwindow = 8\n\n[distillation]\nteacher = "x4<plus>"\nshare = 0.5\n'
    lines = [line(step, "train", grid=0.3, pixel=0.1) for step in (10, 20)]
    text, root = page_of(a_run(tmp_path / "cats", lines, config=config))
    told = facts(root)["Losses"]
    assert "0.01 × pixel (l1) + 30 × grid (window 8)" in told
    assert told.endswith("; 50 % of the pixel and perceptual losses compare with x4<plus>")
    assert "x4<plus>" not in text
    assert "Grid loss" in text


def test_the_table_has_first_best_and_last_of_every_value(tmp_path: Path) -> None:
    lines = [
        *train_lines(),
        line(100, "validation", psnr=24.5, niqe=6.0),
        line(200, "validation", psnr=24.0, niqe=None),
    ]
    _, root = page_of(a_run(tmp_path, lines))
    assert cells(root, "Pixel loss") == ["lower", "1", "0.05", "200", "0.05", "0"]
    assert cells(root, "Adversarial loss") == ["–", "0.1", "–", "–", "2", "0"]
    assert cells(root, "PSNR (dB)") == ["higher", "24.5", "24.5", "100", "24", "0"]
    assert cells(root, "NIQE") == ["lower", "6", "6", "100", "6", "1"]


def test_every_caption_says_which_way_is_better_or_that_none_is(tmp_path: Path) -> None:
    _, root = page_of(a_run(tmp_path, [*train_lines(), line(9, "validation", psnr=24.5, perceptual=0.2)]))
    for title, words in (
        ("PSNR (dB)", "Higher is better"),
        ("Perceptual distance", "Lower is better"),
        ("Pixel loss", "Lower is better"),
        ("Adversarial loss", "Neither direction is better"),
        ("Discriminator outputs", "1 is real, 0 is generated"),
    ):
        assert words in panel_of(root, title).all("figcaption")[0].text


def test_the_discriminators_answers_share_a_panel_from_0_to_1(tmp_path: Path) -> None:
    _, root = page_of(a_run(tmp_path, train_lines()))
    box = panel_of(root, "Discriminator outputs")
    real, fake = dots(box), dots(box, 1)
    assert len(real) == len(fake) == 20
    assert [value for _, value in axis_of(box)][0::5] == [0, 1]
    assert real[-1][1] < fake[-1][1]  # up is toward 1
    assert box.all("line", **{"class": "level"})


def test_a_run_without_a_discriminator_has_no_such_part(tmp_path: Path) -> None:
    _, root = page_of(a_run(tmp_path, [line(1, "train", pixel=1.0)], config="steps = 3"))
    assert "Discriminator" not in [heading.text for heading in root.all("h2")]


def test_numbers_that_are_not_known_are_shown_under_their_names(tmp_path: Path) -> None:
    _, root = page_of(a_run(tmp_path, [line(1, "train", pixel=1.0, sparkle=3.0), line(1, "validation", lpips=0.5)]))
    assert cells(root, "Sparkle")[1] == "3"
    assert cells(root, "Lpips")[1] == "0.5"


@pytest.mark.parametrize("lines", [[], ['{"step": 1, "ki'], ["\x00\xff\n", "[]\n", "{}\n"]], ids=["none", "torn", "no"])
def test_a_run_that_has_just_begun_has_a_report(tmp_path: Path, lines: list[str]) -> None:
    _, root = page_of(a_run(tmp_path, lines, log=""))
    assert "No validation yet." in root.text
    assert "No values recorded yet." in root.text
    assert facts(root)["Progress"] == "step 0 of 400 (0 %)"


def test_one_validation_is_a_point(tmp_path: Path) -> None:
    _, root = page_of(a_run(tmp_path, [line(30, "validation", psnr=24.5)]))
    assert len(dots(panel_of(root, "PSNR (dB)"))) == 1


def test_a_torn_last_line_costs_only_itself(tmp_path: Path) -> None:
    lines = train_lines()
    _, root = page_of(a_run(tmp_path, [*lines, lines[0][:40]]))
    assert cells(root, "Pixel loss") == ["lower", "1", "0.05", "200", "0.05", "0"]


def test_lines_that_no_run_writes_are_left_out(tmp_path: Path) -> None:
    strange = [
        line(-1, "train", pixel=7.0),
        line(2**70, "train", pixel=7.0),
        '{"step": 1.5, "kind": "train", "pixel": 7}\n',
        '{"step": true, "kind": "train", "pixel": 7}\n',
        '{"step": 5, "kind": "train", "pixel": "7", "list": [1], "ok": true}\n',
        '{"step": 5, "kind": ["train"], "pixel": 7}\n',
        '{"step": 5, "kind": "event", "sentence": 7}\n',
        "[" * 100_000 + "\n",
        '{"step": 300, "kind": "train", "pixel": 1e999}\n',
        f'{{"step": 310, "kind": "train", "pixel": {"9" * 400}}}\n',
    ]
    _, root = page_of(a_run(tmp_path, [*train_lines(), *strange]))
    assert cells(root, "Pixel loss") == ["lower", "1", "0.05", "200", "0.05", "2"]


def test_steps_out_of_order_are_put_in_order(tmp_path: Path) -> None:
    lines = [line(step, "train", pixel=float(step)) for step in (30, 10, 20)]
    assert read_run(a_run(tmp_path, lines)).train["pixel"].values.tolist() == [10, 20, 30]


def test_numbers_that_come_late_or_only_now_and_then_keep_their_steps(tmp_path: Path) -> None:
    lines = [line(step, "train", pixel=1.0 * step, **({"d_real": 0.5} if step % 2 else {})) for step in range(1, 7)]
    train = read_run(a_run(tmp_path, lines)).train
    assert train["pixel"].steps.tolist() == [1, 2, 3, 4, 5, 6]
    assert train["pixel"].values.tolist() == [1, 2, 3, 4, 5, 6]
    assert train["d_real"].steps.tolist() == [1, 3, 5]


def test_what_happened_is_told_in_order_with_its_step_and_time(tmp_path: Path) -> None:
    left_out = "Step 151: the loss or a gradient is not finite; the step is left out."
    unlogged = "The generator only copies its input."
    lines = [line(150, "event", sentence=left_out), line(160, "event", sentence=unlogged)]
    _, root = page_of(a_run(tmp_path, [*train_lines(), *lines]))
    (part,) = root.all("section", id="events")
    rows = [[cell.text for cell in row.all("th") + row.all("td")] for row in part.all("tbody")[0].all("tr")]
    assert [(row[0], row[1][11:16], row[2][:1]) for row in rows] == [
        ("0", "10:00", ""),
        ("100", "10:10", ""),
        ("100", "12:00", ""),
        ("150", "12:20", "!"),
        ("160", "", "!"),
    ]
    assert rows[1][3].startswith("Stopped after step 100")
    assert facts(root)["Events"] == "2 that need attention"
    assert len(panel_of(root, "Pixel loss").all("line", **{"class": "event"})) == 2


def test_the_time_that_was_spent_and_is_left_is_told(tmp_path: Path) -> None:
    told = facts(page_of(a_run(tmp_path, train_lines()))[1])
    assert told["Time"] == "30 min 1 s"  # 10:00:00 to 10:10:01, 12:00 to 12:20
    assert told["Sessions"] == "2, the last one from step 100"
    assert told["Speed"].startswith("0.0833 steps per second")  # 100 in 20 minutes
    assert told["Time left"] == "40 min 0 s"
    assert told["Waiting for data"] == "25.0% of the time"
    assert told["Limited by"] == "2.5 crops a second, 40% of the time waiting for data: the data limits."


def test_the_target_of_a_run_that_was_prolonged_is_the_later_one(tmp_path: Path) -> None:
    log = LOG.replace("100 of 400", "100 of 1,000")
    assert facts(page_of(a_run(tmp_path, train_lines(), log=log))[1])["Progress"].startswith("step 200 of 1,000 (20 %)")


def test_thousands_of_sentences_keep_the_first_and_the_last(tmp_path: Path) -> None:
    log = LOG + "".join(f"2026-01-02 00:00:00 photo{index}.png is damaged.\n" for index in range(3000))
    text, _ = page_of(a_run(tmp_path, train_lines(), log=log))
    assert "photo0.png" in text
    assert "photo2999.png" in text
    assert "photo1500.png" not in text
    assert "2,504 messages are omitted here" in text


def test_the_best_checkpoint_is_told_by_its_file(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    folder = a_run(tmp_path, [line(100, "validation", niqe=4.0)])
    metadata = {"tessera.step": "2100", "tessera.validation": "niqe 3.9012"}
    save_file({"a": np.zeros(1, np.float32)}, folder / "best.safetensors", metadata)
    assert facts(page_of(folder)[1])["Best checkpoint"] == (
        "best.safetensors: step 2,100, niqe 3.9012, chosen by the lowest NIQE of all validations after the start"
    )


def test_text_from_the_run_is_only_text(tmp_path: Path) -> None:
    quoted = json.dumps(HOSTILE)
    config = f"name = {quoted}\nsteps = 4\n[generator]\nnetwork = {quoted}\n{quoted} = {quoted}\n"
    lines = [
        line(1, "train", **{HOSTILE: 1.0}),
        line(2, "event", sentence=HOSTILE),
        line(3, "validation", **{HOSTILE: 1}),
    ]
    log = f"2026-01-01 10:00:00 {HOSTILE}\n"
    text, root = page_of(a_run(tmp_path, lines, config=config, log=log))
    assert not root.all("img")
    assert len(root.all("script")) == 1
    assert "\x1b" not in text
    assert root.text.count("onerror") >= 5


@pytest.mark.parametrize("damage", [b"steps = ", b"\xff\xfe", b"steps = 'many'\nstart = 3\n[pixel]\nweight = 'x'\n"])
def test_a_damaged_configuration_is_told_and_the_rest_is_shown(tmp_path: Path, damage: bytes) -> None:
    folder = a_run(tmp_path, train_lines())
    (folder / "config.toml").write_bytes(damage)
    (folder / "best.safetensors").write_bytes(b"no weights")
    _, root = page_of(folder)
    assert cells(root, "Pixel loss")[0] == "lower"
    assert "best.safetensors is damaged" in root.text
    assert ("config.toml is damaged" in root.text) == (b"many" not in damage)


def test_a_folder_in_the_place_of_a_file_is_told(tmp_path: Path) -> None:
    folder = a_run(tmp_path, [])
    (folder / "metrics.jsonl").unlink()
    (folder / "metrics.jsonl").mkdir()
    assert "metrics.jsonl cannot be read" in page_of(folder)[1].text


def test_the_same_run_gives_the_same_bytes_and_an_earlier_report_is_replaced(tmp_path: Path) -> None:
    folder = a_run(tmp_path / "run", train_lines())
    first = write_training_report(folder).read_bytes()
    assert write_training_report(folder).read_bytes() == first
    assert write_training_report(folder, tmp_path / "other.html").read_bytes() == first
    assert sorted(path.name for path in folder.iterdir()) == ["config.toml", "log.txt", "metrics.jsonl", "report.html"]


@pytest.mark.parametrize("where", [".", "none", "\x00"])
def test_where_there_is_no_run_a_sentence_says_so(tmp_path: Path, where: str) -> None:
    with pytest.raises(UsageError, match="expected the folder of a training run"):
        write_training_report(tmp_path / where)


def test_a_page_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(PictureError, match="cannot be written"):
        write_training_report(a_run(tmp_path, []), tmp_path / "none" / "report.html")


# ----------------------------------------------------------------------------------------------------------- samples


def sheet_of(step: int) -> Array:
    """A sheet of 2 rows of 4 pictures of 32 pixels; only the outputs, the third column, differ from step to step."""
    sheet = np.full((72, 152, 3), 230, np.uint8)
    for row in range(2):
        for column in range(4):
            seed = 100 * row + column + (step if column == 2 else 0)
            top, left = row * 40, column * 40
            sheet[top : top + 32, left : left + 32] = random_pixels(1, 1, 3, np.uint8, seed=seed)[0, 0] // 2
    return sheet


def with_sheets(folder: Path, steps: list[int]) -> Path:
    (folder / "samples").mkdir(parents=True)
    for step in steps:
        save(folder / "samples" / f"{step:09d}.png", sheet_of(step))
    return a_run(folder, train_lines())


def close(picture: Array, other: Array) -> bool:
    return picture.shape == other.shape and np.abs(picture.astype(int) - other.astype(int)).mean() < 4


def test_the_sheets_are_shown_over_time_the_last_whole_the_others_where_they_differ(tmp_path: Path) -> None:
    _, root = page_of(with_sheets(tmp_path, [10, 20, 30]))
    whole, *earlier = root.all("img")
    assert close(decoded(whole.attributes["src"]), sheet_of(30))
    assert [image.attributes["alt"] for image in earlier] == ["Outputs at step 10", "Outputs at step 20"]
    for image, step in zip(earlier, (10, 20), strict=True):
        assert close(decoded(image.attributes["src"]), sheet_of(step)[:, 80:112])
        place = dict(re.findall(r"(left|top|width|height):([\d.]+)%", str(image.attributes["style"])))
        found = {key: float(share) for key, share in place.items()}
        assert found == pytest.approx(
            {"left": 100 * 80 / 152, "top": 0, "width": 100 * 32 / 152, "height": 100}, abs=0.01
        )
    (slider,) = root.all("input", type="range")
    assert slider.attributes["data-steps"] == "10,20,30"
    assert slider.attributes["aria-label"] == "Step of the outputs"
    heads = root.all("div", **{"class": "columns"})[0].all("span")
    assert [head.text for head in heads] == ["input (nearest)", "bicubic", "output", "reference"]


def test_of_many_sheets_some_are_shown_evenly_the_last_always(tmp_path: Path) -> None:
    steps = [10 * index for index in range(1, 61)]
    chosen = pick_evenly(steps)
    assert len(chosen) == MOST_SHEETS
    assert (chosen[0], chosen[-1]) == (10, 600)
    assert max(np.diff(chosen)) <= 50
    _, root = page_of(with_sheets(tmp_path, steps))
    assert len(root.all("img")) == MOST_SHEETS
    assert "16 of 60 sheets" in root.text


def test_one_sheet_needs_no_slider(tmp_path: Path) -> None:
    _, root = page_of(with_sheets(tmp_path, [10]))
    assert len(root.all("img")) == 1
    assert not root.all("input")


def test_sheets_that_are_damaged_or_of_another_size_are_left_out_and_told(tmp_path: Path) -> None:
    folder = with_sheets(tmp_path, [10, 20, 30, 40])
    save(folder / "samples" / "000000010.png", sheet_of(10)[:40])
    whole = (folder / "samples" / "000000040.png").read_bytes()
    (folder / "samples" / "000000040.png").write_bytes(whole[:200])
    (folder / "samples" / "notes.png").write_bytes(b"")
    _, root = page_of(folder)
    assert [image.attributes["alt"] for image in root.all("img")] == ["Samples at step 30", "Outputs at step 20"]
    assert "The sheet of step 10 is missing here" in root.text
    assert "000000040.png" in root.text


def test_sheets_that_take_too_much_are_thinned_and_the_last_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = with_sheets(tmp_path, list(range(10, 100, 10)))
    one = max(len(str(image.attributes["src"])) for image in page_of(folder)[1].all("img")[1:])
    monkeypatch.setattr("tessera.report.samples._MOST_BYTES", 3 * one)
    shown = [str(image.attributes["alt"]) for image in page_of(folder)[1].all("img")]
    assert shown == ["Samples at step 90", "Outputs at step 10", "Outputs at step 50"]


def test_of_a_very_high_sheet_the_upper_rows_are_shown(tmp_path: Path) -> None:
    folder = with_sheets(tmp_path, [])
    high = np.tile(sheet_of(10), (40, 1, 1))
    save(folder / "samples" / "10.png", high)
    (image,) = page_of(folder)[1].all("img")
    shown = decoded(image.attributes["src"])
    assert shown.shape[0] < 1400
    assert close(shown, high[: shown.shape[0]])


def test_the_rectangle_of_difference_is_the_smallest() -> None:
    picture = np.zeros((20, 30, 3), np.uint8)
    other = picture.copy()
    assert str(find_differing_region(picture, other)) == "0,0,1x1"
    other[4, 7, 1] = other[9, 20, 2] = 1
    assert str(find_differing_region(picture, other)) == "7,4,14x6"


# --------------------------------------------------------------------------------------------------------- a browser


def test_in_a_browser_keys_and_pointer_read_the_curves_and_the_slider_goes_through_time(tmp_path: Path) -> None:
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        pytest.skip("no Chromium here")
    text, _ = page_of(with_sheets(tmp_path, [10, 20, 30]))
    script = """<script>
      const said = [], box = [...document.querySelectorAll(".curve-box")].find(
        each => each.querySelector("h3").textContent === "Discriminator outputs");
      const curve = box.querySelector(".curve"), output = box.querySelector("output");
      const press = key => {
        curve.dispatchEvent(new KeyboardEvent("keydown", { key })); said.push(output.textContent);
      };
      press("Home"); press("ArrowRight"); press("End");
      const edge = curve.querySelector("svg").getBoundingClientRect();
      curve.dispatchEvent(new PointerEvent("pointermove", { clientX: edge.left + edge.width * (74 + 236) / 560 }));
      said.push(output.textContent, curve.getAttribute("role"), String(curve.tabIndex));
      const range = document.querySelector(".over-time input");
      range.value = "1";
      range.dispatchEvent(new Event("input"));
      const shown = [...document.querySelectorAll(".over-time img")].filter(each => !each.hidden);
      said.push(shown.map(each => each.alt).join("+"), range.getAttribute("aria-valuetext"));
      document.body.textContent = said.join(";");
    </script>"""
    (tmp_path / "driven.html").write_text(text.replace("</body>", f"{script}</body>"), encoding="utf-8")
    flags = ("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking")
    command = [browser, *flags, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom"]
    try:
        done = subprocess.run(
            [*command, (tmp_path / "driven.html").as_uri()], capture_output=True, text=True, timeout=60, check=False
        )
    except subprocess.TimeoutExpired:
        pytest.skip("Chromium does not answer here")
    if done.returncode or "<body>" not in done.stdout:
        pytest.skip("Chromium does not start here")
    body = parsed(done.stdout).all("body")[0].text.strip()
    first, second, last, under, role, focus, pictures, step = body.split(";")
    assert first == "Step 10: output for real pictures 0.51, output for generated pictures 0.49"
    assert second.startswith("Step 20: output for real pictures 0.52,")
    assert last.startswith("Step 200: output for real pictures 0.7,")
    assert under.startswith("Step 100: ")
    assert (role, focus) == ("slider", "0")
    assert pictures == "Samples at step 30+Outputs at step 20"
    assert step == "Step 20"
