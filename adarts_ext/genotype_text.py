"""Genotypes as text: read from any that they are written in, and written for other code."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable
from typing import Any

from adarts_ext.genotype import Genotype
from adarts_ext.genotype.triples import pairs_of_triples
from adarts_ext.nasbench301 import PREFIX, from_nasbench301, to_nasbench301

MOST_CHARACTERS = 1_000_000  # of a file with a genotype; logs are longer, but not much
_FIELDS = tuple(Genotype.__dataclass_fields__)


def parse_genotype(text: str) -> Genotype:
    """Read a genotype from what DARTS prints, from JSON, or from a NAS-Bench-301 configuration.

    Of what DARTS prints it is the last ``Genotype(...)`` in the text: alone, or in the log of a
    search. Nothing is evaluated: there may be strings, whole numbers, lists, tuples and ``range``
    only. The pairs (operation, source) may stand in a list for each node; triples (operation, node,
    source), as FairDARTS prints them, say the node themselves, which may have fewer than two edges.

    Args:
        text: Anything that ends with a genotype as DARTS prints it; what :meth:`Genotype.to_json
            <adarts_ext.genotype.Genotype.to_json>` returns; or the JSON of a configuration as
            :func:`~adarts_ext.nasbench301.from_nasbench301` takes it.

    Raises:
        ValueError: If there is no genotype, or one of another format.

    Example:
        >>> pairs = "[('sep_conv_3x3', 0), ('skip_connect', 1)]"
        >>> text = f"Genotype(normal={pairs}, normal_concat=range(2, 3), "
        >>> text += f"reduce=[{pairs}], reduce_concat=[2])"
        >>> parse_genotype("epoch 49: " + text).normal
        (('sep_conv_3x3', 0), ('skip_connect', 1))
    """
    if len(text) > MOST_CHARACTERS:
        raise ValueError(
            f"genotype: expected at most {MOST_CHARACTERS} characters, got {len(text)}"
        )
    start = text.rfind("Genotype(")
    if start < 0:
        return _from_nasbench301(text) if PREFIX in text else Genotype.from_json(text)
    call = _parse(text[start:])
    if len(call.args) > len(_FIELDS):
        raise ValueError(f"genotype: expected {', '.join(_FIELDS)}, got {len(call.args)} values")
    given = dict(zip(_FIELDS, call.args, strict=False))
    for keyword in call.keywords:
        if keyword.arg not in _FIELDS or keyword.arg in given:
            raise ValueError(f"genotype: expected {', '.join(_FIELDS)}, got {keyword.arg}")
        given[keyword.arg] = keyword.value
    missing = [name for name in _FIELDS if name not in given]
    if missing:
        raise ValueError(f"genotype: {', '.join(missing)} is missing")
    values = {name: _value(name, node) for name, node in given.items()}
    for cell in ("normal", "reduce"):
        pairs, concat = _pairs(cell, values[cell]), values[f"{cell}_concat"]
        if _are_triples(pairs) and isinstance(concat, (list, tuple, range)):
            pairs, concat = pairs_of_triples(cell, pairs, concat)
        values |= {cell: pairs, f"{cell}_concat": concat}
    return Genotype(**values)


def format_darts(genotype: Genotype) -> str:
    """Write a genotype as DARTS prints it, in one line.

    Example:
        >>> from adarts_ext.genotype import DARTS_V2
        >>> format_darts(DARTS_V2)[:55]
        "Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', "
        >>> parse_genotype(format_darts(DARTS_V2)) == DARTS_V2
        True
    """
    values = []
    for name in _FIELDS:
        value = list(getattr(genotype, name))
        if name.endswith("concat") and value == [*range(value[0], value[-1] + 1)]:
            value = range(value[0], value[-1] + 1)
        values.append(f"{name}={value!r}")
    return f"Genotype({', '.join(values)})"


def format_nasbench301(genotype: Genotype) -> str:
    """Write a genotype as the JSON of a configuration of NAS-Bench-301.

    Raises:
        ValueError: If NAS-Bench-301 has no such cells.

    Example:
        >>> from adarts_ext.genotype import random_genotype
        >>> print(format_nasbench301(random_genotype(0)))  # doctest: +ELLIPSIS
        {
          "NetworkSelectorDatasetInfo:darts:edge_normal_...
    """
    return json.dumps(to_nasbench301(genotype), indent=2)


#: How a genotype is written for other code, by the name of the format.
FORMATS: dict[str, Callable[[Genotype], str]] = {
    "darts": format_darts,
    "nasbench301": format_nasbench301,
}


def _from_nasbench301(text: str) -> Genotype:
    try:
        config = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"genotype: not JSON: {error}") from error
    return from_nasbench301(config)


def _parse(text: str) -> ast.Call:
    """Return the call that the text begins with, whatever follows it."""
    depth = 0
    for bracket in re.finditer(r"[()]", text):
        depth += 1 if bracket[0] == "(" else -1
        if not depth:
            text = text[: bracket.end()]
            break
    try:
        call = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError(f"genotype: not as DARTS prints it: {text[:60]!r}") from error
    if not isinstance(call, ast.Call):
        raise ValueError(f"genotype: not as DARTS prints it: {text[:60]!r}")
    return call


def _value(name: str, node: ast.expr) -> Any:
    """Return what a node says: strings, numbers, lists, tuples and ranges of numbers."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.keywords:
        arguments = [_value(name, argument) for argument in node.args]
        if node.func.id in ("list", "tuple") and len(arguments) == 1:
            return arguments[0]
        small = all(isinstance(number, int) and 0 <= number < 1000 for number in arguments)
        if node.func.id == "range" and len(arguments) in (1, 2) and small:
            return range(*arguments)
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, RecursionError, MemoryError) as error:
        raise ValueError(f"genotype: {name}: unexpected {ast.unparse(node)[:60]!r}") from error


def _pairs(cell: str, value: Any) -> Any:
    """Return pairs (operation, source) one after another, where they stand node by node."""
    if not isinstance(value, (list, tuple)):
        return value
    if value and all(
        isinstance(node, (list, tuple)) and node and all(isinstance(p, (list, tuple)) for p in node)
        for node in value
    ):
        if any(len(node) != 2 for node in value):
            raise ValueError(f"genotype: {cell}: expected two edges to each node")
        value = [pair for node in value for pair in node]
    for pair in value:
        if isinstance(pair, (list, tuple)) and pair and isinstance(pair[0], int):
            raise ValueError(
                f"genotype: {cell}: expected pairs (operation, source) with the operation's name, "
                f"as in DARTS, got numbers: {pair!r}"
            )
    return value


def _are_triples(edges: Any) -> bool:
    return (
        isinstance(edges, (list, tuple))
        and bool(edges)
        and all(isinstance(edge, (list, tuple)) and len(edge) == 3 for edge in edges)
    )
