"""A supernet as DARTS has it: all channels through all candidates, nodes add their edges up."""

from __future__ import annotations

from collections import namedtuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from old_code.operations import PRIMITIVES, FactorizedReduce, ReLUConvBN, build

Genotype = namedtuple("Genotype", "normal normal_concat reduce reduce_concat")


class MixedOp(nn.Module):
    primitives = PRIMITIVES

    def __init__(self, C, stride):
        super().__init__()
        self._ops = nn.ModuleList(build(primitive, C, stride) for primitive in self.primitives)

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        return sum(w * op(x) for w, op in zip(weights, self._ops))  # noqa: B905


class Cell(nn.Module):
    mixed_op = MixedOp

    def __init__(self, steps, multiplier, C_before, C_last, C, reduction, reduction_before):
        super().__init__()
        self.reduction = reduction
        self.preprocess0 = (FactorizedReduce if reduction_before else ReLUConvBN)(C_before, C)
        self.preprocess1 = ReLUConvBN(C_last, C)
        self._steps = steps
        self._multiplier = multiplier
        self._ops = nn.ModuleList()
        self._bns = nn.ModuleList()
        for i in range(steps):
            for j in range(2 + i):
                self._ops.append(self.mixed_op(C, 2 if reduction and j < 2 else 1))

    def forward(self, s0: Tensor, s1: Tensor, weights: Tensor) -> Tensor:
        states = [self.preprocess0(s0), self.preprocess1(s1)]
        offset = 0
        for _ in range(self._steps):
            node = sum(self._ops[offset + j](h, weights[offset + j]) for j, h in enumerate(states))
            offset += len(states)
            states.append(node)
        return torch.cat(states[-self._multiplier :], dim=1)


class Network(nn.Module):
    cell = Cell

    def __init__(self, C, num_classes, layers, criterion, steps=4, multiplier=4):
        super().__init__()
        self._choices = (C, num_classes, layers, criterion, steps, multiplier)
        self._criterion = criterion
        self._steps = steps
        self._multiplier = multiplier
        self.stem = nn.Sequential(
            nn.Conv2d(3, 3 * C, 3, padding=1, bias=False), nn.BatchNorm2d(3 * C)
        )
        self.cells = nn.ModuleList()
        C_before, C_last, reduction_before = 3 * C, 3 * C, False
        for i in range(layers):
            reduction = i in [layers // 3, 2 * layers // 3]
            C = 2 * C if reduction else C
            cell = self.cell(steps, multiplier, C_before, C_last, C, reduction, reduction_before)
            self.cells += [cell]
            C_before, C_last, reduction_before = C_last, multiplier * C, reduction
        self.global_pooling = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(C_last, num_classes)
        self._initialize_alphas()

    def _initialize_alphas(self):
        edges = len(self.cells[0]._ops)
        shape = edges, len(self.cell.mixed_op.primitives)
        self.alphas_normal = (1e-3 * torch.randn(shape)).requires_grad_()
        self.alphas_reduce = (1e-3 * torch.randn(shape)).requires_grad_()
        self._arch_parameters = [self.alphas_normal, self.alphas_reduce]

    def arch_parameters(self):
        return self._arch_parameters

    def new(self):
        """A network of the same shape and architecture parameters, with weights of its own."""
        made = type(self)(*self._choices)
        for mine, other in zip(self.arch_parameters(), made.arch_parameters(), strict=True):
            other.data.copy_(mine.data)
        return made

    def edge_weights(self, cell):
        alphas = self.alphas_reduce if cell.reduction else self.alphas_normal
        return (functional.softmax(alphas, dim=-1),)

    def forward(self, x: Tensor) -> Tensor:
        s0 = s1 = self.stem(x)
        for cell in self.cells:
            s0, s1 = s1, cell(s0, s1, *self.edge_weights(cell))
        return self.classifier(self.global_pooling(s1).flatten(1))

    def _loss(self, x, target):
        return self._criterion(self(x), target)

    def genotype(self):
        """For every node the two edges that weigh most, each with its best candidate."""

        def parse(alphas):
            weights = functional.softmax(alphas, dim=-1).detach()[:, 1:]
            gene, offset = [], 0
            for i in range(self._steps):
                best, which = weights[offset : offset + 2 + i].max(dim=1)
                for j in best.argsort(descending=True)[:2].tolist():
                    gene.append((self.cell.mixed_op.primitives[1 + which[j]], j))
                offset += 2 + i
            return gene

        concat = range(2 + self._steps - self._multiplier, 2 + self._steps)
        return Genotype(parse(self.alphas_normal), concat, parse(self.alphas_reduce), concat)
