"""What a search step should take on a GPU, worked out from the compiled kernels: not measured.

    python benchmarks/scripts/predict_step.py [--out benchmarks/results/predictions.md]

Needs nvcc but no GPU. benchmarks/kernel_model/README.md says how; all that is assumed of a card is
in benchmarks/kernel_model/card.py. The step is that of the published network on the emulator,
which hands its launches over; kernels of torch are counted. Takes about ten minutes on two cores.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from count_launches import TorchKernels, called_by_ours, use_emulated_kernels
from size_options import add_size_options
from torch.profiler import ProfilerActivity, profile

from adarts_ext.bench.arms import ARMS, SearchStep
from adarts_ext.bench.groups import Size
from adarts_ext.bench.report.markdown import table, write
from adarts_ext.bench.rows import Row

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from emulator.build import build, library_path
from kernel_model import tables
from kernel_model.card import CARDS
from kernel_model.cubin import Kernel
from kernel_model.library import compile_library
from kernel_model.step import Predicted, predict_launches

ARM = "ours, store"
LOOPS = (
    "The innermost loop of each kernel's longest launch with the most instructions issued; threads "
    "are those of a warp that take part in an instruction."
)


Kernels = dict[str, dict[str, Kernel]]  # by architecture and name
Step = tuple[dict[str, Predicted], int]  # by architecture; the launches of torch's kernels


def predict_step(size: Size, bfloat16: bool, kernels: Kernels) -> Step:
    """Predict a step's launches on some cards, and count those of torch's kernels."""
    use_emulated_kernels()
    step = SearchStep(ARMS[ARM], size, bfloat16=bfloat16, batches=1)
    library, cpu = library_path("adarts_emulated"), [ProfilerActivity.CPU]
    predict_launches(step, {}, library, lambda: 0)  # optimisers allocate in their first step
    with profile(activities=cpu) as profiler, TorchKernels() as torchs:
        predicted = predict_launches(step, kernels, library, torchs.counts.total)
    return predicted, (torchs.counts + called_by_ours(profiler.events())).total()


def head(size: Size, bfloat16: bool) -> list[str]:
    dtype = "bfloat16 under autocast" if bfloat16 else "float32"
    return [
        "# What a search step should take",
        "",
        "Worked out by `python benchmarks/scripts/predict_step.py` from the machine code, not "
        f"measured: C={size.channels}, {size.layers} cells, {size.image}x{size.image}, K=4, "
        f"attention, {dtype}; a step on the weights and one on alphas and betas, in a CUDA graph.",
        "",
        "A launch takes its gap, its chain (what the last block waits for, if no warp waits for "
        "another's turn) and its work: the longest of issue, each pipe, LSU, L2 and DRAM on the "
        "busiest multiprocessor. Where chain and work overlap wholly, it takes `at least` gap and "
        "the longer of both. What is assumed of a card, with its sources, is in "
        "[card.py](../kernel_model/card.py); how it is done in "
        "[kernel_model](../kernel_model/README.md).",
        "",
    ]


def sections(predictions: dict[int, Step], kernels: Kernels) -> list[str]:
    """Write a section for each card and batch."""
    lines = []
    for architecture, its_kernels in kernels.items():
        name = CARDS[architecture].name
        for batch, (predicted, _) in predictions.items():
            step = predicted[architecture]
            lines += [f"## {name}, N = {batch}", "", *tables.largest(step), ""]
            lines += ["Microseconds a step; the terms of its work beside each other:", ""]
            lines += [*tables.kernel_table(step, its_kernels), ""]
            lines += ["MiB a step. What blocks read of each other (halos) is the last ratio:", ""]
            lines += [*tables.memory_table(step), ""]
        step = predictions[max(predictions)][0][architecture]
        lines += [f"## {name}, loops", "", LOOPS, "", *tables.loop_table(step, its_kernels), ""]
    return lines


def main(arguments: Sequence[str] | None = None) -> None:
    """Predict, print, and write the report where asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, help="write the report here, and rows beside it")
    parser.add_argument("--batches", type=int, nargs="+", default=[64, 256], metavar="N")
    parser.add_argument("--architectures", nargs="+", default=list(CARDS), choices=CARDS)
    parser.add_argument("--bfloat16", action="store_true", help="under autocast")
    add_size_options(parser)
    options = parser.parse_args(arguments)
    kernels = {each: compile_library(each, "cell") for each in options.architectures}
    build("adarts_emulated")
    sizes = [
        Size(batch, options.init_channels, options.layers, options.size)
        for batch in options.batches
    ]
    workers = min(len(sizes), os.cpu_count() or 1)
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        tasks = [pool.submit(predict_step, size, options.bfloat16, kernels) for size in sizes]
        predictions = {s.batch: task.result() for s, task in zip(sizes, tasks, strict=True)}
    whole, rows = [], list[Row]()
    for architecture in kernels:
        card = CARDS[architecture]
        for batch, (predicted, torchs) in predictions.items():
            whole.append(tables.whole_row(card, batch, predicted[architecture], torchs))
            rows += tables.rows_of(card, batch, predicted[architecture])
    lines = [*head(sizes[0], options.bfloat16), *table(tables.WHOLE, whole), ""]
    write(options.out, [*lines, *sections(predictions, kernels)], rows)


if __name__ == "__main__":
    main()
