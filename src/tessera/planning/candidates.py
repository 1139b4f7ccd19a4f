"""All ways to run a network on this machine, those expected to win first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tessera.engines import opening
from tessera.engines.devices import AUTO, list_automatic
from tessera.engines.engine import EngineInfo, Precision, Products
from tessera.engines.opening import EngineName, choose_products
from tessera.machine import cores
from tessera.planning.plan import Candidate

if TYPE_CHECKING:
    from tessera.zoo.int8_file import Int8File


def list_candidates(
    policy: Precision, *, engine: EngineName, device: str, threads: int | None, int8: Int8File | None = None
) -> tuple[Candidate, ...]:
    """All ways to run a network here that the user's settings allow, those expected to win first.

    GPUs come before the CPU. On each, int8 where there is a companion file and reduced precision where the device
    multiplies it in hardware, then fp32 in case the network does not tolerate less, in the order of ENGINES; on the CPU
    in the order of their usual speed.
    """
    devices = list_automatic() if device == AUTO else (device,)
    found: list[Candidate] = []

    def add(place: str, name: str, products: Products, *, fast: bool = False, drop: float | None = None) -> None:
        found.append(
            Candidate.model_validate(
                {
                    "engine": name,
                    "precision": products,
                    "fast": fast,
                    "threads": threads_for(place, threads),
                    "device": place,
                    "stated_drop_db": drop,
                }
            )
        )

    for place in devices:
        infos = _find_engines(engine, place, device)
        for info in infos:
            if info.runs_int8 and int8 is not None and place == "cpu":
                add(place, info.name, "int8", drop=int8.psnr_drop_db)
            products = choose_products(info.name, policy, place)
            if products == "fp32":
                continue
            if info.has_fast_mode and (policy == "fast" or info.tries_fast_mode_in_auto):
                add(place, info.name, products, fast=True)
            add(place, info.name, products)
        for info in infos:
            add(place, info.name, "fp32")
    return tuple(sorted(found, key=lambda each: (devices.index(each.device), -(usual_speed(each) or 0.0))))


def usual_speed(candidate: Candidate) -> float | None:
    """Speed of a candidate on CPUs relative to plain PyTorch, by experience; None where there is none."""
    way = f"{candidate.precision} fast" if candidate.fast else candidate.precision
    return opening.find_engine(candidate.engine).usual_speed.get(way) if candidate.device == "cpu" else None


def _find_engines(engine: EngineName, place: str, device: str) -> list[EngineInfo]:
    """The engines to try on a device; a named engine on a named device without further questions."""
    if engine != "auto":
        info = opening.find_engine(engine)
        return [info] if device != AUTO or info.runs_on(place) else []
    return [info for info in opening.ENGINES if info.runs_networks and info.runs_on(place)]


def threads_for(device: str, threads: int | None) -> int | None:
    """Threads of an engine: as set, else all usable cores; None on GPUs."""
    return (threads or cores().usable) if device == "cpu" else None
