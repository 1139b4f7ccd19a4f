"""The schema says of a recipe file what the record says of it, and editors can read it."""

import functools
import importlib
import json
import re
from typing import Any

import pytest

from tessera.config import Values
from tessera.errors import UsageError
from tessera.train.recipe import RECIPES, Recipe, load_recipe, read_shipped_recipe
from tessera.train.schema import build_recipe_schema, format_schema

KINDS = {"object": dict, "array": list, "string": str, "boolean": bool, "integer": int, "number": (int, float)}
UNDERSTOOD = {
    *("$schema", "$ref", "title", "description", "default", "format", "definitions"),
    *("type", "enum", "const", "anyOf", "required", "properties", "additionalProperties", "minProperties"),
    *("maxProperties", "items", "minItems", "maxItems", "minLength", "maxLength", "pattern", "multipleOf"),
    *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"),
}


def fits(value: Any, schema: Values, root: Values) -> bool:
    """Draft 7 of JSON Schema, as far as this schema goes: an independent reading of it, in its order of keywords."""
    assert set(schema) <= UNDERSTOOD, f"this test does not know {set(schema) - UNDERSTOOD}"
    if "$ref" in schema:
        target: Any = root
        for part in schema["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        return fits(value, target, root)
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    kind = schema.get("type")
    checks = [
        kind is None or (isinstance(value, KINDS[kind]) and (kind == "boolean" or not isinstance(value, bool))),
        "enum" not in schema or value in schema["enum"],
        "const" not in schema or value == schema["const"],
        "anyOf" not in schema or any(fits(value, each, root) for each in schema["anyOf"]),
        not number or _number_fits(value, schema),
        not isinstance(value, str) or _text_fits(value, schema),
        not isinstance(value, list) or _list_fits(value, schema, root),
        not isinstance(value, dict) or _table_fits(value, schema, root),
    ]
    return all(checks)


def _number_fits(value: float, schema: Values) -> bool:
    return (
        schema.get("minimum", value) <= value <= schema.get("maximum", value)
        and ("exclusiveMinimum" not in schema or value > schema["exclusiveMinimum"])
        and ("exclusiveMaximum" not in schema or value < schema["exclusiveMaximum"])
        and ("multipleOf" not in schema or value % schema["multipleOf"] == 0)
    )


def _text_fits(value: str, schema: Values) -> bool:
    return schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value)) and (
        "pattern" not in schema or re.search(schema["pattern"], value) is not None
    )


def _list_fits(value: list[Any], schema: Values, root: Values) -> bool:
    items = schema.get("items", {})
    each = items if isinstance(items, list) else [items] * len(value)
    return schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)) and all(
        fits(inner, part, root) for inner, part in zip(value, each, strict=False)
    )


def _table_fits(value: Values, schema: Values, root: Values) -> bool:
    known = schema.get("properties", {})
    more = schema.get("additionalProperties", True)
    strange = [key for key in value if key not in known]
    return (
        all(key in value for key in schema.get("required", []))
        and all(fits(inner, known[key], root) for key, inner in value.items() if key in known)
        and (more is not False or not strange)
        and (not isinstance(more, dict) or all(fits(value[key], more, root) for key in strange))
    )


@functools.cache
def the_schema() -> Values:
    return build_recipe_schema()


def valid(values: Values) -> bool:
    schema = the_schema()
    return fits(values, schema, schema)


@pytest.mark.parametrize("name", RECIPES)
def test_every_shipped_recipe_is_valid(name):
    assert valid(read_shipped_recipe(name))
    assert valid({"recipe": name})


@pytest.mark.parametrize("name", RECIPES)
def test_a_complete_recipe_is_valid_as_it_is_written(name):
    def without_none(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: without_none(inner) for key, inner in value.items() if inner is not None}
        return value

    assert valid(without_none(load_recipe(name).model_dump(mode="json")))


def test_a_part_of_a_table_is_valid_over_a_recipe():
    assert valid({"recipe": "realesrgan", "generator": {"blocks": 6}, "data": {"train": "photos", "batch": 4}})
    assert valid({"recipe": "rrdb-psnr", "schedule": {"floor": 1e-6}, "perceptual": {"layers": {"conv5_4": 1}}})
    assert not valid({"generator": {"network": "rrdbnet"}}), "without steps and without another recipe"
    assert not valid({"steps": 3})


@pytest.mark.parametrize(
    "wrong",
    [
        {"stepz": 3},
        {"recipe": "realesrgam"},
        {"generator": {"network": "rrdbnet", "convolutions": 3}},
        {"generator": {"network": "swinir"}},
        {"generator": {"blocs": 3}},
        {"discriminator": {"network": "unet", "input_size": 128}},
        {"data": {"bach": 3}},
        {"data": {"batch": 0}},
        {"data": {"batch": 1.5}},
        {"optimizer": {"betas": [0.9]}},
        {"optimizer": {"betas": [0.9, 0.99, 0.999]}},
        {"optimizer": {"betas": [0.9, 1.0]}},
        {"schedule": {"kind": "multi-step", "periods": [3]}},
        {"degradation": {"kind": "realesrgan", "first": {"blur": {"sigmas": [1, 2]}}}},
        {"perceptual": {"layers": {"conv5_4": "much"}}},
        {"validation": {"metrics": ["psnr", "fid"]}},
        {"step": {"precision": "fp8"}},
        {"name": "a/b"},
        {"data": {"train": 3}},
    ],
)
def test_what_the_record_refuses_the_schema_refuses(wrong):
    complete = {"recipe": "realesrgan", **wrong}
    assert not valid(complete)
    if "recipe" not in wrong:
        with pytest.raises((UsageError, ValueError)):
            Recipe.model_validate({"name": "x", "steps": 1, "generator": {"network": "rrdbnet"}, **wrong})


def test_numbers_and_flags_in_quotes_are_marked_though_they_would_be_read():
    assert not valid({"recipe": "realesrgan", "optimizer": {"rate": "1e-4"}})
    assert not valid({"recipe": "realesrgan", "data": {"flips": "yes"}})


def test_every_key_of_the_record_is_in_the_schema_and_most_are_explained():
    schema = the_schema()
    assert set(schema["properties"]) == {*Recipe.model_fields, "recipe"}
    assert schema["properties"]["pool"]["description"] == "Number of pairs in the training pool; 0 disables the pool."
    checkpoint = schema["definitions"]["CheckpointConfig"]["properties"]
    assert checkpoint["keep"]["description"] == "Number of recent checkpoints to store."
    assert schema["definitions"]["DataConfig"]["properties"]["batch"]["description"].startswith("Crops per batch")


def test_it_is_json_without_null_which_toml_has_not():
    text = format_schema()
    assert "null" not in text
    assert json.loads(text) == build_recipe_schema()


def test_jsonschema_reads_it_alike():
    try:
        jsonschema: Any = importlib.import_module("jsonschema")
    except ModuleNotFoundError:
        pytest.skip("the package jsonschema is not installed")
    schema = build_recipe_schema()
    jsonschema.Draft7Validator.check_schema(schema)
    judge = jsonschema.Draft7Validator(schema)
    assert all(judge.is_valid(read_shipped_recipe(name)) for name in RECIPES)
    assert not judge.is_valid({"recipe": "realesrgan", "stepz": 3})
    assert not judge.is_valid({"recipe": "realesrgan", "generator": {"blocs": 3}})
