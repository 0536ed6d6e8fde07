"""The statistics of BatchNorms whose output the kernels compute: in, and out."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from adarts_ext.ops.common import accumulate_dtype

#: BatchNorms and the statistics of the batch they have seen, (norms, 3, C).
Updates = list[tuple[Sequence[nn.BatchNorm2d], Tensor]]


def _buffers(name: str, norms: Sequence[nn.BatchNorm2d]) -> list[Tensor]:
    return [norm._buffers[name] for norm in norms]  # as attributes they take three times as long


def reason_against_norms(norms: Sequence[nn.BatchNorm2d]) -> str | None:
    """Return why the kernels cannot treat BatchNorms alike, or None."""
    if norms[0].momentum is None or any([mean is None for mean in _buffers("running_mean", norms)]):
        return "a BatchNorm keeps other running statistics"
    if len({(norm.eps, norm.momentum, norm.training) for norm in norms}) > 1:
        return "the BatchNorms differ"
    return None


def given_statistics(norms: Sequence[nn.BatchNorm2d]) -> Tensor | None:
    """Return what the kernels take in place of the batch's statistics, (norms, 3, C), if anything.

    That are the running ones in evaluation, and None in training.
    """
    if norms[0].training:
        return None
    mean = torch.stack(_buffers("running_mean", norms))
    variance = torch.stack(_buffers("running_var", norms))
    dtype = accumulate_dtype(mean.dtype)
    mean, variance = mean.to(dtype), variance.to(dtype)
    return torch.stack([mean, (variance + norms[0].eps).rsqrt(), variance], dim=1)


def update_running_statistics(updates: Updates) -> None:
    """Move running statistics towards the batch's as BatchNorm does, all in a few kernels.

    Those of one momentum go together; see :func:`reason_against_norms` for what norms have in
    common. As in BatchNorm, a count of batches may be None: :mod:`adarts_ext.nn.recompute` makes
    use of it.
    """
    with torch.no_grad():
        for momentum in {some[0].momentum for some, _ in updates}:
            norms, running, batch = [], [], []
            for some, statistics in updates:
                if some[0].momentum != momentum:
                    continue
                norms.extend(some)
                mean, _, variance = statistics.to(some[0].running_mean.dtype).unbind(1)
                running += _buffers("running_mean", some)
                batch.extend(mean.unbind())
                running += _buffers("running_var", some)
                batch.extend(variance.unbind())
            torch._foreach_lerp_(running, batch, momentum)
            counts = _buffers("num_batches_tracked", norms)
            counts = [count for count in counts if count is not None]
            if counts:
                torch._foreach_add_(counts, 1)
