"""What a search records of alphas and betas, and the curves made of its records."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from adarts_ext.genotype import PRIMITIVES, Genotype, derive, incoming_edges, state_name
from adarts_ext.genotype.candidates import columns_of
from adarts_ext.genotype.cell_graph import POOLINGS


def describe_architecture(network: nn.Module, genotype: Genotype | None = None) -> dict[str, Any]:
    """Return where alphas and betas stand, in plain numbers.

    Args:
        network: A supernet, or what has its ``alphas_normal``, ``alphas_reduce`` and, with edge
            normalisation, ``betas_normal`` and ``betas_reduce``.
        genotype: The genotype that they stand for; None for that of
            :func:`adarts_ext.genotype.derive`.

    Returns:
        For each cell (``normal``, ``reduce``): ``alphas_*``, softmaxed over the operations, one
        list an edge; ``betas_*``, softmaxed over the edges into each node, or None without edge
        normalisation; ``alphas_entropy_*``, the mean entropy of an edge's alphas, and
        ``betas_entropy_*``, that of a node's betas, in nats; ``alphas_normalized_entropy_*``, the
        first as a part of the highest, log 8 (of more with candidates of one's own), in [0, 1];
        ``alphas_margin_*``, how far an edge's largest alpha is above the second, ``none`` left out,
        on average; and ``skip_connections_*`` and ``poolings_*``, how many of the derived cell's
        operations are skip connections and poolings.

    Raises:
        ValueError: If a shape does not fit or a parameter is not finite.

    Example:
        >>> from adarts_ext.nn import SearchNetwork
        >>> network = SearchNetwork(init_channels=4, layers=3, backend="reference", proportion=2)
        >>> round(describe_architecture(network)["alphas_entropy_normal"], 3)  # nearly log 8
        2.079
    """
    parameters = {
        name: getattr(network, name, None)
        for name in ("alphas_normal", "alphas_reduce", "betas_normal", "betas_reduce")
    }
    candidates = getattr(network, "candidates", PRIMITIVES)
    columns = columns_of(candidates)
    if genotype is None:
        genotype = derive(**parameters, candidates=candidates)
    chosen = [place for place, op in enumerate(columns) if op != "none"]
    record: dict[str, Any] = {}
    for cell in ("normal", "reduce"):
        ops = [op for op, _ in getattr(genotype, cell)]
        alphas, betas = _softmax(parameters[f"alphas_{cell}"]), parameters[f"betas_{cell}"]
        entropy = _entropy(alphas).mean().item()
        best, second = alphas[:, chosen].topk(2).values.unbind(-1)
        record[f"alphas_{cell}"] = alphas.tolist()
        record[f"alphas_entropy_{cell}"] = entropy
        record[f"alphas_normalized_entropy_{cell}"] = entropy / math.log(len(columns))
        record[f"alphas_margin_{cell}"] = (best - second).mean().item()
        record[f"betas_{cell}"] = record[f"betas_entropy_{cell}"] = None
        if betas is not None:
            nodes = [_softmax(betas[node]) for node in incoming_edges(len(ops) // 2)]
            record[f"betas_{cell}"] = torch.cat(nodes).tolist()
            entropies = torch.stack([_entropy(node) for node in nodes])
            record[f"betas_entropy_{cell}"] = entropies.mean().item()
        record[f"skip_connections_{cell}"] = ops.count("skip_connect")
        record[f"poolings_{cell}"] = sum(op in POOLINGS for op in ops)
    return record


def _softmax(parameters: Tensor) -> Tensor:
    return parameters.detach().cpu().double().softmax(-1)


def _entropy(probabilities: Tensor) -> Tensor:
    return torch.special.entr(probabilities).sum(-1)


def curves(entry: dict[str, Any], columns: Sequence[str] = PRIMITIVES) -> dict[str, float]:
    """Return TensorBoard's curves of the record of an epoch, by their tags.

    The numbers of the record are grouped under headings; every alpha and beta is a curve too.

    Args:
        entry: The record.
        columns: The operations that the alphas are of.
    """
    found = {
        _tag(name): value
        for name, value in entry.items()
        if isinstance(value, int | float) and name != "epoch"
    }
    for cell in ("normal", "reduce"):
        alphas, betas = entry[f"alphas_{cell}"], entry[f"betas_{cell}"]
        for edge, (name, ops) in enumerate(zip(edge_names(len(alphas)), alphas, strict=True)):
            for op, weight in zip(columns, ops, strict=True):
                found[f"alphas_{cell}/{name}/{op}"] = weight
            if betas is not None:
                found[f"betas_{cell}/{name}"] = betas[edge]
    return found


def _tag(name: str) -> str:
    """Put the curves that belong together under one heading of TensorBoard.

    Example:
        >>> _tag("train_loss"), _tag("alphas_entropy_normal"), _tag("seconds")
        ('loss/train', 'alphas_entropy/normal', 'run/seconds')
    """
    head, _, tail = name.rpartition("_")
    if tail in ("loss", "accuracy"):
        return f"{tail}/{head}"
    if tail in ("normal", "reduce", "eigenvalue"):
        return f"{head}/{tail}"
    return f"run/{name}"


def edge_names(edges: int) -> list[str]:
    """Return the names of the edges of a cell, in the order of the alphas.

    Example:
        >>> edge_names(5)
        ['node2_input0', 'node2_input1', 'node3_input0', 'node3_input1', 'node3_node2']
    """
    names: list[str] = []
    node = 2
    while len(names) < edges:
        names += [f"{state_name(node)}_{state_name(source)}" for source in range(node)]
        node += 1
    return [name.replace(" ", "") for name in names]
