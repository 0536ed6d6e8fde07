"""What a search step costs where candidates are left out.

    python benchmarks/scripts/left_out.py [--out FILE.md] [--batch 64] [--rounds 7] [--plain]

Steps on alphas and weights of the networks of ADARTS and DARTS, with all eight candidates on every
edge and with some of the seven that are not ``none``, drawn anew for every edge and pass. The arms
of a network begin with the same weights and take turns in one process, on one thread; counted is
its processor time, which other work on the machine disturbs little. Memory is what autograd keeps
after a forward pass.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from contextlib import ExitStack
from datetime import date
from pathlib import Path

import torch
from size_options import add_size_options
from torch import Tensor

from adarts_ext.bench import machine
from adarts_ext.bench.arms import ARMS, random_batches
from adarts_ext.bench.groups import Size
from adarts_ext.bench.parts.memory import kept_bytes
from adarts_ext.bench.report.markdown import mebibytes, spread, table, write
from adarts_ext.bench.timing import processor_seconds, take_turns
from adarts_ext.nn import SearchNetwork
from adarts_ext.search import SearchConfig
from adarts_ext.search.build import make_optimizers
from adarts_ext.search.step import architecture_step, first_order_gradient, weight_step

ALL = "all eight"
SELECTIONS = {"ADARTS": "attention", "DARTS": "all"}
COUNTS = {ALL: 7, "three": 3, "one": 1, "none": 0}


class Drawn:
    """The softmax of the alphas, but 0 for all candidates of an edge but so many, drawn anew."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.generator = torch.Generator().manual_seed(1)

    def __call__(self, alphas: Tensor) -> Tensor:
        """Return the weights, (edges, 8)."""
        drawn = torch.rand(len(alphas), 7, generator=self.generator).argsort(-1) < self.count
        return alphas.softmax(-1) * torch.nn.functional.pad(drawn, (1, 0))


class Step:
    """A network of one arm; each call makes a search step."""

    def __init__(self, count: int, size: Size, selection: str, backend: str) -> None:
        torch.manual_seed(0)
        weights, config = Drawn(count), SearchConfig()
        self.network = SearchNetwork(
            size.channels,
            layers=size.layers,
            selection=selection,
            edge_normalization=selection != "all",
            backend=backend,
            weights=weights,
            skip_zeros=count < 7,
        )
        self.grad_clip = config.grad_clip
        trained = self.network.flat_parameters(), self.network.arch_parameters()
        self.weight_optimizer, self.arch_optimizer = make_optimizers(config, *trained)
        self.batches = random_batches(ARMS["ours, store"], size, "cpu", 2, seed=1)

    def __call__(self) -> None:
        """Make a step on alphas, then one on weights."""
        train, validation = self.batches
        _, gradient = first_order_gradient(self.network, self.weight_optimizer, validation)
        architecture_step(self.arch_optimizer, self.network.arch_parameters(), gradient)
        weight_step(self.network, self.weight_optimizer, train, self.grad_clip)

    def kept(self) -> int:
        """Return the bytes that autograd keeps after a forward pass."""
        network, images = self.network, self.batches[0][0]
        known = [*network.parameters(), *network.buffers(), *network.arch_parameters(), images]
        known += network.flat_parameters()
        return kept_bytes(lambda: network(images), known)


def main(arguments: list[str] | None = None) -> None:
    """Measure, print, and write the table where asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, help="write the table here, and rows beside it")
    parser.add_argument("--batch", type=int, default=64, metavar="N")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--plain", action="store_true", help="ADARTS in plain torch too")
    add_size_options(parser)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    size = Size(options.batch, options.init_channels, options.layers, options.size)
    arms = [(method, "fused") for method in SELECTIONS]
    if options.plain:
        arms.append(("ADARTS", "reference"))
    lines = [
        f"{machine.device_name('cpu')}, one thread, torch {torch.__version__}, {date.today()}",
        "",
        f"Search steps, C={size.channels}, {size.layers} cells, N={size.batch}, "
        f"{size.image}x{size.image}: processor time, medians of {options.rounds} "
        "interleaved rounds (minimum to maximum); shares are of all eight candidates.",
    ]
    measured = []
    for method, backend in arms:
        chosen = SELECTIONS[method], backend
        steps = {
            name: Step(count, size, *chosen)
            for name, count in COUNTS.items()
            if count or backend == "fused"  # plain torch has no gradient of nothing
        }
        label = f"{method}, {'fused' if backend == 'fused' else 'plain torch'}"
        with ExitStack() as stack:
            for step in steps.values():
                stack.enter_context(step.network.unchanging())  # as a search does
            rows = _measure(label, steps, options.rounds, measured)
        lines += ["", *table([label, "seconds a step", "share", "kept, MiB", "share"], rows)]
    write(options.out, lines, measured)


def _measure(
    label: str, steps: dict[str, Callable[[], None]], rounds: int, measured: list[dict]
) -> list[list[str]]:
    for step in steps.values():
        step()  # warm
    kept = {name: statistics.median(step.kept() for _ in range(9)) for name, step in steps.items()}
    seconds = take_turns(steps, rounds, processor_seconds)
    table_rows = []
    for name, taken in seconds.items():
        shares = [own / full for own, full in zip(taken, seconds[ALL], strict=True)]
        memory = mebibytes(kept[name]), f"{kept[name] / kept[ALL]:.2f}"
        table_rows.append([name, spread(taken, 2), spread(shares, 2), *memory])
        row = {"arm": label, "candidates": name, "seconds": taken, "kept": kept[name]}
        measured.append(row)
    return table_rows


if __name__ == "__main__":
    main()
