"""The derivation of DARTS: the operations of the largest weights."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from adarts_ext.genotype.cell_graph import PRIMITIVES, count_nodes, incoming_edges
from adarts_ext.genotype.structure import Genotype


def derive(
    alphas_normal: Tensor,
    alphas_reduce: Tensor,
    betas_normal: Tensor | None = None,
    betas_reduce: Tensor | None = None,
    activation: str = "softmax",
) -> Genotype:
    """Keep for each node the two strongest incoming edges, each with its strongest operation.

    Operation o on the edge (i, j) weighs ``softmax(alpha_ij)_o * softmax_i(beta_ij)``, and
    ``none`` is never chosen (DARTS, arXiv 1806.09055, section 2.4; PC-DARTS, arXiv 1907.05737,
    section 3.3). A node's two edges are listed by falling weight. Among equal weights the edge
    from the earlier state and the operation that comes first in :data:`PRIMITIVES` win.

    Args:
        alphas_normal: Operation parameters of the normal cell before the softmax, (edges, 8), with
            2 + 3 + ... edges: 14 for 4 nodes.
        alphas_reduce: The same of the reduction cell.
        betas_normal: Edge parameters of the normal cell before the softmax, (edges,), or None for
            edges of equal weight.
        betas_reduce: The same of the reduction cell.
        activation: ``"softmax"`` over the operations, or ``"sigmoid"`` in its place.

    Returns:
        The genotype, its output the concatenation of all nodes.

    Raises:
        ValueError: If a shape does not fit, a parameter is not finite, or the activation is
            unknown.

    Example:
        >>> alphas = torch.zeros(2, 8)
        >>> alphas[1, PRIMITIVES.index("sep_conv_3x3")] = 1.0
        >>> derive(alphas, torch.zeros(2, 8)).normal
        (('sep_conv_3x3', 1), ('max_pool_3x3', 0))
    """
    normal = _derive_cell("normal", alphas_normal, betas_normal, activation)
    reduce = _derive_cell("reduce", alphas_reduce, betas_reduce, activation)
    return Genotype(
        normal=normal,
        normal_concat=tuple(range(2, 2 + len(normal) // 2)),
        reduce=reduce,
        reduce_concat=tuple(range(2, 2 + len(reduce) // 2)),
    )


def _derive_cell(
    cell: str, alphas: Tensor, betas: Tensor | None, activation: str
) -> tuple[tuple[str, int], ...]:
    kept: list[tuple[str, int]] = []
    for edges in operation_weights(cell, alphas, betas, activation):
        ranked = []
        for source, weights in enumerate(edges):
            candidates = [
                (-weight, source, index)
                for index, weight in enumerate(weights)
                if PRIMITIVES[index] != "none"
            ]
            ranked.append(min(candidates))
        kept.extend((PRIMITIVES[index], source) for _, source, index in sorted(ranked)[:2])
    return tuple(kept)


def operation_weights(
    cell: str, alphas: Tensor, betas: Tensor | None, activation: str = "softmax"
) -> list[list[tuple[float, ...]]]:
    """Return what every operation on every edge of a cell weighs, as :func:`derive` says.

    Args:
        cell: ``"normal"`` or ``"reduce"``, for errors.
        alphas: As those of :func:`derive`.
        betas: Likewise.
        activation: Likewise.

    Returns:
        A list a node of an entry a source, each with a weight for every one of :data:`PRIMITIVES`.

    Raises:
        ValueError: As :func:`derive` says.
    """
    if activation not in _ACTIVATIONS:
        known = ", ".join(_ACTIVATIONS)
        raise ValueError(f"derive: activation must be one of {known}, got {activation!r}")
    alphas = alphas.detach().cpu()
    edges = len(alphas) if alphas.dim() == 2 else 0
    nodes = incoming_edges(count_nodes(edges))
    if not nodes or tuple(alphas.shape) != (nodes[-1].stop, len(PRIMITIVES)):
        raise ValueError(
            f"derive: alphas_{cell} has shape {tuple(alphas.shape)}, expected "
            f"(edges, {len(PRIMITIVES)}) with 2, 5, 9, 14, ... edges"
        )
    betas = betas if betas is None else betas.detach().cpu()
    if betas is not None and tuple(betas.shape) != (edges,):
        raise ValueError(
            f"derive: betas_{cell} has shape {tuple(betas.shape)}, expected ({edges},)"
        )
    for name, parameter in (("alphas", alphas), ("betas", betas)):
        if parameter is not None and not bool(torch.isfinite(parameter).all()):
            raise ValueError(f"derive: {name}_{cell} holds a value that is not finite")

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
