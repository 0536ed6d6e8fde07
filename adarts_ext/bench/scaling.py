"""The part ``scaling``: how time and memory grow with batch, channels, cells and image size.

One of N, C, L (cells) and the images' side is varied at a time around the chosen size. Plain is the
frozen plain step. Time is that of one whole search step; memory is what autograd keeps after a
forward pass in which everything requires its gradient. Plain is left out where a step would take
longer, or keep more, than one would wait for or has; both are judged by the size before and the
growth of the work.
"""

from __future__ import annotations

import functools
import statistics
from collections.abc import Iterator
from dataclasses import replace

from adarts_ext.bench.groups import Group, Measured, Options, Size
from adarts_ext.bench.machine import available_bytes
from adarts_ext.bench.memory import kept_by_network
from adarts_ext.bench.search_step import ARMS, SearchStep
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
MOST_SECONDS = 20.0  # of a plain step
MOST_KEPT = 0.2  # of what is available: a step's peak was seen at four times what it keeps


def work(size: Size) -> int:
    """How the work grows, at the least."""
    return size.batch * size.channels * size.layers * size.image**2


class Sweep:
    """Measures sizes one after another, each once, and remembers how fast plain was."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.done: dict[Size, dict[str, Measured]] = {}
        self.of_plain = {"seconds": 0.0, "kept_bytes": 0.0}  # for one unit of work

    def __call__(self, size: Size) -> dict[str, Measured]:
        """Measure a size."""
        if size not in self.done:
            self.done[size] = self._measure(size)
        return self.done[size]

    def _measure(self, size: Size) -> dict[str, Measured]:
        device = self.options.device
        missing = self._too_much(size)
        names = NAMES[1:] if missing else NAMES
        kept = {name: kept_by_network(ARMS[name], size, device) for name in names}
        steps = {name: SearchStep(ARMS[name], size, device) for name in names}
        for step in steps.values():
            step()
        seconds = take_turns(steps, self.options.rounds, stopwatch(device))
        if not missing:
            measured = statistics.median(seconds[PLAIN]), kept[PLAIN]
            for what, value in zip(self.of_plain, measured, strict=True):
                self.of_plain[what] = value / work(size)
        found = {name: Measured(seconds[name], {"kept_bytes": kept[name]}) for name in names}
        return {name: found.get(name) or Measured([], missing=missing) for name in NAMES}

    def _too_much(self, size: Size) -> str:
        seconds, kept = (value * work(size) for value in self.of_plain.values())
        if seconds > MOST_SECONDS:
            return f"a step would take over {MOST_SECONDS:g} s"
        if kept > MOST_KEPT * available_bytes(self.options.device):
            return f"a step would keep over {MOST_KEPT:.0%} of the memory"
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
