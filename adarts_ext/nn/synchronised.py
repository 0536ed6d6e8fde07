"""BatchNorms whose statistics are those of the batches of several processes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from adarts_ext.nn.processes import batch_group, summed_over_processes
from adarts_ext.nn.unchanged import AsBuilt
from adarts_ext.ops.common import accumulate_dtype
from adarts_ext.ops.processes import ALONE, SharedBatch


class SynchronisedBatchNorm2d(nn.BatchNorm2d):
    """BatchNorm over the batch that several processes have a part each of, on any device.

    In training, where :func:`adarts_ext.nn.processes.batch_group` tells of such processes, mean and
    variance are those of all their images, and so are the gradients; else it is nn.BatchNorm2d.
    (Torch's nn.SyncBatchNorm is for GPUs only.)

    Shape:
        (N, C, H, W), N and the size being the same in all processes, to the same shape.

    Example:
        >>> norm = SynchronisedBatchNorm2d(3)
        >>> torch.equal(norm(torch.ones(2, 3, 4, 4)), torch.zeros(2, 3, 4, 4))
        True
    """

    def forward(self, x: Tensor) -> Tensor:
        group = batch_group() if self.training else None
        if group is None:
            return super().forward(x)
        count = x.numel() // x.size(1) * group.size()
        values = x.to(accumulate_dtype(x.dtype))

        def mean_of(values: Tensor) -> Tensor:
            return summed_over_processes(values.sum((0, 2, 3)), group) / count

        mean = mean_of(values)
        around = values - mean[:, None, None]
        variance = mean_of(around.square())
        self._update(mean.detach(), variance.detach() * count / (count - 1))
        y = around * (variance + self.eps).rsqrt()[:, None, None]
        if self.affine:
            y = y * self.weight[:, None, None] + self.bias[:, None, None]
        return y.to(x.dtype)

    def _update(self, mean: Tensor, variance: Tensor) -> None:
        with torch.no_grad():
            self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
            self.running_var.lerp_(variance.to(self.running_var.dtype), self.momentum)
            if self.num_batches_tracked is not None:
                self.num_batches_tracked.add_(1)


def synchronise_batch_norms(network: nn.Module) -> None:
    """Make every BatchNorm of a network of this package a :class:`SynchronisedBatchNorm2d`.

    They stay the same objects, and the fused kernels serve them too.
    """
    modules = list(network.modules())
    for module in modules:
        if type(module) is nn.BatchNorm2d:
            module.__class__ = SynchronisedBatchNorm2d
    for module in modules:
        if isinstance(built := getattr(module, "_built", None), AsBuilt):
            built.take_classes()


def shared_batch(norm: nn.BatchNorm2d) -> SharedBatch:
    """Return what the fused kernels do together with other processes, where BatchNorms are such."""
    group = batch_group()
    if group is None:
        return ALONE
    if isinstance(norm, SynchronisedBatchNorm2d) and norm.training:
        return SharedBatch(group.group_name, group.group_name, group.size())
    return SharedBatch(group.group_name)
