"""What each version of two kernels should take on a GPU (docs/kernels.md): not measured.

    python benchmarks/scripts/predict_versions.py [--out benchmarks/results/kernel_versions.md]

Needs nvcc but no GPU. The versions are in benchmarks/kernel_versions/. Their launches are heard on
the emulator, their machine code is run by benchmarks/kernel_model/, whose README says how. Takes
some minutes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from adarts_ext.bench.report.markdown import table, write
from adarts_ext.bench.rows import Row

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from kernel_model.card import CARDS
from kernel_versions.predicted import Predicted, compiled, predict_version
from kernel_versions.subjects import SUBJECTS, Subject, errors

FIRST = "sm_90"  # the card of which all cases are shown


def rows_of(subject: Subject) -> list[Row]:
    """Predict all versions: every case on the first card, the first case on every card."""
    first, *_ = subject.cases
    runs = [(FIRST, case) for case in subject.cases]
    runs += [(other, first) for other in CARDS if other != FIRST]
    kernels = {architecture: compiled(subject.sources, architecture) for architecture in CARDS}
    rows = []
    for architecture, case in runs:
        inputs = subject.cases[case]()
        for version in range(1, len(subject.ideas) + 1):
            of = predict_version(subject, version, inputs, kernels[architecture])
            row = {
                "kernel": subject.name,
                "version": version,
                "card": CARDS[architecture].name,
                "case": case,
            }
            rows.append(row | figures(of, inputs[0].numel() // 4))
    return rows


def figures(of: Predicted, items: int) -> Row:
    """Write a prediction as a part of a row."""
    return {
        "launches": len(of.launches),
        "registers": of.registers,
        "instructions": round(of.instructions() / items, 1),
        "read": round(of.total("read")),
        **{f"{name}_us": round(1e6 * of.total(name), 2) for name in ("chain", "least", "seconds")},
        **{f"{name}_us": round(1e6 * of.term(name), 2) for name in of.launches[0].terms},
    }


_TERMS = ("issue", "LSU", "L2", "DRAM", "chain")


def summary(subject: Subject, rows: list[Row]) -> list[str]:
    """Set the versions beside each other."""
    runs = {(row["card"].split()[0], row["case"]): None for row in rows}
    lines = []
    for (version, idea), error in zip(enumerate(subject.ideas, 1), errors(subject), strict=True):
        own = [row for row in rows if row["version"] == version]
        lines.append(
            [
                version,
                idea,
                own[0]["registers"],
                f"{own[0]['instructions']:.0f}",
                *(f"{own[0][f'{name}_us']:.1f}" for name in _TERMS),
                *(f"{row['least_us']:.1f} to {row['seconds_us']:.1f}" for row in own),
                f"{error:.1f}" if error < 100 else f"{error:.0f}",
            ]
        )
    columns = ("", "version", "registers", "instructions", *_TERMS, *map(", ".join, runs), "error")
    return table(columns, lines)


HEAD = """# Two kernels in versions

Worked out by `python benchmarks/scripts/predict_versions.py` from the machine code, not
measured: no GPU has run them. [kernels.md](../../docs/kernels.md) tells what the versions are.

Registers and instructions are those of a thread in sm_90's code, the latter for an item. Times are
microseconds: the terms of the [model](../kernel_model/README.md) on an H100 in the first case, then
the whole of each case, from what it takes if chain and work overlap to their sum. Errors are the
largest, on the emulator, in units of that of plain torch in float32. The rows beside this file have
all terms of all cases.
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Predict, print, and write the tables where asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, help="write the tables here, and rows beside them")
    options = parser.parse_args(arguments)
    torch.manual_seed(1)
    lines, rows = HEAD.rstrip().splitlines(), list[Row]()
    for subject in SUBJECTS:
        own = rows_of(subject)
        rows += own
        lines += ["", f"## {subject.name}, {subject.shape}, an item of {subject.item}", ""]
        lines += summary(subject, own)
    write(options.out, lines, rows)


if __name__ == "__main__":
    main()
