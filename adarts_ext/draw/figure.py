"""What all pictures share: the colours of the operations, and writing a figure to a file."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import BinaryIO

import matplotlib
from matplotlib.figure import Figure

from adarts_ext.files import write_atomic

INK = "#22272e"
FAINT = "#9aa3ad"

OP_COLORS = {
    "none": "#9aa3ad",
    "max_pool_3x3": "#c2410c",
    "avg_pool_3x3": "#e8a33d",
    "skip_connect": "#b4549b",
    "sep_conv_3x3": "#1d5fa8",
    "sep_conv_5x5": "#6aa9dd",
    "dil_conv_3x3": "#11795c",
    "dil_conv_5x5": "#5fbf95",
}

OWN_COLOR = "#6f4e37"  # of an operation of one's own

_FONTS = {"font.family": "sans-serif", "svg.fonttype": "none", "svg.hashsalt": "adarts_ext"}


def picture_format(path: str | os.PathLike[str]) -> str:
    """Return the format that a picture's file name asks for: ``"svg"``, ``"png"`` or ``"pdf"``.

    Raises:
        ValueError: For any other suffix.

    Example:
        >>> picture_format("cells.SVG")
        'svg'
    """
    suffix = Path(path).suffix.lower()
    if suffix not in (".svg", ".png", ".pdf"):
        raise ValueError(f"expected a picture's file name to end in .svg, .png or .pdf, got {path}")
    return suffix[1:]


def save_figure(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Write a figure beside ``path`` and rename it into place; the suffix chooses the format.

    Text stays text in an SVG, so it can be searched and edited; the same figure gives the same
    bytes.

    Raises:
        ValueError: If the suffix is none of ``.svg``, ``.png`` and ``.pdf``.
        OSError: If the file cannot be written.
    """
    kind = picture_format(path)
    write_atomic(path, lambda file: _write(figure, file, kind))


def figure_svg(figure: Figure) -> bytes:
    """Return a figure as :func:`save_figure` writes it into an ``.svg``."""
    file = io.BytesIO()
    _write(figure, file, "svg")
    return file.getvalue()


def _write(figure: Figure, file: BinaryIO, kind: str) -> None:
    metadata = {"svg": {"Date": None}, "png": {"Software": None}, "pdf": {"CreationDate": None}}
    with matplotlib.rc_context(_FONTS):
        figure.savefig(file, format=kind, dpi=150, facecolor="white", metadata=metadata[kind])
