"""``adarts bench``."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from adarts_ext.cli import OneLineParser
from adarts_ext.runs.device import resolve_device
from adarts_ext.runs.options import check_image_size, check_range

GIB = 2**30
TERMS = """\
words:
  group, arm         what is compared, and one way of doing it; the arms of a group take turns
  round              one turn of all arms; medians over rounds are reported
  plain              the network in plain torch as the methods' authors released it
  channels_last      the same, with channels last in memory
  frozen             plain, but each half of a search step computes only the gradients it uses
  drop-in            the plain network after adarts_ext.accelerate
  ours, store        this package's network; store keeps what the backward pass needs,
  ours, recompute    recompute computes most of it again
  kept               bytes that autograd holds after a forward pass, for the backward pass
parts:
  ops                every operator, forward and backward
  cell               one search cell of each kind, forward and backward
  step               a whole search step: alphas and betas on one batch, weights on another
  memory             what a pass keeps, and the rise of the peak
  scaling            a step, and what is kept, against batch, channels, cells and image size
"""
BATCHES = {"cpu": (64, 32), "cuda": (64, 256)}


def parser(parts: list[str], default_parts: tuple[str, ...]) -> OneLineParser:
    """Make the parser; it needs nothing but the standard library."""
    made = OneLineParser(
        prog="adarts bench",
        description="Measure this package against plain torch on the device that is there.\n"
        "Tables (results.md), rows (results.jsonl, written after every group, so that an\n"
        "interrupted run keeps what it has) and pictures go into a folder named after the device.",
        epilog=TERMS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    made.add_argument("--parts", nargs="+", choices=parts, default=default_parts, metavar="PART")
    made.add_argument(
        "--fit", action="store_true", help="only find the largest batch of every memory mode"
    )
    made.add_argument(
        "--out", type=Path, default=Path("results"), metavar="FOLDER", help="(default: results)"
    )
    made.add_argument(
        "--compare",
        type=Path,
        metavar="RESULT",
        help="an earlier result, a folder or its results.jsonl; exit with 1 if anything takes over "
        "1.10 times what it took",
    )
    made.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    made.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of the CPU")
    made.add_argument("--rounds", type=int, default=9, help="turns of each arm (default: 9)")
    made.add_argument(
        "--batches", type=int, nargs="+", metavar="N", help="(default: 64 32; on a GPU 64 256)"
    )
    made.add_argument("--init-channels", type=int, default=16, metavar="C", help="(default: 16)")
    made.add_argument("--layers", type=int, default=8, metavar="L", help="cells (default: 8)")
    made.add_argument("--image-size", type=int, default=32, metavar="PIXELS", help="(default: 32)")
    made.add_argument(
        "--compile-seconds",
        type=float,
        default=300.0,
        metavar="S",
        help="what torch.compile is given for the operators, and for a search step (default: 300)",
    )
    made.add_argument(
        "--memory-limit", type=float, metavar="GIB", help="what --fit may fill; else 80%% of it"
    )
    return made


def run(arguments: list[str]) -> int:
    """Measure, print and write; give 1 where something failed or got worse than it was."""
    from adarts_ext.bench import results, runner
    from adarts_ext.bench.groups import Options
    from adarts_ext.bench.machine import describe, folder_name
    from adarts_ext.bench.report import plots
    from adarts_ext.bench.report.compare import compare, comparison, regressions
    from adarts_ext.bench.report.sections import write_report

    named = [part for part in runner.PARTS if part != "fit"]
    given = parser(named, runner.DEFAULT_PARTS).parse_args(arguments)
    device = resolve_device(given.device).type
    for name in ("rounds", "threads", "init_channels"):
        check_range(name, getattr(given, name), 1)
    check_range("layers", given.layers, 3)
    check_image_size(given.image_size)
    check_range("compile_seconds", given.compile_seconds, 0)
    if given.memory_limit is not None:
        check_range("memory_limit", given.memory_limit, 0, above=True)
    options = Options(
        device,
        given.threads,
        given.rounds,
        tuple(given.batches or BATCHES[device]),
        given.init_channels,
        given.layers,
        given.image_size,
        given.compile_seconds,
        given.memory_limit and int(given.memory_limit * GIB),
    )
    for batch in options.batches:
        check_range("batches", batch, 1)
    parts = runner.with_roofs(["fit"] if given.fit else given.parts)
    machine = describe(options)
    folder = given.out / folder_name(machine["device"])
    earlier = results.load(given.compare) if given.compare else None
    if earlier:
        results.check_same_machine(earlier, machine, given.compare)
    path = folder / results.RESULTS_FILE
    old = results.load_to_join(path, parts, machine)

    folder.mkdir(parents=True, exist_ok=True)
    now = runner.run(parts, options, lambda so_far: so_far.after(old).write(path))
    whole = results.load(path)
    print("\n".join(write_report(whole, folder / "results.md")))
    plots.draw_all(whole, folder)
    print(f"\nresults in {folder}")
    bad = any(one["missing"].startswith(runner.FAILED) for one in now.missing)
    if earlier:
        changes = compare(earlier, now)
        print(f"\nCompared with {given.compare}:", *comparison(changes), sep="\n")
        bad = bad or bool(regressions(changes))
    return int(bad)
