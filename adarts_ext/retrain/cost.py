"""What the network of a run costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from adarts_ext.data import ImageDataset
from adarts_ext.genotype import PRIMITIVES, Genotype
from adarts_ext.nn.cell_shapes import cell_shapes
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
        plain = build_network(genotype, replace(config, auxiliary=False), dataset)
        trained = build_network(genotype, config, dataset) if config.auxiliary else plain
        flops = _count(plain, dataset).get_total_flops()
    return {
        "parameters": sum(weight.numel() for weight in plain.parameters()),
        "parameters_with_auxiliary": sum(weight.numel() for weight in trained.parameters()),
        "macs": flops // 2,
        "flops": flops,
    }


def _count(network: nn.Module, images: ImageDataset | ImageKind) -> FlopCounterMode:
    """Count the operations of a pass of one image, in evaluation and on the current device.

    The network is of no use after: its BatchNorms and ReLUs, which count nothing but take most of
    the time where there are no numbers, are passed by.
    """
    for module in network.modules():
        if isinstance(module, (nn.BatchNorm2d, nn.ReLU)):
            module.forward = _unchanged
    image = torch.empty(1, images.in_channels, *images.image_size)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network.eval()(image)
    return counter


def _unchanged(x: Tensor) -> Tensor:
    return x


class Cost(NamedTuple):
    """Parameters, and multiply-adds of one image's forward pass."""

    parameters: int
    macs: int

    def __add__(self, other: Cost) -> Cost:
        """Return the cost of both."""
        return Cost(*(one + more for one, more in zip(self, other, strict=True)))


def edge_costs(
    config: RetrainConfig,
    images: ImageDataset | ImageKind,
    nodes: int,
    operations: Sequence[str] = PRIMITIVES,
) -> tuple[Cost, dict[tuple[str, str, bool], Cost]]:
    """Count what the operations on edges add to a network, as :func:`network_cost` counts.

    Args:
        config: The network's channels and layers.
        images: What it has to know of images.
        nodes: Nodes of a cell, all of which are concatenated.
        operations: Those that are counted.

    Returns:
        The cost of the network without its cells' operations, and what one edge adds in all cells
        of a kind together, by the cell (``"normal"`` or ``"reduce"``), the operation, and whether
        the edge leaves an input of the cell.
    """
    # One network with every operation on an edge from an input and on one from a node.
    pairs = [("none", 0), ("none", 1)]
    for op in operations:
        pairs += [(op, 0), (op, 2)]
    pairs += [("none", 0), ("none", 1)] * nodes  # so that there are as many to concatenate
    genotype = Genotype(pairs, range(2, 2 + nodes), pairs, range(2, 2 + nodes))
    with torch.device("meta"):
        network = build_network(genotype, replace(config, auxiliary=False), images)
        counter = _count(network, images)
    flops = {name: sum(count.values()) for name, count in counter.get_flop_counts().items()}
    rest = [sum(weight.numel() for weight in network.parameters()), counter.get_total_flops() // 2]
    costs = dict.fromkeys(product(("normal", "reduce"), operations, (True, False)), Cost(0, 0))
    shapes = cell_shapes(config.init_channels, config.layers, nodes, nodes)
    for place, (cell, shape) in enumerate(zip(network.cells, shapes, strict=True)):
        kind = "reduce" if shape.reduction else "normal"
        for number, (op, source) in enumerate(pairs[: 2 + 2 * len(operations)]):
            operation = cell._ops[number]
            name = f"{type(network).__name__}.cells.{place}._ops.{number}"
            cost = Cost(
                sum(weight.numel() for weight in operation.parameters()), flops.get(name, 0) // 2
            )
            key = kind, op, source < 2
            costs[key] += cost
            rest = [whole - part for whole, part in zip(rest, cost, strict=True)]
    return Cost(*rest), costs
