"""``adarts_ext.accelerate`` on the search networks of published code bases, unchanged.

    python benchmarks/scripts/measure_dropin.py --sources DIR [--only NAME ...]

``DIR`` holds clones of them, each in a folder of the repository's name; what is not there is left
out (:mod:`code_bases` lists them). Where there is no GPU, ``.cuda()`` is made to do nothing.
For each: the distances of outputs and gradients from float64, the largest over three batches, as
they were and accelerated; the seconds of a search step (alphas by Adam, weights by SGD with
clipping, all gradients computed in both halves, as released), the arms in turn; the bytes kept for
backward; and what the report says.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import torch
from code_bases import CODE_BASES, alphas_of, keep_on_the_cpu, load
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import adarts_ext
from adarts_ext.bench import machine
from adarts_ext.bench.parts.memory import kept_bytes
from adarts_ext.bench.report.markdown import spread, table, write
from adarts_ext.bench.rows import Row
from adarts_ext.bench.timing import stopwatch, take_turns
from adarts_ext.compat.verify import distances

MIB = 2**20


@dataclass
class Found:
    """What was measured of one network."""

    label: str
    fused: str
    batch: int
    distances: dict[str, tuple[float, float]]  # accelerated, as released
    seconds: dict[str, list[float]]
    kept: dict[str, int]


def search_step(model: nn.Module, images: Tensor, labels: Tensor) -> Callable[[], None]:
    """One step of the search as the code bases make it, first order."""
    weights = torch.optim.SGD(model.parameters(), 0.025, momentum=0.9, weight_decay=3e-4)
    alphas = torch.optim.Adam(alphas_of(model), 3e-4, betas=(0.5, 0.999), weight_decay=1e-3)

    def step() -> None:
        alphas.zero_grad()
        cross_entropy(model(images), labels).backward()
        alphas.step()
        weights.zero_grad()
        cross_entropy(model(images), labels).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 5)
        weights.step()

    return step


def measure(label: str, plain: nn.Module, side: int, batch: int, rounds: int) -> Found:
    """Compare a network with two accelerated copies of it."""
    arms = {
        "as released": plain,
        "store": adarts_ext.accelerate(copy.deepcopy(plain)),
        "recompute": adarts_ext.accelerate(copy.deepcopy(plain), memory="recompute"),
    }
    worst: dict[str, tuple[float, float]] = {}
    for seed in range(3):
        generator = torch.Generator().manual_seed(seed)
        images = torch.randn(min(8, batch), 3, side, side, generator=generator).cuda()
        for name, pair in distances(plain, arms["store"], images).items():
            worst[name] = tuple(map(max, pair, worst.get(name, pair)))
    images, labels = torch.randn(batch, 3, side, side).cuda(), torch.randint(10, (batch,)).cuda()
    known = {
        name: [*model.parameters(), *model.buffers(), *alphas_of(model), images]
        for name, model in arms.items()
    }
    kept = {
        name: kept_bytes(lambda model=model: model(images), known[name])
        for name, model in arms.items()
    }
    steps = {name: search_step(model, images, labels) for name, model in arms.items()}
    for step in steps.values():
        step()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    seconds = take_turns(steps, rounds, stopwatch(device))
    fused = str(adarts_ext.acceleration_report(arms["store"]))  # as it ran
    return Found(label, fused, batch, worst, seconds, kept)


def rows(found: Found) -> list[list[str]]:
    """A row for each arm."""
    made = []
    for name, seconds in found.seconds.items():
        base = found.seconds["as released"]
        ratios = [a / b for a, b in zip(base, seconds, strict=True)]
        less = found.kept["as released"] / found.kept[name]
        made.append(
            [
                found.label if name == "as released" else "",
                str(found.batch),
                name,
                spread(seconds, 2),
                spread(ratios, 2),
                f"{found.kept[name] / MIB:.0f}",
                f"{less:.1f}x",
            ]
        )
    return made


def flat_rows(found: Found) -> list[Row]:
    """What was measured, for the file beside the tables: the report, arms, and distances."""
    network = {"network": found.label}
    return [
        {**network, "report": found.fused.strip(), "batch": found.batch},
        *(
            {**network, "arm": name, "seconds": seconds, "kept_bytes": found.kept[name]}
            for name, seconds in found.seconds.items()
        ),
        *(
            {**network, "distance": what, "accelerated": ours, "as released": theirs}
            for what, (ours, theirs) in found.distances.items()
        ),
    ]


def write_report(found: list[Found], options: argparse.Namespace) -> None:
    """Print what was measured so far, and write it where asked."""
    errors = [
        [one.label, name, f"{ours:.1e}", f"{theirs:.1e}"]
        for one in found
        for name, (ours, theirs) in one.distances.items()
    ]
    lines = [
        f"{machine.line(options.threads)}, {date.today()}",
        "",
        f"The search networks of published code, unchanged, C={options.init_channels}, "
        f"{options.layers} cells, 10 classes, float32, and the same after one line, "
        "`adarts_ext.accelerate(model, memory=...)`. 32x32 images (ImageNet: 224x224).",
        "",
        "One search step, first order, as released: medians of interleaved rounds in one process "
        "(minimum to maximum), and what autograd keeps after a forward pass.",
        "",
        *table(
            ["network", "N", "memory", "seconds", "times as fast", "kept, MiB", "less"],
            [row for one in found for row in rows(one)],
        ),
        "",
        "Distances from the same network in float64, relative to the sizes of tensors, root mean "
        "square over tensors, the largest of three batches of 8 images (some gradients vanish but "
        "for rounding, so a size is at least 1 % of the largest):",
        "",
        *table(["network", "", "accelerated", "as released"], errors),
        "",
        "What `acceleration_report` says:",
        "",
        *[line for one in found for line in (f"{one.label}:", "", "```text", one.fused, "```", "")],
    ]
    write(options.out, lines, [row for one in found for row in flat_rows(one)])


def main() -> None:
    """Measure, print, and write the tables where asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sources", type=Path, required=True, help="folder of the clones")
    parser.add_argument("--only", nargs="+", default=[""], help="parts of the networks' labels")
    parser.add_argument("--out", type=Path, help="write the tables here, and rows beside them")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--init-channels", type=int, default=16, metavar="C")
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--batch", type=int, metavar="N", help="in place of the usual")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if not torch.cuda.is_available():
        keep_on_the_cpu()
    found = []
    for base in CODE_BASES:
        here = (options.sources / base.folders[0]).is_dir()
        if here and any(part in base.label for part in options.only):
            plain = load(base, options.sources, options.init_channels, options.layers)
            batch = options.batch or base.batch
            found.append(measure(base.label, plain, base.side, batch, options.rounds))
            write_report(found, options)  # after each: all of them take an hour


if __name__ == "__main__":
    main()
