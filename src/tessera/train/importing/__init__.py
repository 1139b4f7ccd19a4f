"""Import configurations of other programs as recipes, with a list of what was left out and why.

Supported are options files of BasicSR, Real-ESRGAN and A-ESRGAN (YAML), of BasicSR in 2018 and 2019 (JSON with
comments, YAML), of traiNNer-redux and neosr (YAML, TOML), of KAIR (JSON with comments), and esrdgan's ini files.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tessera.config import Values, validate
from tessera.errors import UsageError
from tessera.train.importing.basicsr import read_basicsr
from tessera.train.importing.basicsr_2018 import read_basicsr_2018
from tessera.train.importing.descendants import is_descendant, read_descendant
from tessera.train.importing.esrdgan import read_esrdgan
from tessera.train.importing.files import read_commented_json, read_foreign_toml, read_ini, read_yaml
from tessera.train.importing.foreign import Note, Table, describe_notes
from tessera.train.importing.kair import is_kair, read_kair
from tessera.train.importing.writing import find_shortest, format_recipe
from tessera.train.recipe import Recipe, override, read_shipped_recipe

__all__ = ["ForeignFormat", "Imported", "Note", "import_config"]

_NO_NAME = re.compile(r"[/\\\x00-\x1f]+")


@dataclass(frozen=True)
class ForeignFormat:
    """A file format of another program. The first one that matches suffix and content is used."""

    name: str
    suffixes: tuple[str, ...]
    read: Callable[[Path], dict[str, Any]]
    values: Callable[[Table], Values]
    matches: Callable[[Values], bool] = lambda _: True


def _is_of_2019(values: Values) -> bool:
    return "network_G" in values


FORMATS = (
    ForeignFormat("BasicSR of 2019", (".yml", ".yaml"), read_yaml, read_basicsr_2018, _is_of_2019),
    ForeignFormat("traiNNer-redux, neosr", (".yml", ".yaml"), read_yaml, read_descendant, is_descendant),
    ForeignFormat("BasicSR, Real-ESRGAN, A-ESRGAN", (".yml", ".yaml"), read_yaml, read_basicsr),
    ForeignFormat("KAIR", (".json",), read_commented_json, read_kair, is_kair),
    ForeignFormat("BasicSR of 2018", (".json",), read_commented_json, read_basicsr_2018),
    ForeignFormat("neosr", (".toml",), read_foreign_toml, read_descendant, is_descendant),
    ForeignFormat("esrdgan", (".ini", ".cfg"), read_ini, read_esrdgan),
)


@dataclass(frozen=True)
class Imported:
    """An imported configuration: the recipe, its TOML, and notes about what was not taken."""

    recipe: Recipe
    text: str
    notes: tuple[Note, ...]

    @property
    def sentences(self) -> list[str]:
        """The notes, those with one reason together."""
        return describe_notes(self.notes)


def import_config(path: Path) -> Imported:
    """Read another program's configuration, which its file name extension and its keys identify.

    Raises UsageError for other files, for unknown networks, losses and data sets, and for values that no recipe may
    have.
    """
    forms = [form for form in FORMATS if path.suffix.lower() in form.suffixes]
    if not forms:
        known = "; ".join(f"{form.name} ({', '.join(form.suffixes)})" for form in FORMATS)
        raise UsageError(f"{path}: expected a configuration of one of these programs: {known}.")
    content = forms[0].read(path)
    form = next((form for form in forms if form.matches(content)), None)
    if form is None:
        raise UsageError(
            f"{path}: expected a configuration of {forms[0].name} with `network_g`. A recipe in TOML is used as it is:"
            " `tessera train FILE`."
        )
    notes: list[Note] = []
    file = Table(content, path, notes)
    values = form.values(file)
    file.finish()
    name = _NO_NAME.sub("-", str(values["name"])).strip("-")[:100] or "imported"
    recipe = validate(Recipe, {**values, "name": name}, str(path))
    return Imported(recipe, _text(recipe, path, form, notes), tuple(notes))


def _text(recipe: Recipe, path: Path, form: ForeignFormat, notes: list[Note]) -> str:
    base, values = find_shortest(recipe)
    head = [f"# Imported from {_replace_control_characters(path.name)} ({form.name})."]
    if notes:
        head += ["#", "# Left out or changed:"]
        head += [f"#   {_replace_control_characters(sentence)}" for sentence in describe_notes(notes)]
    text = "\n".join([*head, "", format_recipe({**({"recipe": base} if base else {}), **values})])
    again = tomllib.loads(text)
    lower = again.pop("recipe", None)
    assert validate(Recipe, override(read_shipped_recipe(lower) if lower else {}, again), "") == recipe, (
        "the text does not load as the same recipe"
    )
    return text


def _replace_control_characters(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)
