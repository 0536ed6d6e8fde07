"""A supernet as PC-DARTS has it for CIFAR: a quarter of the channels, shuffled; betas on edges."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from old_code import darts
from old_code.operations import PRIMITIVES, build


def channel_shuffle(x: Tensor, groups: int) -> Tensor:
    n, channels, height, width = x.data.size()
    x = x.view(n, groups, channels // groups, height, width)
    x = torch.transpose(x, 1, 2).contiguous()
    return x.view(n, -1, height, width)


class MixedOp(nn.Module):
    primitives = PRIMITIVES

    def __init__(self, C, stride):
        super().__init__()
        self._ops = nn.ModuleList()
        self.mp = nn.MaxPool2d(2, 2)
        self.k = 4
        for primitive in self.primitives:
            self._ops.append(build(primitive, C // self.k, stride))

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        count = x.shape[1] // self.k
        mine, others = x[:, :count, :, :], x[:, count:, :, :]
        mixed = sum(w * op(mine) for w, op in zip(weights, self._ops))  # noqa: B905
        if mixed.shape[2] != x.shape[2]:
            others = self.mp(others)
        return channel_shuffle(torch.cat([mixed, others], dim=1), self.k)


class Cell(darts.Cell):
    mixed_op = MixedOp

    def forward(self, s0: Tensor, s1: Tensor, weights: Tensor, weights2: Tensor) -> Tensor:
        states = [self.preprocess0(s0), self.preprocess1(s1)]
        offset = 0
        for _ in range(self._steps):
            node = sum(
                weights2[offset + j] * self._ops[offset + j](h, weights[offset + j])
                for j, h in enumerate(states)
            )
            offset += len(states)
            states.append(node)
        return torch.cat(states[-self._multiplier :], dim=1)


class Network(darts.Network):
    cell = Cell

    def _initialize_alphas(self):
        super()._initialize_alphas()
        edges = len(self.alphas_normal)
        self.betas_normal = (1e-3 * torch.randn(edges)).requires_grad_()
        self.betas_reduce = (1e-3 * torch.randn(edges)).requires_grad_()
        self._arch_parameters += [self.betas_normal, self.betas_reduce]

    def edge_weights(self, cell):
        betas = self.betas_reduce if cell.reduction else self.betas_normal
        start, weights2 = 0, []
        for i in range(self._steps):
            weights2.append(functional.softmax(betas[start : start + 2 + i], dim=-1))
            start += 2 + i
        return *super().edge_weights(cell), torch.cat(weights2, dim=0)
