"""The supernet of a search, as its last checkpoint holds it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from adarts_ext.data import ImageDataset
from adarts_ext.memory import is_out_of_memory
from adarts_ext.nn import SearchNetwork
from adarts_ext.nn.selection import SELECTIONS
from adarts_ext.runs.checkpoint import load_newest
from adarts_ext.runs.data import Given, load_data
from adarts_ext.runs.data_record import check_same_data
from adarts_ext.runs.device import resolve_device
from adarts_ext.search.build import build_network, build_strategy
from adarts_ext.search.config import SearchConfig
from adarts_ext.search.stage_state import stage_in
from adarts_ext.search.stages import Stages, epoch_of
from adarts_ext.strategies.choice import is_own, parse_strategy


@dataclass(frozen=True)
class Searched:
    """A search as far as it has come.

    Args:
        config: Its options, on the device of this one.
        data: Its data.
        device: Where the network is.
        network: The supernet, with the weights, alphas and betas of the checkpoint. It leaves out
            of a pass what weighs 0, as everything does that is taken out or decided against.
        checkpoint: All of that.
    """

    config: SearchConfig
    data: ImageDataset
    device: torch.device
    network: SearchNetwork
    checkpoint: dict[str, Any]

    def place(self) -> str:
        """Return how far the search has come, as a part of a file's name."""
        under_way = self.checkpoint["under_way"]
        step = f"-step-{under_way['step']:04d}" if under_way else ""
        return f"epoch-{len(self.checkpoint['history']):04d}{step}"


def load_searched(
    run_folder: str | Path,
    device: str = "auto",
    data_dir: str | None = None,
    download: bool = False,
    dataset: Given | None = None,
) -> Searched:
    """Load the supernet of a search, ended or not, and the search's data.

    Passes are in float32, also after a search in bfloat16, whose weights are float32 too.

    Args:
        run_folder: The folder of the search.
        device: auto, cpu, cuda or cuda:<number>.
        data_dir: Where the data set's files are; None for where they were in the search.
        download: Fetch a published data set when it is not there.
        dataset: Data of one's own, as :func:`adarts_ext.search.search` takes them; those of a
            search that was given its data are given again.

    Raises:
        ValueError: If the folder holds no search, the data are others, a file is damaged, or two
            passes of the network differ, by a strategy that draws weights or by random channels; or
            if the strategy is a program of one's own, which is not run here.
        FileNotFoundError: If the folder holds no run or no checkpoint, or the data are not there.
    """
    folder = Path(run_folder)
    config = SearchConfig.load(folder)
    _check_comparable(folder, config)
    checkpoint, path = load_newest(folder, config.kind)
    chosen_device = resolve_device(device)
    config = replace(config, device=device, data_dir=data_dir or config.data_dir, download=download)
    data = load_data(config, dataset)
    check_same_data(folder, data)
    strategy = build_strategy(config).to(chosen_device)
    stages = Stages(config, strategy)
    try:
        stage, kept = stage_in(checkpoint, stages)
        sizes = stages.config(stage)
        # What a strategy keeps of the weights lies as they do in the search's own network.
        as_searched = build_network(sizes, data, strategy.weights, strategy.skips_zeros, kept)
        as_searched.to(chosen_device)
        strategy.begin_stage(stage, config.warmup_epochs)
        strategy.begin(as_searched, as_searched.flat_parameters())
        network = build_network(sizes, data, strategy.weights, True, kept).to(chosen_device)
        network.load_state_dict(checkpoint["network"])
        if "strategy" in checkpoint:
            strategy.load_state_dict(checkpoint["strategy"])
    except (KeyError, RuntimeError, TypeError, AttributeError) as error:
        if is_out_of_memory(error):
            raise
        raise ValueError(f"{path}: does not fit the options and the data set of the run") from error
    epoch = epoch_of(checkpoint["history"], checkpoint["under_way"])
    strategy.begin_epoch(*stages.schedule(epoch))
    return Searched(config, data, chosen_device, network, checkpoint)


def _check_comparable(folder: Path, config: SearchConfig) -> None:
    """Refuse a search whose passes cannot be compared, or whose strategy is a program."""
    own = [name for name in parse_strategy(config.strategy) if is_own(name)]
    if own:
        raise ValueError(
            f"{folder}: expected a search by a strategy of this package, got {own[0]}, a program, "
            "which is not run here; the functions of adarts_ext.derivation take its network"
        )
    if build_strategy(config).draws_weights:
        raise ValueError(
            f"{folder}: expected a search whose passes can be compared, got strategy "
            f"{config.strategy}, which draws other weights in each"
        )
    if SELECTIONS[config.selection].channels == "random":
        raise ValueError(
            f"{folder}: expected a search whose passes can be compared, got selection "
            f"{config.selection}, which draws other channels in each"
        )
