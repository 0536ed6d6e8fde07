"""Runs the parts of ``adarts bench``, group by group."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from datetime import date

import torch

from adarts_ext.bench.groups import Group, Measured, Options, not_measured
from adarts_ext.bench.machine import describe
from adarts_ext.bench.parts import cell, fit, memory, ops, roofs, scaling, step
from adarts_ext.bench.results import Entry, Results

PARTS = {
    "ops": ops.groups,
    "cell": cell.groups,
    "step": step.groups,
    "memory": memory.groups,
    "scaling": scaling.groups,
    "fit": fit.groups,
}
DEFAULT_PARTS = ("ops", "cell", "step", "memory")
ON_THE_ROOFLINE = ("ops", "cell")


def with_roofs(parts: Sequence[str]) -> list[str]:
    """Return the names of the parts that are run for the parts asked for.

    Example:
        >>> with_roofs(["step", "ops"])
        ['roofs', 'step', 'ops']
    """
    roofed = any(part in ON_THE_ROOFLINE for part in parts)
    return ["roofs", *parts] if roofed else list(parts)


def run(parts: Sequence[str], options: Options, keep: Callable[[Results], None]) -> Results:
    """Measure some parts; a group that fails does not stop the others.

    Args:
        parts: Their names, those of :func:`with_roofs` included.
        options: How to measure.
        keep: Called after every group with all that was measured so far.
    """
    torch.set_num_threads(options.threads)
    makers = {**PARTS, "roofs": roofs.groups}
    groups = [group for part in parts for group in makers[part](options)]
    results = Results(describe(options))
    for number, group in enumerate(groups, 1):
        print(f"[{number}/{len(groups)}] {group.name}", file=sys.stderr, flush=True)
        add(results, group, measure(group))
        keep(results)
    return results


def measure(group: Group) -> dict[str, Measured]:
    """Measure the arms of a group, or say why that did not work."""
    try:
        return group.measure()
    except Exception as error:
        return dict.fromkeys(group.arms, not_measured(error))


def add(results: Results, group: Group, measured: dict[str, Measured]) -> None:
    """Add what was measured of a group; a reason why an arm is missing is printed once."""
    for arm in group.arms:
        one = measured[arm]
        if one.seconds:
            info = {"date": str(date.today()), **group.info, **one.info}
            results.entries.append(Entry(group.part, group.name, arm, one.seconds, info))
            continue
        if all(known["missing"] != one.missing for known in results.missing):
            print(f"  {arm}: {one.missing}", file=sys.stderr, flush=True)
        note = {"part": group.part, "group": group.name, "arm": arm, "missing": one.missing}
        results.missing.append(note)
