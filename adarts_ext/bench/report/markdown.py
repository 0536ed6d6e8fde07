"""How the reports write tables and numbers: Markdown that also reads well in a terminal."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path

from adarts_ext.bench.rows import Row, write_rows
from adarts_ext.files import write_atomic

MIB = 2**20
UNITS = {"s": 1.0, "ms": 1e3, "us": 1e6}


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """Write a Markdown table: words to the left, numbers to the right.

    Example:
        >>> print("\\n".join(table(["arm", "s"], [["plain", 8.26], ["ours", 0.8]])))
        | arm   |    s |
        |:------|-----:|
        | plain | 8.26 |
        | ours  |  0.8 |
    """
    cells = [[str(cell) for cell in row] for row in (columns, *rows)]
    turned = list(zip(*cells, strict=True))
    widths = [max(3, *map(len, column)) for column in turned]
    words = [any(cell[:1].isalpha() for cell in column[1:]) for column in turned]
    rule = [
        f":{'-' * (width + 1)}" if left else f"{'-' * (width + 1)}:"
        for width, left in zip(widths, words, strict=True)
    ]
    lines = [f"|{'|'.join(rule)}|"]
    for row in cells:
        padded = [
            cell.ljust(width) if left else cell.rjust(width)
            for cell, width, left in zip(row, widths, words, strict=True)
        ]
        lines.append(f"| {' | '.join(padded)} |")
    return [lines[1], lines[0], *lines[2:]]


def write(out: Path | None, lines: Sequence[str], rows: Iterable[Row]) -> None:
    """Print a report; where asked, write it, and what was measured as rows beside it."""
    text = "\n".join(lines) + "\n"
    print(text, end="", flush=True)
    if out is not None:
        write_atomic(out, lambda file: file.write(text.encode()))
        write_rows(out.with_suffix(".jsonl"), rows)


def spread(values: Sequence[float], digits: int = 3) -> str:
    """Write the median, with minimum and maximum.

    Example:
        >>> spread([1.0, 3.0, 2.0], 1)
        '2.0 (1.0 to 3.0)'
    """
    middle, low, high = statistics.median(values), min(values), max(values)
    return f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def mebibytes(count: float) -> str:
    """Write bytes in MiB."""
    return f"{count / MIB:.1f}"


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
