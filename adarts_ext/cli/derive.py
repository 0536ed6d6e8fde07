"""``adarts derive``."""

from __future__ import annotations

import shlex
from pathlib import Path

import torch
from torch import Tensor

from adarts_ext.arguments import naming
from adarts_ext.bench.genotype_profile import ProfileConfig
from adarts_ext.cli.numbers import describe_cost, parse_number
from adarts_ext.cli.options import OptionParser
from adarts_ext.files import read_json
from adarts_ext.retrain import derive_within
from adarts_ext.retrain.cost import network_cost
from adarts_ext.runs.folder import HISTORY_FILE, RESULT_FILE
from adarts_ext.search import SearchConfig
from adarts_ext.strategies.choice import STRATEGIES, parse_strategy
from adarts_ext.strategies.strategy import overrides

BUDGET = {
    "max_params": "most parameters of the network, such as 3.5M",
    "max_macs": "most multiply-adds (MAC) of one image, such as 500M; papers often call them FLOPs",
}
PARAMETERS = ("alphas_normal", "alphas_reduce", "betas_normal", "betas_reduce")


def run(arguments: list[str]) -> None:
    """Derive a genotype from the alphas and betas of a search, write it, and say what it costs."""
    parser = OptionParser(
        "derive",
        "Derive the genotype of the largest weight whose network keeps within a budget from a "
        "search, ended or not. The network is the one that retrain trains by default, without its "
        "auxiliary head, on images of CIFAR; the options describe another one.",
        "RUN [--max-params N] [--max-macs N] [--epoch N] [--out FILE] [options]",
    )
    parser.add_argument("run", metavar="RUN", type=str, help="the folder of a search")
    for name, text in BUDGET.items():
        parser.add_option(name, str, metavar="N", help=text)
    parser.add_option(
        "epoch",
        int,
        metavar="N",
        help="derive from alphas and betas after this epoch (default: that of the run's genotype, "
        "or the last one so far)",
    )
    parser.add_option(
        "out", str, metavar="FILE", help="the file to write (default: derived.json in the run)"
    )
    parser.add_dataclass(ProfileConfig, without=["batch_size", "device", "rounds"])
    given = parser.given(arguments)
    folder, epoch = Path(given.pop("run")), given.pop("epoch", None)
    out = Path(given.pop("out", None) or folder / "derived.json")
    try:
        texts = {name: given.pop(name) for name in BUDGET if name in given}
        budget = {name: parse_number(name, text) for name, text in texts.items()}
        config, images = ProfileConfig(**given).network()
    except ValueError as error:
        parser.refuse(error)
    genotype = derive_within(
        **read_parameters(folder, epoch), **budget, config=config, images=images
    )
    genotype.save(out)
    cost = network_cost(genotype, config, images)
    print(describe_cost(cost["parameters"], cost["macs"], cost["flops"]))
    print(f"genotype in {out}")
    print(f"next:       adarts retrain {shlex.quote(str(out))}")


def check_softmax(folder: Path, config: SearchConfig) -> None:
    """Refuse a search whose strategy does not derive by softmaxed alphas, which the history has.

    Raises:
        ValueError: If it is one of those; the files of one's own are not looked at.
    """
    for name in parse_strategy(config.strategy):
        if name in STRATEGIES and overrides(STRATEGIES[name], "genotype"):
            raise ValueError(
                f"{folder}: expected a search whose genotype is that of the largest softmaxed "
                f"alphas, got strategy {name}, which derives otherwise"
            )


def read_parameters(folder: Path, epoch: int | None) -> dict[str, Tensor | None]:
    """Read alphas and betas after an epoch of a search from its history.

    Args:
        folder: The folder of the run.
        epoch: The epoch, from 1 on; None for that of the run's genotype, or the last one.

    Returns:
        The arguments of :func:`adarts_ext.genotype.derive`, up to what a softmax takes away.

    Raises:
        ValueError: If the run is of another kind or one of several seeds, has no such epoch, or a
            file is damaged.
        FileNotFoundError: If the folder holds no run, or one without an epoch so far.
    """
    check_softmax(folder, SearchConfig.load(folder))
    path = folder / HISTORY_FILE
    if not path.is_file():
        raise FileNotFoundError(f"{folder}: the search has not ended its first epoch")
    history = read_json(path)
    if epoch is None:
        result = folder / RESULT_FILE
        found = read_json(result).get("genotype_epoch") if result.is_file() else None
        epoch = found or len(history)
    elif not 1 <= epoch <= len(history):
        message = f"epoch: expected 1 to {len(history)}, the epochs of {folder}, got {epoch}"
        raise naming(ValueError(message), "epoch")
    try:
        record = history[epoch - 1]
        weights = {name: record[name] for name in PARAMETERS}
        smallest = torch.finfo(torch.float64).tiny
        return {
            name: None
            if one is None
            else torch.tensor(one, dtype=torch.float64).clamp_min(smallest).log()
            for name, one in weights.items()
        }
    except (IndexError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: not the history of a search, or a damaged one") from error
