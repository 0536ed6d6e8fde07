"""Where the boxes, the labels and the curves of a drawn cell go: a layered layout, in inches.

A cell is a small directed acyclic graph. Every state gets a column: the two inputs the first one,
a node the column after its later source, the output the last. An edge that skips columns gets a
place of its own in each of them, so that it runs straight through and bends only in the free
space between two columns: no curve can run through a box or a label. The order within the columns
is chosen for few crossings, the heights for short and straight edges.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

BOX_WIDTH = 0.46
BOX_HEIGHT = 0.66
LABEL_WIDTH = 1.08
LABEL_HEIGHT = 0.24
PORT_SPACING = 0.32  # between the two labels in front of a node
ARROW_LENGTH = 0.24  # from a label to its node
GAP = 0.78  # free space between two columns, where curves bend
CLEARANCE = 0.14  # between two neighbours in a column
STRAIGHTNESS = (1.0, 2.0, 30.0)  # pull of an edge's step by how many of its ends are no boxes
STARTS = 40  # random orders the search for few crossings starts from


@dataclass(eq=False)
class Place:
    """A box, or the stretch of an edge that runs through a column; ``x``, ``y`` is its centre."""

    column: int
    height: float
    state: int | None = None
    x: float = 0.0
    y: float = 0.0


@dataclass(eq=False)
class Edge:
    """An edge of the cell with its route: ``places`` from the source's box to the target's."""

    source: int
    target: int
    op: str | None
    places: list[Place] = field(default_factory=list)
    port: float = 0.0  # height of the edge's end above the centre of the target's box


@dataclass
class CellDrawing:
    """A cell laid out: its states' boxes (the output is the last one) and its edges."""

    boxes: list[Place]
    edges: list[Edge]
    width: float
    top: float
    bottom: float


def layout_cell(ops: Sequence[tuple[str, int]], concat: Sequence[int]) -> CellDrawing:
    """Lay a cell out from left to right.

    Args:
        ops: ``(op, source)`` for each edge, two a node, as in a genotype.
        concat: The states that are concatenated to the output.

    Returns:
        The places of all boxes and the routes of all edges, in inches, y upwards.

    Example:
        >>> layout = layout_cell([("skip_connect", 0), ("sep_conv_3x3", 1)], [2])
        >>> [box.column for box in layout.boxes]
        [0, 0, 1, 2]
    """
    output = 2 + len(ops) // 2
    edges = [Edge(source, 2 + k // 2, op) for k, (op, source) in enumerate(ops)]
    edges += [Edge(state, output, None) for state in concat]
    boxes = _boxes(edges, output)
    columns = [[] for _ in range(boxes[-1].column + 1)]
    for box in boxes:
        columns[box.column].append(box)
    for edge in edges:
        start, end = boxes[edge.source], boxes[edge.target]
        passed = [Place(column, 0.1) for column in range(start.column + 1, end.column)]
        for place in passed:
            columns[place.column].append(place)
        edge.places = [start, *passed, end]
    _order(columns, edges)
    _set_heights(columns, edges)
    width = _set_columns(columns)
    places = [place for column in columns for place in column]
    top = max(place.y + place.height / 2 for place in places)
    bottom = min(place.y - place.height / 2 for place in places)
    return CellDrawing(boxes, edges, width, top, bottom)


def _boxes(edges: Sequence[Edge], output: int) -> list[Place]:
    """Give every state its column: one after its latest source, the output after all."""
    columns = [0] * (output + 1)
    for edge in edges:
        columns[edge.target] = max(columns[edge.target], columns[edge.source] + 1)
    columns[output] = max(columns[:output]) + 1
    label_pair = PORT_SPACING + LABEL_HEIGHT
    return [
        Place(column, BOX_HEIGHT if column == 0 else max(BOX_HEIGHT, label_pair), state)
        for state, column in enumerate(columns)
    ]


def _neighbours(edges: Sequence[Edge]) -> dict[int, list[tuple[Place, Edge]]]:
    """Map the id of each place to the places next to it on an edge."""
    near: dict[int, list[tuple[Place, Edge]]] = {}
    for edge in edges:
        for left, right in pairwise(edge.places):
            near.setdefault(id(left), []).append((right, edge))
            near.setdefault(id(right), []).append((left, edge))
    return near


def _crossings(columns: Sequence[Sequence[Place]], edges: Sequence[Edge]) -> int:
    rank = {id(place): k for column in columns for k, place in enumerate(column)}
    steps: dict[int, list[tuple[int, int]]] = {}
    for edge in edges:
        for left, right in pairwise(edge.places):
            steps.setdefault(left.column, []).append((rank[id(left)], rank[id(right)]))
    return sum(
        (a - c) * (b - d) < 0
        for pairs in steps.values()
        for k, (a, b) in enumerate(pairs)
        for c, d in pairs[:k]
    )


def _order(columns: list[list[Place]], edges: Sequence[Edge]) -> None:
    """Sort the columns, from the top, for few crossings: barycentre sweeps from many orders.

    The method is Sugiyama's (IEEE Trans. SMC 11(2), 1981). Deterministic.
    """
    near = _neighbours(edges)
    shuffler = random.Random(0)
    best, fewest = [list(column) for column in columns], _crossings(columns, edges)
    for _ in range(STARTS):
        for column in columns:
            shuffler.shuffle(column)
        for sweep in range(8):
            rightwards = sweep % 2 == 0
            for column in columns if rightwards else reversed(columns):
                rank = {
                    id(place): k / len(other) for other in columns for k, place in enumerate(other)
                }
                centre = {}
                for place in column:
                    ranks = [
                        rank[id(other)]
                        for other, _ in near.get(id(place), [])
                        if (other.column < place.column) == rightwards
                    ]
                    centre[id(place)] = sum(ranks) / len(ranks) if ranks else rank[id(place)]
                column.sort(key=lambda place: centre[id(place)])
            crossings = _crossings(columns, edges)
            if crossings < fewest:
                best, fewest = [list(column) for column in columns], crossings
    columns[:] = best
    if columns[0][0].state == 1:  # the earlier input on top, for the eye: mirror the whole cell
        for column in columns:
            column.reverse()


def _set_ports(edges: Sequence[Edge]) -> None:
    """Spread the ends of a box's incoming edges, in the order of the heights they come from."""
    incoming: dict[int, list[Edge]] = {}
    for edge in edges:
        incoming.setdefault(edge.target, []).append(edge)
    for group in incoming.values():
        spacing = PORT_SPACING if group[0].op else min(0.14, 0.5 / len(group))
        group.sort(key=lambda edge: edge.places[-2].y)
        for k, edge in enumerate(group):
            edge.port = (k - (len(group) - 1) / 2) * spacing


def _set_heights(columns: Sequence[Sequence[Place]], edges: Sequence[Edge]) -> None:
    """Pull every place towards its neighbours, keeping the order and the distances."""
    for column in columns:
        for k, place in enumerate(column):
            place.y = -float(k)
    near = _neighbours(edges)
    for sweep in range(300):
        _set_ports(edges)
        for column in columns if sweep % 2 == 0 else reversed(columns):
            wanted, weights = [], []
            for place in column:
                pulls = []
                for other, edge in near.get(id(place), []):
                    ends = (place is edge.places[-1]) - (other is edge.places[-1])
                    strength = STRAIGHTNESS[(place.state is None) + (other.state is None)]
                    pulls.append((strength, other.y - ends * edge.port))
                weight = sum(strength for strength, _ in pulls)
                wanted.append(
                    sum(strength * y for strength, y in pulls) / weight if pulls else place.y
                )
                weights.append(max(weight, 1e-3))
            for place, y in zip(column, _separate(column, wanted, weights), strict=True):
                place.y = y
    _straighten(columns, edges)
    _set_ports(edges)


def _straighten(columns: Sequence[Sequence[Place]], edges: Sequence[Edge]) -> None:
    """Level the middle of each edge where its neighbours in the columns leave it the room."""
    for edge in edges:
        passed = edge.places[1:-1]
        if not passed:
            continue
        level = sum(place.y for place in passed) / len(passed)
        others = [other for place in passed for other in columns[place.column] if other != place]
        if all(abs(other.y - level) >= _distance(other, passed[0]) - 0.01 for other in others):
            for place in passed:
                place.y = level


def _distance(upper: Place, lower: Place) -> float:
    return (upper.height + lower.height) / 2 + CLEARANCE


def _separate(
    column: Sequence[Place], wanted: Sequence[float], weights: Sequence[float]
) -> list[float]:
    """Find the heights nearest to the wanted ones that keep the column's order and distances.

    Weighted least squares under ``y[k] - y[k+1] >= distance``: pool adjacent violators.
    """
    offsets = [0.0]
    for upper, lower in pairwise(column):
        offsets.append(offsets[-1] + _distance(upper, lower))
    pools: list[tuple[float, float, int]] = []  # mean, weight, number of places
    for y, weight, offset in zip(wanted, weights, offsets, strict=True):
        mean, count = y + offset, 1
        while pools and pools[-1][0] < mean:
            last_mean, last_weight, last_count = pools.pop()
            mean = (mean * weight + last_mean * last_weight) / (weight + last_weight)
            weight, count = weight + last_weight, count + last_count
        pools.append((mean, weight, count))
    means = [mean for mean, _, count in pools for _ in range(count)]
    return [mean - offset for mean, offset in zip(means, offsets, strict=True)]


def _set_columns(columns: Sequence[Sequence[Place]]) -> float:
    """Set the x of all boxes and return the width of the cell."""
    x = BOX_WIDTH / 2
    pitch = GAP + LABEL_WIDTH + ARROW_LENGTH + BOX_WIDTH
    for k, column in enumerate(columns):
        if k > 0:  # no labels in front of the output
            x += pitch if k < len(columns) - 1 else GAP + BOX_WIDTH
        for place in column:
            place.x = x
    return x + BOX_WIDTH / 2
