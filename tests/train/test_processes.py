"""Two processes on one machine do what one process with the joined batch does."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tessera.errors import UsageError
from tessera.train.processes import Processes
from train.runs import SMALL, SMALL_RRDB, make_pictures, trained_lines

pytestmark = pytest.mark.skipif(not torch.distributed.is_available(), reason="this PyTorch has no processes")


def changes(name: str, batch: int, *more: str) -> list[str]:
    small = [
        *(change for change in SMALL if change != "device=cpu"),
        *SMALL_RRDB,
        f"name={name}",
        f"data.batch={batch}",
        "pool=0",
        "checkpoint.every=1",
        *more,
    ]
    # relativism makes every loss depend on the means over all pictures, also those of the other process
    judge = ["discriminator.network=unet", "discriminator.features=4", "adversarial.relativism=average"]
    return [*small, *judge, "step.channels_last=false"]


def alone(folder: Path, *words: str) -> str:
    return ended([sys.executable, "-m", "tessera", "train", "esrgan", *words], folder)


def together(folder: Path, processes: int, *words: str) -> str:
    return launched(folder, processes, "-m", "tessera", "train", "esrgan", *words)


def launched(folder: Path, processes: int, *words: str) -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(processes)]
    master = ["--master-addr", "127.0.0.1", "--master-port", str(port)]
    return ended([*launcher, *master, *words], folder)


def ended(words: list[str], folder: Path) -> str:
    # no GPU, and device=auto: the launcher's line as the documentation has it
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr
    return done.stderr


@pytest.fixture(scope="module")
def desk(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("processes")
    make_pictures(folder / "photos", count=6)
    alone(folder, *changes("one", 4, "steps=2"))
    together(folder, 2, *changes("two", 2, "steps=2"))
    return folder


def checkpoint(desk: Path, name: str, step: int) -> Path:
    return desk / "runs" / name / "checkpoints" / f"{step:09d}"


def test_gradients_equal_those_of_one_process_with_the_joined_batch(desk):
    """Adam's first info after one step is a tenth of the gradient."""
    one, two = (load_file(checkpoint(desk, name, 1) / "optimizers.safetensors") for name in ("one", "two"))
    moments = [name for name in one if name.endswith(".exp_avg")]
    assert any(name.startswith("discriminator") for name in moments)
    for network in ("generator", "discriminator"):
        own = [name for name in moments if name.startswith(network)]
        largest = max(float(one[name].abs().max()) for name in own)
        for name in own:
            torch.testing.assert_close(two[name], one[name], rtol=1e-3, atol=3e-4 * largest)


def test_only_one_process_writes(desk):
    lines = [line for line in trained_lines(desk / "runs" / "two") if line["kind"] == "train"]
    assert [line["step"] for line in lines] == [1, 2]
    assert (desk / "runs" / "two" / "log.txt").read_text().count("Starting at step 0") == 1
    assert "2 x cpu" in (desk / "runs" / "two" / "log.txt").read_text()


def test_a_run_goes_on_with_another_number_of_processes_and_says_that_it_is_not_to_the_bit(desk):
    said = together(desk, 2, *changes("one", 4, "steps=3"), "--resume")
    assert "This run had 1 processes and now has 2" in said
    said = alone(desk, *changes("two", 2, "steps=3"), "--resume")
    assert "This run had 2 processes and now has 1" in said
    for name in ("one", "two"):
        assert checkpoint(desk, name, 3).is_dir()


@pytest.mark.slow
def test_a_run_of_two_processes_goes_on_to_the_bit_pools_and_all(tmp_path):
    make_pictures(tmp_path / "photos", count=6)
    changes = [*SMALL, *SMALL_RRDB, "pool=4", "checkpoint.every=2", "data.batch=2", "start.generator="]

    def pair(name: str, steps: int, *more: str) -> None:
        words = ("-m", "tessera", "train", "realesrnet", *changes, f"name={name}", f"steps={steps}", *more)
        launched(tmp_path, 2, *words)

    pair("whole", 4)
    pair("parted", 2)
    pair("parted", 4, "--resume")
    one, other = (load_file(checkpoint(tmp_path, name, 4) / "generator.safetensors") for name in ("whole", "parted"))
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("stated", ["two", "0", "-1", ""])
def test_a_number_of_processes_that_is_none_is_a_sentence(stated, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", stated)
    with pytest.raises(UsageError, match=r"WORLD_SIZE: expected the number of processes"):
        Processes("cpu")


@pytest.mark.parametrize("device", ["auto", "cpu"])
def test_a_stated_number_without_a_launcher_is_an_error_and_no_run_alone(device, monkeypatch):
    for name in ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match=r"2 processes are stated, but RANK, LOCAL_RANK, MASTER_ADDR, MASTER_PORT not"):
        Processes(device)


def test_a_gpu_that_is_unavailable_is_an_error_in_every_process(monkeypatch):
    for name, value in (("RANK", "0"), ("LOCAL_RANK", "0"), ("MASTER_ADDR", "127.0.0.1"), ("MASTER_PORT", "1")):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match=r"device: expected auto, .* 'cuda:99' is unavailable here"):
        Processes("cuda:99")


MEANS = """
import sys, torch
from pathlib import Path
from tessera.train.processes import Processes

processes = Processes("cpu")
rank = processes.rank
x = torch.nn.Parameter(torch.tensor([1.0, 3.0]) if rank == 0 else torch.tensor([5.0, 7.0]))
weight = torch.nn.Parameter(torch.tensor(2.0))
loss = (weight * processes.mean((weight * x).mean()) ** 2) * (rank + 1)
loss.backward()
processes.average_gradients([weight])
flags = processes.any(rank == 1, False)
Path(sys.argv[1], f"{rank}.txt").write_text(f"{float(loss)} {float(weight.grad)} {flags}")
processes.finish()
"""


def test_gradients_flow_through_a_mean_over_processes(tmp_path):
    """The numbers' mean is 4; the losses are r w (4 w)^2 for r = 1, 2; their mean is 24 w^3, whose slope is 72 w^2."""
    script = tmp_path / "means.py"
    script.write_text(MEANS)
    launched(tmp_path, 2, str(script), str(tmp_path))
    for rank in (0, 1):
        loss, gradient, flags = (tmp_path / f"{rank}.txt").read_text().split(" ", 2)
        assert float(loss) == (rank + 1) * 2 * 64
        assert float(gradient) == 72 * 4
        assert flags == "(True, False)"


_THREADS_AFTER_LEAVING = """
import os
from pathlib import Path
import torch
from tessera.train.processes import Processes

processes = Processes("cpu")
parameter = torch.nn.Parameter(torch.ones(3))
parameter.grad = torch.ones(3)
processes.average_gradients([parameter])
torch.optim.Adam([parameter]).step()
processes.finish()
names = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
Path(f"threads-{os.environ['RANK']}").write_text("\\n".join(names))
"""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="threads are listed by Linux only")
def test_no_thread_of_the_connection_outlives_the_run(tmp_path):
    (tmp_path / "leave.py").write_text(_THREADS_AFTER_LEAVING)
    launched(tmp_path, 2, "leave.py")
    names = [(tmp_path / f"threads-{rank}").read_text().splitlines() for rank in (0, 1)]
    assert all(each for each in names)
    assert not [name for each in names for name in each if "gloo" in name]
