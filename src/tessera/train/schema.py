"""The JSON schema of recipe files, with which editors complete keys, explain them and mark unknown ones.

It is the schema of the record `Recipe`, extended by what a file may have: the recipe that it changes, and a single path
instead of a list. Tables that change another recipe may be partial, so no key in them is required.
"""

from __future__ import annotations

import ast
import inspect
import json
import textwrap
import typing
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, cast

from pydantic import BaseModel

from tessera.config import Values
from tessera.train.recipe import RECIPES, Recipe

DRAFT = "http://json-schema.org/draft-07/schema#"
"""The draft that the TOML plugins of editors support."""
PLACES = ("train", "lq", "val", "val_lq")
"""Keys of `data` that take one path or several."""


def build_recipe_schema() -> Values:
    """Build the schema of recipe files, as draft 7 of JSON Schema."""
    schema = cast(Values, _convert_for_toml(Recipe.model_json_schema(ref_template="#/definitions/{model}")))
    definitions: Values = schema.pop("$defs")
    for record in {each.__name__: each for each in _list_records(Recipe, set())}.values():
        target = schema if record is Recipe else definitions.get(record.__name__)
        if target is not None:
            _explain(target, record)
    for key in PLACES:
        place: Values = definitions["DataConfig"]["properties"][key]
        definitions["DataConfig"]["properties"][key] = {
            "anyOf": [place, {"type": "string"}],
            "description": place.get("description", ""),
        }
    properties: Values = {
        "recipe": {"enum": list(RECIPES), "description": "The shipped recipe that this file changes."},
        **schema.pop("properties"),
    }
    return {
        "$schema": DRAFT,
        "title": "A recipe for tessera train",
        "description": schema.pop("description", ""),
        **{key: value for key, value in schema.items() if key not in ("title", "description")},
        "properties": properties,
        "anyOf": [
            {"required": ["recipe"]},
            {"required": ["generator", "steps"]},
            {"required": ["generator", "epochs"]},
        ],
        "definitions": definitions,
    }


def format_schema() -> str:
    """Format the schema as JSON text."""
    return json.dumps(build_recipe_schema(), indent=2) + "\n"


def _convert_for_toml(node: Any) -> Any:
    """Convert a part of pydantic's schema to draft 7, without null, which TOML lacks, and without required keys."""
    if isinstance(node, list):
        return [_convert_for_toml(each) for each in cast("list[Any]", node)]
    if not isinstance(node, dict):
        return node
    table = cast(Values, node)
    if "properties" in table:  # their names are keys of recipes, not keywords of the schema
        properties = cast(Values, table["properties"])
        table = {**table, "properties": {}}
        converted = _convert_keywords(table)
        converted["properties"] = {name: _convert_for_toml(each) for name, each in properties.items()}
        return converted
    return _convert_keywords(table)


def _convert_keywords(table: Values) -> Values:
    converted: Values = {}
    for key, value in table.items():
        if key in ("discriminator", "required", "title") or (
            key == "default" and (value is None or isinstance(value, dict))
        ):
            continue
        if key in ("anyOf", "oneOf"):  # not oneOf: a table without `network` or `kind` fits several
            converted["anyOf"] = [_convert_for_toml(each) for each in value if each != {"type": "null"}]
        elif key == "prefixItems":
            converted["items"] = _convert_for_toml(value)
        else:
            converted[key] = _convert_for_toml(value)
    return converted


# ------------------------------------------------------------------------------------------------------ explanations


def _list_records(kind: Any, seen: set[type[BaseModel]]) -> Iterator[type[BaseModel]]:
    """Yield a record and all records inside it."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        if kind in seen:
            return
        seen.add(kind)
        yield kind
        for field in kind.model_fields.values():
            yield from _list_records(field.annotation, seen)
    for argument in typing.get_args(kind):
        yield from _list_records(argument, seen)


def _explain(target: Values, record: type[BaseModel]) -> None:
    """Copy the texts below fields in the source into the schema of their record."""
    for owner in reversed(record.__mro__):
        if issubclass(owner, BaseModel) and owner is not BaseModel:
            for name, text in read_field_texts(owner).items():
                if name in target.get("properties", {}):
                    target["properties"][name].setdefault("description", text)


def read_field_texts(record: type[BaseModel]) -> dict[str, str]:
    """Read the text below each field in the source of a record; empty without source.

    >>> from tessera.train.recipe_parts import CheckpointConfig
    >>> read_field_texts(CheckpointConfig)["keep"]
    'Number of recent checkpoints to store.'
    """
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(record)))
    except (OSError, TypeError, SyntaxError):
        return {}
    body = cast(ast.ClassDef, tree.body[0]).body
    texts: dict[str, str] = {}
    for field, below in pairwise(body):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(below, ast.Expr):
            text = below.value
            if isinstance(text, ast.Constant) and isinstance(text.value, str):
                texts[field.target.id] = " ".join(text.value.split())
    return texts
