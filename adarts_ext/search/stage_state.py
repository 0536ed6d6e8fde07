"""What a stage of a search begins with: a network of its own, its optimizers, and what goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from adarts_ext.data import BatchLoader, ImageDataset
from adarts_ext.genotype.candidates import columns_of
from adarts_ext.nn.candidates import EdgeCandidates, names_of, parse_space, present
from adarts_ext.runs import processes
from adarts_ext.runs.checkpoint import load_newest
from adarts_ext.runs.device import resolve_device
from adarts_ext.runs.precision import set_precision
from adarts_ext.search.build import build_network, build_strategy, make_loaders, make_optimizers
from adarts_ext.search.carry_over import carry_over
from adarts_ext.search.config import SearchConfig
from adarts_ext.search.stages import Stages, epoch_of
from adarts_ext.search.state import SearchState
from adarts_ext.strategies import Strategy


def prepare(config: SearchConfig, data: ImageDataset) -> tuple[SearchState, BatchLoader]:
    """Build what a search needs at its start, and write nothing.

    Returns:
        What changes during the first stage, and the batches to evaluate the supernet on.

    Raises:
        ValueError: If the options do not fit the data, or the device is not there.
    """
    device = resolve_device(config.device)
    *loaders, evaluation_loader = make_loaders(config, data, device)
    torch.manual_seed(config.seed)
    strategy = build_strategy(config).to(device)
    return _begin(Stages(config, strategy), 0, data, strategy, loaders), evaluation_loader


def next_stage(state: SearchState, stages: Stages, stage: int, data: ImageDataset) -> SearchState:
    """Begin a stage after the one before.

    Args:
        state: What has changed during that.
        stages: The stages of the search.
        stage: The stage that begins.
        data: The data of the search.
    """
    strategy, network = state.strategy, state.network
    count = strategy.stages[stage].candidates
    kept = EdgeCandidates(
        *(
            names_of(strategy.keep(alphas, count) & present(alphas), network.columns)
            for alphas in (network.alphas_normal, network.alphas_reduce)
        ),
        network.columns,
    )
    begun = _begin(stages, stage, data, strategy, _loaders(state), kept)
    if strategy.carries_over:
        carry_over(state, begun)
    return begun


def stage_of_checkpoint(
    state: SearchState, stages: Stages, folder: Path, data: ImageDataset
) -> SearchState:
    """Return what the checkpoint of a run fits, which may be of another stage than the first.

    Args:
        state: What the first stage begins with.
        stages: The stages of the search.
        folder: The run's folder.
        data: The data of the search.

    Raises:
        FileNotFoundError: If there is no checkpoint.
        ValueError: If all are damaged, or it is none of this search.
    """
    if stages.count == 1:
        return state
    checkpoint, path = processes.from_first(lambda: load_newest(folder, state.kind))
    try:
        stage, kept = stage_in(checkpoint, stages)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: does not fit the options and the data set of the run") from error
    if stage == 0:
        return state
    return _begin(stages, stage, data, state.strategy, _loaders(state), kept)


def stage_in(checkpoint: dict[str, Any], stages: Stages) -> tuple[int, EdgeCandidates]:
    """Return of which stage a search's checkpoint is, and the candidates of its network."""
    epoch = epoch_of(checkpoint["history"], checkpoint["under_way"])
    columns = columns_of(parse_space(stages.config(0).space))
    kinds = (checkpoint["network"][f"alphas_{kind}"] for kind in ("normal", "reduce"))
    kept = (names_of(present(one), columns) for one in kinds)
    return stages.of(epoch), EdgeCandidates(*kept, columns)


def _loaders(state: SearchState) -> list[BatchLoader]:
    return [state.train_loader, state.validation_loader]


def _begin(
    stages: Stages,
    stage: int,
    data: ImageDataset,
    strategy: Strategy,
    loaders: list[BatchLoader],
    candidates: EdgeCandidates | None = None,
) -> SearchState:
    config, device = stages.config(stage), loaders[0].device
    strategy.begin_stage(stage, config.warmup_epochs)
    of_strategy = strategy.weights, strategy.skips_zeros, candidates, strategy.skip_dropout()
    network = build_network(config, data, *of_strategy).to(device)
    set_precision(network, config.precision)
    optimizers = make_optimizers(config, network.flat_parameters(), network.arch_parameters())
    return SearchState(network, *optimizers, *loaders, strategy)
