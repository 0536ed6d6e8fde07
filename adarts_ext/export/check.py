"""Whether an exported program computes what the network does."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

#: Neither is the number of images that a program is traced with.
BATCHES = (1, 5)
#: How many times the network's own rounding error may come between it and its program. Sums in
#: another order take up to 3 (onnxruntime, networks of 3 to 20 cells); a program that computes
#: something else differs in the leading digits, about a million times as much.
ROUNDINGS = 100


def check_program(
    program: Callable[[Tensor], Tensor], network: nn.Module, shape: tuple[int, int, int]
) -> float:
    """Compare a program with the network that it was made of, on random images.

    Args:
        program: What is to compute the same.
        network: The network, in float32 and evaluation.
        shape: Channels, height and width of an image.

    Returns:
        The largest difference of a logit.

    Raises:
        ValueError: If it is more than :data:`ROUNDINGS` times that between the network in float32
            and in float64.
    """
    generator = torch.Generator().manual_seed(0)
    batches = [torch.randn(batch, *shape, generator=generator) for batch in BATCHES]
    exact = copy.deepcopy(network).double()
    with torch.no_grad():
        logits = torch.cat([network(images) for images in batches])
        found = torch.cat([program(images) for images in batches])
        rounding = torch.cat([exact(images.double()) for images in batches]) - logits
    difference = (found - logits).abs().max().item()
    bound = ROUNDINGS * rounding.abs().max().item()
    if not difference <= bound:  # nor may it be NaN
        raise ValueError(
            f"the exported program differs from the network by up to {difference:.2g} in a logit, "
            f"expected at most {bound:.2g}; nothing is written"
        )
    return difference
