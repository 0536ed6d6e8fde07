"""The statistics of BatchNorms whose output the kernels compute: in, and out."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from operator import attrgetter, is_, itemgetter

import torch
from torch import Tensor, nn

from adarts_ext.ops.common import accumulate_dtype

#: BatchNorms and the statistics of the batch they have seen, (norms, 3, C).
Updates = list[tuple[Sequence[nn.BatchNorm2d], Tensor]]

RUNNING = ("running_mean", "running_var")
BUFFERS = (*RUNNING, "num_batches_tracked")
_kept, _each = attrgetter("_buffers"), itemgetter(*BUFFERS)


def _buffers(name: str, norms: Sequence[nn.BatchNorm2d]) -> list[Tensor]:
    return [norm._buffers[name] for norm in norms]  # as attributes they take three times as long


def reason_against_norms(norms: Sequence[nn.BatchNorm2d]) -> str | None:
    """Return why the kernels cannot treat BatchNorms alike, or None."""
    if not norms:
        return None
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


class Norms(list):
    """BatchNorms of as many channels, whose running statistics may lie end to end.

    Example:
        >>> norms = Norms(nn.BatchNorm2d(2, affine=False) for _ in range(3))
        >>> norms.flatten()
        >>> update_running_statistics([(norms, torch.ones(3, 3, 2))])
        >>> norms[1].running_mean, norms[1].num_batches_tracked
        (tensor([0.1000, 0.1000]), tensor(1))
    """

    #: Running statistics and counts of batches, where those of all norms lie so.
    flat: tuple[Tensor, Tensor] | None = None
    _laid: tuple[Tensor, Tensor] | None = None
    _views: list[Tensor]

    def flatten(self) -> None:
        """Lay the running statistics end to end; those of the BatchNorms become views.

        They lie like the statistics of a batch, (norms, 3, C), with a place that nobody reads
        between mean and variance.
        """
        counts = _buffers("num_batches_tracked", self)
        if any([count is None for count in counts]):
            return
        mean, variance = (torch.stack(_buffers(name, self)) for name in RUNNING)
        running, tracked = torch.stack([mean, mean, variance], dim=1), torch.stack(counts)
        self.flat = self._laid = running, tracked
        # As data: autograd keeps those of a layer, and must not take a change of others for theirs.
        parts = zip(running[:, 0], running[:, 2], tracked, strict=True)
        each = [[part.data for part in row] for row in parts]
        for norm, views in zip(self, each, strict=True):
            norm._buffers.update(zip(BUFFERS, views, strict=True))
        self._views = list(chain.from_iterable(each))

    def look(self) -> None:
        """Find out whether the statistics are still those that were laid end to end."""
        if self._laid is not None:
            present = chain.from_iterable(map(_each, map(_kept, self)))
            self.flat = self._laid if all(map(is_, present, self._views)) else None

    def __reduce__(self) -> tuple[type[Norms], tuple[list[nn.BatchNorm2d]]]:
        return Norms, (list(self),)  # copies are without


def update_running_statistics(updates: Updates) -> None:
    """Move running statistics towards the batch's as BatchNorm does, all in a few kernels.

    Those of one momentum go together; see :func:`reason_against_norms` for what norms have in
    common. As in BatchNorm, a count of batches may be None: :mod:`adarts_ext.nn.recompute` makes
    use of it.
    """
    with torch.no_grad():
        for momentum in {some[0].momentum for some, _ in updates}:
            running, batch, counts = [], [], []
            for some, statistics in updates:
                if some[0].momentum != momentum:
                    continue
                statistics = statistics.to(some[0].running_mean.dtype)
                if isinstance(some, Norms) and some.flat is not None:
                    running.append(some.flat[0])
                    batch.append(statistics)
                    counts.append(some.flat[1])
                    continue
                for name, of_batch in zip(RUNNING, statistics.unbind(1)[::2], strict=True):
                    running += _buffers(name, some)
                    batch.extend(of_batch.unbind())
                counts += [one for one in _buffers(BUFFERS[-1], some) if one is not None]
            torch._foreach_lerp_(running, batch, momentum)
            if counts:
                torch._foreach_add_(counts, 1)
