"""``adarts report``."""

from __future__ import annotations

from pathlib import Path

from adarts_ext.cli.options import OptionParser
from adarts_ext.report import write_report


def run(arguments: list[str]) -> None:
    """Write the report of a run or a comparison, and print its place."""
    parser = OptionParser(
        "report",
        "Write what is known of a run, of runs from several seeds or of a comparison, ended or "
        "not, into one HTML file that needs nothing beside it.",
        "RUN|FOLDER [--out FILE]",
    )
    parser.add_argument(
        "folder", metavar="RUN|FOLDER", type=str, help="folder of the run, runs or comparison"
    )
    parser.add_argument(
        "--out", type=str, metavar="FILE", help="the file (default: report.html in the folder)"
    )
    parser.add_candidates()
    given = parser.given(arguments)
    folder = Path(given["folder"])
    out = Path(given.get("out") or folder / "report.html")
    write_report(folder, out)
    print(out)
