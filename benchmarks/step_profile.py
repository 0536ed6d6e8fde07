"""Where the time of our search step goes, by torch's profiler."""

from __future__ import annotations

import time
from collections import Counter

from report import table
from search_step import ARMS, SearchStep, Size
from torch.profiler import ProfilerActivity, profile

OURS = "adarts_ext::"
PYTHON = "Python, and what the profiler adds"
OTHER = "other torch operators"
WHOLE = "whole step"
UNPROFILED = "whole step, without the profiler"
#: The part of the step that an operator belongs to, by what its name, or that of the nearest
#: operator around it, contains.
PARTS = {
    "Optimizer.": "optimisers",
    "_foreach_norm": "clipping",
    "linalg_vector_norm": "clipping",
    "_foreach_mul_": "clipping",
    "convolution": "stem",
    "conv2d": "stem",
    "Convolution": "stem",
    "batch_norm": "stem",
    "BatchNorm": "stem",
    "_foreach_lerp_": "running statistics",
    "_foreach_add_": "running statistics",
    "aten::cat": "weights laid end to end",
    "aten::contiguous": "image blocks laid out",
    "aten::clone": "image blocks laid out",
    "_SearchCell": PYTHON,
    "_PreprocessCell": PYTHON,
}


def part_of(event) -> str:
    """Say to which part of the step an event of the profiler belongs."""
    while event is not None:
        if event.name.startswith(OURS):
            return event.name.removeprefix(OURS)
        for text, part in PARTS.items():
            if text in event.name:
                return part
        event = event.cpu_parent
    return OTHER


def timed(step: SearchStep, steps: int) -> float:
    """Seconds of one step, the mean of some."""
    start = time.perf_counter()
    for _ in range(steps):
        step()
    return (time.perf_counter() - start) / steps


def shares(size: Size, steps: int) -> dict[str, float]:
    """Seconds of one step in each of its parts, and without the profiler in all."""
    step = SearchStep(ARMS["ours, store"], size)
    step()
    unprofiled = timed(step, steps)
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        whole = timed(step, steps)
    seconds: Counter[str] = Counter()
    for event in profiler.events():
        seconds[part_of(event)] += event.self_cpu_time_total / 1e6 / steps
    seconds[PYTHON] += max(0.0, whole - seconds.total())
    return {**dict(seconds.most_common()), WHOLE: seconds.total(), UNPROFILED: unprofiled}


def profile_table(sizes: list[Size], steps: int) -> tuple[list[str], object]:
    """The lines of the table, and the seconds by batch size."""
    found = {size.batch: shares(size, steps) for size in sizes}
    columns = ["part"]
    for batch in found:
        columns += [f"ms, N={batch}", "share"]
    rows = []
    for part in {part: None for seconds in found.values() for part in seconds}:
        row = [part]
        for seconds in found.values():
            of_part = seconds.get(part, 0.0)
            row += [f"{1e3 * of_part:.1f}", f"{of_part / seconds[WHOLE]:.1%}"]
        rows.append(row)
    lines = [
        f'Our search step, float32, `memory="store"`: the mean of {steps} steps under torch\'s '
        "profiler, by the time spent in an operator itself.",
        "",
        *table(columns, rows),
    ]
    return lines, found
