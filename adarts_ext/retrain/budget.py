"""The genotype of a search whose network keeps within a budget of parameters and multiply-adds."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from itertools import combinations, product
from typing import NamedTuple

from torch import Tensor

from adarts_ext.arguments import naming
from adarts_ext.data import ImageDataset
from adarts_ext.genotype import PRIMITIVES, Genotype, incoming_edges, operation_weights
from adarts_ext.genotype.candidates import Candidates, choices, columns_of
from adarts_ext.retrain.config import RetrainConfig
from adarts_ext.retrain.cost import Cost, ImageKind, edge_costs

Edge = tuple[str, int]  # operation and source
Costs = dict[tuple[str, str, bool], Cost]  # of an edge, as edge_costs gives them


class Choice(NamedTuple):
    """Operations of the nodes so far, by falling weight in a node: what they cost and weigh."""

    cost: Cost
    weight: float
    edges: tuple[Edge, ...]


def derive_within(
    alphas_normal: Tensor,
    alphas_reduce: Tensor,
    betas_normal: Tensor | None = None,
    betas_reduce: Tensor | None = None,
    *,
    config: RetrainConfig,
    images: ImageDataset | ImageKind,
    max_params: int | None = None,
    max_macs: int | None = None,
    candidates: Candidates = PRIMITIVES,
) -> Genotype:
    """Derive the genotype of the largest weight whose network keeps within a budget.

    As in :func:`adarts_ext.genotype.derive`, whose genotype it is where that keeps within the
    budget, a node has two edges from different sources, with an operation other than ``none`` each.
    The weight is the sum of ``softmax(alpha)_o * softmax(beta)`` over all edges of both cells. What
    a network costs is a sum over its edges too, so the largest weight is found exactly, by dynamic
    programming: node by node, all sums are kept but those that another one equals or beats in
    weight at no higher cost.

    Args:
        alphas_normal: As those of :func:`adarts_ext.genotype.derive`.
        alphas_reduce: Likewise.
        betas_normal: Likewise.
        betas_reduce: Likewise.
        config: The channels and layers of the network that is retrained.
        images: The channels, size and classes of its images.
        max_params: Most parameters, without the auxiliary head; None for any number.
        max_macs: Most multiply-adds of one image's forward pass; None for any number.
        candidates: The operations to choose from, as those of
            :func:`adarts_ext.genotype.derive_from_scores`.

    Returns:
        The genotype, its output the concatenation of all nodes.

    Raises:
        ValueError: If no genotype keeps within the budget; the message has the smallest number that
            one has. If a shape does not fit or a parameter is not finite.

    Example:
        >>> import torch
        >>> alphas = torch.zeros(2, 8)
        >>> alphas[:, PRIMITIVES.index("sep_conv_5x5")] = 1.0
        >>> alphas[:, PRIMITIVES.index("dil_conv_3x3")] = 0.9
        >>> network = {"config": RetrainConfig(init_channels=4, layers=3),
        ...            "images": ImageKind(3, (16, 16), 10)}
        >>> derive_within(alphas, alphas, **network).reduce  # 5,414 parameters
        (('sep_conv_5x5', 0), ('sep_conv_5x5', 1))
        >>> derive_within(alphas, alphas, **network, max_params=5000).reduce
        (('sep_conv_5x5', 0), ('dil_conv_3x3', 1))
    """
    cells = {
        "normal": operation_weights("normal", alphas_normal, betas_normal, candidates=candidates),
        "reduce": operation_weights("reduce", alphas_reduce, betas_reduce, candidates=candidates),
    }
    columns = columns_of(candidates)
    nodes = len(cells["normal"])
    if len(cells["reduce"]) != nodes:
        raise ValueError(
            f"derive_within: expected as many nodes in both cells, got {nodes} in the normal and "
            f"{len(cells['reduce'])} in the reduction cell"
        )
    base, costs = edge_costs(config, images, nodes, columns)
    budget = Cost(max_params, max_macs)
    named = []  # what weighs how much, by the cell and its node
    for cell, weights in cells.items():
        chosen = choices(candidates, cell, incoming_edges(nodes)[-1].stop)
        for node, edges in zip(weights, incoming_edges(nodes), strict=True):
            rows = zip(node, chosen[edges], strict=True)
            named.append((cell, [{columns[k]: row[k] for k in there} for row, there in rows]))
    _check_budget(_least(base, named, costs), budget, config)
    best = [Choice(_limited(base, budget), 0.0, ())]
    for cell, node in named:
        options = _without_beaten(_node_choices(cell, node, costs, budget))
        sums = (
            Choice(one.cost + more.cost, one.weight + more.weight, one.edges + more.edges)
            for one, more in product(best, options)
        )
        best = _without_beaten(choice for choice in sums if _keeps(choice.cost, budget))
    if not best:
        message = f"max_params: no network keeps within {max_params} and max_macs {max_macs} both"
        raise naming(ValueError(message), "max_params", "max_macs")
    edges = max(best, key=lambda choice: choice.weight).edges
    concat = tuple(range(2, 2 + nodes))
    return Genotype(edges[: 2 * nodes], concat, edges[2 * nodes :], concat)


def _least(base: Cost, named: list[tuple[str, list[dict[str, float]]]], costs: Costs) -> Cost:
    """Return the fewest parameters and the fewest multiply-adds that a network can have."""
    least = list(base)
    for cell, node in named:
        for place in range(len(least)):
            edges = [
                min(costs[cell, op, source < 2][place] for op in ops)
                for source, ops in enumerate(node)
            ]
            least[place] += sum(sorted(edges)[:2])
    return Cost(*least)


def _check_budget(least_cost: Cost, budget: Cost, config: RetrainConfig) -> None:
    """Refuse what not even the smallest network keeps within."""
    names = {"max_params": "parameters", "max_macs": "multiply-adds"}
    for (name, what), least, most in zip(names.items(), least_cost, budget, strict=True):
        if most is not None and most < least:
            message = (
                f"{name}: expected at least {least}, the fewest {what} that a network of "
                f"{config.init_channels} channels and {config.layers} layers has, got {most}"
            )
            raise naming(ValueError(message), name)


def _limited(cost: Cost, budget: Cost) -> Cost:
    """Return a cost without what the budget does not limit."""
    return Cost(*(0 if most is None else one for one, most in zip(cost, budget, strict=True)))


def _keeps(cost: Cost, budget: Cost) -> bool:
    return all(most is None or one <= most for one, most in zip(cost, budget, strict=True))


def _node_choices(
    cell: str,
    node: list[dict[str, float]],
    costs: Costs,
    budget: Cost,
) -> Iterable[Choice]:
    """Give every pair of a node's edges with every pair of operations, given what those weigh."""
    for sources in combinations(range(len(node)), 2):
        for ops in product(*(node[source] for source in sources)):
            edges = tuple(zip(ops, sources, strict=True))
            first, second = (node[source][op] for op, source in edges)
            cost = Cost(0, 0)
            for op, source in edges:
                cost += _limited(costs[cell, op, source < 2], budget)
            yield Choice(cost, first + second, edges if first >= second else edges[::-1])


def _without_beaten(choices: Iterable[Choice]) -> list[Choice]:
    """Leave out what another choice equals or beats in weight at no higher cost; first ones stay.

    In the order of the parameters a choice is beaten if one before it has no more multiply-adds and
    no less weight. Those that are not have rising weights with rising multiply-adds.
    """
    kept = []
    macs: list[int] = []
    weights: list[float] = []
    for choice in sorted(choices, key=lambda choice: (choice.cost, -choice.weight)):
        place = bisect_right(macs, choice.cost.macs)
        if place and weights[place - 1] >= choice.weight:
            continue
        kept.append(choice)
        last = place
        while last < len(macs) and weights[last] <= choice.weight:
            last += 1
        macs[place:last], weights[place:last] = [choice.cost.macs], [choice.weight]
    return kept
