"""The Bessel function J1, in the impulse response of a round low-pass filter.

NumPy does not have it, and it is the only special function that training needs.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

_SPARE_NODES = 64


def bessel_j1(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Compute J1 of finite numbers, to about 1e-15.

    Bessel's integral of cos(t - x sin t) over a full turn is the mean of a periodic function, so equally spaced nodes
    converge faster than any power of their number if there are more of them than x (Abramowitz, Stegun 9.1.21).

    >>> float(bessel_j1(np.array([1.0]))[0])  # 0.4400505857449335...
    0.440050585744933...
    """
    largest = float(np.abs(x).max(initial=0.0))
    nodes = math.ceil(largest) + _SPARE_NODES // 2
    turn = math.pi * np.arange(nodes + 1) / nodes  # the second half of the turn repeats the first
    values = np.cos(turn - x[..., None] * np.sin(turn))
    return (values.sum(axis=-1) - (values[..., 0] + values[..., -1]) / 2) / nodes
