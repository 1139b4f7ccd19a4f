"""Metrics of whole pictures, of whole sets, and with scores from outside: LPIPS, FID and PI through an evaluation."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tessera import write_picture
from tessera.errors import UsageError
from tessera.evaluate.feeds import LoadedMetric
from tessera.evaluate.pairs import pair_folders
from tessera.evaluate.protocol import find_protocol
from tessera.evaluate.run import evaluate_results
from tessera.evaluate.scoring import Scorer
from tessera.evaluate.tables import scores_as_markdown
from tessera.metrics.catalog import find_metric
from tessera.metrics.fid import start_fid
from tessera.metrics.metric import Start
from tessera.metrics.niqe import PristineModel, start_niqe
from tessera.metrics.perceptual_index import open_ma, start_perceptual_index
from tessera.metrics.whole import measure_whole


def pristine() -> PristineModel:
    features = np.random.default_rng(0).normal(1, 0.3, (200, 36))
    return PristineModel(features.mean(0), np.cov(features, rowvar=False))


def scorer(protocol: str = "paper", **starts: Start) -> Scorer:
    """A scorer whose metrics are started by functions of the test instead of published weights."""
    metrics = [LoadedMetric(find_metric(name.replace("_", "-")), start) for name, start in starts.items()]
    return Scorer(metrics=metrics, protocol=find_protocol(protocol, niqe_crop=4), scale=4)


@pytest.fixture
def folders(tmp_path) -> tuple[Path, Path]:
    rng = np.random.default_rng(0)
    for index in range(3):
        gt = rng.integers(40, 200, (300, 220, 3), dtype=np.uint8)
        for name, pixels in (("gt", gt), ("sr", gt + np.uint8(2 + index))):
            (tmp_path / name).mkdir(exist_ok=True)
            write_picture(pixels, tmp_path / name / f"p{index}.png")
    return tmp_path / "sr", tmp_path / "gt"


def test_metrics_of_whole_pictures_see_the_pictures_as_the_protocol_crops_them(folders):
    seen: list[torch.Tensor] = []

    def difference(sr: torch.Tensor, gt: torch.Tensor) -> float:
        seen.append(sr)
        return float((sr - gt).mean() * 255)

    sr, gt = folders
    result = evaluate_results(
        pair_folders(sr=sr, gt=gt), scorer(lpips_alex=lambda _: measure_whole(difference)), title="t"
    )
    assert [row.scores["lpips-alex"] for row in result.rows] == pytest.approx([2, 3, 4], abs=1e-4)
    assert tuple(seen[0].shape) == (1, 3, 292, 212)


def test_fid_is_one_score_for_all_pictures_and_warns_of_few(folders):
    def features(batch: torch.Tensor) -> torch.Tensor:
        return batch.mean(dim=(2, 3)).repeat(1, 683)[:, :2048] * 255

    sr, gt = folders
    result = evaluate_results(pair_folders(sr=sr, gt=gt), scorer("basicsr", fid=start_fid(features)), title="t")
    mean = result.mean("result", "fid")
    assert mean is not None
    assert mean.count == 3
    assert 2048 * 9 <= mean.mean < 2048 * 14  # three levels off on average, in each of 2,048 features
    assert "result: FID of 3 pictures" in result.notes[-1]
    assert "| result |" in scores_as_markdown([result])
    assert "nan" not in scores_as_markdown([result])


def test_pi_takes_ma_from_a_table_or_a_command(folders, tmp_path):
    table = tmp_path / "ma.csv"
    table.write_text("picture,ma\np0,8\np1.png,6\n")
    sr, gt = folders
    niqe = start_niqe(pristine())
    pi = start_perceptual_index(niqe, open_ma(str(table)))
    result = evaluate_results(pair_folders(sr=sr, gt=gt), scorer(niqe=niqe, pi=pi), title="t")
    scores = [row.scores for row in result.rows]
    assert scores[0]["pi"] == pytest.approx((10 - 8 + scores[0]["niqe"]) / 2)
    assert scores[1]["pi"] == pytest.approx((10 - 6 + scores[1]["niqe"]) / 2)
    assert "pi" not in scores[2]
    assert "no row for 'p2.png'" in result.rows[2].problems[0]
    command = open_ma("""python3 -c "print(7.5)" {picture}""")
    assert command(sr / "p0.png") == 7.5


def test_pi_without_ma_is_refused():
    with pytest.raises(UsageError, match="pi needs Ma scores") as refused:
        open_ma(None)
    assert refused.value.field == "ma"
