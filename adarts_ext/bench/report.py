"""Results as Markdown that also reads well in a terminal."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from adarts_ext.bench import compare as comparing
from adarts_ext.bench.groups import BASELINE
from adarts_ext.bench.ops import ARMS as OPERATOR_ARMS
from adarts_ext.bench.ops import COMPILED, OURS, PASSES
from adarts_ext.bench.results import Entry, Results, dates
from adarts_ext.bench.roofline import points, roofs
from adarts_ext.bench.scaling import LABELS, NAMES
from adarts_ext.files import write_atomic

MIB = 2**20
UNITS = {"s": 1.0, "ms": 1e3, "us": 1e6}
BASELINES = (
    "Plain is the supernet in plain torch as the methods' authors released it; frozen computes in "
    "each half of a step only the gradients that it uses, as ours does; drop-in is the plain "
    "network after `adarts_ext.accelerate`, its step unchanged."
)
HOW = (
    "Times are medians (minimum to maximum) over rounds in which the arms take turns, warm and in "
    "one process; times as fast are ratios within a round. No data loading: batches are made "
    "before the clock starts."
)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """Write a Markdown table: the first column to the left, the others to the right.

    Example:
        >>> print("\\n".join(table(["arm", "s"], [["plain", 8.26], ["ours", 0.8]])))
        | arm   |    s |
        |:------|-----:|
        | plain | 8.26 |
        | ours  |  0.8 |
    """
    cells = [[str(cell) for cell in row] for row in (columns, *rows)]
    widths = [max(3, *map(len, column)) for column in zip(*cells, strict=True)]
    rule = ["-" * (width + 1) for width in widths]
    lines = []
    for row in cells:
        first, *others = zip(row, widths, strict=True)
        padded = [first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]
        lines.append(f"| {' | '.join(padded)} |")
    lines.insert(1, f"|:{rule[0]}|{''.join(f'{part}:|' for part in rule[1:])}")
    return lines


def write(out: Path | None, lines: Sequence[str], data: object) -> None:
    """Print a report; where asked, write it, and what was measured as JSON beside it."""
    text = "\n".join(lines) + "\n"
    print(text, end="", flush=True)
    if out is not None:
        out.write_text(text)
        out.with_suffix(".json").write_text(json.dumps(data, indent=1) + "\n")


def spread(values: Sequence[float], digits: int = 3) -> str:
    """Write the median, with minimum and maximum.

    Example:
        >>> spread([1.0, 3.0, 2.0], 1)
        '2.0 (1.0 to 3.0)'
    """
    middle, low, high = statistics.median(values), min(values), max(values)
    return f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def faster(entry: Entry, baseline: Entry | None) -> str:
    """Write how many times as fast as the baseline an entry is."""
    if baseline is None or entry is baseline:
        return ""
    ratios = entry.times_as_fast(baseline)
    if ratios is None:
        return f"{baseline.median / entry.median:.2f}, not in turn"
    return f"{ratios[0]:.2f} ({ratios[1]:.2f} to {ratios[2]:.2f})"


def head(results: Results) -> list[str]:
    """Write on what was measured, and how."""
    machine = results.machine
    versions = f"torch {machine['torch']}, adarts_ext {machine['adarts_ext']}"
    rows = [
        ["threads", machine["threads"]],
        ["clock as found", machine["clock"]],
        ["precision", machine["precision"]],
        ["network", machine["network"]],
        ["versions", f"{versions}, Python {machine['python']}"],
        ["measured", dates(results.entries)],
    ]
    return [*table(["device", machine["device"]], rows), "", BASELINES, "", HOW]


def arms_table(part: str, unit: str, results: Results) -> list[str]:
    """Write a row for each arm of each group: time, ratio, and what else is known."""
    groups = results.groups(part)
    entries = [entry for group in groups.values() for entry in group.values()]
    extras = [name for name in EXTRAS if any(name in entry.info for entry in entries)]
    rows = []
    for name, group in groups.items():
        baseline = group.get(BASELINE)
        best = min((e for e in group.values() if is_plain(e)), key=lambda e: e.median, default=None)
        for entry in group.values():
            scaled = [UNITS[unit] * seconds for seconds in entry.seconds]
            ratio = faster(entry, best) if best not in (None, baseline) else ""
            more = [EXTRAS[e][1](entry.info[e]) if e in entry.info else "" for e in extras]
            over_best = ratio if not is_plain(entry) else ""
            rows.append(
                [name, entry.arm, spread(scaled), faster(entry, baseline), over_best, *more]
            )
    columns = [part, "arm", unit, "times as fast as plain", "as the fastest plain arm"]
    return table([*columns, *(EXTRAS[name][0] for name in extras)], rows)


def is_plain(entry: Entry) -> bool:
    """Tell whether an arm runs in plain torch as it is, uncompiled."""
    return not entry.arm.startswith(("ours", "drop-in", "torch.compile"))


def mebibytes(count: float) -> str:
    """Write bytes in MiB."""
    return f"{count / MIB:.1f}"


EXTRAS: dict[str, tuple[str, Callable[[float], str]]] = {
    "kept_bytes": ("kept, MiB", mebibytes),
    "peak_bytes": ("peak, MiB", mebibytes),
    "loss": ("loss", lambda loss: f"{loss:.4f}"),
}


def ops_table(results: Results) -> list[str]:
    """Write a row for each operator, shape and pass, and the means over the shapes."""
    groups = results.groups("ops")
    rows, ratios = [], {}
    for group in groups.values():
        ours, plain = group[OURS], group[BASELINE]
        info = ours.info
        row = [info["operator"], info["shape"], info["pass"]]
        row += [f"{1e6 * group[a].median:.1f}" if a in group else "" for a in OPERATOR_ARMS]
        rows.append([*row, faster(ours, plain), faster(ours, group.get(COMPILED))])
        middle = ours.times_as_fast(plain)[0]
        ratios.setdefault(info["operator"], {}).setdefault(info["pass"], []).append(middle)
    columns = ["operator", "N x C x H x W", "pass", *(f"{arm}, us" for arm in OPERATOR_ARMS)]
    means = [
        [name, *(f"{statistics.geometric_mean(of[p]):.2f}" if p in of else "" for p in PASSES)]
        for name, of in ratios.items()
    ]
    return [
        *table([*columns, "ours, times as fast as plain", "as torch.compile"], rows),
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
                less = group[BASELINE].info[what] / max(1, entry.info[what])
                row += [mebibytes(entry.info[what]), f"{less:.2f}"]
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
        batch, limit = entry.info["batch"], entry.info["limit_bytes"]
        peak = f"{mebibytes(entry.info['peak_bytes'])} of {mebibytes(limit)}"
        rows.append([entry.arm, batch, f"{entry.median:.2f}", f"{batch / entry.median:.1f}", peak])
    columns = ["memory mode", "largest batch", "s a search step", "images a second"]
    return table([*columns, "peak, MiB"], rows)


def roofline_table(results: Results) -> list[str]:
    """Write a row for each arm of each operator and cell."""
    bandwidth, peak = roofs(results)
    rows = [
        [
            f"{point.group}, {point.arm}",
            f"{point.intensity:.2f}",
            f"{point.speed / 1e9:.2f}",
            f"{point.part_of_roof(bandwidth, peak):.0%}",
        ]
        for point in points(results)
    ]
    return [
        f"A copy moves {bandwidth / 1e9:.1f} GB/s and a matrix product makes {peak / 1e9:.0f} "
        "GFLOP/s here, in float32. Bytes are the fewest that a pass must move, operations those "
        "of the method.",
        "",
        *table(["kernel", "FLOP a byte", "GFLOP/s", "of its roof"], rows),
    ]


def missing_list(results: Results) -> list[str]:
    """Write why some arms were not measured."""
    whys: dict[tuple[str, str, str], int] = {}
    for one in results.missing:
        place = one["part"] if one["part"] == "ops" else one["group"]
        key = (place, one["arm"], one["why"])
        whys[key] = whys.get(key, 0) + 1
    return [
        f"- {place}, {arm}: {why}" + (f" ({count} times)" if count > 1 else "")
        for (place, arm, why), count in whys.items()
    ]


SECTIONS: dict[str, tuple[str, str, Callable[[Results], list[str]]]] = {
    "step": ("Search step", "time.png", lambda results: arms_table("step", "s", results)),
    "memory": ("Memory", "memory.png", memory_table),
    "cell": ("Search cell", "", lambda results: arms_table("cell", "ms", results)),
    "ops": ("Operators", "", ops_table),
    "roofs": ("Roofline", "roofline.png", roofline_table),
    "scaling": ("Scaling", "scaling.png", scaling_table),
    "fit": ("Which batch fits", "", fit_table),
}


def sections(results: Results) -> list[str]:
    """Write all tables of what was measured."""
    lines = []
    for part, (title, picture, make) in SECTIONS.items():
        if not results.groups(part):
            continue
        lines += ["", f"## {title}", "", *make(results)]
        if picture:
            lines += ["", f"![{title}]({picture})"]
    missing = missing_list(results)
    return [*lines, "", "## Not measured", "", *missing] if missing else lines


def write_report(results: Results, path: Path) -> list[str]:
    """Write the whole report, and give its lines."""
    lines = [f"# {results.machine['device']}", "", *head(results), *sections(results)]
    text = "\n".join(lines) + "\n"
    write_atomic(path, lambda file: file.write(text.encode()))
    return lines


def comparison(changes: list[comparing.Change]) -> list[str]:
    """Write what got worse and what got better."""
    worse, better = comparing.regressions(changes), comparing.improvements(changes)
    same = len(changes) - len(worse) - len(better)
    limit = f"{comparing.FLAGGED:.2f}"
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


def number(what: str, value: float) -> str:
    """Write seconds or bytes.

    Example:
        >>> number("time", 0.0123), number("peak", 3 * 2**20)
        ('12.3 ms', '3.0 MiB')
    """
    if what != "time":
        return f"{mebibytes(value)} MiB"
    power = min(2, max(0, math.ceil(-math.log10(value) / 3)))
    unit = list(UNITS)[power]
    return f"{value * UNITS[unit]:.3g} {unit}"
