"""Configurations of other programs -> recipes of this one, with a list of what was left out and why.

Read are options files of BasicSR, Real-ESRGAN and A-ESRGAN (YAML), those of BasicSR in 2018 (JSON with comments) and
esrdgan's ini files. `tessera config import FILE` is the command for it.
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
from tessera.train.importing.basicsr import basicsr_values
from tessera.train.importing.basicsr_2018 import basicsr_2018_values
from tessera.train.importing.esrdgan import esrdgan_values
from tessera.train.importing.files import read_commented_json, read_ini, read_yaml
from tessera.train.importing.foreign import Note, Table, described
from tessera.train.importing.writing import shortest, toml_text
from tessera.train.recipe import Recipe, override, read_shipped_recipe

__all__ = ["Format", "Imported", "Note", "import_config"]

_NO_NAME = re.compile(r"[/\\\x00-\x1f]+")


@dataclass(frozen=True)
class Format:
    """One kind of file that is understood."""

    name: str
    suffixes: tuple[str, ...]
    read: Callable[[Path], dict[str, Any]]
    values: Callable[[Table], Values]


FORMATS = (
    Format("BasicSR, Real-ESRGAN, A-ESRGAN", (".yml", ".yaml"), read_yaml, basicsr_values),
    Format("BasicSR of 2018", (".json",), read_commented_json, basicsr_2018_values),
    Format("esrdgan", (".ini", ".cfg"), read_ini, esrdgan_values),
)


@dataclass(frozen=True)
class Imported:
    """A configuration that was understood: the recipe it comes to, the TOML that gives it, and what was not taken."""

    recipe: Recipe
    text: str
    notes: tuple[Note, ...]

    @property
    def sentences(self) -> list[str]:
        """The notes, those with one reason together."""
        return described(self.notes)


def import_config(path: Path) -> Imported:
    """Read another program's configuration. The ending of its name says whose it is.

    Raises UsageError for what is no such file, for networks, losses and data sets that are unknown, and for numbers
    that no recipe may have.
    """
    form = next((form for form in FORMATS if path.suffix.lower() in form.suffixes), None)
    if form is None:
        known = "; ".join(f"{form.name} ({', '.join(form.suffixes)})" for form in FORMATS)
        more = " TOML is what `tessera train` reads as it is." if path.suffix.lower() == ".toml" else ""
        raise UsageError(f"{path}: configurations of these programs can be read: {known}.{more}")
    notes: list[Note] = []
    file = Table(form.read(path), path, notes)
    values = form.values(file)
    file.finish()
    name = _NO_NAME.sub("-", str(values["name"])).strip("-")[:100] or "imported"
    recipe = validate(Recipe, {**values, "name": name}, str(path))
    return Imported(recipe, _text(recipe, path, form, notes), tuple(notes))


def _text(recipe: Recipe, path: Path, form: Format, notes: list[Note]) -> str:
    base, values = shortest(recipe)
    head = [f"# Imported from {_one_line(path.name)} ({form.name})."]
    if notes:
        head += ["#", "# Not taken as it was, or not at all:"]
        head += [f"#   {_one_line(sentence)}" for sentence in described(notes)]
    text = "\n".join([*head, "", toml_text({**({"recipe": base} if base else {}), **values})])
    again = tomllib.loads(text)
    lower = again.pop("recipe", None)
    assert validate(Recipe, override(read_shipped_recipe(lower) if lower else {}, again), "") == recipe, (
        "it does not load again"
    )
    return text


def _one_line(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)
