"""A search step on a GPU as one CUDA graph: one launch for all kernels of both halves."""

from __future__ import annotations

import torch

from adarts_ext.bench.arms import SearchStep

WARM_UP = 3  # steps


class GraphedStep:
    """A search step captured once and replayed: one launch for all its kernels.

    The graph reads its batches from, and writes its gradients and statistics to, memory that stays
    where it is. So the batches are copied to one place; the optimisers have their state before the
    capture, and no gradients, which then come from the graph's own memory and are made anew by
    every replay. BatchNorm's running statistics are updated in place.
    """

    def __init__(self, step: SearchStep) -> None:
        self.step = step
        self.batches = [tuple(part.clone() for part in batch) for batch in step.next_batches()]
        step.steps = 0
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP):
                self._load()
                step.step(*self.batches)
        torch.cuda.current_stream().wait_stream(stream)

    def capture(self) -> None:
        """Record a step, without making it."""
        step = self.step
        step.weight_optimizer.zero_grad()
        step.arch_optimizer.zero_grad()
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            step.step(*self.batches)

    @property
    def loss(self) -> torch.Tensor:
        """Loss of the last replay."""
        return self.step.loss

    def __call__(self) -> None:
        """Replay the step."""
        self._load()
        self.graph.replay()

    def _load(self) -> None:
        for place, batch in zip(self.batches, self.step.next_batches(), strict=True):
            for to, values in zip(place, batch, strict=True):
                to.copy_(values)
