"""What a search step should take on a GPU, worked out from the compiled kernels: not measured.

    python benchmarks/scripts/predict_step.py [--out benchmarks/results/predictions.md]

Needs nvcc but no GPU. benchmarks/kernel_model/README.md says how; all that is assumed of a card is
in benchmarks/kernel_model/card.py. The step is that of the published network in float32 on the
emulator, which hands its launches over; kernels of torch are counted. Takes about ten minutes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from count_launches import TorchKernels, called_by_ours, use_emulated_kernels
from size_options import add_size_options
from torch.profiler import ProfilerActivity, profile

from adarts_ext.bench.arms import ARMS, SearchStep
from adarts_ext.bench.groups import Size
from adarts_ext.bench.report.markdown import table, write
from adarts_ext.bench.rows import Row

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from emulator.build import library_path
from kernel_model import tables
from kernel_model.card import CARDS, TORCH_KERNEL, Card
from kernel_model.cubin import Kernel
from kernel_model.library import compile_library
from kernel_model.step import Predicted, predict_launches

ARM = "ours, store"


def predict_step(
    size: Size, kernels: dict[Card, dict[str, Kernel]]
) -> tuple[dict[Card, Predicted], int]:
    """Predict a step's launches on some cards, and count those of torch's kernels."""
    step = SearchStep(ARMS[ARM], size, batches=1)
    cpu = [ProfilerActivity.CPU]
    with profile(activities=cpu) as profiler, TorchKernels() as torchs:
        predicted = predict_launches(step, kernels, library_path("adarts_emulated"))
    return predicted, (torchs.counts + called_by_ours(profiler.events())).total()


def head(sizes: Sequence[Size]) -> list[str]:
    size = sizes[0]
    return [
        "# What a search step should take",
        "",
        "Worked out by `python benchmarks/scripts/predict_step.py` from the machine code, not "
        f"measured: C={size.channels}, {size.layers} cells, {size.image}x{size.image}, K=4, "
        "attention, float32, a step on the weights and one on alphas and betas, in one CUDA graph.",
        "",
        "A launch takes its gap, its chain (what the last block waits for, if no warp waits for "
        "another's turn) and its work: the longest of issue, each pipe, LSU, L2 and DRAM on the "
        "busiest multiprocessor. Where chain and work overlap wholly, it takes `at least` gap and "
        "the longer of both. What is assumed of a card, with its sources, is in "
        "[card.py](../kernel_model/card.py); how it is done in "
        "[kernel_model](../kernel_model/README.md).",
        "",
    ]


def sections(
    predictions: dict[int, tuple[dict[Card, Predicted], int]],
    kernels: dict[Card, dict[str, Kernel]],
) -> list[str]:
    """Write a section for each card and batch."""
    lines = []
    for card in kernels:
        for batch, (predicted, _) in predictions.items():
            step = predicted[card]
            lines += [f"## {card.name}, N = {batch}", "", *tables.largest(step), ""]
            lines += ["Microseconds a step; the terms of its work beside each other:", ""]
            lines += [*tables.kernel_table(step, kernels[card]), ""]
            lines += ["MiB a step. What blocks read of each other (halos) is the last ratio:", ""]
            lines += [*tables.memory_table(step), ""]
        step = predictions[max(predictions)][0][card]
        lines += [f"## {card.name}, loops", "", "The innermost loop of each kernel's longest "]
        lines[-1] += "launch with the most instructions issued; threads are those of a warp."
        lines += ["", *tables.loop_table(step, kernels[card]), ""]
    return lines


def main(arguments: Sequence[str] | None = None) -> None:
    """Predict, print, and write the report where asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, help="write the report here, and rows beside it")
    parser.add_argument("--batches", type=int, nargs="+", default=[64, 256], metavar="N")
    parser.add_argument("--architectures", nargs="+", default=list(CARDS), choices=CARDS)
    add_size_options(parser)
    options = parser.parse_args(arguments)
    cards = [CARDS[architecture] for architecture in options.architectures]
    kernels = {card: compile_library(card.architecture, "cell") for card in cards}
    use_emulated_kernels()
    predictions = {}
    sizes = [
        Size(batch, options.init_channels, options.layers, options.size)
        for batch in options.batches
    ]
    for size in sizes:
        predictions[size.batch] = predict_step(size, kernels)
    whole, rows = [], list[Row]()
    for card in cards:
        for batch, (predicted, torchs) in predictions.items():
            whole.append(tables.whole_row(card, batch, predicted[card], torchs))
            whole[-1].append(tables.ms(torchs * (card.launch_gap + TORCH_KERNEL)))
            rows += tables.rows_of(card, batch, predicted[card])
    lines = [*head(sizes), *table((*tables.WHOLE, "torch's, ms"), whole), ""]
    write(options.out, [*lines, *sections(predictions, kernels)], rows)


if __name__ == "__main__":
    main()
