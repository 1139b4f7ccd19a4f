"""Pages generated at build time from the code: each command's help, settings, recipe keys and recipes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import typer

from tessera.cli import app as command_line
from tessera.tiling.settings import list_settings
from tessera.train.recipe import RECIPES

SUMMARY = "Tessera runs, trains, measures, explains and exports super-resolution networks of the ESRGAN family."


def write_pages(folder: Path) -> None:
    """Write all generated pages below `folder`; files that did not change keep their time, so they are not rebuilt."""
    pages = dict(_command_pages())
    pages |= {"settings.rst": _settings(), "recipe-keys.rst": _recipe_keys(), "recipes.rst": _recipes()}
    for name, text in pages.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
    for path in folder.rglob("*.rst"):
        if path.relative_to(folder).as_posix() not in pages:
            path.unlink()


# ------------------------------------------------------------------------------------------------------------- commands


def commands() -> Iterator[tuple[list[str], Any, Any]]:
    """Every command with its words (`["models", "list"]`) and its click context, groups before their members."""
    root: Any = typer.main.get_command(command_line)
    yield from _walk([], root, typer.Context(root, info_name="tessera"))


def _walk(words: list[str], command: Any, context: Any) -> Iterator[tuple[list[str], Any, Any]]:
    yield words, command, context
    if hasattr(command, "list_commands"):
        for name in command.list_commands(context):
            member = command.get_command(context, name)
            yield from _walk([*words, name], member, typer.Context(member, info_name=name, parent=context))


def _command_pages() -> Iterator[tuple[str, str]]:
    pages: dict[str, list[str]] = {}
    for words, command, context in commands():
        if words:
            pages.setdefault(words[0], []).append(_command(words, command, context))
    for name, sections in pages.items():
        yield f"commands/{name}.rst", "\n".join(sections)
    toctree = "\n".join(f"   {name}" for name in pages)
    lines = f"{SUMMARY}\n\n.. toctree::\n   :maxdepth: 1\n\n{toctree}\n"
    yield "commands/index.rst", _heading("Commands", "=") + lines


def _command(words: list[str], command: Any, context: Any) -> str:
    title = " ".join(["tessera", *words])
    parts = [_heading(title, "=" if len(words) == 1 else "-")]
    parts.append("::\n\n   " + " ".join(command.get_usage(context).removeprefix("Usage:").split()) + "\n")
    parts.append("\n\n".join(_prose(each) for each in re.split(r"\n\s*\n", command.help or "")) + "\n")
    parts.append(f".. program:: {title}\n")
    for parameter in command.params:
        record = parameter.get_help_record(context)
        if record is not None:
            names, text = record
            names = names.replace(" / ", ", ").replace("; ", ", ")
            if getattr(parameter, "param_type_name", "") == "argument":
                parts.append(f"``{names}``\n   {_prose(text)}\n")
            else:
                parts.append(f".. option:: {names}\n\n   {_prose(text)}\n")
    return "\n".join(parts)


# ------------------------------------------------------------------------------------------------------------- settings


def _settings() -> str:
    parts = [
        _heading("Upscaling settings", "="),
        "Every setting of ``tessera.Upscaler(...)`` and of ``tessera upscale``, generated from the one declaration of "
        'each. In Python they are keyword arguments, ``Upscaler("realesrgan-x4plus", tile=192)``; on the command line '
        "they are options, ``--tile 192``.\n",
        ".. list-table::\n   :header-rows: 1\n   :widths: 16 18 22 44\n",
        "   * - setting\n     - option\n     - values\n     - meaning",
    ]
    upscale = next(command for words, command, _ in commands() if words == ["upscale"])
    options = {name for parameter in upscale.params for name in parameter.opts}
    for each in list_settings():
        kinds = [kind.__name__ for kind in each.types if kind is not type(None)]
        values = [f"``{choice}``" for choice in each.choices] or [f"``{kind}``" for kind in kinds]
        option = f"--{each.name.replace('_', '-')}"
        parts.append(f"   * - ``{each.name}``\n     - {f'``{option}``' if option in options else ''}")
        parts.append(f"     - {', '.join(values)}\n     - {_prose(each.help)}")
    parts.append("\n.. autoclass:: tessera.Settings()\n")
    parts.append(".. autoclass:: tessera.tiling.settings.OutScale()\n   :members: parse\n")
    parts.append(".. autoclass:: tessera.images.picture_format.Limits()\n   :members: max_pixels, max_output_pixels\n")
    return "\n".join(parts)


# -------------------------------------------------------------------------------------------------------------- recipes


def _recipe_keys() -> str:
    schema = build_recipe_schema()
    definitions: dict[str, Any] = schema["definitions"]
    parts = [
        _heading("Recipe keys", "="),
        "Every key of a recipe file, with its type and default. Each table of a recipe is one section below; "
        "``data.batch=4`` on the command line sets the key ``batch`` of the table ``[data]``.\n",
        _key_table(schema["properties"]),
    ]
    for name, definition in definitions.items():
        if "properties" in definition:
            parts += [_heading(name, "-"), _prose(definition.get("description", "")) + "\n"]
            parts.append(_key_table(definition["properties"]))
    return "\n".join(parts)


def build_recipe_schema() -> dict[str, Any]:
    """The JSON schema that `tessera config schema` writes."""
    from tessera.train.schema import format_schema

    return json.loads(format_schema())


def _key_table(properties: dict[str, Any]) -> str:
    rows = [".. list-table::", "   :header-rows: 1", "   :widths: 22 26 16 36", ""]
    rows += ["   * - key", "     - type", "     - default", "     - meaning"]
    for key, node in properties.items():
        default = f"``{json.dumps(node['default'])}``" if node.get("default") not in (None, "", {}) else ""
        if len(default) > 60:
            default = "see its section"
        rows += [f"   * - ``{key}``", f"     - {_kind(node)}", f"     - {default}"]
        rows.append(f"     - {_prose(node.get('description', ''))}")
    return "\n".join(rows) + "\n"


def _kind(node: dict[str, Any]) -> str:
    """The type of a key in words, from its JSON schema."""
    if "$ref" in node:
        return node["$ref"].rsplit("/", 1)[-1]
    for key in ("anyOf", "oneOf", "allOf"):
        if key in node:
            return " or ".join(dict.fromkeys(_kind(each) for each in node[key]))
    if "enum" in node:
        return ", ".join(f"``{each}``" for each in node["enum"])
    if "const" in node:
        return f"``{node['const']}``"
    kind = str(node.get("type", "any"))
    if kind == "array":
        inner = node.get("items") or node.get("prefixItems") or {}
        inner = inner[0] if isinstance(inner, list) and inner else inner
        return f"list of {_kind(inner)}" if isinstance(inner, dict) and inner else "list"
    least = node.get("minimum", node.get("exclusiveMinimum"))
    most = node.get("maximum", node.get("exclusiveMaximum"))
    if least is not None and most is not None and most < 1e9:
        return f"{kind}, {least} to {most}"
    return f"{kind}, at least {least}" if least is not None else kind


def _recipes() -> str:
    parts = [
        _heading("Shipped recipes", "="),
        "The recipe files as they ship. A key that a recipe leaves out has the default of :doc:`recipe-keys`.\n",
    ]
    folder = resources.files("tessera.train") / "recipes"
    for name in RECIPES:
        text = (folder / f"{name}.toml").read_text(encoding="utf-8")
        block = "\n".join(f"   {line}".rstrip() for line in text.splitlines())
        parts += [_heading(name, "-"), f".. code-block:: toml\n\n{block}\n"]
    return "\n".join(parts)


# ----------------------------------------------------------------------------------------------------------------- text


def _heading(title: str, line: str) -> str:
    return f"{title}\n{line * len(title)}\n"


def _prose(text: str) -> str:
    """Help text as one line of reStructuredText: single backticks become code, other markup is escaped."""
    parts = re.split(r"`([^`]+)`", " ".join(text.split()))
    escaped = [re.sub(r"([\\*|`]|(?<!\w)_|_(?!\w))", r"\\\1", part) for part in parts[::2]]
    codes = [f"``{code}``" for code in parts[1::2]] + [""]
    return "".join(text + code for text, code in zip(escaped, codes, strict=True)).strip()


def setup(app: Any) -> dict[str, bool]:
    """Register with Sphinx: write the pages before it looks for source files."""
    app.connect("builder-inited", lambda app: write_pages(Path(app.srcdir) / "reference" / "generated"))
    return {"parallel_read_safe": True}
