"""Genotypes as configurations of the search space of NAS-Bench-301 (arXiv 2008.09777)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from adarts_ext.genotype import PRIMITIVES, Genotype, incoming_edges

PREFIX = "NetworkSelectorDatasetInfo:darts:"
OPERATIONS = tuple(name for name in PRIMITIVES if name != "none")
_STEPS = 4
_CONCAT = tuple(range(2, 2 + _STEPS))


def to_nasbench301(genotype: Genotype) -> dict[str, str]:
    """Return the configuration of NAS-Bench-301 that a genotype is.

    ``edge_normal_<edge>`` is the operation on an edge that is kept, by its number among the 14 of a
    cell (:func:`~adarts_ext.genotype.incoming_edges`); ``inputs_node_normal_<node>`` are a node's
    two sources, as in ``"0_2"``. The first node takes both inputs of the cell, and is not named.
    Both come with ``reduce`` too, and all under ``NetworkSelectorDatasetInfo:darts:``.

    Raises:
        ValueError: If NAS-Bench-301 has no such cells: it has those of 4 nodes, which are all
            concatenated, with two different sources each and without ``none``.

    Example:
        >>> from adarts_ext.genotype import DARTS_V2
        >>> to_nasbench301(DARTS_V2)["NetworkSelectorDatasetInfo:darts:inputs_node_normal_5"]
        '0_2'
    """
    config = {}
    for cell in ("normal", "reduce"):
        _check_concat(cell, getattr(genotype, f"{cell}_concat"))
        pairs = getattr(genotype, cell)
        for node, edges in enumerate(incoming_edges(_STEPS), start=2):
            kept = pairs[2 * node - 4 : 2 * node - 2]
            _check_node(f"NAS-Bench-301: {cell}: node {node}", kept)
            for operation, source in kept:
                config[f"{PREFIX}edge_{cell}_{edges.start + source}"] = operation
            if node > 2:
                low, high = sorted(source for _, source in kept)
                config[f"{PREFIX}inputs_node_{cell}_{node}"] = f"{low}_{high}"
    return config


def _check_concat(cell: str, concat: tuple[int, ...]) -> None:
    if concat != _CONCAT:
        raise ValueError(
            f"NAS-Bench-301: {cell}: expected {_STEPS} nodes whose concatenation is {_CONCAT}, "
            f"got {concat}"
        )


def _check_node(where: str, kept: tuple[tuple[str, int], ...]) -> None:
    for operation, _ in kept:
        if operation not in OPERATIONS:
            raise ValueError(f"{where}: expected one of {', '.join(OPERATIONS)}, got {operation}")
    if kept[0][1] == kept[1][1]:
        raise ValueError(f"{where}: expected two different sources, got {kept[0][1]} twice")


def from_nasbench301(config: Mapping[str, Any]) -> Genotype:
    """Read the genotype out of a configuration of NAS-Bench-301.

    The two edges into a node come in the order of their sources, which is all that the format
    knows. What a configuration says about the training is not read.

    Args:
        config: What :func:`to_nasbench301` returns, or a configuration of the benchmark, as a
            dictionary or as ConfigSpace samples it.

    Raises:
        ValueError: If a key of the cells is missing, has another value than the search space, or
            is of an edge that its node does not take.

    Example:
        >>> from adarts_ext.genotype import random_genotype
        >>> config = to_nasbench301(random_genotype(0))
        >>> to_nasbench301(from_nasbench301(config)) == config
        True
    """
    if not isinstance(config, Mapping):
        raise ValueError(f"NAS-Bench-301: expected a configuration, got {config!r:.60}")
    fields: dict[str, Any] = {}
    read = set()
    for cell in ("normal", "reduce"):
        pairs = []
        for node, edges in enumerate(incoming_edges(_STEPS), start=2):
            sources = "0_1"
            if node > 2:
                name = f"{PREFIX}inputs_node_{cell}_{node}"
                choices = [f"{i}_{j}" for j in range(node) for i in range(j)]
                sources = _chosen(config, name, choices)
                read.add(name)
            for source in map(int, sources.split("_")):
                name = f"{PREFIX}edge_{cell}_{edges.start + source}"
                pairs.append((_chosen(config, name, OPERATIONS), source))
                read.add(name)
        fields |= {cell: pairs, f"{cell}_concat": _CONCAT}
    of_cells = tuple(f"{PREFIX}{part}" for part in ("edge_", "inputs_node_"))
    unread = [name for name in config if name.startswith(of_cells) and name not in read]
    if unread:
        raise ValueError(f"NAS-Bench-301: expected no {unread[0]}, as no node takes it")
    return Genotype(**fields)


def _chosen(config: Mapping[str, Any], name: str, choices: tuple[str, ...] | list[str]) -> str:
    value = config.get(name)
    if value not in choices:
        got = repr(value) if name in config else "none"
        raise ValueError(f"NAS-Bench-301: {name}: expected one of {', '.join(choices)}, got {got}")
    return value
