"""Which engine runs a network on this machine: measured once, checked against the reference, and remembered.

`Planner` is the door. `timing` measures candidates in turn, on a cut-down network where the whole is too large
(`cutting`); `plan` holds what was measured and chooses from it for the size of a job; `checking` compares the chosen
engine with PyTorch in fp32 on a computed picture (`chart`); `cache` keeps plans.
"""

from tessera.planning.plan import UNANNOUNCED_PIXELS, Candidate, Choice, Difference, Plan, Timing
from tessera.planning.planner import Planner

__all__ = ["UNANNOUNCED_PIXELS", "Candidate", "Choice", "Difference", "Plan", "Planner", "Timing"]
