import os
import random
import re
import sys
from pathlib import Path

import lmdb
import numpy as np
import pytest

from pictures import ramp, save
from tessera.dataset import pairing, sources
from tessera.dataset import store as store_module
from tessera.dataset.decoding import read_rgb
from tessera.dataset.pairing import match_names
from tessera.dataset.sources import PictureRef, list_pictures
from tessera.dataset.store import list_keys
from tessera.errors import PictureError, UsageError


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def places(listing, root: Path) -> list[str]:
    return [Path(ref.place).relative_to(root).as_posix() for ref in listing.gt]


def make_store(folder: Path, pictures: dict[str, bytes], *, listed: bool = True) -> Path:
    """A store as BasicSR writes it."""
    with lmdb.open(str(folder), map_size=2**24) as environment, environment.begin(write=True) as transaction:
        for key, data in pictures.items():
            transaction.put(key.encode(), data)
    if listed:
        (folder / "meta_info.txt").write_text("".join(f"{key}.png (24,30,3) 1\n" for key in pictures))
    return folder


def test_folders_files_patterns_and_lists_give_their_pictures_in_order(tmp_path):
    touch(
        tmp_path,
        "a/2.png",
        "a/1.JPG",
        "a/below/3.webp",
        "a/notes.txt",
        "a/.hidden.png",
        "b/4.png",
        "c/5.png",
        "c/x.csv",
    )
    (tmp_path / "meta.txt").write_text("a/2.png (480,480,3)\nb/4.png\n", encoding="utf-8")
    assert places(list_pictures([tmp_path / "a"]), tmp_path) == ["a/1.JPG", "a/2.png", "a/below/3.webp"]
    assert places(list_pictures([tmp_path / "a"], recursive=False), tmp_path) == ["a/1.JPG", "a/2.png"]
    assert places(list_pictures([tmp_path / "c" / "*", tmp_path / "b" / "4.png"]), tmp_path) == ["c/5.png", "b/4.png"]
    assert places(list_pictures([tmp_path / "meta.txt"]), tmp_path) == ["a/2.png", "b/4.png"]
    (tmp_path / "a" / "meta.txt").write_text("2.png\n")
    assert places(list_pictures([tmp_path / "a" / "meta.txt"], root=tmp_path / "q"), tmp_path) == ["q/2.png"]


def test_a_picture_named_twice_is_learned_from_once(tmp_path):
    touch(tmp_path, "a/1.png", "a/2.png")
    assert len(list_pictures([tmp_path / "a", tmp_path / "a" / "1.png"])) == 2


def test_lists_may_have_sizes_spaces_in_names_and_inputs(tmp_path):
    (tmp_path / "pairs.txt").write_text(
        "hr/my cat.png, lr/my cat_x4.png\nhr/b.png (8,8,3), lr/b.png (2,2,3)\n\n# end\n"
    )
    listing = list_pictures([tmp_path / "pairs.txt"])
    assert [ref.place for ref in listing.gt] == [str(tmp_path / "hr" / name) for name in ("my cat.png", "b.png")]
    assert listing.lq is not None
    assert [ref.place for ref in listing.lq] == [str(tmp_path / "lr" / name) for name in ("my cat_x4.png", "b.png")]
    (tmp_path / "wrong.txt").write_text("hr/a.png\nhr/README\n")
    with pytest.raises(
        UsageError, match=r"wrong\.txt, line 2: expected the path of a picture, or two with a comma; found 'hr/README'"
    ):
        list_pictures([tmp_path / "wrong.txt"])
    (tmp_path / "half.txt").write_text("hr/a.png, lr/a.png\nhr/b.png\n")
    with pytest.raises(UsageError, match="1 of 2 pictures have an input"):
        list_pictures([tmp_path / "half.txt"])


def test_pairs_are_found_by_name_below_their_folders(tmp_path):
    touch(tmp_path, "hr/one/0001.png", "hr/two/0001.png", "hr/two/7_s001.png", "hr/lonely.png")
    touch(tmp_path, "lr/one/0001x4.png", "lr/two/0001x4.webp", "lr/two/7x4_s001.png", "lr/only_here.png")
    listing = list_pictures([tmp_path / "hr"], [tmp_path / "lr"])
    assert places(listing, tmp_path) == ["hr/one/0001.png", "hr/two/0001.png", "hr/two/7_s001.png"]
    assert listing.lq is not None
    found = [Path(ref.place).relative_to(tmp_path).as_posix() for ref in listing.lq]
    assert found == ["lr/one/0001x4.png", "lr/two/0001x4.webp", "lr/two/7x4_s001.png"]
    assert len(listing.problems) == 2
    assert "lonely.png: has no partner in" in listing.problems[0]
    assert "only_here.png: has no partner in" in listing.problems[1]


def test_two_possible_partners_are_not_guessed_between(tmp_path):
    touch(tmp_path, "hr/a.png", "hr/b.png", "lr/a.png", "lr/b_LR.png", "lr/b_lq.png")
    listing = list_pictures([tmp_path / "hr"], [tmp_path / "lr"])
    assert places(listing, tmp_path) == ["hr/a.png"]
    assert any("b.png: has several possible partners" in problem for problem in listing.problems)


def test_equal_names_that_end_like_a_mark_of_scale_are_pairs(tmp_path):
    names = ("box1.png", "box2.png", "fox2.png", "xx/1x2.png")
    touch(tmp_path, *(f"{place}/{name}" for place in ("hr", "lr") for name in names))
    listing = list_pictures([tmp_path / "hr"], [tmp_path / "lr"])
    assert listing.problems == ()
    assert listing.lq is not None
    for gt, lq in zip(listing.gt, listing.lq, strict=True):
        assert Path(gt.place).relative_to(tmp_path / "hr") == Path(lq.place).relative_to(tmp_path / "lr")
    assert len(listing) == len(names)


def test_a_mark_of_scale_is_one_only_if_the_whole_set_carries_it(tmp_path):
    touch(tmp_path, "hr/a.png", "hr/b.png", "lr/a.png", "lr/bx4.png")
    listing = list_pictures([tmp_path / "hr"], [tmp_path / "lr"])
    assert places(listing, tmp_path) == ["hr/a.png"]
    assert listing.problems[0].endswith("b.png: has only a doubtful partner (not all names end in x4) in "
                                        f"{tmp_path / 'lr'}.")  # fmt: skip


def test_names_are_compared_in_linear_time():
    def count_forms(names: int) -> int:
        made = 0

        def trace(frame, event, argument):
            nonlocal made
            made += event == "call" and frame.f_code.co_name == "__init__"

        first, second = ([f"picture{n}{mark}.png" for n in range(names)] for mark in ("", "_lr_x4"))
        sys.setprofile(trace)
        try:
            assert len(match_names(first, second).pairs) == names
        finally:
            sys.setprofile(None)
        return made

    assert count_forms(400) < 2.2 * count_forms(200)


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ("nowhere", "no such folder, file, list or store"),
        ("empty", "no pictures found"),
        ("*.png", "no pictures found"),
    ],
)
def test_what_gives_nothing_is_said(named, said, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=said):
        list_pictures([tmp_path / named])


def test_pairs_without_any_partner_are_refused(tmp_path):
    touch(tmp_path, "hr/a.png", "lr/b.png")
    with pytest.raises(UsageError, match=r"No picture in .*hr has a partner in .*lr"):
        list_pictures([tmp_path / "hr"], [tmp_path / "lr"])


def test_many_names_are_listed_without_touching_a_file(tmp_path, monkeypatch):
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(10_000):
        os.close(os.open(folder / f"{number:06d}.png", os.O_CREAT | os.O_WRONLY))
    asked: list[str] = []
    real = os.stat

    def watched(path, *arguments, **options):
        asked.append(str(path))
        return real(path, *arguments, **options)

    monkeypatch.setattr(os, "stat", watched)
    listing = list_pictures([folder])
    assert len(listing) == 10_000
    assert asked
    assert not [name for name in asked if name.endswith(".png")]


@pytest.mark.parametrize("listed", [True, False])
def test_a_store_gives_its_pictures(listed, tmp_path):
    pixels = {name: ramp(24, 30, seed=seed) for seed, name in enumerate(("b_s001", "a.b"))}
    data = {name: save(tmp_path / f"{name}.png", each).read_bytes() for name, each in pixels.items()}
    listing = list_pictures([make_store(tmp_path / "train.lmdb", data, listed=listed)])
    assert [ref.key for ref in listing.gt] == ["a.b", "b_s001"]
    for ref in listing.gt:
        assert (read_rgb(ref).pixels == pixels[ref.key]).all()


def test_stores_are_paired_with_stores_and_folders(tmp_path):
    data = save(tmp_path / "0001_s001.png", ramp(24, 30)).read_bytes()
    store = make_store(tmp_path / "hr.lmdb", {"0001_s001": data})
    touch(tmp_path, "lr/0001x4_s001.png")
    listing = list_pictures([store], [tmp_path / "lr"])
    assert listing.gt == (PictureRef(str(store), "0001_s001"),)
    assert listing.lq == (PictureRef(str(tmp_path / "lr" / "0001x4_s001.png")),)


@pytest.mark.parametrize("share", [0.9, 0.5, 0.01])
def test_a_store_that_was_copied_in_part_is_refused_before_it_is_mapped(share, tmp_path):
    rng = np.random.default_rng(0)
    store = make_store(tmp_path / "hr.lmdb", {f"{n:03}": rng.bytes(9000) for n in range(60)}, listed=False)
    with lmdb.open(str(store), readonly=True, lock=False) as environment:
        size = (environment.info()["last_pgno"] + 1) * environment.stat()["psize"]
    data = (store / "data.mdb").read_bytes()
    (store / "data.mdb").write_bytes(data[: int(len(data) * share)])
    with pytest.raises(PictureError, match=f"expected at least {size:,} bytes, found {int(len(data) * share):,}"):
        list_pictures([store])
    (store / "data.mdb").write_bytes(data)
    assert len(list_pictures([store])) == 60


def test_a_store_whose_last_pages_were_freed_is_read(tmp_path):
    """LMDB does not write pages at the end that a transaction allocated and freed again."""
    short = 0
    for seed in (*range(10), 213):
        rng, folder = random.Random(seed), tmp_path / f"{seed}.lmdb"
        with lmdb.open(str(folder), map_size=2**26) as environment:
            for _ in range(8):
                with environment.begin(write=True) as transaction:
                    for _ in range(rng.randrange(1, 60)):
                        key = f"{rng.randrange(300):04}".encode()
                        if rng.random() < 0.4:
                            transaction.delete(key)
                        else:
                            transaction.put(key, rng.randbytes(rng.choice((50, 900, 9000))))
            keys = environment.stat()["entries"]
            expected = (environment.info()["last_pgno"] + 1) * environment.stat()["psize"]
        size = (folder / "data.mdb").stat().st_size
        short += size < expected
        assert len(list_pictures([folder])) == keys
        with (folder / "data.mdb").open("r+b") as file:
            file.truncate(size * 3 // 4)
        with pytest.raises(PictureError, match="The store is incomplete"):
            store_module.check_is_complete(folder)
    assert short


@pytest.mark.parametrize("data", [b"", b"no store", bytes(5000), bytes(20) + b"\xff" * 20000])
def test_what_is_no_store_is_refused(data, tmp_path):
    (tmp_path / "hr.lmdb").mkdir()
    (tmp_path / "hr.lmdb" / "data.mdb").write_bytes(data)
    with pytest.raises((PictureError, UsageError), match=r"hr\.lmdb"):
        list_pictures([tmp_path / "hr.lmdb"])


@pytest.mark.parametrize("key", ["k" * 5000, " (1,1) 1"])
def test_a_key_that_no_store_can_have_is_a_sentence(key, tmp_path):
    store = make_store(tmp_path / "hr.lmdb", {"a": b"a"})
    with pytest.raises(PictureError, match=r"hr\.lmdb"):
        read_rgb(PictureRef(str(store), key))


HOSTILE = (" ", "a ", "(1,1) ", ".png", ".png (", ".png,", "a.png (1,1,1) 1, ", "\t.png\t", "x4_", "x4")


@pytest.mark.parametrize("text", HOSTILE)
def test_lines_are_parsed_in_linear_time(text, monkeypatch):
    """Characters that patterns which go back are given: as many for a line twice as long."""

    class Counting:
        def __init__(self, pattern: re.Pattern[str]) -> None:
            self.pattern = pattern

        def search(self, text: str) -> re.Match[str] | None:
            read.append(len(text))
            return self.pattern.search(text)

    for module, name in (
        (store_module, "_DETAILS"), (store_module, "_EXTENSION"), (pairing, "_MARK"), (pairing, "_SUB_IMAGE"),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, Counting(getattr(module, name)))
    work: list[int] = []
    for count in (100, 200):
        read: list[int] = []
        store_module._parse_key(text * count)
        pairing.list_forms(text * count)
        work.append(sum(read))
    assert work[1] <= work[0] <= 1000
    assert sources._compile_extensions().groups == 0  # alternatives and a lookahead, no repetition
    assert not set("*+{") & set(sources._compile_extensions().pattern)
    sources._parse_line((text * 200).strip())


def test_a_line_longer_than_paths_can_be_is_refused(tmp_path):
    (tmp_path / "long.txt").write_text("a.png\n" + "x" * 2**20)
    with pytest.raises(UsageError, match=r"long\.txt, line 2: expected at most 16,384 characters"):
        list_pictures([tmp_path / "long.txt"])
    store = make_store(tmp_path / "hr.lmdb", {"a": b"a"})
    (store / "meta_info.txt").write_text("x" * 2**20)
    with pytest.raises(UsageError, match="line 1: expected at most 16,384"):
        list_pictures([store])


def test_names_in_lists_need_not_be_utf8(tmp_path):
    name = os.fsdecode(b"caf\xe9.png")
    save(tmp_path / "a.png", ramp(24, 30)).rename(tmp_path / name)
    (tmp_path / "names.txt").write_bytes(b"caf\xe9.png (24,30,3)\n")
    (ref,) = list_pictures([tmp_path / "names.txt"]).gt
    assert read_rgb(ref).pixels.shape == (24, 30, 3)


def test_damage_in_a_store_is_a_sentence_with_the_pictures_name(tmp_path):
    data = save(tmp_path / "a.png", ramp(240, 300)).read_bytes()
    store = make_store(tmp_path / "hr.lmdb", {"good": data, "cut": data[: len(data) // 2], "text": b"no picture"})
    for key, said in (("cut", "cut short"), ("text", "not a picture"), ("gone", "no picture has the key gone")):
        with pytest.raises(PictureError, match=said) as error:
            read_rgb(PictureRef(str(store), key))
        assert "/proc" not in str(error.value)
        assert str(error.value).startswith(str(store))
    (store / "data.mdb").write_bytes(b"x" * 5000)
    (tmp_path / "other.lmdb").mkdir()
    (tmp_path / "other.lmdb" / "data.mdb").write_bytes(b"x" * 5000)
    with pytest.raises(PictureError, match="cannot be opened"):
        list_keys(tmp_path / "other.lmdb")
