"""The pictures of a result: time, memory, roofline and scaling."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter, ScalarFormatter

from adarts_ext.bench.groups import BASELINE
from adarts_ext.bench.parts.scaling import LABELS, NAMES
from adarts_ext.bench.report.markdown import MIB
from adarts_ext.bench.report.roofline import points, roofs
from adarts_ext.bench.results import Entry, Results
from adarts_ext.draw.figure import save_figure

#: The arms in their order, with a colour for each: greys for plain torch, colours for ours.
COLORS = {
    BASELINE: "#4b5563",
    "channels_last": "#6b7280",
    "frozen": "#9aa3ad",
    "frozen, channels_last": "#c3c9d0",
    "plain, CUDA graph": "#5b8a72",
    "frozen, CUDA graph": "#8db39d",
    "torch.compile": "#e8a33d",
    "torch.compile, frozen": "#e8a33d",
    "drop-in": "#b4549b",
    "drop-in, store": "#b4549b",
    "drop-in, recompute": "#dba3cd",
    "ours": "#1d5fa8",
    "ours, store": "#1d5fa8",
    "ours, recompute": "#6aa9dd",
    "ours, CUDA graph": "#11795c",
}
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "p")


def bars(axes: Axes, group: dict[str, Entry], values: list[float], unit: str) -> None:
    """Draw a bar for each arm, in the fixed order, with its value beside it."""
    arms = list(group)
    places = range(len(arms), 0, -1)
    colors = [COLORS[arm] for arm in arms]
    drawn = axes.barh(places, values, color=colors, height=0.72)
    axes.bar_label(
        drawn,
        [f"{value:,.0f}" if value >= 100 else f"{value:.3g}" for value in values],
        padding=3,
        fontsize=8,
    )
    axes.set_yticks(list(places), arms, fontsize=8)
    axes.set_xlim(0, 1.16 * max(values))
    axes.set_xlabel(unit)
    axes.spines[["top", "right"]].set_visible(False)


def in_order(group: dict[str, Entry]) -> dict[str, Entry]:
    """Put the arms of a group into the fixed order."""
    return {arm: group[arm] for arm in COLORS if arm in group}


def grid(results: Results, count: int, columns: int, height: float) -> tuple[Figure, list[Axes]]:
    """Make a figure with so many panels; the device is its title."""
    columns = min(columns, count)
    rows = -(-count // columns)
    figure = Figure(figsize=(5.2 * columns, height * rows + 0.4), layout="constrained")
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for panel in panels[count:]:
        panel.set_visible(False)
    figure.suptitle(results.machine["device"], fontsize=10)
    return figure, panels


def draw_time(results: Results) -> Figure | None:
    """Draw bars of the median time of every arm; thin lines go from minimum to maximum."""
    groups = {
        **{name: (group, "s", 1.0) for name, group in results.groups("step").items()},
        **{name: (group, "ms", 1e3) for name, group in results.groups("cell").items()},
    }
    if not groups:
        return None
    figure, panels = grid(results, len(groups), 3, 2.5)
    for panel, (name, (group, unit, factor)) in zip(panels, groups.items(), strict=False):
        group = in_order(group)
        values = [factor * entry.median for entry in group.values()]
        bars(panel, group, values, f"{unit}, median; line: minimum to maximum")
        ends = [(factor * min(e.seconds), factor * max(e.seconds)) for e in group.values()]
        for place, (low, high) in zip(range(len(group), 0, -1), ends, strict=True):
            panel.plot([low, high], [place - 0.25, place - 0.25], color="black", lw=0.8)
        panel.set_xlim(0, 1.16 * max(high for _, high in ends))
        panel.set_title(name, fontsize=9)
    return figure


def draw_memory(results: Results) -> Figure | None:
    """Draw bars of what is kept for backward and of the rise of the peak."""
    groups = results.groups("memory")
    if not groups:
        return None
    figure, panels = grid(results, 2 * len(groups), 2, 2.0)
    kinds = {"kept_bytes": "MiB kept for backward", "peak_bytes": "MiB, rise of the peak in a pass"}
    wanted = [(name, group, what) for name, group in groups.items() for what in kinds]
    for panel, (name, group, what) in zip(panels, wanted, strict=False):
        group = in_order(group)
        values = [entry.info[what] / MIB for entry in group.values()]
        bars(panel, group, values, kinds[what])
        panel.set_title(name, fontsize=9)
    return figure


def draw_roofline(results: Results) -> Figure | None:
    """Draw operators and cells under the measured roofs, plain and ours."""
    if not results.groups("roofs"):
        return None
    measured = roofs(results)
    peak, bandwidth = measured.peak, max(measured.bandwidths.values())
    drawn = points(results)
    figure, (axes, *_) = grid(results, 1, 1, 5.4)
    figure.set_figwidth(9)
    kinds = list(dict.fromkeys(kind(point.part, point.group) for point in drawn))
    for point in drawn:
        marker = MARKERS[kinds.index(kind(point.part, point.group)) % len(MARKERS)]
        axes.scatter(
            point.intensity, point.speed / 1e9, marker=marker, s=34, color=COLORS[point.arm]
        )
    reach = [point.intensity for point in drawn] + [peak / bandwidth]
    left, right = min(reach) / 2, 4 * max(reach)
    for name, speed in measured.bandwidths.items():
        xs = [left, peak / speed, right]
        axes.plot(xs, [min(peak, speed * x) / 1e9 for x in xs], color="black", lw=1)
        label = f"{name}, {speed / 1e9:.0f} GB/s"
        end = 0.8 * peak / speed, 0.95 * peak / 1e9  # just above the line's end
        axes.text(*end, label, fontsize=8, rotation=45, rotation_mode="anchor", ha="right")
    axes.text(right, peak * 1.1 / 1e9, f"matrix product, {peak / 1e9:.0f} GFLOP/s", ha="right")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_aspect("equal")  # then a bandwidth is a line of 45 degrees
    axes.set_xlabel("operations for each byte that must move, FLOP/byte")
    axes.set_ylabel("GFLOP/s")
    axes.grid(alpha=0.25)
    shapes = [
        Line2D([], [], marker=MARKERS[i % len(MARKERS)], color="#22272e", ls="", label=name)
        for i, name in enumerate(kinds)
    ]
    arms = [arm for arm in COLORS if any(point.arm == arm for point in drawn)]
    colors = [Line2D([], [], marker="o", color=COLORS[a], ls="", label=a) for a in arms]
    axes.legend(handles=[*shapes, *colors], loc="center left", bbox_to_anchor=(1.01, 0.5))
    return figure


def kind(part: str, group: str) -> str:
    """Return the name of what shares a marker in the roofline: an operator, or cells of a kind."""
    return group.partition(",")[0]


def draw_scaling(results: Results) -> Figure | None:
    """Draw time above, memory below, a column for what is varied; all axes are logarithmic."""
    entries = [entry for entry in results.entries if entry.part == "scaling"]
    if not entries:
        return None
    varied = list(dict.fromkeys(entry.info["varied"] for entry in entries))
    figure = Figure(figsize=(3.6 * len(varied), 6.4), layout="constrained")
    panels = figure.subplots(2, len(varied), squeeze=False, sharey="row", sharex="col")
    kinds: list[tuple[str, Callable[[Entry], float]]] = [
        ("seconds a search step", lambda entry: entry.median),
        ("MiB kept for backward", lambda entry: entry.info["kept_bytes"] / MIB),
    ]
    for column, what in enumerate(varied):
        along = [entry for entry in entries if entry.info["varied"] == what]
        for row, (_, value) in enumerate(kinds):
            panel = panels[row, column]
            for arm, marker in zip(NAMES, MARKERS, strict=False):
                of_arm = [entry for entry in along if entry.arm == arm]
                xs = [entry.info["value"] for entry in of_arm]
                ys = [value(entry) for entry in of_arm]
                panel.plot(xs, ys, marker=marker, color=COLORS[arm], label=arm)
            panel.set_xscale("log", base=2)
            panel.set_yscale("log")
            panel.set_xticks(sorted({entry.info["value"] for entry in along}))
            panel.xaxis.set_major_formatter(ScalarFormatter())
            panel.xaxis.set_minor_formatter(NullFormatter())
            panel.grid(alpha=0.3)
        panels[1, column].set_xlabel(LABELS[what])
    for row, (label, _) in enumerate(kinds):
        panels[row, 0].set_ylabel(label)
    panels[0, 0].legend(fontsize=8)
    figure.suptitle(results.machine["device"], fontsize=10)
    return figure


PICTURES = {
    "time.png": draw_time,
    "memory.png": draw_memory,
    "roofline.png": draw_roofline,
    "scaling.png": draw_scaling,
}


def draw_all(results: Results, folder: Path) -> list[Path]:
    """Draw what there is into a folder, and give the pictures' paths."""
    drawn = []
    for name, draw in PICTURES.items():
        figure = draw(results)
        if figure is not None:
            save_figure(figure, folder / name)
            drawn.append(folder / name)
    return drawn
