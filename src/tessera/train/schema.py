"""The JSON schema of a recipe file, by which editors complete keys, show what they mean and mark those there are not.

It is that of the record `Recipe` with what a file may have besides: the recipe it changes, and one path where several
may stand. Tables that change another recipe need not be complete, so inside of them no key is demanded.
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
"""What the TOML plugins of editors understand."""
PLACES = ("train", "lq", "val", "val_lq")
"""Keys of `data` that take one path as well as several."""


def recipe_schema() -> Values:
    """The schema of a recipe file, as draft 7 of JSON Schema."""
    schema = cast(Values, _for_toml(Recipe.model_json_schema(ref_template="#/definitions/{model}")))
    definitions: Values = schema.pop("$defs")
    for record in {each.__name__: each for each in _records(Recipe, set())}.values():
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


def schema_text() -> str:
    """The schema as it is written to a file."""
    return json.dumps(recipe_schema(), indent=2) + "\n"


def _for_toml(node: Any) -> Any:
    """A part of pydantic's schema, in draft 7, without null, which TOML has no word for, and without demands."""
    if isinstance(node, list):
        return [_for_toml(each) for each in cast("list[Any]", node)]
    if not isinstance(node, dict):
        return node
    table = cast(Values, node)
    if "properties" in table:  # whose names are keys of recipes, not words of the schema
        properties = cast(Values, table["properties"])
        table = {**table, "properties": {}}
        made = _of_keywords(table)
        made["properties"] = {name: _for_toml(each) for name, each in properties.items()}
        return made
    return _of_keywords(table)


def _of_keywords(table: Values) -> Values:
    made: Values = {}
    for key, value in table.items():
        if key in ("discriminator", "required", "title") or (
            key == "default" and (value is None or isinstance(value, dict))
        ):
            continue
        if key in ("anyOf", "oneOf"):  # not oneOf: a table without `network` or `kind` fits several
            made["anyOf"] = [_for_toml(each) for each in value if each != {"type": "null"}]
        elif key == "prefixItems":
            made["items"] = _for_toml(value)
        else:
            made[key] = _for_toml(value)
    return made


# ------------------------------------------------------------------------------------------------------ explanations


def _records(kind: Any, seen: set[type[BaseModel]]) -> Iterator[type[BaseModel]]:
    """A record and all that lie in it."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        if kind in seen:
            return
        seen.add(kind)
        yield kind
        for field in kind.model_fields.values():
            yield from _records(field.annotation, seen)
    for argument in typing.get_args(kind):
        yield from _records(argument, seen)


def _explain(target: Values, record: type[BaseModel]) -> None:
    """Put the texts that stand below fields in the source into the schema of their record."""
    for owner in reversed(record.__mro__):
        if issubclass(owner, BaseModel) and owner is not BaseModel:
            for name, text in field_texts(owner).items():
                if name in target.get("properties", {}):
                    target["properties"][name].setdefault("description", text)


def field_texts(record: type[BaseModel]) -> dict[str, str]:
    """What the source of a record says below each field; nothing where there is no source.

    >>> from tessera.train.recipe import CheckpointConfig
    >>> field_texts(CheckpointConfig)["keep"]
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
            said = below.value
            if isinstance(said, ast.Constant) and isinstance(said.value, str):
                texts[field.target.id] = " ".join(said.value.split())
    return texts
