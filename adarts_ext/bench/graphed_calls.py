"""Calls on a GPU as one CUDA graph: it times kernels, not the host that launches them."""

from __future__ import annotations

from collections.abc import Callable

import torch

from adarts_ext.bench.timing import Call


class GraphedCalls:
    """Calls captured one after another; calling this replays all of them.

    Each call's results have memory of their own: where the next took its place, its writes would
    stay in the cache.

    Args:
        make: Makes what is called. What it computes already runs where the capture will, since a
            backward pass runs in its forward pass's stream.
        count: How many calls are captured.
    """

    def __init__(self, make: Callable[[], Call], count: int) -> None:
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            self.call = make()  # whose arguments must stay where they are
            for _ in range(count):
                self.call()
        torch.cuda.current_stream().wait_stream(stream)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph, stream=stream):
            results = [self.call() for _ in range(count)]
        del results

    def __call__(self) -> None:
        """Replay the calls."""
        self.graph.replay()
