"""A search on real images: do the fused cells learn as plain torch does?

    python benchmarks/scripts/compare_convergence.py [--out FOLDER] [--steps 200] [--seeds 0 1]
        [--runs "fused" "fused, bf16" ...]

The search runs on the digits of scikit-learn (enlarged to 16x16) with alphas and betas trained from
the first step, in float32 but where it is said, from the same weights and on the same batches:

- ``reference``: plain torch on one thread, what the others are compared with;
- ``fused``: the fused cells, on one thread;
- ``two threads``: plain torch on two threads, which adds the same numbers in another order;
- ``fused, bf16``: the fused cells with ``--precision bf16``, on one thread;
- ``reference, bf16``: plain torch likewise.

The search is chaotic: rounding decides where channels' scores nearly tie, and from there on two
runs see different channels. Two runs of plain torch with different numbers of threads show how
much of this is to be expected. The same step of two runs is compared: its training loss and its
validation loss (the one that trains alphas and betas), and in the end the softmaxed alphas.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import torch
from torch import Tensor

from adarts_ext.bench import machine
from adarts_ext.bench.report.markdown import table, write
from adarts_ext.data import load_dataset
from adarts_ext.nn import SearchNetwork
from adarts_ext.runs.precision import set_precision
from adarts_ext.search import SearchConfig
from adarts_ext.search.build import build_network, make_loaders, make_optimizers
from adarts_ext.search.step import architecture_step, first_order_gradient, weight_step

#: Backend, threads and precision.
RUNS = {
    "reference": ("reference", 1, "fp32"),
    "fused": ("fused", 1, "fp32"),
    "two threads": ("reference", 2, "fp32"),
    "fused, bf16": ("fused", 1, "bf16"),
    "reference, bf16": ("reference", 1, "bf16"),
}
BASE = "reference"
STYLES = dict(zip(RUNS, ("-", "--", ":", "-.", "-"), strict=True))  # of their lines in the plot
LOSSES = ("training", "validation")
SMOOTH = 10  # steps, in the plot of the differences
FAR = 1e-3  # a difference that can be seen, in nats


def search(config: SearchConfig, threads: int, steps: int) -> dict[str, list]:
    """The losses of every step, and alphas and betas in the end."""
    torch.set_num_threads(threads)
    dataset = load_dataset(config.dataset, image_size=config.image_size)
    train_loader, validation_loader, _ = make_loaders(config, dataset, torch.device("cpu"))
    torch.manual_seed(config.seed)
    network = build_network(config, dataset)
    set_precision(network, config.precision)
    weight_optimizer, arch_optimizer = make_optimizers(
        config, network.flat_parameters(), network.arch_parameters()
    )
    network.train()
    losses: dict[str, list[float]] = {name: [] for name in LOSSES}
    for _ in range(steps):
        loss, gradient = first_order_gradient(network, weight_optimizer, validation_loader.next())
        architecture_step(arch_optimizer, network.arch_parameters(), gradient)
        losses["validation"].append(loss.item())
        loss, _ = weight_step(network, weight_optimizer, train_loader.next(), config.grad_clip)
        losses["training"].append(loss.item())
    return {**losses, "alphas": alphas(network).tolist()}


@torch.no_grad()
def alphas(network: SearchNetwork) -> Tensor:
    """The weights of all operations on all edges."""
    both = torch.cat([network.alphas_normal, network.alphas_reduce])
    return both.softmax(dim=-1).flatten()


def differences(one: Sequence[float], other: Sequence[float]) -> list[float]:
    """How far two curves are apart, step by step."""
    return [abs(a - b) for a, b in zip(one, other, strict=True)]


def compare(run: dict[str, list], base: dict[str, list]) -> dict[str, float | int | None]:
    """Numbers for how far a run is from the base."""
    found: dict[str, float | int | None] = {}
    for name in LOSSES:
        apart = differences(run[name], base[name])
        found[f"{name} max"], found[f"{name} mean"] = max(apart), statistics.mean(apart)
        found[f"{name} last"] = abs(end_of(run[name]) - end_of(base[name]))
    apart = differences(run["training"], base["training"])
    found["first far"] = next((step for step, d in enumerate(apart, 1) if d > FAR), None)
    found["alphas max"] = max(differences(run["alphas"], base["alphas"]))
    return found


def end_of(losses: list[float]) -> float:
    """The mean of the last tenth of the steps."""
    return statistics.mean(losses[-max(1, len(losses) // 10) :])


def smooth(values: Sequence[float]) -> list[float]:
    """The mean of the last steps."""
    return [
        statistics.mean(values[max(0, step - SMOOTH + 1) : step + 1]) for step in range(len(values))
    ]


def compared(found: dict[int, dict[str, dict]]) -> list[str]:
    """The names of the runs that are compared with the reference."""
    return [name for name in next(iter(found.values())) if name != BASE]


def rows(found: dict[int, dict[str, dict]]) -> list[list[object]]:
    """A row for each seed and compared run."""
    made = []
    for seed, runs in found.items():
        for name in compared(found):
            numbers = compare(runs[name], runs[BASE])
            row: list[object] = [f"{name} and {BASE}", seed]
            for loss in LOSSES:
                row += [f"{numbers[f'{loss} {what}']:.1e}" for what in ("max", "mean", "last")]
            row += [numbers["first far"] or "never", f"{numbers['alphas max']:.1e}"]
            made.append(row)
    return made


def verdict(found: dict[int, dict[str, dict]]) -> str:
    """Say in one sentence how near every run is to the reference."""
    parts = []
    for loss in LOSSES:
        means = {
            name: statistics.mean(
                compare(runs[name], runs[BASE])[f"{loss} mean"] for runs in found.values()
            )
            for name in compared(found)
        }
        parts.append(
            f"in the {loss} loss "
            + ", ".join(f"{name} {apart:.1e} nats" for name, apart in means.items())
        )
    return f"Distances from the reference, means over steps and seeds: {'; '.join(parts)}."


def plot(found: dict[int, dict[str, dict]], out: Path) -> None:
    """Curves above, their distance from the reference below; a column for each loss."""
    from matplotlib.figure import Figure

    seed, runs = next(iter(found.items()))
    figure = Figure(figsize=(11, 6.5), layout="constrained")
    panels = figure.subplots(2, len(LOSSES), sharex=True, sharey="row")
    for column, loss in enumerate(LOSSES):
        above, below = panels[:, column]
        for name, run in runs.items():
            above.plot(run[loss], STYLES[name], label=name, linewidth=1.2)
        above.set_title(f"{loss} loss, seed {seed}")
        for color, name in enumerate(compared(found), 1):
            for number, each in enumerate(found.values()):
                label = f"{name} and {BASE}" if number == 0 else None
                apart = smooth(differences(each[name][loss], each[BASE][loss]))
                below.plot(apart, color=f"C{color}", alpha=0.8, label=label)
        below.set_yscale("log")
        below.set_xlabel("step")
        below.grid(alpha=0.3)
    panels[0, 0].set_ylabel("cross entropy, nats")
    panels[1, 0].set_ylabel(f"difference, mean of {SMOOTH} steps, all seeds")
    panels[0, 0].legend()
    panels[1, 0].legend()
    figure.savefig(out, dpi=120)


def main(arguments: list[str] | None = None) -> None:
    """Run, print, and write the table and the picture where asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--out", type=Path, help="write convergence.{md,jsonl,png} into this folder"
    )
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument(
        "--runs",
        nargs="+",
        default=[name for name in RUNS if name != BASE],
        choices=[name for name in RUNS if name != BASE],
        metavar="RUN",
        help="which are compared with the reference (default: all)",
    )
    parser.add_argument("--batch", type=int, default=32, metavar="N")
    parser.add_argument("--init-channels", type=int, default=8, metavar="C")
    parser.add_argument("--layers", type=int, default=3)
    options = parser.parse_args(arguments)
    found = {}
    for seed in options.seeds:
        found[seed] = {}
        for name in (BASE, *options.runs):
            backend, threads, precision = RUNS[name]
            config = SearchConfig(
                seed=seed,
                backend=backend,
                precision=precision,
                batch_size=options.batch,
                init_channels=options.init_channels,
                layers=options.layers,
            )
            found[seed][name] = search(config, threads, options.steps)
            losses = ", ".join(f"{loss} {end_of(found[seed][name][loss]):.4f}" for loss in LOSSES)
            print(f"seed {seed}, {name}: {losses}", flush=True)
    lines = [
        f"{machine.line(torch.get_num_threads())}, {date.today()}",
        "",
        f"{options.steps} search steps on the digits, N={options.batch}, "
        f"C={options.init_channels}, {options.layers} cells, K=4, attention: differences "
        "between two runs from the same seed. Last is the difference of the means over the last "
        "tenth of the steps; far is the first step whose training losses differ by more than "
        f"{FAR:g} nats; alphas are compared after the softmax, at the end.",
        "",
        *table(
            [
                "runs",
                "seed",
                *(f"{loss} loss, {what}" for loss in LOSSES for what in ("max", "mean", "last")),
                "far from step",
                "alphas, max",
            ],
            rows(found),
        ),
        "",
        verdict(found),
    ]
    out = None
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
        plot(found, options.out / "convergence.png")
        lines += ["", "![Losses of the runs and their differences](convergence.png)"]
        out = options.out / "convergence.md"
    runs = [
        {"seed": seed, "run": name, "what": what, "values": values}
        for seed, of_seed in found.items()
        for name, run in of_seed.items()
        for what, values in run.items()
    ]
    write(out, lines, runs)


if __name__ == "__main__":
    main()
