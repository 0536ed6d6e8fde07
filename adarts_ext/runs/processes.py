"""The processes of one run, as torchrun starts them: which one this is, and what they agree upon.

Each has a part of every batch. All else is the same in all of them, random numbers included; the
first alone writes and speaks.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn

from adarts_ext import cuda_graph
from adarts_ext.arguments import naming
from adarts_ext.nn.processes import averaged, batch_group, one_batch, whole_batch

Value = TypeVar("Value")


def count() -> int:
    """Return how many processes the run has.

    Example:
        >>> count()
        1
    """
    if _is_initialized():
        return distributed.get_world_size()
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    """Return which of the run's processes this is, counted from 0."""
    if _is_initialized():
        return distributed.get_rank()
    return int(os.environ.get("RANK", "0")) if count() > 1 else 0


def local_rank() -> int:
    """Return which of the run's processes on this machine this is, counted from 0."""
    return int(os.environ.get("LOCAL_RANK", rank())) if count() > 1 else 0


def is_first() -> bool:
    """Return whether this process is the one that writes and speaks."""
    return rank() == 0


def _is_initialized() -> bool:
    return distributed.is_available() and distributed.is_initialized()


@contextmanager
def joined(device: torch.device) -> Iterator[None]:
    """Join the processes of the run, whose batches are then parts of one batch.

    With gloo for what is on the CPU and NCCL for what is on a GPU, by the environment that torchrun
    makes; a group of processes that is there is used as it is. A run of one process does nothing.

    Raises:
        ConnectionError: If another process ends before its time, or cannot be reached.
    """
    if count() == 1:
        yield
        return
    begins = not _is_initialized()
    try:
        if begins:
            if device.type == "cuda":
                torch.cuda.set_device(device)
            # Imported later (torchvision does it), this keeps the group, whose threads then meet
            # the end of Python: now and then a process that was done was aborted there.
            import_module("torch.distributed.nn.functional")
            backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
            distributed.init_process_group(backend)
        with one_batch(distributed.group.WORLD):
            yield
    except RuntimeError as error:
        if not _is_of_connection(error):
            raise
        raise ConnectionError(
            "another process of the run has ended or cannot be reached; the last checkpoint is as "
            f"it was ({str(error).partition(chr(10))[0]})"
        ) from error
    if begins:
        distributed.destroy_process_group()


def _is_of_connection(error: Exception) -> bool:
    words = str(error).lower()
    return isinstance(error, distributed.DistError) or "gloo" in words or "nccl" in words


def check_batch_size(batch_size: int) -> None:
    """Refuse batches that the processes of the run cannot share out evenly.

    Raises:
        ValueError: If ``batch_size`` is no multiple of their number.
    """
    if batch_size % count():
        message = (
            f"batch_size: expected a multiple of the run's {count()} processes, which have a part "
            f"each of every batch, got {batch_size}"
        )
        raise naming(ValueError(message), "batch_size")


def share() -> tuple[int, int]:
    """Return which part of every batch is this process's, and of how many."""
    return rank(), count()


def part(images: int) -> slice:
    """Return this process's part of a batch; all of it where it cannot be shared out evenly.

    Example:
        >>> part(5)
        slice(0, 5, None)
    """
    group = batch_group()
    if group is None or images % group.size():
        return slice(0, images)
    return whole_batch(images // group.size())[1]


def means(*scalars: Tensor | None) -> list[Tensor | None]:
    """Return the means of scalar tensors over the processes, the same in all; None stays None."""
    there = iter(averaged([scalar.detach() for scalar in scalars if scalar is not None]))
    return [None if scalar is None else next(there) for scalar in scalars]


def agree(*numbers: int) -> list[int]:
    """Return the largest of each of the whole numbers that the processes have; all wait here."""
    if count() == 1:
        return list(numbers)
    largest = torch.tensor(numbers)
    distributed.all_reduce(largest, distributed.ReduceOp.MAX)
    return largest.tolist()


def from_first(make: Callable[[], Value]) -> Value:
    """Have the first process make something, and give it to all.

    Raises:
        ValueError, OSError: In all processes, if ``make`` raised it in the first.
    """
    if count() == 1:
        return make()
    made: list[Any] = [None]
    if is_first():
        try:
            made = [(make(), None)]
        except (ValueError, OSError) as error:
            made = [(None, error)]
    distributed.broadcast_object_list(made)
    value, error = made[0]
    if error is not None:
        raise error
    return value


@contextmanager
def first_on_machine_first() -> Iterator[None]:
    """Let the first process of each machine through the block before the others."""
    if local_rank() > 0:
        agree(0)
    yield
    if local_rank() == 0:
        agree(0)


def graphed(function: Callable[..., Any], pool: Any = None) -> Callable[..., Any]:
    """Do what :func:`adarts_ext.graphed` does, unless there are several processes.

    Their sums in a CUDA graph can hang a run: docs/processes.md says how, and what it costs.
    """
    return cuda_graph.graphed(function, pool) if count() == 1 else function


def take_statistics_of_first(network: nn.Module) -> None:
    """Give all processes the buffers of the first one's network, as DistributedDataParallel does.

    BatchNorms that each keep to their own part of a batch have other running statistics in each
    process.
    """
    if count() == 1:
        return
    for buffer in network.buffers():
        distributed.broadcast(buffer, 0)


def check_same(tensors: Sequence[Tensor], what: str) -> None:
    """See that tensors are the same in all processes, bit for bit.

    Raises:
        ValueError: In all processes, if they are not.
    """
    if count() == 1:
        return
    mine = [tensor.detach().cpu() for tensor in tensors]
    first = from_first(lambda: mine)
    same = all(torch.equal(a, b) for a, b in zip(mine, first, strict=True))
    (parted,) = agree(0 if same else rank())
    if parted:
        raise ValueError(
            f"{what} are no longer the same in all processes: process {parted} has others than "
            "process 0; are they of one build, on machines of one kind?"
        )
