"""Starting several processes at little cost: they are forked from one that has imported torch."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from typing import Any

from torch.multiprocessing import start_processes

IMPORTED = [
    "torch._dynamo",
    "torch.distributed",
    "adarts_ext.search.loop",
    "adarts_ext.retrain.loop",
]


def start(function: Callable[..., None], arguments: tuple[Any, ...], count: int, join: bool = True):
    """Call ``function(rank, *arguments)`` in some processes; raise what one of them raises.

    Returns:
        Torch's context of the processes, unless they are joined.
    """
    multiprocessing.set_forkserver_preload(IMPORTED)
    return start_processes(function, arguments, count, join, start_method="forkserver")
