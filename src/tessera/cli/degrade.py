"""`tessera degrade`: preview a degradation as a sheet or as files, and estimate one from pictures."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tessera.cli import make_printable, print_error
from tessera.cli.reports import write_report
from tessera.cli.shared_options import Overwrite
from tessera.errors import PictureError, TesseraError, UsageError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from tessera.degrade import BatchDraw, Degradation
    from tessera.degrade.estimate import Damage

    Shown = npt.NDArray[np.uint8]

app = typer.Typer(add_completion=False, rich_markup_mode=None)

_Opt = typer.Option
_RECIPES = {
    **{name: name for name in ("realesrgan", "matlab-bicubic", "pil-bicubic", "cv2-cubic", "area")},
    "bicubic": "matlab-bicubic",
}
_LARGEST_SCALE = 16
_LARGEST_PATCH = 1024
_MOST_DRAWS = 256
Photos = Annotated[list[Path] | None, typer.Argument(metavar="PHOTO...", help="Photographs to degrade.")]
Output = Annotated[
    Path | None,
    _Opt("-o", "--output", help="NAME.png for a sheet, or a folder for files. [default: degraded.png]"),
]
Recipe = Annotated[
    str, _Opt("--recipe", help="realesrgan, bicubic, pil-bicubic, cv2-cubic, area, or a TOML file with [degradation].")
]
Seed = Annotated[int, _Opt("--seed", help="Random seed; equal seeds give equal draws.")]
Scale = Annotated[int, _Opt("-s", "--scale", help="Downscaling factor of the low-quality pictures.")]
Patch = Annotated[int, _Opt("--patch", help="Sheet: side of the crops in pixels.")]
Count = Annotated[
    int | None,
    _Opt("--count", help="Number of draws: in total on a sheet, per photograph in a folder. [default: 8 or 1]"),
]
Json = Annotated[Path | None, _Opt("--json", help="Write the drawn values to this file.")]
Estimate = Annotated[
    Path | None, _Opt("--estimate", help="Measure the low-quality pictures in this folder and print ranges as TOML.")
]


@app.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
def degrade(
    photos: Photos = None,
    output: Output = None,
    recipe: Recipe = "realesrgan",
    seed: Seed = 0,
    scale: Scale = 4,
    patch: Patch = 256,
    count: Count = None,
    json_file: Json = None,
    estimate: Estimate = None,
    overwrite: Overwrite = False,
) -> None:
    """Preview training inputs: `tessera degrade photo.jpg -o sheet.png --recipe realesrgan --seed 7`.

    A sheet shows the crop, the sharpened crop and the degraded results, with the drawn values below; a folder gets the
    low-quality pictures as PNG. --estimate FOLDER measures noise, JPEG quality and blur of your own pictures and prints
    the [degradation] table of a recipe. Exit codes: 0 done, 1 some pictures could not be read, 2 wrong usage.
    """
    if not 1 <= scale <= _LARGEST_SCALE:
        raise UsageError(f"--scale {scale}: expected 1 to {_LARGEST_SCALE}.")
    if estimate is not None:
        if photos or output is not None:
            raise UsageError("--estimate FOLDER only measures and prints: remove the photographs and -o.")
        _estimate(estimate, scale)
        return
    if not photos:
        raise UsageError("Name photographs to degrade, as in `tessera degrade photo.jpg -o sheet.png`.")
    target = output or Path("degraded.png")
    sheet = target.suffix.lower() == ".png" and not target.is_dir()
    draws = (8 if sheet else 1) if count is None else count
    if not 1 <= draws <= _MOST_DRAWS:
        raise UsageError(f"--count {draws}: expected 1 to {_MOST_DRAWS}.")
    if not 32 <= patch <= _LARGEST_PATCH:
        raise UsageError(f"--patch {patch}: expected 32 to {_LARGEST_PATCH} pixels.")
    if seed < 0:
        raise UsageError(f"--seed {seed}: expected 0 or more.")
    config = _read_recipe(recipe)
    _check_outputs(target, json_file, photos, sheet, overwrite)
    if sheet:
        made = _write_sheet(photos, target, config, seed=seed, scale=scale, patch=patch, count=draws)
        lost: list[str] = []
    else:
        made, lost = _write_folder(photos, target, config, seed=seed, scale=scale, count=draws, overwrite=overwrite)
    write_report(json_file, json.dumps({"recipe": recipe, "seed": seed, "draws": made}, indent=1))
    for problem in lost:
        print_error(problem)
    typer.echo(make_printable(f"{target}: {len(made)} draw{'' if len(made) == 1 else 's'} of {recipe}."))
    if lost:
        raise typer.Exit(1)


def _read_recipe(recipe: str) -> Degradation:
    """Read a recipe by name, or a TOML file with a table [degradation]. Raises UsageError."""
    from pydantic import TypeAdapter, ValidationError

    from tessera.config import read_toml
    from tessera.degrade import Degradation

    values: Any = {"kind": _RECIPES.get(recipe)}
    if recipe not in _RECIPES:
        if not recipe.endswith(".toml"):
            raise UsageError(f"--recipe {recipe}: expected {', '.join(_RECIPES)}, or a TOML file.")
        values = read_toml(Path(recipe)).get("degradation")
        if not isinstance(values, dict):
            raise UsageError(f"{recipe}: the table [degradation] is missing.")
    try:
        adapter: TypeAdapter[Degradation] = TypeAdapter(Degradation)
        return adapter.validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"][1:])) or "kind"
        raise UsageError(f"{recipe}: degradation.{place}: {first['msg']}.") from None


def _check_outputs(target: Path, json_file: Path | None, photos: Sequence[Path], sheet: bool, overwrite: bool) -> None:
    for file in ([target] if sheet else []) + ([] if json_file is None else [json_file]):
        if not os.path.isdir(file.parent):  # noqa: PTH112 - False, not an error, for any text
            raise UsageError(f"{file}: folder {file.parent} does not exist. Create it first, or choose another.")
        if any(os.path.realpath(file) == os.path.realpath(photo) for photo in photos):
            raise UsageError(f"{file} is one of the photographs; choose another name.")
        if os.path.lexists(file) and not overwrite:
            raise UsageError(f"{file} already exists. Choose another name, or replace it with --overwrite.")
    if not sheet and target.exists() and not target.is_dir():
        raise UsageError(f"-o {target}: is a file; name a sheet NAME.png or a folder.")


def _read(path: Path) -> Shown:
    """(H, W, 3), 8 bits; transparent areas over white."""
    import numpy as np

    from tessera.images.picture import read_picture
    from tessera.images.pixels import flatten_on_white

    pixels = read_picture(path).pixels
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    if pixels.shape[2] in (2, 4):
        pixels = flatten_on_white(pixels)
    if pixels.dtype != np.uint8:
        pixels = np.rint(pixels / 257)
    return np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3)).astype(np.uint8))


@dataclass(frozen=True)
class _Made:
    gt: Shown
    sharp: Shown | None
    lq: Shown
    record: BatchDraw


def _make(gt: Shown, config: Degradation, scale: int, rng: np.random.Generator) -> _Made:
    import torch

    from tessera import degrade

    def levels(picture: torch.Tensor) -> Shown:
        return (picture[0] * 255).round().byte().permute(1, 2, 0).contiguous().numpy()

    record = degrade.draw(config, pictures=1, height=gt.shape[0], width=gt.shape[1], scale=scale, rng=rng)
    made = degrade.apply(torch.from_numpy(gt).permute(2, 0, 1)[None].float() / 255, record)
    return _Made(gt, None if made.gt_sharp is None else levels(made.gt_sharp), levels(made.lq), record)


def _to_values(record: BatchDraw) -> Any:
    from tessera.degrade import to_json

    return json.loads(to_json(record))


def _write_sheet(
    photos: Sequence[Path], target: Path, config: Degradation, *, seed: int, scale: int, patch: int, count: int
) -> list[Any]:
    """Write the sheet -> the draws; photographs repeat only after all were shown."""
    import numpy as np

    from tessera.images.frames import PictureShape
    from tessera.images.writer import PictureWriter
    from tessera.report.letters import LINE_HEIGHT

    made: list[Any] = []
    pictures = {photo: _read(photo) for photo in photos[:count]}
    side = min(patch, *(min(pixels.shape[:2]) for pixels in pictures.values())) // scale * scale
    if side < 32:
        raise UsageError(f"A photograph is too small: expected crops of at least 32 pixels, found {side}.")
    width = 4 * _GAP + 3 * max(side, _LEAST_CELL)
    height = 2 * _GAP + side + (1 + _LINES) * LINE_HEIGHT
    shape = PictureShape(height=height * count, width=width, channels=3, dtype=np.dtype(np.uint8))
    with PictureWriter(target, shape) as writer:
        for number in range(count):
            rng = np.random.default_rng((seed, number))
            photo = photos[number % len(photos)]
            pixels = pictures[photo]
            y, x = (int(rng.integers(length - side + 1)) for length in pixels.shape[:2])
            each = _make(np.ascontiguousarray(pixels[y : y + side, x : x + side]), config, scale, rng)
            writer.write_rows(_draw_row(each, f"{photo.name} {x},{y}", number, (height, width), scale))
            cut = {"photo": str(photo), "x": x, "y": y, "width": side, "height": side}
            made.append({**cut, "draw": _to_values(each.record)})
        writer.finish()
    return made


_GAP = 12
_LINES = 3
_LEAST_CELL = 256


def _draw_row(made: _Made, name: str, number: int, size: tuple[int, int], scale: int) -> Shown:
    """One draw: three pictures below their titles, and the draw in words."""
    import numpy as np

    from tessera.degrade.words import describe_draw
    from tessera.report.letters import LINE_HEIGHT, draw_text

    canvas = np.full((*size, 3), 252, np.uint8)
    side = made.gt.shape[0]
    cell = max(side, _LEAST_CELL)
    enlarged = made.lq.repeat(scale, axis=0).repeat(scale, axis=1)

    def write(line: str, y: int, x: int, width: int, *, bold: bool = False) -> None:
        ink = draw_text(line, width, bold=bold)[..., None]
        spot = canvas[y : y + LINE_HEIGHT, x : x + width]
        spot[:] = np.minimum(spot, 252 - (ink * 0.9).astype(np.uint8))

    cells = (
        (f"{number + 1}  {name}", made.gt),
        ("sharpened", made.sharp),
        (f"low quality, {scale}x nearest", enlarged),
    )
    for column, (title, picture) in enumerate(cells):
        x = _GAP + column * (cell + _GAP)
        if picture is not None:
            write(title, _GAP, x, cell, bold=True)
            canvas[_GAP + LINE_HEIGHT :][: picture.shape[0], x : x + picture.shape[1]] = picture
    for index, line in enumerate(describe_draw(made.record)[:_LINES]):
        write(line, 2 * LINE_HEIGHT + side + (index - 1) * LINE_HEIGHT + _GAP, _GAP, size[1] - 2 * _GAP)
    return canvas


def _write_folder(
    photos: Sequence[Path], target: Path, config: Degradation, *, seed: int, scale: int, count: int, overwrite: bool
) -> tuple[list[Any], list[str]]:
    """Write low-quality pictures -> the draws, and messages about unreadable photographs."""
    import numpy as np

    from tessera.images.picture import Picture
    from tessera.images.writer import write_picture

    counts = Counter(photo.stem.casefold() for photo in photos)
    shared = [photo.stem for photo in photos if counts[photo.stem.casefold()] > 1]
    if shared:
        raise UsageError(f"Several photographs are named {shared[0]}; degrade them into different folders.")
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"-o {target}: this folder cannot be created ({error.strerror}).") from None
    made: list[Any] = []
    lost: list[str] = []
    number_of_draws = 0
    for photo in photos:
        for number in range(count):
            name = f"{photo.stem}_lq{number + 1 if count > 1 else ''}.png"
            number_of_draws += 1
            if os.path.lexists(target / name) and not overwrite:
                raise UsageError(
                    f"{target / name} already exists. Choose another folder, or replace it with --overwrite."
                )
            try:
                rng = np.random.default_rng((seed, number_of_draws - 1))
                each = _make(_read(photo), config, scale, rng)
                write_picture(Picture(each.lq), target / name)
            except UsageError as error:
                lost.append(f"{photo}: {error}")
                break
            except TesseraError as error:
                lost.append(str(error))
                break
            made.append({"photo": str(photo), "lq": name, "draw": _to_values(each.record)})
    return made, lost


def _estimate(folder: Path, scale: int) -> None:
    """Measure every picture of a folder and print the proposal."""
    from tessera.degrade.estimate import measure_file
    from tessera.degrade.proposal import propose_degradation
    from tessera.images.formats import is_picture_name

    if not folder.is_dir():
        raise UsageError(f"--estimate {folder}: no such folder.")
    damages: list[Damage] = []
    lost = 0
    for path in sorted(folder.iterdir()):
        if not path.is_file() or not is_picture_name(path):
            continue
        try:
            damages.append(measure_file(path))
        except PictureError as error:
            print_error(str(error))
            lost += 1
    if not damages:
        raise UsageError(f"--estimate {folder}: no pictures that can be measured.")
    typer.echo(make_lines_printable(propose_degradation(damages, folder.name, scale)))
    if lost:
        raise typer.Exit(1)


def make_lines_printable(text: str) -> str:
    """Escape several lines, each safe to print."""
    return "\n".join(map(make_printable, text.split("\n")))
