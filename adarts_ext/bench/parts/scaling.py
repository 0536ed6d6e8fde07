"""The part ``scaling``: how time and memory grow with batch, channels, cells and image size.

One of N, C, L (cells) and the images' side is varied at a time around the chosen size. Plain is the
frozen plain step. Time is that of one whole search step; memory is what autograd keeps after a
forward pass in which everything requires its gradient. Each size has a process of its own, in which
its arms take turns: what a smaller size left behind in the allocator takes no room. Plain is left
out where a step would take longer, or its process more memory, than one would wait for or has; both
are judged by the largest size before and the growth of the work.
"""

from __future__ import annotations

import functools
import resource
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import astuple, replace
from typing import Any

import torch

from adarts_ext.bench import fresh
from adarts_ext.bench.arms import ARMS, SearchStep
from adarts_ext.bench.groups import Group, Measured, Options, Size
from adarts_ext.bench.machine import PART_OF_AVAILABLE, available_bytes
from adarts_ext.bench.parts.memory import kept_by_network
from adarts_ext.bench.timing import stopwatch, take_turns

PLAIN = "frozen"
NAMES = (PLAIN, "ours, store", "ours, recompute")
LABELS = {
    "batch": "batch N",
    "channels": "channels C",
    "layers": "cells L",
    "image": "image side, pixels",
}
VALUES = {
    "batch": (16, 32, 64, 128, 256),
    "channels": (16, 32, 48, 64),
    "layers": (4, 8, 12, 16, 20),
    "image": (16, 32, 48, 64),
}
MOST_SECONDS = 30.0  # of a plain step


def work(size: Size) -> int:
    """How the work grows, at the least."""
    return size.batch * size.channels * size.layers * size.image**2


def peak_of_process(device: str) -> int:
    """Bytes that this process held at the most, on the GPU where that is the device."""
    if device == "cuda":
        return torch.cuda.max_memory_reserved()
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def measure_size(
    names: Sequence[str], size: list[int], device: str, threads: int, rounds: int
) -> dict[str, Any]:
    """Measure arms at one size; called in a process of its own.

    Returns:
        ``seconds`` of each arm in every round, ``kept_bytes`` of each, and ``peak_bytes`` of the
        process.
    """
    torch.set_num_threads(threads)
    torch.backends.cudnn.benchmark = True
    shape = Size(*size)
    kept = {name: kept_by_network(ARMS[name], shape, device) for name in names}
    steps = {name: SearchStep(ARMS[name], shape, device) for name in names}
    for step in steps.values():
        step()
    seconds = take_turns(steps, rounds, stopwatch(device))
    return {"seconds": seconds, "kept_bytes": kept, "peak_bytes": peak_of_process(device)}


class Sweep:
    """Measures sizes one after another, each once, and remembers what plain took at the largest."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.done: dict[Size, dict[str, Measured]] = {}
        self.work, self.seconds, self.peak_bytes = 0, 0.0, 0  # of plain

    def __call__(self, size: Size) -> dict[str, Measured]:
        """Measure a size."""
        if size not in self.done:
            self.done[size] = self._measure(size)
        return self.done[size]

    def _measure(self, size: Size) -> dict[str, Measured]:
        options = self.options
        missing = self._too_much(size)
        names = NAMES[1:] if missing else NAMES
        found = fresh.call(
            measure_size, names, astuple(size), options.device, options.threads, options.rounds
        )
        if not missing and work(size) > self.work:
            self.work = work(size)
            self.seconds = statistics.median(found["seconds"][PLAIN])
            self.peak_bytes = found["peak_bytes"]
        arms = {PLAIN: Measured([], missing=missing)}
        for name in names:
            info = {"kept_bytes": found["kept_bytes"][name]}
            arms[name] = Measured(found["seconds"][name], info)
        return arms

    def _too_much(self, size: Size) -> str:
        growth = work(size) / max(1, self.work)
        if growth * self.seconds > MOST_SECONDS:
            return f"a step would take over {MOST_SECONDS:g} s"
        if growth * self.peak_bytes > PART_OF_AVAILABLE * available_bytes(self.options.device):
            return f"a step would take over {PART_OF_AVAILABLE:.0%} of the memory"
        return ""


def groups(options: Options) -> Iterator[Group]:
    """One group for each size, from small to large."""
    sweep = Sweep(options)
    for varied, values in VALUES.items():
        for value in values:
            size = replace(options.size(options.batches[0]), **{varied: value})
            yield Group(
                "scaling",
                f"scaling, {LABELS[varied]} = {value}",
                NAMES,
                functools.partial(sweep, size),
                {"varied": varied, "value": value},
            )
