"""``adarts retrain``."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

from adarts_ext.cli.genotypes import GENOTYPE_HELP, find_genotype, run_folder
from adarts_ext.cli.numbers import describe_cost, describe_time
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
from adarts_ext.files import read_json
from adarts_ext.nn.own_candidates import candidate_options
from adarts_ext.retrain import RetrainConfig, RetrainResult, SeedsResult, retrain_seeds
from adarts_ext.retrain.config import RECIPES
from adarts_ext.runs import processes
from adarts_ext.runs.folder import CONFIG_FILE, seed_folders
from adarts_ext.runs.options import GIVEN
from adarts_ext.runs.seeds import seeds_of

DATASET_OPTIONS = ("dataset", "data_dir", "image_size")
LARGE_IMAGE_OPTIONS = ("augmentation", "stem")  # which runs of earlier versions lack


def run(arguments: list[str]) -> None:
    """Train the network of a genotype from each of the seeds, and print the test accuracies."""
    parser = OptionParser(
        "retrain",
        "Train the network of a genotype from random weights, and test it. The defaults are the "
        "published settings. The data set of a run whose folder is given is that of the run.",
        "GENOTYPE|RUN [--recipe NAME] [--seeds 0..7] [--config FILE] [--out RUN] [--resume] "
        "[options]",
    )
    parser.add_argument(
        "genotype",
        metavar="GENOTYPE|RUN",
        type=str,
        nargs="?",
        help=f"{GENOTYPE_HELP}; with --resume that of the run if none",
    )
    parser.add_seeds("one training", "0")
    add_settings(parser, "recipe", RECIPES, "published")
    parser.add_candidates()
    parser.add_config_file()
    parser.add_run_folder("retrain")
    parser.add_dataclass(RetrainConfig, without=["seed"])
    given = parser.given(arguments)
    out, resume = pop_run(parser, given)
    (seeds, slurm), known = pop_seeds(parser, given), [0]
    name = given.pop("genotype")
    recipe = pop_settings(parser, given, "recipe", RECIPES)
    if resume:
        begun = next(iter(seed_folders(out)), out)
        base, known = RetrainConfig.load(begun), seeds_of(out, RetrainConfig)
        if recipe is not None:
            base = dataset_options(begun, None, recipe)
        name = name or str(begun)
    elif not name:
        parser.error("expected the genotype to train: GENOTYPE|RUN")
    genotype = find_genotype(name)
    if not resume:
        recipe = recipe or RECIPES["published"]
        base = dataset_options(run_folder(name), given.get("dataset"), recipe)
    config = replace_options(parser, base, given)
    if config.dataset == GIVEN and not resume:
        raise ValueError(
            f"{name}: its data were given in Python; retrain there, or name data with --dataset"
        )
    seeds, folder = seeds or known, out or default_folder(config.kind, config.dataset)
    with running("retrain", arguments, folder):
        if resume and set(seeds) <= set(known):
            say_if_ended(folder)
        result = retrain_seeds(genotype, config, folder, seeds, resume, slurm=slurm)
    if processes.is_first():
        report(result)


def dataset_options(folder: Path, dataset: str | None, recipe: RetrainConfig) -> RetrainConfig:
    """Take the data set's options from the run in a folder, and the others from a recipe.

    What the recipe says of the data set, as that for ImageNet does, counts before the run's.

    Args:
        folder: The folder; the recipe alone counts where it is none.
        dataset: The data set asked for; the recipe alone where it is not that of the run, too.
        recipe: One of :data:`RECIPES`.

    Raises:
        ValueError: If the run's options are damaged.
    """
    if not folder.is_dir():
        return recipe
    path = folder / CONFIG_FILE
    options = read_json(path)
    try:
        found = {name: options[name] for name in DATASET_OPTIONS}
        found |= {name: options[name] for name in LARGE_IMAGE_OPTIONS if name in options}
        said = [name for name in found if getattr(recipe, name) != getattr(RetrainConfig, name)]
        asked = dataset or (recipe.dataset if "dataset" in said else None)
        same = asked in (None, found["dataset"])
        kept = {name: value for name, value in found.items() if same and name not in said}
        return replace(recipe, **kept)
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path}: not the options of a run, or damaged ones") from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def report(result: RetrainResult | SeedsResult) -> None:
    """Print the test accuracies and the size of the network."""
    if isinstance(result, SeedsResult):
        last = f"{result.test_accuracy_last_mean:.4f} +- {result.test_accuracy_last_std:.4f}"
        best = f"{result.test_accuracy_best_mean:.4f} +- {result.test_accuracy_best_std:.4f}"
        place = result.runs[0].folder
    else:
        last = f"{result.test_accuracy_last:.4f}"
        best = f"{result.test_accuracy_best:.4f} (epoch {result.best_epoch})"
        place = result.folder
    print(f"test accuracy, last epoch: {last}")
    print(f"test accuracy, best epoch: {best}")
    if isinstance(result, SeedsResult):
        print(f"mean and sample deviation over the seeds {', '.join(map(str, result.seeds))}")
    print(describe_cost(result.parameters, result.macs, result.flops))
    time = describe_time(result.time, result.images_per_second, result.peak_memory_bytes)
    print(f"time: {time}")
    print(f"results in {result.folder}")
    print(f"test again:  adarts evaluate {shlex.join([str(place), *candidate_options()])}")
