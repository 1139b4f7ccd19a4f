"""The machine that a measurement was made on, as far as it decides about times."""

from __future__ import annotations

import os
from dataclasses import dataclass

from tessera.upscaling.doctor import Findings, in_gb


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What stands beside every table; `load` is how many threads of other work wanted to run when it began."""

    processor: str
    features: tuple[str, ...]
    cores: int
    threads: int
    memory_bytes: int | None
    gpus: tuple[str, ...]
    system: str
    versions: dict[str, str]
    load: float | None

    @property
    def sentence(self) -> str:
        """One paragraph for people."""
        parts = [self.processor, f"{self.cores} cores", f"{self.threads} threads", ", ".join(self.features)]
        parts += [in_gb(self.memory_bytes) if self.memory_bytes is not None else "", *self.gpus, self.system]
        parts.append(", ".join(f"{name} {version}" for name, version in self.versions.items()))
        return "; ".join(part for part in parts if part) + "."

    @property
    def beside_other_work(self) -> bool:
        """Whether half a core or more was taken when it began."""
        return self.load is not None and self.load >= 0.5


def describe(found: Findings, threads: int) -> Surroundings:
    """What `tessera.upscaling.doctor` found, and how busy the machine was in the last minute."""
    return Surroundings(
        processor=found.processor.name or found.processor.architecture,
        features=found.processor.features or (),
        cores=found.cores.usable,
        threads=threads,
        memory_bytes=found.memory.limit_bytes or found.memory.total_bytes,
        gpus=tuple(gpu.name for gpu in found.gpus.devices),
        system=found.system,
        versions={name: version for name, version in found.versions.items() if version is not None},
        load=round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    )
