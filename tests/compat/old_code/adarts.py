"""A supernet as ADARTS has it: the quarter of the channels that an attention scores best."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from old_code import pc_darts
from old_code.operations import PRIMITIVES, build


class ChannelAttention(nn.Module):
    def __init__(self, planes):
        super().__init__()
        self.avg_pool = nn.AdaptiveAvgPool2d(1)
        self.max_pool = nn.AdaptiveMaxPool2d(1)
        self.fc1 = nn.Conv2d(planes, planes // 2, 1, bias=False)
        self.relu1 = nn.ReLU()
        self.fc2 = nn.Conv2d(planes // 2, planes, 1, bias=False)
        self.sigmoid = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        average = self.fc2(self.relu1(self.fc1(self.avg_pool(x))))
        maximum = self.fc2(self.relu1(self.fc1(self.max_pool(x))))
        return self.sigmoid(average + maximum)


def best_channels(scores: Tensor, count: int) -> Tensor:
    """The channels whose scores, summed over the batch, are largest."""
    summed = torch.sum(scores, dim=0, keepdim=True)
    return summed.topk(count, dim=1, largest=True, sorted=True).indices.flatten()


class MixedOp(nn.Module):
    primitives = PRIMITIVES

    def __init__(self, C, stride):
        super().__init__()
        self._ops = nn.ModuleList()
        self.mp = nn.MaxPool2d(2, 2)
        self.k = 4
        self.ca = ChannelAttention(C)
        for primitive in self.primitives:
            self._ops.append(build(primitive, C // self.k, stride))

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        scores = self.ca(x)
        best = best_channels(scores, x.shape[1] // self.k)
        x = x * scores
        mixed = sum(w * op(torch.index_select(x, 1, best)) for w, op in zip(weights, self._ops))  # noqa: B905
        if mixed.shape[2] != x.shape[2]:
            x = self.mp(x)
        x[:, list(best), :, :] = mixed[:, :, :, :]
        return x


class Cell(pc_darts.Cell):
    mixed_op = MixedOp


class Network(pc_darts.Network):
    cell = Cell
