"""`tessera compare`, run through its own application."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from pictures import ramp, random_pixels, save
from report.reading import decoded, parsed
from tessera.cli.compare import app
from tessera.errors import PictureError, UsageError
from tessera.images.picture import read_picture
from tessera.report import letters

MARK = (101, 142)  # row and column


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(each) for each in arguments])


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    """Originals 160 x 240, results, and inputs a fourth of their size, all with a red pixel in one place."""
    made = [tmp_path / name for name in ("hr", "sr", "lr")]
    for folder in made:
        folder.mkdir()
    for name in ("cat", "dog"):
        hr = ramp(160, 240)
        sr = hr.copy()
        sr[80:120, 120:160] ^= 32
        hr[MARK] = sr[MARK] = (255, 0, 0)
        lr = np.ascontiguousarray(hr[::4, ::4])
        lr[MARK[0] // 4, MARK[1] // 4] = (255, 0, 0)
        save(made[0] / f"{name}.png", hr)
        save(made[1] / f"{name}_out.png", sr)
        save(made[2] / f"{name}x4.png", lr)
    return made


def test_the_page_is_well_formed_alone_and_holds_every_picture(folders: list[Path], tmp_path: Path) -> None:
    result = run(*folders, "-o", tmp_path / "sheet.html")
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{tmp_path / 'sheet.html'}: 2 groups compared.\n"
    page = (tmp_path / "sheet.html").read_text(encoding="utf-8")
    root = parsed(page)
    assert [heading.text for heading in root.all("h2")] == ["cat", "dog"]
    assert "http:" not in page
    assert "https:" not in page
    assert all(str(image.attributes["src"]).startswith("data:") for image in root.all("img"))
    assert len(root.all("input", type="range")) == 2
    assert [button.text for button in root.all("button")] == ["hr", "sr", "lr"] * 4
    for said in ("cat_out.png", "60x40", "240x160", "4x nearest"):
        assert said in root.text
    assert str(tmp_path) not in page
    assert "cat: shown at the size of the largest, 240x160: lr (4x nearest)." in result.output


def test_crops_show_the_same_place_of_all(folders: list[Path], tmp_path: Path) -> None:
    run(*folders, "-o", tmp_path / "sheet.html")
    root = parsed((tmp_path / "sheet.html").read_text(encoding="utf-8"))
    crops = {
        str(image.attributes["alt"]): decoded(image.attributes["src"])
        for image in root.all("figure")[0:3]
        for image in image.all("img")
    }
    assert list(crops) == ["hr, 1:1", "sr, 1:1", "lr, 1:1"]
    red = [np.argwhere((crop == (255, 0, 0)).all(axis=2)) for crop in crops.values()]
    assert len(red[0]) == len(red[1]) == 1
    assert (red[0] == red[1]).all()
    assert (red[2].min(axis=0) == red[0][0] // 4 * 4).all()
    assert len(red[2]) == 16


def test_the_same_pictures_give_the_same_bytes(folders: list[Path], tmp_path: Path) -> None:
    for kind in ("html", "png"):
        run(*folders, "-o", tmp_path / f"a.{kind}")
        run(*folders, "-o", tmp_path / f"b.{kind}")
        assert (tmp_path / f"a.{kind}").read_bytes() == (tmp_path / f"b.{kind}").read_bytes()


@pytest.mark.parametrize("columns", [1, 2, 3])
def test_the_png_has_each_picture_under_its_label_and_aligned_crops(
    folders: list[Path], tmp_path: Path, columns: int
) -> None:
    result = run(*folders, "-o", tmp_path / "s.png", "--crop", "96,80,64x48", "--columns", columns, "--limit", 1)
    assert result.exit_code == 0, result.output
    assert "Only the first 1 of 2 groups are shown" in result.output
    pixels = read_picture(tmp_path / "s.png").pixels
    hr = read_picture(folders[0] / "cat.png").pixels
    enlarged = hr[80:128, 96:160].repeat(4, axis=0).repeat(4, axis=1)
    line = letters.LINE_HEIGHT
    top = 16 + line + 2 * line
    assert (pixels[top : top + 160, 16 : 16 + 240] == hr).all()
    assert (pixels[top + 168 : top + 168 + 192, 16 : 16 + 256] == enlarged).all()
    assert (pixels[16 + line : 16 + 2 * line, 16:272] < 128).any()  # the label
    assert pixels.shape[1] == 16 + columns * (256 + 16)
    red = np.argwhere((pixels == (255, 0, 0)).all(axis=2))
    assert len(red) == 2 * (1 + 16) + 16 + 256


def test_labels_beyond_ascii_without_text_in_libvips_are_said(
    folders: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(letters, "can_draw_text", lambda: False)
    labels = ["--label", "Zürich", "--label", "b", "--label", "<c>"]
    result = run(*folders, "-o", tmp_path / "s.png", *labels)
    assert result.exit_code == 0
    assert "non-ASCII characters in labels are drawn as boxes" in result.output


def test_files_can_be_named_and_sizes_may_differ(tmp_path: Path) -> None:
    first = save(tmp_path / "a.png", ramp(90, 120, 1))
    second = save(tmp_path / "b.jpg", ramp(60, 100))
    third = save(tmp_path / "c.png", ramp(64, 64, 4, np.uint16))
    for kind in ("html", "png"):
        result = run(first, second, third, "-o", tmp_path / f"s.{kind}")
        assert result.exit_code == 0, result.output
        assert "120x90: b (Lanczos, stretched unequally), c (Lanczos, stretched unequally)" in result.output


def test_hostile_names_and_labels_stay_text(tmp_path: Path) -> None:
    first = save(tmp_path / "a.png", ramp(40, 40))
    second = save(tmp_path / "b.png", ramp(40, 40, seed=1))
    evil = '"><script>alert(1)</script>'
    assert run(first, second, "--label", evil, "--label", "שלום 😀", "-o", tmp_path / "s.html").exit_code == 0
    root = parsed((tmp_path / "s.html").read_text(encoding="utf-8"))
    assert len(root.all("script")) == 1
    assert root.all("button")[0].text == evil


@pytest.mark.parametrize("kind", ["html", "png"])
def test_an_unreadable_picture_is_named_and_the_others_are_shown(
    folders: list[Path], tmp_path: Path, kind: str
) -> None:
    (folders[1] / "cat_out.png").write_bytes(b"no picture")
    whole = (folders[2] / "dogx4.png").read_bytes()
    (folders[2] / "dogx4.png").write_bytes(whole[: len(whole) // 2])
    result = run(*folders, "-o", tmp_path / f"s.{kind}")
    assert result.exit_code == 1
    assert "cat_out.png" in result.output
    assert "dogx4.png" in result.output
    assert "2 groups compared, 2 pictures could not be read." in result.output
    if kind == "html":
        root = parsed((tmp_path / "s.html").read_text(encoding="utf-8"))
        assert [button.text for button in root.all("button")] == ["hr", "lr", "hr", "lr", "hr", "sr", "hr", "sr"]
    else:
        assert read_picture(tmp_path / "s.png").pixels.shape[2] == 3


@pytest.mark.parametrize("kind", ["html", "png"])
def test_a_subject_of_which_nothing_can_be_read_stops_nothing(folders: list[Path], tmp_path: Path, kind: str) -> None:
    for folder in folders:
        next(folder.glob("cat*")).write_bytes(b"no picture")
    result = run(*folders, "-o", tmp_path / f"s.{kind}")
    assert result.exit_code == 1
    assert "3 pictures could not be read" in result.output
    assert (tmp_path / f"s.{kind}").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["none"], "no such file or folder"),
        ([], "Name two or more folders"),
        (["-o", "s.jpg"], "output: expected NAME.html or NAME.png"),
        (["-o", "none/s.png"], "folder none does not exist"),
        (["--crop", "1,2,3"], "expected X,Y,WxH in pixels"),
        (["--crop", "1,2,0x9"], "expected sides of 1 to 512"),
        (["--crop", "1,2,999x9"], "expected sides of 1 to 512"),
        (["--max-side", "3"], "expected 16 to 16384"),
        (["--columns", "0"], "expected 1 to 100"),
        (["--limit", "0"], "expected 1 or more"),
        (["--max-pixels", "-1"], "expected a number of pixels"),
    ],
)
def test_wrong_usage_is_a_sentence(
    folders: list[Path], monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: str
) -> None:
    monkeypatch.chdir(folders[0].parent)
    inputs = [] if not arguments else folders[:1] if arguments == ["none"] else folders[:2]
    result = run(*inputs, *arguments)
    assert isinstance(result.exception, UsageError)
    assert words in str(result.exception)
    assert not Path("comparison.html").exists()


def test_a_sheet_is_replaced_only_when_asked_and_an_input_never(folders: list[Path], tmp_path: Path) -> None:
    sheet = tmp_path / "s.html"
    sheet.write_text("mine", encoding="utf-8")
    assert "`overwrite`" in str(run(*folders, "-o", sheet).exception)
    assert sheet.read_text(encoding="utf-8") == "mine"
    assert run(*folders, "-o", sheet, "--overwrite").exit_code == 0
    result = run(*folders, "-o", folders[0] / "cat.png", "--overwrite")
    assert "is one of the inputs" in str(result.exception)


def test_a_region_beyond_a_picture_is_moved_and_that_is_said(folders: list[Path], tmp_path: Path) -> None:
    result = run(*folders, "-o", tmp_path / "s.html", "--crop", "230,150,32x32")
    assert "the region 230,150,32x32 lies partly outside 240x160; 208,128,32x32 is shown instead" in result.output


def test_whole_pictures_are_bounded(tmp_path: Path) -> None:
    first = save(tmp_path / "a.png", random_pixels(900, 1400, 3, np.uint8))
    second = save(tmp_path / "b.png", random_pixels(900, 1400, 3, np.uint8, seed=1))
    run(first, second, "-o", tmp_path / "s.html", "--max-side", 200)
    root = parsed((tmp_path / "s.html").read_text(encoding="utf-8"))
    assert {decoded(image.attributes["src"]).shape for image in root.all("img")} == {(129, 200, 3), (96, 96, 3)}
    assert (tmp_path / "s.html").stat().st_size < 500_000
    result = run(first, second, "-o", tmp_path / "small.html", "--max-pixels", 1000)
    assert result.exit_code == 1
    assert "set --max-pixels to 1260000 to allow it" in result.output


def test_a_sheet_that_cannot_be_written_is_a_sentence(folders: list[Path], tmp_path: Path) -> None:
    result = run(*folders, "-o", tmp_path / f"{'x' * 300}.html")
    assert isinstance(result.exception, PictureError | UsageError)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hr", "lr", "sr"]
