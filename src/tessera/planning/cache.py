"""Where plans are kept: one JSON file for each in the cache folder; one that cannot be read is as good as none."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from tessera.engines import EngineName, Precision
from tessera.machine import cache_folder, cores, processor
from tessera.place import put_in_place, temporary_name
from tessera.planning.plan import Plan
from tessera.version import __version__

if TYPE_CHECKING:
    from tessera.weights import LoadedGenerator

FORMAT = 1
_LIBRARIES = ("torch", "openvino", "ncnn")
_LARGEST_BYTES = 2**20


def plan_key(
    generator: LoadedGenerator, policy: Precision, *, engine: EngineName, device: str, threads: int | None
) -> dict[str, str | int | None]:
    """Everything that a plan was made for; what changes any of it asks for a new one."""
    return {
        "format": FORMAT,
        "network": generator.config.model_dump_json(),
        "weights": generator.sha256,
        "policy": policy,
        "engine": engine,
        "device": device,
        "threads": threads,
        "tessera": __version__,
        **{name: _version(name) for name in _LIBRARIES},
        "processor": processor().name,
        "cores": cores().usable,
    }


def read_plan(key: Mapping[str, str | int | None]) -> Plan | None:
    """The plan that was kept for a key; None when there is none, or it is damaged or of another kind."""
    path = _path(key)
    try:
        if path.stat().st_size > _LARGEST_BYTES:
            return None
        record = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(record, dict) or record.get("key") != dict(key):
            return None
        return Plan.model_validate_json(json.dumps(record.get("plan")), strict=False)
    except (OSError, ValueError, ValidationError, RecursionError):
        return None


def write_plan(key: Mapping[str, str | int | None], plan: Plan) -> None:
    """Keep a plan; where nothing can be written, it is made again the next time."""
    path = _path(key)
    record = {"key": dict(key), "plan": plan.model_dump(mode="json")}
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = temporary_name(path)
        try:
            temporary.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
            put_in_place(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def _path(key: Mapping[str, str | int | None]) -> Path:
    digest = hashlib.sha256(json.dumps(dict(key), sort_keys=True).encode()).hexdigest()
    return cache_folder() / "plans" / f"{digest[:32]}.json"


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
