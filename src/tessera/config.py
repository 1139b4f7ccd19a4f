"""Configurations written by users: TOML files and `key=value` texts, validated against frozen records.

A configuration is a tree of frozen pydantic models, each next to the code that it configures. This module has what all
of them share: reading, merging, and error messages that name the wrong key and suggest the right one.
"""

from __future__ import annotations

import difflib
import functools
import json
import operator
import tomllib
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

from pydantic import BaseModel, Field, GetCoreSchemaHandler, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema

from tessera.errors import UsageError, WeightsError
from tessera.libraries import describe_missing, import_library

Values = dict[str, Any]
Record = TypeVar("Record", bound=BaseModel)
ConfigT = TypeVar("ConfigT", bound=BaseModel, covariant=True)


class OneOf:
    """Marks a field that holds one of several records, distinguished by their literal field `network`.

    For records that are declared elsewhere: `Annotated[GeneratorConfig, OneOf(*kinds)]` is validated like the union of
    the kinds.
    """

    def __init__(self, *kinds: type[BaseModel]) -> None:
        self.union: Any = functools.reduce(operator.or_, kinds)

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return handler.generate_schema(typing.Annotated[self.union, Field(discriminator="network")])


def read_toml(path: Path) -> Values:
    """Read a TOML file. Raises UsageError, with the line, if it is not valid."""
    try:
        return parse_toml(path.read_bytes(), path)
    except OSError as error:
        raise UsageError(f"{path}: this file cannot be read ({error.strerror or error}).") from error


def parse_toml(data: bytes, path: Path) -> Values:
    """Parse the content of a TOML file. Raises UsageError, with the line, if it is not valid."""
    try:
        return tomllib.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise UsageError(f"{path}: not UTF-8 text. Save it as UTF-8.") from None
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path}: not valid TOML: {error}. Put text in quotes and lists in [ ].") from None


def parse_change(text: str, kind: type[BaseModel] | None = None) -> tuple[tuple[str, ...], Any]:
    """Parse `data.batch=4` -> (("data", "batch"), 4). A value that is not valid TOML is taken as text.

    So is the value of a key that holds text, or paths, in the record `kind`: `name=007` gives the text 007.

    >>> parse_change("name=portraits"), parse_change("schedule.milestones=[50_000, 0.5]")
    ((('name',), 'portraits'), (('schedule', 'milestones'), [50000, 0.5]))
    """
    key, equals, value = text.partition("=")
    path = tuple(part.strip() for part in key.split("."))
    if not equals or not all(path):
        raise UsageError(f"{text!r}: expected key=value, such as data.batch=4.")
    parsed = _parse_toml_value(value.strip())
    if kind is not None and not isinstance(parsed, str | list | dict) and _holds_text(kind, path):
        return path, value.strip()
    return path, parsed


def _holds_text(kind: type[BaseModel], path: tuple[str, ...]) -> bool:
    """Whether a key can hold text, paths or lists of them, and nothing else but None."""
    kinds: list[Any] = [kind]
    for name in path:
        fields = [each.model_fields.get(name) for inner in kinds for each in _list_members(inner)]
        kinds = [_get_field_type(field) for field in fields if field is not None]
    leaves = [leaf for inner in kinds for leaf in _list_leaves(inner)]
    return bool(leaves) and all(leaf in (str, Path, types.NoneType, ...) or isinstance(leaf, str) for leaf in leaves)


def _list_leaves(kind: Any) -> list[Any]:
    """List the types and literal values that a type is made of."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        return _list_leaves(arguments[0])
    if origin is typing.Literal:
        return list(arguments)
    return [leaf for inner in arguments for leaf in _list_leaves(inner)] if arguments else [kind]


def _parse_toml_value(text: str) -> Any:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def apply_changes(values: Mapping[str, Any], changes: Iterable[tuple[tuple[str, ...], Any]]) -> Values:
    """Apply changes to a copy of values.

    >>> apply_changes({"data": {"batch": 16}}, [(("data", "patch"), 96), (("steps",), 3)])
    {'data': {'batch': 16, 'patch': 96}, 'steps': 3}
    """
    changed = cast(Values, _copy(values))
    for path, value in changes:
        table = changed
        for depth, part in enumerate(path[:-1]):
            inner = table.setdefault(part, {})
            if not isinstance(inner, dict):
                raise UsageError(f"{'.'.join(path)}: {'.'.join(path[: depth + 1])} is a single value, not a table.")
            table = cast(Values, inner)
        table[path[-1]] = value
    return changed


def merge_values(lower: Mapping[str, Any], upper: Mapping[str, Any]) -> Values:
    """Merge tables recursively; values of `upper` replace those of `lower`.

    >>> merge_values({"data": {"batch": 16, "patch": 128}}, {"data": {"batch": 4}})
    {'data': {'batch': 4, 'patch': 128}}
    """
    result = cast(Values, _copy(lower))
    for key, value in upper.items():
        below = result.get(key)
        both = isinstance(below, dict) and isinstance(value, Mapping)
        result[key] = merge_values(cast(Values, below), cast(Values, value)) if both else _copy(value)
    return result


def _copy(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _copy(inner) for key, inner in cast(Mapping[Any, Any], value).items()}
    return [_copy(inner) for inner in cast(list[Any], value)] if isinstance(value, list) else value


def validate(kind: type[Record], values: Mapping[str, Any], where: str) -> Record:
    """Build the record from values. Raises UsageError that names the wrong key and suggests the right one."""
    try:
        return TypeAdapter(kind).validate_python(values)
    except ValidationError as error:
        problems = [_describe_problem(kind, values, cast("dict[str, Any]", detail)) for detail in error.errors()]
        more = f" And {len(problems) - 3} more." if len(problems) > 3 else ""
        raise UsageError(f"{where}: {' '.join(problems[:3])}{more}") from None


def _describe_problem(kind: type[BaseModel], values: Mapping[str, Any], detail: dict[str, Any]) -> str:
    names, owner = _resolve_location(kind, detail["loc"])
    key = ".".join(names)
    problem = str(detail["msg"]).removeprefix("Value error, ").rstrip(".")
    match detail["type"]:
        case "extra_forbidden":
            known = sorted(owner.model_fields) if owner is not None else []
            near = difflib.get_close_matches(names[-1], known, 1, cutoff=0.5)
            hint = (
                f"did you mean `{'.'.join([*names[:-1], near[0]])}`?"
                if near
                else f"expected one of {', '.join(known)}."
            )
            return f"Unknown key `{key}`; {hint}"
        case "missing":
            return f"The key `{key}` is missing."
        case "union_tag_not_found" | "union_tag_invalid":
            tag = str(detail.get("ctx", {}).get("discriminator", "")).strip("'")
            expected = detail.get("ctx", {}).get("expected_tags")
            found = detail.get("ctx", {}).get("tag")
            said = f"is {found!r}" if found is not None else "is missing"
            return f"`{key}.{tag}` {said}{f'; expected one of {expected}' if expected else ''}."
        case _ if not names:  # a check across several fields
            return f"{problem}."
        case _:
            shown = repr(detail.get("input"))
            return f"`{key}`: {_lower_first(problem)}; found {shown if len(shown) <= 60 else shown[:57] + '...'}."


def _lower_first(text: str) -> str:
    return text[:1].lower() + text[1:]


def _resolve_location(
    kind: type[BaseModel], location: tuple[str | int, ...]
) -> tuple[list[str], type[BaseModel] | None]:
    """Resolve pydantic's location -> the keys as the user wrote them, and the record that holds the last one."""
    names: list[str] = []
    here: Any = kind
    owner: type[BaseModel] | None = kind
    for part in location:
        members = _list_members(here)
        tagged = next((member for member in members if str(part) in _list_tags(member)), None)
        if tagged is not None and len(members) > 1:
            here = tagged
            continue
        owner = next(
            (member for member in members if str(part) in member.model_fields), members[0] if members else None
        )
        if owner is None and not isinstance(part, int) and not _is_table(here):
            continue  # a marker of pydantic, such as "tuple" or "int"
        names.append(str(part))
        field = owner.model_fields.get(str(part)) if owner else None
        here = _get_item_type(here) if field is None else _get_field_type(field)
    return names, owner


def _get_field_type(field: FieldInfo) -> Any:
    marks = (mark for mark in field.metadata if isinstance(mark, OneOf))
    return next((mark.union for mark in marks), field.annotation)


def _list_members(kind: Any) -> list[type[BaseModel]]:
    """List the records that a value of this type can be."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return [kind]
    origin = typing.get_origin(kind)
    if origin is typing.Annotated:  # inside a union, such as `Annotated[GeneratorConfig, OneOf(...)] | None`
        marks = [mark for mark in typing.get_args(kind) if isinstance(mark, OneOf)]
        if marks:
            return _list_members(marks[0].union)
    if origin in (typing.Union, types.UnionType, typing.Annotated):
        return [member for inner in typing.get_args(kind) for member in _list_members(inner)]
    return []


def _list_tags(kind: type[BaseModel]) -> tuple[str, ...]:
    """List the values of literal fields, which distinguish the members of a union."""
    fields = (field for field in kind.model_fields.values() if typing.get_origin(field.annotation) is typing.Literal)
    return tuple(str(value) for field in fields for value in typing.get_args(field.annotation))


def _is_table(kind: Any) -> bool:
    return typing.get_origin(kind) in (dict, tuple, list, types.MappingProxyType)


def _get_item_type(kind: Any) -> Any:
    arguments = typing.get_args(kind)
    return arguments[-1] if arguments else None


def format_toml(record: BaseModel) -> str:
    """Format a complete record as TOML, without `None` (TOML has no null). Raises UsageError without tomli-w."""
    try:
        writer = import_library("tomli_w")
    except ModuleNotFoundError as error:
        raise UsageError(describe_missing("Writing TOML", "tomli_w")) from error
    return writer.dumps(_drop_none(record.model_dump(mode="json")))


def _drop_none(value: Any) -> Any:
    if isinstance(value, dict):
        table = cast(Values, value)
        return {key: _drop_none(inner) for key, inner in table.items() if inner is not None}
    return [_drop_none(inner) for inner in cast(list[Any], value)] if isinstance(value, list) else value


class NetworkKind(Protocol[ConfigT]):
    """One kind of network: its name and the type of its configuration."""

    @property
    def name(self) -> str:
        """The value of `network` in a configuration."""
        ...

    @property
    def config(self) -> type[ConfigT]:
        """The configuration type of this network."""
        ...


def config_from_json(text: str, key: str, kinds: Sequence[NetworkKind[ConfigT]]) -> ConfigT:
    """Rebuild a configuration from the JSON under a metadata key.

    Raises WeightsError (without the file's name) unless it is a complete configuration of one of these kinds.
    """
    try:
        values: Any = json.loads(text)
        network: Any = values["network"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise WeightsError(f"its metadata key `{key}` does not hold a network configuration.") from None
    known = next((kind for kind in kinds if kind.name == network), None)
    if known is None:
        names = ", ".join(kind.name for kind in kinds)
        raise WeightsError(
            f"its metadata names the unknown network {str(network)[:60]!r}; known networks are {names}. "
            "A newer version may support it."
        )
    try:
        return known.config.model_validate_json(text, strict=True)
    except ValidationError as error:
        raise WeightsError(f"its metadata holds no valid configuration of {network}: {explain(error)}.") from error


def explain(error: ValidationError) -> str:
    """Describe the errors that pydantic found in a configuration."""
    details = error.errors(include_url=False, include_context=False, include_input=False)
    return "; ".join(
        f"{'.'.join(map(str, detail['loc'])) + ': ' if detail['loc'] else ''}{detail['msg']}"[:200]
        for detail in details[:3]
    )
