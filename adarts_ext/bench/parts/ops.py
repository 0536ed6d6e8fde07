"""The part ``ops``: every operator, forward and backward, against what it replaces.

On a GPU the buffers take turns over more memory than the L2 cache holds, and there are arms of
calls in one CUDA graph: where kernels take microseconds, single calls time the host. torch.compile
gets each shape for itself; when its time is used up it is left out of what follows.
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Iterator
from types import ModuleType

import torch
from torch import Tensor

from adarts_ext.bench.graphed_calls import GraphedCalls
from adarts_ext.bench.groups import (
    BASELINE,
    Group,
    Measured,
    NotMeasuredError,
    Options,
    not_measured,
)
from adarts_ext.bench.operators import OPERATORS, PROPORTION, STAGES
from adarts_ext.bench.passes import Passes, count_flops
from adarts_ext.bench.timing import Call, interleave, stopwatch

OURS, COMPILED = "ours", "torch.compile"
ARMS = (BASELINE, COMPILED, OURS)
PLAIN_GRAPH, OUR_GRAPH = "plain, CUDA graph", "ours, CUDA graph"
#: On a GPU, by the arm whose calls they capture.
GRAPHED = {PLAIN_GRAPH: BASELINE, OUR_GRAPH: OURS}
CALLS = 20  # of a graph, at the least
PASSES = ("forward", "backward")
NO_GRADIENT = ("select_channels",)
BATCH = 64
LARGE = (64, 64, 128)  # batch, channels, side: far beyond a GPU's L2 cache
MOST_SETS = 64  # of arguments

Shape = tuple[int, int, int, int]  # batch, channels, side, proportion


class Compiler:
    """torch.compile, as long as its time lasts."""

    def __init__(self, seconds: float = math.inf) -> None:
        self.seconds = seconds
        self.left = seconds
        self.made: dict[object, Passes] = {}  # the last

    def passes(self, function, shape: Shape, arguments) -> Passes:
        """Compile both passes of a function, once for all groups of a shape that follow.

        Raises:
            NotMeasuredError: The time is used up, or it failed.
        """
        if (function, shape) in self.made:
            return self.made[function, shape]
        self.made.clear()
        if self.left <= 0:
            raise NotMeasuredError(f"the {self.seconds:g} s for torch.compile are used up")
        started = time.perf_counter()
        torch.compiler.reset()  # each shape gets code of its own, as fast as it can be
        try:
            # A buffer that is given away could not be used by another backward pass.
            with torch._functorch.config.patch(donated_buffer=False):
                passes = Passes(torch.compile(function, dynamic=False), arguments)
                if passes.differentiable:
                    passes.backward()
        except Exception as error:  # whatever the compiler and what it starts may raise
            raise NotMeasuredError(f"torch.compile failed: {type(error).__name__}") from error
        finally:
            self.left -= time.perf_counter() - started
        self.made[function, shape] = passes
        return passes


def group_name(operator: str, shape: Shape, which: str) -> str:
    """Return the name of a pass of an operator at a shape.

    Example:
        >>> group_name("mixed_sum", (64, 16, 32, 4), "forward")
        'mixed_sum, 64x16x32x32, forward'
    """
    return f"{operator}, {shape_name(shape)}, {which}"


def shape_name(shape: Shape) -> str:
    """Return the name of a shape, without the proportion."""
    n, c, side, _ = shape
    return f"{n}x{c}x{side}x{side}"


def argument_sets(moved: int, device: str) -> int:
    """How many sets of arguments take turns: on a GPU more than its cache holds.

    Args:
        moved: Bytes that a pass moves.
        device: ``"cpu"`` or ``"cuda"``.
    """
    if device == "cpu":
        return 1
    l2 = torch.cuda.get_device_properties(0).L2_cache_size
    return min(MOST_SETS, max(2, -(-2 * l2 // moved)))


def draw_arguments(module: ModuleType, shape: Shape, device: str) -> list[list[object]]:
    """Draw the sets of arguments of an operator."""
    torch.manual_seed(0)
    sets = []
    for _ in range(argument_sets(module.bytes_moved(*shape)[0], device)):
        some = [a.to(device) if isinstance(a, Tensor) else a for a in module.arguments(*shape)]
        for a in some:
            if isinstance(a, Tensor) and a.is_floating_point():
                a.requires_grad_()
        sets.append(some)
    return sets


def arms(device: str) -> tuple[str, ...]:
    """Return the names of the arms on a device."""
    return (*ARMS, *GRAPHED) if device == "cuda" else ARMS


def make_passes(
    arm: str, module: ModuleType, shape: Shape, arguments: list[list[object]], compiler: Compiler
) -> Passes:
    """Make the passes of an arm.

    Raises:
        NotMeasuredError: torch.compile does not do it.
    """
    if arm == COMPILED:
        return compiler.passes(module.plain, shape, arguments)
    return Passes(module.fused if arm == OURS else module.plain, arguments)


def measure(
    module: ModuleType, shape: Shape, which: str, options: Options, compiler: Compiler
) -> dict[str, Measured]:
    """Measure one pass of an operator."""
    arguments = draw_arguments(module, shape, options.device)
    count = max(CALLS, len(arguments))
    calls, found = {}, {}

    def make(arm: str) -> Call:
        return getattr(make_passes(arm, module, shape, arguments, compiler), which)

    for arm in arms(options.device):
        try:
            if arm in GRAPHED:
                calls[arm] = GraphedCalls(functools.partial(make, GRAPHED[arm]), count)
            else:
                calls[arm] = make(arm)
        except Exception as error:
            found[arm] = not_measured(error)
    info = {
        "bytes": module.bytes_moved(*shape)[PASSES.index(which)],
        "flops": count_flops(calls[OURS]) if OURS in calls else 0,
    }
    for arm, taken in interleave(calls, options.rounds, stopwatch(options.device)).items():
        of_one = [seconds / count for seconds in taken] if arm in GRAPHED else taken
        found[arm] = Measured(of_one, info)
    return found


def groups(options: Options) -> Iterator[Group]:
    """One group for each operator, stage of the supernet and pass."""
    compiler = Compiler(options.compile_seconds)
    stages = [(BATCH, *stage) for stage in STAGES]
    if options.device == "cuda":
        stages = [(batch, *stage) for batch in options.batches for stage in STAGES] + [LARGE]
    for name, module in OPERATORS.items():
        for shape in [(*stage, PROPORTION) for stage in stages]:
            for which in PASSES[: 1 if name in NO_GRADIENT else 2]:
                yield Group(
                    "ops",
                    group_name(name, shape, which),
                    arms(options.device),
                    functools.partial(measure, module, shape, which, options, compiler),
                    {"operator": name, "shape": shape_name(shape), "pass": which},
                )
