"""Optimizers and schedules of BasicSR's options files -> values of `optimizer` and `schedule`."""

from __future__ import annotations

from collections.abc import Callable

from tessera.config import Values
from tessera.train.importing.foreign import Table, without_none

OPTIMIZERS = {"Adam": True, "AdamW": False}
"""Each kind, and whether it is the one that is used here."""


def optimizer_of(train: Table, key: str) -> Values | None:
    """`optim_g` or `optim_d` -> values of an optimizer; None where it is not there."""
    table = train.table(key)
    if table is None:
        return None
    same = table.choice("type", OPTIMIZERS, "Adam", "optimizer")
    values = without_none(
        rate=table.maybe_number("lr"),
        betas=table.several("betas", 2) or [0.9, 0.999],
        weight_decay=table.number("weight_decay", 0.0 if same else 0.01),
    )
    if not same and values["weight_decay"]:
        table.note("type", "the decay of weights is Adam's here, which goes through the gradient, not AdamW's")
    if "rate" not in values:
        raise table.missing("lr", "the learning rate")
    return values


def schedule_of(train: Table) -> Values:
    """`scheduler` and `warmup_iter` -> values of `schedule`; a constant rate without a scheduler."""
    warm_up = max(0, train.whole("warmup_iter", -1))  # -1 stands for none
    table = train.table("scheduler")
    values = (
        {"kind": "multi-step", "milestones": []}
        if table is None
        else table.choice("type", SCHEDULERS, "", "scheduler")(table)
    )
    return {**values, **({"warm_up": warm_up} if warm_up else {})}


def _multi_step(table: Table) -> Values:
    milestones = table.numbers("milestones")
    if milestones is None:
        raise table.missing("milestones", "the steps at which the rate drops")
    if table.numbers("restarts") not in (None, [0.0]):
        table.note("restarts", "the rate is never set back here; split the run in two for that")
    if table.numbers("restart_weights") not in (None, [1.0]):
        table.note("restart_weights", "the rate is never set back here; split the run in two for that")
    return {"kind": "multi-step", "milestones": milestones, "gamma": table.number("gamma", 0.1)}


def _cosine(table: Table) -> Values:
    periods = table.numbers("periods")
    if not periods:
        raise table.missing("periods", "the lengths of the periods, in steps")
    weights = table.numbers("restart_weights")
    return {
        "kind": "cosine-restarts",
        "periods": periods,
        **({"weights": weights} if weights and set(weights) != {1.0} else {}),
        "floor": table.number("eta_min", 0.0),
    }


def _one_cosine(table: Table) -> Values:
    length = table.maybe_number("T_max")
    if length is None:
        raise table.missing("T_max", "the length of the cosine, in steps")
    return {"kind": "cosine-restarts", "periods": [length], "floor": table.number("eta_min", 0.0)}


SCHEDULERS: dict[str, Callable[[Table], Values]] = {
    "MultiStepLR": _multi_step,
    "MultiStepRestartLR": _multi_step,
    "CosineAnnealingRestartLR": _cosine,
    "TrueCosineAnnealingLR": _one_cosine,
}
