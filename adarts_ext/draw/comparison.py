"""Draw a comparison: test errors against sizes, arm by arm, with genotypes at random behind."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from adarts_ext.cli.numbers import short_number
from adarts_ext.draw.figure import FAINT, INK, picture_format, save_figure

if TYPE_CHECKING:
    from adarts_ext.compare.summary import SizeLine

#: Told apart by colour and mark (Okabe and Ito's colours, and three more).
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f3b08", "#542788")
MARKERS = "osD^vP*X"


def draw_comparison(
    rows: Sequence[dict[str, Any]], line: SizeLine | None, path: str | os.PathLike[str]
) -> None:
    """Draw the test error of every network that was trained against its parameters.

    Args:
        rows: The runs, as :mod:`adarts_ext.compare.rows` says, all with a training.
        line: That of the genotypes at random, None for none.
        path: The file to write; its suffix chooses the format.

    Raises:
        ValueError: If the suffix is none of ``.svg``, ``.png`` and ``.pdf``.
        OSError: If the file cannot be written.
    """
    picture_format(path)
    save_figure(comparison_figure(rows, line), path)


def comparison_figure(rows: Sequence[dict[str, Any]], line: SizeLine | None) -> Figure:
    """Build the figure that :func:`draw_comparison` writes."""
    figure = Figure(figsize=(9, 4.2), layout="constrained")
    axes = figure.subplots()
    searched = list(dict.fromkeys(row["arm"] for row in rows if row["search"] is not None))
    looks = {
        arm: {"color": COLORS[k % len(COLORS)], "marker": MARKERS[k % len(MARKERS)], "zorder": 3}
        for k, arm in enumerate(searched)
    }
    for arm in dict.fromkeys(row["arm"] for row in rows):
        own = [row["retrain"] for row in rows if row["arm"] == arm]
        sizes = [one["parameters"] for one in own]
        errors = [100 * (1 - one["test_accuracy_last"]) for one in own]
        look = looks.get(arm, {"color": FAINT, "marker": ".", "zorder": 2})
        axes.scatter(sizes, errors, label=arm, s=34, linewidth=0, alpha=0.9, **look)
    axes.set_xscale("log")
    if line is not None:
        sizes = numpy.geomspace(line.smallest, line.largest, 2)
        errors = [100 * line.error(size) for size in sizes]
        axes.plot(sizes, errors, color=FAINT, linewidth=1.2, zorder=1, label="line through those")
    axes.set_xlabel("parameters of the derived network", color=INK)
    axes.set_ylabel("test error, %", color=INK)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda size, _: short_number(round(size))))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(color="#e3e7ec", linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.legend(loc="outside right upper", frameon=False, fontsize=8.5)
    return figure
