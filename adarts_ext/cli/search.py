"""``adarts search``."""

from __future__ import annotations

import shlex

from adarts_ext.cli.options import OptionParser
from adarts_ext.cli.runs import default_folder, pop_run, replace_options, running, say_if_ended
from adarts_ext.runs.folder import GENOTYPE_FILE, TENSORBOARD_FOLDER
from adarts_ext.search import PRESETS, SearchConfig, SearchResult, search


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
    out, resume = pop_run(parser, given)
    preset = given.pop("preset", None)
    base = SearchConfig.load(out) if resume and preset is None else PRESETS[preset or "adarts"]
    config = replace_options(parser, base, given)
    folder = out or default_folder(config)
    with running("search", arguments, folder):
        if resume:
            say_if_ended(folder)
        result = search(config, folder, resume)
    report(result)


def report(result: SearchResult) -> None:
    """Print the outcome of a search."""
    print(f"normal cell     {describe_cell(result.genotype.normal)}")
    print(f"reduction cell  {describe_cell(result.genotype.reduce)}")
    print(
        f"validation accuracy of the supernet {result.validation_accuracy:.4f} "
        f"after {result.epochs} epochs, {result.seconds:.0f} s"
    )
    place = shlex.quote(str(result.folder))
    curves = shlex.quote(str(result.folder / TENSORBOARD_FOLDER))
    print(f"genotype in {result.folder / GENOTYPE_FILE}")
    print(f"pictures:   adarts draw {place}")
    print(f"curves:     tensorboard --logdir {curves}")
    print(f"next:       adarts retrain {place}")


def describe_cell(edges: tuple[tuple[str, int], ...]) -> str:
    """Write a cell in one line, its nodes set apart, each operation with its source.

    Example:
        >>> describe_cell((("skip_connect", 0), ("sep_conv_3x3", 1)))
        '(skip_connect 0, sep_conv_3x3 1)'
    """
    pairs = [f"{op} {source}" for op, source in edges]
    return " ".join(f"({pairs[k]}, {pairs[k + 1]})" for k in range(0, len(pairs), 2))
