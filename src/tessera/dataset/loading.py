"""Batches of numbered samples, read by worker processes without shared state or random streams.

Shapes: B batch, P and p sides of ground-truth and input crops.
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
from tessera.dataset.processes import get_process_context
from tessera.dataset.samples import Sample
from tessera.dataset.sampling import NumberedBatches
from tessera.errors import PictureError, TrainingError, UsageError

_PREFETCH = 4
_PASSED_ON = {error.__name__: error for error in (PictureError, UsageError)}


class Batch(TypedDict):
    """`gt` (B, 3, P, P) and, for pairs, `lq` (B, 3, p, p): uint8 if all samples are, otherwise float32 in [0, 1].

    `number` and `picture` (B,) int64; `problem` has the distinct messages of its samples.
    """

    gt: Tensor
    lq: NotRequired[Tensor]
    number: Tensor
    picture: Tensor
    problem: list[str]


class SeenMessages:
    """Filters repeated messages, so that each is shown once per run."""

    def __init__(self) -> None:
        self._seen: set[str] = set()

    def filter_new(self, sentences: Sequence[str]) -> list[str]:
        """Return the messages that were not seen before."""
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
    """Load batches of samples, from `first_number`, for process `rank` of `world`; endless unless `batches` is set.

    The batches do not depend on the number of workers. Workers are fresh processes: libvips has threads, and a fork
    copies their locks without the threads that hold them. `pin` is for a CUDA device. The global random state of this
    process does not change.
    """
    if first_number < 0 or batch < 1 or workers < 0 or not 0 <= rank < world:
        raise UsageError(
            f"Batches of {batch} from sample {first_number} with {workers} workers, process {rank} of {world}:"
            " expected a batch of 1 or more, sample and workers of 0 or more, and a rank below the number of processes."
        )
    numbers = NumberedBatches(first_number, batch, rank, world, batches)
    with _suppress_worker_warning():
        return DataLoader(
            cast("Dataset[Batch]", dataset),
            batch_sampler=numbers,
            num_workers=workers,
            collate_fn=cast("Callable[[list[Batch]], Any]", collate),
            pin_memory=pin,
            worker_init_fn=_start_worker,
            persistent_workers=workers > 0,
            prefetch_factor=_PREFETCH if workers else None,
            multiprocessing_context=get_process_context() if workers else None,
            generator=torch.Generator(),  # otherwise the base seed is drawn from the global stream
        )


def iterate_batches(loader: DataLoader[Batch]) -> Iterator[Batch]:
    """Yield the batches of a loader; errors of workers keep their messages.

    Raises PictureError if too many pictures are unreadable, TrainingError if a worker was killed.
    """
    try:
        with _suppress_worker_warning():
            iterator = iter(loader)
        yield from iterator
    except (PictureError, UsageError) as error:
        raise _PASSED_ON[type(error).__name__](_extract_message(str(error), type(error).__name__)) from None
    except (RuntimeError, ConnectionError, EOFError, FileNotFoundError) as error:
        if not loader.num_workers or not _is_killed_worker(error):
            raise
        raise TrainingError(
            "A reading process was killed, most often because memory ran out: use fewer workers, a smaller memory"
            " cache or a smaller batch, and resume."
        ) from None


def collate(samples: Sequence[Sample]) -> Batch:
    """Stack samples to a batch: (3, P, P) each -> (B, 3, P, P)."""
    problems = (line for sample in samples for line in sample["problem"].split("\n") if line)
    batch = Batch(
        gt=_stack([sample["gt"] for sample in samples]),
        number=torch.tensor([sample["number"] for sample in samples]),
        picture=torch.tensor([sample["picture"] for sample in samples]),
        problem=list(dict.fromkeys(problems)),
    )
    inputs = [sample["lq"] for sample in samples if "lq" in sample]
    if inputs:
        batch["lq"] = _stack(inputs)
    return batch


def to_unit(pixels: Tensor) -> Tensor:
    """Convert uint8, or float32 in [0, 1], to float32 in [0, 1]; shape and device stay."""
    return pixels if pixels.dtype == torch.float32 else pixels.float() / 255


def _stack(parts: list[Tensor]) -> Tensor:
    return torch.stack(parts if all(part.dtype == torch.uint8 for part in parts) else [to_unit(part) for part in parts])


def _is_killed_worker(error: Exception) -> bool:
    """Whether a worker died, as reported by PyTorch or by the tensor it was transferring.

    An error that the worker itself raised contains the word "Caught".
    """
    if isinstance(error, RuntimeError):
        return "DataLoader worker" in str(error) and "Caught" not in str(error)
    return "Caught" not in str(error)


@contextlib.contextmanager
def _suppress_worker_warning() -> Generator[None]:
    """Suppress PyTorch's warning about more workers than cores; the throughput meter reports whether they help."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="This DataLoader will create")
        yield


def _start_worker(_: int) -> None:
    torch.set_num_threads(1)
    read_in_one_thread()


def _extract_message(text: str, name: str) -> str:
    """Extract the worker's message from the traceback in which PyTorch wraps it."""
    return text.rsplit(f"{name}: ", 1)[-1].strip()
