"""``adarts bench``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import torch

from adarts_ext.arguments import as_option
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
LEAST = {"rounds": 1, "threads": 1, "init_channels": 1, "layers": 3, "compile_seconds": 0}
#: The parts in which an option has an effect, of those that have none in some.
PARTS_OF = {
    "rounds": ("ops", "cell", "step", "scaling"),
    "batches": ("ops", "cell", "step", "memory", "scaling"),
    "compile_seconds": ("ops", "step"),
    "memory_limit": ("fit",),
}


def parser(parts: list[str], default_parts: tuple[str, ...]) -> OneLineParser:
    """Make the parser; it needs nothing but the standard library.

    What it parses holds the options that were given, and no defaults.
    """
    made = OneLineParser(
        prog="adarts bench",
        usage="adarts bench [--parts PART ...] [--device DEVICE] [--out FOLDER] [options]",
        description="Measure this package against plain torch on the device that is there.\n"
        "Tables (results.md), rows (results.jsonl, written after every group, so that an\n"
        "interrupted run keeps what it has) and pictures go into a folder named after the device.",
        epilog=TERMS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    made.add_argument(
        "--parts",
        nargs="+",
        choices=parts,
        metavar="PART",
        help=f"what to measure, of {', '.join(parts)}, explained below (default: "
        f"{' '.join(default_parts)})",
    )
    made.add_argument(
        "--fit",
        action="store_true",
        help="measure no part, but find the largest batch that fits, in every memory mode",
    )
    made.add_argument(
        "--out",
        type=Path,
        metavar="FOLDER",
        help="where the device's folder is made (default: results)",
    )
    made.add_argument(
        "--compare",
        type=Path,
        metavar="RESULT",
        help="an earlier result, a folder or its results.jsonl; exit with 1 if anything takes over "
        "1.10 times what it took",
    )
    made.add_argument(
        "--device",
        choices=("auto", "cpu", "cuda"),
        help="auto is CUDA where there is one, else the CPU (default: auto)",
    )
    made.add_argument(
        "--threads",
        type=int,
        metavar="N",
        help=f"threads of the CPU (default: those of torch, here {torch.get_num_threads()})",
    )
    made.add_argument("--rounds", type=int, metavar="N", help="turns of each arm (default: 9)")
    made.add_argument(
        "--batches",
        type=int,
        nargs="+",
        metavar="N",
        help="images in a batch; cell and scaling take the first (default: 64 32; on a GPU 64 256)",
    )
    made.add_argument(
        "--init-channels",
        type=int,
        metavar="C",
        help="channels of the first cells (default: 16)",
    )
    made.add_argument(
        "--layers", type=int, metavar="L", help="cells of the network, at least 3 (default: 8)"
    )
    made.add_argument(
        "--image-size",
        type=int,
        metavar="PIXELS",
        help="side of the images (default: 32)",
    )
    made.add_argument(
        "--compile-seconds",
        type=float,
        metavar="S",
        help="what torch.compile is given for the operators, and for a search step (default: 300)",
    )
    made.add_argument(
        "--memory-limit",
        type=float,
        metavar="GIB",
        help="what --fit may fill (default: 80%% of what is free)",
    )
    return made


def parse(arguments: list[str], known: list[str], default_parts: tuple[str, ...]) -> dict[str, Any]:
    """Parse the options; those that were not given are not there, but ``parts`` always is."""
    made = parser(known, default_parts)
    given = vars(made.parse_args(arguments))
    if given.pop("fit", False):
        if "parts" in given:
            made.error(f"--fit measures no part, got --parts {' '.join(given['parts'])} too")
        given["parts"] = ["fit"]
    parts = given.setdefault("parts", list(default_parts))
    for name, of in PARTS_OF.items():
        if name in given and not set(of) & set(parts):
            took = " and ".join("--fit" if part == "fit" else part for part in parts)
            for_parts = "--fit" if of == ("fit",) else f"the parts {', '.join(of)}"
            made.error(f"{as_option(name)}: only for {for_parts}, got it for {took}")
    return given


def run(arguments: list[str]) -> int:
    """Measure, print and write; give 1 where something failed or got worse than it was."""
    from adarts_ext.bench import results, runner
    from adarts_ext.bench.groups import FAILED, Options
    from adarts_ext.bench.machine import check_kernels, describe, folder_name
    from adarts_ext.bench.report.compare import compare, comparison, regressions
    from adarts_ext.bench.report.sections import write_report

    named = [part for part in runner.PARTS if part != "fit"]
    given = parse(arguments, named, runner.DEFAULT_PARTS)
    device = resolve_device(given.get("device", "auto")).type
    check_kernels(device)
    for name, least in LEAST.items():
        if name in given:
            check_range(name, given[name], least)
    if "image_size" in given:
        check_image_size(given["image_size"])
    limit = given.get("memory_limit")
    if limit is not None:
        check_range("memory_limit", limit, 0, above=True)
    options = Options(
        device,
        given.get("threads", torch.get_num_threads()),
        given.get("rounds", 9),
        tuple(given.get("batches", BATCHES[device])),
        given.get("init_channels", 16),
        given.get("layers", 8),
        given.get("image_size", 32),
        given.get("compile_seconds", 300.0),
        limit and int(limit * GIB),
    )
    for batch in options.batches:
        check_range("batches", batch, 1)
    parts = runner.with_roofs(given["parts"])
    machine = describe(options)
    folder = given.get("out", Path("results")) / folder_name(machine["device"])
    earlier = results.load(given["compare"]) if "compare" in given else None
    if earlier:
        results.check_same_machine(earlier, machine, given["compare"])
    path = folder / results.RESULTS_FILE
    old = results.load_to_join(path, parts, machine)

    folder.mkdir(parents=True, exist_ok=True)
    now = runner.run(parts, options, lambda so_far: so_far.after(old).write(path))
    whole = results.load(path)
    print("\n".join(write_report(whole, folder / "results.md")))
    try:
        from adarts_ext.bench.report import plots

        plots.draw_all(whole, folder)
    except ModuleNotFoundError as error:  # what was measured is worth more than its pictures
        print(f"no pictures: {error.name} is not installed", file=sys.stderr)
    print(f"\nresults in {folder}")
    bad = any(one["missing"].startswith(FAILED) for one in now.missing)
    if earlier:
        changes = compare(earlier, now)
        print(f"\nCompared with {given['compare']}:", *comparison(changes), sep="\n")
        bad = bad or bool(regressions(changes))
    return int(bad)
