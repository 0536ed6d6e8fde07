"""One whole search step on the CPU: plain torch in four ways, and the fused cells.

    python benchmarks/bench_step.py [--out FILE.md] [--batches 32 64] [--rounds 9] [--threads 2]

A step is that of benchmarks/search_step.py: alphas and betas on one batch, the weights on another,
both optimisers. All arms begin with the same weights and see the same batches. They run in one
process, in turn, in an order that rotates; the first round is not counted. ``--profile`` shows in
place of this where the time of our step goes.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path

import torch
from report import machine, table, write
from search_step import ARMS, PLAIN, SearchStep, Size, add_size_options
from step_profile import profile_table
from timing import Timing, take_turns

#: What the issue that asked for the fused cells wanted: (arm, compared with, at least so many times
#: as fast); None stands for the fastest of the plain arms.
TARGETS = (
    ("ours, store", "plain", 5.0),
    ("ours, store", None, 4.0),
    ("ours, recompute", "ours, store", 1 / 1.12),
    ("ours, recompute", "plain", None),
    ("ours, bfloat16", "plain", None),
    ("ours, bfloat16", "ours, store", None),
)


def measure(size: Size, rounds: int) -> tuple[Timing, dict[str, float]]:
    """Time all arms; give with them the loss of each arm's last step."""
    steps = {name: SearchStep(arm, size) for name, arm in ARMS.items()}
    for step in steps.values():
        step()
    timing = take_turns(steps, rounds)
    return timing, {name: step.loss.item() for name, step in steps.items()}


def spread(values: list[float], digits: int = 3) -> str:
    """The median, with minimum and maximum."""
    middle, low, high = statistics.median(values), min(values), max(values)
    return f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def arm_rows(batch: int, timing: Timing, losses: dict[str, float]) -> list[list[object]]:
    """A row for each arm."""
    return [
        [
            name,
            batch,
            spread(timing.seconds[name]),
            "" if name == "plain" else spread(timing.ratios("plain", name), 2),
            f"{losses[name]:.4f}",
        ]
        for name in ARMS
    ]


def ratio_rows(batch: int, timing: Timing) -> list[list[object]]:
    """A row for each ratio that was asked for."""
    best = min(PLAIN, key=timing.median)
    rows = []
    for arm, other, least in TARGETS:
        name = other or f"{best}, the fastest plain arm"
        ratios = timing.ratios(other or best, arm)
        met = ""
        if least is not None:
            verdict = "met" if statistics.median(ratios) >= least else "missed"
            met = f"at least {least:.2f}: {verdict}"
        rows.append([f"{arm} over {name}", batch, spread(ratios, 2), met])
    return rows


def main(arguments: list[str] | None = None) -> None:
    """Measure, print, and write the tables where asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, help="write the tables here, and JSON beside them")
    parser.add_argument("--batches", type=int, nargs="+", default=[32, 64], metavar="N")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--profile", action="store_true", help="where the time of our step goes")
    add_size_options(parser)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    sizes = [
        Size(batch, options.init_channels, options.layers, options.size)
        for batch in options.batches
    ]
    head = [
        machine(),
        "",
        f"C={options.init_channels}, {options.layers} cells, {options.size}x{options.size}, K=4, "
        "attention; float32 but where bfloat16 is said (storage, by autocast).",
        "",
    ]
    if options.profile:
        lines, data = profile_table(sizes, options.rounds)
        write(options.out, [*head, *lines], data)
        return

    arms, ratios, data = [], [], []
    for size in sizes:
        timing, losses = measure(size, options.rounds)
        arms += arm_rows(size.batch, timing, losses)
        ratios += ratio_rows(size.batch, timing)
        data.append({"batch": size.batch, "seconds": timing.seconds, "loss": losses})
    lines = [
        f"One search step, medians of {options.rounds} interleaved rounds in one process (minimum "
        "to maximum); ratios are taken within a round. The loss is that of the last step, after as "
        "many steps in every arm.",
        "",
        *table(["arm", "N", "seconds", "times as fast as plain", "loss"], arms),
        "",
        *table(["times as fast", "N", "ratio", "asked for"], ratios),
    ]
    write(options.out, [*head, *lines], data)


if __name__ == "__main__":
    main()
