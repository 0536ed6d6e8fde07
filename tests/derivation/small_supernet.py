"""A small supernet in float64 whose candidates differ, and batches for it."""

from __future__ import annotations

import torch

from adarts_ext.nn import SearchNetwork


def make_supernet(**options) -> SearchNetwork:
    """Six cells of two nodes, two of them reduction cells, if not otherwise."""
    torch.manual_seed(0)
    sizes = {"layers": 6, "proportion": 2, "steps": 2, "in_channels": 1}
    network = SearchNetwork(4, 3, **(sizes | options)).double()
    with torch.no_grad():
        for alphas in network.arch_parameters():
            alphas.mul_(500)
    return network


def make_batches(*sizes: int, seed: int = 1) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Noise of so many images a batch, in three classes."""
    generator = torch.Generator().manual_seed(seed)
    return [
        (
            torch.randn(size, 1, 16, 16, generator=generator, dtype=torch.float64),
            torch.randint(3, (size,), generator=generator),
        )
        for size in sizes
    ]
