"""DARTS-PT: an operation is worth what the accuracy falls by without it."""

from __future__ import annotations

import copy
import random
from typing import Any

import torch
from torch import Tensor

from adarts_ext.derivation.measure import Batches, measure
from adarts_ext.derivation.strength import Removal, operations_of
from adarts_ext.genotype import Genotype, incoming_edges
from adarts_ext.nn import OperationWeights, SearchNetwork

CELLS = ("normal", "reduce")


class Perturbation:
    """The perturbation-based selection of a genotype (DARTS-PT, arXiv 2108.04392, algorithm 1).

    In random order of the edges, one of the normal and one of the reduction cell a turn: of the
    operations of the edge the one is kept without which the accuracy is lowest, and gets the weight
    1, the others 0. Then in random order of the nodes: while a node has more than two edges, the
    one goes without which the accuracy is highest. Without means a weight of 0, by which the others
    are not normalised again; accuracies are those of :func:`measure`. Among equal ones the first
    operation is kept, and the last edge goes. ``none`` is not kept. Nodes with two edges need no
    decision. Between two turns the network is tuned, which is left to the caller.

    Args:
        network: The supernet.
        seed: Seed of the order.

    Attributes:
        decisions: What is decided, plain values: ``cell``; of an edge ``edge``, its row, the
            ``kept`` operation and the ``accuracies`` without each; of a node ``node``, from 2 on,
            its ``kept`` sources and the ``accuracies`` without each source, a dictionary a round.

    Example:
        >>> network = SearchNetwork(init_channels=4, layers=3, steps=1)
        >>> batch = torch.randn(4, 3, 16, 16), torch.tensor([0, 1, 2, 3])
        >>> selection = Perturbation(network)
        >>> while not selection.done:
        ...     selection.measure_next([batch])  # and tuning after each turn
        >>> [source for _, source in selection.genotype().normal]
        [0, 1]
    """

    def __init__(self, network: SearchNetwork, seed: int = 0) -> None:
        self.network = network
        self._operations = operations_of(network)
        self._nodes = incoming_edges(network.steps)
        draw, orders = random.Random(seed), []
        for kind, count in (("edge", self._nodes[-1].stop), ("node", len(self._nodes))):
            places = [k for k in range(count) if kind == "edge" or _width(self._nodes[k]) > 2]
            for cell in CELLS:
                draw.shuffle(places)
                orders.append([(cell, kind, place) for place in places])
        normal, reduce = orders[0] + orders[2], orders[1] + orders[3]
        self._questions = [one for turn in zip(normal, reduce, strict=True) for one in turn]
        self.decisions: list[dict[str, Any]] = []
        self._rounds: list[dict[int, float]] = [{}]  # accuracies, of the question that is open

    @property
    def turns(self) -> int:
        """How many turns there are; a network is tuned after each but the last."""
        return len(self._questions) // len(CELLS)

    @property
    def turn(self) -> int:
        """How many turns are done."""
        return len(self.decisions) // len(CELLS)

    @property
    def done(self) -> bool:
        """Whether all is decided."""
        return len(self.decisions) == len(self._questions)

    def passes_left(self) -> int:
        """Return how many accuracies are still to be measured."""
        total = sum(self._accuracies_of(*question) for question in self._questions)
        answered = [rounds for one in self.decisions for rounds in _as_list(one["accuracies"])]
        return total - sum(len(accuracies) for accuracies in [*answered, *self._rounds])

    def _accuracies_of(self, cell: str, kind: str, place: int) -> int:
        if kind == "edge":
            return len(self._operations[cell][place])
        return sum(range(3, _width(self._nodes[place]) + 1))

    def weights(self) -> OperationWeights:
        """Return what the candidates weigh by now.

        Those of decided edges weigh 1 or 0, and the others what they weigh in the network, through
        which gradients go to the alphas.
        """
        own = self.network.operation_weights()
        return OperationWeights(*(self._decided(*pair) for pair in zip(CELLS, own, strict=True)))

    def _decided(self, cell: str, weights: Tensor) -> Tensor:
        decided = torch.zeros(len(weights), 1, dtype=torch.bool)
        rows = torch.zeros(weights.shape, dtype=weights.dtype)
        of_cell = [one for one in self.decisions if one["cell"] == cell]
        for one in of_cell:
            if "edge" in one:
                decided[one["edge"]] = True
                rows[one["edge"], self.network.columns.index(one["kept"])] = 1
        for one in of_cell:  # after the edges: what has gone has no operation
            if "node" in one:
                node = self._nodes[one["node"] - 2]
                for source in range(_width(node)):
                    if source not in one["kept"]:
                        rows[node.start + source] = 0
        return torch.where(decided.to(weights.device), rows.to(weights.device), weights)

    @torch.no_grad()
    def measure_next(self, batches: Batches) -> None:
        """Measure the accuracy without the next candidate; after the last of several, decide.

        Args:
            batches: Images (N, C, H, W) and labels (N,), as a rule those that train the alphas;
                always the same.

        Raises:
            ValueError: If all is decided.
        """
        if self.done:
            raise ValueError("Perturbation: all is decided")
        cell, kind, place = self._questions[len(self.decisions)]
        accuracies, candidates = self._rounds[-1], self._candidates()
        candidate = candidates[len(accuracies)]
        if kind == "edge":
            removal = Removal(cell, place, candidate)
        else:
            removal = Removal(cell, self._nodes[place].start + candidate)
        measured = measure(self.network, batches, removal.of(self.weights()))
        accuracies[candidate] = measured.accuracy
        if len(accuracies) < len(candidates):
            return
        if kind == "edge":
            columns = self.network.columns
            kept = columns[min(accuracies, key=accuracies.get)]
            named = {columns[one]: value for one, value in accuracies.items()}
            self._decide({"cell": cell, "edge": place, "kept": kept, "accuracies": named})
            return
        self._rounds.append({})
        if len(left := self._candidates()) == 2:
            rounds = [{str(one): value for one, value in part.items()} for part in self._rounds]
            answer = {"cell": cell, "node": 2 + place, "kept": left, "accuracies": rounds[:-1]}
            self._decide(answer)

    def _candidates(self) -> list[int]:
        """Return what the open question chooses from now: operations, or sources."""
        cell, kind, place = self._questions[len(self.decisions)]
        if kind == "edge":
            return self._operations[cell][place]
        left = list(range(_width(self._nodes[place])))
        for accuracies in self._rounds[:-1]:
            left.remove(max(accuracies, key=lambda one: (accuracies[one], one)))
        return left

    def _decide(self, answer: dict[str, Any]) -> None:
        self.decisions.append(answer)
        self._rounds = [{}]

    def genotype(self) -> Genotype:
        """Return the genotype that was selected.

        A node's two edges are listed from the earlier state on.

        Raises:
            ValueError: If not all is decided.
        """
        if not self.done:
            left = len(self._questions) - len(self.decisions)
            raise ValueError(f"Perturbation: {left} decisions are still to be made")
        cells = []
        for cell in CELLS:
            of_cell = [one for one in self.decisions if one["cell"] == cell]
            kept = {one["edge"]: one["kept"] for one in of_cell if "edge" in one}
            sources = {one["node"]: one["kept"] for one in of_cell if "node" in one}
            cells.append(
                tuple(
                    (kept[edges.start + source], source)
                    for node, edges in enumerate(self._nodes, 2)
                    for source in sources.get(node, range(2))
                )
            )
        concat = tuple(range(2, 2 + len(self._nodes)))
        return Genotype(cells[0], concat, cells[1], concat)

    def state_dict(self) -> dict[str, Any]:
        """Return what another selection, of as many edges and the same seed, needs to go on."""
        return copy.deepcopy({"decisions": self.decisions, "rounds": self._rounds})

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where the selection was whose :meth:`state_dict` is given."""
        self.decisions, self._rounds = copy.deepcopy((state["decisions"], state["rounds"]))


def _width(edges: slice) -> int:
    return edges.stop - edges.start


def _as_list(rounds: Any) -> list[Any]:
    return rounds if isinstance(rounds, list) else [rounds]
