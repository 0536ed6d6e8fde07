"""The part ``step``: one whole search step, in every way it can be run.

All arms begin with the same weights and see the same batches. They run in one process, in turn; on
a GPU ours also as one CUDA graph. torch.compile may not finish in any time one would wait, so it
runs in a process of its own, after the others, and is stopped at a limit.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import astuple

import torch

from adarts_ext.bench import fresh
from adarts_ext.bench.graph import WARM_UP, GraphedStep
from adarts_ext.bench.groups import BASELINE, Group, Measured, Options, Size
from adarts_ext.bench.memory import peak_allocated
from adarts_ext.bench.search_step import ARMS, SearchStep
from adarts_ext.bench.timing import stopwatch, take_turns

GRAPH = "ours, CUDA graph"
COMPILED = "torch.compile, frozen"
LOW_PRECISION = (BASELINE, "frozen", "drop-in", "ours, store", "ours, recompute")


def measure_in_turn(
    names: tuple[str, ...], size: Size, bfloat16: bool, options: Options
) -> dict[str, Measured]:
    """Measure the arms that run in this process."""
    device = options.device
    torch.backends.cudnn.benchmark = True
    steps, info = {}, {}
    for name in names:
        if name == GRAPH:
            step = GraphedStep(SearchStep(ARMS["ours, store"], size, device, bfloat16))
            last_warm_up = step.capture
        else:
            step = last_warm_up = SearchStep(ARMS[name], size, device, bfloat16)
            for _ in range(WARM_UP - 1 if device == "cuda" else 0):
                step()
        steps[name], info[name] = step, {}
        if device == "cuda":
            info[name]["peak_bytes"] = peak_allocated(last_warm_up)
        else:
            last_warm_up()
    seconds = take_turns(steps, options.rounds, stopwatch(device))
    return {
        name: Measured(seconds[name], {**info[name], "loss": step.loss.item()})
        for name, step in steps.items()
    }


def measure_compiled(
    size: list[int], device: str, threads: int, rounds: int
) -> tuple[list[float], dict[str, float]]:
    """Compile the plain network, and measure its frozen step alone."""
    torch.set_num_threads(threads)
    torch.backends.cudnn.benchmark = True
    step = SearchStep(ARMS["frozen"], Size(*size), device)
    step.network.compile(dynamic=False)
    for _ in range(WARM_UP):
        step()
    info = {"peak_bytes": peak_allocated(step)} if device == "cuda" else {}
    seconds = take_turns({COMPILED: step}, rounds, stopwatch(device))[COMPILED]
    return seconds, {**info, "loss": step.loss.item()}


class CompiledArm:
    """The arm of torch.compile; once it has not managed one batch it is not tried on another."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.missing = ""

    def __call__(self, size: Size) -> Measured:
        """Measure it in a process of its own, or say why that did not work."""
        options, limit = self.options, self.options.compile_seconds
        arguments = astuple(size), options.device, options.threads, options.rounds
        if not self.missing:
            try:
                seconds, info = fresh.call(measure_compiled, *arguments, limit=limit)
                return Measured(seconds, {**info, "alone": True})
            except (TimeoutError, ChildProcessError) as error:
                self.missing = f"N={size.batch}: {error}"
        return Measured([], missing=self.missing)


def measure(
    names: tuple[str, ...], size: Size, bfloat16: bool, options: Options, compiled: CompiledArm
) -> dict[str, Measured]:
    """Measure all arms of a group."""
    here = tuple(name for name in names if name != COMPILED)
    found = measure_in_turn(here, size, bfloat16, options)
    return {name: found[name] if name in found else compiled(size) for name in names}


def groups(options: Options) -> Iterator[Group]:
    """One group for each batch size and precision."""
    compiled = CompiledArm(options)
    graph = (GRAPH,) if options.device == "cuda" else ()
    for batch in options.batches:
        size = options.size(batch)
        for precision, arms in (("float32", tuple(ARMS)), ("bfloat16", LOW_PRECISION)):
            low = precision == "bfloat16"
            names = (*arms, *graph) if low else (*arms, *graph, COMPILED)
            yield Group(
                "step",
                f"search step, N={batch}, {precision}",
                names,
                functools.partial(measure, names, size, low, options, compiled),
            )
