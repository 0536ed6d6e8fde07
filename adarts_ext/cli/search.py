"""``adarts search``."""

from __future__ import annotations

import shlex
from typing import Any

from adarts_ext.arguments import naming
from adarts_ext.cli.numbers import describe_time
from adarts_ext.cli.options import OptionParser
from adarts_ext.cli.runs import (
    add_settings,
    default_folder,
    pop_run,
    pop_seeds,
    pop_settings,
    replace_options,
    running,
    say_if_ended,
)
from adarts_ext.genotype import state_name
from adarts_ext.nn.own_candidates import candidate_options
from adarts_ext.runs import processes
from adarts_ext.runs.clock import duration
from adarts_ext.runs.folder import GENOTYPE_FILE, TENSORBOARD_FOLDER, seed_folders
from adarts_ext.runs.seeds import seeds_of
from adarts_ext.search import PRESETS, SearchConfig, SearchResult, SweepResult, search_seeds
from adarts_ext.strategies.choice import is_own, parse_strategy


def run(arguments: list[str]) -> None:
    """Search, and say what was found, where it lies and what to do next."""
    parser = OptionParser(
        "search",
        "Find a genotype, the structure of the cells that a network is made of, by training a "
        "supernet. The defaults shown are those of the preset adarts, the published settings.",
        "[--strategy NAME] [--preset NAME] [--seeds 0..7] [--config FILE] [--out RUN] [--resume] "
        "[options]",
    )
    add_settings(parser, "preset", PRESETS, "those of the first strategy")
    parser.add_seeds("one search", "that of --seed")
    parser.add_candidates()
    parser.add_config_file()
    parser.add_run_folder("search")
    parser.add_dataclass(SearchConfig)
    given = parser.given(arguments)
    out, resume = pop_run(parser, given)
    (seeds, slurm), known = pop_seeds(parser, given), []
    base = pop_settings(parser, given, "preset", PRESETS)
    if resume:
        begun, known = next(iter(seed_folders(out)), out), seeds_of(out, SearchConfig)
        base = base or SearchConfig.load(begun)
    config = replace_options(parser, base or settings_of(parser, given), given)
    check_own_strategies(parser, config, given)
    seeds = seeds or (known if len(known) > 1 else [config.seed])
    if "seed" in given and seeds != [config.seed]:
        names = ", ".join(map(str, seeds))
        message = f"seed: expected none, as the seeds are {names}, got {config.seed}"
        parser.refuse(naming(ValueError(message), "seed"))
    folder = out or default_folder(config.kind, config.dataset)
    with running("search", arguments, folder):
        if resume and set(seeds) <= set(known):
            say_if_ended(folder)
        result = search_seeds(config, folder, seeds, resume, slurm=slurm)
    if processes.is_first():
        report(result)


def settings_of(parser: OptionParser, given: dict[str, Any]) -> SearchConfig:
    """Return the published settings of the first strategy that is given; else ADARTS's."""
    try:
        first = parse_strategy(given.get("strategy", "adarts"))[0]
    except ValueError as error:
        parser.refuse(error)
    return PRESETS.get(first, PRESETS["adarts"])


def check_own_strategies(parser: OptionParser, config: SearchConfig, given: dict[str, Any]) -> None:
    """Refuse to run a file that was not named on the command line: data must not run programs."""
    own = [name for name in parse_strategy(config.strategy) if is_own(name)]
    if own and ("strategy" not in given or "strategy" in parser.files):
        parser.error(
            f"--strategy: {own[0]} is a program, which is run only if the command line names it; "
            f"expected --strategy {config.strategy} there"
        )


def report(result: SearchResult | SweepResult) -> None:
    """Print the outcome of a search, or of one from each of several seeds."""
    if isinstance(result, SweepResult):
        report_seeds(result)
    else:
        report_one(result)


def report_one(result: SearchResult) -> None:
    """Print what one search found, and what to do next."""
    print(f"normal cell:\n{describe_cell(result.genotype.normal)}")
    print(f"reduction cell:\n{describe_cell(result.genotype.reduce)}")
    print(
        f"validation accuracy of the supernet {result.validation_accuracy:.4f} "
        f"after {result.epochs} epochs, {duration(result.seconds)}"
    )
    if result.collapse:
        print(f"the search collapses: {'; '.join(result.collapse)}")
    if result.genotype_epoch < result.epochs:
        print(f"so it was stopped; the cells are those after epoch {result.genotype_epoch}")
    if result.stopped:
        print(f"the strategy stopped the search: {result.stopped}")
    time = describe_time(result.time, result.images_per_second, result.peak_memory_bytes)
    print(f"time: {time}")
    place = shlex.join([str(result.folder), *candidate_options()])
    curves = shlex.quote(str(result.folder / TENSORBOARD_FOLDER))
    print(f"genotype in {result.folder / GENOTYPE_FILE}")
    print(f"pictures:   adarts draw {place}")
    print(f"curves:     tensorboard --logdir {curves}")
    print(f"next:       adarts retrain {place}")


def report_seeds(result: SweepResult) -> None:
    """Print how the searches from several seeds did, and how far their genotypes agree."""
    numbers = zip(result.runs, result.skip_connections, result.poolings, strict=True)
    for run, skips, poolings in numbers:
        print(
            f"seed {run.seed}: validation accuracy {run.validation_accuracy:.4f}; of "
            f"{len(run.genotype.normal + run.genotype.reduce)} operations are skip connections "
            f"{skips}, poolings {poolings}"
        )
    mean, deviation = result.validation_accuracy_mean, result.validation_accuracy_std
    print(
        f"validation accuracy of the supernets {mean:.4f} +- {deviation:.4f} "
        f"after {result.epochs} epochs, mean and sample deviation"
    )
    print(f"two of the genotypes share {100 * result.agreement:.0f} % of their edges, on average")
    time = describe_time(result.time, result.images_per_second, result.peak_memory_bytes)
    print(f"time: {time}")
    place = shlex.join([str(result.runs[0].folder), *candidate_options()])
    print(f"results in {result.folder}, a folder for each seed")
    print(f"curves:     tensorboard --logdir {shlex.quote(str(result.folder))}")
    print(f"pictures:   adarts draw {place}  # or another seed")
    print(f"next:       adarts retrain {place}  # or another seed")


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
