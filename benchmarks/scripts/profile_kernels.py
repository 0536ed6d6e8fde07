"""What each of our kernels takes of a search step on a GPU, beside what was calculated for it.

    python benchmarks/scripts/profile_kernels.py [--out FILE.md] [--batch 64] [--steps 5]

The kernels are timed by torch's profiler; the step as a whole also without it, launch by launch and
as one CUDA graph. The predictions are those of predict_step.py in benchmarks/results, for a card of
this architecture and the published network.
"""

from __future__ import annotations

import argparse
import re
from collections import defaultdict
from collections.abc import Iterable
from datetime import date
from pathlib import Path

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from adarts_ext.bench import machine
from adarts_ext.bench.arms import ARMS, SearchStep
from adarts_ext.bench.groups import Size
from adarts_ext.bench.report.markdown import table, write
from adarts_ext.bench.rows import read_rows
from adarts_ext.bench.timing import stopwatch
from adarts_ext.cuda_graph import WARM_UP
from adarts_ext.runs.device import resolve_device

OURS = "adarts::cuda::"
TORCH = "(torch)"
PREDICTIONS = Path(__file__).parents[1] / "results" / "predictions.jsonl"
#: Launches and microseconds, by kernel.
Times = dict[str, tuple[float, float]]


def kernel_of(name: str) -> str:
    """Give the name of one of our kernels without namespaces and arguments.

    Example:
        >>> kernel_of("void adarts::cuda::(anonymous namespace)::node_kernel<float>(Node<float>)")
        'node_kernel'
        >>> kernel_of("ampere_sgemm_32x128_tn")
        '(torch)'
    """
    found = re.search(rf"{OURS}(?:\(anonymous namespace\)::)?(\w+)", name)
    return found[1] if found else TORCH


def by_kernel(events: Iterable, steps: int) -> Times:
    """Add up what ran on the GPU, by kernel and step."""
    launches: dict[str, float] = defaultdict(float)
    times: dict[str, float] = defaultdict(float)
    for event in events:
        if event.device_type == DeviceType.CUDA:
            kernel = kernel_of(event.name)
            launches[kernel] += 1 / steps
            times[kernel] += event.time_range.elapsed_us() / steps
    return {kernel: (launches[kernel], times[kernel]) for kernel in times}


def predicted(batch: int, architecture: str) -> Times:
    """Read the same for both halves of a step in float32, where it was predicted so."""
    times: Times = {}
    wanted = {"architecture": architecture, "batch": batch, "precision": "float32"}
    for row in read_rows(PREDICTIONS):
        if wanted.items() <= row.items():
            kernel = row["kernel"].split("<")[0]
            launches, us = times.get(kernel, (0.0, 0.0))
            times[kernel] = (launches + row["launches"], us + row["us"])
    return times


def lines_of(measured: Times, expected: Times, whole: dict[str, float]) -> list[str]:
    """Write the tables: the whole step, and a row for each kernel, the longest first."""
    rows = []
    for kernel, (launches, time) in sorted(measured.items(), key=lambda one: -one[1][1]):
        row = [f"`{kernel}`", f"{launches:.0f}", f"{time:.1f}", "", "", ""]
        if kernel in expected and kernel != TORCH:
            count, work = expected[kernel]
            row[3:] = [f"{count:.0f}", f"{work:.1f}", f"{time / work:.2f}"]
        rows.append(row)
    ours = {kernel: one for kernel, one in measured.items() if kernel != TORCH}
    sums = [sum(time for _, time in of.values()) for of in (ours, measured)]
    columns = ["kernel", "launches a step", "us a step", "launches predicted", "us predicted"]
    return [
        *table(["whole step", "ms"], [[name, f"{1e3 * s:.2f}"] for name, s in whole.items()]),
        "",
        f"Our kernels take {sums[0] / 1e3:.2f} ms of it, all kernels {sums[1] / 1e3:.2f} ms.",
        "",
        *table([*columns, "measured / predicted"], rows),
    ]


def measure(size: Size, steps: int) -> tuple[Times, dict[str, float]]:
    """Profile our search step, and time it whole."""
    clock = stopwatch("cuda")
    step = SearchStep(ARMS["ours, store"], size, "cuda")
    for _ in range(WARM_UP):
        step()
    whole = {"launch by launch": clock(step, steps) / steps}
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
        for _ in range(steps):
            step()
        torch.cuda.synchronize()
    step.as_graph()
    for _ in range(WARM_UP + 1):
        step()
    whole["as one CUDA graph"] = clock(step, steps) / steps
    return by_kernel(profiler.events(), steps), whole


def main(arguments: list[str] | None = None) -> None:
    """Measure, print, and write the tables where asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, help="write the tables here, and rows beside them")
    parser.add_argument("--batch", type=int, default=64, metavar="N")
    parser.add_argument("--steps", type=int, default=5)
    options = parser.parse_args(arguments)
    resolve_device("cuda")
    machine.check_kernels("cuda")
    architecture = "sm_{}{}".format(*torch.cuda.get_device_capability())
    measured, whole = measure(Size(options.batch), options.steps)
    data = [
        {"batch": options.batch, "kernel": kernel, "launches": launches, "us": time}
        for kernel, (launches, time) in measured.items()
    ]
    data += [{"batch": options.batch, "whole": name, "seconds": s} for name, s in whole.items()]
    head = f"{machine.device_name('cuda')}, torch {torch.__version__}, {date.today()}"
    tables = lines_of(measured, predicted(options.batch, architecture), whole)
    write(options.out, [head, "", f"N={options.batch}, float32.", "", *tables], data)


if __name__ == "__main__":
    main()
