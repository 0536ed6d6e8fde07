"""Files of rows: one JSON object a line, so that a difference between two can be read line by line.

Times and other measured numbers are kept to seven significant digits.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from adarts_ext.files import write_atomic

Row = dict[str, Any]
DIGITS = 7  # significant ones


def rounded(value: Any) -> Any:
    """Round the floating point numbers of a value, in lists and dictionaries too.

    Example:
        >>> rounded({"seconds": [0.123456789, 12345678.0], "bytes": 123456789})
        {'seconds': [0.1234568, 12345680.0], 'bytes': 123456789}
    """
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, list | tuple):
        return [rounded(one) for one in value]
    if isinstance(value, dict):
        return {name: rounded(one) for name, one in value.items()}
    return value


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Write rows, atomically.

    Raises:
        OSError: The file cannot be written.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "rows.jsonl"
        >>> write_rows(path, [{"arm": "plain", "seconds": [2.0, 1 / 3]}, {"arm": "ours"}])
        >>> print(path.read_text(), end="")
        {"arm": "plain", "seconds": [2.0, 0.3333333]}
        {"arm": "ours"}
        >>> read_rows(path)[1]
        {'arm': 'ours'}
    """
    text = "".join(json.dumps(rounded(row)) + "\n" for row in rows)
    write_atomic(path, lambda file: file.write(text.encode()))


def read_rows(path: Path) -> list[Row]:
    """Read rows.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A line is no JSON object.
    """
    rows = []
    for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if not isinstance(row, dict):
            raise ValueError(f"{path}: line {number} is no JSON object")
        rows.append(row)
    return rows
