"""The network of a run, with the weights of a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from adarts_ext.data import ImageDataset
from adarts_ext.genotype import Genotype
from adarts_ext.memory import is_out_of_memory
from adarts_ext.nn import DerivedNetwork
from adarts_ext.retrain.build import build_network, make_average, place_network
from adarts_ext.retrain.config import RetrainConfig
from adarts_ext.retrain.cost import ImageKind


def trained_network(
    genotype: Genotype,
    config: RetrainConfig,
    images: ImageDataset | ImageKind,
    device: torch.device,
    checkpoint: dict[str, Any],
    path: Path,
) -> DerivedNetwork:
    """Make the network of a run with the weights that are tested: the averaged, if there are such.

    Args:
        genotype: Genotype of the run.
        config: Options of the run.
        images: The images and classes that it was trained on.
        device: Where the network is to be.
        checkpoint: A checkpoint of the run.
        path: Its file, which errors name.

    Raises:
        ValueError: If the checkpoint does not hold the weights of such a network.
    """
    network = place_network(build_network(genotype, config, images), config, device)
    average = make_average(config, network)
    if average is None:
        _load_weights(network, checkpoint, "network", path)
        return network
    _load_weights(average, checkpoint, "average", path)
    return average.module


def _load_weights(network: nn.Module, checkpoint: dict[str, Any], part: str, path: Path) -> None:
    try:
        network.load_state_dict(checkpoint[part])
    except (KeyError, RuntimeError, TypeError, AttributeError) as error:
        if is_out_of_memory(error):
            raise
        raise ValueError(
            f"{path}: its weights do not fit the genotype, the options and the data set of the run"
        ) from error
