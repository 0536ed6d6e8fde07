"""Search cells written in another way: told apart, and accelerated where they compute the same."""

from __future__ import annotations

import pickle
from abc import ABC, abstractmethod

import pytest
import torch
from acceleration_case import accelerated, build, scramble
from old_code import adarts, darts, pc_darts
from old_code.operations import PRIMITIVES
from torch import nn

from adarts_ext import accelerate
from adarts_ext.compat import acceleration_report

DOUBLE = torch.float64


class ScaledByAttribute(darts.MixedOp):
    """Two of them are alike in all but an attribute that is no number."""

    def __init__(self, scale):
        super().__init__(4, 1)
        self.scale = scale

    def forward(self, x, weights):
        (scale,) = self.scale
        return scale * super().forward(x, weights)


@pytest.mark.parametrize("kind", [list, torch.tensor, lambda values: {values[0]: None}])
def test_modules_that_differ_in_an_attribute_are_told_apart(kind):
    right, wrong = ScaledByAttribute(kind([1.0])), ScaledByAttribute(kind([2.0]))
    report = acceleration_report(accelerate(nn.ModuleList([right, wrong, right])))
    assert [entry.level for entry in report.entries] == ["mixed op", "untouched"]
    x, weights = torch.randn(3, 4, 8, 8), torch.rand(8)
    assert torch.equal(wrong(x, weights), 2.0 * darts.MixedOp.forward(wrong, x, weights))


def test_a_list_that_is_written_to_is_a_changed_attribute():
    mixed_op = accelerate(ScaledByAttribute([1.0]))
    mixed_op.scale[0] = 3.0
    (entry,) = acceleration_report(mixed_op).entries
    assert entry.reason == "an attribute of ScaledByAttribute was changed"
    x, weights = torch.randn(3, 4, 8, 8), torch.rand(8)
    torch.testing.assert_close(
        mixed_op(x, weights), 3.0 * darts.MixedOp.forward(mixed_op, x, weights)
    )


class AbstractNetwork(ABC, darts.Network):
    @abstractmethod
    def forward(self, x): ...


class AbstractBaseClass(AbstractNetwork):
    def forward(self, x):
        return darts.Network.forward(self, x)


def test_classes_may_have_abstract_bases():
    torch.manual_seed(0)
    network = scramble(AbstractBaseClass(4, 4, 1, nn.CrossEntropyLoss(), 1, 1), DOUBLE)
    assert accelerated(network).levels() == {"cell": 1}
    made = pickle.loads(pickle.dumps(accelerate(network))).new()
    assert isinstance(made, AbstractNetwork)
    assert acceleration_report(made).levels() == {"cell": 1}


class AnotherOrder(darts.MixedOp):
    primitives = tuple(reversed(PRIMITIVES))


class NoNone(pc_darts.MixedOp):
    primitives = tuple(PRIMITIVES[1:])


class NoNoneAndAnotherOrder(adarts.MixedOp):
    primitives = (*PRIMITIVES[4:], *PRIMITIVES[1:4])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("base", "mixed_op"),
    [(darts, AnotherOrder), (pc_darts, NoNone), (adarts, NoNoneAndAnotherOrder)],
    ids=lambda given: given.__name__,
)
def test_another_order_and_a_missing_none_are_fused(base, mixed_op):
    report = accelerated(build(base, mixed_op))
    assert report.levels() == {"cell": 2}
    assert all(not entry.reason for entry in report.entries)


@pytest.mark.slow
def test_fewer_nodes_in_the_output_are_fused():
    assert accelerated(build(pc_darts, multiplier=2, steps=4)).levels() == {"cell": 2}
