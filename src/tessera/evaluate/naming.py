"""Names of the methods and pictures of an evaluation: distinct in tables, in reports, and as names of files."""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from tessera.errors import UsageError
from tessera.evaluate.pairs import Pairing, PicturePair

PREPARED = ("input", "input_resized", "reference_resized")
"""Folders of prepared pictures, next to those of the methods."""
_MOST_BYTES = 120


def name_models(models: Sequence[tuple[str, str]], reserved: Sequence[str] = ()) -> tuple[str, ...]:
    """Choose a distinct name for each model, from (the model as given, its own name).

    Models whose own names would share a folder get the shortest ends of their paths that differ; if those do not
    differ either, numbers. `reserved` are the names of other methods.

    >>> name_models([("runs/a/best.pth", "best"), ("runs/b/best.pth", "best"), ("x4", "x4")])
    ('a/best', 'b/best', 'x4')
    >>> name_models([("bicubic.pth", "bicubic"), ("input", "input")], reserved=["bicubic"])
    ('bicubic.pth', 'input (2)')
    """
    taken = {_fold(name) for name in (*reserved, *PREPARED)}
    groups: dict[str, list[int]] = {}
    for index, (_, name) in enumerate(models):
        groups.setdefault(_fold(name), []).append(index)
    names = [name for _, name in models]
    for key, members in groups.items():
        if len(members) > 1 or key in taken:
            others = taken | (groups.keys() - {key})
            given = [models[index][0] for index in members]
            longer = _lengthen_names(given, [names[index] for index in members], others)
            for index, name in zip(members, longer, strict=True):
                names[index] = name
    return tuple(_number_names(names, taken))


def _lengthen_names(given: Sequence[str], own: Sequence[str], taken: set[str]) -> Sequence[str]:
    """The first of: ends of the paths without extensions, with extensions, the texts as given; else their own names."""
    paths = [Path(text) for text in given]
    choices: list[Sequence[str]] = [given]
    if all(path.suffix.lower() in _EXTENSIONS for path in paths):
        choices = [shorten_paths([path.with_suffix("") for path in paths]), shorten_paths(paths), given]
    for names in choices:
        keys = {_fold(name) for name in names}
        if len(keys) == len(given) and not keys & taken:
            return names
    return own


_EXTENSIONS = frozenset({".pth", ".pt", ".safetensors", ".onnx", ".bin", ".param", ".xml", ".npz", ".h5"})


def _number_names(names: Sequence[str], taken: set[str]) -> Iterator[str]:
    """Append " (2)", " (3)" ... to names that share a folder with an earlier one."""
    used = set(taken)
    for name in names:
        choice, number = name, 2
        while _fold(choice) in used:
            choice, number = f"{name} ({number})", number + 1
        used.add(_fold(choice))
        yield choice


def make_folder_name(method: str) -> str:
    """Turn a method's name into the name of a folder, of at most 120 bytes.

    >>> make_folder_name("a/best"), make_folder_name("A*0.5+B*0.5"), make_folder_name(".."), make_folder_name("")
    ('a_best', 'A_0.5+B_0.5', '_.', 'model')
    """
    name = re.sub(r"[^\w.+@-]", "_", method) or "model"
    if name.startswith("."):
        name = f"_{name[1:]}"
    encoded = name.encode("utf-8", "backslashreplace")
    if len(encoded) > _MOST_BYTES:
        digest = hashlib.sha256(encoded).hexdigest()[:8]
        name = f"{encoded[: _MOST_BYTES - 9].decode('utf-8', 'ignore')}-{digest}"
    return name


def check_distinct(methods: Sequence[str]) -> None:
    """Raise UsageError for two methods that would share a folder, or one that would share that of the inputs."""
    folders = collections.Counter(map(_fold, methods))
    for method in methods:
        if folders[_fold(method)] > 1 or _fold(method) in PREPARED:
            raise UsageError(f"expected distinct names of methods, found {method!r} twice or reserved.", field="model")


def name_pictures(pairing: Pairing) -> Pairing:
    """Give every picture of a pairing a distinct name: where stems are equal (a.png, a.jpg), the names of the files."""
    stems = collections.Counter(pair.name for pair in pairing.pairs)
    if max(stems.values(), default=0) < 2:
        return pairing
    pairs: list[PicturePair] = []
    used: set[str] = {name for name, count in stems.items() if count == 1}
    for pair in pairing.pairs:
        name = pair.name
        if stems[name] > 1:
            path = pair.sr or pair.lq or pair.gt
            choice = longer = path.name if path is not None else name
            number = 2
            while choice in used:
                choice, number = f"{longer} ({number})", number + 1
            used.add(choice)
            name = choice
        pairs.append(dataclasses.replace(pair, name=name))
    return dataclasses.replace(pairing, pairs=tuple(pairs))


def shorten_paths(paths: Sequence[Path]) -> tuple[str, ...]:
    """The shortest ends of paths that are all different.

    >>> shorten_paths([Path("a/x4"), Path("b/x4")]), shorten_paths([Path("a/x"), Path("b/y")])
    (('a/x4', 'b/x4'), ('x', 'y'))
    """
    absolute = [Path(os.path.abspath(path)) for path in paths]  # noqa: PTH100 - links keep their names
    for count in range(1, max(len(path.parts) for path in absolute)):
        ends = tuple("/".join(path.parts[-count:]) for path in absolute)
        if len(set(ends)) == len(ends):
            return ends
    return tuple(str(path) for path in paths)


def _fold(name: str) -> str:
    """Names that fold to the same text would share a folder on some file system."""
    return make_folder_name(name).casefold()
