import copy
import subprocess
import sys

import pytest
import torch

from stand_ins import loaded, ran
from tessera.engines.engine import import_problem
from tessera.engines.hardware import has_bf16
from tessera.engines.opening import open_engine
from tessera.engines.openvino.engine import OpenVinoEngine
from tessera.engines.pytorch.engine import TorchEngine
from tessera.errors import EngineError, OutOfMemoryError, UsageError
from tessera.generators import RRDBNetConfig, SRVGGNetCompactConfig
from tessera.memory_errors import is_memory_error
from tessera.weights.files import save_weights


@pytest.fixture(scope="module")
def generator():
    config = RRDBNetConfig(blocks=1, features=8, growth=4)
    torch.manual_seed(0)
    return loaded(config.build(), config)


@pytest.fixture(scope="module")
def compact():
    config = SRVGGNetCompactConfig(features=8, convolutions=2)
    torch.manual_seed(0)
    return loaded(config.build(), config)


def noise(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("kind", [TorchEngine, OpenVinoEngine])
@pytest.mark.parametrize("which", ["generator", "compact"])
def test_fp32_engines_give_what_the_network_gives(kind, which, request):
    chosen = request.getfixturevalue(which)
    x = noise(2, 3, 24, 40)
    torch.testing.assert_close(ran(kind(chosen, "fp32"), x), chosen.network(x), atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", [TorchEngine, OpenVinoEngine])
def test_bf16_engines_stay_near_fp32_and_hand_over_to_it(kind, generator):
    x = noise(1, 3, 32, 32)
    engine = kind(generator, "bf16")
    assert engine.exact().precision == "fp32"
    assert engine.exact() is engine.exact()
    torch.testing.assert_close(ran(engine.exact(), x), generator.network(x), atol=2e-5, rtol=1e-4)
    assert (ran(engine, x) - generator.network(x)).abs().max() < 0.02


def test_openvino_serves_any_mix_of_tile_shapes(compact):
    engine = OpenVinoEngine(compact)
    for height, width in ((8, 8), (16, 24), (8, 8), (1, 1), (33, 5), (16, 24)):
        x = noise(1, 3, height, width)
        torch.testing.assert_close(ran(engine, x), compact.network(x), atol=2e-5, rtol=1e-4)


def test_opening_an_engine_leaves_the_loaded_network_as_it_was(generator):
    before = copy.deepcopy(generator.network.state_dict())
    ran(TorchEngine(generator, "bf16"), noise(1, 3, 16, 16))
    for name, tensor in generator.network.state_dict().items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, before[name])


def test_results_belong_to_the_caller_and_are_not_overwritten_by_the_next_run(compact):
    for engine in (TorchEngine(compact), OpenVinoEngine(compact)):
        first = ran(engine, noise(1, 3, 8, 8))
        kept = first.clone()
        ran(engine, noise(1, 3, 8, 8) * 0.5)
        assert torch.equal(first, kept)


def test_exact_is_always_fp32_whatever_the_processor_can_do(generator):
    assert open_engine(generator, "exact").precision == "fp32"
    assert open_engine(generator, "auto").precision == ("bf16" if has_bf16("cpu") else "fp32")


def test_wrong_words_and_missing_devices_get_their_sentence(generator):
    with pytest.raises(UsageError, match="exact, auto or fast"):
        open_engine(generator, "best")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="engine: expected auto, kernels, ncnn, openvino, pytorch or onnxruntime"):
        open_engine(generator, engine="tensorrt")  # type: ignore[arg-type]
    with pytest.raises(EngineError, match="not a device"):
        open_engine(generator, device="gpu-zero", engine="pytorch")
    with pytest.raises(EngineError, match="on the CPU"):
        open_engine(generator, device="cuda", engine="openvino")
    if not torch.cuda.is_available():
        with pytest.raises(EngineError, match="cannot use a CUDA device"):
            open_engine(generator, device="cuda:0")


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes"),
        RuntimeError("Exception from src: std::bad_alloc"),
    ],
)
def test_every_way_of_running_out_of_memory_is_one_error(error, generator, monkeypatch):
    engine = TorchEngine(generator)

    def fail(_):
        raise error

    monkeypatch.setattr(engine, "_network", fail)
    with pytest.raises(OutOfMemoryError):
        ran(engine, noise(1, 3, 8, 8))


def test_other_errors_are_not_taken_for_a_lack_of_memory(generator, monkeypatch):
    engine = TorchEngine(generator)

    def fail(_):
        raise RuntimeError("a bug")

    monkeypatch.setattr(engine, "_network", fail)
    with pytest.raises(RuntimeError, match="a bug"):
        ran(engine, noise(1, 3, 8, 8))
    assert not is_memory_error(ValueError("out of memory"))


def test_a_real_allocation_beyond_all_memory_is_recognized():
    with pytest.raises((RuntimeError, MemoryError)) as caught:
        torch.empty(2**50, dtype=torch.float32)
    assert is_memory_error(caught.value)


_SIGNAL_AFTER_OPENVINO = """
import gc, signal, sys, threading
from pathlib import Path
import torch
from tessera.engines.openvino.engine import OpenVinoEngine
from tessera.weights.files import load_weights

engines = [OpenVinoEngine(load_weights(Path(sys.argv[1])))]
engines[0].run(torch.zeros(1, 3, 16, 16).numpy())
thread = threading.Thread(target=lambda: (engines.clear(), gc.collect()))
thread.start()
thread.join()
heard = []
signal.signal(signal.SIGINT, lambda *_: heard.append("Ctrl-C"))
signal.raise_signal(signal.SIGINT)
print(*heard)
"""


def test_a_signal_is_heard_after_another_thread_dropped_the_openvino_engine(tmp_path):
    config = SRVGGNetCompactConfig(features=4, convolutions=1)
    save_weights(tmp_path / "small.safetensors", config, config.build().state_dict())
    run = subprocess.run(
        [sys.executable, "-c", _SIGNAL_AFTER_OPENVINO, str(tmp_path / "small.safetensors")],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (run.returncode, run.stdout.strip()) == (0, "Ctrl-C"), run.stderr


def test_why_a_package_cannot_be_imported_is_a_sentence():
    def failing(error: Exception):
        def load(_: str) -> None:
            raise error

        return load

    assert import_problem("json") is None
    assert import_problem("no_such_package") == "Not installed."
    missing = ModuleNotFoundError("No module named 'part'", name="part")
    assert import_problem("whole", failing(missing)) == "Installed, but part, which it needs, is missing."
    damaged = OSError("libgomp.so.1: cannot open shared object file\nand much more")
    assert import_problem("whole", failing(damaged)) == (
        "Installed, but the import fails: libgomp.so.1: cannot open shared object file."
    )
    assert "AttributeError." in str(import_problem("whole", failing(AttributeError())))
