"""The selection of DARTS-PT against its rule, written out in plain torch, tuning included."""

from __future__ import annotations

import pytest
import torch
from small_supernet import make_batches, make_supernet
from torch.nn.functional import cross_entropy

from adarts_ext.derivation import Perturbation, tuning_step
from adarts_ext.genotype import PRIMITIVES
from adarts_ext.nn import OperationWeights

VALIDATION = make_batches(16)
TRAINING = make_batches(*[6] * 5, seed=2)
TUNING = make_batches(*[6] * 5, seed=3)
NODES = {2: [0, 1], 3: [2, 3, 4]}  # the edges into each node, in the order of their sources


def ours(seed: int = 0, **options) -> tuple[Perturbation, list[float]]:
    """Select with a step of tuning after each turn; the last losses tell whether those agree."""
    network = make_supernet(layers=3, **options)
    assert all(cell.is_fused for cell in network.cells)
    sgd = torch.optim.SGD(network.flat_parameters(), 0.05, momentum=0.9, weight_decay=3e-4)
    adam = torch.optim.Adam(network.arch_parameters(), lr=0.02, betas=(0.5, 0.999))
    selection, losses = Perturbation(network, seed), []
    while not selection.done:
        if len(losses) < selection.turn:
            batches = TRAINING[len(losses)], TUNING[len(losses)]
            network.train()
            loss, _ = tuning_step(network, sgd, adam, selection.weights, *batches, grad_clip=5.0)
            losses.append(loss.item())
        left = selection.passes_left()
        selection.measure_next(VALIDATION)
        assert selection.passes_left() == left - 1
    assert selection.passes_left() == 0
    return selection, losses


class Plain:
    """The rule: rows of weights by cell, None where they are open."""

    def __init__(self):
        self.network = make_supernet(layers=3, backend="reference")
        self.rows = {"normal": [None] * 5, "reduce": [None] * 5}
        self.sgd = torch.optim.SGD(self.network.parameters(), 0.05, momentum=0.9, weight_decay=3e-4)
        self.adam = torch.optim.Adam(self.network.arch_parameters(), lr=0.02, betas=(0.5, 0.999))

    def weights(self):
        alphas = self.network.alphas_normal, self.network.alphas_reduce
        cells = []
        for alpha, rows in zip(alphas, self.rows.values(), strict=True):
            softmax = torch.exp(alpha) / torch.exp(alpha).sum(1, keepdim=True)
            own = [softmax[k] if row is None else row for k, row in enumerate(rows)]
            cells.append(torch.stack(own))
        return OperationWeights(*cells)

    def accuracy(self, cell, edge, operation=None):
        """The accuracy without an operation, or without an edge."""
        weights = OperationWeights(*(one.detach().clone() for one in self.weights()))
        if operation is None:
            getattr(weights, cell)[edge] = 0
        else:
            getattr(weights, cell)[edge, operation] = 0
        with torch.no_grad():
            right = [self.network(x, weights).argmax(1) == y for x, y in VALIDATION]
        return torch.cat(right).double().mean().item()

    def operation(self, cell, edge):
        accuracies = {op: self.accuracy(cell, edge, op) for op in range(1, 8)}
        worst = min(accuracies.values())
        kept = next(op for op, value in accuracies.items() if value == worst)
        self.rows[cell][edge] = torch.eye(8, dtype=torch.float64)[kept]
        return PRIMITIVES[kept], {PRIMITIVES[op]: value for op, value in accuracies.items()}

    def node(self, cell, node):
        left, rounds = list(NODES[node]), []
        while len(left) > 2:
            accuracies = {edge: self.accuracy(cell, edge) for edge in left}
            best = max(accuracies.values())
            left.remove([edge for edge, value in accuracies.items() if value == best][-1])
            rounds.append({str(edge - NODES[node][0]): one for edge, one in accuracies.items()})
        for edge in NODES[node]:
            if edge not in left:
                self.rows[cell][edge] = torch.zeros(8, dtype=torch.float64)
        return [edge - NODES[node][0] for edge in left], rounds

    def tune(self, step):
        for batch, optimizer in ((TUNING[step], self.adam), (TRAINING[step], self.sgd)):
            logits = self.network(batch[0], self.weights())
            loss = cross_entropy(logits, batch[1])
            self.network.zero_grad()
            self.adam.zero_grad()
            loss.backward()
            if optimizer is self.sgd:
                torch.nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
            optimizer.step()
        return loss.item()


@pytest.fixture(scope="module")
def by_the_rule():
    """The decisions by the rule, asked for in our order, and the losses of the tuning."""
    questions = Perturbation(make_supernet(layers=3))._questions
    plain, decisions, losses = Plain(), [], []
    for turn in range(6):
        if turn:
            losses.append(plain.tune(turn - 1))
        for cell, kind, place in questions[2 * turn : 2 * turn + 2]:
            place += 2 * (kind == "node")  # the first is node 2
            kept, accuracies = (plain.operation if kind == "edge" else plain.node)(cell, place)
            decisions.append({"cell": cell, kind: place, "kept": kept, "accuracies": accuracies})
    return decisions, losses


@pytest.mark.parametrize("skip_zeros", [False, True])
def test_the_selection_is_that_of_the_rule(skip_zeros, by_the_rule):
    selection, losses = ours(skip_zeros=skip_zeros)
    decisions, expected_losses = by_the_rule
    edges = [(one["cell"], one["edge"]) for one in selection.decisions if "edge" in one]
    nodes = [(one["cell"], one["node"]) for one in selection.decisions if "node" in one]
    assert [cell for cell, _ in edges + nodes] == ["normal", "reduce"] * 6
    assert sorted(edges) == [(cell, edge) for cell in ("normal", "reduce") for edge in range(5)]
    assert nodes == [("normal", 3), ("reduce", 3)]  # a node of two edges needs no decision
    varied = 0
    for one, expected in zip(selection.decisions, decisions, strict=True):
        assert one.keys() == expected.keys()
        assert all(one[name] == expected[name] for name in one.keys() - {"accuracies"})
        found = as_list(one["accuracies"])
        for part, other in zip(found, as_list(expected["accuracies"]), strict=True):
            assert list(part) == list(other)
            assert list(part.values()) == pytest.approx(list(other.values()), rel=1e-12)
        varied += any(len(set(part.values())) > 1 for part in found)
    assert losses == pytest.approx(expected_losses, abs=1e-10)
    assert varied > 6  # the accuracies tell candidates apart
    genotype = selection.genotype()
    for cell in ("normal", "reduce"):
        kept = {
            one["edge"]: one["kept"]
            for one in selection.decisions
            if one["cell"] == cell and "edge" in one
        }
        (sources,) = [
            one["kept"] for one in selection.decisions if one["cell"] == cell and "node" in one
        ]
        expected = [(kept[0], 0), (kept[1], 1), *((kept[2 + s], s) for s in sources)]
        assert list(getattr(genotype, cell)) == expected


def as_list(rounds):
    return rounds if isinstance(rounds, list) else [rounds]


def test_decided_edges_weigh_one_or_nothing_and_train_no_alphas():
    network = make_supernet(layers=3)
    selection = Perturbation(network, seed=3)
    while selection.turn < 6 and not selection.done:
        selection.measure_next(VALIDATION[:1])
        weights = selection.weights()
        for cell, rows, own in zip(
            ("normal", "reduce"), weights, network.operation_weights(), strict=True
        ):
            decided = [
                one["edge"] for one in selection.decisions if one["cell"] == cell and "edge" in one
            ]
            open_edges = [edge for edge in range(5) if edge not in decided]
            assert torch.equal(rows[open_edges], own[open_edges])
            assert (rows[decided].sort(-1).values[:, :-1] == 0).all()
    gone = sum((rows.sum(-1) == 0).sum().item() for rows in selection.weights())
    assert gone == 2
    total = sum((one * torch.arange(8)).sum() for one in selection.weights())
    assert all(
        (one == 0).all() for one in torch.autograd.grad(total, network.arch_parameters()[:2])
    )


def test_the_order_hangs_on_the_seed_alone():
    def order(seed):
        return Perturbation(make_supernet(layers=3), seed)._questions

    assert order(0) == order(0)
    assert order(0) != order(1)


def test_what_is_not_open_is_refused():
    selection = Perturbation(make_supernet(steps=1, layers=3))
    assert selection.turns == 2
    with pytest.raises(ValueError, match="4 decisions are still to be made"):
        selection.genotype()
    state = selection.state_dict()
    while not selection.done:
        selection.measure_next(VALIDATION[:1])
    with pytest.raises(ValueError, match="all is decided"):
        selection.measure_next(VALIDATION[:1])
    selection.load_state_dict(state)
    assert selection.turn == 0


def test_only_candidates_that_there_are_can_be_kept():
    names = ("none", "max_pool_3x3", "dil_conv_3x3")
    selection, _ = ours(candidates=names)
    edges = [one for one in selection.decisions if "edge" in one]
    assert len(edges) == 10
    for one in edges:
        assert list(one["accuracies"]) == list(names[1:])
        assert one["kept"] in names[1:]
