"""``adarts search``."""

from __future__ import annotations

import dataclasses
import shlex
import sys
from pathlib import Path

from adarts_ext.cli.options import OptionParser
from adarts_ext.cli.runs import default_folder, explain_interrupt
from adarts_ext.files import RESULT_FILE, TENSORBOARD_FOLDER, read_json
from adarts_ext.genotype import Genotype
from adarts_ext.search import PRESETS, SearchConfig, search
from adarts_ext.search.config import load_config


def run(arguments: list[str]) -> None:
    """Search, and say what was found, where it lies and what to do next."""
    parser = OptionParser(
        "search",
        "Search for the cells of a network. The defaults shown are those of the preset adarts.",
        "[--preset NAME] [--config FILE] [--out RUN] [--resume] [options]",
    )
    parser.add_argument(
        "--preset", choices=list(PRESETS), help="published settings to start from; adarts if none"
    )
    parser.add_config_file()
    parser.add_run_folder("search")
    parser.add_dataclass(SearchConfig)
    given = parser.given(arguments)
    out, resume = given.pop("out", None), given.pop("resume", False)
    preset = given.pop("preset", None)
    if resume and out is None:
        parser.error("--resume needs the folder of the run: --out RUN")
    base = load_config(Path(out)) if resume and preset is None else PRESETS[preset or "adarts"]
    try:
        config = dataclasses.replace(base, **given)
    except ValueError as error:
        parser.error(str(error))
    folder = Path(out) if out else default_folder("search", config.dataset)
    print(f"run folder: {folder}", file=sys.stderr)
    with explain_interrupt("search", arguments, folder):
        genotype = search(config, folder, resume)
    report(genotype, folder)


def report(genotype: Genotype, folder: Path) -> None:
    """Print the outcome of a search."""
    result = read_json(folder / RESULT_FILE)
    print(f"normal cell     {describe_cell(genotype.normal)}")
    print(f"reduction cell  {describe_cell(genotype.reduce)}")
    print(
        f"validation accuracy of the supernet {result['validation_accuracy']:.4f} "
        f"after {result['epochs']} epochs, {result['seconds']:.0f} s"
    )
    place = shlex.quote(str(folder))
    print(f"genotype in {folder / 'genotype.json'}")
    print(f"pictures:   adarts draw {place}")
    print(f"curves:     tensorboard --logdir {shlex.quote(str(folder / TENSORBOARD_FOLDER))}")
    print(f"next:       adarts retrain {place}")


def describe_cell(edges: tuple[tuple[str, int], ...]) -> str:
    """Write a cell in one line, its nodes set apart, each operation with its source.

    Example:
        >>> describe_cell((("skip_connect", 0), ("sep_conv_3x3", 1)))
        '(skip_connect 0, sep_conv_3x3 1)'
    """
    pairs = [f"{op} {source}" for op, source in edges]
    return " ".join(f"({pairs[k]}, {pairs[k + 1]})" for k in range(0, len(pairs), 2))
