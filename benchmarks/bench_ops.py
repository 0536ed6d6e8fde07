"""Every operator forward and backward against the plain torch sequence it replaces.

python benchmarks/bench_ops.py [--out FILE.md] [--rounds 15] [--threads 2]
"""

from __future__ import annotations

import argparse
import importlib
import math
from pathlib import Path

import torch
from report import machine
from timing import interleave

OPERATORS = (
    "channel_attention",
    "select_channels",
    "gather_channels",
    "scatter_channels",
    "mixed_sum",
    "normalized_mixed_sum",
)
BATCH, PROPORTION = 64, 4
PASSES = ("forward", "forward + backward")
SHAPES = [(16, 32), (32, 16), (64, 8)]  # channels and size of the supernet's three stages


def forward_and_backward(function, arguments):
    """Return calls of the forward pass alone and with the backward pass."""
    leaves = [
        a.requires_grad_() if isinstance(a, torch.Tensor) and a.is_floating_point() else a
        for a in arguments
    ]
    needed = [a for a in leaves if isinstance(a, torch.Tensor) and a.requires_grad]
    out = function(*leaves)
    if not out.requires_grad:
        return lambda: function(*leaves), None
    grad = torch.randn_like(out)
    return (
        lambda: function(*leaves),
        lambda: torch.autograd.grad(function(*leaves), needed, grad),
    )


def geometric_mean(ratios: list[float]) -> float:
    """The mean of ratios."""
    return math.exp(sum(map(math.log, ratios)) / len(ratios))


def measure(rounds: int) -> tuple[list[str], dict[str, dict[str, list[float]]]]:
    """Return the rows of the table, and the speed-ups by operator and pass."""
    rows, speedups = [], {}
    for name in OPERATORS:
        module = importlib.import_module(f"bench_{name}")
        speedups[name] = {}
        for channels, size in SHAPES:
            torch.manual_seed(0)
            arguments = module.arguments(BATCH, channels, size, PROPORTION)
            calls = [forward_and_backward(f, arguments) for f in (module.plain, module.fused)]
            for index, label in enumerate(PASSES):
                if calls[0][index] is None:
                    continue
                arms = {"plain": calls[0][index], "fused": calls[1][index]}
                timing = interleave(arms, rounds)
                middle, low, high = timing.speedup("plain", "fused")
                speedups[name].setdefault(label, []).append(middle)
                rows.append(
                    f"| {name} | {channels}x{size}x{size} | {label} | "
                    f"{timing.median('plain') * 1e6:.0f} | {timing.median('fused') * 1e6:.0f} | "
                    f"{middle:.2f} | {low:.2f} to {high:.2f} |"
                )
                print(rows[-1], flush=True)
    return rows, speedups


def summary(speedups: dict[str, dict[str, list[float]]]) -> list[str]:
    """Tabulate the geometric means over the shapes, and over the operators."""
    lines = ["", "| operator | forward | forward + backward |", "|---|---:|---:|"]
    for name, passes in speedups.items():
        cells = [
            f"{geometric_mean(passes[label]):.2f}x" if label in passes else "" for label in PASSES
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    each = [
        geometric_mean([ratio for ratios in passes.values() for ratio in ratios])
        for passes in speedups.values()
    ]
    lowest = min(
        ratio for passes in speedups.values() for all_ in passes.values() for ratio in all_
    )
    lines += [
        "",
        f"Geometric mean over the operators, both passes: {geometric_mean(each):.2f}x; the "
        f"lowest row is {lowest:.2f}x.",
    ]
    return lines


def main() -> None:
    """Measure, print, and write the table where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="write the table here (Markdown)")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    head = [
        machine(),
        "",
        f"N={BATCH}, K={PROPORTION}, float32, contiguous. Microseconds are medians over "
        f"{options.rounds} interleaved rounds in one process; the speed-up is the median of the "
        "ratios within a round, beside its minimum and maximum. Plain is the torch sequence the "
        "operator replaces (see benchmarks/bench_<operator>.py).",
        "",
        "| operator | C x H x W | pass | plain, us | ours, us | speed-up | range |",
        "|---|---|---|---:|---:|---:|---|",
    ]
    print("\n".join(head))
    rows, speedups = measure(options.rounds)
    tail = summary(speedups)
    print("\n".join(tail))
    if options.out:
        options.out.write_text("\n".join([*head, *rows, *tail, ""]))


if __name__ == "__main__":
    main()
