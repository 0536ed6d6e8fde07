"""``adarts derive``."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from adarts_ext.arguments import naming
from adarts_ext.bench.genotype_profile import ProfileConfig
from adarts_ext.cli.numbers import describe_cost, parse_number
from adarts_ext.cli.options import OptionParser
from adarts_ext.cli.runs import exit_on_sigterm
from adarts_ext.derivation.run import CRITERIA, derive_run
from adarts_ext.files import read_json
from adarts_ext.genotype import Genotype
from adarts_ext.nn.candidates import parse_space
from adarts_ext.nn.own_candidates import candidate_options
from adarts_ext.retrain import RetrainConfig, derive_within
from adarts_ext.retrain.cost import ImageKind, network_cost
from adarts_ext.runs.folder import HISTORY_FILE, RESULT_FILE
from adarts_ext.runs.options import check_choice
from adarts_ext.search import SearchConfig
from adarts_ext.search.loop import epoch_genotype_file
from adarts_ext.strategies.choice import STRATEGIES, parse_strategy
from adarts_ext.strategies.strategy import overrides

BUDGET = {
    "max_params": "most parameters of the network, such as 3.5M",
    "max_macs": "most multiply-adds (MAC) of one image, such as 500M; papers often call them FLOPs",
}
PARAMETERS = ("alphas_normal", "alphas_reduce", "betas_normal", "betas_reduce")


MAGNITUDE = "magnitude"
NETWORK = ["batch_size", "device", "rounds"]  # what is of no use here of the options of a profile

#: The options that only some criteria take.
ONLY = {name: (MAGNITUDE,) for name in (*BUDGET, "epoch")}
ONLY |= dict.fromkeys(("seed", "tuning_epochs"), ("perturbation",))
ONLY |= dict.fromkeys(("device", "data_dir", "download"), CRITERIA)


def run(arguments: list[str]) -> None:
    """Derive a genotype from a search, write it, and say what it costs."""
    parser = make_parser()
    given = parser.given(arguments)
    folder, criterion = Path(given.pop("run")), given.pop("criterion", MAGNITUDE)
    name = "derived.json" if criterion == MAGNITUDE else f"derived-{criterion}.json"
    out = Path(given.pop("out", None) or folder / name)
    try:
        check_choice("criterion", criterion, (MAGNITUDE, *CRITERIA))
        check_effect(criterion, given)
        texts = {name: given.pop(name) for name in BUDGET if name in given}
        budget = {name: parse_number(name, text) for name, text in texts.items()}
        chosen = {name: given.pop(name) for name in ONLY if name in given}
        config, images = ProfileConfig(**given).network()
    except ValueError as error:
        parser.refuse(error)
    if criterion == MAGNITUDE:
        genotype = derive_by_magnitude(folder, chosen.get("epoch"), budget, config, images)
    else:
        genotype = derive_by(criterion, folder, chosen)
    genotype.save(out)
    cost = network_cost(genotype, config, images)
    print(describe_cost(cost["parameters"], cost["macs"], cost["flops"]))
    print(f"genotype in {out}")
    print(f"next:       adarts retrain {shlex.join([str(out), *candidate_options()])}")


def make_parser() -> OptionParser:
    """Make the parser of the command."""
    parser = OptionParser(
        "derive",
        "Derive a genotype from a search, ended or not, by one of several criteria: of the largest "
        "weight, within a budget if one is given, or by what the operations of the trained "
        "supernet are worth to its loss or its accuracy. The budget's network is the one that "
        "retrain trains by default, without its auxiliary head, on images of CIFAR; the options "
        "describe another one.",
        "RUN [--criterion NAME] [--max-params N] [--max-macs N] [--epoch N] [--out FILE] [options]",
    )
    parser.add_argument("run", metavar="RUN", type=str, help="the folder of a search")
    parser.add_option(
        "criterion",
        str,
        metavar="{" + ",".join((MAGNITUDE, *CRITERIA)) + "}",
        help="magnitude (the largest alphas), strength (how the loss rises without an operation, "
        "to first order), strength-exact (the same, measured) or perturbation (DARTS-PT: how the "
        "accuracy falls, edge by edge, with tuning) (default: magnitude)",
    )
    for name, text in BUDGET.items():
        parser.add_option(name, str, metavar="N", help=f"{text}; by magnitude")
    parser.add_option(
        "epoch",
        int,
        metavar="N",
        help="derive from alphas and betas after this epoch (default: that of the run's genotype, "
        "or the last one so far); by magnitude",
    )
    parser.add_option(
        "seed", int, metavar="N", help="seed of the order of a perturbation (default: 0)"
    )
    parser.add_option(
        "tuning_epochs",
        int,
        metavar="N",
        help="epochs of training after each turn of a perturbation (default: 5)",
    )
    parser.add_option(
        "data_dir", str, metavar="FOLDER", help="the data set's files, if they have been moved"
    )
    parser.add_option(
        "download", bool, action="store_true", help="fetch the data set when it is not there"
    )
    parser.add_option(
        "device",
        str,
        metavar="DEVICE",
        help="auto (CUDA where there is one, else the CPU), cpu, cuda or cuda:<number> "
        "(default: auto)",
    )
    parser.add_option(
        "out",
        str,
        metavar="FILE",
        help="the file to write (default: in the run derived.json, or derived-CRITERION.json by "
        "another than magnitude)",
    )
    parser.add_candidates()
    parser.add_dataclass(ProfileConfig, without=NETWORK)
    return parser


def check_effect(criterion: str, given: Collection[str]) -> None:
    """Refuse an option that the criterion has no use for."""
    for name in given:
        if criterion not in ONLY.get(name, criterion):
            message = (
                f"{name}: has no effect with criterion {criterion}, only with "
                f"{' or '.join(ONLY[name])}"
            )
            raise naming(ValueError(message), name)


def derive_by(criterion: str, folder: Path, chosen: dict[str, Any]) -> Genotype:
    """Derive by what operations are worth; on Ctrl-C and SIGTERM say how it goes on."""
    try:
        with exit_on_sigterm():
            return derive_run(folder, criterion, **chosen)
    except (KeyboardInterrupt, SystemExit):
        print(f"{folder}: the same command goes on from what it has saved", file=sys.stderr)
        raise


def derive_by_magnitude(
    folder: Path,
    number: int | None,
    budget: dict[str, int],
    config: RetrainConfig,
    images: ImageKind,
) -> Genotype:
    """Derive the genotype of the largest weights after an epoch of a search.

    Where its strategy derives by other weights than softmaxed alphas, which are all that the
    history has, it is the genotype that was derived after the epoch.

    Args:
        folder: The folder of the run.
        number: The epoch, from 1 on; None for that of the run's genotype, or the last one.
        budget: The arguments of :func:`derive_within` that limit the network.
        config: Likewise its network.
        images: Likewise its images.

    Raises:
        ValueError: If the run is of another kind or one of several seeds, has no such epoch, its
            strategy derives otherwise and there is a budget, or a file is damaged.
        FileNotFoundError: If the folder holds no run, or one without an epoch so far.
    """
    searched = SearchConfig.load(folder)
    history, epoch = read_epoch(folder, number)
    otherwise = [name for name in parse_strategy(searched.strategy) if derives_otherwise(name)]
    if otherwise and not budget:
        return Genotype.load(epoch_genotype_file(folder, epoch))
    if any(name in STRATEGIES for name in otherwise):
        message = (
            f"{next(iter(budget))}: expected none, as strategy {searched.strategy} of {folder} "
            "derives by other weights than the softmaxed alphas, which the budget is for"
        )
        raise naming(ValueError(message), next(iter(budget)))
    return derive_within(
        **parameters_of(folder, history[epoch - 1]),
        **budget,
        config=config,
        images=images,
        candidates=parse_space(searched.space),
    )


def derives_otherwise(name: str) -> bool:
    """Return whether a strategy may have a derivation of its own; files are not looked at."""
    return name not in STRATEGIES or overrides(STRATEGIES[name], "genotype")


def read_epoch(folder: Path, epoch: int | None) -> tuple[list[dict[str, Any]], int]:
    """Read the history of a search, and say which epoch counts."""
    path = folder / HISTORY_FILE
    if not path.is_file():
        raise FileNotFoundError(f"{folder}: the search has not ended its first epoch")
    history = read_json(path)
    if not isinstance(history, list) or not history:
        raise damaged(folder)
    if epoch is None:
        result = folder / RESULT_FILE
        found = read_json(result).get("genotype_epoch") if result.is_file() else None
        epoch = found or len(history)
    if not 1 <= epoch <= len(history):
        message = f"epoch: expected 1 to {len(history)}, the epochs of {folder}, got {epoch}"
        raise naming(ValueError(message), "epoch")
    return history, epoch


def parameters_of(folder: Path, record: dict[str, Any]) -> dict[str, Tensor | None]:
    """Return alphas and betas of the record of an epoch, up to what a softmax takes away."""
    try:
        weights = {name: record[name] for name in PARAMETERS}
        smallest = torch.finfo(torch.float64).tiny
        return {
            name: None
            if one is None
            else torch.tensor(one, dtype=torch.float64).clamp_min(smallest).log()
            for name, one in weights.items()
        }
    except (KeyError, TypeError, ValueError) as error:
        raise damaged(folder) from error


def damaged(folder: Path) -> ValueError:
    """Return the error of a history that cannot be read."""
    return ValueError(f"{folder / HISTORY_FILE}: not the history of a search, or a damaged one")
