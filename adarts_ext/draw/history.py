"""Draw how a search went: every edge's alphas, the betas, skip connections, losses, accuracies."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from adarts_ext.draw.figure import INK, picture_format, save_figure
from adarts_ext.draw.lines import (
    FIRST,
    SECOND,
    WARMUP_COLOR,
    Look,
    legend_line,
    op_look,
    source_look,
    style_axes,
    y_range,
)
from adarts_ext.files import read_json
from adarts_ext.genotype import PRIMITIVES, count_nodes, incoming_edges, state_name
from adarts_ext.genotype.candidates import columns_of
from adarts_ext.nn.candidates import parse_space
from adarts_ext.runs.folder import CONFIG_FILE, HISTORY_FILE

PANEL_WIDTH, PANEL_HEIGHT = 2.2, 1.5  # inches
LEGEND_ROW, TRAINING_HEIGHT, MINIMUM_WIDTH = 0.3, 2.6, 12
LEAST_WEIGHTS, LEAST_TRAINING = 0.02, 0.1  # ranges below which an axis does not magnify
CELL_TITLES = {"normal": "Normal cell", "reduce": "Reduction cell"}


def draw_history(run_folder: str | os.PathLike[str], path: str | os.PathLike[str]) -> None:
    """Draw the history of a search into one ``.svg``, ``.png`` or ``.pdf``.

    For each cell a panel an edge shows the softmax over its operations, epoch by epoch, in a row a
    node and a column a source; at the end of a row are the betas of the edges into the node. Below
    are the skip connections of the derived cells, the losses and the accuracies. The axes are those
    of the data: the panels of a cell's edges share theirs, any other has its own.

    Args:
        run_folder: The folder of a search, ended or not.
        path: The file to write; its suffix chooses the format.

    Raises:
        ValueError: If the suffix is none of ``.svg``, ``.png`` and ``.pdf``, the history is damaged
            or not that of a search, or it has candidates of one's own that are not registered.
        FileNotFoundError: If the folder holds no history.
        OSError: If the file cannot be written.
    """
    picture_format(path)
    source = Path(run_folder) / HISTORY_FILE
    if not source.is_file():
        raise FileNotFoundError(f"{run_folder}: no {HISTORY_FILE} of a search in this folder")
    history, columns = read_json(source), searched_columns(run_folder)
    try:
        figure = history_figure(history, columns)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise ValueError(f"{source}: not the history of a search, or a damaged one") from error
    save_figure(figure, path)


def searched_columns(run_folder: str | os.PathLike[str]) -> Sequence[str]:
    """Return the operations that the alphas of a search are of, by the space in its options.

    Raises:
        ValueError: If the file is damaged, or one's own are not registered.
    """
    path = Path(run_folder) / CONFIG_FILE
    options = read_json(path) if path.is_file() else {}
    space = options.get("space", "darts") if isinstance(options, dict) else None
    if not isinstance(space, str):
        raise ValueError(f"{path}: not the options of a search, or damaged ones")
    return columns_of(parse_space(space))


def history_figure(
    history: Sequence[dict[str, Any]], columns: Sequence[str] = PRIMITIVES
) -> Figure:
    """Build the figure that :func:`draw_history` writes, from the records of the epochs.

    Args:
        history: The records.
        columns: The operations that the alphas are of.
    """
    nodes = count_nodes(len(history[0]["alphas_normal"]))
    with_betas = history[0]["betas_normal"] is not None
    across = nodes + 1 + with_betas
    cell_height = nodes * PANEL_HEIGHT + 0.7
    heights = [(2 + with_betas) * LEGEND_ROW, cell_height, cell_height, TRAINING_HEIGHT]
    figure = Figure(
        figsize=(max(across * PANEL_WIDTH, MINIMUM_WIDTH), sum(heights)), layout="constrained"
    )
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.06)
    legend, normal, reduce, training = figure.subfigures(4, 1, height_ratios=heights)
    _draw_legend(legend, columns, nodes + 1 if with_betas else 0, _warmup_end(history))
    for part, cell in ((normal, "normal"), (reduce, "reduce")):
        _draw_cell(part, history, cell, columns, part.subplots(nodes, across, squeeze=False))
    _draw_training(training, history)
    return figure


def _warmup_end(history: Sequence[dict[str, Any]]) -> int:
    """Return how many epochs, at the start, left alphas and betas as they were."""
    return sum(1 for _ in takewhile(lambda entry: entry["arch_loss"] is None, history))


def _draw_legend(figure: SubFigure, columns: Sequence[str], sources: int, warmup_end: int) -> None:
    """Draw a row of operations, one of sources where there are betas, and the warm-up's colour."""
    rows = [[legend_line(op_look(op, columns), op) for op in columns]]
    if sources:
        rows.append(
            [legend_line(source_look(k), f"beta from {state_name(k)}") for k in range(sources)]
        )
    if warmup_end:
        label = f"warm-up, to epoch {warmup_end}: alphas and betas are not trained yet"
        rows.append([Patch(color=WARMUP_COLOR, label=label)])
    for k, row in enumerate(rows):
        figure.legend(
            handles=row,
            loc="center",
            bbox_to_anchor=(0.5, 1 - (k + 0.5) / len(rows)),
            ncols=len(row),
            frameon=False,
            fontsize=9,
            handlelength=3,
            columnspacing=1.4,
        )


def _draw_cell(
    figure: SubFigure,
    history: Sequence[dict[str, Any]],
    cell: str,
    columns: Sequence[str],
    panels: Any,
) -> None:
    """Draw a panel for each edge, and the betas at the end of each row."""
    alphas = [entry[f"alphas_{cell}"] for entry in history]
    betas = [entry[f"betas_{cell}"] for entry in history]
    with_betas = betas[0] is not None
    title = f"{CELL_TITLES[cell]}: weights of operations (softmax of alphas)"
    if with_betas:
        title += " and of edges (softmax of betas)"
    figure.suptitle(title, fontweight="bold", fontsize=11, color=INK)
    figure.supxlabel("epoch", fontsize=8, color=INK)
    shared = y_range([edge for epoch in alphas for edge in epoch], LEAST_WEIGHTS)
    for node, edges in enumerate(incoming_edges(len(panels))):
        into = state_name(node + 2)
        for source, axes in enumerate(panels[node][: len(panels) + 1]):
            if source >= node + 2:
                axes.set_axis_off()
                continue
            weights = zip(*(epoch[edges.start + source] for epoch in alphas), strict=True)
            named = zip(columns, weights, strict=True)
            lines = {op: (op_look(op, columns), line) for op, line in named}
            _draw_panel(axes, f"{state_name(source)} to {into}", history, lines, shared)
        if with_betas:
            weights = zip(*(epoch[edges] for epoch in betas), strict=True)
            lines = {state_name(k): (source_look(k), line) for k, line in enumerate(weights)}
            own = y_range([line for _, line in lines.values()], LEAST_WEIGHTS)
            _draw_panel(panels[node][-1], f"betas into {into}", history, lines, own)


def _draw_panel(
    axes: Axes,
    title: str,
    history: Sequence[dict[str, Any]],
    lines: dict[str, tuple[Look, Sequence[float]]],
    limits: tuple[float, float],
    **more: str,
) -> None:
    epochs = [entry["epoch"] for entry in history]
    for label, (look, values) in lines.items():
        axes.add_line(look.line(epochs, values, label, **more))
    style_axes(axes, title, epochs, _warmup_end(history))
    axes.set_ylim(*limits)


def _draw_training(figure: SubFigure, history: Sequence[dict[str, Any]]) -> None:
    """Draw the skip connections of the derived cells, the losses and the accuracies."""
    figure.supxlabel("epoch", fontsize=8, color=INK)
    skips, losses, accuracies = figure.subplots(1, 3)
    cells = {"normal": "skip_connections_normal", "reduction": "skip_connections_reduce"}
    _draw_pair(skips, history, "skip connections", cells, drawstyle="steps-mid")
    skips.set_ylim(-0.3, max(4, skips.get_ylim()[1]))
    skips.yaxis.set_major_locator(MaxNLocator(integer=True))
    for axes, what in ((losses, "loss"), (accuracies, "accuracy")):
        pair = {part: f"{part}_{what}" for part in ("train", "validation")}
        _draw_pair(axes, history, what, pair)


def _draw_pair(
    axes: Axes, history: Sequence[dict[str, Any]], title: str, names: dict[str, str], **more: str
) -> None:
    """Draw two lines, with their names beside the title."""
    lines = {
        label: (look, [entry[name] for entry in history])
        for look, (label, name) in zip((FIRST, SECOND), names.items(), strict=True)
    }
    limits = y_range([line for _, line in lines.values()], LEAST_TRAINING)
    _draw_panel(axes, title, history, lines, limits, **more)
    axes.legend(
        handles=[legend_line(look, label) for label, (look, _) in lines.items()],
        loc="lower right",
        bbox_to_anchor=(1, 0.99),
        ncols=2,
        fontsize=8,
        frameon=False,
        borderpad=0,
        handlelength=3,
    )
