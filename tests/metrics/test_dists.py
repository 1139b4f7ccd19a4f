import numpy as np
import pytest
import torch
from scipy.ndimage import correlate
from skimage.filters import gaussian

from tessera.errors import ModelNotFoundError, UsageError, WeightsError
from tessera.metrics.dists import CHANNELS, LAYERS, DistsModel, dists, l2_pool, read_weights
from tessera.trunks import VGG16_WIDTHS, Trunk, vgg


def random_trunk(seed: int = 0) -> Trunk:
    torch.manual_seed(seed)
    trunk = vgg(VGG16_WIDTHS).eval().requires_grad_(False)
    for parameter in trunk.parameters():
        if parameter.ndim == 4:
            torch.nn.init.kaiming_normal_(parameter)
    return trunk


@pytest.fixture(scope="module")
def model() -> DistsModel:
    generator = torch.Generator().manual_seed(1)
    return DistsModel(random_trunk(), *(torch.rand(sum(CHANNELS), generator=generator) for _ in range(2)))


def picture(height: int = 24, width: int = 32, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    smooth = gaussian(rng.normal(0, 1, (height, width, 3)), 3, channel_axis=-1) * 3
    return (0.5 + smooth + gaussian(rng.normal(0, 1, (height, width, 3)), 1, channel_axis=-1) * 0.4).clip(0, 1)


def batch(*pictures: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float().contiguous()


def plain_pool(maps: np.ndarray) -> np.ndarray:
    row = np.hanning(5)[1:-1]
    window = np.outer(row, row) / np.outer(row, row).sum()
    summed = np.stack([correlate(each**2, window, mode="constant") for each in maps])
    return np.sqrt(summed[:, ::2, ::2] + 1e-12)


def plain(sr: np.ndarray, gt: np.ndarray, model: DistsModel) -> float:
    """Equations 4 to 6 in NumPy, channel by channel, with its own walk through VGG16."""
    alpha, beta = model.alpha.double().numpy(), model.beta.double().numpy()
    both = []
    for pixels in (sr, gt):
        x = (pixels - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
        x = x.transpose(2, 0, 1)
        channels = [*pixels.transpose(2, 0, 1)]
        weights = iter(model.trunk.parameters())
        for block, row in enumerate(VGG16_WIDTHS):
            x = plain_pool(x) if block else x
            for _ in row:
                kernel, bias = next(weights).double(), next(weights).double()
                x = torch.nn.functional.conv2d(torch.from_numpy(x)[None], kernel, bias, padding=1)[0].relu().numpy()
            channels += [*x]
        both.append(channels)
    similar = 0.0
    for x, y, a, b in zip(*both, alpha, beta, strict=True):
        covariance = (x * y).mean() - x.mean() * y.mean()
        similar += a * (2 * x.mean() * y.mean() + 1e-6) / (x.mean() ** 2 + y.mean() ** 2 + 1e-6)
        similar += b * (2 * covariance + 1e-6) / (x.var() + y.var() + 1e-6)
    return 1 - similar / (alpha.sum() + beta.sum())


def test_it_is_the_definition_in_plain_numpy(model):
    one, other = picture(seed=1), picture(seed=2)
    found = dists(batch(one), batch(other), model)
    assert found.shape == (1,)
    assert found.dtype == torch.float64
    assert float(found) == pytest.approx(plain(one, other, model), abs=2e-5)


@pytest.mark.parametrize("size", [(8, 8), (7, 9), (1, 5)])
def test_the_pool_is_a_hann_window_over_squares(size):
    maps = np.random.default_rng(0).normal(0, 1, (3, *size))
    np.testing.assert_allclose(l2_pool(torch.from_numpy(maps)[None])[0].numpy(), plain_pool(maps), atol=1e-12)


def test_equal_pictures_are_0_apart_and_the_order_does_not_matter(model):
    one, other = batch(picture(seed=3)), batch(picture(seed=4))
    assert float(dists(one, one, model)) == 0
    assert float(dists(one, other, model)) == pytest.approx(float(dists(other, one, model)), rel=1e-12)
    assert 0 < float(dists(one, other, model)) < 1
    flat = torch.full((1, 3, 20, 20), 0.3)
    assert float(dists(flat, flat, model)) == 0


def test_more_blur_and_more_noise_are_further_away(model):
    gt = picture(64, 64, seed=5)
    noise = np.random.default_rng(0).normal(0, 1, gt.shape)
    blurred = [gaussian(gt, sigma, channel_axis=-1) for sigma in (0.4, 0.8, 1.6, 3.2)]
    noisy = [(gt + strength * noise).clip(0, 1) for strength in (0.02, 0.05, 0.1, 0.2)]
    for worse in (blurred, noisy):
        scores = dists(batch(*worse), batch(*[gt] * 4), model)
        assert (scores.diff() > 0).all()


def test_gradients_lead_toward_the_reference(model):
    gt = batch(picture(seed=6))
    sr = (gt + 0.05 * torch.randn(gt.shape, generator=torch.Generator().manual_seed(0))).requires_grad_()
    before = dists(sr, gt, model)
    before.sum().backward()
    assert sr.grad is not None
    assert torch.isfinite(sr.grad).all()
    after = dists(sr.detach() - 0.02 * sr.grad / sr.grad.norm(), gt, model)
    assert float(after.detach()) < float(before.detach())


def test_larger_pictures_are_made_smaller_only_when_asked(model):
    one, other = batch(picture(30, 45, seed=7)), batch(picture(30, 45, seed=8))
    small_one, small_other = (
        torch.nn.functional.interpolate(x, size=(20, 30), mode="bilinear", antialias=True) for x in (one, other)
    )
    assert float(dists(one, other, model, shorter_side=20)) == float(dists(small_one, small_other, model))
    assert float(dists(one, other, model, shorter_side=30)) == float(dists(one, other, model))
    assert float(dists(one, other, model, shorter_side=256)) == float(dists(one, other, model))
    with pytest.raises(UsageError, match="expected 1 or more, found 0"):
        dists(one, other, model, shorter_side=0)


def test_pictures_of_different_size_are_refused(model):
    with pytest.raises(UsageError, match="of one size"):
        dists(torch.zeros(1, 3, 20, 20), torch.zeros(1, 3, 20, 21), model)


def test_wrong_weights_get_a_sentence(tmp_path):
    torch.save({"alpha": torch.zeros(1, 1475, 1, 1), "beta": torch.zeros(1, 1475, 1, 1)}, tmp_path / "a.pt")
    with pytest.raises(WeightsError, match="a sum above 0"):
        read_weights(tmp_path / "a.pt")
    torch.save({"alpha": torch.zeros(1, 1472, 1, 1)}, tmp_path / "b.pt")
    with pytest.raises(WeightsError, match=r"weights of DISTS.*beta.*\(1, 1472, 1, 1\)"):
        read_weights(tmp_path / "b.pt")


def test_offline_the_weights_are_asked_for_by_name(tmp_path, monkeypatch):
    monkeypatch.setenv("TESSERA_MODELS", str(tmp_path))
    with pytest.raises(ModelNotFoundError, match=r"DISTS_weights-f5e65c96\.pth"):
        DistsModel.load(offline=True)


@pytest.mark.assets
def test_the_official_weights_fit(assets, tmp_path):
    path = assets / "weights" / "dists_alpha_beta.pt"
    torch.save(random_trunk().state_dict(), tmp_path / "trunk.pth")
    loaded = DistsModel.load(trunk=tmp_path / "trunk.pth", weights=path, offline=True)
    (tmp_path / "trunk.pth").unlink()
    assert min(loaded.alpha.min(), loaded.beta.min()) >= 0
    gt = picture(64, 64, seed=9)
    blurred = batch(*(gaussian(gt, sigma, channel_axis=-1) for sigma in (0.5, 1.0, 2.0)))
    scores = dists(blurred, batch(gt, gt, gt), loaded)
    assert (scores.diff() > 0).all()
    assert float(dists(batch(gt), batch(gt), loaded)) == 0


def test_the_channels_are_those_of_the_layers():
    found = vgg(VGG16_WIDTHS)(torch.zeros(1, 3, 16, 16), LAYERS)
    assert (3, *(maps.shape[1] for maps in found.values())) == CHANNELS
