"""Genotypes: which two edges, and which operation on each, a searched cell keeps for every node."""

from __future__ import annotations

import json
import math
import operator
import os
import random
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from adarts_ext import files

#: The candidate operations of an edge, in the order of the columns of the alphas (DARTS).
PRIMITIVES = (
    "none",
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
)


def state_name(state: int) -> str:
    """Return what text and pictures call a state of a cell; its number is that of the genotype.

    Example:
        >>> [state_name(state) for state in range(4)]
        ['input 0', 'input 1', 'node 2', 'node 3']
    """
    return f"{'input' if state < 2 else 'node'} {state}"


@dataclass(frozen=True)
class Genotype:
    """The structure of the two cells, normal and reduction, of a derived network.

    Each cell is a sequence of pairs (operation, source), two to a node: the first two pairs feed
    node 2, the next two node 3 and so on. Sources 0 and 1 are the cell's inputs, 2 is its first
    node. ``normal_concat`` and ``reduce_concat`` name the nodes whose concatenation is the cell's
    output. This is the format of DARTS (arXiv 1806.09055); lists are turned into tuples.

    Raises:
        ValueError: If a cell is empty or has an odd number of pairs, names an unknown operation,
            takes a source that is not there before its node, or concatenates a node it lacks.

    Example:
        >>> cell = [("sep_conv_3x3", 0), ("skip_connect", 1)]
        >>> genotype = Genotype(normal=cell, normal_concat=[2], reduce=cell, reduce_concat=[2])
        >>> Genotype.from_json(genotype.to_json()) == genotype
        True
    """

    normal: tuple[tuple[str, int], ...]
    normal_concat: tuple[int, ...]
    reduce: tuple[tuple[str, int], ...]
    reduce_concat: tuple[int, ...]

    def __post_init__(self) -> None:
        for cell in ("normal", "reduce"):
            edges = _checked_edges(cell, getattr(self, cell))
            concat = _checked_concat(f"{cell}_concat", getattr(self, f"{cell}_concat"), len(edges))
            object.__setattr__(self, cell, edges)
            object.__setattr__(self, f"{cell}_concat", concat)

    def to_json(self) -> str:
        """Return the genotype as one line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Genotype:
        """Read a genotype from what :meth:`to_json` returns.

        Raises:
            ValueError: If the text is not JSON or does not describe a genotype.
        """
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"genotype: not JSON: {error}") from error
        return cls._from_data(data)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the genotype as JSON; a file already there is replaced whole or not at all."""
        files.write_json(path, asdict(self))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Genotype:
        """Read a genotype that :meth:`save` wrote.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If the file is damaged or does not hold a genotype; the message names it.
        """
        data = files.read_json(path)
        try:
            return cls._from_data(data)
        except ValueError as error:
            raise ValueError(f"{os.fspath(path)}: {error}") from error

    @classmethod
    def _from_data(cls, data: Any) -> Genotype:
        names = tuple(cls.__dataclass_fields__)
        if not isinstance(data, dict) or set(data) != set(names):
            got = f"keys {', '.join(data) or 'none'}" if isinstance(data, dict) else f"{data!r:.60}"
            raise ValueError(
                f"genotype: expected an object with keys {', '.join(names)}, got {got}"
            )
        return cls(**data)


def _checked_edges(cell: str, edges: Iterable[Any]) -> tuple[tuple[str, int], ...]:
    checked = []
    for position, pair in enumerate(_checked_sequence(cell, edges)):
        where = f"genotype: {cell}[{position}]"
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise ValueError(f"{where}: expected a pair (operation, source), got {pair!r}")
        operation, source = pair[0], _checked_integer(where, pair[1])
        if operation not in PRIMITIVES:
            raise ValueError(
                f"{where}: unknown operation {operation!r}, expected one of {', '.join(PRIMITIVES)}"
            )
        node = 2 + position // 2
        if not 0 <= source < node:
            raise ValueError(
                f"{where}: source {source} of node {node} is out of range, expected 0 to {node - 1}"
            )
        checked.append((operation, source))
    if not checked or len(checked) % 2:
        raise ValueError(
            f"genotype: {cell}: expected two edges to each of one or more nodes, got {len(checked)}"
        )
    return tuple(checked)


def _checked_concat(name: str, concat: Iterable[Any], edges: int) -> tuple[int, ...]:
    last = 1 + edges // 2
    checked = tuple(
        _checked_integer(f"genotype: {name}", node) for node in _checked_sequence(name, concat)
    )
    if (
        not checked
        or len(set(checked)) != len(checked)
        or not set(checked) <= {*range(2, last + 1)}
    ):
        raise ValueError(f"genotype: {name}: expected distinct nodes of 2 to {last}, got {checked}")
    return checked


def _checked_sequence(name: str, value: Any) -> tuple[Any, ...]:
    if not isinstance(value, (tuple, list, range)):
        raise ValueError(f"genotype: {name}: expected a sequence, got {value!r}")
    return tuple(value)


def _checked_integer(where: str, value: Any) -> int:
    try:
        if not isinstance(value, bool):
            return operator.index(value)
    except TypeError:
        pass
    raise ValueError(f"{where}: expected an integer, got {value!r}")


# One node to a line.
# fmt: off

#: Released by the authors of ADARTS.
ADARTS_V1 = Genotype(
    normal=(
        ("sep_conv_3x3", 1), ("sep_conv_3x3", 0),
        ("skip_connect", 0), ("dil_conv_3x3", 1),
        ("skip_connect", 0), ("sep_conv_3x3", 1),
        ("max_pool_3x3", 0), ("dil_conv_3x3", 1),
    ),
    normal_concat=(2, 3, 4, 5),
    reduce=(
        ("max_pool_3x3", 0), ("dil_conv_5x5", 1),
        ("dil_conv_3x3", 2), ("max_pool_3x3", 0),
        ("skip_connect", 2), ("skip_connect", 3),
        ("dil_conv_3x3", 2), ("avg_pool_3x3", 0),
    ),
    reduce_concat=(2, 3, 4, 5),
)

#: Released by the authors of ADARTS.
ADARTS_V2 = Genotype(
    normal=(
        ("sep_conv_3x3", 0), ("sep_conv_3x3", 1),
        ("sep_conv_3x3", 0), ("dil_conv_5x5", 2),
        ("skip_connect", 3), ("sep_conv_3x3", 1),
        ("dil_conv_5x5", 3), ("skip_connect", 4),
    ),
    normal_concat=(2, 3, 4, 5),
    reduce=(
        ("sep_conv_3x3", 1), ("avg_pool_3x3", 0),
        ("max_pool_3x3", 1), ("sep_conv_3x3", 2),
        ("max_pool_3x3", 0), ("sep_conv_5x5", 3),
        ("max_pool_3x3", 1), ("max_pool_3x3", 0),
    ),
    reduce_concat=(2, 3, 4, 5),
)

#: Found by PC-DARTS (arXiv 1907.05737) on CIFAR-10.
PC_DARTS = Genotype(
    normal=(
        ("sep_conv_3x3", 1), ("skip_connect", 0),
        ("sep_conv_3x3", 0), ("dil_conv_3x3", 1),
        ("sep_conv_5x5", 0), ("sep_conv_3x3", 1),
        ("avg_pool_3x3", 0), ("dil_conv_3x3", 1),
    ),
    normal_concat=(2, 3, 4, 5),
    reduce=(
        ("sep_conv_5x5", 1), ("max_pool_3x3", 0),
        ("sep_conv_5x5", 1), ("sep_conv_5x5", 2),
        ("sep_conv_3x3", 0), ("sep_conv_3x3", 3),
        ("sep_conv_3x3", 1), ("sep_conv_3x3", 2),
    ),
    reduce_concat=(2, 3, 4, 5),
)

#: Found by PC-DARTS (arXiv 1907.05737) on ImageNet.
PC_DARTS_IMAGENET = Genotype(
    normal=(
        ("skip_connect", 1), ("sep_conv_3x3", 0),
        ("sep_conv_3x3", 0), ("skip_connect", 1),
        ("sep_conv_3x3", 1), ("sep_conv_3x3", 3),
        ("sep_conv_3x3", 1), ("dil_conv_5x5", 4),
    ),
    normal_concat=(2, 3, 4, 5),
    reduce=(
        ("sep_conv_3x3", 0), ("skip_connect", 1),
        ("dil_conv_5x5", 2), ("max_pool_3x3", 1),
        ("sep_conv_3x3", 2), ("sep_conv_3x3", 1),
        ("sep_conv_5x5", 0), ("sep_conv_3x3", 3),
    ),
    reduce_concat=(2, 3, 4, 5),
)

#: Found by first-order DARTS (arXiv 1806.09055) on CIFAR-10.
DARTS_V1 = Genotype(
    normal=(
        ("sep_conv_3x3", 1), ("sep_conv_3x3", 0),
        ("skip_connect", 0), ("sep_conv_3x3", 1),
        ("skip_connect", 0), ("sep_conv_3x3", 1),
        ("sep_conv_3x3", 0), ("skip_connect", 2),
    ),
    normal_concat=(2, 3, 4, 5),
    reduce=(
        ("max_pool_3x3", 0), ("max_pool_3x3", 1),
        ("skip_connect", 2), ("max_pool_3x3", 0),
        ("max_pool_3x3", 0), ("skip_connect", 2),
        ("skip_connect", 2), ("avg_pool_3x3", 0),
    ),
    reduce_concat=(2, 3, 4, 5),
)

#: Found by second-order DARTS (arXiv 1806.09055) on CIFAR-10.
DARTS_V2 = Genotype(
    normal=(
        ("sep_conv_3x3", 0), ("sep_conv_3x3", 1),
        ("sep_conv_3x3", 0), ("sep_conv_3x3", 1),
        ("sep_conv_3x3", 1), ("skip_connect", 0),
        ("skip_connect", 0), ("dil_conv_3x3", 2),
    ),
    normal_concat=(2, 3, 4, 5),
    reduce=(
        ("max_pool_3x3", 0), ("max_pool_3x3", 1),
        ("skip_connect", 2), ("max_pool_3x3", 1),
        ("max_pool_3x3", 0), ("skip_connect", 2),
        ("skip_connect", 2), ("max_pool_3x3", 1),
    ),
    reduce_concat=(2, 3, 4, 5),
)

# fmt: on

#: The published genotypes by name.
KNOWN = {
    "ADARTS_V1": ADARTS_V1,
    "ADARTS_V2": ADARTS_V2,
    "PC_DARTS": PC_DARTS,
    "PC_DARTS_IMAGENET": PC_DARTS_IMAGENET,
    "DARTS_V1": DARTS_V1,
    "DARTS_V2": DARTS_V2,
}


def incoming_edges(steps: int) -> list[slice]:
    """Return the rows of the alphas (entries of the betas) that are the edges into each node.

    Node 2, the first, has 2 incoming edges, each next node one more: one from every earlier state.

    Args:
        steps: Number of nodes of a cell.

    Returns:
        One slice a node; the last one's ``stop`` is the number of edges of the cell.

    Example:
        >>> incoming_edges(3)
        [slice(0, 2, None), slice(2, 5, None), slice(5, 9, None)]
    """
    return [slice(i * (i + 3) // 2, (i + 1) * (i + 4) // 2) for i in range(steps)]


def count_nodes(edges: int) -> int:
    """Return how many nodes the edges of a cell enter: the ``steps`` of :func:`incoming_edges`.

    Example:
        >>> [count_nodes(edges) for edges in (2, 5, 9, 14)]
        [1, 2, 3, 4]
    """
    return (math.isqrt(9 + 8 * edges) - 3) // 2


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


def random_genotype(seed: int, steps: int = 4) -> Genotype:
    """Make a genotype at random: the baseline that a search has to beat.

    Each node gets two different sources, all equally likely, each with an operation other than
    ``none``, all equally likely. The same seed gives the same genotype on every machine.

    Args:
        seed: Seed of the random choices.
        steps: Number of nodes of each cell, at least 1.

    Raises:
        ValueError: If ``steps`` is less than 1.

    Example:
        >>> random_genotype(seed=0) == random_genotype(seed=0)
        True
    """
    if steps < 1:
        raise ValueError(f"random_genotype: steps must be at least 1, got {steps}")
    generator = random.Random(seed)
    operations = [name for name in PRIMITIVES if name != "none"]

    def draw_cell() -> tuple[tuple[str, int], ...]:
        return tuple(
            (generator.choice(operations), source)
            for node in range(2, 2 + steps)
            for source in generator.sample(range(node), 2)
        )

    concat = tuple(range(2, 2 + steps))
    return Genotype(draw_cell(), concat, draw_cell(), concat)
