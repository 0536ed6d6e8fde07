"""A search step of every strategy: the fused cells against plain torch.

    python benchmarks/scripts/strategy_steps.py [--out FILE.md] [--batch 64] [--rounds 3] [NAME ...]

The steps are those of ``adarts search --strategy NAME --preset adarts``: of ADARTS's network, on
images of noise, loading left out; alphas and weights are both trained. Fused and plain take turns
in one process; on a CPU it is the processor time of one thread. Kept is what a forward pass keeps
for its backward pass, all weights and alphas trained.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from datetime import date
from pathlib import Path

import torch
from retrain_step import random_images

from adarts_ext.bench import machine
from adarts_ext.bench.parts.memory import kept_bytes
from adarts_ext.bench.report.markdown import spread, table, write
from adarts_ext.bench.timing import cuda_seconds, processor_seconds, take_turns
from adarts_ext.search import SearchConfig
from adarts_ext.search.loop import prepare
from adarts_ext.search.passes import Passes
from adarts_ext.search.state import SearchState
from adarts_ext.strategies import STRATEGIES, Strategy

FUSED, PLAIN = "fused", "reference"
NAMES = ["adarts", *(name for name, owner in STRATEGIES.items() if owner is not Strategy)]
EPOCH, EPOCHS = 25, 50  # in whose middle what hangs on the epoch is at work


def make_search(config: SearchConfig) -> SearchState:
    """A search on noise, in the middle of its epochs."""
    data = random_images(2 * config.batch_size)
    state = prepare(config, data)[0]
    state.network.train()
    state.strategy.begin_epoch(EPOCH, EPOCHS)
    return state


def step_of(state: SearchState, config: SearchConfig) -> Callable[[], None]:
    """A whole step, to be called again and again."""
    passes = Passes(state, config, state.train_loader.device)
    train, validation = state.train_loader.next(), state.validation_loader.next()

    def step() -> None:
        passes.train_architecture(*validation)
        passes.train_weights(*train)

    return step


def kept_by(state: SearchState) -> int:
    """Bytes that a forward pass keeps."""
    network, images = state.network, state.train_loader.next()[0]
    known = [*network.parameters(), *network.flat_parameters(), *network.buffers()]
    return kept_bytes(lambda: network(images), [*known, *network.arch_parameters(), images])


def main(arguments: list[str] | None = None) -> None:
    """Measure, print, and write the table where asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="strategies (default: all)")
    parser.add_argument("--out", type=Path, help="write the table here, and rows beside it")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--batch", type=int, default=64, metavar="N")
    parser.add_argument("--rounds", type=int, default=3)
    default = SearchConfig()
    parser.add_argument("--init-channels", type=int, default=default.init_channels, metavar="C")
    parser.add_argument("--layers", type=int, default=default.layers)
    options = parser.parse_args(arguments)
    torch.manual_seed(0)
    torch.set_num_threads(1)
    clock = cuda_seconds if options.device == "cuda" else processor_seconds
    rows, measured = [], []
    for name in options.names or NAMES:
        config = SearchConfig(
            strategy=name,
            init_channels=options.init_channels,
            layers=options.layers,
            batch_size=options.batch,
            device=options.device,
        )
        steps, kept = {}, {}
        with ExitStack() as stack:
            for backend in (FUSED, PLAIN):
                own = replace(config, backend=backend)
                state = make_search(own)
                stack.enter_context(state.network.unchanging())  # as in a search
                kept[backend] = kept_by(state)
                steps[backend] = step_of(state, own)
                steps[backend]()  # warm
            seconds = take_turns(steps, options.rounds, clock)
        ratios = [plain / own for own, plain in zip(seconds[FUSED], seconds[PLAIN], strict=True)]
        times = [spread(seconds[PLAIN], 2), spread(seconds[FUSED], 2), spread(ratios, 1)]
        sizes = [f"{kept[backend] / 1e6:.0f}" for backend in (PLAIN, FUSED)]
        rows.append([name, *times, *sizes, f"{kept[PLAIN] / kept[FUSED]:.1f}"])
        measured.append({"strategy": name, "seconds": seconds, "kept_bytes": kept})
        print(*rows[-1], sep="  ", flush=True)
    lines = [
        f"{machine.device_name(options.device)}, one thread, torch {torch.__version__}, "
        f"{date.today()}",
        "",
        f"A search step of ADARTS's network, C={options.init_channels}, {options.layers} cells, "
        f"N={options.batch}, 32x32, under every strategy: medians of {options.rounds} interleaved "
        "rounds (minimum to maximum), and what a forward pass keeps.",
        "",
        *table(
            [
                "strategy",
                "plain torch, s",
                "fused, s",
                "times as fast",
                "kept by plain, MB",
                "by fused, MB",
                "times less",
            ],
            rows,
        ),
    ]
    write(options.out, lines, measured)


if __name__ == "__main__":
    main()
