"""`tessera report`: a training run as one HTML file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tessera.cli import make_printable

app = typer.Typer(add_completion=False, rich_markup_mode=None)

_Opt = typer.Option
Run = Annotated[Path, typer.Argument(metavar="RUN_FOLDER", help="The folder of a run, such as runs/NAME.")]
Output = Annotated[Path | None, _Opt("-o", "--output", help="The page. [default: RUN_FOLDER/report.html]")]


@app.command(no_args_is_help=True, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
def report(run_folder: Run, output: Output = None) -> None:
    """Write the report of a training run: curves, sample pictures, events, timing, configuration, in one HTML file.

    You can run it during training; an earlier report is replaced. Exit codes: 0 written, 1 failed, 2 wrong usage.
    """
    from tessera.report.training import write_training_report

    typer.echo(f"{make_printable(str(write_training_report(run_folder, output)))}: written.")
