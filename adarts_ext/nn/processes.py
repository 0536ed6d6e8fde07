"""What several processes that train one network share, beside its parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel


def averaged_over_processes(tensors: Sequence[Tensor | None]) -> list[Tensor | None]:
    """Have the gradients of tensors averaged over the processes of DistributedDataParallel.

    It averages those of parameters only. Within a forward pass of one, these are averaged as the
    backward pass ends, in one reduction; elsewhere the tensors come back as they are.

    Args:
        tensors: Leaf tensors that are no parameters; None stays None.
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
        flat = torch.cat([grad.reshape(-1) for grad in grads])
        torch.distributed.all_reduce(flat, group=ctx.group)
        flat /= torch.distributed.get_world_size(ctx.group)
        parts = flat.split([grad.numel() for grad in grads])
        return None, *(part.view(grad.shape) for part, grad in zip(parts, grads, strict=True))
