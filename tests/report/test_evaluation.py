"""The report of an evaluation, read back."""

from __future__ import annotations

import dataclasses
import math
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from pictures import Array, ramp, random_pixels, save
from report.reading import decoded, parsed
from tessera.errors import PictureError
from tessera.evaluate.scores import Evaluation, Mean, PairedDifference, ScoreRow
from tessera.metrics.metric import MetricInfo
from tessera.report import write_report
from tessera.report.evaluation import main_method, ranking_metric

PSNR = MetricInfo(
    name="psnr",
    title="PSNR (dB)",
    summary="Distance in decibels.",
    source="a book",
    higher_is_better=True,
    lowest=0,
    highest=math.inf,
    needs=("gt",),
    decimals=2,
)
NIQE = MetricInfo(
    name="niqe",
    title="NIQE",
    summary="Distance from photographs.",
    source="a paper",
    higher_is_better=False,
    lowest=0,
    highest=100,
)
HOSTILE = (
    '<img src=x onerror="alert(1)">',
    "quote\"'&amp;",
    "😀 שלום",
    "\u202egnp.exe",
    "a\x1b[31m\udcff",
    "]]>--></script>",
)
MARK = (97, 130)  # row and column


def scored(folder: Path, names: tuple[str, ...] = ("one", "two", "three"), **changes: object) -> Evaluation:
    """Pictures 192 x 256, of which the results carry one red pixel, at the same place, among noise of their own."""
    rows: list[ScoreRow] = []
    for index, picture in enumerate(names):
        gt = ramp(192, 256, seed=index)
        gt[MARK] = (255, 0, 0)
        gt_path = save(folder / f"gt_{index}.png", gt)
        lq = np.ascontiguousarray(gt[::4, ::4])
        lq[MARK[0] // 4, MARK[1] // 4] = (255, 0, 0)
        lq_path = save(folder / f"lq_{index}.png", lq)
        for place, method in enumerate(("bicubic", "mine", "other")):
            sr = gt.copy()
            sr[64:128, 96:160] = sr[64:128, 96:160] // 2 + random_pixels(64, 64, 3, np.uint8, seed=place) // 4
            sr[MARK] = (255, 0, 0)
            path = save(folder / f"{method}_{index}.png", sr)
            scores = {"psnr": 20.0 + 5 * place + index, "niqe": 9.0 - place - index / 10}
            rows.append(ScoreRow(method=method, picture=picture, scores=scores, sr=path, gt=gt_path, lq=lq_path))
    means = [
        Mean(
            method=method,
            metric=metric,
            mean=start + step * place,
            low=start - 1,
            high=start + 9,
            count=len(names),
            total=len(names),
        )
        for place, method in enumerate(("bicubic", "mine", "other"))
        for metric, start, step in (("psnr", 21.0, 5.0), ("niqe", 9.0, -1.0))
    ]
    difference = PairedDifference(
        method="mine",
        other="bicubic",
        metric="niqe",
        difference=-1.0,
        low=-1.5,
        high=-0.5,
        p_value=0.003,
        count=3,
        total=3,
    )
    evaluation = Evaluation(
        title="Set3 x4",
        scale=4,
        protocol={"name": "paper", "channel": "Y of YCbCr", "crop": "4 pixels"},
        metrics=(PSNR, NIQE),
        methods=("bicubic", "mine", "other"),
        pictures=names,
        rows=tuple(rows),
        means=tuple(means),
        differences=(difference,),
        notes=("The LR was made here.",),
    )
    return dataclasses.replace(evaluation, **changes)


def report(evaluation: Evaluation, folder: Path) -> str:
    path = folder / "report.html"
    write_report([evaluation], path)
    return path.read_text(encoding="utf-8")


def test_results_come_first_and_the_protocol_is_folded_below_them(tmp_path: Path) -> None:
    root = parsed(report(scored(tmp_path), tmp_path))
    titles = [each.text for each in root.all("h2")]
    assert titles[0] == "Summary"
    assert titles.index("Protocol") > titles.index("All scores")
    (folded,) = root.all("details")
    assert "open" not in folded.attributes
    assert "4 pixels" in folded.text
    heads = [each.text for each in root.all("table")[0].all("th", scope="col")]
    assert heads[1].count("↑") == 1  # one arrow: the better direction
    assert not re.search(r"th[^{]*::after", report(scored(tmp_path), tmp_path))


@pytest.mark.parametrize(
    ("count", "p_value", "verdict", "said"),
    [
        (3, 0.25, "too few pictures", "With 3 pictures p cannot fall below 0.25"),
        (5, 0.0625, "too few pictures", "With 5 pictures p cannot fall below 0.0625"),
        (6, 0.0625, "no clear difference", None),  # 2 of 64 flips: p could be 0.03125
        (6, 0.03125, "better", None),
    ],
)
def test_a_verdict_names_its_test_and_what_few_pictures_cannot_show(
    count: int, p_value: float, verdict: str, said: str | None, tmp_path: Path
) -> None:
    evaluation = scored(tmp_path)
    apart = dataclasses.replace(evaluation.differences[0], count=count, total=count, p_value=p_value)
    text = report(dataclasses.replace(evaluation, differences=(apart,)), tmp_path)
    table = parsed(text).all("table")[1]
    assert table.all("tr")[1].children[-1].text == verdict
    assert "p (sign-flip)" in table.text
    assert "the p-value of the paired sign-flip test" in text
    assert ("cannot fall below" in text) == (said is not None)
    assert said is None or said in text


def test_the_report_is_well_formed_and_holds_every_row_and_every_line_of_the_protocol(tmp_path: Path) -> None:
    evaluation = scored(tmp_path, problems=("extra.png has no partner.",))
    root = parsed(report(evaluation, tmp_path))
    summary, differences, scores, _ = root.all("table")
    rows = [[cell.text for cell in row.children] for row in scores.all("tr")[1:]]
    assert [(row[0], row[1]) for row in rows] == [(row.picture, row.method) for row in evaluation.rows]
    assert next(row[2:] for row in rows) == ["20.00", "9.0000"]
    assert [cell.text for cell in root.all("dt")] == list(evaluation.protocol)
    assert [cell.text for cell in root.all("dd")] == list(evaluation.protocol.values())
    assert "★ 31.00 (best) [20.00, 30.00]" in summary.text
    assert [cell.text for cell in differences.all("tr")[1].children][-1] == "better"
    for sentence in ("extra.png has no partner.", "The LR was made here."):
        assert sentence in root.text


def test_the_best_is_marked_by_a_sign_and_a_word(tmp_path: Path) -> None:
    summary = parsed(report(scored(tmp_path), tmp_path)).all("table")[0]
    marked = [row.children[0].text for row in summary.all("tr")[1:] for cell in row.children if "★" in cell.text]
    assert marked == ["other", "other"]
    assert summary.text.count("(best)") == 2


def test_the_report_loads_nothing(tmp_path: Path) -> None:
    page = report(scored(tmp_path), tmp_path)
    root = parsed(page)
    assert "http:" not in page
    assert "https:" not in page
    assert not root.all("link")
    assert all(not script.attributes for script in root.all("script"))
    assert all(str(image.attributes["src"]).startswith("data:image/png;base64,") for image in root.all("img"))
    assert all(str(link.attributes["href"]).startswith("#") for link in root.all("a"))
    assert not re.search(r"url\(|@import", page)
    assert root.all("meta", **{"http-equiv": "Content-Security-Policy"})
    assert str(tmp_path) not in page


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    evaluation = scored(tmp_path, HOSTILE, title="</title><script>alert(2)</script>")
    root = parsed(report(evaluation, tmp_path))
    assert len(root.all("script")) == 1
    assert not [image for image in root.all("img") if "onerror" in image.attributes]
    names = [row.children[0].text for row in root.all("table")[2].all("tr")[1:]]
    expected = [name.replace("\x1b", "\\x1b").replace("\udcff", "\\udcff") for name in HOSTILE]
    assert list(dict.fromkeys(names)) == expected
    assert root.all("h1")[0].text == evaluation.title
    assert all(row.children[0].all("bdi") for row in root.all("table")[2].all("tr")[1:])


def test_the_same_evaluation_gives_the_same_bytes(tmp_path: Path) -> None:
    evaluation = scored(tmp_path)
    write_report([evaluation], tmp_path / "a.html")
    write_report([evaluation], tmp_path / "b.html")
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def crops(page: str) -> dict[str, dict[str, Array]]:
    """Crops by their picture's heading, then by what they show."""
    found: dict[str, dict[str, Array]] = {}
    (best,) = parsed(page).all("section", id="best")
    headings = iter(best.all("h3"))
    for group in (each for each in best.children if each.tag == "div"):
        heading = next(headings).text
        found[heading] = {str(img.attributes["alt"]): decoded(img.attributes["src"]) for img in group.all("img")}
    return found


def test_crops_are_aligned_to_the_pixel(tmp_path: Path) -> None:
    found = crops(report(scored(tmp_path), tmp_path))
    assert list(found) == ["Best: three, 27.00", "Worst: one, 25.00"]
    for views in found.values():
        assert list(views) == ["input (lq)", "bicubic", "mine", "other", "reference (gt)"]
        red = {name: np.argwhere((view == (255, 0, 0)).all(axis=2)) for name, view in views.items()}
        assert {view.shape for view in views.values()} == {(128, 128, 3)}
        (place,) = red["reference (gt)"]
        for name in ("bicubic", "mine", "other"):
            assert (red[name] == [place]).all()
        assert (red["input (lq)"].min(axis=0) == place // 4 * 4).all()
        assert len(red["input (lq)"]) == 16


def test_crops_lie_where_the_methods_differ(tmp_path: Path) -> None:
    page = report(scored(tmp_path), tmp_path)
    for x, y in re.findall(r"Region (\d+),(\d+),128x128", page):
        assert int(x) <= 96
        assert int(x) + 128 >= 160
        assert int(y) <= 64
        assert int(y) + 128 >= 128


def test_missing_scores_and_infinity_are_shown_as_such_and_sort_as_numbers(tmp_path: Path) -> None:
    evaluation = scored(tmp_path)
    first, second, *others = evaluation.rows
    first = dataclasses.replace(first, scores={"psnr": math.inf})
    second = dataclasses.replace(second, scores={"niqe": 8.0}, problems=("too small.",))
    root = parsed(report(dataclasses.replace(evaluation, rows=(first, second, *others)), tmp_path))
    rows = root.all("table")[2].all("tr")[1:]
    assert [cell.text for cell in rows[0].children][2:4] == ["∞", "–"]
    assert [cell.attributes.get("data-value") for cell in rows[0].children][2:4] == ["inf", ""]
    assert [cell.text for cell in rows[1].children][2:] == ["–", "8.0000", "too small."]


def test_results_that_are_gone_damaged_or_mis_sized_are_named_and_the_rest_is_shown(tmp_path: Path) -> None:
    evaluation = scored(tmp_path)
    save(tmp_path / "other_0.png", ramp(96, 128))
    (tmp_path / "bicubic_0.png").unlink()
    (tmp_path / "mine_2.png").write_bytes((tmp_path / "mine_2.png").read_bytes()[:3000])
    page = report(evaluation, tmp_path)
    root = parsed(page)
    assert "other is not shown: it is 128x96, the others 256x192." in root.text
    assert "bicubic_0.png: no such file." in root.text
    assert "mine_2.png" in root.text
    assert "All scores" in page


def test_an_evaluation_without_pictures_references_or_scores_has_a_report(tmp_path: Path) -> None:
    evaluation = scored(tmp_path)
    bare = tuple(dataclasses.replace(row, sr=None, gt=None, lq=None) for row in evaluation.rows)
    assert "Best and worst" not in report(dataclasses.replace(evaluation, rows=bare), tmp_path)
    nothing = dataclasses.replace(evaluation, rows=(), means=(), differences=(), methods=(), metrics=())
    parsed(report(nothing, tmp_path))
    alone = dataclasses.replace(evaluation, rows=evaluation.rows[:3], pictures=("one",))
    assert "Picture: one" in parsed(report(alone, tmp_path)).text


def test_the_report_ranks_by_what_compares_with_the_truth_and_shows_what_is_no_baseline(tmp_path: Path) -> None:
    evaluation = scored(tmp_path, metrics=(NIQE, PSNR))
    assert main_method(evaluation) == "mine"
    assert ranking_metric(evaluation) is PSNR


def test_the_size_of_the_report_is_bounded_whatever_is_scored(tmp_path: Path) -> None:
    noise = save(tmp_path / "noise.png", random_pixels(600, 900, 3, np.uint8))
    methods = tuple(f"method {index}" for index in range(20))
    rows = tuple(
        ScoreRow(method=method, picture=f"{index:02}", scores={"psnr": float(index)}, sr=noise, gt=noise)
        for method in methods
        for index in range(12)
    )
    many = scored(tmp_path, rows=rows, methods=methods, means=(), pictures=tuple(f"{i:02}" for i in range(12)))
    assert len(report(many, tmp_path)) < 6 * 11 * 72_000


def test_a_report_that_cannot_be_written_is_a_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    evaluation = scored(tmp_path)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(PictureError, match="cannot be written: No such file or directory"):
        write_report([evaluation], tmp_path / "none" / "report.html")
    assert sorted(tmp_path.iterdir()) == before


def test_a_click_sorts_numbers_as_numbers_with_what_is_missing_last(tmp_path: Path) -> None:
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        pytest.skip("no Chromium here")
    evaluation = scored(tmp_path)
    first, second, *others = evaluation.rows
    first = dataclasses.replace(first, scores={"psnr": math.inf, "niqe": 10.0})
    second = dataclasses.replace(second, scores={"psnr": 9.5})
    page = report(dataclasses.replace(evaluation, rows=(first, second, *others)), tmp_path)
    script = """<script>
      const table = document.querySelectorAll("table.sortable")[2], said = [];
      const column = index => [...table.tBodies[0].rows].map(row => row.cells[index].textContent).join(" ");
      for (const index of [2, 2, 3, 3]) {
        table.tHead.querySelectorAll("button")[index].click();
        said.push(column(index), table.tHead.rows[0].cells[index].getAttribute("aria-sort"));
      }
      document.body.textContent = said.join(";");
    </script>"""
    (tmp_path / "clicked.html").write_text(page.replace("</body>", f"{script}</body>"), encoding="utf-8")
    flags = ("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking")
    command = [browser, *flags, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom"]
    try:
        done = subprocess.run(
            [*command, (tmp_path / "clicked.html").as_uri()], capture_output=True, text=True, timeout=60, check=False
        )
    except subprocess.TimeoutExpired:
        pytest.skip("Chromium does not answer here")
    if done.returncode or "<body>" not in done.stdout:
        pytest.skip("Chromium does not start here")
    up, rising, down, falling, niqe_up, _, niqe_down, _ = parsed(done.stdout).all("body")[0].text.strip().split(";")
    assert (rising, falling) == ("ascending", "descending")
    assert up == "9.50 21.00 22.00 26.00 27.00 30.00 31.00 32.00 ∞"
    assert down.split() == up.split()[::-1]
    assert niqe_up.split()[-2:] == ["10.0000", "–"]
    assert niqe_down.split()[0] == "10.0000"
    assert niqe_down.split()[-1] == "–"
