"""Code that leaves out candidates of weight zero, or of a small one, goes on leaving them out."""

from __future__ import annotations

import copy

import pytest
import torch
from old_code import darts, pc_darts
from torch import nn
from torch.nn import functional

from adarts_ext import accelerate
from adarts_ext.compat import acceleration_report

LEAVES_OUT = {
    "not zero": lambda w: w != 0,
    "positive": lambda w: w > 0,
    "not tiny": lambda w: abs(w) > 1e-10,
    "not small": lambda w: w > 1e-6,
}
pytestmark = pytest.mark.filterwarnings(
    "ignore:accelerate. MixedOp runs", "ignore:accelerate. Cell"
)


def leaving_out(base, rule):
    """A mixed operation of ``base`` whose candidates run only where the rule holds."""

    class MixedOp(base.MixedOp):
        def forward(self, x, weights):
            kept = self._ops
            used = [i for i, w in enumerate(weights) if rule(w)]
            self.__dict__["_modules"]["_ops"] = [kept[i] for i in used]
            try:
                return super().forward(x, weights[used])
            finally:
                self.__dict__["_modules"]["_ops"] = kept

    return MixedOp


def passed(module: nn.Module, *inputs):
    """Output, gradients and buffers of a pass in training."""
    leaves = [x.detach().clone().requires_grad_() for x in inputs]
    y = module(*leaves)
    direction = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).reshape(y.shape)
    grads = torch.autograd.grad(y, [*leaves, *module.parameters()], direction, allow_unused=True)
    return [y.detach(), *grads, *(buffer.clone() for buffer in module.buffers())]


def assert_same(plain: nn.Module, ours: nn.Module, *inputs) -> None:
    for expected, actual in zip(passed(plain, *inputs), passed(ours, *inputs), strict=True):
        assert (expected is None) == (actual is None)
        if expected is not None:
            torch.testing.assert_close(actual, expected)


def one_hot(rows: int) -> torch.Tensor:
    chosen = torch.arange(rows).mul(3).remainder(8)
    return functional.one_hot(chosen, 8).double()


@pytest.mark.parametrize("rule", LEAVES_OUT.values(), ids=LEAVES_OUT)
@pytest.mark.parametrize("base", [darts, pc_darts])
def test_an_edge(base, rule):
    plain = leaving_out(base, rule)(8, 1).double()
    ours = accelerate(copy.deepcopy(plain))
    x = torch.randn(3, 8, 8, 8, dtype=torch.float64)
    full = torch.randn(8, dtype=torch.float64).softmax(0)
    assert_same(plain, ours, x, full)
    assert acceleration_report(ours).levels() == {"mixed op": 1}
    for weights in (one_hot(1)[0], one_hot(2)[1], full * (full > 0.1)):
        assert_same(plain, ours, x, weights)
        assert acceleration_report(ours).levels() == {"mixed op": 1}
    assert_same(plain, ours, x, full.where(full > 0.1, 1e-12))
    assert_same(plain, ours, x, full)
    assert acceleration_report(ours).levels() == {"mixed op": 1}


def test_a_candidate_left_out_keeps_its_weights_under_weight_decay():
    plain = leaving_out(darts, LEAVES_OUT["not zero"])(8, 1).double()
    ours = accelerate(copy.deepcopy(plain))
    x = torch.randn(3, 8, 8, 8, dtype=torch.float64)
    for module in (plain, ours):
        optimizer = torch.optim.SGD(module.parameters(), 0.1, 0.9, weight_decay=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            module(x, one_hot(3)[2]).square().sum().backward()
            optimizer.step()
    torch.testing.assert_close(ours.state_dict(), plain.state_dict())


def test_a_cell_is_fused_for_weights_of_zero_and_not_for_small_ones():
    cell = type("Cell", (darts.Cell,), {"mixed_op": leaving_out(darts, LEAVES_OUT["not zero"])})
    plain = cell(2, 2, 8, 8, 4, False, False).double()
    ours = accelerate(copy.deepcopy(plain))
    states = [torch.randn(3, 8, 8, 8, dtype=torch.float64) for _ in range(2)]
    soft = torch.randn(5, 8, dtype=torch.float64).softmax(-1)
    assert_same(plain, ours, *states, soft)
    assert acceleration_report(ours).levels() == {"cell": 1}
    for weights in (one_hot(5), soft * (soft > 0.1), one_hot(5).roll(1, 1)):
        assert_same(plain, ours, *states, weights)
        assert acceleration_report(ours).levels() == {"cell": 1}
    assert_same(plain, ours, *states, soft.where(soft > 0.1, 1e-30))
    assert "cell" not in acceleration_report(ours).levels()
    assert "left out by its code" in str(acceleration_report(ours))


def test_code_that_multiplies_by_zero_is_fused_for_zero_too():
    plain = darts.MixedOp(8, 1).double()
    ours = accelerate(copy.deepcopy(plain))
    assert_same(plain, ours, torch.randn(3, 8, 8, 8, dtype=torch.float64), one_hot(1)[0])
    assert acceleration_report(ours).levels() == {"mixed op": 1}
