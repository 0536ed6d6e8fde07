"""What the device can do at the most: a copy's bandwidth and a matrix product's arithmetic."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import torch

from adarts_ext.bench.groups import Group, Measured, Options
from adarts_ext.bench.timing import interleave, stopwatch

COPY, PRODUCT = "copy", "matrix product"
NUMBERS = {"cpu": 2**26, "cuda": 2**28}  # of the copy
SIDE = {"cpu": 1024, "cuda": 8192}  # of the matrices


def measure(options: Options) -> dict[str, Measured]:
    """Measure both roofs, in float32."""
    device = options.device
    source = torch.ones(NUMBERS[device], device=device)
    target = torch.zeros_like(source)
    side = SIDE[device]
    left, right = (torch.randn(side, side, device=device) for _ in range(2))
    out = torch.empty_like(left)
    calls = {
        COPY: lambda: target.copy_(source),
        PRODUCT: lambda: torch.mm(left, right, out=out),
    }
    seconds = interleave(calls, options.rounds, stopwatch(device))
    return {
        COPY: Measured(seconds[COPY], {"bytes": 2 * source.nbytes}),
        PRODUCT: Measured(seconds[PRODUCT], {"flops": 2 * side**3}),
    }


def groups(options: Options) -> Iterator[Group]:
    """One group for both."""
    yield Group("roofs", "roofs", (COPY, PRODUCT), functools.partial(measure, options))
