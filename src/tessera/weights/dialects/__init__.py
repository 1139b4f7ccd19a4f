"""The names that different programs give to the same weights, and how to tell them apart.

A file of weights is a dictionary of names and arrays, sometimes inside other dictionaries and behind prefixes
(`unwrap`). From the names alone follows which network it is and who wrote it; from the shapes, how large the network is
(`recognize`). The other way, `to_dialect` gives weights the names that another program expects. These are functions on
dictionaries; tensors are renamed, copied or turned from BGR to RGB, never computed with.
"""

from tessera.weights.dialects.reading import GENERATOR_DIALECTS, Recognized
from tessera.weights.dialects.recognizing import recognize, to_dialect
from tessera.weights.dialects.states import Sized, compare, read_shapes, state_shapes
from tessera.weights.dialects.unwrapping import MAX_WRAPPERS, Unwrapped, unwrap

__all__ = [
    "GENERATOR_DIALECTS",
    "MAX_WRAPPERS",
    "Recognized",
    "Sized",
    "Unwrapped",
    "compare",
    "read_shapes",
    "recognize",
    "state_shapes",
    "to_dialect",
    "unwrap",
]
