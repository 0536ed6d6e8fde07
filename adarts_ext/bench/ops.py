"""The part ``ops``: every operator, forward and backward, against what it replaces.

On a GPU the buffers take turns over more memory than the L2 cache holds. torch.compile gets each
shape for itself; when its time is used up it is left out of what follows.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator
from types import ModuleType

import torch
from torch import Tensor

from adarts_ext.bench.groups import BASELINE, Group, Measured, Options
from adarts_ext.bench.operators import OPERATORS, PROPORTION, STAGES
from adarts_ext.bench.passes import Passes, count_flops
from adarts_ext.bench.timing import interleave, stopwatch

OURS, COMPILED = "ours", "torch.compile"
ARMS = (BASELINE, COMPILED, OURS)
PASSES = ("forward", "backward")
NO_GRADIENT = ("select_channels",)
BATCH = 64
LARGE = (64, 64, 128)  # batch, channels, side: far beyond a GPU's L2 cache
MOST_SETS = 64  # of arguments

Shape = tuple[int, int, int, int]  # batch, channels, side, proportion


class Compiler:
    """torch.compile, as long as its time lasts."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.left = seconds
        self.missing = ""

    def passes(self, function, arguments) -> Passes | None:
        """Compile both passes of a function; None where time is used up or it failed."""
        if self.left <= 0:
            self.missing = f"the {self.seconds:g} s for torch.compile are used up"
            return None
        started = time.perf_counter()
        torch.compiler.reset()  # each shape gets code of its own, as fast as it can be
        try:
            # A buffer that is given away could not be used by another backward pass.
            with torch._functorch.config.patch(donated_buffer=False):
                passes = Passes(torch.compile(function, dynamic=False), arguments)
                if passes.differentiable:
                    passes.backward()
        except Exception as error:  # whatever the compiler and what it starts may raise
            self.missing = f"torch.compile failed: {type(error).__name__}"
            return None
        finally:
            self.left -= time.perf_counter() - started
        return passes


def draw_arguments(module: ModuleType, shape: Shape, device: str) -> list[list[object]]:
    """Draw arguments, on a GPU more than its cache holds."""
    count = 1
    if device == "cuda":
        l2 = torch.cuda.get_device_properties(0).L2_cache_size
        count = min(MOST_SETS, max(2, -(-2 * l2 // module.bytes_moved(*shape)[0])))
    torch.manual_seed(0)
    sets = []
    for _ in range(count):
        some = [a.to(device) if isinstance(a, Tensor) else a for a in module.arguments(*shape)]
        for a in some:
            if isinstance(a, Tensor) and a.is_floating_point():
                a.requires_grad_()
        sets.append(some)
    return sets


def measure(
    module: ModuleType, shape: Shape, which: str, options: Options, compiler: Compiler
) -> dict[str, Measured]:
    """Measure one pass of an operator."""
    arguments = draw_arguments(module, shape, options.device)
    ours = Passes(module.fused, arguments)
    passes = {BASELINE: Passes(module.plain, arguments), OURS: ours}
    compiled = compiler.passes(module.plain, arguments)
    if compiled is not None:
        passes[COMPILED] = compiled
    calls = {name: getattr(passes[name], which) for name in ARMS if name in passes}
    seconds = interleave(calls, options.rounds, stopwatch(options.device))
    info = {
        "bytes": module.bytes_moved(*shape)[PASSES.index(which)],
        "flops": count_flops(calls[OURS]),
    }
    found = {name: Measured(seconds[name], info) for name in calls}
    return {name: found.get(name) or Measured([], missing=compiler.missing) for name in ARMS}


def groups(options: Options) -> Iterator[Group]:
    """One group for each operator, stage of the supernet and pass."""
    compiler = Compiler(options.compile_seconds)
    shapes = [(BATCH, *stage) for stage in STAGES]
    if options.device == "cuda":
        shapes = [(batch, *stage) for batch in options.batches for stage in STAGES] + [LARGE]
    for name, module in OPERATORS.items():
        for n, c, side in shapes:
            for which in PASSES[: 1 if name in NO_GRADIENT else 2]:
                shape = (n, c, side, PROPORTION)
                yield Group(
                    "ops",
                    f"{name}, {n}x{c}x{side}x{side}, {which}",
                    ARMS,
                    functools.partial(measure, module, shape, which, options, compiler),
                    {"operator": name, "shape": f"{n}x{c}x{side}x{side}", "pass": which},
                )
