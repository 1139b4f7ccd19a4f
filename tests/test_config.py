from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, Field

from tessera.config import apply_changes, format_toml, merge_values, parse_change, read_toml, validate
from tessera.errors import UsageError
from tessera.train.recipe import Recipe


class Small(BaseModel, frozen=True, extra="forbid"):
    network: Literal["small"] = "small"
    blocks: Annotated[int, Field(ge=1)] = 3


class Wide(BaseModel, frozen=True, extra="forbid"):
    network: Literal["wide"] = "wide"
    width: int = 3


class Data(BaseModel, frozen=True, extra="forbid"):
    batch: int = 16
    train: tuple[str, ...] = ()


class Whole(BaseModel, frozen=True, extra="forbid"):
    steps: int
    data: Data = Data()
    generator: Annotated[Small | Wide, Field(discriminator="network")] = Small()
    judge: Annotated[Small | Wide, Field(discriminator="network")] | None = None
    layers: dict[str, float] = {}


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"steps": 3, "data": {"bach": 4}}, "Unknown key `data.bach`; did you mean `data.batch`?"),
        ({"steps": 3, "generator": {"network": "small", "blocs": 3}}, "did you mean `generator.blocks`?"),
        ({"steps": 3, "judge": {"network": "wide", "widht": 3}}, "did you mean `judge.width`?"),
        ({"steps": 3, "generator": {"network": "small", "blocks": 0}}, "`generator.blocks`: input should be greater"),
        ({"steps": 3, "generator": {"network": "narrow"}}, "`generator.network` is 'narrow'; expected one of 'small'"),
        ({"steps": 3, "generator": {"blocks": 3}}, "`generator.network` is missing"),
        ({"steps": "many"}, "`steps`: input should be a valid integer"),
        ({}, "The key `steps` is missing."),
        ({"steps": 3, "layers": {"conv1": "x"}}, "`layers.conv1`: input should be a valid number"),
        ({"steps": 3, "data": {"train": [7]}}, "`data.train.0`: input should be a valid string"),
        ({"steps": 3, "qqq": 1}, "Unknown key `qqq`; expected one of data, generator, judge, layers, steps."),
    ],
)
def test_a_wrong_key_is_named_and_the_right_one_offered(values, sentence):
    with pytest.raises(UsageError) as caught:
        validate(Whole, values, "recipe.toml")
    assert str(caught.value).startswith("recipe.toml: ")
    assert sentence in str(caught.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a.b=4", 4),
        ("a.b=4e-5", 4e-5),
        ("a.b=true", True),
        ("a.b=False", False),
        ("a.b=[1, 2]", [1, 2]),
        ("a.b=photos/train", "photos/train"),
        ("a.b=", ""),
        ('a.b="4"', "4"),
        ("a.b=x=y", "x=y"),
        ("a.b={c = 3}", {"c": 3}),
    ],
)
def test_a_change_is_toml_or_text(text, value):
    assert parse_change(text) == (("a", "b"), value)


@pytest.mark.parametrize("text", ["nan", "007", "7", "true", "inf", "1e5", "2024-11-29", "x=y"])
def test_a_key_that_holds_text_takes_the_text(text):
    assert parse_change(f"name={text}", Recipe) == (("name",), text)
    assert parse_change(f"data.train={text}", Recipe) == (("data", "train"), text)
    assert parse_change(f"start.generator={text}", Recipe) == (("start", "generator"), text)
    assert parse_change(f"data.cache={text}", Recipe) == (("data", "cache"), text)


@pytest.mark.parametrize(
    ("change", "value"),
    [
        ('name="007"', "007"),
        ('data.train=["a", "b"]', ["a", "b"]),
        ("steps=7", 7),
        ("pixel.weight=1e5", 1e5),
        ("tricks.noisy_labels=true", True),
        ("generator.features=64", 64),
        ("unknown.key=7", 7),
        ("start.blocks=3", 3),
    ],
)
def test_other_keys_and_quoted_text_are_toml(change, value):
    assert parse_change(change, Recipe)[1] == value


@pytest.mark.parametrize("text", ["batch", "=3", "a..b=3", "a.=3", ""])
def test_a_change_without_a_key_or_a_value_is_refused(text):
    with pytest.raises(UsageError, match="key=value"):
        parse_change(text)


def test_changes_leave_the_original_alone_and_do_not_go_through_values():
    values = {"data": {"batch": 16}, "list": [1]}
    changed = apply_changes(values, [(("data", "batch"), 4), (("new", "deep", "key"), 1)])
    assert changed == {"data": {"batch": 4}, "list": [1], "new": {"deep": {"key": 1}}}
    assert values == {"data": {"batch": 16}, "list": [1]}
    with pytest.raises(UsageError, match=r"data\.batch is a single value"):
        apply_changes(values, [(("data", "batch", "size"), 4)])


def test_a_table_is_laid_over_a_table_and_replaces_a_value():
    assert merge_values({"a": {"x": 1, "y": 2}, "b": 1}, {"a": {"y": 3}, "b": {"z": 1}}) == {
        "a": {"x": 1, "y": 3},
        "b": {"z": 1},
    }


def test_what_is_written_reads_as_the_same_record(tmp_path):
    record = Whole(steps=3, data=Data(train=("ä b", "c")), judge=Wide(width=7), layers={"conv5_4": 0.1})
    path = tmp_path / "config.toml"
    path.write_text(format_toml(record), encoding="utf-8")
    assert validate(Whole, read_toml(path), "config.toml") == record


@pytest.mark.parametrize(
    ("content", "sentence"), [(b"a = ", "not valid TOML"), (b"\xff\xfe", "UTF-8"), (b"a = b", "Put text in quotes")]
)
def test_a_file_that_is_no_toml_gets_a_sentence(tmp_path, content, sentence):
    path = tmp_path / "recipe.toml"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=sentence):
        read_toml(path)
    with pytest.raises(UsageError, match="cannot be read"):
        read_toml(tmp_path / "none.toml")
