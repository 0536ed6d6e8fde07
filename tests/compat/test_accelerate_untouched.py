"""What looks like a search cell and computes something else is left to its own code, and listed."""

from __future__ import annotations

import pytest
import torch
from acceleration_case import accelerated, build, images
from old_code import adarts, darts, pc_darts
from torch import nn

from adarts_ext import accelerate
from adarts_ext.compat import acceleration_report
from adarts_ext.genotype import PC_DARTS
from adarts_ext.nn import DerivedNetwork

DOUBLE = torch.float64


class AnotherShuffle(pc_darts.MixedOp):
    def forward(self, x, weights):
        count = x.shape[1] // self.k
        mixed = sum(w * op(x[:, :count]) for w, op in zip(weights, self._ops))  # noqa: B905
        others = x[:, count:] if mixed.shape[2] == x.shape[2] else self.mp(x[:, count:])
        return pc_darts.channel_shuffle(torch.cat([mixed, others], dim=1), 2)


class NoShuffle(pc_darts.MixedOp):
    def forward(self, x, weights):
        count = x.shape[1] // self.k
        mixed = sum(w * op(x[:, :count]) for w, op in zip(weights, self._ops))  # noqa: B905
        others = x[:, count:] if mixed.shape[2] == x.shape[2] else self.mp(x[:, count:])
        return torch.cat([mixed, others], dim=1)


class LastChannels(pc_darts.MixedOp):
    def forward(self, x, weights):
        return super().forward(x.flip(1), weights)


class AveragePassing(pc_darts.MixedOp):
    def __init__(self, C, stride):
        super().__init__(C, stride)
        self.mp = nn.AvgPool2d(2, 2)


class Scaled(darts.MixedOp):
    def forward(self, x, weights):
        return super().forward(x, weights) * (1 + 1e-5)


class ScaledInTraining(darts.MixedOp):
    def forward(self, x, weights):
        return super().forward(x, weights) * (2 if self.training else 1)


class StoppedGradient(darts.MixedOp):
    def forward(self, x, weights):
        return super().forward(x, weights.detach())


class Detour(darts.MixedOp):
    """Right for the sizes that are tried out, but for the names of its arguments."""

    def forward(self, x, *weights):
        return super().forward(x, *weights)


class ChannelsByTheLargestScore(adarts.MixedOp):
    def forward(self, x, weights):
        scores = self.ca(x)
        best = scores.amax(0).flatten().topk(x.shape[1] // self.k).indices
        x = x * scores
        mixed = sum(w * op(x[:, best]) for w, op in zip(weights, self._ops))  # noqa: B905
        x = x.clone() if mixed.shape[2] == x.shape[2] else self.mp(x)
        x[:, best] = mixed
        return x


class WorstChannels(adarts.MixedOp):
    def forward(self, x, weights):
        scores = self.ca(x)
        worst = scores.sum(0).flatten().topk(x.shape[1] // self.k, largest=False).indices
        x = x * scores
        mixed = sum(w * op(x[:, worst]) for w, op in zip(weights, self._ops))  # noqa: B905
        x = x.clone() if mixed.shape[2] == x.shape[2] else self.mp(x)
        x[:, worst] = mixed
        return x


class ChannelsByTheFirstImage(adarts.MixedOp):
    def forward(self, x, weights):
        scores = self.ca(x)
        best = scores[0].flatten().topk(x.shape[1] // self.k).indices
        x = x * scores
        mixed = sum(w * op(x[:, best]) for w, op in zip(weights, self._ops))  # noqa: B905
        x = x.clone() if mixed.shape[2] == x.shape[2] else self.mp(x)
        x[:, best] = mixed
        return x


class UnscaledPassing(adarts.MixedOp):
    def forward(self, x, weights):
        scores = self.ca(x)
        best = adarts.best_channels(scores, x.shape[1] // self.k)
        taken = (x * scores)[:, best]
        mixed = sum(w * op(taken) for w, op in zip(weights, self._ops))  # noqa: B905
        x = x.clone() if mixed.shape[2] == x.shape[2] else self.mp(x)
        x[:, best] = mixed
        return x


MIXED_OPS = [
    (pc_darts, AnotherShuffle),
    (pc_darts, NoShuffle),
    (pc_darts, LastChannels),
    (pc_darts, AveragePassing),
    (darts, Scaled),
    (darts, ScaledInTraining),
    (darts, StoppedGradient),
    (darts, Detour),
    (adarts, WorstChannels),
    (adarts, ChannelsByTheFirstImage),
    (adarts, ChannelsByTheLargestScore),
    (adarts, UnscaledPassing),
]


@pytest.mark.parametrize(("base", "mixed_op"), MIXED_OPS, ids=lambda given: given.__name__)
def test_a_mixed_operation_that_computes_something_else(base, mixed_op):
    report = accelerated(build(base, mixed_op))
    wrong = [e for e in report.entries if e.level == "untouched"]
    assert all(entry.reason for entry in wrong)
    cells = [entry for entry in wrong if entry.name in ("cells.0", "cells.1")]
    assert [entry.reason for entry in cells] == ["its mixed operations are not all fused"] * 2
    if mixed_op is AveragePassing:  # which matters at stride 2 only
        assert report.levels() == {"untouched": 2 + 8, "mixed op": 2}
    else:
        assert report.levels() == {"untouched": 2 + 10}


class Mean(darts.Cell):
    def forward(self, s0, s1, weights):
        states, offset = [self.preprocess0(s0), self.preprocess1(s1)], 0
        for _ in range(self._steps):
            terms = [self._ops[offset + j](h, weights[offset + j]) for j, h in enumerate(states)]
            offset += len(states)
            states.append(sum(terms) / len(terms))
        return torch.cat(states[-self._multiplier :], dim=1)


class BetasTwice(pc_darts.Cell):
    def forward(self, s0, s1, weights, weights2):
        return super().forward(s0, s1, weights, weights2 * weights2)


class ResidualCell(darts.Cell):
    def forward(self, s0, s1, weights):
        y = super().forward(s0, s1, weights)
        return y + s1 if y.shape == s1.shape else y * 2


class FirstNodes(darts.Cell):
    def forward(self, s0, s1, weights):
        states, offset = [self.preprocess0(s0), self.preprocess1(s1)], 0
        for _ in range(self._steps):
            terms = [self._ops[offset + j](h, weights[offset + j]) for j, h in enumerate(states)]
            offset += len(states)
            states.append(sum(terms))
        return torch.cat(states[2:][::-1], dim=1)


class SwappedInputs(darts.Cell):
    """Its edges come from the second input first."""

    def forward(self, s0, s1, weights):
        states, offset = [self.preprocess1(s1), self.preprocess0(s0)], 0
        for _ in range(self._steps):
            terms = [self._ops[offset + j](h, weights[offset + j]) for j, h in enumerate(states)]
            offset += len(states)
            states.append(sum(terms))
        return torch.cat(states[-self._multiplier :], dim=1)


class AffineFit(darts.Cell):
    def __init__(self, *choices):
        super().__init__(*choices)
        self.preprocess1.op[2] = nn.BatchNorm2d(self.preprocess1.op[2].num_features)
        nn.init.uniform_(self.preprocess1.op[2].weight)


class KeywordWeights(darts.Cell):
    def forward(self, s0, s1, *, weights):
        return super().forward(s0, s1, weights)

    def __call__(self, s0, s1, weights):
        return super().__call__(s0, s1, weights=weights)


CELLS = [
    (darts, Mean, "differs by"),
    (pc_darts, BetasTwice, "differs by"),
    (darts, ResidualCell, "differs by"),
    (darts, FirstNodes, "differs by"),
    (darts, SwappedInputs, "differs by"),
    (darts, AffineFit, "what fits its inputs is not known"),
    (darts, KeywordWeights, "its forward does not take"),
]


@pytest.mark.parametrize(
    ("base", "cell", "reason"), CELLS, ids=lambda g: getattr(g, "__name__", "")
)
def test_a_cell_that_computes_something_else_keeps_fused_mixed_operations(base, cell, reason):
    report = accelerated(build(base, cell=cell))
    assert report.levels() == {"untouched": 2, "mixed op": 10}
    assert all(reason in entry.reason for entry in report.entries if entry.level == "untouched")


def test_a_forward_function_of_an_object_is_left():
    network = build(darts)
    cell = network.cells[0]
    cell.forward = lambda s0, s1, weights: 2 * darts.Cell.forward(cell, s0, s1, weights)
    expected = network(images("", dtype=DOUBLE))
    accelerate(network)
    entry = acceleration_report(network).entries[0]
    assert (entry.level, entry.reason) == ("untouched", "a layer has a forward function of its own")
    torch.testing.assert_close(network(images("", dtype=DOUBLE)), expected)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda: DerivedNetwork(PC_DARTS, 8, 4, 3), "nothing was recognised as a search cell"),
        (lambda: nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU()), "nothing was recognised"),
        (lambda: build(darts, Scaled), "2 Cell: untouched"),
    ],
    ids=["derived", "no cells", "nothing understood"],
)
def test_where_nothing_is_accelerated_a_warning_says_so(model, message):
    network = model()
    kinds = [type(module) for module in network.modules()]
    with pytest.warns(UserWarning, match=f"accelerate: nothing was accelerated: *({message})"):
        assert accelerate(network) is network
    assert [type(module) for module in network.modules()] == kinds
