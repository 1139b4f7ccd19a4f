"""Options and arguments that several commands have, each declared once: one name, one text, the same values."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_MODEL = "Model name, weights file, or blend A@0.5+B@0.5."

Model = Annotated[str, typer.Argument(metavar="MODEL", help=_MODEL)]
OptionalModel = Annotated[str | None, typer.Argument(metavar="[MODEL]", help=_MODEL)]
MODEL_HELP = _MODEL
"""For commands that take the model as -n/--model."""

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Build = Annotated[
    Path | None, typer.Option("--build", help="Build file (.toml) with model, precision, shape and calibration.")
]
Device = Annotated[
    str, typer.Option("-g", "--device", help="cpu, cuda, cuda:1, vulkan, mps, or the number of a GPU (0 is the first).")
]
MarkdownFile = Annotated[Path | None, typer.Option("--markdown", help="Also write the table to this file.")]
MaxPixels = Annotated[
    int | None, typer.Option("--max-pixels", help="Largest input in pixels; 0 = no limit. [default: 2^28]")
]
NiqeModel = Annotated[
    Path | None, typer.Option("--niqe-model", help="NIQE's statistics (.npz). [default: the published ones]")
]
Offline = Annotated[bool, typer.Option("--offline", help="Never download; print where to put a missing file instead.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Overwrite existing output files.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Print errors only.")]
Recursive = Annotated[bool, typer.Option("-r", "--recursive", help="Include subfolders.")]
Root = Annotated[
    Path | None, typer.Option("--root", help="Base folder of the paths in lists. [default: the list's folder]")
]
Threads = Annotated[int | None, typer.Option("--threads", min=1, help="CPU threads. [default: one per core]")]
