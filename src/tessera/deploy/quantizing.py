"""A model -> an int8 file whose loss was measured and fits a budget.

Calibration pictures give ranges and biases; a quarter of them is left out of that and chooses which layers stay in
fp32: the most costly units, more of them until the loss on that quarter fits. What is reported, and what the budget is
held to, is the loss on evaluation pictures that took part in neither. The file that is measured is the file that is
kept, run by its own runtime.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tessera.deploy.calibrating import Calibrated, calibrate, round_weights
from tessera.deploy.drop import MOST_SSIM, Drop, measure_drop
from tessera.deploy.held_out import Pair, Photograph, build_calibration_batch, make_pair, read_folder, refuse_shared
from tessera.deploy.int8_network import Int8Network
from tessera.deploy.int8_onnx import build_int8_onnx
from tessera.deploy.int8_openvino import write_int8_openvino
from tessera.deploy.int8_settings import Int8Settings
from tessera.deploy.passport import describe_provenance
from tessera.deploy.places import check_places, write_in_place
from tessera.deploy.sensitivity import Sensitivity, compute_shares, list_units, measure_sensitivities
from tessera.engines.opening import open_engine
from tessera.errors import ExportError, TesseraError, UsageError
from tessera.evaluate.protocol import find_protocol
from tessera.generators import CONFIG_KEY, GeneratorConfig, find_generator
from tessera.libraries import describe_missing, import_library
from tessera.storage.files import write_bytes
from tessera.version import __version__
from tessera.weights.files import load_weights
from tessera.weights.loaded_generator import LoadedGenerator
from tessera.weights.openvino_file import PRECISION_KEY
from tessera.weights.parts import compute_digest
from tessera.wording import format_count
from tessera.zoo.int8_file import DIGITS, KEPT_KEY, QUANTIZED_FROM_KEY, QUANTIZED_KEY, SEEN_KEY

FEWEST_PICTURES = 8
PROTOCOL = "paper"
_MARGIN = 0.75
"""Of the budget, what the pictures that choose may take: others may lose more."""
_PROBES = ((6, 32), (4, 32), (4, 24), (2, 24), (2, 16))
"""How many pictures each unit is rounded alone on, and how large: there are as many runs as units."""
_MOST_PROBED = 2e12
"""Multiply-adds of all these runs, about."""
_NEEDS = {"openvino": ("openvino",), "onnx": ("onnx", "onnxruntime")}

Told = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class QuantizationReport:
    """The loss that int8 costs a model, and its causes."""

    runtime: str
    drop: Drop
    """On pictures that neither calibration nor the choice of layers saw."""
    kept: tuple[str, ...]
    """Layers in fp32."""
    layers: int
    sensitivities: tuple[Sensitivity, ...]
    """The most costly first."""


@dataclass(frozen=True, kw_only=True)
class Quantized(QuantizationReport):
    """A file that is in its place, and what it costs."""

    paths: tuple[Path, ...]
    bytes: int
    sha256: str


class OverBudgetError(ExportError):
    """The loss of int8 exceeds the budget; nothing was written."""

    def __init__(self, message: str, found: QuantizationReport) -> None:
        super().__init__(message)
        self.found = found


@dataclass(frozen=True)
class _Pictures:
    """What each set of pictures is for."""

    calibration: Tensor
    choosing: Sequence[Pair]
    evaluation: Sequence[Pair]
    calibrated_on: int
    seen: tuple[str, ...]
    """The digests of those that calibrated or chose."""


def quantize(
    loaded: LoadedGenerator,
    output: Path,
    settings: Int8Settings,
    calibration: Path,
    *,
    evaluation: Path | None = None,
    overwrite: bool = False,
    told: Told = lambda _: None,
) -> Quantized:
    """Write an int8 model whose loss on held-out pictures is at most the budget.

    Without an `evaluation` folder, another quarter of the calibration pictures is held out for it. Raises UsageError
    for settings that this model or machine cannot satisfy, OverBudgetError when the budget cannot be met (nothing is
    written then), ExportError when a file cannot be written.
    """
    paths = (output,) if settings.format == "onnx" else (output.with_suffix(".bin"), output)
    _refuse(loaded, output, paths, settings, overwrite=overwrite)
    pictures = _read_pictures(loaded, settings, calibration, evaluation)
    told(f"calibrating on {pictures.calibrated_on} pictures")
    calibrated = calibrate(
        loaded.config, loaded.state, pictures.calibration, settings.method, percentile=settings.percentile
    )
    told("rounding all layers")
    network = round_weights(calibrated, pictures.calibration, per_channel=settings.per_channel)
    told("measuring the loss of each unit alone")
    probes = _cut_probes(pictures.choosing, loaded.config, len(list_units(calibrated.graph)))
    costs = measure_sensitivities(network, probes)
    with write_in_place(output, paths) as temporary:
        trial = _Trial(loaded, settings, output, temporary)
        network = _choose_layers(trial, calibrated, network, costs, pictures, told)
        told(f"measuring on {format_count(len(pictures.evaluation), 'picture')} that were held out")
        drop = trial.measure(network, pictures.evaluation)
        found = QuantizationReport(
            runtime=_describe_runtime(settings),
            drop=drop,
            kept=network.kept,
            layers=len(calibrated.graph.convolutions),
            sensitivities=costs,
        )
        if not drop.fits(settings.max_drop_db):
            raise OverBudgetError(_describe_excess(output, found, settings), found)
        trial.write(network, _describe_file(loaded, settings, network, drop, pictures))
        load_weights(temporary)
    return Quantized(
        paths=tuple(reversed(paths)),
        bytes=sum(path.stat().st_size for path in paths),
        sha256=compute_digest(output),
        **vars(found),
    )


def describe_findings(done: QuantizationReport) -> dict[str, object]:
    """The report for JSON: the loss, the layers kept in fp32, and the loss of each unit quantized alone."""
    share = compute_shares(done.sensitivities)
    return {
        "file": done.paths[0].name if isinstance(done, Quantized) else None,
        "runtime": done.runtime,
        "held_out_pictures": done.drop.pictures,
        "psnr_drop_db": done.drop.psnr_db,
        "ssim_drop": done.drop.ssim,
        "layers": done.layers,
        "kept": list(done.kept),
        "units": [
            {
                "name": each.unit.name,
                "layers": list(each.unit.layers),
                "psnr_drop_db": each.drop_db,
                "share": share[each.unit.name],
                "mean_square_levels": each.mean_square,
            }
            for each in done.sensitivities
        ],
    }


# ------------------------------------------------------------------------------------------------- before the work


def _refuse(
    loaded: LoadedGenerator, output: Path, paths: Sequence[Path], settings: Int8Settings, *, overwrite: bool
) -> None:
    """Raise UsageError for what cannot be done, before the work starts."""
    if find_generator(loaded.config) is None:
        raise UsageError(
            f"{loaded.name}: only networks of the ESRGAN family can be quantized; this network's layers are unknown."
        )
    _ = loaded.state  # a file that a runtime runs keeps its weights to itself, and says so
    missing = [package for package in _NEEDS[settings.format] if importlib.util.find_spec(package) is None]
    if missing:
        raise UsageError(
            describe_missing(f"{output}: the file is run before it gets its name, and that", missing[0], extra="export")
        )
    check_places(output, paths, overwrite=overwrite)


def _read_pictures(
    loaded: LoadedGenerator, settings: Int8Settings, calibration: Path, evaluation: Path | None
) -> _Pictures:
    """Read both folders and assign the pictures to calibration, choice of layers and evaluation."""
    config = loaded.config
    fewest = FEWEST_PICTURES
    theirs = read_folder(calibration, "calibration", config.in_channels, fewest=fewest, most=settings.pictures)
    choosing = theirs[3::4]
    held_out: list[Photograph]
    if evaluation is None:
        held_out, calibrating = theirs[1::4], theirs[0::4] + theirs[2::4]
    else:
        held_out = read_folder(evaluation, "evaluation", config.in_channels, fewest=1, most=settings.eval_pictures)
        calibrating = [each for number, each in enumerate(theirs) if number % 4 != 3]
    refuse_shared(calibrating + choosing, held_out)
    refuse_shared(calibrating, choosing)
    pairs = {
        name: [pair for each in photographs if (pair := make_pair(each, config, side)) is not None]
        for name, photographs, side in (
            ("choosing", choosing, settings.side * 3 // 2),
            ("evaluation", held_out, settings.eval_side),
        )
    }
    if not all(pairs.values()):
        raise UsageError(f"No evaluation picture has {16 * config.scale} pixels a side; give larger ones.")
    batch = build_calibration_batch(calibrating, config, settings.side)
    seen = tuple(each.sha256 for each in (*calibrating, *choosing))
    return _Pictures(batch, pairs["choosing"], pairs["evaluation"], len(batch), seen)


# ------------------------------------------------------------------------------------------- choosing and measuring


class _Trial:
    """Writes networks under a temporary name and runs what was written."""

    def __init__(self, loaded: LoadedGenerator, settings: Int8Settings, output: Path, temporary: Path) -> None:
        self._loaded, self.settings = loaded, settings
        self._output, self._temporary = output, temporary
        self._originals: dict[int, list[Tensor]] = {}

    def write(self, network: Int8Network, about: Mapping[str, str]) -> None:
        """Write a network in the requested format."""
        try:
            if self.settings.format == "openvino":
                write_int8_openvino(self._temporary, network, about)
            else:
                write_bytes(self._temporary, build_int8_onnx(network, about))
        except TesseraError as error:
            said = str(error).replace(f"{self._temporary}: ", "")
            raise type(error)(f"{self._output}: {said}") from error

    def measure(self, network: Int8Network, pairs: Sequence[Pair]) -> Drop:
        """Write a network, run it in its runtime as it will be run, and compare with the original in PyTorch fp32."""
        self.write(network, _describe_network(self._loaded, network))
        read = load_weights(self._temporary)
        engine: Any = "openvino" if self.settings.format == "openvino" else "onnxruntime"
        opened = open_engine(read, "auto", engine=engine)

        def run(lq: Tensor) -> Tensor:
            return torch.from_numpy(opened.run(lq.numpy()))

        return measure_drop(pairs, self._run_original(pairs), run, find_protocol(PROTOCOL))

    def _run_original(self, pairs: Sequence[Pair]) -> list[Tensor]:
        if id(pairs) not in self._originals:
            with torch.inference_mode():
                self._originals[id(pairs)] = [self._loaded.network(pair.lq) for pair in pairs]
        return self._originals[id(pairs)]


def _choose_layers(
    trial: _Trial,
    calibrated: Calibrated,
    network: Int8Network,
    costs: Sequence[Sensitivity],
    pictures: _Pictures,
    told: Told,
) -> Int8Network:
    """Round everything but the most costly units: none, one, two, four ... until the loss fits, or all that may be."""
    settings, known = trial.settings, network.layers
    count = 0
    while True:
        drop = trial.measure(network, pictures.choosing)
        told(
            f"{format_count(len(network.kept), 'layer')} kept: a loss of {drop.psnr_db:.3f} dB on the selection"
            " pictures"
        )
        if drop.fits(settings.max_drop_db * _MARGIN, MOST_SSIM * _MARGIN):
            return network
        larger = min(max(1, 2 * count), len(costs))
        while settings.most_kept is not None and _count_layers(costs[:larger]) > settings.most_kept:
            larger -= 1
        if larger <= count:
            return network
        count = larger
        kept = [layer for each in costs[:count] for layer in each.unit.layers]
        told(f"keeping {format_count(len(kept), 'layer')}")
        network = round_weights(
            calibrated, pictures.calibration, kept=kept, per_channel=settings.per_channel, known=known
        )


def _count_layers(costs: Sequence[Sensitivity]) -> int:
    return sum(len(each.unit.layers) for each in costs)


def _cut_probes(pairs: Sequence[Pair], config: GeneratorConfig, runs: int) -> Pair:
    """The corners of pictures that choose, in one: as many and as large as is affordable."""
    affordable = [
        (count, side)
        for count, side in _PROBES
        if count * config.multiply_adds(side, side) * runs / 2 <= _MOST_PROBED  # a unit touches what comes after it
    ]
    count, side = (affordable or _PROBES[-1:])[0]
    side = min(side, *(length for pair in pairs for length in pair.lq.shape[2:])) // config.multiple * config.multiple
    scale = pairs[0].gt.shape[2] // pairs[0].lq.shape[2]
    lq = [pair.lq[:, :, :side, :side] for pair in pairs[:count]]
    gt = [pair.gt[:, :, : scale * side, : scale * side] for pair in pairs[:count]]
    return Pair("probes", torch.cat(lq), torch.cat(gt))


def _describe_excess(output: Path, found: QuantizationReport, settings: Int8Settings) -> str:
    drop, share = found.drop, compute_shares(found.sensitivities)
    worst = ", ".join(f"{each.unit.name} ({share[each.unit.name]:.0%})" for each in found.sensitivities[:3])
    more = "Give more pictures" if settings.most_kept is None else "Raise `most_kept`, give more pictures"
    return (
        f"{output}: not written, because int8 costs {drop.psnr_db:.3f} dB of PSNR and {drop.ssim:.4f} of SSIM on"
        f" {format_count(drop.pictures, 'held-out picture')}; at most {settings.max_drop_db:g} dB and {MOST_SSIM:g} are"
        f" allowed, with {format_count(len(found.kept), 'layer')} of {found.layers} in fp32. Most is lost in {worst}."
        f" {more}, or raise `max_drop_db`."
    )


# ---------------------------------------------------------------------------------------------------- what it says


def _describe_network(loaded: LoadedGenerator, network: Int8Network) -> dict[str, str]:
    return {
        **describe_provenance(loaded),
        QUANTIZED_FROM_KEY: loaded.sha256,
        CONFIG_KEY: loaded.config.model_dump_json(),
        "tessera.scale": str(loaded.config.scale),
        "tessera.value_range": "RGB in [0, 1], not clipped",
        PRECISION_KEY: "int8",
        KEPT_KEY: str(len(network.kept)),
        "tessera.exported_by": f"tessera {__version__}",
    }


def _describe_file(
    loaded: LoadedGenerator, settings: Int8Settings, network: Int8Network, drop: Drop, pictures: _Pictures
) -> dict[str, str]:
    """The metadata of a finished file: how it was made, and what it costs."""
    told: dict[str, object] = {
        "method": settings.method,
        "percentile": settings.percentile if settings.method == "percentile" else None,
        "weights": "a scale for each output channel" if settings.per_channel else "a scale for each layer",
        "kept_in_fp32": list(network.kept),
        "calibrated_on": f"{pictures.calibrated_on} crops with inputs of {settings.side} pixels a side",
        "protocol": f"{PROTOCOL}, middles of pictures with inputs of up to {settings.eval_side} pixels a side",
        "held_out_pictures": drop.pictures,
        "psnr_drop_db": round(drop.psnr_db, 3),
        "ssim_drop": round(drop.ssim, 4),
        "psnr_db": round(drop.reduced.psnr_db, 3),
        "psnr_to_original_db": round(drop.fidelity_db, 1),
        "runtime": _describe_runtime(settings),
        SEEN_KEY: [digest[:DIGITS] for digest in pictures.seen],
    }
    known = {key: value for key, value in told.items() if value is not None}
    return {**_describe_network(loaded, network), QUANTIZED_KEY: json.dumps(known)}


def _describe_runtime(settings: Int8Settings) -> str:
    package = _NEEDS[settings.format][-1]
    library = import_library(package)
    return f"{package} {library.__version__}"
