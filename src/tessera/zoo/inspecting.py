"""Description of a file or a published name: a generator, a discriminator, or an archive."""

from __future__ import annotations

import contextlib
from collections import Counter
from dataclasses import replace
from pathlib import Path

from tessera.errors import FileError, ModelNotFoundError, WeightsError
from tessera.storage.archive import list_members
from tessera.storage.checksum import compute_sha256
from tessera.weights.discriminator_file import SUFFIXES, load_discriminator
from tessera.weights.files import WeightsReport, inspect_weights
from tessera.weights.published import find_model
from tessera.zoo.discriminators import is_series_archive, locate_training_file
from tessera.zoo.models import resolve
from tessera.zoo.training_files import PublishedArchive, find_training_file


def inspect(name: str) -> WeightsReport:
    """Describe a file, or the file of a published name, without downloading; `problem` says why it cannot be used.

    Raises UnknownModelError for an unknown name, ModelNotFoundError if its file is not on this machine.
    """
    if Path(name).exists():
        return _inspect_path(Path(name))
    entry = find_training_file(name)
    if entry is None:
        report = _inspect_path(resolve(name, offline=True))
        with contextlib.suppress(ModelNotFoundError):  # the user's own file in the models folder
            report = replace(report, license=report.license or find_model(name).license)
        return report
    path = locate_training_file(entry)
    if path is None:
        raise ModelNotFoundError(
            f"{entry.name} is not on this machine: `tessera models pull {entry.name}` downloads it"
            f" ({entry.remote.urls[0]})."
        )
    report = _inspect_archive(path) if isinstance(entry, PublishedArchive) else _inspect_path(path)
    return replace(report, license=entry.license)


def _inspect_path(path: Path) -> WeightsReport:
    if is_series_archive(path):
        return _inspect_archive(path)
    report = inspect_weights(path)
    if report.problem is not None and path.suffix.lower() in SUFFIXES and path.is_file():
        with contextlib.suppress(WeightsError):  # the sentence about the generator stays
            return _inspect_discriminator(path)
    return report


def _inspect_discriminator(path: Path) -> WeightsReport:
    loaded = load_discriminator(path)
    state = loaded.network.state_dict()
    return WeightsReport(
        path=path,
        name=path.stem,
        size_bytes=path.stat().st_size,
        sha256=loaded.sha256,
        network=loaded.config.network,
        dialect=loaded.dialect,
        wrapper=loaded.wrapper,
        config=loaded.config,
        parameters=sum(each.numel() for each in loaded.network.parameters()),
        dtypes=tuple(sorted({str(each.dtype).removeprefix("torch.") for each in state.values()})),
        metadata=loaded.metadata,
        notes=loaded.notes,
        kind="discriminator",
    )


def _inspect_archive(path: Path) -> WeightsReport:
    report = WeightsReport(path=path, name=path.stem, size_bytes=path.stat().st_size, sha256=None, kind="archive")
    try:
        members = list_members(path)
    except FileError as error:
        return replace(report, problem=str(error))
    kinds = Counter(member.path.suffix.lower() or "other" for member in members)
    counts = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(6))
    note = f"{len(members):,} files ({counts}), {sum(member.bytes for member in members):,} bytes unpacked."
    return replace(report, sha256=compute_sha256(path), notes=(note,))
