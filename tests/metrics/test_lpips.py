import functools

import numpy as np
import pytest
import torch
from skimage.filters import gaussian

from tessera.errors import ModelNotFoundError, UsageError, WeightsError
from tessera.metrics.lpips import LPIPS_NETS, LpipsModel, find_net, lpips, read_heads
from tessera.trunks import TRUNKS

NETS = tuple(net.name for net in LPIPS_NETS)


@functools.cache
def model(name: str, *, seed: int = 0) -> LpipsModel:
    """A trunk of seeded random weights, large enough that its maps do not fade, and random heads."""
    net = find_net(name)
    torch.manual_seed(seed)
    published = next(trunk for trunk in TRUNKS if trunk.name == net.trunk)
    trunk = published.build(published.normalization).eval().requires_grad_(False)
    for parameter in trunk.parameters():
        if parameter.ndim == 4:
            torch.nn.init.kaiming_normal_(parameter)
    return LpipsModel(net, trunk, tuple(torch.rand(channels) for _, channels in net.layers))


def picture(height: int = 48, width: int = 64, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    smooth = gaussian(rng.normal(0, 1, (height, width, 3)), 3, channel_axis=-1) * 3
    return (0.5 + smooth + gaussian(rng.normal(0, 1, (height, width, 3)), 1, channel_axis=-1) * 0.4).clip(0, 1)


def batch(*pictures: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float().contiguous()


def plain(sr: np.ndarray, gt: np.ndarray, parts: LpipsModel) -> float:
    """The definition in NumPy, place by place, from the maps of the trunk."""
    maps = []
    for pixels in (sr, gt):
        seen = (pixels * 2 - 1 - np.array([-0.030, -0.088, -0.188])) / np.array([0.458, 0.448, 0.450])
        given = parts.trunk(batch(seen), [name for name, _ in parts.net.layers])
        maps.append([each[0].double().numpy() for each in given.values()])
    total = 0.0
    for x, y, head in zip(*maps, parts.heads, strict=True):
        places = []
        for row in range(x.shape[1]):
            for column in range(x.shape[2]):
                a, b = x[:, row, column], y[:, row, column]
                a, b = a / (np.sqrt((a**2).sum()) + 1e-10), b / (np.sqrt((b**2).sum()) + 1e-10)
                places.append((head.double().numpy() * (a - b) ** 2).sum())
        total += float(np.mean(places))
    return total


@pytest.mark.parametrize("name", NETS)
def test_it_is_the_definition_in_plain_numpy(name):
    parts = model(name)
    pairs = [(picture(seed=seed), picture(seed=seed + 10)) for seed in (1, 2)]
    scores = lpips(batch(*(a for a, _ in pairs)), batch(*(b for _, b in pairs)), parts)
    assert scores.dtype == torch.float64
    np.testing.assert_allclose(scores.numpy(), [plain(a, b, parts) for a, b in pairs], rtol=2e-5)


@pytest.mark.parametrize("name", NETS)
def test_equal_pictures_are_0_apart_and_the_order_does_not_matter(name):
    parts = model(name)
    one, other = batch(picture(seed=3)), batch(picture(seed=4))
    assert float(lpips(one, one, parts)) == 0
    assert float(lpips(one, other, parts)) == pytest.approx(float(lpips(other, one, parts)), rel=1e-12)
    assert float(lpips(one, other, parts)) > 0


@pytest.mark.parametrize("name", NETS)
def test_more_blur_and_more_noise_are_further_away(name):
    parts, gt = model(name), picture(64, 64, seed=5)
    noise = np.random.default_rng(0).normal(0, 1, gt.shape)
    blurred = [gaussian(gt, sigma, channel_axis=-1) for sigma in (0.4, 0.8, 1.6, 3.2)]
    noisy = [(gt + strength * noise).clip(0, 1) for strength in (0.02, 0.05, 0.1, 0.2)]
    for worse in (blurred, noisy):
        scores = lpips(batch(*worse), batch(*[gt] * 4), parts)
        assert (scores.diff() > 0).all()


def test_a_flat_black_picture_gives_a_finite_score_and_finite_gradients():
    parts = model("alex", seed=1)
    for parameter in parts.trunk.parameters():
        if parameter.ndim == 1:
            parameter.fill_(-9.0)  # so that most vectors of channels are zero
    sr = torch.zeros(1, 3, 40, 40, requires_grad=True)
    score = lpips(sr, batch(picture(40, 40)), parts)
    score.sum().backward()
    assert torch.isfinite(score).all()
    assert sr.grad is not None
    assert torch.isfinite(sr.grad).all()


def test_gradients_lead_toward_the_reference():
    parts, gt = model("alex"), batch(picture(seed=6))
    sr = (gt + 0.05 * torch.randn(gt.shape, generator=torch.Generator().manual_seed(0))).requires_grad_()
    before = lpips(sr, gt, parts)
    before.sum().backward()
    assert sr.grad is not None
    after = lpips(sr.detach() - 0.02 * sr.grad / sr.grad.norm(), gt, parts)
    assert float(after.detach()) < float(before.detach())


@pytest.mark.parametrize("net", LPIPS_NETS, ids=lambda net: net.name)
def test_the_smallest_side_is_what_the_trunk_can_take(net):
    with torch.device("meta"):
        published = next(trunk for trunk in TRUNKS if trunk.name == net.trunk)
        trunk = published.build(published.normalization)
    layers, side = [name for name, _ in net.layers], net.smallest_side
    found = trunk(torch.empty(1, 3, side, side, device="meta"), layers)
    assert [maps.shape[1] for maps in found.values()] == [channels for _, channels in net.layers]
    with pytest.raises(RuntimeError):
        trunk(torch.empty(1, 3, side - 1, side, device="meta"), layers)
    tiny = torch.zeros(1, 3, side - 1, side)
    with pytest.raises(UsageError, match=f"at least {side} pixels per side"):
        lpips(tiny, tiny, LpipsModel(net, trunk, ()))


def test_pictures_that_do_not_belong_together_are_refused():
    parts = model("alex")
    for one, other in (((1, 3, 40, 40), (1, 3, 40, 41)), ((1, 1, 40, 40), (1, 1, 40, 40)), ((3, 40, 40), (3, 40, 40))):
        with pytest.raises(UsageError, match="of one size"):
            lpips(torch.zeros(one), torch.zeros(other), parts)


def test_an_unknown_net_and_wrong_heads_get_a_sentence(tmp_path):
    with pytest.raises(UsageError, match="expected one of alex, vgg, squeeze, found 'resnet'"):
        find_net("resnet")
    torch.save({"lin0.model.1.weight": torch.zeros(1, 64, 1, 1)}, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match=r"heads of LPIPS \(alex\).*missing.*lin1\.model\.1\.weight"):
        read_heads(tmp_path / "a.pth", find_net("alex"))


def test_offline_the_heads_are_asked_for_by_name(tmp_path, monkeypatch):
    monkeypatch.setenv("TESSERA_MODELS", str(tmp_path))
    monkeypatch.delenv("TESSERA_MIRROR", raising=False)
    with pytest.raises(ModelNotFoundError, match=r"LPIPS_v0\.1_vgg-a78928a0\.pth.*richzhang/PerceptualSimilarity"):
        LpipsModel.load("vgg", offline=True)


@pytest.mark.assets
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name == "vgg" else name for name in NETS]
)
def test_the_official_heads_fit_and_count_nothing_below_zero(name, assets, tmp_path):
    path = assets / "weights" / "lpips_v0.1" / f"{name}.pth"
    net = find_net(name)
    assert path.stat().st_size == net.heads.bytes
    heads = read_heads(path, net)
    assert all(head.min() >= 0 for head in heads)
    parts = model(name)
    torch.save(parts.trunk.state_dict(), tmp_path / "trunk.pth")
    loaded = LpipsModel.load(name, trunk=tmp_path / "trunk.pth", heads=path, offline=True)
    (tmp_path / "trunk.pth").unlink()
    gt = picture(64, 64, seed=7)
    blurred = batch(*(gaussian(gt, sigma, channel_axis=-1) for sigma in (0.5, 1.0, 2.0)))
    scores = lpips(blurred, batch(gt, gt, gt), loaded)
    assert (scores.diff() > 0).all()
    assert float(lpips(batch(gt), batch(gt), loaded)) == 0
    assert torch.equal(scores, lpips(blurred, batch(gt, gt, gt), LpipsModel(net, parts.trunk, heads)))
