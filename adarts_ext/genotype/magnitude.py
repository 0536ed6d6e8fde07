"""The derivation of DARTS: the operations of the largest weights."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from adarts_ext.genotype.candidates import Candidates, columns_of
from adarts_ext.genotype.cell_graph import PRIMITIVES
from adarts_ext.genotype.scores import best_scored, check_finite, checked_nodes
from adarts_ext.genotype.structure import Genotype
from adarts_ext.genotype.threshold import without_weak_edges


def derive(
    alphas_normal: Tensor,
    alphas_reduce: Tensor,
    betas_normal: Tensor | None = None,
    betas_reduce: Tensor | None = None,
    activation: str = "softmax",
    threshold: float = 0.0,
    candidates: Candidates = PRIMITIVES,
) -> Genotype:
    """Keep for each node the two strongest incoming edges, each with its strongest operation.

    Operation o on the edge (i, j) weighs ``softmax(alpha_ij)_o * softmax_i(beta_ij)``, and
    ``none`` is never chosen (DARTS, arXiv 1806.09055, section 2.4; PC-DARTS, arXiv 1907.05737,
    section 3.3). A node's two edges are listed by falling weight. Among equal weights the edge
    from the earlier state and the operation that comes first in the columns win.

    Args:
        alphas_normal: Operation parameters of the normal cell before the softmax, (edges, 8), with
            2 + 3 + ... edges: 14 for 4 nodes.
        alphas_reduce: The same of the reduction cell.
        betas_normal: Edge parameters of the normal cell before the softmax, (edges,), or None for
            edges of equal weight.
        betas_reduce: The same of the reduction cell.
        activation: ``"softmax"`` over the operations, or ``"sigmoid"`` in its place.
        threshold: What an operation must weigh on its edge, without the betas, to be kept; on an
            edge where it weighs less ``none`` stands for it (FairDARTS, arXiv 1911.12126). A node
            with nothing but ``none`` is not concatenated, and edges that leave it become ``none``
            too. A cell in which nothing weighs as much stays whole.
        candidates: The operations to choose from, as those of :func:`derive_from_scores`.

    Returns:
        The genotype, its output the concatenation of all nodes but those with nothing.

    Raises:
        ValueError: If a shape does not fit, a parameter is not finite, or the activation is
            unknown.

    Example:
        >>> import torch
        >>> from adarts_ext.genotype import PRIMITIVES
        >>> alphas = torch.zeros(2, 8)
        >>> alphas[1, PRIMITIVES.index("sep_conv_3x3")] = 1.0
        >>> derive(alphas, torch.zeros(2, 8)).normal
        (('sep_conv_3x3', 1), ('max_pool_3x3', 0))
        >>> derive(alphas, torch.zeros(2, 8), activation="sigmoid", threshold=0.7).normal
        (('sep_conv_3x3', 1), ('none', 0))
    """
    genotype = best_scored(
        operation_weights("normal", alphas_normal, betas_normal, activation, candidates),
        operation_weights("reduce", alphas_reduce, betas_reduce, activation, candidates),
        candidates,
    )
    if threshold <= 0:
        return genotype
    return without_weak_edges(
        genotype,
        operation_weights("normal", alphas_normal, None, activation, candidates),
        operation_weights("reduce", alphas_reduce, None, activation, candidates),
        threshold,
        columns_of(candidates),
    )


def operation_weights(
    cell: str,
    alphas: Tensor,
    betas: Tensor | None,
    activation: str = "softmax",
    candidates: Candidates = PRIMITIVES,
) -> list[list[tuple[float, ...]]]:
    """Return what every operation on every edge of a cell weighs, as :func:`derive` says.

    Args:
        cell: ``"normal"`` or ``"reduce"``, for errors.
        alphas: As those of :func:`derive`.
        betas: Likewise.
        activation: Likewise.
        candidates: Likewise.

    Returns:
        A list a node of an entry a source, each with a weight for every column of the alphas.

    Raises:
        ValueError: As :func:`derive` says.
    """
    if activation not in _ACTIVATIONS:
        known = ", ".join(_ACTIVATIONS)
        raise ValueError(f"derive: activation must be one of {known}, got {activation!r}")
    alphas = alphas.detach().cpu()
    nodes = checked_nodes("derive", f"alphas_{cell}", alphas, len(columns_of(candidates)))
    edges = len(alphas)
    betas = betas if betas is None else betas.detach().cpu()
    if betas is not None and tuple(betas.shape) != (edges,):
        raise ValueError(
            f"derive: betas_{cell} has shape {tuple(betas.shape)}, expected ({edges},)"
        )
    for name, parameter in (("alphas", alphas), ("betas", betas)):
        if parameter is not None:
            check_finite("derive", f"{name}_{cell}", parameter)

    weights = []
    for node in nodes:
        edge_weights = [1.0] * (node.stop - node.start)
        if betas is not None:
            edge_weights = _softmax(betas[node].tolist())
        weights.append(
            [
                tuple(weight * edge_weight for weight in _ACTIVATIONS[activation](row))
                for row, edge_weight in zip(alphas[node].tolist(), edge_weights, strict=True)
            ]
        )
    return weights


def _softmax(values: Sequence[float]) -> list[float]:
    # fsum rounds once, whatever the order of the values, so equal edges tie exactly.
    largest = max(values)
    exponentials = [math.exp(value - largest) for value in values]
    total = math.fsum(exponentials)
    return [exponential / total for exponential in exponentials]


def _sigmoid(values: Sequence[float]) -> list[float]:
    # Without overflow; exp(-|x|) is at most 1.
    small = [math.exp(-abs(value)) for value in values]
    return [
        (1 if value >= 0 else one) / (1 + one) for value, one in zip(values, small, strict=True)
    ]


_ACTIVATIONS = {"softmax": _softmax, "sigmoid": _sigmoid}
