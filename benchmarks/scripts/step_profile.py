"""Where the time of our search step goes, by torch's profiler.

python benchmarks/scripts/step_profile.py [--out FILE.md] [--batches 32 64] [--steps 9]
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from datetime import date
from pathlib import Path

import torch
from size_options import add_size_options
from torch.profiler import ProfilerActivity, profile

from adarts_ext.bench import machine
from adarts_ext.bench.arms import ARMS, SearchStep
from adarts_ext.bench.groups import Size
from adarts_ext.bench.report.markdown import table, write
from adarts_ext.bench.rows import Row

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


def profile_table(sizes: list[Size], steps: int) -> tuple[list[str], list[Row]]:
    """The lines of the table, and a row for each batch size and part."""
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
    measured = [
        {"batch": batch, "part": part, "seconds": of_part}
        for batch, seconds in found.items()
        for part, of_part in seconds.items()
    ]
    return lines, measured


def main(arguments: list[str] | None = None) -> None:
    """Measure, print, and write the table where asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, help="write the table here, and rows beside it")
    parser.add_argument("--batches", type=int, nargs="+", default=[32, 64], metavar="N")
    parser.add_argument("--steps", type=int, default=9)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    add_size_options(parser)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    sizes = [
        Size(batch, options.init_channels, options.layers, options.size)
        for batch in options.batches
    ]
    lines, data = profile_table(sizes, options.steps)
    head = f"{machine.line(options.threads)}, {date.today()}"
    network = f"C={options.init_channels}, {options.layers} cells, {options.size}x{options.size}"
    write(options.out, [head, "", f"{network}, K=4, attention.", "", *lines], data)


if __name__ == "__main__":
    main()
