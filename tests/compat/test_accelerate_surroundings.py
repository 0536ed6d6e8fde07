"""Code that computes by what stands outside its module, or leaves something behind."""

from __future__ import annotations

import copy
import types
import warnings

import pytest
import torch
from old_code import darts
from torch import nn

from adarts_ext import accelerate
from adarts_ext.compat import acceleration_report

SKIP = 0.0
setting = types.SimpleNamespace(skip=0.0)


class ByGlobal(darts.MixedOp):
    def forward(self, x, weights):
        return super().forward(x, weights) + SKIP * x


class ByGlobalObject(darts.MixedOp):
    def forward(self, x, weights):
        return super().forward(x, weights) + setting.skip * x


class ByClassAttribute(darts.MixedOp):
    skip = 0.0

    def forward(self, x, weights):
        return super().forward(x, weights) + self.skip * x


def skipped(x):
    return SKIP * x


class ByFunction(darts.MixedOp):
    def forward(self, x, weights):
        return self.added(super().forward(x, weights), x)

    def added(self, y, x):
        return y + skipped(x)


def enclosing():
    skip = 0.0

    class ByEnclosed(darts.MixedOp):
        def forward(self, x, weights):
            return super().forward(x, weights) + skip * x

        @staticmethod
        def change(value):
            nonlocal skip
            skip = value

    return ByEnclosed


ByEnclosed = enclosing()


def change(kind, value: float) -> None:
    global SKIP
    SKIP = setting.skip = ByClassAttribute.skip = value
    ByEnclosed.change(value)


@pytest.fixture(autouse=True)
def _unchanged():
    change(None, 0.0)
    yield
    change(None, 0.0)


@pytest.mark.filterwarnings("ignore:accelerate")
@pytest.mark.parametrize(
    "kind", [ByGlobal, ByGlobalObject, ByClassAttribute, ByFunction, ByEnclosed]
)
def test_a_setting_outside_the_module_may_change(kind):
    plain = kind(4, 1).double()
    ours = accelerate(copy.deepcopy(plain))
    x, weights = torch.randn(3, 4, 8, 8).double(), torch.rand(8).double()
    assert acceleration_report(ours).levels() == {"mixed op": 1}
    torch.testing.assert_close(ours(x, weights), plain(x, weights))
    change(kind, 1.0)
    torch.testing.assert_close(ours(x, weights), plain(x, weights))
    (entry,) = acceleration_report(ours).entries
    assert entry.level == "untouched"
    assert "which the code of" in entry.reason
    for again in (accelerate(ours), accelerate(copy.deepcopy(plain))):
        torch.testing.assert_close(again(x, weights), plain(x, weights))
        assert acceleration_report(again).levels() == {"untouched": 1}
    change(kind, 0.0)
    again = accelerate(copy.deepcopy(plain))
    assert acceleration_report(again).levels() == {"mixed op": 1}
    torch.testing.assert_close(again(x, weights), plain(x, weights))


class KeepsOutput(darts.Cell):
    def forward(self, s0, s1, weights):
        self.last = super().forward(s0, s1, weights)
        return self.last


class Counts(darts.Cell):
    calls = 0

    def forward(self, s0, s1, weights):
        self.calls += 1
        return super().forward(s0, s1, weights)


class Appends(darts.Cell):
    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.seen = []

    def forward(self, s0, s1, weights):
        y = super().forward(s0, s1, weights)
        self.seen.append(y)
        return y


@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize("kind", [KeepsOutput, Counts, Appends])
def test_what_a_forward_leaves_behind_it_goes_on_leaving(kind, before):
    cell = kind(2, 2, 8, 8, 4, False, False)
    inputs = torch.randn(3, 8, 8, 8), torch.randn(3, 8, 8, 8), torch.rand(5, 8)
    if before:
        cell(*inputs)
    accelerate(cell)
    report = acceleration_report(cell)
    assert report.levels() == {"mixed op": 5, "untouched": 1}
    (reason,) = (entry.reason for entry in report.entries if entry.level == "untouched")
    assert f"its forward sets {kind.__name__}." in reason
    cell(*inputs)
    kept = {KeepsOutput: "last", Counts: "calls", Appends: "seen"}[kind]
    assert cell.__dict__[kept] is not None
    assert kind is not Counts or cell.calls == 1 + before
    assert kind is not Appends or len(cell.seen) == 1 + before


SEEN = []
passes = types.SimpleNamespace(count=0)


class AppendsToGlobal(darts.MixedOp):
    def forward(self, x, weights):
        SEEN.append(super().forward(x, weights))
        return SEEN[-1]


class CountsElsewhere(darts.MixedOp):
    def forward(self, x, weights):
        passes.count += 1
        return super().forward(x, weights)


class CountsInItsClass(darts.MixedOp):
    count = 0

    def forward(self, x, weights):
        CountsInItsClass.count += 1
        return super().forward(x, weights)


@pytest.mark.filterwarnings("ignore:accelerate")
@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (AppendsToGlobal, "SEEN"),
        (CountsElsewhere, "passes.count"),
        (CountsInItsClass, "CountsInItsClass.count"),
    ],
)
def test_what_a_forward_leaves_elsewhere_it_goes_on_leaving(kind, name):
    edge = accelerate(kind(4, 1))
    (entry,) = acceleration_report(edge).entries
    assert (entry.level, entry.reason) == (
        "untouched",
        f"its forward sets {name}, which the kernels would not",
    )


def test_losing_the_kernels_is_told_once_and_reported_until_they_run_again():
    edge = accelerate(darts.MixedOp(4, 1))
    x, weights = torch.randn(3, 4, 8, 8), torch.rand(8)
    with pytest.warns(UserWarning, match="MixedOp runs its own code: the weights are no tensor"):
        edge(x, list(weights))
    (entry,) = acceleration_report(edge).entries
    assert (entry.level, entry.reason[:11]) == ("untouched", "the weights")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        edge(x, list(weights))
        edge(x, weights)
    assert acceleration_report(edge).levels() == {"mixed op": 1}


def test_a_change_is_told_when_it_first_matters():
    network = accelerate(nn.Sequential(darts.MixedOp(4, 1)))
    network[0]._ops[1][0].stride = 2
    with (
        pytest.warns(UserWarning, match="MixedOp runs its own code: a MaxPool2d was changed"),
        pytest.raises(RuntimeError),
    ):
        network[0](torch.randn(3, 4, 8, 8), torch.rand(8))
