"""Which networks a run's weights come from: what it began from, and who taught it. Every file of the run says so.

What is derived from weights, by training them further or by learning from their outputs, stays under their license.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tessera.dataset.taught import Teaching, is_taught, read_teaching
from tessera.errors import TrainingError
from tessera.train.recipe import Recipe
from tessera.weights.license import LICENSE_KEY, license_of_mix
from tessera.weights.loaded_generator import LoadedGenerator

TEACHER_KEY = "tessera.teacher"
"""In the metadata of what was taught: the teacher's name and the sum of its file."""
BEGUN_FROM_KEY = "tessera.begun_from"
"""In the metadata of what did not begin fresh: the name and the sum of what it began from."""


@dataclass(frozen=True)
class Ancestor:
    """A network that others come from."""

    name: str
    sha256: str
    license: str | None

    def __str__(self) -> str:
        return f"{self.name}, sha256 {self.sha256}"


@dataclass(frozen=True)
class Ancestry:
    """All of them, for one run."""

    begun_from: Ancestor | None = None
    teachers: tuple[Ancestor, ...] = ()
    """Those that are asked in each step, and those whose outputs are stored."""

    @property
    def metadata(self) -> dict[str, str]:
        """What a weights file says of it."""
        said: dict[str, str] = {}
        if self.begun_from is not None:
            said[BEGUN_FROM_KEY] = str(self.begun_from)
        if self.teachers:
            said[TEACHER_KEY] = "; ".join(map(str, self.teachers))
        license = license_of_mix(each.license for each in (self.begun_from, *self.teachers) if each is not None)
        return said if license is None else {**said, LICENSE_KEY: license}

    @property
    def teacher_sums(self) -> str | None:
        """What a run that is resumed compares: the sums of its teachers' files; None where there is no teacher."""
        return " ".join(each.sha256 for each in self.teachers) or None


def ancestry_of(recipe: Recipe, begun_from: LoadedGenerator | None, teacher: Ancestor | None) -> Ancestry:
    """Find out where a run's weights come from. Raises TrainingError for a store of another scale."""
    first = None if begun_from is None else Ancestor(begun_from.name, begun_from.sha256, begun_from.license)
    stored = [read_teaching(place) for place in recipe.data.train if is_taught(place)]
    _check_scale(stored, recipe)
    teachers = [] if teacher is None else [teacher]
    teachers += [Ancestor(each.teacher, each.sha256, each.license) for each in stored]
    return Ancestry(first, tuple({each.sha256: each for each in teachers}.values()))


def _check_scale(stored: Sequence[Teaching], recipe: Recipe) -> None:
    for each in stored:
        if each.scale != recipe.generator.scale:
            raise TrainingError(
                f"data.train: the pairs that {each.teacher} made are for x{each.scale}, and the generator enlarges"
                f" x{recipe.generator.scale}."
            )
