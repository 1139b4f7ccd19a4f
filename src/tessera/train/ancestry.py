"""The networks that a run's weights derive from: its start and its teachers, named in all files of the run.

Weights that derive from others, by further training or by learning from their outputs, stay under their license.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tessera.dataset.taught import Teaching, is_taught, read_teaching
from tessera.errors import TrainingError
from tessera.pruning.cutting import START_KEY
from tessera.train.recipe import Recipe
from tessera.weights.license import LICENSE_KEY, combine_licenses
from tessera.weights.loaded_generator import LoadedGenerator

TEACHER_KEY = "tessera.teacher"
"""Metadata key of the teacher's name and the SHA-256 of its file, in distilled networks."""


@dataclass(frozen=True)
class Ancestor:
    """A network that others derive from."""

    name: str
    sha256: str
    license: str | None

    def __str__(self) -> str:
        return f"{self.name}, sha256 {self.sha256}"


@dataclass(frozen=True)
class Ancestry:
    """The ancestors of one run."""

    start: Ancestor | None = None
    teachers: tuple[Ancestor, ...] = ()
    """Teachers that run in each step, and those whose outputs are stored."""

    @property
    def metadata(self) -> dict[str, str]:
        """Metadata of the run's weights files."""
        entries: dict[str, str] = {}
        if self.start is not None:
            entries[START_KEY] = str(self.start)
        if self.teachers:
            entries[TEACHER_KEY] = "; ".join(map(str, self.teachers))
        license = combine_licenses(each.license for each in (self.start, *self.teachers) if each is not None)
        return entries if license is None else {**entries, LICENSE_KEY: license}

    @property
    def teacher_digests(self) -> str | None:
        """SHA-256 of the teachers' files, which a resumed run compares; None without a teacher."""
        return " ".join(each.sha256 for each in self.teachers) or None


def find_ancestry(recipe: Recipe, start: LoadedGenerator | None, teacher: Ancestor | None) -> Ancestry:
    """Find the ancestors of a run. Raises TrainingError for a store of another scale."""
    first = None if start is None else Ancestor(start.name, start.sha256, start.license)
    stored = [read_teaching(place) for place in recipe.data.train if is_taught(place)]
    _check_scale(stored, recipe)
    teachers = [] if teacher is None else [teacher]
    teachers += [Ancestor(each.teacher, each.sha256, each.license) for each in stored]
    return Ancestry(first, tuple({each.sha256: each for each in teachers}.values()))


def _check_scale(stored: Sequence[Teaching], recipe: Recipe) -> None:
    for each in stored:
        if each.scale != recipe.generator.scale:
            raise TrainingError(
                f"data.train: expected pairs of scale {recipe.generator.scale}, like the generator; found a store by"
                f" {each.teacher} of scale {each.scale}."
            )
