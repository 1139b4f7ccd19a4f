"""The machine that a benchmark ran on, as far as it affects times."""

from __future__ import annotations

import os
from dataclasses import dataclass

from tessera.upscaling.doctor import Findings
from tessera.wording import format_bytes


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """The machine description printed with every table; `load` is the load average when the benchmark started."""

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
        """The description as one sentence."""
        parts = [self.processor, f"{self.cores} cores", f"{self.threads} threads", ", ".join(self.features)]
        parts += [format_bytes(self.memory_bytes) if self.memory_bytes is not None else "", *self.gpus, self.system]
        parts.append(", ".join(f"{name} {version}" for name, version in self.versions.items()))
        return "; ".join(part for part in parts if part) + "."

    @property
    def is_busy(self) -> bool:
        """Whether other work used half a core or more at the start."""
        return self.load is not None and self.load >= 0.5


def describe_machine(found: Findings, threads: int) -> Surroundings:
    """Describe the machine from the findings of `tessera doctor` and its load average."""
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
