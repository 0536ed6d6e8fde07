"""What the benchmarks' reports have in common: the machine, the table, the files."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterable, Sequence
from datetime import date
from pathlib import Path

import torch


def cpu_name() -> str:
    """The processor's name as the system gives it."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def machine() -> str:
    """The line that says on what was measured, and when."""
    threads = torch.get_num_threads()
    return (
        f"{cpu_name()}, {threads} {'thread' if threads == 1 else 'threads'}, "
        f"torch {torch.__version__}, {date.today()}"
    )


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """The lines of a Markdown table: the first column to the left, the others to the right."""
    lines = [f"| {' | '.join(columns)} |", f"|---|{'---:|' * (len(columns) - 1)}"]
    return lines + [f"| {' | '.join(map(str, row))} |" for row in rows]


def write(out: Path | None, lines: Sequence[str], data: object) -> None:
    """Print the report; where asked, write it, and what was measured as JSON beside it."""
    text = "\n".join(lines) + "\n"
    print(text, end="", flush=True)
    if out is not None:
        out.write_text(text)
        out.with_suffix(".json").write_text(json.dumps(data, indent=1) + "\n")
