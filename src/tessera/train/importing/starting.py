"""Starting weights of a BasicSR run -> values of `start`."""

from __future__ import annotations

from pathlib import PurePath

from tessera.config import Values
from tessera.train.importing.foreign import Table


def read_starting_weights(path: Table, keys: tuple[str, str], files: tuple[str, str]) -> Values:
    """Read the weights of both networks: those under `keys`, or those saved with `resume_state`.

    `files` are their names in a run, with {} for the step.
    """
    named = zip(("generator", "discriminator"), (path.read_text(key) for key in keys), strict=True)
    places: Values = {name: place for name, place in named if place}
    if path.has("resume_state"):
        path.note("resume_state", "the networks saved with it are loaded; optimizers and schedules start fresh")
        saved = list_saved_networks(path.read_text("resume_state"), *files)
        places |= zip(("generator", "discriminator"), saved, strict=True)
    return places


def list_saved_networks(place: str, *files: str) -> tuple[str, ...]:
    """List the networks that were saved with a training state.

    >>> list_saved_networks("experiments/a/training_states/5000.state", "net_g_{}.pth", "net_d_{}.pth")
    ('experiments/a/models/net_g_5000.pth', 'experiments/a/models/net_d_5000.pth')
    """
    state = PurePath(place)
    return tuple(str(state.parent.parent / "models" / file.format(state.stem)) for file in files)
