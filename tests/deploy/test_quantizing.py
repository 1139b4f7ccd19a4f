"""Quantization from pictures to a file: what is kept, what is refused, what the file says and does."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import openvino
import pytest
import torch

from deploy.networks import FAMILY, made, noise
from deploy.test_exporting import run_onnx
from stand_ins import nearest, ran
from tessera.deploy import quantizing
from tessera.deploy.calibrating import calibrate, round_weight, round_weights, round_with_feedback
from tessera.deploy.dataflow import find_sources, group_sources, list_parts
from tessera.deploy.drop import Drop, Score, measure_drop
from tessera.deploy.held_out import Pair
from tessera.deploy.int8_onnx import build_int8_onnx
from tessera.deploy.int8_openvino import write_int8_openvino
from tessera.deploy.int8_settings import Int8Settings, find_format
from tessera.deploy.quantizing import OverBudgetError, quantize
from tessera.deploy.sensitivity import list_units, measure_sensitivities
from tessera.engines.opening import open_engine
from tessera.errors import UsageError, WeightsError
from tessera.evaluate.protocol import find_protocol
from tessera.generators import CONFIG_KEY, RRDBNetConfig, SRVGGNetCompactConfig
from tessera.images.writer import write_picture
from tessera.weights.files import inspect_weights, load_weights
from tessera.weights.openvino_core import processor_options
from tessera.zoo.int8_file import QUANTIZED_FROM_KEY, QUANTIZED_KEY, SOURCE_KEY

COMPACT = SRVGGNetCompactConfig(features=8, convolutions=2, scale=2)
SMALL = Int8Settings(side=16, eval_side=24, pictures=16)


def pictures(folder, count, seed=0, side=64):
    """Smooth colors with some noise, each different."""
    folder.mkdir()
    rng = np.random.default_rng(seed)
    for number in range(count):
        rows, columns = np.mgrid[0:side, 0:side] / side
        waves = np.stack([np.sin(rng.uniform(2, 9) * rows + rng.uniform(2, 9) * columns) for _ in range(3)], -1)
        levels = 127 + 80 * waves + rng.normal(0, 10, waves.shape)
        write_picture(np.clip(levels, 0, 255).astype(np.uint8), folder / f"{number:02}.png")
    return folder


def decibels(one, other):
    return float(-10 * torch.log10((one - other).square().mean()))


def whole(*shape):
    return (noise(*shape) * 255).round() / 255


@pytest.mark.parametrize(
    ("config", "runtime"),
    [*((config, "openvino") for config in FAMILY.values()), (FAMILY["rrdbnet"], "onnxruntime")],
)
def test_the_file_does_in_its_runtime_what_the_numbers_say(config, runtime, tmp_path):
    generator = made(config)
    x = whole(2, 3, 18, 14)
    network = round_weights(calibrate(config, generator.state, x, "max"), x)
    about = {CONFIG_KEY: config.model_dump_json()}
    path = tmp_path / ("a.xml" if runtime == "openvino" else "a.onnx")
    if runtime == "openvino":
        write_int8_openvino(path, network, about)
    else:
        path.write_bytes(build_int8_onnx(network, about))
    engine = open_engine(load_weights(path), "exact", engine=runtime)
    assert network.kept == ()
    sides = ((18, 14), (67 // config.multiple * config.multiple, 130), (config.multiple, config.multiple))
    for height, width in sides:  # where it was calibrated, elsewhere, and the least there is
        tiles = x[:, :, :height, :width] if height <= 18 else whole(1, 3, height, width)
        found = ran(engine, tiles)
        with torch.inference_mode():
            assert decibels(found, generator.network(tiles)) > 45
        # Sums are added in another order, so that a few values fall on the other side of a half.
        assert decibels(found, network.run(tiles)) > 60


@pytest.mark.parametrize("config", FAMILY.values(), ids=FAMILY)
def test_an_onnx_file_with_whole_numbers_passes_the_checker_and_is_the_same_in_openvino(config):
    generator = made(config)
    x = whole(2, 3, 18, 14)
    content = build_int8_onnx(round_weights(calibrate(config, generator.state, x, "max"), x), {})
    onnx.checker.check_model(onnx.load_model_from_string(content), full_check=True)
    compiled = openvino.Core().compile_model(openvino.Core().read_model(content), "CPU", processor_options("fp32", 2))
    x = whole(1, 3, 67 // config.multiple * config.multiple, 130)
    assert decibels(torch.from_numpy(compiled([x.numpy()])[0]), run_onnx(content, x)) > 60


def test_sides_that_do_not_divide_are_refused_by_a_file_with_whole_numbers_with_a_sentence(tmp_path):
    config = FAMILY["rrdbnet x2"]
    x = whole(2, 3, 18, 14)
    about = {CONFIG_KEY: config.model_dump_json()}
    path = tmp_path / "a.xml"
    write_int8_openvino(path, round_weights(calibrate(config, made(config).state, x, "max"), x), about)
    with pytest.raises(WeightsError, match="sides that divide by 2, found 1x1"):
        load_weights(path).network(x[:, :, :1, :1])


def test_joined_maps_are_rounded_once_in_openvino_because_they_share_a_zero(tmp_path):
    """A plugin that has to fit joined maps into one range rounds them again, in coarser steps: 65 dB were left here."""
    config = FAMILY["rrdbnet"]
    state = {name: value.clone() for name, value in made(config).state.items()}
    for name, value in state.items():
        if "body" in name and name.endswith(("conv1.bias", "conv3.bias")):
            value += 2  # what these give is above zero, and would want its zero at the end of its range
        if "body" in name and name.endswith("conv5.weight"):
            value *= 8  # so that the block is heard
    x = whole(2, 3, 18, 14)
    network = round_weights(calibrate(config, state, x, "max"), x)
    path = tmp_path / "a.xml"
    write_int8_openvino(path, network, {CONFIG_KEY: config.model_dump_json()})
    found = ran(open_engine(load_weights(path), "exact", engine="openvino"), x)
    for _, each in network.graph.convolutions:
        assert len({network.quantizers[part].zero for part in list_parts(network.graph, each.reads[0])}) == 1
    assert decibels(found, network.run(x)) > 75


def test_maps_that_are_read_at_once_or_with_the_same_third_one_are_one_group():
    layers = FAMILY["rrdbnet"].layers
    groups = group_sources(layers)
    assert sorted(number for group in groups for number in group) == list(find_sources(layers))
    dense = [group for group in groups if len(group) > 1]
    assert [len(group) for group in dense] == [5, 5, 5]  # a dense block's input and what four convolutions add
    joined = [set(list_parts(layers, each.reads[0])) for _, each in layers.convolutions]
    assert all(any(parts <= set(group) for group in groups) for parts in joined)


def test_openvino_multiplies_whole_numbers(tmp_path):
    config = FAMILY["rrdbnet"]
    generator = made(config)
    x = whole(2, 3, 16, 16)
    path = tmp_path / "a.xml"
    write_int8_openvino(
        path, round_weights(calibrate(config, generator.state, x, "max"), x), {"tessera.precision": "int8"}
    )
    engine: Any = open_engine(load_weights(path), "exact", engine="openvino")
    ran(engine, x)
    assert engine.precision == "int8"
    kinds = [
        str(node.rt_info["runtimePrecision"].value)
        for node in engine._network._compiled.get_runtime_model().get_ordered_ops()
        if str(node.rt_info["layerType"].value) == "Convolution"
    ]
    assert kinds == ["u8"] * 21


def test_rounding_with_feedback_changes_the_sums_less_than_rounding_to_the_nearest():
    rng = np.random.default_rng(0)
    weight = rng.normal(0, 1, (8, 16, 3, 3)).astype(np.float32)
    mixed = torch.from_numpy(rng.normal(0, 1, (2000, 12)).astype(np.float32)) @ torch.from_numpy(
        rng.normal(0, 1, (12, 144)).astype(np.float32)
    )  # what lies beside each other is alike, so that one weight can make good what another lost
    nearest_, scale = round_weight(weight, np.ones(16, np.float32))
    found = round_with_feedback(weight, scale, mixed)

    def error(whole_weights):
        apart = whole_weights * scale[:, None, None, None] - weight
        return float((mixed @ torch.from_numpy(apart.reshape(8, -1).astype(np.float32)).T).square().mean())

    assert error(found) < 0.3 * error(nearest_)
    assert np.abs(found.astype(int)).max() <= 127


def test_bias_correction_takes_the_mean_error_away():
    config = RRDBNetConfig(features=8, growth=4, blocks=1)
    generator = made(config)
    x = whole(4, 3, 16, 16)
    calibrated = calibrate(config, generator.state, x, "max")
    network = round_weights(calibrated, x, per_channel=False)
    plain = {
        name: dataclasses.replace(layer, bias=calibrated.arrays[f"{name}.bias"])
        for name, layer in network.layers.items()
    }
    with torch.inference_mode():
        exact = generator.network(x)

    def bias_of(found):
        return float((found - exact).mean((0, 2, 3)).abs().max())

    assert bias_of(network.run(x)) < 0.1 * bias_of(dataclasses.replace(network, layers=plain).run(x))


def planted(config, place):
    """A network near plain upsampling, in which one layer's rounding is heard: a weight of it is far from the others.

    The far weight reads a channel that is always zero, so that it says nothing and takes the steps of all others.
    """
    generator = made(config, seed=3)
    with torch.no_grad():
        for name, value in generator.state.items():
            if name == "body.6.weight":
                value.mul_(0.3)
        before = f"body.{int(place.split('.')[1]) - 2}"
        generator.state[f"{before}.weight"][0] = 0.0
        generator.state[f"{before}.bias"][0] = 0.05
        generator.state[f"{place}.weight"][:, 0] = 0.0
        generator.state[f"{place}.weight"][:, 0, 1, 1] = 60.0
        generator.state[f"{place}.bias"] -= 60.0 * 0.05
    return generator


@pytest.mark.parametrize("place", ["body.2", "body.4"])
def test_the_layer_with_planted_outliers_costs_most(place):
    generator = planted(COMPACT, place)
    x = whole(2, 3, 16, 16)
    network = round_weights(calibrate(COMPACT, generator.state, x, "max"), x)
    costs = measure_sensitivities(network, with_its_own_truth(generator, x))
    assert costs[0].unit.name == place
    assert costs[0].drop_db > 3 * costs[1].drop_db
    assert costs[0].mean_square > 3 * costs[1].mean_square


def with_its_own_truth(generator, x):
    """What goes in, and what the network makes of it, a little wrong."""
    with torch.inference_mode():
        made_of_it = generator.network(x)
    return Pair("own", x, (made_of_it + 0.01 * torch.sign(noise(*made_of_it.shape) - 0.5)).clamp(0, 1))


def test_rounding_one_unit_alone_is_what_keeping_all_others_gives():
    config = RRDBNetConfig(features=8, growth=4, blocks=1)
    generator = made(config)
    x = whole(1, 3, 8, 8)
    calibrated = calibrate(config, generator.state, x, "max")
    network = round_weights(calibrated, x)
    everything = {made.name for _, made in calibrated.graph.convolutions}
    with torch.inference_mode():
        exact = generator.network(x)
    for each in measure_sensitivities(network, with_its_own_truth(generator, x)):
        alone = round_weights(calibrated, x, kept=everything - set(each.unit.layers), known=network.layers)
        error = float(((alone.run(x) - exact) * 255).square().mean())
        assert each.mean_square == pytest.approx(error, rel=0.02, abs=1e-7)


def test_a_loss_in_decibels_is_that_of_two_errors_that_have_nothing_in_common():
    generator = made(COMPACT)
    x = whole(1, 3, 16, 16)
    pair = with_its_own_truth(generator, x)
    network = round_weights(calibrate(COMPACT, generator.state, x, "max"), x)
    with torch.inference_mode():
        own = float((generator.network(x).clamp(0, 1) - pair.gt).square().mean()) * 255**2
    for each in measure_sensitivities(network, pair):
        assert each.drop_db == pytest.approx(10 * np.log10(1 + each.mean_square / own), rel=1e-3, abs=1e-9)


def test_a_dense_block_is_one_unit():
    generator = made(FAMILY["rrdbnet"])
    names = [
        unit.name for unit in list_units(calibrate(generator.config, generator.state, whole(1, 3, 8, 8), "max").graph)
    ]
    assert names == [
        *("conv_first", "body.0.rdb1", "body.0.rdb2", "body.0.rdb3"),
        *("conv_body", "conv_up1", "conv_up2", "conv_hr", "conv_last"),
    ]


@pytest.mark.parametrize("name", ["openvino", "onnx"])
def test_two_runs_give_the_same_bytes_and_the_file_is_a_model_that_says_what_it_lost(name, tmp_path):
    generator = made(COMPACT)
    calibration, evaluation = pictures(tmp_path / "c", 12), pictures(tmp_path / "e", 3, seed=1)
    settings = SMALL.model_copy(update={"format": name})
    paths = [tmp_path / folder / ("a.xml" if name == "openvino" else "a.onnx") for folder in ("1", "2")]
    for path in paths:
        path.parent.mkdir()
        done = quantize(generator, path, settings, calibration, evaluation=evaluation)
    for one in paths[0].parent.iterdir():
        assert one.read_bytes() == (paths[1].parent / one.name).read_bytes()
    assert len(list(paths[0].parent.iterdir())) == len(done.paths)
    metadata = inspect_weights(paths[0]).metadata
    told = json.loads(metadata[QUANTIZED_KEY])
    assert metadata[SOURCE_KEY] == metadata[QUANTIZED_FROM_KEY] == generator.sha256
    assert told["psnr_drop_db"] == round(done.drop.psnr_db, 3)
    assert (told["method"], told["kept_in_fp32"], told["held_out_pictures"]) == ("max", [], 3)
    x = whole(1, 3, 21, 17)
    with torch.inference_mode():
        assert decibels(ran(open_engine(load_weights(paths[0]), "auto"), x), generator.network(x)) > 40


class JudgedByFidelity:
    """Stands in for files and truth: a network's loss is how much it differs from the original, above 80 dB."""

    def __init__(self, generator, settings):
        self.generator, self.settings = generator, settings

    def measure(self, network, pairs):
        x = whole(1, 3, 16, 16)
        with torch.inference_mode():
            lost = max(0.0, 80 - decibels(network.run(x), self.generator.network(x)))
        return Drop(1, lost, 0.0, Score(0, 0), Score(0, 0), 0.0)


@pytest.mark.parametrize("place", ["body.2", "body.4"])
def test_the_layer_with_planted_outliers_is_the_one_that_is_kept(place):
    generator = planted(COMPACT, place)
    x = whole(2, 3, 16, 16)
    calibrated = calibrate(COMPACT, generator.state, x, "max")
    network = round_weights(calibrated, x)
    costs = measure_sensitivities(network, with_its_own_truth(generator, x))
    pictures_ = quantizing._Pictures(x, [], [], 2, ())

    def kept(**changes):
        trial: Any = JudgedByFidelity(generator, SMALL.model_copy(update=changes))
        return quantizing._choose_layers(trial, calibrated, network, costs, pictures_, lambda _: None).kept

    whole_loss = JudgedByFidelity(generator, SMALL).measure(network, []).psnr_db
    assert whole_loss > 1
    assert kept(max_drop_db=whole_loss / 0.75 + 0.1) == ()
    assert kept(max_drop_db=whole_loss / 2) == (place,)
    assert kept(max_drop_db=0.0, most_kept=1) == (place,)
    assert kept(max_drop_db=0.0, most_kept=0) == ()


def test_a_model_that_loses_more_than_it_may_is_not_written(tmp_path, monkeypatch):
    calibration, evaluation = pictures(tmp_path / "c", 12), pictures(tmp_path / "e", 3, seed=1)
    monkeypatch.setattr(
        quantizing, "measure_drop", lambda *_: Drop(3, 0.31, 0.001, Score(30, 0.9), Score(29.69, 0.899), 38.0)
    )
    said = r"0\.310 dB of PSNR and 0\.0010 of SSIM.*with 4 layers of 4 in fp32\. Most is lost in body"
    with pytest.raises(OverBudgetError, match=said) as caught:
        quantize(made(COMPACT), tmp_path / "a.xml", SMALL, calibration, evaluation=evaluation)
    assert [path for path in tmp_path.iterdir() if path.is_file()] == []
    report: Any = quantizing.describe_findings(caught.value.found)
    assert (report["file"], report["psnr_drop_db"], len(report["units"])) == (None, 0.31, 4)


def test_a_flat_picture_that_comes_out_exactly_does_not_decide_alone():
    flat = torch.full((1, 3, 32, 32), 0.5).mul(255).round().div(255)
    pair = Pair("flat", flat[:, :, ::2, ::2], flat)
    a_level_off = flat + torch.zeros_like(flat).index_fill_(3, torch.arange(8), 1 / 255)
    drop = measure_drop([pair], [flat], lambda _: a_level_off, find_protocol("paper"))
    assert drop.original.psnr_db == pytest.approx(58.92, abs=0.01)  # 10 log10(255^2 / (1 / 12))
    assert 1 < drop.psnr_db < 8
    assert measure_drop([pair], [flat], lambda _: flat, find_protocol("paper")).psnr_db == 0


def test_pictures_that_are_in_both_sets_are_refused_whatever_they_are_called(tmp_path):
    generator = made(COMPACT)
    calibration, evaluation = pictures(tmp_path / "c", 12), pictures(tmp_path / "e", 3, seed=1)
    (evaluation / "other name.png").write_bytes((calibration / "05.png").read_bytes())
    with pytest.raises(UsageError, match=r"1 picture of the evaluation is also in the calibration.*05\.png"):
        quantize(generator, tmp_path / "a.xml", SMALL, calibration, evaluation=evaluation)
    assert [path for path in tmp_path.iterdir() if path.is_file()] == []


def test_what_cannot_be_done_is_said_in_a_sentence(tmp_path):
    generator = made(COMPACT)
    few = pictures(tmp_path / "few", 3)
    with pytest.raises(UsageError, match="no such folder"):
        quantize(generator, tmp_path / "a.xml", SMALL, tmp_path / "nowhere")
    with pytest.raises(UsageError, match=r"expected at least 8 pictures in .*, found 3 pictures"):
        quantize(generator, tmp_path / "a.xml", SMALL, few)
    with pytest.raises(UsageError, match="layers are unknown"):
        quantize(nearest(), tmp_path / "a.xml", SMALL, few)
    (tmp_path / "a.xml").write_text("precious")
    with pytest.raises(UsageError, match="`overwrite`"):
        quantize(generator, tmp_path / "a.xml", SMALL, few)
    with pytest.raises(UsageError, match=r"end in \.xml"):
        find_format(tmp_path / "a.pth", None)
    with pytest.raises(UsageError, match="`format` is onnx"):
        find_format(tmp_path / "a.xml", "onnx")


FULL = """
import resource
import sys
from pathlib import Path

from deploy.networks import made
from deploy.test_quantizing import COMPACT, SMALL
from tessera.deploy.quantizing import quantize
from tessera.errors import ExportError

folder, output, form, most_bytes = *map(Path, sys.argv[1:3]), sys.argv[3], int(sys.argv[4])
resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))
try:
    settings = SMALL.model_copy(update={"format": form})
    quantize(made(COMPACT), output, settings, folder / "c", evaluation=folder / "e", overwrite=True)
except ExportError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("form", "most_bytes"),
    [
        ("openvino", 28_000),
        pytest.param("openvino", 1_000, marks=pytest.mark.slow),
        pytest.param("onnx", 1_000, marks=pytest.mark.slow),
    ],
)
def test_a_full_disk_is_a_sentence_and_leaves_what_was_there(form, most_bytes, tmp_path):
    pictures(tmp_path / "c", 12)
    pictures(tmp_path / "e", 3, seed=1)
    output = tmp_path / "out" / ("a.xml" if form == "openvino" else "a.onnx")
    output.parent.mkdir()
    output.write_text("what was there")
    command = [sys.executable, "-c", FULL, str(tmp_path), str(output), form, str(most_bytes)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=False, cwd=Path(__file__).parents[1]
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(output))
    assert done.stdout.rstrip().endswith("Check the folder and its free space.")
    assert [path.name for path in output.parent.iterdir()] == [output.name]
    assert output.read_text() == "what was there"
