"""Calls on a GPU as one CUDA graph: it times kernels, not the host that launches them."""

from __future__ import annotations

from collections.abc import Callable

from adarts_ext import cuda_graph
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
        def warm_up() -> None:
            self.call = make()  # whose arguments must stay where they are
            for _ in range(count):
                self.call()

        cuda_graph.warm_up(warm_up, ())
        self.replay, _ = cuda_graph.capture(lambda: [self.call() for _ in range(count)], ())

    def __call__(self) -> None:
        """Replay the calls."""
        self.replay()
