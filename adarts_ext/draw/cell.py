"""Draw a genotype: its normal and its reduction cell as graphs, every edge with its operation."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import pairwise

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.path import Path as Curve

from adarts_ext.draw.figure import FAINT, INK, OP_COLORS, OWN_COLOR, picture_format, save_figure
from adarts_ext.draw.layout import (
    ARROW_LENGTH,
    BOX_HEIGHT,
    BOX_WIDTH,
    GAP,
    LABEL_HEIGHT,
    LABEL_WIDTH,
    CellDrawing,
    Edge,
    layout_cell,
)
from adarts_ext.genotype import Genotype

MARGIN = 0.3
TITLE_HEIGHT = 0.42
LEGEND_HEIGHT = 0.4
LEGEND_WIDTH = 9.6

MOST_NODES = 64

FAMILIES = {
    "separable convolution": "sep_conv_3x3",
    "dilated convolution": "dil_conv_3x3",
    "max pooling": "max_pool_3x3",
    "average pooling": "avg_pool_3x3",
    "skip connection": "skip_connect",
}


def draw_genotype(genotype: Genotype, path: str | os.PathLike[str]) -> None:
    """Draw the normal and the reduction cell of a genotype into one ``.svg``, ``.png`` or ``.pdf``.

    A cell reads from left to right: its inputs (the outputs of the two cells before it), its
    nodes, each the sum of its two incoming edges, and its output, the concatenation of the nodes.
    Inputs and nodes bear the numbers that the genotype gives them: 0 and 1, then 2 and on; c_k is
    the output of cell number k.

    Args:
        genotype: The cells to draw.
        path: The file to write; its suffix chooses the format.

    Raises:
        ValueError: If the suffix is none of these, or a cell has over ``MOST_NODES`` nodes.
        OSError: If the file cannot be written.

    Example:
        >>> import tempfile, os
        >>> from adarts_ext.genotype import ADARTS_V1
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     draw_genotype(ADARTS_V1, os.path.join(folder, "cells.svg"))
        ...     os.listdir(folder)
        ['cells.svg']
    """
    picture_format(path)
    save_figure(cell_figure(genotype), path)


def cell_figure(genotype: Genotype) -> Figure:
    """Build the figure that :func:`draw_genotype` writes; its axes are in inches."""
    cells = [
        ("Normal cell", _lay_out(genotype.normal, genotype.normal_concat)),
        (
            "Reduction cell (edges from the two inputs have stride 2)",
            _lay_out(genotype.reduce, genotype.reduce_concat),
        ),
    ]
    width = max(LEGEND_WIDTH, *(layout.width for _, layout in cells)) + 2 * MARGIN
    height = LEGEND_HEIGHT
    height += sum(TITLE_HEIGHT + layout.top - layout.bottom + MARGIN for _, layout in cells)
    figure, axes = _figure_in_inches(width, height)
    y = height - MARGIN / 2
    for title, layout in cells:
        axes.text(MARGIN, y, title, va="top", fontsize=12, fontweight="bold", color=INK)
        y -= TITLE_HEIGHT
        _draw_cell(axes, layout, (width - layout.width) / 2, y - layout.top)
        y -= layout.top - layout.bottom + MARGIN
    _draw_legend(figure)
    return figure


def single_cell_figure(ops: Sequence[tuple[str, int]], concat: Sequence[int]) -> Figure:
    """Build the figure of one cell, without title and legend.

    Args:
        ops: ``(op, source)`` for each edge, two a node, as in a genotype.
        concat: The states that are concatenated to the output.

    Raises:
        ValueError: If the cell has over ``MOST_NODES`` nodes.
    """
    layout = _lay_out(ops, concat)
    width, height = layout.width + MARGIN, layout.top - layout.bottom + MARGIN
    figure, axes = _figure_in_inches(width, height)
    _draw_cell(axes, layout, MARGIN / 2, MARGIN / 2 - layout.bottom)
    return figure


def _lay_out(ops: Sequence[tuple[str, int]], concat: Sequence[int]) -> CellDrawing:
    nodes = len(ops) // 2
    if nodes > MOST_NODES:
        raise ValueError(f"draw: expected cells of at most {MOST_NODES} nodes, got {nodes}")
    return layout_cell(ops, concat)


def _figure_in_inches(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(0, height))
    axes.set_axis_off()
    return figure, axes


def _draw_cell(axes: Axes, layout: CellDrawing, left: float, middle: float) -> None:
    for edge in layout.edges:
        _draw_edge(axes, edge, left, middle)
    last = len(layout.boxes) - 1
    names = ["0\n$c_{k-2}$", "1\n$c_{k-1}$", *map(str, range(2, last)), "$c_{k}$"]
    for k, (box, name) in enumerate(zip(layout.boxes, names, strict=True)):
        inner = 2 <= k < last
        axes.add_patch(
            FancyBboxPatch(
                (left + box.x - BOX_WIDTH / 2, middle + box.y - BOX_HEIGHT / 2),
                BOX_WIDTH,
                BOX_HEIGHT,
                boxstyle="round,pad=0,rounding_size=0.1",
                facecolor="#e8edf3" if inner else "#22272e",
                edgecolor=INK,
                linewidth=1.2,
                zorder=3,
                gid="state",
            )
        )
        axes.text(
            left + box.x,
            middle + box.y,
            name,
            ha="center",
            va="center_baseline" if inner else "center",
            fontsize=12 if inner else 11,
            color=INK if inner else "white",
            zorder=4,
        )


def _draw_edge(axes: Axes, edge: Edge, left: float, middle: float) -> None:
    """Draw the curve from the source, and on it the operation's label and the arrow's head."""
    end = edge.places[-1]
    end_x, end_y = left + end.x - BOX_WIDTH / 2, middle + end.y + edge.port
    label_end = end_x - ARROW_LENGTH
    stop = label_end - LABEL_WIDTH if edge.op else end_x
    points = [(left + edge.places[0].x + BOX_WIDTH / 2, middle + edge.places[0].y)]
    for place in edge.places[1:-1]:
        right = left + place.x + BOX_WIDTH / 2
        start = right - BOX_WIDTH - ARROW_LENGTH - LABEL_WIDTH
        points += [(start, middle + place.y), (right, middle + place.y)]
    points.append((stop, end_y))
    color = OP_COLORS.get(edge.op, OWN_COLOR)
    curve = _curve(points)
    if edge.op is None:
        head = FancyArrowPatch(path=curve, arrowstyle="-|>", mutation_scale=9, shrinkB=0)
        head.set(color=FAINT, linewidth=1.1, zorder=1, fill=True, gid="edge", capstyle="butt")
        axes.add_patch(head)
        return
    line = FancyArrowPatch(path=curve, arrowstyle="-", shrinkA=0, shrinkB=0)
    line.set(color=color, linewidth=1.7, zorder=2, fill=False, gid="edge")
    axes.add_patch(line)
    axes.add_patch(
        FancyArrowPatch(
            (label_end, end_y),
            (end_x, end_y),
            arrowstyle="-|>",
            mutation_scale=11,
            shrinkA=0,
            shrinkB=0,
            color=color,
            linewidth=1.7,
            zorder=2,
        )
    )
    axes.add_patch(
        FancyBboxPatch(
            (stop, end_y - LABEL_HEIGHT / 2),
            LABEL_WIDTH,
            LABEL_HEIGHT,
            boxstyle="round,pad=0,rounding_size=0.08",
            facecolor="white",
            edgecolor=color,
            linewidth=1.4,
            zorder=3,
            gid="label",
        )
    )
    axes.text(
        stop + LABEL_WIDTH / 2,
        end_y,
        edge.op,
        ha="center",
        va="center",
        fontsize=9,
        color=INK,
        zorder=4,
        gid="op",
    )


def _curve(points: Sequence[tuple[float, float]]) -> Curve:
    """Join points by turns with an S-curve, level at both its ends, and a straight line."""
    vertices, codes = [points[0]], [Curve.MOVETO]
    for k, ((x0, y0), (x1, y1)) in enumerate(pairwise(points)):
        if k % 2 == 0:
            reach = min(0.6 * (x1 - x0), GAP)
            vertices += [(x0 + reach, y0), (x1 - reach, y1), (x1, y1)]
            codes += [Curve.CURVE4] * 3
        else:
            vertices.append((x1, y1))
            codes.append(Curve.LINETO)
    return Curve(vertices, codes)


def _draw_legend(figure: Figure) -> None:
    handles = [
        Line2D([], [], color=OP_COLORS[op], linewidth=2.5, label=name)
        for name, op in FAMILIES.items()
    ]
    handles.append(Line2D([], [], color=FAINT, linewidth=1.3, label="concatenation"))
    figure.legend(
        handles=handles, loc="lower center", ncols=len(handles), frameon=False, fontsize=9
    )
