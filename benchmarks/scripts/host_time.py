"""The host's time in our search step: the step with the kernels of the cells taken out.

    python benchmarks/scripts/host_time.py [--out FILE.md] [--rounds 9] [--profile]

The operators of the fused cell give memory of the right shapes and compute nothing, on few small
images, so that what is left is Python, autograd, allocation and torch's own operators: what a GPU
would wait for. Prints milliseconds of the thread's CPU time for the alphas' and for the weights'
half (medians over rounds, minimum to maximum) and how many operators torch dispatches in each.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import torch
from size_options import add_size_options
from torch.utils._python_dispatch import TorchDispatchMode

from adarts_ext.bench import machine
from adarts_ext.bench.arms import ARMS, SearchStep
from adarts_ext.bench.groups import Size
from adarts_ext.bench.report.markdown import spread, table, write
from adarts_ext.search.step import architecture_step, first_order_gradient, weight_step

CELL = (
    "search_cell",
    "search_cell_backward",
    "preprocess_cell",
    "preprocess_cell_backward",
)
MODULES = ("common", "search_cell", "preprocess_cell")  # of adarts_ext.ops


class WithoutWork:
    """The compiled operators, but those of the cell give memory and compute nothing.

    While they are ``learning`` they run, so as to know the shapes of their results. A half of a
    step makes the same calls in the same order every time: it is known by its results.
    """

    def __init__(self) -> None:
        self.real = torch.ops.adarts_ext
        self.results: dict[str, list[Any]] = {}
        self.present: list[Any] = []  # of the half that is called
        self.coming: Iterator[Any] = iter(())
        self.learning = True

    def half(self, name: str, function: Callable[[], None]) -> Callable[[], None]:
        """Return a half of a step, to be called again and again."""
        self.results[name] = []

        def call() -> None:
            self.present = self.results[name]
            self.coming = iter(self.present)
            function()

        return call

    def __getattr__(self, name: str) -> Callable[..., Any]:
        real = getattr(self.real, name)
        if name not in CELL:
            return real

        def empty(*arguments: Any) -> Any:
            if self.learning:
                self.present.append(real(*arguments))
                return self.present[-1]
            return _like(next(self.coming))

        return empty


def _like(result: Any) -> Any:
    if isinstance(result, torch.Tensor):
        return torch.empty_like(result)
    return type(result)(map(_like, result))


@contextmanager
def without_work() -> Iterator[WithoutWork]:
    """Take the work out of the cells' operators for a while."""
    modules = [sys.modules[f"adarts_ext.ops.{name}"] for name in MODULES]
    kernels = [module.kernels for module in modules]
    stub = WithoutWork()
    for module in modules:
        module.kernels = stub
    try:
        yield stub
    finally:
        for module, real in zip(modules, kernels, strict=True):
            module.kernels = real


class Dispatched(TorchDispatchMode):
    """Counts the operators that torch dispatches, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.counts[str(function)] += 1
        return function(*args, **(kwargs or {}))


def halves(step: SearchStep) -> dict[str, Callable[[], None]]:
    """Return the two halves of a search step."""
    train, validation = step.next_batches()
    network = step.network

    def architecture() -> None:
        _, gradient = first_order_gradient(network, step.weight_optimizer, validation)
        architecture_step(step.arch_optimizer, network.arch_parameters(), gradient)

    def weights() -> None:
        weight_step(network, step.weight_optimizer, train, step.grad_clip)

    return {"alphas and betas": architecture, "weights": weights}


def milliseconds(function: Callable[[], None], calls: int = 5) -> float:
    """Return what a call takes of this thread's time, the mean of some."""
    start = time.thread_time()
    for _ in range(calls):
        function()
    return 1e3 * (time.thread_time() - start) / calls


def main(arguments: list[str] | None = None) -> None:
    """Measure, print, and write the table where asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, help="write the table here, and rows beside it")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--profile", action="store_true", help="show where Python spends it")
    add_size_options(parser)
    parser.set_defaults(size=16)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    size = Size(16, options.init_channels, options.layers, options.size)
    with without_work() as stub, ExitStack() as stack:
        step = SearchStep(ARMS["ours, store"], size)
        stack.enter_context(step.network.unchanging())  # as the search does
        parts = {name: stub.half(name, part) for name, part in halves(step).items()}
        for part in parts.values():
            part()
        stub.learning = False
        taken = {name: [] for name in parts}
        for _ in range(options.rounds + 1):
            for name, part in parts.items():
                taken[name].append(milliseconds(part))
        counts = {}
        for name, part in parts.items():
            with Dispatched() as dispatched:
                part()
            counts[name] = dispatched.counts
        if options.profile:
            for part in parts.values():
                profiler = cProfile.Profile()
                profiler.runcall(lambda part=part: [part() for _ in range(10)])
                pstats.Stats(profiler).sort_stats("tottime").print_stats(25)
    rows = [
        [name, spread(taken[name][1:], 1), str(counts[name].total()), _most(counts[name])]
        for name in parts
    ]
    data = [
        {"half": name, "milliseconds": taken[name][1:], "dispatched": dict(counts[name])}
        for name in parts
    ]
    network = f"C={options.init_channels}, {options.layers} cells, K=4, attention"
    whole = sum(statistics.median(some[1:]) for some in taken.values())
    lines = [
        f"{machine.line(1)}, {date.today()}",
        "",
        f"The host's time in a search step ({network}), its cells' operators without their work, "
        f"16 images of {options.size}x{options.size}: {whole:.1f} ms in all.",
        "",
        *table(["half", "ms", "operators dispatched", "most of them"], rows),
    ]
    write(options.out, lines, data)


def _most(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.most_common(6))


if __name__ == "__main__":
    main()
