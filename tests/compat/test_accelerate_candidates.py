"""Candidates that look like those of the fused kernels and are others."""

from __future__ import annotations

import copy
import warnings

import pytest
import torch
from old_code import adarts, darts, pc_darts
from old_code.operations import FactorizedReduce, SepConv
from torch import Tensor, nn

from adarts_ext import accelerate
from adarts_ext.compat import acceleration_report
from adarts_ext.compat.candidates import candidate

DOUBLE = torch.float64


class ResidualSepConv(SepConv):
    def forward(self, x):
        y = self.op(x)
        return y + x if y.shape == x.shape else y


class PoolWithoutNorm(nn.Module):
    def __init__(self, stride):
        super().__init__()
        self.pool = nn.MaxPool2d(3, stride, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(x)


def with_candidate(change):
    """A mixed operation of DARTS whose candidates were changed by a function."""

    class MixedOp(darts.MixedOp):
        def __init__(self, C, stride):
            super().__init__(C, stride)
            change(self._ops, C, stride)

    return MixedOp


def residual(ops, C, stride):
    ops[4] = ResidualSepConv(C, 3, stride)


def affine(ops, C, stride):
    ops[5] = SepConv(C, 5, stride, affine=True)
    nn.init.uniform_(ops[5].op[7].weight)


def dropout(ops, C, stride):
    ops[4].op.append(nn.Dropout(0.5))


def bias(ops, C, stride):
    ops[4].op[1] = nn.Conv2d(C, C, 3, stride, 1, groups=C)


def dilation_3(ops, C, stride):
    ops[6].op[1] = nn.Conv2d(C, C, 3, stride, 3, 3, groups=C, bias=False)


def other_activation(ops, C, stride):
    ops[6].op[0] = nn.LeakyReLU(0.1)


def padding_counts(ops, C, stride):
    ops[2][0].count_include_pad = True


def no_norm(ops, C, stride):
    ops[1] = PoolWithoutNorm(stride)


def other_kernel(ops, C, stride):
    ops[5] = SepConv(C, 7, stride)


def shared(ops, C, stride):
    ops[5] = ops[4]


class AlwaysShift(nn.Module):
    """Looks like a factorized reduction and takes other pixels."""

    def __init__(self, reduction):
        super().__init__()
        self.relu, self.conv_1, self.conv_2 = reduction.relu, reduction.conv_1, reduction.conv_2
        self.bn = reduction.bn

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(x)[:, :, 1:, 1:]
        return self.bn(torch.cat([self.conv_1(x), self.conv_2(x)], dim=1))


def shifted(ops, C, stride):
    ops[3] = AlwaysShift(FactorizedReduce(C, C))


CANDIDATES = [
    residual,
    affine,
    dropout,
    bias,
    dilation_3,
    other_activation,
    padding_counts,
    no_norm,
    other_kernel,
    shared,
    shifted,
]


@pytest.mark.parametrize("change", CANDIDATES, ids=lambda change: change.__name__)
def test_candidates_of_ones_own_are_not_computed_by_the_kernels(change):
    torch.manual_seed(0)
    mixed_op = with_candidate(change)(4, 2 if change is shifted else 1).double()
    plain = copy.deepcopy(mixed_op)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "accelerate: nothing was accelerated")
        accelerate(mixed_op)
    (entry,) = acceleration_report(mixed_op).entries
    assert entry.level in ("untouched", "weighted sum")
    assert entry.reason
    x = torch.randn(3, 4, 8, 8, dtype=DOUBLE)
    weights = torch.rand(len(plain._ops), dtype=DOUBLE, requires_grad=True)
    found = []
    for each in (mixed_op, plain):
        torch.manual_seed(1)
        y = each(x, weights)
        sources = [weights, *each.parameters()]
        found.append([y, *torch.autograd.grad(y.square().sum(), sources), *each.buffers()])
    for mine, theirs in zip(*found, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("memory", ["store", "recompute"])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("style", [adarts, pc_darts], ids=["adarts", "pc_darts"])
def test_channels_are_selected_around_candidates_of_ones_own(style, stride, memory):
    torch.manual_seed(0)
    mixed_op = style.MixedOp(16, stride)
    other_kernel(mixed_op._ops, 4, stride)
    mixed_op.double()
    plain = copy.deepcopy(mixed_op)
    accelerate(mixed_op, memory=memory)
    (entry,) = acceleration_report(mixed_op).entries
    assert entry.level == "weighted sum"
    found = []
    for each in (mixed_op, plain):
        torch.manual_seed(1)
        x = torch.randn(3, 16, 8, 8, dtype=DOUBLE, requires_grad=True)
        weights = torch.rand(8, dtype=DOUBLE, requires_grad=True)
        y = each(x, weights)
        sources = [x, weights, *each.parameters()]
        found.append([y, *torch.autograd.grad(y.square().sum(), sources), *each.buffers()])
    for mine, theirs in zip(*found, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-9)


ANY_LAYERS = [
    lambda: nn.AvgPool2d(3, 1, 1),
    lambda: nn.MaxPool1d(3),
    lambda: nn.AdaptiveAvgPool2d(1),
    lambda: nn.LPPool2d(2, 3),
    lambda: nn.Conv1d(8, 8, 3, padding="same"),
    lambda: nn.Conv2d(8, 8, 3, padding="same", groups=8, bias=False),
    lambda: nn.ConvTranspose2d(8, 8, 3),
    lambda: nn.Conv3d(8, 8, 1),
    lambda: nn.Linear(8, 8),
    lambda: nn.Dropout(0.5),
    lambda: nn.BatchNorm1d(8, affine=False),
    lambda: nn.BatchNorm2d(8, affine=False),
    lambda: nn.GroupNorm(2, 8),
    lambda: nn.LSTM(8, 8),
    lambda: nn.Embedding(8, 8),
    lambda: nn.Upsample(scale_factor=2),
    lambda: nn.LazyConv2d(8, 3),
]


def test_any_layers_in_any_place_of_a_candidate_are_looked_at():
    generator = torch.Generator().manual_seed(0)
    for length in (1, 2, 3, 4, 6):
        for _ in range(60):
            drawn = torch.randint(len(ANY_LAYERS), (length,), generator=generator)
            layers = nn.Sequential(*(ANY_LAYERS[i]() for i in drawn))
            assert candidate(layers).primitive is None, layers
