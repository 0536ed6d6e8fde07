"""Draw how a search went: every edge's alphas, the betas, skip connections, losses, accuracies."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from adarts_ext.draw.figure import FAINT, INK, OP_COLORS, picture_format, save_figure
from adarts_ext.files import read_json
from adarts_ext.genotype import PRIMITIVES, incoming_edges
from adarts_ext.runs.folder import HISTORY_FILE

PANEL_WIDTH, PANEL_HEIGHT = 2.2, 1.5  # inches
LEGEND_HEIGHT, TRAINING_HEIGHT, MINIMUM_WIDTH = 0.4, 2.6, 11.5
HEADROOM = 1.08  # top of an axis over the largest value
CELL_TITLES = {"normal": "Normal cell", "reduce": "Reduction cell"}
SOURCE_COLORS = ("#22272e", "#c2410c", "#1d5fa8", "#11795c", "#b4549b", "#e8a33d")


def draw_history(run_folder: str | os.PathLike[str], path: str | os.PathLike[str]) -> None:
    """Draw the history of a search into one ``.svg`` or ``.png``.

    For each cell a panel an edge shows the softmax over its operations, epoch by epoch, in a row a
    node and a column a source; at the end of a row are the betas of the edges into the node. Below
    are the skip connections of the derived cells, the losses and the accuracies.

    Args:
        run_folder: The folder of a search, ended or not.
        path: The file to write; its suffix chooses the format.

    Raises:
        ValueError: If the suffix is none of ``.svg``, ``.png`` and ``.pdf``, or the history is
            damaged or not that of a search.
        FileNotFoundError: If the folder holds no history.
        OSError: If the file cannot be written.
    """
    picture_format(path)
    source = Path(run_folder) / HISTORY_FILE
    if not source.is_file():
        raise FileNotFoundError(f"{run_folder}: no {HISTORY_FILE} of a search in this folder")
    history = read_json(source)
    try:
        figure = history_figure(history)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise ValueError(f"{source}: not the history of a search, or a damaged one") from error
    save_figure(figure, path)


def history_figure(history: Sequence[dict[str, Any]]) -> Figure:
    """Build the figure that :func:`draw_history` writes, from the records of the epochs."""
    nodes = _count_nodes(len(history[0]["alphas_normal"]))
    with_betas = history[0]["betas_normal"] is not None
    columns = nodes + 1 + with_betas
    cell_height = nodes * PANEL_HEIGHT + 0.5
    figure = Figure(
        figsize=(
            max(columns * PANEL_WIDTH, MINIMUM_WIDTH),
            2 * cell_height + TRAINING_HEIGHT + LEGEND_HEIGHT,
        ),
        layout="constrained",
    )
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.06)
    heights = [LEGEND_HEIGHT, cell_height, cell_height, TRAINING_HEIGHT]
    legend, normal, reduce, training = figure.subfigures(4, 1, height_ratios=heights)
    lines = [Line2D([], [], color=OP_COLORS[op], linewidth=2.2, label=op) for op in PRIMITIVES]
    legend.legend(handles=lines, loc="center", ncols=len(lines), frameon=False, fontsize=9)
    for part, cell in ((normal, "normal"), (reduce, "reduce")):
        _draw_cell(part, history, cell, part.subplots(nodes, columns, squeeze=False))
    _draw_training(training, history)
    return figure


def _count_nodes(edges: int) -> int:
    nodes = 1
    while incoming_edges(nodes)[-1].stop < edges:
        nodes += 1
    return nodes


def _draw_cell(
    figure: SubFigure, history: Sequence[dict[str, Any]], cell: str, panels: Any
) -> None:
    """Draw a panel for each edge, and the betas at the end of each row."""
    epochs = [entry["epoch"] for entry in history]
    alphas = [entry[f"alphas_{cell}"] for entry in history]
    betas = [entry[f"betas_{cell}"] for entry in history]
    with_betas = betas[0] is not None
    title = f"{CELL_TITLES[cell]}: softmax of the alphas of each edge"
    if with_betas:
        title += "; betas, each in the colour of its edge's title"
    figure.suptitle(title, fontweight="bold", fontsize=11, color=INK)
    top = HEADROOM * max(weight for epoch in alphas for edge in epoch for weight in edge)
    for node, edges in enumerate(incoming_edges(len(panels))):
        for source in range(len(panels) + 1):
            axes = panels[node][source]
            if source >= node + 2:
                axes.set_axis_off()
                continue
            for k, op in enumerate(PRIMITIVES):
                weights = [epoch[edges.start + source][k] for epoch in alphas]
                _draw_line(axes, epochs, weights, OP_COLORS[op])
            title = f"{_state_name(source)} to {_state_name(node + 2)}"
            _style(axes, title, epochs, _source_color(source))
            axes.set_ylim(0, top)
        if with_betas:
            axes = panels[node][-1]
            for source in range(node + 2):
                weights = [epoch[edges.start + source] for epoch in betas]
                _draw_line(axes, epochs, weights, _source_color(source))
            _style(axes, f"betas into {_state_name(node + 2)}", epochs)
            axes.set_ylim(0, HEADROOM * max(max(epoch[edges]) for epoch in betas))
            axes.set_facecolor("#f4f6f9")


def _draw_training(figure: SubFigure, history: Sequence[dict[str, Any]]) -> None:
    """Draw the skip connections of the derived cells, the losses and the accuracies."""
    epochs = [entry["epoch"] for entry in history]
    skips, losses, accuracies = figure.subplots(1, 3)
    for cell, color in (("normal", "#1d5fa8"), ("reduce", "#c2410c")):
        counts = [entry[f"skip_connections_{cell}"] for entry in history]
        _draw_line(skips, epochs, counts, color, CELL_TITLES[cell], drawstyle="steps-mid")
    _style(skips, "skip connections in the derived cells", epochs)
    skips.set_ylim(-0.3, max(4, *skips.get_ylim()))
    skips.yaxis.set_major_locator(MaxNLocator(integer=True))
    for axes, what in ((losses, "loss"), (accuracies, "accuracy")):
        for part, color in (("train", "#1d5fa8"), ("validation", "#c2410c")):
            values = [entry[f"{part}_{what}"] for entry in history]
            _draw_line(axes, epochs, values, color, part)
        _style(axes, what, epochs)
    losses.set_ylim(0, HEADROOM * max(max(line.get_ydata()) for line in losses.lines))
    accuracies.set_ylim(0, 1)
    for axes in (skips, losses, accuracies):
        axes.set_xlabel("epoch", fontsize=8, color=INK)
        axes.legend(fontsize=8, frameon=False)


def _draw_line(
    axes: Axes,
    epochs: Sequence[int],
    values: Sequence[float],
    color: str,
    label: str | None = None,
    drawstyle: str = "default",
) -> None:
    axes.plot(
        epochs,
        values,
        color=color,
        linewidth=1.4,
        marker="o" if len(epochs) == 1 else None,  # one epoch makes no line
        markersize=3,
        label=label,
        drawstyle=drawstyle,
    )


def _style(axes: Axes, title: str, epochs: Sequence[int], color: str = INK) -> None:
    axes.set_title(title, fontsize=8.5, color=color, fontweight="bold", pad=3)
    axes.tick_params(labelsize=7, color=FAINT, labelcolor=INK, length=2.5)
    axes.grid(color="#e3e7ec", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True, min_n_ticks=1))
    axes.set_xlim(epochs[0] - 0.5, epochs[-1] + 0.5)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(FAINT)


def _state_name(state: int) -> str:
    return ("$c_{k-2}$", "$c_{k-1}$")[state] if state < 2 else f"node {state - 2}"


def _source_color(source: int) -> str:
    return SOURCE_COLORS[source % len(SOURCE_COLORS)]
