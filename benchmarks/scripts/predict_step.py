"""What a search step should take on a GPU, worked out from the compiled kernels: not measured.

    python benchmarks/scripts/predict_step.py [--out benchmarks/results/predictions.md]

Needs nvcc but no GPU. benchmarks/kernel_model/README.md says how; all that is assumed of a card is
in benchmarks/kernel_model/card.py. The step is that of the published network on the emulator,
which hands its launches over, in float32 and under autocast to bfloat16; kernels of torch are
counted. Takes 12 to 30 minutes on two cores.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
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
from kernel_model.machine import steps_of
from kernel_model.step import Predicted, predict_launches

ARM = "ours, store"
LOOPS = (
    "The innermost loop of each kernel's longest launch with the most instructions issued; threads "
    "are those of a warp that take part in an instruction."
)


Kernels = dict[str, dict[str, Kernel]]  # by architecture and name
Step = tuple[dict[str, Predicted], int]  # by architecture; the launches of torch's kernels
Case = tuple[str, int]  # precision and batch


def predict_step(size: Size, bfloat16: bool, kernels: Kernels) -> Step:
    """Predict a step's launches on some cards, and count those of torch's kernels."""
    use_emulated_kernels()
    step = SearchStep(ARMS[ARM], size, bfloat16=bfloat16, batches=1)
    library, cpu = library_path("adarts_emulated"), [ProfilerActivity.CPU]
    predict_launches(step, {}, library, lambda: 0)  # optimisers allocate in their first step
    with profile(activities=cpu) as profiler, TorchKernels() as torchs:
        predicted = predict_launches(step, kernels, library, torchs.counts.total)
    return predicted, (torchs.counts + called_by_ours(profiler.events())).total()


def head(size: Size) -> list[str]:
    return [
        "# What a search step should take",
        "",
        "Worked out by `python benchmarks/scripts/predict_step.py` from the machine code, not "
        f"measured: C={size.channels}, {size.layers} cells, {size.image}x{size.image}, K=4, "
        "attention, in float32 or under autocast to bfloat16; a step on the weights and one on "
        "alphas and betas, in a CUDA graph.",
        "",
        "A launch takes its gap, its chain (what the last block waits for, if no warp waits for "
        "another's turn) and its work: the longest of issue, each pipe, LSU, L2 and DRAM on the "
        "busiest multiprocessor. Where chain and work overlap wholly, it takes `at least` gap and "
        "the longer of both. What is assumed of a card, with its sources, is in "
        "[card.py](../kernel_model/card.py); how it is done in "
        "[kernel_model](../kernel_model/README.md).",
        "",
    ]


def sections(predictions: dict[Case, Step], kernels: Kernels) -> list[str]:
    """Write a section for each card and case, and the loops of each precision's largest batch."""
    lines = []
    for architecture, its_kernels in kernels.items():
        name = CARDS[architecture].name
        for (precision, batch), (predicted, _) in predictions.items():
            step = predicted[architecture]
            lines += [f"## {name}, N = {batch}, {precision}", "", *tables.largest(step), ""]
            lines += ["Microseconds a step; the terms of its work beside each other:", ""]
            lines += [*tables.kernel_table(step, its_kernels), ""]
            lines += ["MiB a step. What blocks read of each other (halos) is the last ratio:", ""]
            lines += [*tables.memory_table(step), ""]
        largest = {precision: batch for precision, batch in sorted(predictions)}
        for precision, batch in largest.items():
            step = predictions[precision, batch][0][architecture]
            lines += [f"## {name}, loops, {precision}", "", LOOPS, ""]
            lines += [*tables.loop_table(step, its_kernels), ""]
    return lines


def main(arguments: Sequence[str] | None = None) -> None:
    """Predict, print, and write the report where asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, help="write the report here, and rows beside it")
    for precision, batches in (("float32", [64, 256]), ("bfloat16", [64])):
        what = f"batches to predict in {precision}"
        parser.add_argument(
            f"--{precision}", type=int, nargs="*", default=batches, metavar="N", help=what
        )
    parser.add_argument("--architectures", nargs="+", default=list(CARDS), choices=CARDS)
    add_size_options(parser)
    options = parser.parse_args(arguments)
    kernels = {each: compile_library(each, "cell") for each in options.architectures}
    for architecture, its_kernels in kernels.items():
        for kernel in its_kernels.values():
            steps_of(kernel, CARDS[architecture])  # an instruction that is not known ends it here
    build("adarts_emulated")
    size = Size(channels=options.init_channels, layers=options.layers, image=options.size)
    cases = [("float32", batch) for batch in options.float32]
    cases += [("bfloat16", batch) for batch in options.bfloat16]
    workers = min(len(cases), os.cpu_count() or 1)
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        tasks = {
            (precision, batch): pool.submit(
                predict_step, replace(size, batch=batch), precision == "bfloat16", kernels
            )
            for precision, batch in cases
        }
        predictions = {case: task.result() for case, task in tasks.items()}
    whole, rows = [], list[Row]()
    for architecture in kernels:
        card = CARDS[architecture]
        for (precision, batch), (predicted, torchs) in predictions.items():
            step = predicted[architecture]
            whole.append(tables.whole_row(card, batch, precision, step, torchs))
            rows += tables.rows_of(card, batch, precision, step)
    lines = [*head(size), *table(tables.WHOLE, whole), ""]
    write(options.out, [*lines, *sections(predictions, kernels)], rows)


if __name__ == "__main__":
    main()
