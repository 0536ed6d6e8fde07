"""What several processes that train one network do together, beside averaging gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, distributed
from torch.nn.parallel import DistributedDataParallel

if TYPE_CHECKING:  # not every build of torch has it
    from torch.distributed import ProcessGroup

_group: ProcessGroup | None = None  # not a context variable: CUDA's backward has its own threads


def batch_group() -> ProcessGroup | None:
    """Return the processes that have a part each of the batch of this pass; None for one process.

    Those are the processes of DistributedDataParallel within its forward pass, and else those of
    :func:`one_batch`. The parts must be of the same size.

    Example:
        >>> batch_group()
    """
    parallel = DistributedDataParallel._get_active_ddp_module()
    group = _group if parallel is None else parallel.process_group
    return None if group is None or group.size() == 1 else group


@contextmanager
def one_batch(group: ProcessGroup | None) -> Iterator[None]:
    """Take the batches that the processes of a group have at a time for parts of one batch.

    Channels are then chosen by the attention's scores of all images, and synchronised BatchNorms
    have the statistics of all. Every process must make the same passes in the same order.
    """
    global _group
    before, _group = _group, group
    try:
        yield
    finally:
        _group = before


def in_group(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Have a function that is called again in the backward pass find the batch's processes then."""
    group = batch_group()

    def call(*inputs: Tensor | None) -> Tensor:
        with one_batch(group):
            return function(*inputs)

    return function if group is None else call


def total_scores(scores: Tensor) -> Tensor:
    """Return scores to choose channels by: as they are, or (1, C), summed over several processes.

    Args:
        scores: (N, C), of this process's part of the batch.
    """
    group = batch_group()
    if group is None:
        return scores
    total = scores.detach().sum(0, keepdim=True, dtype=torch.float64)
    distributed.all_reduce(total, group=group)
    return total


def summed_over_processes(tensor: Tensor, group: ProcessGroup) -> Tensor:
    """Return the sum of what the processes of a group have, through which gradients go.

    The gradient is that of the sum of all the processes' losses.
    """
    return _Summed.apply(group, tensor)


class _Summed(torch.autograd.Function):
    """A sum over processes, whose gradients are summed likewise."""

    @staticmethod
    def forward(ctx: Any, group: ProcessGroup, tensor: Tensor) -> Tensor:
        ctx.group = group
        total = tensor.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(total, group=group)
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor]:
        return None, _Summed.apply(ctx.group, grad)


def averaged(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Return the means of tensors over the processes that share a batch, by one reduction.

    Args:
        tensors: Of one dtype and device, without gradients; they come back as they are where a
            process has the whole batch.
    """
    group = batch_group()
    return list(tensors) if group is None else _averaged(group, tensors)


def _averaged(group: ProcessGroup, tensors: Sequence[Tensor]) -> list[Tensor]:
    flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
    distributed.all_reduce(flat, group=group)
    flat /= group.size()
    parts = flat.split([tensor.numel() for tensor in tensors])
    return [part.view(tensor.shape) for part, tensor in zip(parts, tensors, strict=True)]


def average_gradients(parameters: Iterable[Tensor]) -> None:
    """Average the gradients of parameters over the processes that share a batch, in place."""
    if batch_group() is not None:
        grads = [parameter.grad for parameter in parameters if parameter.grad is not None]
        torch._foreach_copy_(grads, averaged(grads))


def whole_batch(images: int) -> tuple[int, slice]:
    """Return how many images the batch has of which this process has some, and which are its own.

    Example:
        >>> whole_batch(8)
        (8, slice(0, 8, None))
    """
    group = batch_group()
    size, rank = (1, 0) if group is None else (group.size(), group.rank())
    return size * images, slice(rank * images, (rank + 1) * images)


def averaged_over_processes(tensors: Sequence[Tensor | None]) -> list[Tensor | None]:
    """Have the gradients of tensors averaged over the processes of DistributedDataParallel.

    It averages those of parameters only. Within a forward pass of one, these are averaged as the
    backward pass ends, in one reduction; elsewhere the tensors come back as they are.

    Args:
        tensors: Leaf tensors that are no parameters, or made of such; None stays None.
    """
    trained = [tensor for tensor in tensors if tensor is not None and tensor.requires_grad]
    # Torch sets it for as long as the forward pass of the module inside lasts.
    parallel = DistributedDataParallel._get_active_ddp_module()
    if parallel is None or not trained or not torch.is_grad_enabled():
        return list(tensors)
    outputs = iter(_Averaged.apply(parallel.process_group, *trained))
    return [
        next(outputs) if tensor is not None and tensor.requires_grad else tensor
        for tensor in tensors
    ]


class _Averaged(torch.autograd.Function):
    """Tensors as they are, their gradients averaged over a group of processes."""

    @staticmethod
    def forward(ctx: Any, group: Any, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.group = group
        return tuple(tensor.view_as(tensor) for tensor in tensors)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return None, *_averaged(ctx.group, grads)
