"""Batches of which several processes of torch.distributed have a part each."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, distributed


class SharedBatch(NamedTuple):
    """What the processes that have a part each of a batch do together, all parts as large.

    ``scores`` is the name of their group where they choose channels by the scores of the whole
    batch, ``norms`` where BatchNorms have the statistics of the whole batch; each is empty where a
    process keeps to its own part. ``processes`` is how many share the statistics.
    """

    scores: str = ""
    norms: str = ""
    processes: int = 1


ALONE = SharedBatch()  # this process has the whole batch

# Called by name from the compiled operators, in the middle of a cell. No kernel of ours: it stands
# in a namespace of its own.
_library = torch.library.Library("adarts_processes", "DEF")
_library.define("sum_(Tensor(a!) x, str group) -> ()")


def _sum(x: Tensor, group: str) -> None:
    distributed.all_reduce(x, group=distributed.distributed_c10d._resolve_process_group(group))


_library.impl("sum_", _sum, "CompositeExplicitAutograd")
