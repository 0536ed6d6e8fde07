"""``adarts search``."""

from __future__ import annotations

import shlex

from adarts_ext.cli.numbers import describe_time
from adarts_ext.cli.options import OptionParser
from adarts_ext.cli.runs import default_folder, pop_run, replace_options, running, say_if_ended
from adarts_ext.genotype import state_name
from adarts_ext.runs import processes
from adarts_ext.runs.folder import GENOTYPE_FILE, TENSORBOARD_FOLDER
from adarts_ext.runs.options import check_choice
from adarts_ext.runs.progress import duration
from adarts_ext.search import PRESETS, SearchConfig, SearchResult, search


def run(arguments: list[str]) -> None:
    """Search, and say what was found, where it lies and what to do next."""
    parser = OptionParser(
        "search",
        "Find a genotype, the structure of the cells that a network is made of, by training a "
        "supernet. The defaults shown are those of the preset adarts, the published settings.",
        "[--preset NAME] [--config FILE] [--out RUN] [--resume] [options]",
    )
    parser.add_option(
        "preset",
        str,
        metavar="{" + ",".join(PRESETS) + "}",
        help="published settings, which other options override (default: adarts)",
    )
    parser.add_config_file()
    parser.add_run_folder("search")
    parser.add_dataclass(SearchConfig)
    given = parser.given(arguments)
    out, resume = pop_run(parser, given)
    preset_given = "preset" in given
    preset = given.pop("preset", "adarts")
    try:
        check_choice("preset", preset, PRESETS)
    except ValueError as error:
        parser.refuse(error)
    base = SearchConfig.load(out) if resume and not preset_given else PRESETS[preset]
    config = replace_options(parser, base, given)
    folder = out or default_folder(config)
    with running("search", arguments, folder):
        if resume:
            say_if_ended(folder)
        result = search(config, folder, resume)
    if processes.is_first():
        report(result)


def report(result: SearchResult) -> None:
    """Print the outcome of a search."""
    print(f"normal cell:\n{describe_cell(result.genotype.normal)}")
    print(f"reduction cell:\n{describe_cell(result.genotype.reduce)}")
    print(
        f"validation accuracy of the supernet {result.validation_accuracy:.4f} "
        f"after {result.epochs} epochs, {duration(result.seconds)}"
    )
    time = describe_time(result.time, result.images_per_second, result.peak_memory_bytes)
    print(f"time: {time}")
    place = shlex.quote(str(result.folder))
    curves = shlex.quote(str(result.folder / TENSORBOARD_FOLDER))
    print(f"genotype in {result.folder / GENOTYPE_FILE}")
    print(f"pictures:   adarts draw {place}")
    print(f"curves:     tensorboard --logdir {curves}")
    print(f"next:       adarts retrain {place}")


def describe_cell(edges: tuple[tuple[str, int], ...]) -> str:
    """Write a cell, a line a node, each operation with its source, named as in the pictures.

    Example:
        >>> print(describe_cell((("skip_connect", 0), ("sep_conv_3x3", 1))))
          node 2: skip_connect from input 0, sep_conv_3x3 from input 1
    """
    pairs = [f"{op} from {state_name(source)}" for op, source in edges]
    return "\n".join(
        f"  {state_name(2 + k)}: {pairs[2 * k]}, {pairs[2 * k + 1]}" for k in range(len(pairs) // 2)
    )
