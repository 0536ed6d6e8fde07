"""How time and memory grow with batch, channels, cells and image size, plain and fused.

    python benchmarks/bench_scaling.py [--out FILE.md] [--rounds 3] [--limit 20]

One of N, C, L (cells) and the images' side is varied at a time around N=64, C=16, L=8, 32x32.
Plain is the plain network with each half computing only the gradients it uses ("frozen"). Time is
that of one whole search step, the median of rounds in which the arms take turns; memory is what
autograd keeps after a forward pass in which everything requires its gradient (bench_memory.py).
Plain is not timed where a step would take longer than the limit, judged by the step before and the
growth of the work. Its largest networks need 13 GiB. With ``--out`` a plot is written beside the
table.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from bench_memory import MIB, kept_bytes
from report import machine, table, write
from search_step import ARMS, SearchStep, Size, add_size_options
from timing import take_turns

COMPARED = {"plain": "frozen", "store": "ours, store", "recompute": "ours, recompute"}
LABELS = {
    "batch": "batch N",
    "channels": "channels C",
    "layers": "cells L",
    "image": "image side, pixels",
}
VALUES = {
    "batch": [16, 32, 64, 128, 256],
    "channels": [16, 32, 48, 64],
    "layers": [4, 8, 12, 16, 20],
    "image": [16, 32, 48, 64],
}


@dataclass
class Point:
    """What was measured at one size; plain's seconds are None where it was not timed."""

    varied: str
    value: int
    seconds: dict[str, float | None]
    kept: dict[str, int]


def work(size: Size) -> int:
    """How the work grows, at the least."""
    return size.batch * size.channels * size.layers * size.image**2


def measure(size: Size, rounds: int, plain_expected: float, limit: float):
    """Seconds of a step and bytes kept of every arm; plain's seconds only below the limit."""
    kept = {label: kept_bytes(name, size) for label, name in COMPARED.items()}
    timed = [label for label in COMPARED if label != "plain" or plain_expected <= limit]
    steps = {label: SearchStep(ARMS[COMPARED[label]], size) for label in timed}
    for step in steps.values():
        step()
    timing = take_turns(steps, rounds)
    seconds = {label: timing.median(label) if label in steps else None for label in COMPARED}
    return seconds, kept


def sweep(base: Size, values: dict[str, list[int]], rounds: int, limit: float) -> list[Point]:
    """Measure every size once, from small to large."""
    points, done = [], {}
    for varied, chosen in values.items():
        speed = 0.0  # seconds of plain for the work so far
        for value in sorted(chosen):
            size = replace(base, **{varied: value})
            if size not in done:
                done[size] = measure(size, rounds, speed * work(size), limit)
            seconds, kept = done[size]
            if seconds["plain"] is not None:
                speed = seconds["plain"] / work(size)
            points.append(Point(varied, value, seconds, kept))
            print(points[-1], flush=True)
    return points


def rows(points: list[Point], limit: float) -> list[list[str]]:
    """A row for each point."""
    made = []
    for point in points:
        plain, kept = point.seconds["plain"], point.kept
        row = [f"{LABELS[point.varied]} = {point.value}"]
        row.append(f"over {limit:g}" if plain is None else f"{plain:.3f}")
        row += [f"{point.seconds[label]:.3f}" for label in ("store", "recompute")]
        row.append("" if plain is None else f"{plain / point.seconds['store']:.2f}x")
        row += [f"{kept[label] / MIB:.0f}" for label in COMPARED]
        row += [f"{kept['plain'] / kept[label]:.1f}x" for label in ("store", "recompute")]
        made.append(row)
    return made


def plot(points: list[Point], out: Path) -> None:
    """Time above, memory below, a column for what is varied; both axes are logarithmic."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullFormatter, ScalarFormatter

    varied = list(dict.fromkeys(point.varied for point in points))
    figure = Figure(figsize=(3.6 * len(varied), 6.4), layout="constrained")
    panels = figure.subplots(2, len(varied), squeeze=False, sharey="row", sharex="col")
    for column, what in enumerate(varied):
        along = [point for point in points if point.varied == what]
        for label, marker in zip(COMPARED, "os^", strict=True):
            timed = [p for p in along if p.seconds[label] is not None]
            for panel, xy in (
                (panels[0, column], [(p.value, p.seconds[label]) for p in timed]),
                (panels[1, column], [(p.value, p.kept[label] / MIB) for p in along]),
            ):
                if xy:
                    panel.plot(*zip(*xy, strict=True), marker=marker, label=label)
        for panel in panels[:, column]:
            panel.set_xscale("log", base=2)
            panel.set_yscale("log")
            panel.set_xticks([p.value for p in along])
            panel.xaxis.set_major_formatter(ScalarFormatter())
            panel.xaxis.set_minor_formatter(NullFormatter())
            panel.grid(alpha=0.3)
        panels[1, column].set_xlabel(LABELS[what])
    panels[0, 0].set_ylabel("seconds a search step")
    panels[1, 0].set_ylabel("MiB kept for backward")
    panels[0, 0].legend()
    figure.savefig(out, dpi=120)


def main(arguments: list[str] | None = None) -> None:
    """Measure, print, and write the table and the plot where asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, help="write the table here, JSON and plot beside it")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--limit", type=float, default=20.0, help="seconds of a plain step")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--batch", type=int, default=64, metavar="N", help="the middle")
    add_size_options(parser)
    for varied, values in VALUES.items():
        parser.add_argument(
            f"--vary-{varied}", type=int, nargs="*", default=values, help=LABELS[varied]
        )
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    base = Size(options.batch, options.init_channels, options.layers, options.size)
    values = {varied: getattr(options, f"vary_{varied}") for varied in VALUES}
    points = sweep(base, values, options.rounds, options.limit)
    lines = [
        machine(),
        "",
        f"Around N={base.batch}, C={base.channels}, L={base.layers}, {base.image}x{base.image}; "
        "K=4, attention, float32. Plain computes in each half only the gradients it uses. Seconds "
        f"of one search step, medians of {options.rounds} interleaved rounds; MiB that autograd "
        "keeps after a forward pass. Plain was not timed where a step would have taken over "
        f"{options.limit:g} s.",
        "",
        *table(
            [
                "varied",
                "plain, s",
                "store, s",
                "recompute, s",
                "store over plain",
                "plain, MiB",
                "store, MiB",
                "recompute, MiB",
                "store less",
                "recompute less",
            ],
            rows(points, options.limit),
        ),
    ]
    if options.out is not None:
        plot(points, options.out.with_suffix(".png"))
        lines += ["", f"![Time and memory against size]({options.out.with_suffix('.png').name})"]
    write(options.out, lines, [vars(point) for point in points])


if __name__ == "__main__":
    main()
