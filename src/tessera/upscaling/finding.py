"""From inputs to tasks: pictures found, outputs named, inputs never replaced."""

from __future__ import annotations

import dataclasses
import glob
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tessera.errors import UsageError
from tessera.images.formats import (
    describe_formats,
    find_format,
    is_picture_name,
    list_readable_extensions,
    list_writable_extensions,
)
from tessera.storage.files import resolve_parents
from tessera.upscaling.journal import Journal

_EXTENSION = re.compile(r"\.[a-z]{2,5}\d?")
"""What looks like a file name's extension; `results.v2` and `results.2026` are folders."""
_OF_THE_SYSTEM = frozenset({"desktop.ini", "thumbs.db"})


@dataclass(frozen=True)
class Task:
    """One picture and where its output goes; `problem` says why it cannot be tried."""

    source: Path
    output: Path
    named_by_user: bool = False
    """Whether the user named the output file, whose extension is then final."""
    problem: str | None = None


@dataclass(frozen=True, kw_only=True)
class Naming:
    """How outputs are named: NAME_out.EXT in one folder, the tree of the inputs kept."""

    output: Path = Path("results")
    suffix: str = "out"
    extension: str = "auto"
    is_folder: bool = False
    """Whether `output` is a folder even if its name ends like a picture's."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "output", resolve_parents(self.output))
        known = list_writable_extensions()
        if self.extension != "auto" and self.extension.lstrip(".").lower() not in known:
            raise UsageError(f"expected auto or one of {', '.join(known)}, found {self.extension}.", field="extension")
        if re.search(r"[/\\\x00]", self.suffix):
            raise UsageError(f"expected no path separators, found {self.suffix!r}.", field="suffix")

    def name(self, source: Path, *, with_extension: bool = False) -> str:
        """The output's file name for a source; `with_extension` distinguishes photo.jpg and photo.png."""
        form = find_format(source)
        extension = source.suffix if form is not None else ".png"
        if self.extension != "auto":
            extension = "." + self.extension.lstrip(".").lower()
        stem = f"{source.stem}_{source.suffix.lstrip('.')}" if with_extension and source.suffix else source.stem
        return f"{stem}_{self.suffix}{extension}" if self.suffix else f"{stem}{extension}"

    def is_file_for(self, inputs: Sequence[str]) -> bool:
        """Whether the output is a file: one input that is not a folder, and a name that ends like a picture's.

        Raises UsageError when that format cannot be written, or a file is named for several inputs.
        """
        if self.is_folder or self.output.is_dir():
            return False
        one = len(inputs) == 1 and not os.path.isdir(inputs[0])  # noqa: PTH112 - False, not an error, for any text
        extension = self.output.suffix.lower()
        if extension not in list_readable_extensions():
            is_pattern = one and glob.has_magic(inputs[0]) and not os.path.lexists(inputs[0])
            if one and not is_pattern and _EXTENSION.fullmatch(extension):
                raise UsageError(
                    f"{self.output}: {extension} is not the extension of a format that can be written; expected one of"
                    f" {', '.join(list_writable_extensions())}. For a folder of this name write {self.output}{os.sep}",
                    field="output",
                )
            return False
        if not one:
            what = "the input is a folder" if len(inputs) == 1 else f"there are {len(inputs)} inputs"
            raise UsageError(
                f"{self.output} is the name of one picture, and {what}; name a folder. For a folder of this name write"
                f" {self.output}{os.sep}",
                field="output",
            )
        form = find_format(self.output)
        if form is None:
            raise UsageError(
                f"{self.output}: {extension} can be read, not written; choose .png, .jpg, .tif or .webp.",
                field="output",
            )
        if self.extension != "auto" and find_format(Path(f"x.{self.extension.lstrip('.')}")) is not form:
            raise UsageError(
                f"{self.output} and `extension` {self.extension} name two formats; leave one out.", field="output"
            )
        return True

    def journal_folder(self, inputs: Sequence[str]) -> Path:
        """The folder of the outputs and their journal."""
        return self.output.parent if self.is_file_for(inputs) else self.output


@dataclass(frozen=True)
class _FoundPicture:
    source: Path
    below: Path = Path()
    """Its subfolder of the input folder, which the output keeps."""
    problem: str | None = None


class FoundTasks(NamedTuple):
    """The pictures to upscale, and what was left out."""

    tasks: list[Task]
    ignored: int
    """The number of other files in the folders."""
    earlier: int
    """The number of pictures in the folders that are outputs of earlier runs."""


def find_tasks(inputs: Sequence[str], naming: Naming, journal: Journal, *, recursive: bool = False) -> FoundTasks:
    """Turn files, folders and patterns into tasks.

    A folder stands for its pictures, with `recursive` also those in subfolders, whose tree is kept. Outputs of earlier
    runs are not inputs, if their bytes are those that the journal states. Raises UsageError when there are no pictures,
    or every output would replace an input.
    """
    search = _Search(naming, journal, recursive)
    for text in inputs:
        search.add(text)
    found = list(search.found.values())
    if not found:
        raise UsageError(search.nothing_found(inputs))
    if naming.is_file_for(inputs):
        if len(found) != 1:
            raise UsageError(
                f"{naming.output} is one file, but {inputs[0]} matches {len(found)}; name a folder.", field="output"
            )
        tasks = [Task(found[0].source, naming.output, named_by_user=True, problem=found[0].problem)]
    else:
        if naming.output.exists() and not naming.output.is_dir():
            raise UsageError(f"{naming.output} is a file; name a folder for several outputs.", field="output")
        tasks = _name_outputs(found, naming)
    return FoundTasks(_refuse_inputs(tasks), search.ignored, search.earlier)


class _Search:
    """Collects the named pictures, each once."""

    def __init__(self, naming: Naming, journal: Journal, recursive: bool) -> None:
        self._recursive, self._journal = recursive, journal
        self._output = inode(naming.output)
        real = os.path.realpath(journal.folder)
        self._ours = {os.path.join(real, *name.split("/")): name for name in journal.outputs}  # noqa: PTH118
        self.found: dict[str, _FoundPicture] = {}
        self.ignored = self.earlier = 0
        self._below = False

    def add(self, text: str) -> None:
        """Add a file, a folder or a pattern."""
        if not text:
            raise UsageError("One of the inputs is an empty text; name pictures or folders.")
        if os.path.isdir(text):  # noqa: PTH112 - False, not an error, for any text
            self._add_folder(Path(text))
        elif os.path.lexists(text):
            self._add(_FoundPicture(Path(text), problem=None if os.path.exists(text) else f"{text}: {_BROKEN_LINK}"))  # noqa: PTH110
        elif glob.has_magic(text):
            self._add_pattern(text)
        else:
            self._add(_FoundPicture(Path(text), problem=f"{text}: no such file or folder."))

    def nothing_found(self, inputs: Sequence[str]) -> str:
        """The message for a search without result."""
        hint = "; `recursive` includes subfolders" if self._below and not self._recursive else ""
        counts = [f"{self.ignored} other files"] if self.ignored else []
        counts += [f"{self.earlier} outputs of earlier runs"] if self.earlier else []
        others = f" ({', '.join(counts)})" if counts else ""
        formats = f" Supported: {describe_formats()}." if self.ignored else ""
        return f"No pictures in {', '.join(inputs)}{others}{hint}.{formats}"

    def _add(self, found: _FoundPicture) -> None:
        self.found.setdefault(_identity(found.source), found)

    def _add_unless_ours(self, identity: str, found: _FoundPicture) -> None:
        """Add a picture that was not named itself, except an output of an earlier run."""
        if identity in self._ours and self._journal.has_output(self._ours[identity]):
            self.earlier += 1
        else:
            self.found.setdefault(identity, found)

    def _add_folder(self, folder: Path) -> None:
        def cannot_list(error: OSError) -> None:
            place = Path(os.fsdecode(error.filename or folder))
            self._add(_FoundPicture(place, problem=f"{place}: this folder cannot be listed: {error.strerror}."))

        for place, folders, files in os.walk(folder, onerror=cannot_list):
            if inode(place) == self._output and Path(place) != folder:
                folders.clear()
                continue
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            self._below = self._below or bool(folders)
            if not self._recursive:
                folders.clear()
            real, below = os.path.realpath(place), Path(place).relative_to(folder)
            for name in sorted(files):
                if name.startswith(".") or name.lower() in _OF_THE_SYSTEM:
                    continue
                if not is_picture_name(Path(name)):
                    self.ignored += 1
                else:
                    identity = os.path.join(real, name)  # noqa: PTH118 - thousands of these
                    self._add_unless_ours(identity, _FoundPicture(Path(place, name), below))

    def _add_pattern(self, pattern: str) -> None:
        files = [path for path in _matches(pattern) if path.is_file()]
        pictures = [path for path in files if is_picture_name(path)]
        self.ignored += len(files) - len(pictures)
        if not pictures:
            self._add(_FoundPicture(Path(pattern), problem=f"{pattern}: no picture matches this pattern."))
        for path in pictures:
            self._add_unless_ours(_identity(path), _FoundPicture(path))


def _matches(pattern: str) -> list[Path]:
    """Paths that match a pattern; ** enters folders but not links, which may be circular."""
    anchor = Path(pattern).anchor
    below = pattern[len(anchor) :] + ("/*" if pattern.endswith("**") else "")
    named = set(Path(pattern).parts)
    try:
        found = sorted(Path(anchor).glob(below))
    except (ValueError, NotImplementedError, OSError):
        return []
    return [path for path in found if not any(part.startswith(".") and part not in named for part in path.parts)]


_BROKEN_LINK = "is a broken link."


def _name_outputs(found: list[_FoundPicture], naming: Naming) -> list[Task]:
    """NAME_out.EXT where that is unique, else NAME_EXT_out.EXT, then with a number."""
    plain = [naming.output / each.below / naming.name(each.source) for each in found]
    taken = Counter(fold_name(output) for output in plain)
    used = {place for place, count in taken.items() if count == 1}
    numbers: Counter[str] = Counter()
    tasks: list[Task] = []
    for each, output in zip(found, plain, strict=True):
        if taken[fold_name(output)] > 1:
            output = output.with_name(naming.name(each.source, with_extension=True))
            first, base = output, fold_name(output)
            while fold_name(output) in used:
                numbers[base] += 1
                output = first.with_name(f"{first.stem}-{numbers[base] + 1}{first.suffix}")
            used.add(fold_name(output))
        tasks.append(Task(each.source, output, problem=each.problem))
    return tasks


def fold_name(path: Path) -> str:
    """One text for all names that some file system treats as equal."""
    return unicodedata.normalize("NFC", str(path).casefold())


def _refuse_inputs(tasks: list[Task]) -> list[Task]:
    """Refuse tasks whose output is one of the inputs, however it is spelled."""
    sources = {inode(task.source) for task in tasks} - {None}
    refused = {task.output for task in tasks if inode(task.output) in sources}
    if not refused:
        return tasks
    because = "is itself an input, and inputs are never replaced; choose another `output` folder or `suffix`."
    if len(refused) == len(tasks):
        raise UsageError(f"{tasks[0].output}: {because}")
    return [
        dataclasses.replace(task, problem=f"{task.source}: its output {task.output} {because}")
        if task.output in refused
        else task
        for task in tasks
    ]


def _identity(path: Path) -> str:
    """One text per file name; links in its folder are resolved, a link itself is not."""
    return os.path.join(os.path.realpath(path.parent), path.name)  # noqa: PTH118 - thousands of these


def inode(path: str | Path) -> tuple[int, int] | None:
    """The identity of a file, whatever its name; None when it does not exist."""
    try:
        found = os.stat(path)  # noqa: PTH116 - thousands of these
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino
