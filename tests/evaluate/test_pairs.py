from pathlib import Path

import pytest

from tessera.dataset.pairing import key_of
from tessera.errors import UsageError
from tessera.evaluate.pairs import PicturePair, find_benchmark, match_by_name, open_benchmark, pair_folders

NAMES = ("baby", "bird", "butterfly", "head", "woman")
LAYOUTS = {
    "SelfExSR": ("Set5/image_SRF_4/img_00{n}_SRF_4_HR.png", "Set5/image_SRF_4/img_00{n}_SRF_4_LR.png"),
    "EDSR": ("benchmark/Set5/HR/{name}.png", "benchmark/Set5/LR_bicubic/X4/{name}x4.png"),
    "BasicSR": ("Set5/GTmod12/{name}.png", "Set5/LRbicx4/{name}.png"),
    "by scale": ("Set5/HR_x4/img_00{n}.png", "Set5/LR_x4/img_00{n}.png"),
    "marked": ("Set5/{name}_SRF_4_HR.png", "Set5/{name}_SRF_4_LR.png"),
    "references only": ("Set5/{name}.bmp", None),
    "one folder of HR": ("set5/HR/{name}.png", None),
}


def touch(root: Path, pattern: str | None) -> None:
    for number, name in enumerate(NAMES, 1):
        if pattern is not None:
            path = root / pattern.format(n=number, name=name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_test_set_is_found_in_every_layout(layout, tmp_path):
    gt, lq = LAYOUTS[layout]
    touch(tmp_path, gt)
    touch(tmp_path, lq)
    touch(tmp_path, "Set5/image_SRF_4/img_00{n}_SRF_4_SelfExSR.png" if layout == "SelfExSR" else None)
    touch(tmp_path, "Set5/HR_x2/img_00{n}.png" if layout == "by scale" else None)
    found = open_benchmark(find_benchmark("set5"), tmp_path, 4)
    assert found.problems == ()
    assert len(found.pairs) == 5
    for number, (name, pair) in enumerate(zip(NAMES, found.pairs, strict=True), 1):
        assert pair.gt == tmp_path / gt.format(n=number, name=name)
        assert pair.lq == (tmp_path / lq.format(n=number, name=name) if lq else None)


def test_div2k_is_found_beside_its_own_folders(tmp_path):
    for name in ("0801", "0802"):
        for path in (f"DIV2K_valid_HR/{name}.png", f"DIV2K_valid_LR_bicubic/X4/{name}x4.png"):
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).touch()
    found = open_benchmark(find_benchmark("DIV2K"), tmp_path, 4)
    assert [pair.name for pair in found.pairs] == ["0801", "0802"]
    assert "100 pictures; 2 were found" in found.notes[0]


def test_a_set_without_references_has_inputs_only(tmp_path):
    (tmp_path / "RealSRSet").mkdir()
    (tmp_path / "RealSRSet" / "dog.png").touch()
    pair = open_benchmark(find_benchmark("RealSRSet"), tmp_path, 4).pairs[0]
    assert (pair.gt, pair.lq) == (None, tmp_path / "RealSRSet" / "dog.png")


def test_unknown_sets_and_missing_folders_get_a_sentence(tmp_path):
    with pytest.raises(UsageError, match="did you mean Set14"):
        find_benchmark("Set-1")
    with pytest.raises(UsageError, match="no folder Urban100"):
        open_benchmark(find_benchmark("urban100"), tmp_path, 4)
    (tmp_path / "Urban100").mkdir()
    with pytest.raises(UsageError, match="no pictures for scale 4"):
        open_benchmark(find_benchmark("urban100"), tmp_path, 4)
    with pytest.raises(UsageError, match="no such folder"):
        pair_folders(sr=tmp_path / "nowhere", gt=tmp_path)


def test_what_has_no_partner_is_named():
    results = [Path("sr/a_out.png"), Path("sr/b.png"), Path("sr/c.png")]
    references = [Path("gt/a.png"), Path("gt/c.png"), Path("gt/d.png")]
    pairs, problems = match_by_name(results, references, ("results", "references"))
    assert pairs == [
        PicturePair("a", gt=references[0], sr=results[0]),
        PicturePair("c", gt=references[1], sr=results[2]),
    ]
    assert problems == [
        "sr/b.png: has no partner among the references.",
        "gt/d.png: has no partner among the results.",
    ]


def test_a_result_may_carry_the_name_of_its_method():
    results = [Path("baby_RCAN_x4.png"), Path("baby_2_RCAN_x4.png"), Path("babylon_x4.png")]
    pairs, problems = match_by_name(
        results, [Path("baby_HR_x4.png"), Path("baby_2_HR_x4.png")], ("results", "references")
    )
    assert [(pair.sr, pair.gt) for pair in pairs] == [
        (results[0], Path("baby_HR_x4.png")),
        (results[1], Path("baby_2_HR_x4.png")),
    ]
    assert problems == ["babylon_x4.png: has no partner among the references."]


def test_ambiguous_names_are_not_guessed():
    _, problems = match_by_name([Path("a_out.png")], [Path("a_HR.png"), Path("a_x4.png")], ("results", "references"))
    assert "several possible partners" in problems[0]
    pairs, problems = match_by_name([Path("a_out.png"), Path("a_sr.png")], [Path("a.png")], ("results", "references"))
    assert pairs == []
    assert [problem.split(": ")[1].split(" among")[0] for problem in problems] == ["has several possible partners"] * 3


def match(results: str, references: str) -> dict[str, str]:
    """Pairs of stems, from stems."""
    first, second = ([Path(f"{name}.png") for name in names.split()] for names in (results, references))
    pairs, _ = match_by_name(first, second, ("results", "references"))
    return {pair.sr.stem: pair.gt.stem for pair in pairs if pair.sr is not None and pair.gt is not None}


@pytest.mark.parametrize(
    ("results", "references", "expected"),
    [
        ("box1 box2 fox2", "box1 box2 fox2", "box1 box2 fox2"),
        ("box1 cat", "box2 cat", "- cat"),
        ("box1", "box2", "-"),
        ("box1x4 box2x4", "box1 box2", "box1 box2"),
        ("box1_out box2_out", "box1 box2", "box1 box2"),
        ("boxx4 box1x4", "box box1", "box box1"),
        ("a_x4 b_x4", "a b", "a b"),
        ("a b_x4", "a b", "a -"),  # x4 is not a mark of this set
        ("a_x2 b_x4", "a b", "- -"),
        ("a_x4 b_x4 stray", "a b", "a b -"),
        ("cat_2", "cat", "-"),  # perhaps another cat
        ("cat_EDSR dog_EDSR", "cat dog", "cat dog"),
        ("cat_black dog_white", "cat dog", "- -"),
        ("cat_RCAN cat_EDSR", "cat", "- -"),
        ("box1_RCAN", "box1 bo", "box1"),
    ],
)
def test_marks_are_those_of_the_whole_set(results: str, references: str, expected: str) -> None:
    wanted = dict(zip(results.split(), expected.split(), strict=True))
    assert match(results, references) == {name: partner for name, partner in wanted.items() if partner != "-"}


def test_pictures_whose_names_end_in_a_mark_have_names_of_their_own(tmp_path: Path) -> None:
    paths = [Path("sr/box1_out.png"), Path("sr/box2_out.png")], [Path("gt/box1.png"), Path("gt/box2.png")]
    pairs, _ = match_by_name(*paths, ("results", "references"))
    assert [pair.name for pair in pairs] == ["box1", "box2"]


def test_equal_stems_with_two_extensions_are_told_apart_by_them() -> None:
    first = [Path("sr/a.png"), Path("sr/a.jpg")]
    pairs, _ = match_by_name(first, [Path("gt/a.jpg"), Path("gt/a.png")], ("results", "references"))
    assert [(pair.sr, pair.gt) for pair in pairs] == [
        (first[0], Path("gt/a.png")),
        (first[1], Path("gt/a.jpg")),
    ]
    pairs, problems = match_by_name(first, [Path("gt/a.webp")], ("results", "references"))
    assert pairs == []
    assert len(problems) == 3


@pytest.mark.parametrize("name", ["x4.png", "_out.png", "img.png", "2x.png"])
def test_a_name_never_becomes_nothing(name):
    assert key_of(Path(name))


def test_sun_hays80_has_references_for_other_scales(tmp_path):
    """It is distributed as image_SRF_8 only; NIQE of the x4 results of the originals needs the references alone."""
    folder = tmp_path / "SunHays80" / "image_SRF_8"
    folder.mkdir(parents=True)
    for name in ("img_001_SRF_8_HR.png", "img_001_SRF_8_LR.png", "img_002_SRF_8_HR.png", "img_002_SRF_8_LR.png"):
        (folder / name).touch()
    found = open_benchmark(find_benchmark("SunHays80"), tmp_path, 4)
    assert [(pair.name, pair.gt and pair.gt.name, pair.lq) for pair in found.pairs] == [
        ("img_001", "img_001_SRF_8_HR.png", None),
        ("img_002", "img_002_SRF_8_HR.png", None),
    ]
    assert any("image_SRF_8 has no inputs for x4" in note for note in found.notes)
    assert [pair.lq and pair.lq.name for pair in open_benchmark(find_benchmark("SunHays80"), tmp_path, 8).pairs] == [
        "img_001_SRF_8_LR.png",
        "img_002_SRF_8_LR.png",
    ]
