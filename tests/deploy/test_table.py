"""The deployment table: rows that say what they measured, against figures counted and computed elsewhere."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

from deploy.networks import made
from deploy.test_quantizing import pictures
from tessera.bench.surroundings import Surroundings
from tessera.cli import main
from tessera.deploy.bench_pairs import bench_pairs
from tessera.deploy.drop import measure_drop, score_result
from tessera.deploy.held_out import Pair
from tessera.deploy.profile import profile_network
from tessera.deploy.table import Quality, Row
from tessera.deploy.table_pages import as_dict, as_html, as_markdown
from tessera.errors import UsageError
from tessera.evaluate.protocol import find_protocol
from tessera.generators import SRVGGNetCompactConfig
from tessera.weights.files import save_weights

CONFIG = SRVGGNetCompactConfig(features=8, convolutions=2, scale=4)
HERE = Surroundings(
    processor="a processor",
    features=(),
    cores=2,
    threads=2,
    memory_bytes=None,
    gpus=(),
    system="",
    versions={},
    load=0.1,
)


def row(precision, seconds, psnr_db):
    quality = Quality(
        psnr_db=psnr_db, ssim=0.8, niqe=4.5, to_fp32_db=math.inf if precision == "fp32" else 42.25, largest_levels=7
    )
    return Row(
        model="small <b>",
        precision=precision,
        bytes=2_500_000,
        cost=profile_network(CONFIG, 128, 128),
        quality=quality,
        pictures=3,
        seconds=seconds,
        cpu_seconds=tuple(2 * each for each in sorted(seconds)),
        ratios_to_bf16=(),
        peak_bytes=300 * 2**20,
    )


ROWS = (row("fp32", (0.5, 0.4), 30.5), row("bf16", (0.2, 0.3), 30.25), row("int8", (0.1, 0.4), 30.125))


def test_the_fastest_turns_are_compared_and_throughput_is_that_of_the_output():
    found = as_dict(ROWS, find_protocol("paper"), HERE)["rows"]
    assert [each["times_bf16"] for each in found] == [0.5, 1.0, 2.0]
    assert [each["times_bf16_of_processor"] for each in found] == [0.5, 1.0, 2.0]
    assert found[2]["megapixels_per_second"] == pytest.approx(512 * 512 / 1e6 / 0.1)
    assert found[0]["psnr_to_fp32_db"] is None
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_both_conventions_of_flop_are_named():
    text = as_markdown(ROWS, find_protocol("vacc"), HERE)
    head, _, *lines = text.splitlines()
    assert "GFLOP (2 x multiply-adds)" in head
    assert 'VACC "Flops(G)"' in head
    cells = [cell.strip() for cell in lines[2].split("|")[1:-1]]
    assert len(cells) == len(head.split("|")) - 2
    named = dict(zip((each.strip() for each in head.split("|")[1:-1]), cells, strict=True))
    cost = profile_network(CONFIG, 128, 128)
    assert named["GFLOP (2 x multiply-adds)"] == f"{2 * cost.multiply_adds / 1e9:.1f}"
    assert named['VACC "Flops(G)"'] == f"{cost.vacc_gflops:.3f}"
    assert (named["precision"], named["times bf16"], named["peak MiB"]) == ("int8", "2.00", "300")
    assert "128x128" in text
    assert "INTER_AREA" in text


def test_the_page_has_a_plot_and_a_table_and_names_are_no_markup():
    page = "".join(as_html(ROWS, find_protocol("paper"), HERE))
    assert "<svg" in page
    assert page.count("<tr>") == 4
    assert "small <b>" not in page
    assert "small &lt;b&gt;" in page


def test_what_is_lost_is_the_difference_of_means_and_a_better_result_loses_nothing():
    gt = torch.full((1, 3, 40, 40), 100 / 255)
    pair = Pair("gray", torch.full((1, 3, 10, 10), 100 / 255), gt)
    worse, better = gt + 10 / 255, gt + 5 / 255
    protocol = find_protocol("basicsr")
    found = measure_drop([pair, pair], [better, better], lambda _: worse, protocol)
    assert found.psnr_db == pytest.approx(20 * math.log10(2), abs=1e-6)
    assert found.fits(7)
    assert not found.fits(5)
    assert not found.fits(7, found.ssim - 1e-6)
    assert measure_drop([pair], [worse], lambda _: better, protocol).psnr_db < 0


def test_scores_are_those_of_the_formula_without_the_border():
    rng = np.random.default_rng(0)
    one, other = (torch.from_numpy(rng.integers(0, 256, (1, 3, 32, 36)).astype(np.float32)) / 255 for _ in range(2))
    other[:, :, :4] = 1 - one[:, :, :4]
    inside = (one - other)[:, :, 4:-4, 4:-4].double() * 255
    expected = 10 * math.log10(255**2 / float(inside.square().mean()))
    assert score_result(one, other, find_protocol("basicsr"), 4).psnr_db == pytest.approx(expected, abs=1e-3)


def test_pairs_have_the_sizes_of_the_protocol(tmp_path):
    folder = pictures(tmp_path / "p", 2, side=80)
    (pair, _) = bench_pairs(folder, CONFIG, find_protocol("vacc"))
    assert (pair.lq.shape, pair.gt.shape) == ((1, 3, 128, 128), (1, 3, 512, 512))
    (pair, _) = bench_pairs(folder, CONFIG, find_protocol("paper"))
    assert (pair.lq.shape, pair.gt.shape) == ((1, 3, 20, 20), (1, 3, 80, 80))
    (pair,) = bench_pairs(folder, CONFIG, find_protocol("paper"), side=16, most=1)
    assert (pair.lq.shape, pair.gt.shape) == ((1, 3, 16, 16), (1, 3, 64, 64))
    with pytest.raises(UsageError, match="x2 network"):
        bench_pairs(folder, CONFIG.model_copy(update={"scale": 2}), find_protocol("vacc"))
    with pytest.raises(UsageError, match="no such folder"):
        bench_pairs(tmp_path / "nowhere", CONFIG, find_protocol("paper"))


@pytest.mark.slow
def test_quantize_and_the_table_as_commands(tmp_path, capsys):
    folder, evaluation = pictures(tmp_path / "c", 12, side=80), pictures(tmp_path / "e", 2, seed=1, side=80)
    model = tmp_path / "model.safetensors"
    save_weights(model, CONFIG, made(CONFIG).state)
    output = tmp_path / "model.int8.xml"
    small = ["--size", "20", "--limit", "12", "--max-drop", "50"]
    command = ["quantize", str(model), "--calibration", str(folder), "--eval", str(evaluation), "-o", str(output)]
    assert main([*command, *small]) == 0
    said = capsys.readouterr().out
    assert "on 2 held out" in said
    assert "nothing, all layers are int8" in said
    files = [f"--{kind}={tmp_path / f'table.{kind}'}" for kind in ("json", "html", "markdown")]
    table = ["deploy-table", str(model), "--bench", str(evaluation), "--rounds", "1", "--threads", "2", "--offline"]
    assert main([*table, *files]) == 0
    rows = json.loads((tmp_path / "table.json").read_text())["rows"]
    assert rows[0]["precision"] == "fp32"
    assert rows[-1]["precision"] == "int8"
    assert rows[-1]["bytes"] == output.stat().st_size + output.with_suffix(".bin").stat().st_size
    assert rows[-1]["psnr_to_fp32_db"] > 35
    assert all(each["peak_bytes"] > 50e6 for each in rows)
    assert (tmp_path / "table.markdown").read_text() == capsys.readouterr().out
    assert main([*command, *small]) == 2
    assert "--overwrite" in capsys.readouterr().err
