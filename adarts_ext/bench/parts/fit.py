"""The part ``fit``: the largest batch of every memory mode, and what a mode costs in speed.

A batch fits if a whole search step does. Batches are doubled and then bisected, to a multiple of
16. On a GPU every one is tried, until memory runs out. On the CPU, where that would stop the
machine, the peak of two small batches in fresh processes predicts those of others; the answer is
measured, in a fresh process too, and corrected where it takes more than predicted. A process whose
peak is exact is slow there (see :mod:`adarts_ext.bench.parts.memory`): a step of a quarter of the
batch is timed in another.
"""

from __future__ import annotations

import functools
import gc
import sys
from collections.abc import Callable, Iterator
from dataclasses import astuple

import torch

from adarts_ext.bench import fresh
from adarts_ext.bench.arms import SearchStep
from adarts_ext.bench.groups import Group, Measured, Options, Size
from adarts_ext.bench.machine import PART_OF_AVAILABLE, available_bytes
from adarts_ext.bench.parts.memory import COMPARED, ENVIRONMENT, peak_allocated, peak_resident
from adarts_ext.bench.timing import stopwatch

MULTIPLE = 16
MOST = 2**16  # images
SMALL = (32, 64)  # the batches that predict others
TIMED_PART = 4  # on the CPU

Cost = dict[str, float]  # peak_bytes, on a GPU also seconds


def largest_batch(fits: Callable[[int], bool], most: int = MOST) -> int:
    """Find the largest batch that fits, a multiple of 16; 0 where not even 16 does.

    Example:
        >>> largest_batch(lambda batch: batch <= 123)
        112
    """
    low = MULTIPLE
    if not fits(low):
        return 0
    while low < most and fits(2 * low):
        low *= 2
    high = most + MULTIPLE if low >= most else 2 * low
    while high - low > MULTIPLE:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def measure_step(arm: str, size: list[int], device: str, threads: int) -> Cost:
    """Measure the peak of a warm search step, and on a GPU its seconds."""
    torch.set_num_threads(threads)
    step = SearchStep(COMPARED[arm], Size(*size), device, batches=1)
    parts = [part for batch in step.next_batches() for part in batch]
    step.step(*(part[:2] for part in parts))  # loads the code
    if device == "cuda":
        peak = peak_allocated(lambda: step.step(*parts))
        return {"peak_bytes": peak, "seconds": stopwatch(device)(step, 3) / 3}
    return {"peak_bytes": peak_resident(lambda: step.step(*parts))}


def time_step(arm: str, size: list[int], device: str, threads: int) -> float:
    """Measure the seconds of a warm search step."""
    torch.set_num_threads(threads)
    step = SearchStep(COMPARED[arm], Size(*size), device, batches=1)
    step()
    return stopwatch(device)(step, 1)


def search_by_trying(measure: Callable[[int], Cost], limit: float) -> tuple[int, Cost]:
    """Find the largest batch where memory may run out; give it with what its step costs."""
    costs: dict[int, Cost] = {}

    def fits(batch: int) -> bool:
        try:
            costs[batch] = measure(batch)
        except torch.OutOfMemoryError:
            return False
        finally:
            gc.collect()
            torch.cuda.empty_cache()
        return costs[batch]["peak_bytes"] <= limit

    batch = largest_batch(fits)
    return batch, costs.get(batch, {})


def search_by_prediction(measure: Callable[[int], Cost], limit: float) -> tuple[int, Cost]:
    """Find the largest batch where memory must not run out; give it with what its step costs."""
    known = {batch: measure(batch)["peak_bytes"] for batch in SMALL}
    most = MOST
    while True:
        (one, first), (two, second) = sorted(known.items())[-2:]
        slope = max(1.0, (second - first) / (two - one))
        predicted = functools.partial(_line, one, first, slope)
        batch = largest_batch(lambda n, predicted=predicted: predicted(n) <= limit, most)
        if batch == 0:
            return 0, {}
        cost = measure(batch)
        if cost["peak_bytes"] <= limit:
            return batch, cost
        known[batch], most = cost["peak_bytes"], batch - MULTIPLE
        if most < MULTIPLE:
            return 0, {}


def _line(batch: int, value: float, slope: float, at: int) -> float:
    return value + slope * (at - batch)


def measure(arm: str, options: Options) -> dict[str, Measured]:
    """Find the largest batch of a memory mode."""
    device = options.device
    limit = options.memory_limit or PART_OF_AVAILABLE * available_bytes(device)

    def at(batch: int) -> Cost:
        arguments = arm, astuple(options.size(batch)), device
        if device == "cuda":
            return measure_step(*arguments, options.threads)
        return fresh.call(measure_step, *arguments, options.threads, environment=ENVIRONMENT)

    search = search_by_trying if device == "cuda" else search_by_prediction
    batch, cost = search(at, limit)
    if batch == 0:
        return {arm: Measured([], missing=f"not even {MULTIPLE} images fit")}
    if device == "cuda":
        timed, seconds = batch, cost["seconds"]
    else:
        timed = max(1, batch // MULTIPLE // TIMED_PART) * MULTIPLE
        size = astuple(options.size(timed))
        seconds = fresh.call(time_step, arm, size, device, options.threads)
    info = {"batch": batch, "peak_bytes": cost["peak_bytes"], "limit_bytes": int(limit)}
    print(f"  {arm}: {batch} images", file=sys.stderr, flush=True)
    return {arm: Measured([seconds], {**info, "timed_batch": timed})}


def groups(options: Options) -> Iterator[Group]:
    """One group for each mode, since each takes minutes; they are shown in one table."""
    for arm in COMPARED:
        yield Group("fit", "largest batch", (arm,), functools.partial(measure, arm, options))
