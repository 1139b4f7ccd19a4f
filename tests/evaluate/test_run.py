import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stand_ins import FunctionEngine, nearest, repeated
from tessera import Upscaler, read_picture, write_picture
from tessera.errors import UsageError
from tessera.evaluate.companions import write_companions
from tessera.evaluate.feeds import LoadedMetric, load_metrics
from tessera.evaluate.pairs import pair_folders
from tessera.evaluate.protocol import find_protocol
from tessera.evaluate.resampling import copy_as_png, downsample
from tessera.evaluate.run import Method, evaluate_methods, evaluate_results
from tessera.evaluate.scoring import Scorer
from tessera.evaluate.tables import scores_as_csv, scores_as_json, scores_as_markdown
from tessera.images.resize import resize
from tessera.metrics.catalog import find_metric
from tessera.metrics.niqe import PristineModel, start_niqe


def textures(height: int, width: int, seed: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.dstack([127 + 100 * np.sin((x + seed * 7) / (4 + c)) * np.cos(y / (6 + c)) for c in range(3)]).astype(
        np.uint8
    )


@pytest.fixture
def references(tmp_path) -> Path:
    folder = tmp_path / "gt"
    folder.mkdir()
    for index in range(3):
        write_picture(textures(50 + index, 64, index), folder / f"p{index}.png")
    return folder


def scorer(protocol: str = "paper", *metrics: str) -> Scorer:
    return Scorer(metrics=load_metrics(metrics or ("psnr", "ssim")), protocol=find_protocol(protocol), scale=4)


def niqe_metric() -> LoadedMetric:
    features = np.random.default_rng(0).normal(1, 0.3, (200, 36))
    model = PristineModel(features.mean(0), np.cov(features, rowvar=False))
    return LoadedMetric(find_metric("niqe"), start_niqe(model))


def model(name: str = "repeat") -> Method:
    return Method(name=name, upscaler=Upscaler(nearest(), engine=FunctionEngine(repeated(4)), flat_lock=False))


def methods() -> list[Method]:
    return [Method(name="bicubic"), Method(name="lanczos"), model()]


def test_inputs_are_made_as_matlab_makes_them(references, tmp_path):
    downsample(references / "p1.png", tmp_path / "lq.png", 4, "bicubic")
    gt = torch.from_numpy(textures(51, 64, 1)[:48].astype(np.float64) / 255).permute(2, 0, 1)[None]
    expected = (resize(gt, scale=0.25).clamp(0, 1) * 255).round()[0].permute(1, 2, 0).numpy()
    made = read_picture(tmp_path / "lq.png").pixels
    inside = (slice(2, -2), slice(2, -2))
    assert np.abs(made[inside] - expected[inside]).max() <= 1  # whole levels between height and width


def test_models_are_scored_beside_the_baselines_and_compared(references, tmp_path):
    result = evaluate_methods(pair_folders(gt=references), methods(), scorer(), tmp_path / "out", title="t")
    assert result.failures == ()
    assert result.methods == ("bicubic", "lanczos", "repeat")
    assert len(result.rows) == 9
    for method in result.methods:
        mean = result.mean(method, "psnr")
        assert mean is not None
        scores = [row.scores["psnr"] for row in result.rows if row.method == method]
        assert mean.mean == pytest.approx(np.mean(scores))
        assert mean.low <= mean.mean <= mean.high
    difference = result.differences[0]
    assert (difference.method, difference.other) == ("repeat", "bicubic")
    assert difference.difference < 0
    table = list(csv.DictReader(scores_as_csv([result]).splitlines()))
    assert {row["model"] for row in table} == set(result.methods)
    assert float(table[0]["psnr"]) == result.rows[0].scores["psnr"]
    assert json.loads(json.dumps(scores_as_json([result])))["methods"] == list(result.methods)
    assert "Inputs were made" in scores_as_markdown([result])


def existing(path: Path | None) -> Path:
    assert path is not None
    return path


def test_a_second_run_makes_nothing_again(references, tmp_path):
    first: Any = methods()
    evaluate_methods(pair_folders(gt=references), first, scorer(), tmp_path / "out", title="t")
    second: Any = methods()
    evaluate_methods(pair_folders(gt=references), second, scorer(), tmp_path / "out", title="t")
    assert first[2].upscaler.engine.shapes
    assert not second[2].upscaler.engine.shapes


def test_an_evaluation_of_other_pictures_takes_the_place_of_the_last(references, tmp_path):
    evaluate_methods(pair_folders(gt=references), methods(), scorer(), tmp_path / "out", title="t")
    inputs = tmp_path / "lq"
    for path in references.iterdir():
        copy_as_png(path, inputs / path.name)
    result = evaluate_methods(
        pair_folders(lq=inputs, gt=inputs),
        [model()],
        Scorer(metrics=load_metrics(("psnr",)), protocol=find_protocol("paper"), scale=4),
        tmp_path / "out",
        title="t",
    )
    assert read_picture(existing(result.rows[0].sr)).pixels.shape[0] == 200
    assert "the same size" in result.failures[0]


def test_two_models_are_compared_with_each_other(references, tmp_path):
    shifted = FunctionEngine(lambda tiles, call: repeated(4)(tiles, call) + 0.02)
    other = Method(name="shifted", upscaler=Upscaler(nearest(), engine=shifted, flat_lock=False))
    result = evaluate_methods(pair_folders(gt=references), [model(), other], scorer(), tmp_path / "out", title="t")
    assert {(each.method, each.other) for each in result.differences} == {("repeat", "shifted")}


def test_a_broken_picture_is_named_and_the_others_are_scored(references, tmp_path):
    (references / "p1.png").write_bytes(b"no picture")
    result = evaluate_methods(pair_folders(gt=references), methods(), scorer(), tmp_path / "out", title="t")
    assert any("p1.png" in problem for problem in result.failures)
    assert {row.picture for row in result.rows if row.scores} == {"p0", "p2"}


def test_originals_are_upscaled_where_the_protocol_says_so(references, tmp_path):
    rough = Scorer(metrics=[niqe_metric()], protocol=find_protocol("a-esrgan"), scale=4)
    result = evaluate_methods(pair_folders(gt=references), [Method(name="bicubic")], rough, tmp_path / "out", title="t")
    upscaled = read_picture(tmp_path / "out" / "pictures" / "bicubic" / "p0.png")
    assert upscaled.pixels.shape == (200, 256, 3)
    assert [metric.name for metric in result.metrics] == ["niqe"]
    assert all(row.gt is None for row in result.rows)


def test_the_sizes_of_vacc_are_made_by_area(references, tmp_path):
    result = evaluate_methods(pair_folders(gt=references), [model()], scorer("vacc"), tmp_path / "out", title="t")
    row = result.rows[0]
    assert read_picture(existing(row.lq)).pixels.shape == (128, 128, 3)
    assert read_picture(existing(row.gt)).pixels.shape == (512, 512, 3)
    assert read_picture(existing(row.sr)).pixels.shape == (512, 512, 3)
    expected = resize(
        torch.from_numpy(textures(50, 64, 0).astype(float)).permute(2, 0, 1)[None], size=(512, 512), kernel="area"
    )
    np.testing.assert_allclose(read_picture(existing(row.gt)).pixels, expected[0].permute(1, 2, 0).round(), atol=0)


def test_averaging_over_pixels_is_the_decibels_of_the_mean_error(references, tmp_path):
    pooled = Scorer(metrics=load_metrics(("psnr",)), protocol=find_protocol("paper", averaging="pixels"), scale=4)
    found = evaluate_methods(pair_folders(gt=references), [Method(name="bicubic")], pooled, tmp_path / "a", title="t")
    errors, weights = [], []
    for row in found.rows:
        errors.append(255**2 / 10 ** (row.scores["psnr"] / 10))
        height, width = read_picture(existing(row.sr)).pixels.shape[:2]
        weights.append((height - 8) * (width - 8))
    expected = 10 * math.log10(255**2 / np.average(errors, weights=weights))
    mean = found.mean("bicubic", "psnr")
    assert mean is not None
    assert mean.mean == pytest.approx(expected, abs=1e-9)


def test_a_model_of_another_scale_is_refused(references, tmp_path):
    other = Method(name="x2", upscaler=Upscaler(nearest(2), engine=FunctionEngine(repeated(2))))
    with pytest.raises(UsageError, match="scale: expected 2, the scale of x2, found 4"):
        evaluate_methods(pair_folders(gt=references), [other], scorer(), tmp_path / "out", title="t")


def test_given_results_are_scored(references, tmp_path):
    for path in references.iterdir():
        copy_as_png(path, tmp_path / "sr" / f"{path.stem}_out.png")
    result = evaluate_results(pair_folders(sr=tmp_path / "sr", gt=references), scorer(), title="t")
    assert [row.scores["psnr"] for row in result.rows] == [math.inf] * 3
    assert scores_as_json([result])["means"][0]["mean"] == "inf"
    assert "inf" in scores_as_markdown([result])


def test_companions_are_what_esrdgan_leaves(references, tmp_path):
    result = evaluate_methods(pair_folders(gt=references), methods(), scorer(), tmp_path / "out", title="t")
    assert write_companions(result, "repeat", tmp_path / "c") == ()
    names = {path.name for path in (tmp_path / "c").iterdir()}
    assert {"p0_sr_4x.png", "p0_nearest_4x.png", "p0_bicubic_4x.png", "p0_lr.png", "p0_hr.png", "metrics.csv"} <= names
    lines = (tmp_path / "c" / "metrics.csv").read_text().splitlines()
    assert lines[0] == "image,PSNR"
    assert [line.split(",")[0] for line in lines[1:4]] == ["p0_sr", "p0_nearest", "p0_bicubic"]
    sr, gt = (read_picture(tmp_path / "c" / name).pixels.astype(float) for name in ("p0_sr_4x.png", "p0_hr.png"))
    expected = 10 * math.log10(255**2 / (((sr - gt[: sr.shape[0]]) ** 2).mean() + 1e-8))
    assert float(lines[1].split(",")[1]) == pytest.approx(expected, abs=1e-6)
    assert lines[1].split(",")[1] == lines[2].split(",")[1], "this model repeats pixels, as nearest does"


@pytest.mark.assets
@pytest.mark.parametrize("scale", [2, 4])
@pytest.mark.parametrize("name", ["Set5", "Set14"])
def test_inputs_made_from_references_are_the_stored_ones_in_every_pixel(name, scale, assets, tmp_path):
    values = differing = 0
    for gt in sorted((assets / "bench" / name / f"HR_x{scale}").iterdir()):
        downsample(gt, tmp_path / gt.name, scale, "bicubic")
        ours = read_picture(tmp_path / gt.name).pixels.astype(int)
        stored = read_picture(assets / "bench" / name / f"LR_x{scale}" / gt.name).pixels
        values += ours.size
        differing += int((ours != stored).sum())
    assert values > 10**5
    assert differing == 0
