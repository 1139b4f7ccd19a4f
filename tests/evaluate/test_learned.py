import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from tessera import write_picture
from tessera.errors import UsageError
from tessera.evaluate import learned as module
from tessera.evaluate.learned import Learned, ma_source
from tessera.evaluate.pairs import pair_folders
from tessera.evaluate.protocol import find_protocol
from tessera.evaluate.run import evaluate_results
from tessera.evaluate.scoring import Scorer
from tessera.metrics.niqe import PristineModel


def pristine() -> PristineModel:
    features = np.random.default_rng(0).normal(1, 0.3, (200, 36))
    return PristineModel(features.mean(0), np.cov(features, rowvar=False))


@pytest.fixture
def folders(tmp_path) -> tuple[Path, Path]:
    rng = np.random.default_rng(0)
    for index in range(3):
        gt = rng.integers(40, 200, (300, 220, 3), dtype=np.uint8)
        for name, pixels in (("gt", gt), ("sr", gt + np.uint8(2 + index))):
            (tmp_path / name).mkdir(exist_ok=True)
            write_picture(pixels, tmp_path / name / f"p{index}.png")
    return tmp_path / "sr", tmp_path / "gt"


def test_metrics_of_whole_pictures_see_what_the_protocol_leaves(folders):
    seen: list[torch.Tensor] = []

    def difference(sr: torch.Tensor, gt: torch.Tensor) -> float:
        seen.append(sr)
        return float((sr - gt).mean() * 255)

    scorer = Scorer(
        metrics=("lpips-alex",),
        protocol=find_protocol("paper"),
        scale=4,
        learned=Learned(compared={"lpips-alex": difference}),
    )
    sr, gt = folders
    result = evaluate_results(pair_folders(sr=sr, gt=gt), scorer, title="t")
    assert [row.scores["lpips-alex"] for row in result.rows] == pytest.approx([2, 3, 4], abs=1e-4)
    assert tuple(seen[0].shape) == (1, 3, 292, 212)


def test_fid_is_one_number_for_all_pictures_and_warns_of_few(folders, monkeypatch):
    def features(trunk: object, batch: torch.Tensor) -> torch.Tensor:
        return batch.mean(dim=(2, 3)).repeat(1, 683)[:, :2048] * 255

    monkeypatch.setattr(module, "inception_features", features)
    trunk = object()
    scorer = Scorer(metrics=("fid",), protocol=find_protocol("basicsr"), scale=4)
    scorer = dataclasses.replace(scorer, learned=Learned(inception=trunk))  # type: ignore[arg-type]
    sr, gt = folders
    result = evaluate_results(pair_folders(sr=sr, gt=gt), scorer, title="t")
    mean = result.mean("result", "fid")
    assert mean is not None
    assert mean.count == 3
    assert 2048 * 9 <= mean.mean < 2048 * 14  # three levels off on average, in each of 2,048 features
    assert "FID of 3 pictures" in result.notes[-1]
    assert "| result |" in result.as_markdown()
    assert "nan" not in result.as_markdown()


def test_pi_takes_ma_from_a_table_or_a_command(folders, tmp_path):
    table = tmp_path / "ma.csv"
    table.write_text("picture,ma\np0,8\np1.png,6\n")
    sr, gt = folders
    scorer = Scorer(
        metrics=("niqe", "pi"),
        protocol=find_protocol("paper", niqe_crop=4),
        scale=4,
        pristine=pristine(),
        learned=Learned(ma=ma_source(str(table))),
    )
    result = evaluate_results(pair_folders(sr=sr, gt=gt), scorer, title="t")
    scores = [row.scores for row in result.rows]
    assert scores[0]["pi"] == pytest.approx((10 - 8 + scores[0]["niqe"]) / 2)
    assert scores[1]["pi"] == pytest.approx((10 - 6 + scores[1]["niqe"]) / 2)
    assert "pi" not in scores[2]
    assert "no row for 'p2.png'" in result.rows[2].problems[0]
    command = ma_source("""python3 -c "print(7.5)" {picture}""")
    assert command(sr / "p0.png") == 7.5


def test_pi_without_ma_gets_a_sentence():
    with pytest.raises(UsageError, match="--ma"):
        ma_source(None)
