"""Images that are not on the device, nor perhaps in memory: batches of them are read by workers."""

from __future__ import annotations

import os
import signal
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from adarts_ext.arguments import naming

MOST_WORKERS = 8  # that are taken unless more are asked for
CHUNK = 64  # images that are read at a time where no batch says it

_ENDED = ("DataLoader worker", "Pin memory thread")  # how torch's errors begin then

Images = TypeVar("Images", bound="StoredImages")


def processes_here() -> int:
    """Return how many processes torchrun has started on this machine, which share it."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def default_workers() -> int:
    """Return how many processes read images unless it is said: one a processor, eight at most."""
    processors = len(os.sched_getaffinity(0)) // processes_here()
    return max(1, min(MOST_WORKERS, processors))


@dataclass(frozen=True, eq=False)
class StoredImages(ABC):
    """Images that stand for a (N, C, H, W) uint8 tensor, and are read a batch at a time.

    Indexed like the tensor, by a tensor of numbers or a slice, they give those of its images,
    stored as before; only :meth:`read` and :meth:`batches` get at pixels.

    Args:
        index: (N,) int64, which of the images that there are, in which order.
        form: (C, H, W).
        workers: Processes that read batches ahead; 0 for none, batches are then read when asked
            for.
    """

    index: Tensor
    form: tuple[int, int, int]
    workers: int

    dtype = torch.uint8
    ndim = 4

    @abstractmethod
    def read_at(self, index: Tensor) -> Tensor:
        """Return the images of these numbers, of all that there are, as (n, C, H, W) uint8."""

    @property
    def shape(self) -> torch.Size:
        """The shape of the tensor that they stand for."""
        return torch.Size((len(self.index), *self.form))

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self: Images, chosen: Tensor | slice) -> Images:
        return replace(self, index=self.index[chosen])

    def read(self, chosen: Tensor) -> Tensor:
        """Return the images at these places as (n, C, H, W) uint8."""
        return self.read_at(self.index[chosen])

    def batches(self, chosen: Sequence[Tensor], pin_memory: bool = False) -> Iterator[Tensor]:
        """Read batches, ahead of their use, in the order in which they are given.

        The processes end with the last batch, or when the iterator is closed. They leave SIGINT,
        and SIGTERM from elsewhere, to the process that uses the images.

        Args:
            chosen: The places of each batch's images.
            pin_memory: Whether to put the batches into pinned memory, for a copy to a GPU.

        Raises:
            ValueError, OSError: If an image cannot be read, as :meth:`read` raises them.
            ChildProcessError: If a process that reads images has ended.
        """
        loader = DataLoader(
            _Reading(self),
            batch_size=None,
            sampler=chosen,
            num_workers=min(self.workers, len(chosen)),
            pin_memory=pin_memory,
            multiprocessing_context="fork" if self.workers and len(chosen) else None,
            worker_init_fn=_end_with_the_parent,
            generator=torch.Generator(),  # not torch's own, which it would draw from
        )
        with _undisturbed():
            batches = iter(loader)
        images: Tensor | Exception | None = None
        try:
            for images in batches:
                if isinstance(images, Exception):
                    raise images
                yield images
        except (RuntimeError, OSError, EOFError) as error:
            # One that dies while it hands a batch over breaks the connection, in several ways.
            ended = not isinstance(error, RuntimeError) or str(error).startswith(_ENDED)
            if error is images or not ended:
                raise
            message = "a process that reads images has ended, perhaps for lack of memory; fewer of "
            message += f"them take less: workers (there were {loader.num_workers}): {error}"
            raise naming(ChildProcessError(message), "workers") from error
        finally:
            del batches  # ends its processes now, and not when an error's traceback is collected

    def in_chunks(self, what: str) -> Iterator[Tensor]:
        """Read all images, some at a time, with a bar on a terminal that says what for."""
        from tqdm import tqdm

        chunks = torch.arange(len(self)).split(CHUNK)
        reading = replace(self, workers=min(self.workers, len(chunks) // 4))  # none for a few
        with tqdm(desc=what, total=len(self), unit="image", leave=False, disable=None) as bar:
            for images in reading.batches(chunks):
                yield images
                bar.update(len(images))


@dataclass(frozen=True, eq=False)
class ImagesInMemory(StoredImages):
    """Images that lie in the host's memory.

    Args:
        images: All that there are, (M, C, H, W) uint8.

    Example:
        >>> images = torch.arange(12, dtype=torch.uint8).reshape(3, 1, 2, 2)
        >>> stored = ImagesInMemory.of(images, workers=0)[torch.tensor([2, 0])]
        >>> stored.shape, stored.read(torch.tensor([0])).flatten().tolist()
        (torch.Size([2, 1, 2, 2]), [8, 9, 10, 11])
    """

    images: Tensor

    @classmethod
    def of(cls, images: Tensor, workers: int) -> ImagesInMemory:
        """Take all images of a tensor."""
        return cls(torch.arange(len(images)), tuple(images.shape[1:]), workers, images)

    def read_at(self, index: Tensor) -> Tensor:
        """Return the images of these numbers."""
        return self.images[index]


class _Reading(Dataset):
    """Batches of images by the places of their images, for workers."""

    def __init__(self, images: StoredImages) -> None:
        self.images = images

    def __getitem__(self, chosen: Tensor) -> Tensor | Exception:
        try:
            return self.images.read(chosen)
        except Exception as error:  # handed over as it is; raised, it would come with a traceback
            return error


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Start workers in the block: signals that stop the run are blocked in them for good.

    torch's own handler of SIGCHLD would raise wherever the run is when a worker dies. Without it
    the error comes where the next batch is waited for, seconds later at most.
    """
    in_main_thread = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGCHLD)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        if in_main_thread and handler is not None:
            signal.signal(signal.SIGCHLD, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _end_with_the_parent(worker: int) -> None:
    """In a worker: let only the process that it reads for end it by SIGTERM."""
    parent = os.getppid()

    def wait() -> None:
        while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
            pass
        os._exit(0)

    threading.Thread(target=wait, daemon=True).start()
