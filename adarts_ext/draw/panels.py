"""Small figures that a page lays out itself: curves, heat maps and bars, without their titles."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from adarts_ext.draw.figure import FAINT, INK
from adarts_ext.draw.lines import MARGIN, Look, legend_line, style_axes, y_range

# Inches: as wide as a telephone's screen, heat maps half of it.
WIDTH, CURVE_HEIGHT, SCALE_HEIGHT = 3.7, 2.2, 0.42
MAP_WIDTH, MAP_ROW, MAP_MARGIN, MAP_LABEL = 1.85, 0.125, 0.22, 0.76
BAR_ROW, BAR_LABEL, LEGEND_ROW = 0.26, 0.6, 0.19
MAP_COLORS = "viridis"
PART_COLORS = ("#8c5a2b", "#1d5fa8", "#6aa9dd", "#11795c", "#e8a33d", "#9aa3ad")

_LEGEND: dict[str, Any] = {
    "loc": "lower center",
    "ncols": 3,
    "frameon": False,
    "fontsize": 7.5,
    "borderpad": 0.1,
    "handlelength": 2.6,
    "columnspacing": 1.2,
    "labelspacing": 0.25,
}

Curve = tuple[Look, Mapping[int, float]]  # values by epochs


def curve_figure(curves: Mapping[str, Curve], least: float, warmup_end: int = 0) -> Figure:
    """Build the figure of some curves over the epochs, with their names below where several.

    Args:
        curves: How each looks, and its values by epochs; at least one value in all.
        least: The range below which the axis of the values does not magnify.
        warmup_end: The last epoch of the warm-up, which is shaded; 0 for none.
    """
    rows = _legend_rows(len(curves)) if len(curves) > 1 else 0
    figure = Figure(figsize=(WIDTH, CURVE_HEIGHT + rows * LEGEND_ROW))
    bottom = (0.3 + rows * LEGEND_ROW) / figure.get_figheight()
    axes = figure.add_axes((0.14, bottom, 0.83, 0.92 - bottom))
    for label, (look, values) in curves.items():
        axes.add_line(look.line(list(values), list(values.values()), label))
    epochs = sorted({epoch for _, values in curves.values() for epoch in values})
    style_axes(axes, "", epochs, warmup_end)
    axes.ticklabel_format(axis="y", useOffset=False)
    lines = [list(values.values()) for _, values in curves.values()]
    low, high = y_range(lines, least)
    if all(isinstance(value, int) and value >= 0 for line in lines for value in line):
        axes.yaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
        low = max(low, -MARGIN * high)
    axes.set_ylim(low, high)
    if rows:
        handles = [legend_line(look, label) for label, (look, _) in curves.items()]
        figure.legend(handles=handles, **_LEGEND)
    return figure


def heat_map_figure(
    rows: Mapping[str, Sequence[float]],
    epochs: Sequence[int],
    limits: tuple[float, float],
    marked: Collection[str] = (),
    warmup_end: int = 0,
) -> Figure:
    """Build the figure of a heat map: a row for each name, a column for each epoch.

    Args:
        rows: The values of each row, one an epoch.
        epochs: The epochs, one after another.
        limits: The values that the ends of the colours stand for.
        marked: Names that are set in bold type.
        warmup_end: The last epoch of the warm-up, after which a line is drawn; 0 for none.
    """
    height = len(rows) * MAP_ROW + MAP_MARGIN
    figure = Figure(figsize=(MAP_WIDTH, height))
    left, low = MAP_LABEL / MAP_WIDTH, 0.8 * MAP_MARGIN / height
    axes = figure.add_axes((left, low, 0.97 - left, 0.98 - low))
    axes.imshow(
        list(rows.values()),
        cmap=MAP_COLORS,
        norm=Normalize(*limits),
        aspect="auto",
        interpolation="nearest",
        extent=(epochs[0] - 0.5, epochs[-1] + 0.5, len(rows) - 0.5, -0.5),
    )
    if epochs[0] <= warmup_end < epochs[-1]:
        axes.axvline(warmup_end + 0.5, color="white", linewidth=1, linestyle=(0, (2, 1.5)))
    axes.set_yticks(range(len(rows)), list(rows))
    for label in axes.get_yticklabels():
        label.set_fontweight("bold" if label.get_text() in marked else "normal")
    axes.xaxis.set_major_locator(MaxNLocator(nbins=4, integer=True, min_n_ticks=1))
    _style_ticks(axes, 6)
    return figure


def scale_figure(limits: tuple[float, float]) -> Figure:
    """Build the figure that says what the colours of a heat map stand for."""
    figure = Figure(figsize=(WIDTH, SCALE_HEIGHT))
    axes = figure.add_axes((0.03, 0.55, 0.94, 0.38))
    colors = ScalarMappable(Normalize(*limits), MAP_COLORS)
    figure.colorbar(colors, cax=axes, orientation="horizontal").outline.set_visible(False)
    _style_ticks(axes, 7)
    return figure


def time_figure(runs: Mapping[str, Mapping[str, float]]) -> Figure:
    """Build the figure of where the time of some runs went: a bar a run, a colour a part.

    Args:
        runs: The seconds of each part, by the name of the run; all have the same parts.
    """
    parts = list(next(iter(runs.values())))
    rows = _legend_rows(len(parts))
    height = len(runs) * BAR_ROW + 0.3 + rows * LEGEND_ROW
    figure = Figure(figsize=(WIDTH, height))
    left, low = BAR_LABEL / WIDTH, (0.25 + rows * LEGEND_ROW) / height
    axes = figure.add_axes((left, low, 0.96 - left, 1 - low))
    starts = [0.0] * len(runs)
    for k, part in enumerate(parts):
        seconds = [run[part] for run in runs.values()]
        color = PART_COLORS[k % len(PART_COLORS)]
        axes.barh(range(len(runs)), seconds, 0.72, starts, color=color, label=part)
        starts = [start + one for start, one in zip(starts, seconds, strict=True)]
    axes.set_yticks(range(len(runs)), list(runs))
    axes.invert_yaxis()
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5))
    _style_ticks(axes, 7)
    figure.legend(**(_LEGEND | {"handlelength": 1}))
    return figure


def _legend_rows(names: int) -> int:
    return math.ceil(names / _LEGEND["ncols"])


def _style_ticks(axes: Axes, size: float) -> None:
    axes.tick_params(labelsize=size, color=FAINT, labelcolor=INK, length=2, pad=2)
    for side in axes.spines.values():
        side.set_visible(False)
