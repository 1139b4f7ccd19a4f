"""Adding a discriminator takes two files: its own, and one line in the list. A toy goes through everything else."""

import os
import subprocess
import sys
from pathlib import Path

import tessera

TOY = '''
"""A toy: one convolution per pixel."""

from typing import Literal

from torch import Tensor, nn

from tessera.discriminators.config import DiscriminatorConfig
from tessera.discriminators.declaration import Discriminator, own_names
from tessera.discriminators.inputs import check_batch
from tessera.generators.dialect import Dialect, convolution_shape


class ToyConfig(DiscriminatorConfig, frozen=True, extra="forbid"):
    """Which toy."""

    network: Literal["toy"] = "toy"

    def build(self):
        return Toy(self)


class Toy(nn.Module):
    def __init__(self, config: ToyConfig) -> None:
        super().__init__()
        self.config = config
        self.toy_in = nn.Conv2d(config.in_channels, config.features, 3, padding=1)
        self.toy_out = nn.Conv2d(config.features, 1, 3, padding=1)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        check_batch(x, self.config)
        return (self.toy_out(self.toy_in(x).relu()),)


def _infer(shapes, hint):
    features, inputs, _ = convolution_shape(shapes, "toy_in.weight")
    return ToyConfig(in_channels=inputs, features=features)


TOY = Discriminator(
    name="toy",
    config=ToyConfig,
    dialects=(
        Dialect(name="toy", description="a toy", marks=("toy_in.weight",), infer=_infer, names=own_names),
    ),
    summary="a toy",
)
'''

USE = """
import torch
from pathlib import Path

from tessera.discriminators.toy import ToyConfig
from tessera.errors import UnknownNetworkError, UsageError
from tessera.explain.maps import list_gates
from tessera.train.loop import train
from tessera.train.recipe import load_recipe
from tessera.train.schema import format_schema
from tessera.weights.discriminator_file import load_discriminator, save_discriminator
from tessera.weights.files import load_weights
from train.runs import SMALL, SMALL_RRDB, RecordingDisplay, make_pictures

config = ToyConfig(features=2)
network = config.build()
save_discriminator(Path("toy.safetensors"), config, network.state_dict())
loaded = load_discriminator(Path("toy.safetensors"))
assert (loaded.config, loaded.dialect) == (config, "tessera")
torch.save(network.state_dict(), "toy.pth")
recognized = load_discriminator(Path("toy.pth"))
assert (recognized.config, recognized.dialect) == (config, "toy")
x = torch.rand(1, 3, 16, 16)
with torch.no_grad():
    assert torch.equal(recognized.network(x)[0], network(x)[0])
try:
    load_weights(Path("toy.pth"))
    raise SystemExit("the toy was read as a generator")
except UnknownNetworkError as error:
    assert "a discriminator (a toy)" in str(error), error
try:
    list_gates(config)
    raise SystemExit("the toy has gates")
except UsageError as error:
    assert "attention-unet, multi-scale" in str(error), error
assert '"toy"' in format_schema()

make_pictures(Path("photos"))
changes = [*SMALL, *SMALL_RRDB, "name=toy", "steps=2", "discriminator={network = 'toy', features = 2}"]
recipe = load_recipe("esrgan", [*changes, "start.discriminator=toy.pth"])
assert recipe.discriminator == config
train(recipe, resume=False, display=RecordingDisplay())
(last,) = Path("runs/toy/checkpoints").glob("*2/discriminator.safetensors")
trained = load_discriminator(last)
assert trained.config == config
assert not torch.equal(trained.network.state_dict()["toy_in.weight"], network.state_dict()["toy_in.weight"])
print("done")
"""


def copy_with_toy(folder: Path) -> Path:
    """The package with a file for the toy and a changed list, everything else as it is; returns the changed files."""
    source = Path(tessera.__file__).parent
    package = folder / "tessera"
    package.mkdir()
    for entry in source.iterdir():
        if entry.name not in ("discriminators", "__pycache__"):
            (package / entry.name).symlink_to(entry)
    (package / "discriminators").mkdir()
    for entry in (source / "discriminators").glob("*.py"):
        if entry.name != "catalog.py":
            (package / "discriminators" / entry.name).symlink_to(entry)
    catalog = (source / "discriminators" / "catalog.py").read_text(encoding="utf-8")
    assert catalog.count("(PATCH,") == 1
    line = "from tessera.discriminators.toy import TOY\n"
    changed = catalog.replace("from tessera.discriminators.unet", f"{line}from tessera.discriminators.unet")
    changed = changed.replace("(PATCH,", "(TOY, PATCH,")
    (package / "discriminators" / "catalog.py").write_text(changed, encoding="utf-8")
    (package / "discriminators" / "toy.py").write_text(TOY.lstrip(), encoding="utf-8")
    return package


def test_a_new_discriminator_takes_its_file_and_a_line_in_the_list(tmp_path: Path) -> None:
    package = copy_with_toy(tmp_path)
    own = [path for path in package.rglob("*.py") if not any(part.is_symlink() for part in (path, *path.parents))]
    assert sorted(path.relative_to(package).as_posix() for path in own) == [
        "discriminators/catalog.py",
        "discriminators/toy.py",
    ]
    paths = (tmp_path, Path(__file__).parent.parent)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))}
    script = tmp_path / "use.py"
    script.write_text(USE, encoding="utf-8")
    ran = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines()[-1] == "done"
