"""A training step of a derived network: memory formats, precisions, torch.compile.

    python benchmarks/scripts/retrain_step.py [--out FILE.md] [--genotype ADARTS_V1] [--batch 96]

The step of ``adarts retrain`` under its published settings, data loading left out: forward and
backward pass with the auxiliary head and drop path, clipping, SGD. All arms begin with the same
weights and take turns in one process. On a CPU their seconds are those of the processor, which
other work on the machine changes least. What each makes of the logits and of the gradients is
compared with the same network in float64, on batches of 16 images and while no path is dropped.
"""

from __future__ import annotations

import argparse
import copy
import statistics
from collections.abc import Callable
from datetime import date
from pathlib import Path

import torch
from torch import Tensor, nn

from adarts_ext import genotype
from adarts_ext.bench import machine
from adarts_ext.bench.report.markdown import spread, table, write
from adarts_ext.bench.timing import processor_seconds, stopwatch, take_turns
from adarts_ext.data import ImageDataset
from adarts_ext.retrain import RetrainConfig
from adarts_ext.retrain.loop import RetrainState, prepare, train_step

Batch = tuple[Tensor, Tensor]
DRAWS = 3  # batches that are compared with float64
NEVER = 1e-30  # a probability that drops no path, in the code that others are dropped in
BASE = "contiguous, fp32"
ARMS = {
    BASE: {"memory_format": "contiguous"},
    "channels_last, fp32": {"memory_format": "channels_last"},
    "contiguous, bf16": {"memory_format": "contiguous", "precision": "bf16"},
    "channels_last, bf16": {"memory_format": "channels_last", "precision": "bf16"},
}
COMPILED = {"contiguous, fp32, compiled": {"memory_format": "contiguous", "compile": True}}


def random_images(count: int) -> ImageDataset:
    """Images like those of CIFAR-10, of noise."""
    images = torch.randint(256, (count, 3, 32, 32), dtype=torch.uint8)
    labels = torch.arange(count) % 10
    return ImageDataset("noise", images, labels, images, labels, tuple("abcdefghij"), True)


def outcome(network: nn.Module, batch: Batch) -> dict[str, list[Tensor]]:
    """The logits of a network on a batch, and the gradients of its weights."""
    network.zero_grad()
    images, labels = batch
    outputs = network(images)
    sum(nn.functional.cross_entropy(logits, labels) for logits in outputs).backward()
    gradients = [weight.grad.double() for weight in network.parameters()]
    return {"logits": [logits.detach().double() for logits in outputs], "gradients": gradients}


def errors(networks: dict[str, nn.Module], batches: list[Batch]) -> dict[str, dict[str, float]]:
    """How far every arm is from float64, relative: medians over tensors and batches."""
    found = {name: {"logits": [], "gradients": []} for name in networks}
    double = copy.deepcopy(networks[BASE]).double()
    for images, labels in batches:
        exact = outcome(double, (images.double(), labels))
        for name, network in networks.items():
            for what, tensors in outcome(network, (images, labels)).items():
                found[name][what] += [
                    ((ours - theirs).norm() / theirs.norm()).item()
                    for ours, theirs in zip(tensors, exact[what], strict=True)
                    if theirs.norm() > 0
                ]
    return {
        name: {what: statistics.median(apart) for what, apart in of_arm.items()}
        for name, of_arm in found.items()
    }


def step_of(state: RetrainState, config: RetrainConfig, batch: Batch) -> Callable[[], None]:
    """A step in the middle of a training, to be called again and again."""
    state.network.train()
    state.network.drop_path_prob = config.drop_path_prob / 2
    return lambda: train_step(state, config, *batch)


def main(arguments: list[str] | None = None) -> None:
    """Measure, print, and write the table where asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, help="write the table here, and rows beside it")
    parser.add_argument("--genotype", default="ADARTS_V1", choices=sorted(genotype.KNOWN))
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--batch", type=int, default=96, metavar="N")
    parser.add_argument("--init-channels", type=int, default=36, metavar="C")
    parser.add_argument("--layers", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--compile", action="store_true", help="add arms with torch.compile")
    options = parser.parse_args(arguments)
    cells = genotype.KNOWN[options.genotype]
    sizes = {name: getattr(options, name) for name in ("init_channels", "layers", "device")}
    torch.manual_seed(0)
    data = random_images(options.batch)
    states, steps = {}, {}
    for name, changes in (ARMS | (COMPILED if options.compile else {})).items():
        config = RetrainConfig(**sizes, batch_size=options.batch, **changes)
        states[name] = prepare(cells, config, data)[0]
        steps[name] = step_of(states[name], config, states[name].loader.next())
        states[name].network.drop_path_prob = NEVER
    draws = [tuple(part[:16] for part in states[BASE].loader.next()) for _ in range(DRAWS)]
    apart = errors({name: state.network for name, state in states.items()}, draws)
    for state in states.values():
        state.network.drop_path_prob = config.drop_path_prob / 2
    for step in steps.values():
        step()  # warm
    clock = processor_seconds if options.device == "cpu" else stopwatch(options.device)
    seconds = take_turns(steps, options.rounds, clock)
    rows, measured = [], []
    for name, taken in seconds.items():
        ratios = [base / own for base, own in zip(seconds[BASE], taken, strict=True)]
        numbers = [f"{error:.1e}" for error in apart[name].values()]
        rows.append([name, spread(taken, 2), spread(ratios, 2), *numbers])
        measured.append({"arm": name, "seconds": taken, "errors": apart[name]})
    where = f"{machine.device_name(options.device)}, {torch.get_num_threads()} threads"
    of_processor = "of the processor, " if options.device == "cpu" else ""
    lines = [
        f"{where}, torch {torch.__version__}, {date.today()}",
        "",
        f"A training step of {options.genotype}, C={options.init_channels}, {options.layers} "
        f"cells, N={options.batch}, 32x32: seconds ({of_processor}medians of {options.rounds} "
        "interleaved rounds, minimum to maximum), and distances from float64.",
        "",
        *table(["arm", "seconds", "times as fast", "logits", "gradients"], rows),
    ]
    write(options.out, lines, measured)


if __name__ == "__main__":
    main()
