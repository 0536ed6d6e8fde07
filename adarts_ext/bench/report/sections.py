"""The report of a result, as Markdown that also reads well in a terminal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from adarts_ext.bench.report.compare import TIMED
from adarts_ext.bench.report.markdown import table
from adarts_ext.bench.report.tables import (
    arms_table,
    fit_table,
    memory_table,
    ops_table,
    roofline_table,
    scaling_table,
)
from adarts_ext.bench.results import Results, dates
from adarts_ext.files import write_atomic

TERMS = (
    "Words used below:",
    "",
    "- arm: one way of doing the same work; the arms of a group are compared with each other.",
    "- plain: the supernet in plain torch as the methods' authors released it; channels_last: the "
    "same with channels last in memory.",
    "- frozen: plain, but each half of a step computes only the gradients that it uses (what the "
    "other half trains is frozen), as ours does.",
    "- drop-in: the plain network after `adarts_ext.accelerate`, its step unchanged.",
    "- ours: the networks and operators of this package; store and recompute are its memory modes, "
    "which keep what backward needs or compute most of it again.",
    "- kept: bytes that autograd holds after a forward pass, for the backward pass.",
    "- N, C, K: images of a batch; channels of a node of the first cell; one of K channels goes "
    "through the candidates.",
)
HOW = (
    "Times are medians (minimum to maximum) over rounds in which the arms take turns, warm and in "
    "one process; times as fast are ratios within a round. No data loading: batches are made "
    "before the clock starts."
)


def head(results: Results) -> list[str]:
    """Write on what was measured, and how."""
    machine = results.machine
    rounds = {len(entry.seconds) for entry in results.entries if entry.part in TIMED}
    versions = f"torch {machine['torch']}, adarts_ext {machine['adarts_ext']}"
    rows = [
        ["threads", machine["threads"]],
        ["clock as found", machine["clock"]],
        ["precision", f"{machine['precision']}; bfloat16 by autocast where it is said"],
        ["network", machine["network"]],
        ["versions", f"{versions}, Python {machine['python']}"],
        ["rounds", ", ".join(map(str, sorted(rounds)))],
        ["measured", dates(results.entries)],
    ]
    return [*table(["device", machine["device"]], rows), "", *TERMS, "", HOW]


def missing_list(results: Results) -> list[str]:
    """Write why some arms were not measured."""
    whys: dict[tuple[str, str, str], int] = {}
    for one in results.missing:
        place = one["part"] if one["part"] == "ops" else one["group"]
        key = (place, one["arm"], one["missing"])
        whys[key] = whys.get(key, 0) + 1
    return [
        f"- {place}, {arm}: {why}" + (f" ({count} times)" if count > 1 else "")
        for (place, arm, why), count in whys.items()
    ]


@dataclass(frozen=True)
class Section:
    """A part of the report: what is said of it, its picture, and what makes its tables."""

    title: str
    about: str
    picture: str
    tables: Callable[[Results], list[str]]


SECTIONS = {
    "step": Section(
        "Search step",
        "One whole search step: alphas and betas on one batch (Adam), then the weights on another "
        "(SGD, clipped). All arms begin with the same weights and see the same batches; the loss "
        "is that of the last step.",
        "time.png",
        lambda results: arms_table("step", "s", results),
    ),
    "memory": Section(
        "Memory",
        "One forward and backward pass, everything requiring its gradient. Kept is what autograd "
        "holds after the forward pass, weights and images left out. The peak is that of resident "
        "memory in a fresh process on a CPU, of allocated memory on a GPU.",
        "memory.png",
        memory_table,
    ),
    "cell": Section(
        "Search cell",
        "One cell forward and backward, with gradients of inputs, weights, alphas and betas. Ours "
        "take image blocks, as a network hands them from cell to cell; the others feature maps.",
        "",
        lambda results: arms_table("cell", "ms", results),
    ),
    "ops": Section(
        "Operators",
        "Each operator against the plain torch sequence it replaces "
        "(`adarts_ext/bench/operators`), the passes alone.",
        "",
        ops_table,
    ),
    "roofs": Section(
        "Roofline",
        "Bytes are the fewest that a pass must move, operations those of the method. The roof is "
        "the lower of the fastest copy's bandwidth times FLOP a byte and the matrix product. A "
        "multiply-add (MAC) is 2 FLOP.",
        "roofline.png",
        roofline_table,
    ),
    "scaling": Section(
        "Scaling",
        "One search step, and what autograd keeps after a forward pass; one of batch, channels, "
        "cells and image size is varied at a time. Plain is the frozen plain step.",
        "scaling.png",
        scaling_table,
    ),
    "fit": Section(
        "Which batch fits",
        "The largest batch, a multiple of 16, whose search step stays below the limit, and the "
        "speed of a warm step, measured once: on a CPU that of a quarter of the batch, as the peak "
        "(of all resident memory) is taken with an allocator that is exact and slow.",
        "",
        fit_table,
    ),
}


def sections(results: Results) -> list[str]:
    """Write all tables of what was measured."""
    lines = []
    for part, section in SECTIONS.items():
        if not results.groups(part):
            continue
        lines += ["", f"## {section.title}", "", section.about, "", *section.tables(results)]
        if section.picture:
            lines += ["", f"![{section.title}]({section.picture})"]
    missing = missing_list(results)
    return [*lines, "", "## Not measured", "", *missing] if missing else lines


def write_report(results: Results, path: Path) -> list[str]:
    """Write the whole report, and give its lines."""
    lines = [f"# {results.machine['device']}", "", *head(results), *sections(results)]
    text = "\n".join(lines) + "\n"
    write_atomic(path, lambda file: file.write(text.encode()))
    return lines
