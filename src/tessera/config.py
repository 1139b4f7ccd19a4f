"""Configurations as people write them: TOML files and `key=value` on the command line, checked against a frozen record.

A configuration is a tree of frozen pydantic models that live beside what they configure. Here is only what all of them
need: reading, laying changes over each other, and saying in one sentence which key is wrong and what was meant.
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
from tessera.libraries import import_library

Values = dict[str, Any]
Record = TypeVar("Record", bound=BaseModel)
ConfigT = TypeVar("ConfigT", bound=BaseModel, covariant=True)


class OneOf:
    """Marks a field of a base type that holds one of these records, told apart by the literal field `network`.

    For lists of records that are declared elsewhere: `Annotated[GeneratorConfig, OneOf(*kinds)]` is validated like the
    union of the kinds.
    """

    def __init__(self, *kinds: type[BaseModel]) -> None:
        self.union: Any = functools.reduce(operator.or_, kinds)

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return handler.generate_schema(typing.Annotated[self.union, Field(discriminator="network")])


def read_toml(path: Path) -> Values:
    """Read a TOML file. Raises UsageError, with the line, when it is not one."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UsageError(f"{path}: this file cannot be read ({error.strerror or error}).") from error
    except UnicodeDecodeError:
        raise UsageError(f"{path}: this is no text in UTF-8, and a recipe is. Save it as UTF-8.") from None
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path}: this is not TOML: {error}. Text belongs in quotes, and lists in [ ].") from None


def parse_change(text: str) -> tuple[tuple[str, ...], Any]:
    """Read `data.batch=4` -> (("data", "batch"), 4). A value that is not TOML is taken as text.

    >>> parse_change("name=portraits"), parse_change("schedule.milestones=[50_000, 0.5]")
    ((('name',), 'portraits'), (('schedule', 'milestones'), [50000, 0.5]))
    """
    key, equals, value = text.partition("=")
    path = tuple(part.strip() for part in key.split("."))
    if not equals or not all(path):
        raise UsageError(f"{text!r}: a change is written key=value, such as data.batch=4.")
    return path, _toml_value(value.strip())


def _toml_value(text: str) -> Any:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def with_changes(values: Mapping[str, Any], changes: Iterable[tuple[tuple[str, ...], Any]]) -> Values:
    """Lay changes over values; neither is altered.

    >>> with_changes({"data": {"batch": 16}}, [(("data", "patch"), 96), (("steps",), 3)])
    {'data': {'batch': 16, 'patch': 96}, 'steps': 3}
    """
    changed = cast(Values, _copied(values))
    for path, value in changes:
        table = changed
        for depth, part in enumerate(path[:-1]):
            inner = table.setdefault(part, {})
            if not isinstance(inner, dict):
                raise UsageError(f"{'.'.join(path)}: {'.'.join(path[: depth + 1])} is one value and has no parts.")
            table = cast(Values, inner)
        table[path[-1]] = value
    return changed


def overlaid(lower: Mapping[str, Any], upper: Mapping[str, Any]) -> Values:
    """The values of `upper` over those of `lower`, table by table.

    >>> overlaid({"data": {"batch": 16, "patch": 128}}, {"data": {"batch": 4}})
    {'data': {'batch': 4, 'patch': 128}}
    """
    result = cast(Values, _copied(lower))
    for key, value in upper.items():
        below = result.get(key)
        both = isinstance(below, dict) and isinstance(value, Mapping)
        result[key] = overlaid(cast(Values, below), cast(Values, value)) if both else _copied(value)
    return result


def _copied(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _copied(inner) for key, inner in cast(Mapping[Any, Any], value).items()}
    return [_copied(inner) for inner in cast(list[Any], value)] if isinstance(value, list) else value


def checked(kind: type[Record], values: Mapping[str, Any], where: str) -> Record:
    """Make the record of these values. Raises UsageError that names the key and what was meant."""
    try:
        return TypeAdapter(kind).validate_python(values)
    except ValidationError as error:
        sentences = [_sentence(kind, values, cast("dict[str, Any]", detail)) for detail in error.errors()]
        more = f" And {len(sentences) - 3} more." if len(sentences) > 3 else ""
        raise UsageError(f"{where}: {' '.join(sentences[:3])}{more}") from None


def _sentence(kind: type[BaseModel], values: Mapping[str, Any], detail: dict[str, Any]) -> str:
    names, owner = _followed(kind, detail["loc"])
    key = ".".join(names)
    problem = str(detail["msg"]).removeprefix("Value error, ").rstrip(".")
    match detail["type"]:
        case "extra_forbidden":
            known = sorted(owner.model_fields) if owner is not None else []
            near = difflib.get_close_matches(names[-1], known, 1, cutoff=0.5)
            meant = f"did you mean `{'.'.join([*names[:-1], near[0]])}`?" if near else f"there are {', '.join(known)}."
            return f"There is no key `{key}`; {meant}"
        case "missing":
            return f"The key `{key}` is missing."
        case "union_tag_not_found" | "union_tag_invalid":
            tag = str(detail.get("ctx", {}).get("discriminator", "")).strip("'")
            expected = detail.get("ctx", {}).get("expected_tags")
            found = detail.get("ctx", {}).get("tag")
            said = f"is {found!r}" if found is not None else "is missing"
            return f"`{key}.{tag}` {said}{f'; expected one of {expected}' if expected else ''}."
        case _ if not names:  # what the parts of the record say of each other
            return f"{problem}."
        case _:
            shown = repr(detail.get("input"))
            return f"`{key}`: {_lowered(problem)}; found {shown if len(shown) <= 60 else shown[:57] + '...'}."


def _lowered(text: str) -> str:
    return text[:1].lower() + text[1:]


def _followed(kind: type[BaseModel], location: tuple[str | int, ...]) -> tuple[list[str], type[BaseModel] | None]:
    """The keys of a place as the user wrote them, without the names of union members; and the record it lies in."""
    names: list[str] = []
    here: Any = kind
    owner: type[BaseModel] | None = kind
    for part in location:
        members = _members(here)
        tagged = next((member for member in members if str(part) in _tags(member)), None)
        if tagged is not None and len(members) > 1:
            here = tagged
            continue
        owner = next(
            (member for member in members if str(part) in member.model_fields), members[0] if members else None
        )
        if owner is None and not isinstance(part, int) and not _is_table(here):
            continue  # a part of pydantic's own way, such as "tuple" or "int"
        names.append(str(part))
        field = owner.model_fields.get(str(part)) if owner else None
        here = _inner(here) if field is None else _type_of(field)
    return names, owner


def _type_of(field: FieldInfo) -> Any:
    marks = (mark for mark in field.metadata if isinstance(mark, OneOf))
    return next((mark.union for mark in marks), field.annotation)


def _members(kind: Any) -> list[type[BaseModel]]:
    """The records that a value of this type may be."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return [kind]
    origin = typing.get_origin(kind)
    if origin in (typing.Union, types.UnionType, typing.Annotated):
        return [member for inner in typing.get_args(kind) for member in _members(inner)]
    return []


def _tags(kind: type[BaseModel]) -> tuple[str, ...]:
    """The values of the literal fields that tell the members of a union apart."""
    fields = (field for field in kind.model_fields.values() if typing.get_origin(field.annotation) is typing.Literal)
    return tuple(str(value) for field in fields for value in typing.get_args(field.annotation))


def _is_table(kind: Any) -> bool:
    return typing.get_origin(kind) in (dict, tuple, list, types.MappingProxyType)


def _inner(kind: Any) -> Any:
    arguments = typing.get_args(kind)
    return arguments[-1] if arguments else None


def written_toml(record: BaseModel) -> str:
    """A record as TOML text, complete; `None` is left out, because TOML has none. Raises UsageError without tomli-w."""
    try:
        writer = import_library("tomli_w")
    except ModuleNotFoundError as error:
        raise UsageError("Writing TOML needs the package tomli-w: pip install 'tessera-sr[train]'.") from error
    return writer.dumps(_without_none(record.model_dump(mode="json")))


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        table = cast(Values, value)
        return {key: _without_none(inner) for key, inner in table.items() if inner is not None}
    return [_without_none(inner) for inner in cast(list[Any], value)] if isinstance(value, list) else value


class Kind(Protocol[ConfigT]):
    """One kind of network: its name in configurations and the type of these."""

    @property
    def name(self) -> str:
        """The word under `network` in a configuration."""
        ...

    @property
    def config(self) -> type[ConfigT]:
        """The type of the configurations of this network."""
        ...


def config_from_json(text: str, key: str, kinds: Sequence[Kind[ConfigT]]) -> ConfigT:
    """Rebuild the configuration that stands as JSON under a key of the metadata.

    Raises WeightsError for anything but a complete configuration of one of these kinds, without the name of the file.
    """
    try:
        values: Any = json.loads(text)
        network: Any = values["network"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise WeightsError(f"its metadata has under `{key}` no configuration of a network.") from None
    known = next((kind for kind in kinds if kind.name == network), None)
    if known is None:
        names = ", ".join(kind.name for kind in kinds)
        raise WeightsError(
            f"its metadata names the network {str(network)[:60]!r}, and this program knows {names}. "
            "A newer version may know more."
        )
    try:
        return known.config.model_validate_json(text, strict=True)
    except ValidationError as error:
        raise WeightsError(f"the configuration in its metadata is not one of {network}: {explain(error)}.") from error


def explain(error: ValidationError) -> str:
    """Say in words what pydantic found wrong with a configuration."""
    details = error.errors(include_url=False, include_context=False, include_input=False)
    return "; ".join(
        f"{'.'.join(map(str, detail['loc'])) + ': ' if detail['loc'] else ''}{detail['msg']}"[:200]
        for detail in details[:3]
    )
