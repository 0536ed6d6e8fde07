"""The file that keeps what the runs of a comparison came to, a line a run.

A row has the ``arm``, the ``seed``, the ``genotype`` that was found or drawn, and the records of
its search and its training, as ``result.json`` has them, or None for what was not made. That of the
search also has ``kept_bytes``, what a forward pass of the supernet keeps for backward.
"""

from __future__ import annotations

from pathlib import Path

from adarts_ext.bench.rows import Row, read_rows

ROWS_FILE = "runs.jsonl"
_NAMES = {"arm", "seed", "genotype", "search", "retrain"}


def read_runs(path: Path) -> list[Row]:
    """Read rows; none where there is no file.

    Raises:
        ValueError: If the file is damaged.
    """
    if not path.is_file():
        return []
    rows = read_rows(path)
    for number, row in enumerate(rows, 1):
        if row.keys() != _NAMES:
            raise ValueError(f"{path}: line {number} is not the run of a comparison")
    return rows
