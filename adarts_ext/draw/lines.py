"""How the lines of a history look: told apart by colour, by dashes and by the mark at their end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from adarts_ext.draw.figure import FAINT, INK, OP_COLORS, OWN_COLOR

SOLID, DASHED, DOTTED, MIXED = "-", (0, (4, 2)), (0, (1, 1.3)), (0, (6, 1.5, 1.2, 1.5))
WARMUP_COLOR = "#e9edf2"
MARGIN = 0.08  # free part of an axis above and below the lines


@dataclass(frozen=True)
class Look:
    """How a line looks; ``marker`` stands at its last point."""

    color: str
    dashes: str | tuple[int, tuple[float, ...]] = SOLID
    marker: str = "o"

    def line(self, xs: Sequence[float], ys: Sequence[float], label: str, **more: str) -> Line2D:
        """Make a line of this look; dashed ones lie above, so that a line below shows through."""
        return Line2D(
            xs,
            ys,
            label=label,
            color=self.color,
            linestyle=self.dashes,
            linewidth=1.5,
            marker=self.marker,
            markersize=3.5,
            markevery=[-1],
            zorder=2.0 if self.dashes == SOLID else 2.1,
            **more,
        )


#: Of a family the first is solid, the second dashed.
OP_LOOKS = {
    "none": Look(OP_COLORS["none"], DOTTED, "x"),
    "max_pool_3x3": Look(OP_COLORS["max_pool_3x3"], SOLID, "s"),
    "avg_pool_3x3": Look(OP_COLORS["avg_pool_3x3"], DASHED, "D"),
    "skip_connect": Look(OP_COLORS["skip_connect"], MIXED, "P"),
    "sep_conv_3x3": Look(OP_COLORS["sep_conv_3x3"], SOLID, "o"),
    "sep_conv_5x5": Look(OP_COLORS["sep_conv_5x5"], DASHED, "*"),
    "dil_conv_3x3": Look(OP_COLORS["dil_conv_3x3"], SOLID, "^"),
    "dil_conv_5x5": Look(OP_COLORS["dil_conv_5x5"], DASHED, "v"),
}

OWN_MARKERS = "hpdX<>"


def op_look(op: str, columns: Sequence[str]) -> Look:
    """Return how the weight of an operation looks, given those that the alphas are of."""
    if op in OP_LOOKS:
        return OP_LOOKS[op]
    place = [name for name in columns if name not in OP_LOOKS].index(op)
    dashes = (SOLID, DASHED, MIXED, DOTTED)[place % 4]
    return Look(OWN_COLOR, dashes, OWN_MARKERS[place % len(OWN_MARKERS)])


SOURCE_COLORS = ("#111111", "#8c5a2b", "#6f3fc4", "#8a8a00", "#c9a27a", "#b79be8")
SOURCE_MARKERS = "os^DvPX"

FIRST, SECOND = Look(INK, SOLID, "o"), Look("#8c5a2b", DASHED, "s")


def source_look(state: int) -> Look:
    """Return how the beta of the edge from a state looks, in colours that no operation has."""
    return Look(
        SOURCE_COLORS[state % len(SOURCE_COLORS)],
        (SOLID, DASHED, MIXED, DOTTED)[state % 4],
        SOURCE_MARKERS[state % len(SOURCE_MARKERS)],
    )


def legend_line(look: Look, label: str) -> Line2D:
    """Make the line that stands for others in a legend, with its mark in the middle."""
    line = look.line([0, 0.5, 1], [0, 0, 0], label)
    line.set_markevery([1])
    return line


def y_range(lines: Sequence[Sequence[float]], least: float) -> tuple[float, float]:
    """Return the range of an axis for some lines: what they take, but at least ``least``.

    Example:
        >>> low, high = y_range([[0.1, 0.2], [0.15, 0.3]], least=0.02)
        >>> round(low, 3), round(high, 3)
        (0.084, 0.316)
        >>> low, high = y_range([[0.125]], least=0.02)
        >>> round(low, 3), round(high, 3)
        (0.115, 0.135)
    """
    low, high = min(map(min, lines)), max(map(max, lines))
    free = max(MARGIN * (high - low), (least - (high - low)) / 2)
    return low - free, high + free


def style_axes(axes: Axes, title: str, epochs: Sequence[int], warmup_end: int) -> None:
    """Give axes over the epochs their title, ticks and grid, and mark the warm-up."""
    axes.set_title(title, fontsize=8.5, color=INK, fontweight="bold", pad=3, loc="left")
    axes.tick_params(labelsize=7, color=FAINT, labelcolor=INK, length=2.5)
    axes.grid(color="#e3e7ec", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True, min_n_ticks=1))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=4))
    around = max(0.5, 0.03 * (epochs[-1] - epochs[0]))
    axes.set_xlim(epochs[0] - around, epochs[-1] + around)
    if warmup_end >= epochs[0]:
        axes.axvspan(epochs[0] - around, warmup_end, color=WARMUP_COLOR, zorder=0, linewidth=0)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(FAINT)
