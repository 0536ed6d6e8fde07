"""What the fused cells of the default network should cost on an H100: calculated, not measured.

    python benchmarks/scripts/predict_cell.py [--out benchmarks/results/predictions_cell.md]

Needs no GPU. The work of each launch comes from cell_cost.py and preprocess_cost.py; the network is
that of the published search (C=16, 8 cells, 32x32, K=4). Kernels of torch are left out but for the
fills that a phase asks for: stem, classifier, loss, sums of gradients, optimisers.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path

from cell_cost import CellCost
from cell_sizes import NODES, Launch
from preprocess_cost import PreprocessCost

from adarts_ext.bench.report.markdown import table
from adarts_ext.nn.cell_shapes import cell_shapes

BATCHES = (64, 256)
CHANNELS, LAYERS, SIDE = 16, 8, 32
BANDWIDTH = 3.0e12  # bytes a second: the copy rate of an H100
FLOP_RATE = 60e12  # FP32 without tensor cores, sustained: 90 % of the 67 TFLOP/s of an H100 SXM
MULTIPROCESSORS, FULL = 132, 512  # threads that a multiprocessor needs to reach these rates
ENOUGH_BLOCKS = 2 * MULTIPROCESSORS
LATENCY = 2.5e-6  # seconds of a launch at the least, without CUDA graphs


def fill(launch: Launch) -> float:
    """Give the part of the card that a launch's blocks can keep busy."""
    return min(1.0, launch.blocks * min(launch.threads, FULL) / (MULTIPROCESSORS * FULL))


def bytes_seconds(launch: Launch) -> float:
    return (launch.read + launch.written) / BANDWIDTH


def flop_seconds(launch: Launch) -> float:
    return launch.flops / FLOP_RATE


def work_seconds(launch: Launch) -> float:
    """Give the time for bytes or FLOPs, whichever takes longer, on the part of the card in use."""
    return max(bytes_seconds(launch), flop_seconds(launch)) / fill(launch)


def seconds(launch: Launch) -> float:
    return max(LATENCY, work_seconds(launch))


def bound(launch: Launch) -> str:
    if work_seconds(launch) < LATENCY:
        return "launch"
    return "bytes" if bytes_seconds(launch) > flop_seconds(launch) else "FLOPs"


class Pass:
    """The launches of one forward and backward pass.

    ``weights`` says whether the gradients of the weights are asked for, the stem's among them;
    those of alphas and betas cost nothing of their own.
    """

    def __init__(self, batch: int, store: bool = True, weights: bool = True) -> None:
        forward: list[Launch] = []
        backward: list[list[Launch]] = []
        self.kinds: dict[str, CellCost] = {}  # of cells
        side = SIDE
        for number, shape in enumerate(cell_shapes(CHANNELS, LAYERS, NODES, NODES)):
            *ins, channels, reduction, reduction_previous = shape
            # without the stem's gradients only what earlier cells made asks for one
            asked = [weights or number - 1 > 0, weights or number > 0]
            strides = (2 if reduction_previous else 1, 1)
            preprocessings = [
                PreprocessCost(batch, width, channels, side, stride, weights, needs)
                for width, stride, needs in zip(ins, strides, asked, strict=True)
            ]
            if reduction:
                side //= 2
            stride = 2 if reduction else 1
            cell = CellCost(batch, channels, side, stride, store, weights, tuple(asked))
            self.kinds[f"{'reduction' if reduction else 'normal'}, C={channels}, {side}x{side}"] = (
                cell
            )
            forward += [launch for part in (*preprocessings, cell) for launch in part.forward()]
            backward.append(
                [launch for part in (cell, *preprocessings) for launch in part.backward()]
            )
        self.forward = forward
        self.backward = [launch for of_cell in reversed(backward) for launch in of_cell]
        self.launches = [*self.forward, *self.backward]


def mebibytes(count: float) -> str:
    return f"{count / 2**20:.1f}"


def microseconds(time: float) -> str:
    return f"{1e6 * time:.1f}"


def sums(launches: Sequence[Launch]) -> list[str]:
    """Sum up launches: bytes, FLOPs and times."""
    return [
        mebibytes(sum(launch.read for launch in launches)),
        mebibytes(sum(launch.written for launch in launches)),
        f"{sum(launch.flops for launch in launches) / 1e9:.2f}",
        microseconds(sum(map(bytes_seconds, launches))),
        microseconds(sum(map(flop_seconds, launches))),
        microseconds(sum(map(work_seconds, launches))),
        microseconds(sum(map(seconds, launches))),
    ]


SUMS = ("read, MiB", "written, MiB", "GFLOP", "us, bytes", "us, FLOPs", "us, work", "us, launched")


def spread(values: Iterable[int]) -> str:
    low, high = min(values := list(values)), max(values)
    return str(low) if low == high else f"{low} to {high}"


def by_kernel(launches: Sequence[Launch]) -> dict[tuple[str, str], list[Launch]]:
    made: dict[tuple[str, str], list[Launch]] = {}
    for launch in launches:
        made.setdefault((launch.phase, launch.kernel), []).append(launch)
    return made


def phase_table(launches: Sequence[Launch]) -> list[str]:
    """One row for each kernel of a pass."""
    rows = []
    for (phase, kernel), some in by_kernel(launches).items():
        too_few = sum(launch.blocks < ENOUGH_BLOCKS for launch in some)
        waits = sum(bound(launch) == "launch" for launch in some)
        others = {bound(launch) for launch in some} - {"launch"}
        rows.append(
            [
                phase,
                f"`{kernel}`",
                len(some),
                spread(launch.blocks for launch in some),
                too_few,
                *sums(some),
                f"{waits} of {len(some)}",
                ", ".join(sorted(others)) or "-",
            ]
        )
    columns = ("phase", "kernel", "launches", "blocks", f"under {ENOUGH_BLOCKS}", *SUMS)
    return table((*columns, "launch-bound", "the others by"), rows)


def cell_table(batch: int) -> list[str]:
    """One row for each kernel: blocks and microseconds of its largest launch, by kind of cell."""
    kinds = Pass(batch).kinds
    found = {kind: by_kernel([*cell.forward(), *cell.backward()]) for kind, cell in kinds.items()}
    rows = []
    for key in next(iter(found.values())):
        row: list[object] = [f"`{key[1]}`" if key[1] != "(torch)" else key[0]]
        for of_kind in found.values():
            largest = max(of_kind[key], key=lambda launch: (launch.blocks, work_seconds(launch)))
            row.append(f"{largest.blocks}, {microseconds(work_seconds(largest))}")
        rows.append(row)
    return table(("kernel", *found), rows)


def whole_table() -> list[str]:
    """Passes and search steps."""
    rows = []
    for batch in BATCHES:
        for memory in ("store", "recompute"):
            store = memory == "store"
            whole, arch = Pass(batch, store), Pass(batch, store, weights=False)
            step = [*arch.launches, *whole.launches]
            for name, launches in (
                ("forward", whole.forward),
                ("backward, all gradients", whole.backward),
                ("pass, all gradients", whole.launches),
                ("pass of the alphas' half", arch.launches),
                ("search step, both halves", step),
            ):
                waits = sum(bound(launch) == "launch" for launch in launches)
                rows.append([name, batch, memory, len(launches), waits, *sums(launches)])
    return table(("what", "N", "memory", "launches", "launch-bound", *SUMS), rows)


def launch_bound() -> list[str]:
    """Say which kernels are bound by launches alone."""
    lines = []
    for batch in BATCHES:
        always, sometimes = [], []
        for (_, kernel), some in by_kernel(Pass(batch).launches).items():
            waits = sum(bound(launch) == "launch" for launch in some)
            if waits == len(some):
                always.append(f"`{kernel}`")
            elif 2 * waits >= len(some):
                sometimes.append(f"`{kernel}`")
        lines += [
            f"- N = {batch}: always {', '.join(dict.fromkeys(always))}; mostly "
            f"{', '.join(dict.fromkeys(sometimes)) or 'none'}."
        ]
    return lines


def report() -> str:
    """Give the whole report as Markdown."""
    lines = [
        "# What the fused cell's CUDA kernels should cost",
        "",
        "Calculated by `python benchmarks/scripts/predict_cell.py`, not measured: the default "
        f"network (C={CHANNELS}, {LAYERS} cells, {SIDE}x{SIDE}, K=4, attention), float32, a pass "
        "forward and backward. Kernels of torch are left out, but for the fills that a phase asks "
        "for.",
        "",
        f"- us, bytes: read and written at {BANDWIDTH / 1e12:.1f} TB/s, an H100's copy rate. A "
        "byte counts for each thread block that asks for it first; windows come from L1.",
        f"- us, FLOPs: at {FLOP_RATE / 1e12:.0f} TFLOP/s, 90 % of an H100's FP32 peak without "
        "tensor cores. Comparisons, addresses and conversions, left out, take instructions too.",
        "- us, work: for each launch the larger of the two, divided by the part of the card that "
        f"its blocks fill: {FULL} threads on each of {MULTIPROCESSORS} multiprocessors, which is "
        f"{ENOUGH_BLOCKS} blocks of 256.",
        f"- us, launched: the same, but {1e6 * LATENCY:.1f} us for a launch at the least, as "
        "without CUDA graphs (2 to 3 us). A launch whose work takes less is launch-bound.",
        "",
        f"Tensors of a node are 1 to 4 MiB at N = {BATCHES[0]}, so most reads come from L2, faster "
        "than counted here; latency inside a kernel is not counted and makes small ones slower.",
        "",
        "## Passes and search steps",
        "",
        *whole_table(),
        "",
        "The alphas' half computes no gradients of weights; the weights' half is a pass with all.",
        "",
        "## Bound by launch latency",
        "",
        *launch_bound(),
        "",
    ]
    for batch in BATCHES:
        lines += [
            f"## By kernel, N = {batch}",
            "",
            "Phases marked 'again' are those of `memory=\"recompute\"` only.",
            "",
            *phase_table(Pass(batch, store=False).launches),
            "",
            f"Blocks and us of work of each kernel's largest launch, N = {batch}:",
            "",
            *cell_table(batch),
            "",
        ]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the report, and write it where asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, help="write the report here (Markdown)")
    options = parser.parse_args(arguments)
    text = report()
    print(text)
    if options.out:
        options.out.write_text(text)


if __name__ == "__main__":
    main()
