"""Adding a generator takes its own folder and one line in the list. A toy goes through everything else."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import tessera

DECLARATION = '''
"""A toy: three convolutions, a concatenation and a pixel shuffle."""

import re
from typing import ClassVar, Literal

from tessera.generators.config import Features, GeneratorConfig
from tessera.generators.dialect import Dialect, convolution_shape
from tessera.generators.drawing import Map, Pen
from tessera.generators.generator import Generator, own_names


class ToyConfig(GeneratorConfig, frozen=True, extra="forbid"):
    """Which toy."""

    network_class: ClassVar[str] = "tessera.generators.toy.network:Toy"

    network: Literal["toy"] = "toy"
    features: Features = 4

    def draw(self, pen: Pen[Map], picture: Map) -> Map:
        first = pen.conv("toy_in", picture, self.features, kernel=5, slope=0.1)
        second = pen.prelu("slopes", pen.conv("toy_middle", first, self.features))
        x = pen.conv("toy_out", pen.concat([first, second]), self.out_channels * self.scale**2)
        return pen.add(pen.shuffle(x, self.scale), pen.nearest(picture, self.scale), 0.5)


def _infer_from_names(shapes, hint):
    features, inputs, _ = convolution_shape(shapes, "toy_in.weight")
    outputs, _, _ = convolution_shape(shapes, "toy_out.weight")
    return ToyConfig(in_channels=inputs, out_channels=inputs, features=features, scale=int((outputs // inputs) ** 0.5))


def _infer_from_layers(layers):
    (inputs, features, _), *_ = layers.convolutions
    scale = layers.shuffles[0] if layers.shuffles else 1
    return ToyConfig(in_channels=inputs, out_channels=inputs, features=features, scale=scale)


TOY = Generator(
    name="toy",
    summary="a toy",
    config=ToyConfig,
    dialects=(
        Dialect(
            name="toy-program",
            description="a toy with the names of its program",
            marks=("toy_in.weight",),
            pattern=re.compile(r"toy_|slopes"),
            infer=_infer_from_names,
            names=own_names(ToyConfig),
        ),
    ),
    from_layers=_infer_from_layers,
)
'''

NETWORK = '''
"""The network of the toy."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tessera.generators.toy.declaration import ToyConfig


class Toy(nn.Module):
    def __init__(self, config: ToyConfig) -> None:
        super().__init__()
        features = config.features
        self.config = config
        self.toy_in = nn.Conv2d(config.in_channels, features, 5, padding=2)
        self.toy_middle = nn.Conv2d(features, features, 3, padding=1)
        self.slopes = nn.PReLU(features)
        self.toy_out = nn.Conv2d(2 * features, config.out_channels * config.scale**2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        first = F.leaky_relu(self.toy_in(x), 0.1)
        second = self.slopes(self.toy_middle(first))
        out = F.pixel_shuffle(self.toy_out(torch.cat((first, second), 1)), self.config.scale)
        return 0.5 * out + F.interpolate(x, scale_factor=self.config.scale, mode="nearest")
'''

PREPARE = """
from pathlib import Path

import numpy as np
import torch

from tessera.generators.toy.declaration import ToyConfig
from tessera.weights.files import load_weights, save_weights

config = ToyConfig(features=4, scale=2)
torch.manual_seed(0)
network = config.build().eval()
with torch.no_grad():
    for value in network.parameters():
        if value.ndim == 1:
            value.uniform_(-0.3, 0.3)
path = Path("toy.safetensors")
save_weights(path, config, network.state_dict())
pixels = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)
"""

USES = {
    "files": """
from tessera.generators import config_from_json
from tessera.weights.dialects import to_dialect
from tessera.weights.files import inspect_weights
from tessera.zoo.known_files import open_weights

assert config_from_json(config.model_dump_json()) == config
loaded = load_weights(path)
assert (loaded.config, loaded.dialect) == (config, "tessera")
assert all(torch.equal(loaded.state[name], value) for name, value in network.state_dict().items())
assert inspect_weights(path).network == "toy"
torch.save(to_dialect(config, network.state_dict(), "toy-program"), "toy.pth")
recognized = load_weights(Path("toy.pth"))
assert (recognized.config, recognized.dialect) == (config, "toy-program")
open_weights(path)
assert not open_weights(path).is_read, "the second time the file is known"
""",
    "drawing": """
from tessera.deploy.profile import profile_network

assert config.receptive_radius == 2 + 1 + 1
assert config.multiply_adds(6, 5) == 30 * (3 * 4 * 25 + 4 * 4 * 9 + 8 * 12 * 9)
cost = profile_network(config, 6, 5)
assert cost.multiply_adds == config.multiply_adds(6, 5)
assert cost.parameters == sum(value.numel() for value in network.parameters())
x = torch.zeros(1, 3, 15, 15, requires_grad=True)
network(x)[..., 14:16, 14:16].sum().backward()
rows = x.grad.abs().sum((0, 1, 3)).nonzero().flatten().tolist()
assert (min(rows), max(rows)) == (7 - 4, 7 + 4)
""",
    "upscaling": """
import tessera
from tessera.engines.opening import open_engine
from tessera.errors import EngineError

loaded = load_weights(path)
x = torch.rand(1, 3, 24, 32)
with torch.no_grad():
    expected = network(x).numpy()
whole = (expected.clip(0, 1) * 255).round()
for name in ("pytorch", "openvino", "ncnn"):
    engine = open_engine(loaded, "exact", engine=name)
    assert np.abs(engine.run(x.numpy()) - expected).max() < 1e-5, name
    assert engine.bytes_per_pixel > 0
    assert tessera.upscale(pixels, loaded, engine=engine).shape == (48, 64, 3)
try:
    open_engine(loaded, "exact", engine="kernels")
    raise SystemExit("the kernels have no such network")
except EngineError as error:
    assert "toy is toy" in str(error) or "not built" in str(error), error
""",
    "exports": """
from tessera.deploy.exporting import export
from tessera.deploy.settings import ExportSettings

loaded = load_weights(path)
endings = {"onnx": ".onnx", "openvino": ".xml", "torchscript": ".pt", "ncnn": ".param", "safetensors": ".safetensors"}
for name, ending in endings.items():
    output = Path(f"exported_{name}{ending}")
    done = export(loaded, output, ExportSettings(format=name))
    assert min(each.psnr_db for each in done.differences) > 100, name
    assert load_weights(output).config == config, name
""",
    "bench": """
from tessera import write_picture
from tessera.bench import peaks, turns
from tessera.cli import main

turns.REST_SECONDS, peaks._SIDE = 0.0, 64
write_picture(pixels, Path("photo.png"))
engines = ("--engine", "pytorch", "--engine", "ncnn", "--rounds", "1", "--json", "bench.json")
assert main(["bench", str(path), "photo.png", "--size", "16x16", *engines]) == 0
assert "ncnn fp32" in Path("bench.json").read_text()
""",
    "training": """
from tessera.train.loop import train
from tessera.train.recipe import load_recipe
from train.runs import SMALL, RecordingDisplay, make_pictures

make_pictures(Path("photos"))
changes = [*SMALL, "name=toy", "steps=2", "generator={network = 'toy', features = 4, scale = 2}"]
recipe = load_recipe("rrdb-psnr", [*changes, "start.generator=toy.safetensors"])
assert recipe.generator == config
train(recipe, resume=False, display=RecordingDisplay())
(last,) = Path("runs/toy/checkpoints").glob("*2/generator.safetensors")
trained = load_weights(last)
assert trained.config == config
assert not torch.equal(trained.state["toy_in.weight"], network.state_dict()["toy_in.weight"])
""",
}


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package with a folder for the toy and a changed list, everything else as it is."""
    source = Path(tessera.__file__).parent
    package = tmp_path_factory.mktemp("toy") / "tessera"
    (package / "generators" / "toy").mkdir(parents=True)
    for entry in source.iterdir():
        if entry.name not in ("generators", "__pycache__"):
            (package / entry.name).symlink_to(entry)
    for entry in (source / "generators").iterdir():
        if entry.name not in ("kinds.py", "__pycache__"):
            (package / "generators" / entry.name).symlink_to(entry)
    kinds = (source / "generators" / "kinds.py").read_text(encoding="utf-8")
    assert kinds.count("= (RRDBNET,") == 1
    line = "from tessera.generators.toy.declaration import TOY\n\nCONFIG_KEY ="
    changed = kinds.replace("\nCONFIG_KEY =", line).replace("= (RRDBNET,", "= (TOY, RRDBNET,")
    (package / "generators" / "kinds.py").write_text(changed, encoding="utf-8")
    for name, text in (("__init__", '"""A toy."""\n'), ("declaration", DECLARATION), ("network", NETWORK)):
        (package / "generators" / "toy" / f"{name}.py").write_text(text.lstrip(), encoding="utf-8")
    return package


def test_a_new_generator_takes_its_folder_and_a_line_in_the_list(package: Path) -> None:
    own = [path for path in package.rglob("*.py") if not any(part.is_symlink() for part in (path, *path.parents))]
    folders = {path.relative_to(package).as_posix() for path in own}
    assert {name for name in folders if not name.startswith("generators/toy/")} == {"generators/kinds.py"}


@pytest.mark.parametrize("use", USES)
def test_a_new_generator_goes_through(use: str, package: Path, tmp_path: Path) -> None:
    if use in ("upscaling", "exports", "bench"):
        for library in ("openvino", "onnxruntime", "onnx", "ncnn"):
            pytest.importorskip(library)
    paths = (package.parent, Path(__file__).parent.parent)
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, paths)),
        "TESSERA_CACHE": str(tmp_path / "cache"),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    script = tmp_path / "use.py"
    script.write_text(PREPARE + USES[use] + "\nprint('done')\n", encoding="utf-8")
    ran = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines()[-1] == "done"
