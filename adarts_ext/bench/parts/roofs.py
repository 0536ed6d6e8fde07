"""What the device can do at the most: the bandwidth of copies and a matrix product's arithmetic.

On the CPU the operators' tensors fit in the caches, and stay there from call to call, so a copy in
the cache is measured beside one in memory. On a GPU they take turns over more than the cache holds.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

import torch

from adarts_ext.bench.groups import Group, Measured, Options
from adarts_ext.bench.timing import interleave, stopwatch

COPY, CACHED_COPY, PRODUCT = "copy in memory", "copy in the cache", "matrix product"
NUMBERS = {"cpu": {COPY: 2**26, CACHED_COPY: 2**17}, "cuda": {COPY: 2**28}}
SIDE = {"cpu": 1024, "cuda": 8192}  # of the matrices


def measure(options: Options) -> dict[str, Measured]:
    """Measure all roofs, in float32."""
    device, side = options.device, SIDE[options.device]
    calls, work = {}, {}
    for name, numbers in NUMBERS[device].items():
        source = torch.ones(numbers, device=device)
        calls[name] = functools.partial(torch.zeros_like(source).copy_, source)
        work[name] = {"bytes": 2 * source.nbytes}
    left, right = (torch.randn(side, side, device=device) for _ in range(2))
    calls[PRODUCT] = functools.partial(torch.mm, left, right, out=torch.empty_like(left))
    work[PRODUCT] = {"flops": 2 * side**3}
    seconds = interleave(calls, options.rounds, stopwatch(device))
    return {name: Measured(seconds[name], work[name]) for name in calls}


def groups(options: Options) -> Iterator[Group]:
    """One group for all of them."""
    arms = (*NUMBERS[options.device], PRODUCT)
    yield Group("roofs", "roofs", arms, functools.partial(measure, options))
