"""Networks that are changed after they were accelerated compute what the changed code computes."""

from __future__ import annotations

import re

import pytest
import torch
from acceleration_case import STYLES, cells, convert, images, make, make_accelerated, results
from cell_changes import CHANGES, WITHOUT_EFFECT, add_bias
from comparison import assert_exact
from old_code.operations import DilConv
from torch import Tensor, nn

from adarts_ext import accelerate
from adarts_ext.compat import acceleration_report

DOUBLE = torch.float64


def exchange_candidate(cell):
    cell._ops[4]._ops[4] = DilConv(cell._ops[4]._ops[4].op[1].in_channels, 3, 1)


def exchange_edge(cell):
    cell._ops[0] = cell._ops[1]


def change_output(cell):
    cell._multiplier = 1


def count_padding(cell):
    cell._ops[0]._ops[2][0].count_include_pad = True


OF_OTHER_CODE = [
    (exchange_candidate, "a layer was exchanged"),
    (exchange_edge, "a layer was exchanged"),
    (change_output, "an attribute of Cell was changed"),
    (count_padding, "a AvgPool2d was changed"),
]


@pytest.mark.parametrize(
    ("change", "reason"), CHANGES + OF_OTHER_CODE, ids=lambda given: getattr(given, "__name__", "")
)
def test_a_changed_cell_runs_its_own_code_and_is_listed(change, reason):
    unchanged, plain = make("adarts", dtype=DOUBLE), make("adarts", dtype=DOUBLE)
    network = make_accelerated("adarts", dtype=DOUBLE)
    for each in (network, plain):
        torch.manual_seed(1)
        change(each.cells[2])
        convert(each, DOUBLE)
    entry = next(e for e in acceleration_report(network).entries if e.name == "cells.2")
    assert (entry.level, entry.reason) == ("untouched", reason)
    x = images("adarts", dtype=DOUBLE)
    if change is change_output:
        for each in (network, plain):
            with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
                each(x)
        return
    expected = results(plain, x)
    actual = results(network, x)
    if change is add_bias:  # which a BatchNorm removes: its gradient is rounding
        for found in (actual, expected):
            found.pop("gradient of cells.2._ops.1._ops.6.op.2.bias")
    assert_exact(actual, expected)
    if change not in WITHOUT_EFFECT:
        assert not torch.allclose(results(unchanged, x)["logits"], expected["logits"])


def test_a_change_of_a_lone_mixed_operation_is_noticed():
    network, plain = make("pc_darts", dtype=DOUBLE), make("pc_darts", dtype=DOUBLE)
    mixed_op = accelerate(network.cells[0]._ops[0])
    for each in (mixed_op, plain.cells[0]._ops[0]):
        each.k = 1
    (entry,) = acceleration_report(network).entries
    assert (entry.level, entry.reason) == ("untouched", "an attribute of MixedOp was changed")
    x, weights = torch.randn(3, 2, 8, 8, dtype=DOUBLE), torch.rand(8, dtype=DOUBLE)
    assert torch.equal(mixed_op(x, weights), plain.cells[0]._ops[0](x, weights))


@pytest.mark.slow
def test_all_norms_may_share_other_settings():
    network, plain = make_accelerated("darts", dtype=DOUBLE), make("darts", dtype=DOUBLE)
    for module in [*network.modules(), *plain.modules()]:
        if isinstance(module, nn.BatchNorm2d):
            module.eps, module.momentum = 1e-2, 0.5
    assert acceleration_report(network).levels() == {"cell": 3}
    x = images("darts", dtype=DOUBLE)
    assert_exact(results(network, x), results(plain, x))


def test_accelerating_again_takes_the_changes_in():
    network, plain = make_accelerated("darts", dtype=DOUBLE), make("darts", dtype=DOUBLE)
    for each in (network, plain):
        each.cells[2]._multiplier = 1
        each.classifier = nn.Linear(16, 4, dtype=DOUBLE)
        nn.init.constant_(each.classifier.weight, 0.5)
        nn.init.zeros_(each.classifier.bias)
    assert acceleration_report(network).levels() == {"cell": 2, "untouched": 1, "mixed op": 5}
    accelerate(network)
    assert acceleration_report(network).levels() == {"cell": 3}
    x = images("darts", dtype=DOUBLE)
    assert_exact(results(network, x), results(plain, x))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("style", STYLES)
def test_another_dtype(style, dtype):
    """The architecture parameters stay in float32, where ``network.to(dtype)`` leaves them."""
    network, plain = make_accelerated(style).to(dtype), make(style).to(dtype)
    x = images(style, dtype=dtype)
    logits, expected = network.eval()(x), plain.eval()(x)
    assert logits.dtype == expected.dtype == dtype
    if dtype == torch.float16:  # the kernels do not know it
        assert torch.equal(logits, expected)
    elif dtype == torch.float64:
        torch.testing.assert_close(logits, expected)
    else:
        exact = convert(make(style), DOUBLE).eval()(x.double())
        assert (logits - exact).norm() <= 2 * (expected - exact).norm()
    logits.float().sum().backward()
    assert all(tensor.grad.dtype == torch.float32 for tensor in network.arch_parameters())
    assert all(parameter.grad.dtype == dtype for parameter in network.parameters())


@pytest.mark.parametrize("style", STYLES)
def test_odd_sizes_raise_what_the_code_raises(style):
    short = 16 if style == "pc_darts_imagenet" else 2
    x = images(style)[..., :-short, :-short]
    messages = []
    for network in (make(style), make_accelerated(style)):
        with pytest.raises(RuntimeError, match="Sizes of tensors must match") as raised:
            network(x)
        messages.append(str(raised.value))
    assert messages[0] == messages[1]


@pytest.mark.parametrize("style", ["darts", "pc_darts"])
def test_odd_sizes_that_need_no_halving_are_served(style):
    network, plain = (cells(make(style, dtype=DOUBLE))[0] for _ in range(2))
    accelerate(network)
    s0, s1 = torch.randn(2, 3, network.preprocess1.op[1].in_channels, 5, 7, dtype=DOUBLE)
    weights = [torch.rand(5, 8, dtype=DOUBLE), torch.rand(5, dtype=DOUBLE)]
    weights = weights[: 1 if style == "darts" else 2]
    torch.testing.assert_close(network(s0, s1, *weights), plain(s0, s1, *weights))


def wrong_channels(cell, s0: Tensor, s1: Tensor, weights: Tensor, weights2: Tensor):
    return cell(s0[:, 1:], s1, weights, weights2)


def wrong_sizes(cell, s0: Tensor, s1: Tensor, weights: Tensor, weights2: Tensor):
    return cell(s0[..., 2:], s1, weights, weights2)


def too_few_weights(cell, s0: Tensor, s1: Tensor, weights: Tensor, weights2: Tensor):
    return cell(s0, s1, weights[:3], weights2)


def no_betas(cell, s0: Tensor, s1: Tensor, weights: Tensor, weights2: Tensor):
    return cell(s0, s1, weights)


@pytest.mark.parametrize("call", [wrong_channels, wrong_sizes, too_few_weights, no_betas])
def test_inputs_that_do_not_fit_raise_what_the_code_raises(call):
    inputs = *torch.randn(2, 3, 24, 8, 8), torch.rand(5, 8), torch.rand(5)
    with pytest.raises((RuntimeError, IndexError, TypeError)) as expected:
        call(make("pc_darts").cells[0], *inputs)
    with pytest.raises(expected.type, match=re.escape(str(expected.value))):
        call(make_accelerated("pc_darts").cells[0], *inputs)


@pytest.mark.parametrize(
    "weights", [torch.rand(5, 1, dtype=DOUBLE), torch.rand(5, 9, dtype=DOUBLE)]
)
def test_weights_of_another_shape_that_the_code_takes_go_through_it(weights):
    network, plain = make_accelerated("darts", dtype=DOUBLE), make("darts", dtype=DOUBLE)
    inputs = *torch.randn(2, 3, 12, 8, 8, dtype=DOUBLE), weights
    assert torch.equal(network.cells[0](*inputs), plain.cells[0](*inputs))
