"""Blending the weights of generators with the same network (ESRGAN, section 3.4)."""

import hashlib
import json
import math
from collections.abc import Sequence

import numpy as np

from tessera.errors import UsageError
from tessera.weights.arrays import Array, view_bytes
from tessera.weights.dialects import compare, read_shapes
from tessera.weights.foreign_network import ForeignConfig
from tessera.weights.license import combine_licenses
from tessera.weights.loaded_generator import LoadedGenerator, NetworkWeights

MIXED_FROM_KEY = "tessera.mixed_from"


def interpolate(parts: Sequence[tuple[LoadedGenerator, float]]) -> LoadedGenerator:
    """Blend the weights of generators with the same network: (1 - a) A + a B for two of them (ESRGAN, section 3.4).

    The shares must sum to 1. A share of 1 gives that generator's exact weights.

    Raises UsageError if the shares do not sum to 1 or the networks differ.
    """
    if not parts:
        raise UsageError("A blend needs at least one generator with its share.")
    shares = [share for _, share in parts]
    if not all(math.isfinite(share) for share in shares) or not math.isclose(sum(shares), 1, abs_tol=1e-6):
        listed = " + ".join(f"{share:g}" for share in shares)
        raise UsageError(f"The shares of a blend must sum to 1; {listed} is {sum(shares):g}. Change one of them.")
    first = parts[0][0]
    states = [generator.arrays for generator, _ in parts]
    for (generator, _), state in zip(parts[1:], states[1:], strict=True):
        if generator.config != first.config:
            raise UsageError(
                f"{first.name} and {generator.name} cannot be blended, their networks differ: "
                f"{_describe_differences(first, generator)}."
            )
        problem = compare(read_shapes(states[0]), state)
        if problem:
            raise UsageError(f"{first.name} and {generator.name} cannot be blended, their weights differ: {problem}.")
    used = [(state, share) for state, share in zip(states, shares, strict=True) if share != 0]
    blended: dict[str, Array] = {}
    digest = hashlib.sha256()
    for name, array in states[0].items():
        # In double precision, so that the order of the parts has no effect; a single share of 1 changes no bit.
        total = np.zeros(array.shape)
        for state, share in used:
            total += state[name].astype(np.float64) * share
        with np.errstate(over="ignore"):
            blended[name] = used[0][0][name].copy() if used[0][1] == 1 and len(used) == 1 else total.astype(array.dtype)
        digest.update(name.encode())
        digest.update(view_bytes(blended[name]))
    if isinstance(first.config, ForeignConfig):
        raise UsageError(
            f"{first.name} is a network from outside the family; only networks of the family can be blended."
        )
    if not all(np.isfinite(array).all() for array in blended.values()):
        raise UsageError("With these shares the blend has infinite or NaN values. Use shares between 0 and 1.")
    outside = any(not 0 <= share <= 1 for share in shares)
    return LoadedGenerator(
        config=first.config,
        network=NetworkWeights(blended),
        name="+".join(f"{generator.name}*{share:g}" for generator, share in parts),
        source=None,
        sha256=digest.hexdigest(),
        dialect="interpolation",
        wrapper="raw",
        metadata={MIXED_FROM_KEY: json.dumps([_describe_origin(generator, share) for generator, share in parts])},
        notes=("Some shares are outside 0 to 1: the blend extrapolates.",) if outside else (),
        license=combine_licenses(generator.license for generator, share in parts if share != 0),
    )


def _describe_origin(generator: LoadedGenerator, share: float) -> dict[str, str | float | None]:
    return {
        "name": generator.name,
        "file": generator.source.name if generator.source is not None else None,
        "sha256": generator.sha256,
        "share": share,
        "licence": generator.license,
    }


def _describe_differences(first: LoadedGenerator, other: LoadedGenerator) -> str:
    mine, theirs = first.config.model_dump(), other.config.model_dump()
    if mine["network"] != theirs["network"]:
        return f"{mine['network']} and {theirs['network']}"
    return ", ".join(f"{key} {mine[key]} and {theirs.get(key)}" for key in mine if mine[key] != theirs.get(key))
