"""``adarts draw``."""

from __future__ import annotations

from pathlib import Path

from adarts_ext.cli.genotypes import GENOTYPE_HELP, find_genotype, latest_genotype_file
from adarts_ext.cli.options import OptionParser
from adarts_ext.draw import draw_genotype, draw_history
from adarts_ext.genotype_text import FORMATS
from adarts_ext.runs.folder import GENOTYPE_FILE, GENOTYPES_FOLDER


def run(arguments: list[str]) -> None:
    """Draw the cells of a genotype; of a search also its history."""
    parser = OptionParser(
        "draw",
        "Draw the cells of a genotype or a run, and the history of a search, ended or not.",
        "GENOTYPE|RUN [--out FILE] [--format {darts,nasbench301}]",
    )
    parser.add_argument("genotype", metavar="GENOTYPE|RUN", type=str, help=GENOTYPE_HELP)
    parser.add_argument(
        "--out",
        type=str,
        metavar="FILE",
        help="the picture, .svg, .png or .pdf; that of the history gets -history in its name. By "
        "default cells.svg and history.svg in the run's folder, or a file named like the genotype",
    )
    parser.add_argument(
        "--format",
        type=str,
        choices=tuple(FORMATS),
        help="print the genotype as DARTS does, Genotype(normal=[...], ...), or as the JSON of a "
        "NAS-Bench-301 configuration, and draw nothing",
    )
    parser.add_candidates()
    given = parser.given(arguments)
    if {"format", "out"} <= given.keys():
        parser.error(f"--format prints and draws nothing, got --out {given['out']} too")
    name = given["genotype"]
    folder = Path(name)
    ended = "Genotype(" in name or (folder / GENOTYPE_FILE).is_file()
    latest = None if ended else latest_genotype_file(folder)
    genotype = find_genotype(str(latest or name))
    if given.get("format"):
        print(FORMATS[given["format"]](genotype))
        return
    out = Path(given.get("out") or default_picture(name))
    draw_genotype(genotype, out)
    print(out)
    if "Genotype(" not in name and (folder / GENOTYPES_FOLDER).is_dir():
        history = out.with_name(f"{out.stem}-history{out.suffix}")
        if "out" not in given:
            history = folder / "history.svg"
        draw_history(folder, history)
        print(history)


def default_picture(name: str) -> Path:
    """Return the name of the picture of a genotype that an argument names.

    Example:
        >>> str(default_picture("random:3")), str(default_picture("ADARTS_V1"))
        ('random-3.svg', 'ADARTS_V1.svg')
    """
    if "Genotype(" in name:
        return Path("genotype.svg")
    path = Path(name)
    if path.is_dir():
        return path / "cells.svg"
    return path.with_suffix(".svg") if path.is_file() else Path(name.replace(":", "-") + ".svg")
