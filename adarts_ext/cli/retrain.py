"""``adarts retrain``."""

from __future__ import annotations

import dataclasses
import shlex
import sys
from pathlib import Path
from typing import Any

from adarts_ext.cli.genotypes import GENOTYPE_HELP, find_genotype
from adarts_ext.cli.options import OptionParser
from adarts_ext.cli.runs import default_folder, explain_interrupt
from adarts_ext.files import CONFIG_FILE, read_json
from adarts_ext.retrain import RetrainConfig, retrain_seeds
from adarts_ext.retrain.config import load_run

DATASET_OPTIONS = ("dataset", "data_dir", "image_size")


def run(arguments: list[str]) -> None:
    """Train the network of a genotype from each of the seeds, and print the test accuracies."""
    parser = OptionParser(
        "retrain",
        "Train the network of a genotype from random weights, and test it. The data set is by "
        "default that of the run whose folder is given.",
        "GENOTYPE|RUN [--seeds 0,1,2] [--config FILE] [--out RUN] [--resume] [options]",
    )
    parser.add_argument("genotype", metavar="GENOTYPE|RUN", type=str, help=GENOTYPE_HELP)
    parser.add_argument(
        "--seeds",
        type=int | str,
        metavar="0,1,2",
        help="one training from each of these seeds; 0 if none",
    )
    parser.add_config_file()
    parser.add_run_folder("retrain")
    parser.add_dataclass(RetrainConfig, without=["seed"])
    given = parser.given(arguments)
    out, resume = given.pop("out", None), given.pop("resume", False)
    name, seeds = given.pop("genotype"), parse_seeds(parser, str(given.pop("seeds", 0)))
    if resume and out is None:
        parser.error("--resume needs the folder of the run: --out RUN")
    genotype = find_genotype(name)
    base = begun_config(Path(out)) if resume else RetrainConfig(**dataset_options(Path(name)))
    try:
        config = dataclasses.replace(base, **given)
    except ValueError as error:
        parser.error(str(error))
    folder = Path(out) if out else default_folder("retrain", config.dataset)
    print(f"run folder: {folder}", file=sys.stderr)
    with explain_interrupt("retrain", arguments, folder):
        result = retrain_seeds(genotype, config, folder, seeds, resume)
    report(result, folder)


def parse_seeds(parser: OptionParser, text: str) -> list[int]:
    """Read seeds that commas set apart."""
    parts = text.split(",")
    if not all(part.strip().isdecimal() for part in parts):
        parser.error(f"seeds: expected whole numbers set apart by commas, got {text}")
    return [int(part) for part in parts]


def dataset_options(folder: Path) -> dict[str, Any]:
    """Take the data set's options from the run in a folder; none where the path is no folder.

    Raises:
        ValueError: The run's options are damaged.
    """
    if not folder.is_dir():
        return {}
    path = folder / CONFIG_FILE
    options = read_json(path)
    try:
        return {name: options[name] for name in DATASET_OPTIONS}
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path}: not the options of a run, or damaged ones") from error


def begun_config(folder: Path) -> RetrainConfig:
    """Read the options of the run, or of the first of the runs of several seeds, in a folder."""
    if (folder / CONFIG_FILE).is_file():
        return load_run(folder)[1]
    seeds = sorted(path.parent for path in folder.glob(f"seed-*/{CONFIG_FILE}"))
    return load_run(seeds[0] if seeds else folder)[1]


def report(result: dict[str, Any], folder: Path) -> None:
    """Print the test accuracies and the size of the network."""
    if "runs" in result:
        for which in ("last", "best"):
            mean, deviation = (result[f"test_accuracy_{which}_{part}"] for part in ("mean", "std"))
            print(f"test accuracy, {which} epoch: {mean:.4f} +- {deviation:.4f}")
        print(f"mean and sample deviation over the seeds {', '.join(map(str, result['seeds']))}")
    else:
        print(f"test accuracy, last epoch: {result['test_accuracy_last']:.4f}")
        best = f"{result['test_accuracy_best']:.4f} (epoch {result['best_epoch']})"
        print(f"test accuracy, best epoch: {best}")
    print(describe_cost(result))
    print(f"results in {folder}")
    place = str(folder) if "runs" not in result else str(folder / f"seed-{result['seeds'][0]}")
    print(f"test again:  adarts evaluate {shlex.quote(place)}")


def describe_cost(result: dict[str, Any]) -> str:
    """Say in one line how large a network is.

    Example:
        >>> describe_cost({"parameters": 2898306, "flops": 948000000})
        '2.898 M parameters, 0.948 GFLOP an image (a multiply-add counts as two)'
    """
    return (
        f"{result['parameters'] / 1e6:.3f} M parameters, "
        f"{result['flops'] / 1e9:.3f} GFLOP an image (a multiply-add counts as two)"
    )
