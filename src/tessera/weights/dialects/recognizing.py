"""From names and shapes to a network, and from a network to the names of another program."""

from typing import Any

import numpy as np

from tessera.errors import UnknownNetworkError, WeightsError
from tessera.generators import GeneratorConfig
from tessera.generators.dialect import Dialect, ScaleHint
from tessera.weights.arrays import Array, State, zeros
from tessera.weights.dialects.discriminators import find_discriminator, rename_spectral_norms
from tessera.weights.dialects.reading import GENERATOR_DIALECTS, Recognized, infer_config, rename
from tessera.weights.dialects.states import format_names, state_shapes


def recognize(state: State, *, scale: int | None = None, named_scale: int | None = None) -> Recognized[GeneratorConfig]:
    """Recognize the network and its sizes from names and shapes, and give the weights that network's own names.

    A `scale` that contradicts the weights is an error. One upsampling stage can be x2 or x3, which the weights do not
    tell: `scale`, or else `named_scale` (from the file's name), decides; the default is x2.

    Raises UnknownNetworkError with the nearest network and the names that did not fit.
    """
    _refuse_discriminators(state)
    found = [dialect for dialect in GENERATOR_DIALECTS if all(mark in state for mark in dialect.marks)]
    if not found:
        raise UnknownNetworkError(_describe_nearest(state))
    most_specific = max(found, key=lambda dialect: len(dialect.marks))  # the first of equals
    return _read(most_specific, state, ScaleHint(scale, named_scale))


def to_dialect(config: GeneratorConfig, state: State, dialect: str) -> dict[str, Array]:
    """Give weights the names (and color order) that another program expects; the inverse of `recognize`.

    Raises WeightsError when the dialect has no names for such a network.
    """
    found = next((known for known in GENERATOR_DIALECTS if known.name == dialect), None)
    if found is None:
        raise WeightsError(
            f"Unknown dialect {dialect!r}; expected one of {format_names(known.name for known in GENERATOR_DIALECTS)}."
        )
    names = found.names(config)
    if names is None:
        raise WeightsError(f"The dialect {dialect} has no names for the weights of {config.network}.")
    flipped = _flip_colors(config, dict(state)) if found.bgr else state
    renamed: dict[str, Array] = {}
    for ours, theirs in names.items():
        if found.zeros is not None and found.zeros.search(ours):
            if flipped[ours].any():
                raise WeightsError(f"The dialect {dialect} has no `{theirs}`, and it is not zero here.")
            continue
        if theirs in renamed and not np.array_equal(renamed[theirs], flipped[ours]):
            first = next(name for name, other in names.items() if other == theirs)
            raise WeightsError(
                f"The dialect {dialect} uses one tensor, `{theirs}`, for both `{first}` and `{ours}`, and these differ."
            )
        renamed[theirs] = flipped[ours]
    return renamed


def _read(dialect: Dialect[Any], state: State, hint: ScaleHint) -> Recognized[GeneratorConfig]:
    config, names = infer_config(dialect, state, hint)
    if hint.requested is not None and hint.requested != config.scale:
        raise WeightsError(
            f"the scale of these weights is x{config.scale}, and x{hint.requested} was requested. Request"
            f" x{config.scale}."
        )
    notes: list[str] = []
    known = set(names.values())
    extra = [name for name in state if name not in known]
    # One tensor of the trainer, such as the mean color, is left out; one inside the network's modules is a layer.
    modules = {name.partition(".")[0] for name in known}
    if len(extra) == 1 and known <= state.keys() and extra[0].partition(".")[0] not in modules:
        notes.append(f"Left out `{extra[0][:80]}`, a tensor that this network does not have.")
        state = {name: tensor for name, tensor in state.items() if name in known}
    expected = state_shapes(config)
    if dialect.zeros is not None:
        absent = [ours for ours in names if dialect.zeros.search(ours) and names[ours] not in state]
        state = {**state, **{names[ours]: zeros(expected[ours]) for ours in absent}}
    renamed = rename(dialect, names, expected, state)
    if dialect.bgr:
        renamed = _flip_colors(config, renamed)
        notes.append("Its weights work on BGR; they were converted to RGB.")
    notes.extend(dialect.notes(config))
    return Recognized(config, renamed, dialect.program or dialect.name, tuple(notes))


def _flip_colors(config: GeneratorConfig, state: dict[str, Array]) -> dict[str, Array]:
    """Reverse the first three inputs of the first convolution and outputs of the last: BGR <-> RGB."""
    names = list(state_shapes(config))
    first, last = names[0], names[-1].removesuffix(".bias") + ".weight"
    order = [2, 1, 0]
    flipped = dict(state)
    if config.in_channels >= 3:
        flipped[first] = state[first][:, [*order, *range(3, config.in_channels)]]
    if config.out_channels >= 3:
        outputs = [*order, *range(3, config.out_channels)]
        flipped[last] = state[last][outputs]
        bias = last.removesuffix(".weight") + ".bias"
        flipped[bias] = state[bias][outputs]
    return flipped


def _refuse_discriminators(state: State) -> None:
    discriminator = find_discriminator(rename_spectral_norms(state))
    if discriminator is not None:
        raise UnknownNetworkError(
            f"this is a discriminator ({discriminator.description}), and a generator is needed. Give the generator, "
            "usually the file of the same name without `_netD` or `_D`."
        )


def _describe_nearest(state: State) -> str:
    patterns = [(dialect, dialect.pattern) for dialect in GENERATOR_DIALECTS if dialect.pattern is not None]
    scores = [(sum(bool(pattern.match(name)) for name in state), dialect, pattern) for dialect, pattern in patterns]
    best, dialect, pattern = max(scores, key=lambda score: score[0])
    if best == 0:
        return (
            "these weights belong to no network of the ESRGAN family; none of their names is known"
            f" ({format_names(state)})."
        )
    strangers = [name for name in state if not pattern.match(name)]
    missing = [mark for mark in dialect.marks if mark not in state]
    text = (
        f"these weights belong to no network of the ESRGAN family. The nearest is {dialect.description}: {best} of "
        f"{len(state)} names match, but {format_names(missing)} {'is' if len(missing) == 1 else 'are'} missing"
    )
    return text + (
        f" and {format_names(strangers)} {'does' if len(strangers) == 1 else 'do'} not belong." if strangers else "."
    )
