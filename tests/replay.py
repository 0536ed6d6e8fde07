"""CUDA graphs played on the CPU: the operators of a call are recorded, and run again as a graph is.

What Python does between the operators is not repeated: a number is the one of the capture, a tensor
the same memory. So a function that a graph would run wrongly runs wrongly here too; one that a
capture would refuse, since it reads a value on the host or draws on the host's generator, is
refused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from adarts_ext import cuda_graph

aten = torch.ops.aten
#: What makes the host wait for the GPU, or copies from memory that the host may change at once.
OF_THE_HOST = {
    aten._local_scalar_dense,
    aten.is_nonzero,
    aten.nonzero,
    aten.masked_select,
    aten.equal,
    aten._unique2,
    aten.lift_fresh,
    aten.randperm,
    aten.repeat_interleave,
}
#: They give memory, whose content is nobody's.
EMPTY = {aten.empty, aten.empty_like, aten.empty_strided, aten.new_empty, aten.new_empty_strided}


class NotCapturableError(RuntimeError):
    """What a CUDA graph cannot hold."""


class OnTheDevice(TorchDispatchMode):
    """Refuses what would wait for a GPU."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        packet, kwargs = func.overloadpacket, kwargs or {}
        indices = args[1] if packet in (aten.index, aten.index_put_, aten.index_put) else ()
        masked = any(index is not None and index.dtype == torch.bool for index in indices)
        if packet in OF_THE_HOST or masked:
            raise NotCapturableError(f"{packet} waits for the GPU")
        return func(*args, **kwargs)


class Recorded(OnTheDevice):
    """The operators of a call; calling it runs them again, on the same memory."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, Any, Any, list[Any]]] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = super().__torch_dispatch__(func, types, args, kwargs)
        if func.overloadpacket not in EMPTY and not is_view(func):
            # The memory, without what autograd knows of it.
            call = tree_map_only(Tensor, torch.detach, (args, kwargs or {}, tree_leaves(made)))
            self.calls.append((func, *call))
        return made

    @torch.no_grad()
    def __call__(self) -> None:
        for func, args, kwargs, results in self.calls:
            found = tree_leaves(func(*args, **kwargs))
            for place, values in zip(results, found, strict=True):
                if isinstance(place, Tensor):
                    place.copy_(values)


def is_view(func) -> bool:
    returns = func._schema.returns
    return any(one.alias_info is not None and not one.alias_info.is_write for one in returns)


@contextmanager
def graphs_on_the_cpu():
    """Have :func:`adarts_ext.graphed` capture and replay on the CPU.

    Unlike a GPU, which captures a call without making it, this makes it: the first replay is that.
    Gives a list that gets the functions that were captured.
    """
    captured: list[Callable[..., Any]] = []

    def capture(
        function, inputs: Sequence[Tensor], pool: Any = None
    ) -> tuple[Callable[[], None], Any]:
        recorded, made = Recorded(), []
        with recorded:
            outputs = function(*inputs)
        captured.append(function)

        def replay() -> None:
            if made:
                recorded()
            made.append(True)

        return replay, outputs

    with (
        patch.object(cuda_graph, "reason_against_device", lambda tensors: None),
        patch.object(cuda_graph, "warm_up", lambda function, tensors: function(*tensors)),
        patch.object(cuda_graph, "capture", capture),
    ):
        yield captured
