import math
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

from tessera import read_picture, write_picture
from tessera.evaluate.feeds import LoadedMetric, load_metrics
from tessera.evaluate.levels import convert_to_gray, to_levels
from tessera.evaluate.protocol import find_protocol
from tessera.evaluate.scoring import Scorer
from tessera.images.color import luma_jpeg, luma_matlab
from tessera.images.resize import resize
from tessera.metrics.catalog import METRICS, find_metric
from tessera.metrics.niqe import PristineModel, niqe, start_niqe
from tessera.metrics.psnr import psnr
from tessera.metrics.ssim import ms_ssim, ssim


def textures(height: int, width: int, seed: int = 0) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    rng = np.random.default_rng(seed)
    waves = [127 + 80 * np.sin(x / (3 + index)) * np.cos(y / (5 + index)) for index in range(3)]
    return (np.dstack(waves) + rng.normal(0, 12, (height, width, 3))).clip(0, 255).astype(np.uint8)


def worse(pixels: np.ndarray, seed: int = 1) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, 6, pixels.shape)
    return (pixels + noise).clip(0, 255).round().astype(pixels.dtype)


def pristine() -> PristineModel:
    rng = np.random.default_rng(0)
    features = rng.normal(1, 0.3, (200, 36))
    return PristineModel(features.mean(0), np.cov(features, rowvar=False))


def files(folder: Path, **pictures: np.ndarray) -> dict[str, Path]:
    for name, pixels in pictures.items():
        write_picture(pixels, folder / f"{name}.png")
    return {name: folder / f"{name}.png" for name in pictures}


def planes(pixels: np.ndarray) -> np.ndarray:
    """(H, W, C) -> (1, C, H, W) float64."""
    return np.moveaxis(pixels.astype(np.float64), 2, 0)[None]


def shrink(picture: np.ndarray) -> np.ndarray:
    return resize(torch.from_numpy(np.ascontiguousarray(picture)), scale=0.25).numpy()


def every(protocol: str = "paper", scale: int = 4) -> Scorer:
    """A scorer with every metric that needs no file."""
    names = [
        metric.info.name for metric in METRICS if metric.info.trunk is None and metric.info.name not in ("niqe", "pi")
    ]
    niqe_metric = LoadedMetric(find_metric("niqe"), start_niqe(pristine()))
    return Scorer(metrics=(*load_metrics(names), niqe_metric), protocol=find_protocol(protocol), scale=scale)


def test_strips_give_what_the_functions_give_for_whole_pictures(tmp_path):
    gt = textures(600, 330)
    sr = worse(gt)
    lq = np.moveaxis(shrink(planes(gt)).clip(0, 255).round()[0], 0, 2)[:150, :82].astype(np.uint8)
    gt, sr = gt[:, :328], sr[:, :328]
    paths = files(tmp_path, gt=gt, sr=sr, lq=lq)
    scores = every().score(paths["sr"], gt=paths["gt"], lq=paths["lq"]).scores
    inside = (..., slice(4, -4), slice(4, -4))
    pair = [luma_matlab(planes(pixels) / 255)[inside] for pixels in (sr, gt)]
    assert scores["psnr"] == pytest.approx(float(psnr(*pair, data_range=255)[0]), abs=1e-9)
    assert scores["rmse"] == pytest.approx(255 / 10 ** (scores["psnr"] / 20), rel=1e-9)
    assert scores["ssim"] == pytest.approx(float(ssim(*pair, data_range=255)[0]), abs=1e-12)
    assert scores["ms-ssim"] == pytest.approx(float(ms_ssim(*pair, data_range=255)[0]), abs=1e-12)
    assert scores["niqe"] == pytest.approx(niqe(convert_to_gray(planes(sr)[0], "y"), pristine()), abs=1e-9)
    small = shrink(planes(sr))
    assert scores["lr-psnr"] == pytest.approx(float(psnr(small, planes(lq), data_range=255)[0]), abs=1e-9)


@pytest.mark.parametrize("protocol", ["paper", "basicsr", "vacc", "esrdgan", "pyiqa"])
def test_protocols_give_different_numbers_for_equal_pictures(protocol, tmp_path):
    gt = textures(60, 60)
    sr = worse(gt)
    paths = files(tmp_path, gt=gt, sr=sr)
    scorer = Scorer(metrics=load_metrics(("psnr",)), protocol=find_protocol(protocol), scale=4)
    channels = {"paper": lambda x: luma_matlab(x / 255), "pyiqa": luma_jpeg}.get(protocol, lambda x: x)
    inside = (..., slice(4, -4), slice(4, -4)) if protocol in ("paper", "basicsr") else (...,)
    expected = psnr(*(channels(planes(pixels))[inside] for pixels in (sr, gt)), data_range=255)
    assert scorer.score(paths["sr"], gt=paths["gt"]).scores["psnr"] == pytest.approx(
        float(expected[0]), abs=1e-3
    )  # less eps


def test_pyiqa_rounds_y_for_ssim_and_ms_ssim_and_not_for_psnr(tmp_path):
    """IQA-PyTorch rounds what it compares at 255 levels (`preprocess_rgb`), and its PSNR compares at 1.

    The tolerance is for values half way between two levels.
    """
    gt = textures(176, 192)
    sr = worse(gt)
    paths = files(tmp_path, gt=gt, sr=sr)
    metrics = load_metrics(("psnr", "ssim", "ms-ssim"))
    found = Scorer(metrics=metrics, protocol=find_protocol("pyiqa"), scale=4).score(paths["sr"], gt=paths["gt"]).scores
    luma = [pixels @ np.array([0.299, 0.587, 0.114]) for pixels in (sr, gt)]
    options = {"data_range": 255, "gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    assert found["ssim"] == pytest.approx(structural_similarity(*(y.round() for y in luma), **options), abs=1e-6)
    assert found["ssim"] != pytest.approx(structural_similarity(*luma, **options), abs=1e-4)
    rounded = [y.round()[None, None] for y in luma]
    assert found["ms-ssim"] == pytest.approx(float(ms_ssim(*rounded, data_range=255)[0]), abs=1e-6)
    error = ((luma[0] - luma[1]) ** 2).mean()
    assert found["psnr"] == pytest.approx(10 * math.log10(255**2 / error), abs=1e-3)


def test_a_reference_of_one_channel_is_compared_as_it_is(tmp_path):
    gt = textures(40, 40)[..., 0]
    sr = worse(gt)
    paths = files(tmp_path, gt=gt, sr=sr, rgb=np.dstack([sr] * 3))
    scorer = Scorer(metrics=load_metrics(("psnr",)), protocol=find_protocol("paper"), scale=4)
    error = ((sr.astype(float) - gt)[4:-4, 4:-4] ** 2).mean()
    for result in ("sr", "rgb"):
        score = scorer.score(paths[result], gt=paths["gt"]).scores["psnr"]
        assert score == pytest.approx(10 * math.log10(255**2 / error), abs=1e-9)


def test_sixteen_bits_count_as_fractions_of_a_level_unless_the_protocol_rounds(tmp_path):
    gt = np.full((40, 40, 3), 100, np.uint8)
    paths = files(tmp_path, gt=gt, sr=(gt.astype(np.uint16) * 257 + 100))
    unrounded = Scorer(metrics=load_metrics(("rmse",)), protocol=find_protocol("esrdgan"), scale=4)
    assert unrounded.score(paths["sr"], gt=paths["gt"]).scores["rmse"] == pytest.approx(100 / 257)
    rounded = Scorer(metrics=load_metrics(("rmse",)), protocol=find_protocol("basicsr"), scale=4)
    assert rounded.score(paths["sr"], gt=paths["gt"]).scores["rmse"] == 0


@pytest.mark.parametrize(("gray", "value"), [("y", 81), ("gray", 76), ("pil-l", 76)])
def test_the_gray_of_niqe_is_that_of_its_tool(gray, value):
    red = np.zeros((1, 1, 3), np.uint8)
    red[..., 0] = 255
    # 81.481 and 76.245 rounded; 76.245 cut by Pillow
    assert convert_to_gray(to_levels(red), gray).tolist() == [[value]]
    white = np.full((1, 1, 3), 255, np.uint8)
    assert convert_to_gray(to_levels(white), gray).tolist() == [[235 if gray == "y" else 255]]


def test_a_shifted_result_is_named_and_scored(tmp_path):
    gt = textures(120, 140)
    paths = files(tmp_path, gt=gt, sr=np.roll(gt, (1, -2), (0, 1)))
    found = Scorer(metrics=load_metrics(("psnr",)), protocol=find_protocol("paper"), scale=4).score(
        paths["sr"], gt=paths["gt"]
    )
    assert found.scores["psnr"] < 25
    assert "(2 left and 1 down, in pixels)" in found.problems[0]


def test_a_reference_with_a_few_pixels_more_is_cut_and_said(tmp_path):
    gt = textures(43, 50)
    paths = files(tmp_path, gt=gt, sr=gt[:40, :48])
    found = Scorer(metrics=load_metrics(("psnr",)), protocol=find_protocol("paper"), scale=4).score(
        paths["sr"], gt=paths["gt"]
    )
    assert found.scores["psnr"] == math.inf
    assert "cropped from 50x43 to 48x40" in found.notes[0]


def bad_pictures(folder: Path) -> dict[str, tuple[Path, Path, str]]:
    good = files(folder, gt=textures(120, 120), small=textures(30, 30), dot=textures(1, 1))
    (folder / "broken.png").write_bytes(good["gt"].read_bytes()[:2000])
    (folder / "text.png").write_text("no picture")
    return {
        "other size": (good["small"], good["gt"], "the same size"),
        "cut short": (folder / "broken.png", good["gt"], "cut short"),
        "no picture": (folder / "text.png", good["gt"], "not a picture"),
        "no file": (folder / "none.png", good["gt"], "no such file"),
        "reference missing": (good["gt"], folder / "none.png", "no such file"),
        "one pixel": (good["dot"], good["dot"], "expected more than 8 pixels per side"),
    }


@pytest.mark.parametrize("kind", ["other size", "cut short", "no picture", "no file", "reference missing", "one pixel"])
def test_bad_input_gets_one_sentence(kind, tmp_path):
    sr, gt, sentence = bad_pictures(tmp_path)[kind]
    scorer = Scorer(metrics=load_metrics(("psnr", "ssim")), protocol=find_protocol("paper"), scale=4)
    found = scorer.score(sr, gt=gt)
    assert found.scores == {}
    assert len(found.problems) == 1
    assert sentence in found.problems[0]


def test_what_cannot_be_scored_does_not_keep_the_rest_from_it(tmp_path):
    flat = np.full((120, 120, 3), 90, np.uint8)
    paths = files(tmp_path, sr=flat, gt=flat, lq=flat[:7])
    found = every().score(paths["sr"], gt=paths["gt"], lq=paths["lq"])
    assert set(found.scores) == {"psnr", "ssim", "rmse", "delta-e"}
    assert found.scores["psnr"] == math.inf
    assert found.scores["ssim"] == pytest.approx(1)
    assert len(found.problems) == 3
    assert {"ms-ssim", "NIQE", "cannot be compared"} <= {
        word for word in ("ms-ssim", "NIQE", "cannot be compared") if word in " ".join(found.problems)
    }


@pytest.mark.assets
def test_rcan_on_set5_scores_what_its_paper_says(assets):
    scorer = Scorer(metrics=load_metrics(("psnr", "ssim")), protocol=find_protocol("paper"), scale=4)
    folder = assets / "bench" / "Set5"
    scores = [
        scorer.score(folder / "RCAN_x4" / f"{name}_RCAN_x4.png", gt=folder / "RCAN_HR_x4" / f"{name}_HR_x4.png").scores
        for name in ("baby", "bird", "butterfly", "head", "woman")
    ]
    assert np.mean([each["psnr"] for each in scores]) == pytest.approx(32.63, abs=0.01)
    assert np.mean([each["ssim"] for each in scores]) == pytest.approx(0.9002, abs=0.0005)


@pytest.mark.assets
@pytest.mark.parametrize(("gray", "crop", "score"), [("y", 0, 5.7296), ("pil-l", 0, 5.7381), ("y", 4, 5.9893)])
def test_niqe_of_baboon_is_the_known_score(gray, crop, score, assets):
    model = PristineModel.load(assets / "weights" / "niqe_pris_params.npz")
    scorer = Scorer(
        metrics=[LoadedMetric(find_metric("niqe"), start_niqe(model))],
        protocol=find_protocol("paper", niqe_gray=gray, niqe_crop=crop),
        scale=4,
    )
    found = scorer.score(assets / "inputs" / "niqe_baboon.png").scores["niqe"]
    assert found == pytest.approx(score, abs=1e-3)


@pytest.mark.assets
def test_read_picture_is_what_the_strips_show(assets):
    path = assets / "bench" / "Set5" / "HR_x4" / "img_001.png"
    from tessera.evaluate.levels import Levels

    with Levels(path) as levels:
        rows = np.concatenate([levels.read_rows(0, 100), levels.read_rows(100, levels.height - 100)], axis=1)
    np.testing.assert_array_equal(np.moveaxis(rows, 0, 2), read_picture(path).pixels)
