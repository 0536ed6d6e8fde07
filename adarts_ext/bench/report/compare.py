"""Compares results with earlier ones of the same device, and flags what got worse."""

from __future__ import annotations

from dataclasses import dataclass

from adarts_ext.bench.report.markdown import number, table
from adarts_ext.bench.results import Results

FLAGGED = 1.10  # times the earlier median
TIMED = ("ops", "cell", "step", "scaling")
BYTES = {"kept_bytes": "kept", "peak_bytes": "peak"}
WITH_BYTES = ("cell", "step", "memory", "scaling")


@dataclass(frozen=True)
class Change:
    """A number of an entry, earlier and now."""

    entry: str
    what: str
    earlier: float
    now: float

    @property
    def ratio(self) -> float:
        """Now over earlier."""
        return self.now / self.earlier


def numbers(results: Results) -> dict[tuple[str, str], float]:
    """All that is compared: median seconds, and bytes."""
    found = {}
    for entry in results.entries:
        name = f"{entry.group}: {entry.arm}"
        if entry.part in TIMED:
            found[name, "time"] = entry.median
        if entry.part in WITH_BYTES:
            for key, what in BYTES.items():
                if entry.info.get(key):
                    found[name, what] = entry.info[key]
    return found


def compare(earlier: Results, now: Results) -> list[Change]:
    """Compare what both have, the largest ratio first.

    Raises:
        ValueError: They have nothing in common.
    """
    before, after = numbers(earlier), numbers(now)
    both = [key for key in after if key in before]
    if not both:
        raise ValueError("the earlier result has nothing that was measured now")
    changes = [Change(*key, before[key], after[key]) for key in both]
    return sorted(changes, key=lambda change: -change.ratio)


def regressions(changes: list[Change]) -> list[Change]:
    """Those that got worse."""
    return [change for change in changes if change.ratio > FLAGGED]


def improvements(changes: list[Change]) -> list[Change]:
    """Those that got better, the best first."""
    return [change for change in reversed(changes) if change.ratio < 1 / FLAGGED]


def comparison(changes: list[Change]) -> list[str]:
    """Write what got worse and what got better."""
    worse, better = regressions(changes), improvements(changes)
    same = len(changes) - len(worse) - len(better)
    limit = f"{FLAGGED:.2f}"
    lines = [
        f"{len(worse)} regressions (over {limit} times the earlier median), {len(better)} "
        f"improvements (under 1/{limit}), {same} between."
    ]
    if worse or better:
        rows = [
            ["regression" if change.ratio > 1 else "improvement", change.entry, change.what]
            + [number(change.what, value) for value in (change.earlier, change.now)]
            + [f"{change.ratio:.2f}"]
            for change in [*worse, *better]
        ]
        lines += ["", *table(["", "entry", "of", "earlier", "now", "ratio"], rows)]
    return lines
