"""The choice of the engine for a network on this machine: measured, checked, cached.

`Planner` is the entry point. `candidates` lists the ways to run a network and `timing` measures in turn those that may
win; `plan` holds the measurements and chooses for the size of a job; `checking` compares the chosen engine with an fp32
reference on a synthetic picture (`chart`); `cache` stores plans.
"""

from tessera.planning.plan import UNANNOUNCED_PIXELS, Candidate, Choice, Difference, Plan, Timing
from tessera.planning.planner import Planner

__all__ = ["UNANNOUNCED_PIXELS", "Candidate", "Choice", "Difference", "Plan", "Planner", "Timing"]
