"""Numbered samples -> batches, read by worker processes that share no state and no stream of chance.

Shapes: B batch, P and p sides of crops of truth and input.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, NotRequired, TypedDict, cast

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from tessera.dataset.decoding import read_in_one_thread
from tessera.dataset.processes import fresh_processes
from tessera.dataset.samples import Sample
from tessera.dataset.sampling import NumberedBatches
from tessera.errors import PictureError, TrainingError, UsageError

_PREFETCH = 4
_PASSED_ON = {error.__name__: error for error in (PictureError, UsageError)}


class Batch(TypedDict):
    """`gt` (B, 3, P, P) and, for pairs, `lq` (B, 3, p, p): uint8 if all were, else float32 in [0, 1].

    `number` and `picture` (B,) int64; `problem` has the sentences of its samples, each once.
    """

    gt: Tensor
    lq: NotRequired[Tensor]
    number: Tensor
    picture: Tensor
    problem: list[str]


class SeenMessages:
    """Tells which sentences are new, so that each is said once in a run."""

    def __init__(self) -> None:
        self._seen: set[str] = set()

    def new(self, sentences: Sequence[str]) -> list[str]:
        """Those that were not asked about before."""
        fresh = [sentence for sentence in dict.fromkeys(sentences) if sentence not in self._seen]
        self._seen.update(fresh)
        return fresh


def make_loader(
    dataset: Dataset[Sample],
    *,
    first_number: int,
    batch: int,
    workers: int,
    rank: int = 0,
    world: int = 1,
    batches: int | None = None,
    pin: bool = False,
) -> DataLoader[Batch]:
    """Batches of the samples from `first_number` on, those of process `rank` among `world`, for ever or so many.

    Any number of workers gives the same batches. Workers begin as fresh processes: libvips has threads of its own, and
    a fork would take its locks along without the threads that hold them. `pin` is for a CUDA device. The global random
    state of this process is not touched.
    """
    if first_number < 0 or batch < 1 or workers < 0 or not 0 <= rank < world:
        raise UsageError(
            f"Batches of {batch} from sample {first_number} with {workers} workers, process {rank} of {world}:"
            " expected a batch of 1 or more, a sample and workers of 0 or more, a process below their number."
        )
    numbers = NumberedBatches(first_number, batch, rank, world, batches)
    with _any_number_of_workers():
        return DataLoader(
            cast("Dataset[Batch]", dataset),
            batch_sampler=numbers,
            num_workers=workers,
            collate_fn=cast("Callable[[list[Batch]], Any]", collate),
            pin_memory=pin,
            worker_init_fn=_begin_worker,
            persistent_workers=workers > 0,
            prefetch_factor=_PREFETCH if workers else None,
            multiprocessing_context=fresh_processes() if workers else None,
            generator=torch.Generator(),  # its base seed would otherwise be drawn from the global stream
        )


def batches_of(loader: DataLoader[Batch]) -> Iterator[Batch]:
    """The batches of a loader; what stops a worker arrives as its sentence.

    Raises PictureError when pictures cannot be read any more, TrainingError when a worker was killed.
    """
    try:
        with _any_number_of_workers():
            iterator = iter(loader)
        yield from iterator
    except (PictureError, UsageError) as error:
        raise _PASSED_ON[type(error).__name__](_last_sentence(str(error), type(error).__name__)) from None
    except (RuntimeError, ConnectionError, EOFError, FileNotFoundError) as error:
        if not loader.num_workers or not _tells_of_a_killed_worker(error):
            raise
        raise TrainingError(
            "A process that reads pictures was ended from outside, most often because memory ran out: take fewer"
            " workers, a smaller cache in memory or a smaller batch, and resume."
        ) from None


def collate(samples: Sequence[Sample]) -> Batch:
    """Samples -> a batch, (3, P, P) each -> (B, 3, P, P)."""
    problems = (line for sample in samples for line in sample["problem"].split("\n") if line)
    batch = Batch(
        gt=_stacked([sample["gt"] for sample in samples]),
        number=torch.tensor([sample["number"] for sample in samples]),
        picture=torch.tensor([sample["picture"] for sample in samples]),
        problem=list(dict.fromkeys(problems)),
    )
    inputs = [sample["lq"] for sample in samples if "lq" in sample]
    if inputs:
        batch["lq"] = _stacked(inputs)
    return batch


def to_unit(pixels: Tensor) -> Tensor:
    """uint8, or float32 in [0, 1] already -> float32 in [0, 1], on the same device, the same shape."""
    return pixels if pixels.dtype == torch.float32 else pixels.float() / 255


def _stacked(parts: list[Tensor]) -> Tensor:
    return torch.stack(parts if all(part.dtype == torch.uint8 for part in parts) else [to_unit(part) for part in parts])


def _tells_of_a_killed_worker(error: Exception) -> bool:
    """Whether a worker is gone, as PyTorch finds it or as the tensor shows that it was just handing over.

    What a worker raised itself says that it was caught there.
    """
    if isinstance(error, RuntimeError):
        return "DataLoader worker" in str(error) and "Caught" not in str(error)
    return "Caught" not in str(error)


@contextlib.contextmanager
def _any_number_of_workers() -> Generator[None]:
    """Without PyTorch's warning about more workers than cores: the throughput meter says whether they help."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="This DataLoader will create")
        yield


def _begin_worker(_: int) -> None:
    torch.set_num_threads(1)
    read_in_one_thread()


def _last_sentence(text: str, name: str) -> str:
    """What the worker raised, out of the traceback that PyTorch wraps it in."""
    return text.rsplit(f"{name}: ", 1)[-1].strip()
