"""What the network of a run costs."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import torch
from torch.utils.flop_counter import FlopCounterMode

from adarts_ext.data import ImageDataset
from adarts_ext.genotype import Genotype
from adarts_ext.retrain.build import build_network
from adarts_ext.retrain.config import RetrainConfig


class ImageKind(NamedTuple):
    """What a network has to know of images: their channels, height and width, and classes."""

    in_channels: int
    image_size: tuple[int, int]
    num_classes: int


def network_cost(
    genotype: Genotype, config: RetrainConfig, dataset: ImageDataset | ImageKind
) -> dict[str, int]:
    """Count the parameters of the network and the operations of one image's forward pass.

    Returns:
        ``parameters``, without the auxiliary head, as papers report them;
        ``parameters_with_auxiliary``, with the auxiliary head if the run trains one; ``macs``,
        the multiply-adds of the convolutions and the linear layer in the forward pass of one image
        in evaluation, which papers report; and ``flops``, their multiplications and additions
        counted apart: twice ``macs``.
    """
    with torch.device("meta"):  # shapes without numbers: nothing is computed
        trained = build_network(genotype, config, dataset)
        plain = build_network(genotype, replace(config, auxiliary=False), dataset).eval()
        image = torch.empty(1, dataset.in_channels, *dataset.image_size)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            plain(image)
    flops = counter.get_total_flops()
    return {
        "parameters": sum(weight.numel() for weight in plain.parameters()),
        "parameters_with_auxiliary": sum(weight.numel() for weight in trained.parameters()),
        "macs": flops // 2,
        "flops": flops,
    }
