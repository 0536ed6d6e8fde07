"""The tables of a report, one for each part of the benchmarks."""

from __future__ import annotations

import statistics
from collections.abc import Callable

from adarts_ext.bench.groups import BASELINE
from adarts_ext.bench.parts.ops import ARMS as OPERATOR_ARMS
from adarts_ext.bench.parts.ops import COMPILED, GRAPHED, OUR_GRAPH, OURS, PASSES, PLAIN_GRAPH
from adarts_ext.bench.parts.scaling import LABELS, NAMES
from adarts_ext.bench.report.markdown import UNITS, mebibytes, spread, table
from adarts_ext.bench.report.roofline import Point, points, roofs
from adarts_ext.bench.results import Entry, Results


def faster(entry: Entry, baseline: Entry | None) -> str:
    """Write how many times as fast as the baseline an entry is."""
    if baseline is None or entry is baseline:
        return ""
    ratios = entry.times_as_fast(baseline)
    if ratios is None:
        return f"{baseline.median / entry.median:.2f}, not in turn"
    return f"{ratios[0]:.2f} ({ratios[1]:.2f} to {ratios[2]:.2f})"


def arms_table(part: str, unit: str, results: Results) -> list[str]:
    """Write a row for each arm of each group: time, ratio, and what else is known."""
    groups = results.groups(part)
    entries = [entry for group in groups.values() for entry in group.values()]
    extras = [name for name in EXTRAS if any(name in entry.info for entry in entries)]
    rows = []
    for name, group in groups.items():
        plain = [entry for entry in group.values() if is_plain(entry)]
        best = min(plain, key=lambda entry: entry.median, default=None)
        for entry in group.values():
            scaled = [UNITS[unit] * seconds for seconds in entry.seconds]
            ratios = [
                faster(entry, group.get(BASELINE)),
                "" if is_plain(entry) else faster(entry, best),
            ]
            more = [EXTRAS[e][1](entry.info[e]) if e in entry.info else "" for e in extras]
            rows.append([name, entry.arm, spread(scaled, 1 if unit == "ms" else 3), *ratios, *more])
    columns = [part, "arm", unit, "times as fast as plain", "as the fastest plain arm"]
    return table([*columns, *(EXTRAS[name][0] for name in extras)], rows)


def is_plain(entry: Entry) -> bool:
    """Return whether an arm runs in plain torch as it is, uncompiled."""
    return not entry.arm.startswith(("ours", "drop-in", "torch.compile"))


EXTRAS: dict[str, tuple[str, Callable[[float], str]]] = {
    "kept_bytes": ("kept, MiB", mebibytes),
    "peak_bytes": ("peak, MiB", mebibytes),
    "loss": ("loss", lambda loss: f"{loss:.4f}"),
}


#: Which operator arms are compared with which, by the column; the last on a GPU only.
RATIOS = {
    "ours, times as fast as plain": (OURS, BASELINE),
    "as torch.compile": (OURS, COMPILED),
    "in a graph, as plain": (OUR_GRAPH, PLAIN_GRAPH),
}
#: The arms that the roofline shows, of plain and of ours: the first that there is.
ON_THE_ROOFLINE = ((PLAIN_GRAPH, BASELINE), (OUR_GRAPH, OURS, "ours, store"))


def ops_table(results: Results) -> list[str]:
    """Write a row for each operator, shape and pass, and the means over the shapes."""
    groups = results.groups("ops")
    graphs = any(arm in group for group in groups.values() for arm in GRAPHED)
    arms = (*OPERATOR_ARMS, *GRAPHED) if graphs else OPERATOR_ARMS
    compared = list(RATIOS.items())[: None if graphs else -1]
    rows, ratios = [], {}
    for group in groups.values():
        info = next(iter(group.values())).info
        row = [info["operator"], info["shape"], info["pass"]]
        row += [f"{1e6 * group[a].median:.1f}" if a in group else "" for a in arms]
        for _, (ours, other) in compared:
            both = ours in group and other in group
            row.append(faster(group[ours], group[other]) if both else "")
        rows.append(row)
        if OURS in group and BASELINE in group:
            middle = group[OURS].times_as_fast(group[BASELINE])[0]
            ratios.setdefault(info["operator"], {}).setdefault(info["pass"], []).append(middle)
    columns = ["operator", "N x C x H x W", "pass", *(f"{arm}, us" for arm in arms)]
    columns += [column for column, _ in compared]
    means = [
        [name, *(f"{statistics.geometric_mean(of[p]):.2f}" if p in of else "" for p in PASSES)]
        for name, of in ratios.items()
    ]
    return [
        *table(columns, rows),
        "",
        *table(["geometric mean over the shapes, times as fast as plain", *PASSES], means),
    ]


def memory_table(results: Results) -> list[str]:
    """Write a row for each arm: what is kept, the peak, and how many times less than plain."""
    rows = []
    for name, group in results.groups("memory").items():
        for entry in group.values():
            row = [name, entry.arm]
            for what in ("kept_bytes", "peak_bytes"):
                plain = group.get(BASELINE)
                less = f"{plain.info[what] / max(1, entry.info[what]):.2f}" if plain else ""
                row += [mebibytes(entry.info[what]), less]
            rows.append(row)
    columns = ["memory", "arm", "kept for backward, MiB", "times less than plain"]
    return table([*columns, "rise of the peak in a pass, MiB", "times less than plain"], rows)


def scaling_table(results: Results) -> list[str]:
    """Write a row for each size."""
    rows = []
    for group in results.groups("scaling").values():
        one = next(iter(group.values())).info
        row = [f"{LABELS[one['varied']]} = {one['value']}"]
        arms = [group.get(name) for name in NAMES]
        row += [f"{arm.median:.3f}" if arm else "" for arm in arms]
        row += [mebibytes(arm.info["kept_bytes"]) if arm else "" for arm in arms]
        plain, store, recompute = arms
        row += [
            faster(store, plain),
            *(
                f"{plain.info['kept_bytes'] / arm.info['kept_bytes']:.1f}" if plain else ""
                for arm in (store, recompute)
            ),
        ]
        rows.append(row)
    columns = ["varied", *(f"{n}, s" for n in NAMES), *(f"{n}, MiB kept" for n in NAMES)]
    return table(
        [*columns, "store, times as fast", "store, times less", "recompute, times less"], rows
    )


def fit_table(results: Results) -> list[str]:
    """Write a row for each memory mode."""
    rows = []
    for entry in next(iter(results.groups("fit").values())).values():
        batch, timed = entry.info["batch"], entry.info["timed_batch"]
        peak, limit = (mebibytes(entry.info[what]) for what in ("peak_bytes", "limit_bytes"))
        speed = f"{timed / entry.median:.1f}"
        rows.append([entry.arm, batch, f"{peak} of {limit}", timed, f"{entry.median:.2f}", speed])
    columns = ["memory mode", "largest batch", "peak, MiB"]
    return table([*columns, "timed batch", "s a search step", "images a second"], rows)


def roofline_table(results: Results) -> list[str]:
    """Write a row for each operator, shape and pass, and for each cell."""
    measured = roofs(results)
    groups: dict[str, dict[str, Point]] = {}
    for point in points(results):
        groups.setdefault(point.group, {})[point.arm] = point
    rows = []
    for name, arms in groups.items():
        chosen = [
            next((arms[name] for name in names if name in arms), None) for names in ON_THE_ROOFLINE
        ]
        if None in chosen:
            continue
        plain, ours = chosen
        speeds = [f"{point.speed / 1e9:.2f}" for point in (plain, ours)]
        of_roof = [
            f"{point.speed / measured.above(point.intensity):.0%}" for point in (plain, ours)
        ]
        rows.append([name, f"{ours.intensity:.2f}", *speeds, *of_roof])
    columns = ["kernel", "FLOP a byte", "plain, GFLOP/s", "ours, GFLOP/s"]
    copies = [f"A {name} {speed / 1e9:.1f} GB/s" for name, speed in measured.bandwidths.items()]
    return [
        f"{'; '.join(copies)}; a matrix product {measured.peak / 1e9:.0f} GFLOP/s.",
        "",
        *table([*columns, "plain, of the roof", "ours, of the roof"], rows),
    ]
