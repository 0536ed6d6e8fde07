"""The structure of a derived network, checked, and as JSON."""

from __future__ import annotations

import json
import operator
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from adarts_ext import files
from adarts_ext.genotype.operations import hint_for, known_operations


@dataclass(frozen=True)
class Genotype:
    """The structure of the two cells, normal and reduction, of a derived network.

    Each cell is a sequence of pairs (operation, source), two to a node: the first two pairs feed
    node 2, the next two node 3 and so on. Sources 0 and 1 are the cell's inputs, 2 is its first
    node. ``normal_concat`` and ``reduce_concat`` name the nodes whose concatenation is the cell's
    output. This is the format of DARTS (arXiv 1806.09055); lists are turned into tuples. An edge
    that a method does not keep is there with the operation ``none``, which gives zeros: so a node
    may have one edge, or none if it is not concatenated.

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
        if operation not in known_operations():
            raise ValueError(
                f"{where}: unknown operation {operation!r}, expected one of "
                f"{', '.join(known_operations())}{hint_for(operation)}"
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
