"""Optimizers and schedules of BasicSR's options files -> values of `optimizer` and `schedule`."""

from __future__ import annotations

from collections.abc import Callable

from tessera.config import Values
from tessera.train.importing.foreign import Table, drop_none

OPTIMIZERS = {"Adam": True, "AdamW": False}
"""Each optimizer, and whether it is the one that Tessera uses."""


def read_optimizer(train: Table, key: str) -> Values | None:
    """`optim_g` or `optim_d` -> values of an optimizer; None if it is missing."""
    table = train.read_table(key)
    if table is None:
        return None
    same = table.read_choice("type", OPTIMIZERS, "Adam", "optimizer")
    values = drop_none(
        rate=table.read_optional_number("lr"),
        betas=table.read_exact_numbers("betas", 2) or [0.9, 0.999],
        weight_decay=table.read_number("weight_decay", 0.0 if same else 0.01),
    )
    if not same and values["weight_decay"]:
        table.note("type", "the weight decay is Adam's, through the gradient, not AdamW's")
    if "rate" not in values:
        raise table.missing_key_error("lr", "the learning rate")
    return values


def read_schedule(train: Table) -> Values:
    """`scheduler` and `warmup_iter` -> values of `schedule`; constant without a scheduler."""
    warm_up = max(0, train.read_int("warmup_iter", -1))  # -1 stands for none
    table = train.read_table("scheduler")
    values = (
        {"kind": "multi-step", "milestones": []}
        if table is None
        else table.read_choice("type", SCHEDULERS, "", "scheduler")(table)
    )
    return {**values, **({"warm_up": warm_up} if warm_up else {})}


def _read_multi_step(table: Table) -> Values:
    milestones = table.read_numbers("milestones")
    if milestones is None:
        raise table.missing_key_error("milestones", "the steps at which the rate drops")
    if table.read_numbers("restarts") not in (None, [0.0]):
        table.note("restarts", "the rate is not restarted; split the run in two for that")
    if table.read_numbers("restart_weights") not in (None, [1.0]):
        table.note("restart_weights", "the rate is not restarted; split the run in two for that")
    return {"kind": "multi-step", "milestones": milestones, "gamma": table.read_number("gamma", 0.1)}


def _read_cosine(table: Table) -> Values:
    periods = table.read_numbers("periods")
    if not periods:
        raise table.missing_key_error("periods", "the lengths of the periods, in steps")
    weights = table.read_numbers("restart_weights")
    return {
        "kind": "cosine-restarts",
        "periods": periods,
        **({"weights": weights} if weights and set(weights) != {1.0} else {}),
        "floor": table.read_number("eta_min", 0.0),
    }


def _read_one_cosine(table: Table) -> Values:
    length = table.read_optional_number("T_max")
    if length is None:
        raise table.missing_key_error("T_max", "the length of the cosine, in steps")
    return {"kind": "cosine-restarts", "periods": [length], "floor": table.read_number("eta_min", 0.0)}


SCHEDULERS: dict[str, Callable[[Table], Values]] = {
    "MultiStepLR": _read_multi_step,
    "MultiStepRestartLR": _read_multi_step,
    "CosineAnnealingRestartLR": _read_cosine,
    "TrueCosineAnnealingLR": _read_one_cosine,
}
