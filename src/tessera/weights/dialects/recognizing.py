"""From names and shapes to a network, and from a network to the names of another program."""

from dataclasses import dataclass

import torch
from pydantic import ValidationError
from torch import Tensor

from tessera.config import explain
from tessera.errors import UnknownNetworkError, WeightsError
from tessera.generators import (
    ESRDnetConfig,
    ESRGANPytorchConfig,
    GeneratorConfig,
    PyTorchGANConfig,
    RRDBNetConfig,
    SRVGGNetCompactConfig,
)
from tessera.weights.dialects.discriminators import find_discriminator, rename_spectral_norms
from tessera.weights.dialects.layouts import DIALECTS, Dialect, MisfitError, Wish
from tessera.weights.dialects.states import State, compare, listed, state_shapes


@dataclass(frozen=True)
class Recognized:
    """Weights under the names of the network that `config` builds."""

    config: GeneratorConfig
    state: dict[str, Tensor]
    dialect: str
    notes: tuple[str, ...] = ()


def recognize(state: State, *, scale: int | None = None, named_scale: int | None = None) -> Recognized:
    """Tell which network the weights belong to, how large it is, and rename them to that network's own names.

    A `scale` that the weights cannot make is an error. One stage of enlargement can be x2 or x3, which the weights do
    not tell: `scale`, or else `named_scale` (from the file's name), decides, and x2 is taken without either.

    Raises UnknownNetworkError with the network that came nearest and the names that did not fit.
    """
    _refuse_relatives(state)
    for dialect in DIALECTS:
        if all(mark in state for mark in dialect.marks):
            return _read(dialect, state, Wish(scale, named_scale))
    raise UnknownNetworkError(_nearest(state))


def to_dialect(config: GeneratorConfig, state: State, dialect: str) -> dict[str, Tensor]:
    """Give weights the names (and color order) that another program expects; the opposite of `recognize`.

    Raises WeightsError when the dialect has no names for such a network.
    """
    found = next((known for known in DIALECTS if known.name == dialect), None)
    if found is None:
        raise WeightsError(f"No dialect is called {dialect!r}; there are {listed(known.name for known in DIALECTS)}.")
    usual = {"srvgg": SRVGGNetCompactConfig, "pytorch-gan": PyTorchGANConfig}.get(dialect, RRDBNetConfig)
    fits = isinstance(config, usual) or (dialect == "esrdgan" and isinstance(config, ESRDnetConfig))
    if dialect == "esrgan-pytorch" and isinstance(config, ESRGANPytorchConfig):
        return dict(state)
    if isinstance(config, RRDBNetConfig) and dialect in {"esrdgan", "esrgan-pytorch"}:
        doublings = config.unshuffle == 1 and all(stage == 2 for stage in config.stages)
        fits = doublings and (dialect == "esrdgan" or config.scale == 4)
    if not fits:
        raise WeightsError(f"The dialect {dialect} has no names for the weights of {config.network}.")
    if dialect == "esrgan-pytorch":
        for kind in ("weight", "bias"):
            if not torch.equal(state[f"conv_up1.{kind}"], state[f"conv_up2.{kind}"]):
                raise WeightsError(
                    "ESRGAN-Pytorch uses one convolution for both enlargements, and these weights have two."
                )
    flipped = _flip_colors(config, dict(state)) if found.bgr else state
    return {theirs: flipped[ours].clone() for ours, theirs in found.names(config).items()}


def _read(dialect: Dialect, state: State, wish: Wish) -> Recognized:
    start = f"these weights look like {dialect.network}, but "
    try:
        config = dialect.infer(state, wish)
    except MisfitError as error:
        raise UnknownNetworkError(f"{start}{error}.") from error
    except ValidationError as error:
        raise UnknownNetworkError(f"{start}its sizes are not ones that can be built: {explain(error)}.") from error
    if wish.scale is not None and wish.scale != config.scale:
        raise WeightsError(
            f"these weights enlarge x{config.scale}, and x{wish.scale} was asked for. Ask for x{config.scale}."
        )
    names = dialect.names(config)
    shapes = state_shapes(config)
    problems = compare({theirs: shapes[ours] for ours, theirs in names.items()}, state)
    if problems:
        raise UnknownNetworkError(f"{start}{problems}.")
    # Copies, so that no two weights share memory, also where one name in the file serves two places.
    renamed = {ours: state[theirs].detach().clone() for ours, theirs in names.items()}
    notes: list[str] = []
    if dialect.bgr:
        renamed = _flip_colors(config, renamed)
        notes.append("Its weights work on BGR; they were turned so that the network takes and gives RGB.")
    if isinstance(config, RRDBNetConfig) and len(config.stages) == 1:
        notes.append(
            f"One stage of enlargement can be x2 or x3, which its weights do not tell; x{config.scale} was taken."
        )
    if isinstance(config, SRVGGNetCompactConfig) and config.activation != "prelu":
        notes.append("Its activation has no weights and cannot be told; ReLU was taken.")
    label = "basicsr" if dialect.name == "srvgg" else dialect.name
    return Recognized(config, renamed, label, tuple(notes))


def _flip_colors(config: GeneratorConfig, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Reverse the first three inputs of the first convolution and outputs of the last: BGR <-> RGB."""
    names = list(state_shapes(config))
    first, last = names[0], names[-1].removesuffix(".bias") + ".weight"
    order = [2, 1, 0]
    flipped = dict(state)
    if config.in_channels >= 3:
        flipped[first] = state[first][:, [*order, *range(3, config.in_channels)]].clone()
    if config.out_channels >= 3:
        outputs = [*order, *range(3, config.out_channels)]
        flipped[last] = state[last][outputs].clone()
        bias = last.removesuffix(".weight") + ".bias"
        flipped[bias] = state[bias][outputs].clone()
    return flipped


def _refuse_relatives(state: State) -> None:
    if any("conv1x1" in name for name in state):
        raise UnknownNetworkError(
            "these are weights of ESRGAN+ (`conv1x1`), whose dense blocks have further connections and noise. It is "
            "not supported; an ESRGAN without these connections is."
        )
    discriminator = find_discriminator(rename_spectral_norms(state))
    if discriminator is not None:
        raise UnknownNetworkError(
            f"this is a discriminator ({discriminator.description}), and a generator is needed. Give the generator, "
            "usually the file of the same name without `_netD` or `_D`."
        )


def _nearest(state: State) -> str:
    scores = [(sum(bool(dialect.pattern.match(name)) for name in state), dialect) for dialect in DIALECTS]
    best, dialect = max(scores, key=lambda score: score[0])
    if best == 0:
        return (
            f"these weights belong to no network of the ESRGAN family; none of their names is known ({listed(state)})."
        )
    strangers = [name for name in state if not dialect.pattern.match(name)]
    missing = [mark for mark in dialect.marks if mark not in state]
    text = (
        f"these weights belong to no network of the ESRGAN family. The nearest is {dialect.network}: {best} of "
        f"{len(state)} names are like its own, but {listed(missing)} {'is' if len(missing) == 1 else 'are'} missing"
    )
    return text + (
        f" and {listed(strangers)} {'does' if len(strangers) == 1 else 'do'} not belong." if strangers else "."
    )
