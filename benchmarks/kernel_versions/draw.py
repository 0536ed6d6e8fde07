"""Draw docs/stencil.svg: which memory the stencil's threads read.

python benchmarks/kernel_versions/draw.py [docs/stencil.svg]
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from adarts_ext.draw.figure import FAINT, INK, OP_COLORS, save_figure

READ, WRITTEN, SHARED, ZERO = "#9fc5e8", OP_COLORS["avg_pool_3x3"], "#cfe8da", "#eceff2"
PATH = Path(__file__).resolve().parents[2] / "docs" / "stencil.svg"


def box(axes: Axes, x: float, y: float, wide: float, high: float, **style: object) -> None:
    axes.add_patch(Rectangle((x, y), wide, high, **{"lw": 0.6, "ec": FAINT, "fc": "none", **style}))


def cells(axes: Axes, x: int, y: int, wide: int, high: int, lines: str, fill: str) -> None:
    """Draw pixels, one a unit."""
    box(axes, x, y, wide, high, fc=fill, ec=lines)
    style = {"color": lines, "lw": 0.6, "zorder": 1}
    axes.vlines(range(x + 1, x + wide), y, y + high, **style)
    axes.hlines(range(y + 1, y + high), x, x + wide, **style)


def taps(axes: Axes, x: int, y: int) -> None:
    """Mark a pixel of the result, and the 25 that it is made of."""
    for row in range(-4, 5, 2):
        for column in range(-4, 5, 2):
            box(axes, x + column, y + row, 1, 1, fc=READ)
    box(axes, x, y, 1, 1, fc="none", ec=WRITTEN, lw=2.5)


def panel(axes: Axes, title: str, wide: float, high: float) -> None:
    axes.set(xlim=(0, wide), ylim=(high, 0), aspect="equal")
    axes.set_title(title, loc="left", fontsize=9, color=INK)
    axes.axis("off")


def label(axes: Axes, x: float, y: float, text: str, **style: object) -> None:
    usual = {"fontsize": 7.5, "color": INK, "ha": "center", "va": "center"}
    axes.text(x, y, text, **{**usual, **style})


def plane(axes: Axes) -> None:
    """A part of a plane, a thread's taps and the pixels of a warp."""
    panel(axes, "Versions 3 and 4: a thread, its 25 taps, its warp", 24, 13)
    cells(axes, 4, 2, 20, 11, FAINT, "white")
    cells(axes, 0, 2, 4, 11, "white", ZERO)
    cells(axes, 0, 0, 24, 2, "white", ZERO)
    taps(axes, 6, 6)
    box(axes, 4, 6, 8, 1, ec=INK, lw=1.6)
    label(axes, 12.3, 6.5, "a warp makes 8 pixels of a row", ha="left")
    label(axes, 12, 1, "zeros outside of the plane: never read")


def pixels(axes: Axes) -> None:
    """The eight pixels of a warp as bytes."""
    panel(axes, "A load of a warp: one tap of 8 neighbouring pixels, 512 bytes", 32, 3.9)
    for thread in range(32):
        box(axes, thread, 0.9, 1, 1, fc=READ if thread // 4 % 2 == 0 else "white", ec=FAINT)
        label(axes, thread + 0.5, 1.4, str(thread))
    for pixel in range(8):
        label(axes, 4 * pixel + 2, 0.4, f"pixel {pixel}")
    spans = {
        0: (1, "16 bytes: a thread,\nfour images"),
        8: (2, "32 bytes: a sector"),
        16: (4, "64 bytes: a pixel"),
        24: (8, "128 bytes: a line, a turn of the LSU"),
    }
    for first, (wide, text) in spans.items():
        axes.plot([first, first + wide], [2.3, 2.3], color=INK, lw=1.2)
        axes.text(first, 2.6, text, fontsize=7.5, color=INK, va="top")


def tile(axes: Axes) -> None:
    """A tile with what is around it."""
    panel(axes, "Version 5: a block, its tile in shared memory", 24, 24)
    cells(axes, 0, 0, 24, 24, "white", SHARED)
    cells(axes, 4, 4, 16, 16, FAINT, "white")
    taps(axes, 7, 8)
    label(axes, 12, 2, "24 x 24 pixels are read, 36 KiB")
    label(axes, 14, 14, "16 x 16 are made,\nfour of them a thread", backgroundcolor="white")


def columns(axes: Axes) -> None:
    """The four pixels of a thread."""
    panel(axes, "Version 6: a thread makes four pixels, and reads 8 in place of 20 a row", 24, 9)
    cells(axes, 0, 0, 24, 9, FAINT, "white")
    for row in range(0, 9, 2):
        for tap in range(8):
            box(axes, 4 + 2 * tap, row, 1, 1, fc=READ)
    for out in range(4):
        box(axes, 8 + 2 * out, 4, 1, 1, ec=WRITTEN, lw=2.5)


def drawing() -> Figure:
    figure = Figure(figsize=(10, 7.4), layout="constrained")
    grid = figure.subplot_mosaic(
        [["plane", "tile"], ["columns", "tile"], ["pixels", "pixels"]], height_ratios=(13, 9, 8)
    )
    for draw in (plane, tile, columns, pixels):
        draw(grid[draw.__name__])
    return figure


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", nargs="?", type=Path, default=PATH)
    save_figure(drawing(), parser.parse_args(arguments).out)


if __name__ == "__main__":
    main()
