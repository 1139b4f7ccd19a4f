"""Cached plans: one JSON file each in the cache folder; an unreadable one counts as missing."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from pydantic import ValidationError

from tessera.engines.devices import describe_state
from tessera.engines.engine import EngineInfo, Precision
from tessera.engines.opening import ENGINES, EngineName
from tessera.machine import cores, processor
from tessera.native.library import SET_VARIABLE
from tessera.planning.plan import Plan
from tessera.storage.cache import Key, read_cached, write_cached
from tessera.version import __version__

if TYPE_CHECKING:
    from tessera.weights.loaded_generator import LoadedGenerator

FORMAT = 5
_FOLDER = "plans"


def plan_key(
    generator: LoadedGenerator,
    policy: Precision,
    *,
    engine: EngineName,
    device: str,
    threads: int | None,
    int8: str | None = None,
) -> Key:
    """Everything that a plan depends on; a change in any of it needs a new plan.

    `int8` is the SHA-256 of the int8 companion among the candidates.
    """
    here = processor()
    return {
        "format": FORMAT,
        "network": generator.config.model_dump_json(),
        "weights": generator.sha256,
        **({} if int8 is None else {"int8": int8}),
        "policy": policy,
        "engine": engine,
        "device": device,
        "devices": describe_state(device),
        "threads": threads,
        "tessera": __version__,
        **{info.name: _find_state(info) for info in ENGINES if info.runs_networks},
        "processor": f"{here.name} {here.architecture} {here.features}",
        "kernels_set": os.environ.get(SET_VARIABLE),
        "cores": cores().usable,
    }


def read_plan(key: Key) -> Plan | None:
    """The cached plan for a key; None when it is missing or damaged."""
    try:
        return Plan.model_validate_json(json.dumps(read_cached(_FOLDER, key)), strict=False)
    except (ValidationError, RecursionError):
        return None


def write_plan(key: Key, plan: Plan) -> None:
    """Cache a plan; where nothing can be written, it is made again next time."""
    write_cached(_FOLDER, key, plan.model_dump(mode="json"))


def _find_state(info: EngineInfo) -> str | None:
    """What changes when an engine is installed, updated or removed, without importing a large library."""
    return info.find_version() if info.package is not None else info.find_problem()
