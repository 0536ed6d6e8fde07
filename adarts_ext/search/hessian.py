"""The curvature of the validation loss in alphas and betas, which foretells a collapse."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from adarts_ext.central_difference import central_difference
from adarts_ext.nn import SearchNetwork
from adarts_ext.nn.processes import averaged
from adarts_ext.runs.precision import set_precision
from adarts_ext.same_draws import same_draws
from adarts_ext.search.step import Batch


def largest_hessian_eigenvalue(
    network: SearchNetwork,
    validation_batch: Batch,
    distance: float = 1e-6,
    tolerance: float = 0.01,
    most_products: int = 20,
) -> float:
    """Return the largest eigenvalue of the validation loss's Hessian in alphas and betas.

    When it grows the search comes to cells that generalise badly (R-DARTS, arXiv 1909.09656,
    section 3). A product of the Hessian with a vector is a central difference of the gradient,
    since the fused operators have no second derivatives. It is taken on a copy of the network in
    float64: the gradient jumps where a rectifier or a maximum turns, so alphas and betas may be
    moved by very little. The vectors are those of a power iteration, all of which are kept (the
    method of Lanczos): a supernet's Hessian has large negative eigenvalues too, and the last vector
    alone may come to one of those.

    Args:
        network: The supernet, which stays as it is.
        validation_batch: Images (N, C, H, W) and labels (N,) of the half that trains alphas and
            betas. As in training, the BatchNorms take its statistics.
        distance: How far alphas and betas are moved each way for a product, in the norm over all
            of them.
        tolerance: The relative error to stop at.
        most_products: How many products are computed at most; each takes two gradients.

    Returns:
        The eigenvalue, in nats.

    Example:
        >>> network = SearchNetwork(init_channels=4, layers=3, steps=1, proportion=2)
        >>> batch = torch.randn(4, 3, 16, 16), torch.arange(4)
        >>> isinstance(largest_hessian_eigenvalue(network, batch), float)
        True
    """
    network = copy.deepcopy(network).requires_grad_(False).double().train()
    set_precision(network, "fp32")
    images, labels = validation_batch[0].double(), validation_batch[1]
    arch = network.arch_parameters()
    sizes = [parameter.numel() for parameter in arch]

    def gradient() -> list[Tensor]:
        with same_draws(images.device):
            loss = cross_entropy(network(images), labels)
        return averaged(torch.autograd.grad(loss, arch))

    def multiply(vector: Tensor) -> Tensor:
        parts = [
            part.reshape(parameter.shape).to(parameter)
            for part, parameter in zip(vector.split(sizes), arch, strict=True)
        ]
        product = central_difference(gradient, arch, parts, distance)
        return torch.cat([part.flatten().cpu() for part in product])

    return _largest_eigenvalue(multiply, sum(sizes), tolerance, most_products)


def _largest_eigenvalue(
    multiply: Callable[[Tensor], Tensor], size: int, tolerance: float, most_products: int
) -> float:
    """Return the largest eigenvalue of a symmetric matrix of which only products can be had.

    It is that of the matrix within the space of the vectors so far, which grows by the part of
    each product that lies outside.
    """
    start = torch.randn(size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    basis = (start / start.norm()).unsqueeze(0)
    products = basis.new_empty(0, size)
    while True:
        products = torch.cat([products, multiply(basis[-1]).unsqueeze(0)])
        within = basis @ products.T
        values, vectors = torch.linalg.eigh((within + within.T) / 2)
        value, vector = values[-1], vectors[:, -1]
        error = (vector @ products - value * (vector @ basis)).norm()
        if error <= tolerance * value.abs() or len(basis) == min(most_products, size):
            return value.item()
        outside = products[-1]
        for _ in range(2):  # once would leave rounding errors
            outside = outside - (basis @ outside) @ basis
        basis = torch.cat([basis, (outside / outside.norm()).unsqueeze(0)])
