"""A supernet as PC-DARTS has it for ImageNet, as derived code may: all names are other ones.

Half of the channels; two stems that divide sizes by 8; the first cell, too, comes after a
reduction; and every edge is evaluated twice, once for its result and once to ask for its device.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

PROPORTION = 2


class Void(nn.Module):
    def __init__(self, step: int) -> None:
        super().__init__()
        self.step = step

    def forward(self, x: Tensor) -> Tensor:
        return x[..., :: self.step, :: self.step].mul(0.0)


class Through(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x


class Shrink(nn.Module):
    def __init__(self, before: int, width: int) -> None:
        super().__init__()
        self.activation = nn.ReLU()
        self.even = nn.Conv2d(before, width // 2, 1, stride=2, bias=False)
        self.odd = nn.Conv2d(before, width // 2, 1, stride=2, bias=False)
        self.normalize = nn.BatchNorm2d(width, affine=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.activation(x)
        return self.normalize(torch.cat((self.even(x), self.odd(x[:, :, 1:, 1:])), 1))


class Stack(nn.Sequential):
    """ReLU, convolutions, BatchNorm, as often as given."""

    def __init__(self, *groups: list[nn.Conv2d]) -> None:
        super().__init__()
        for number, convolutions in enumerate(groups):
            self.add_module(f"activation_{number}", nn.ReLU())
            for place, convolution in enumerate(convolutions):
                self.add_module(f"convolution_{number}_{place}", convolution)
            norm = nn.BatchNorm2d(convolutions[-1].out_channels, affine=False)
            self.add_module(f"normalize_{number}", norm)


def depthwise(width: int, kernel: int, step: int, dilation: int = 1) -> list[nn.Conv2d]:
    around = kernel // 2 * dilation
    spread = nn.Conv2d(width, width, kernel, step, around, dilation, width, bias=False)
    return [spread, nn.Conv2d(width, width, 1, bias=False)]


class Mixture(nn.Module):
    def __init__(self, width: int, step: int) -> None:
        super().__init__()
        part = width // PROPORTION
        inside = nn.AvgPool2d(3, step, 1, count_include_pad=False)
        self.halve = nn.MaxPool2d(2, 2)
        self.branches = nn.ModuleList(
            [
                Void(step),
                nn.Sequential(nn.MaxPool2d(3, step, 1), nn.BatchNorm2d(part, affine=False)),
                nn.Sequential(inside, nn.BatchNorm2d(part, affine=False)),
                Shrink(part, part) if step == 2 else Through(),
                *(Stack(depthwise(part, k, step), depthwise(part, k, 1)) for k in (3, 5)),
                *(Stack(depthwise(part, k, step, dilation=2)) for k in (3, 5)),
            ]
        )

    def forward(self, h: Tensor, shares: Tensor) -> Tensor:
        part = h.shape[1] // PROPORTION
        taken = h[:, :part]
        mixed = sum(share.to(taken.device) * branch(taken) for share, branch in self.pairs(shares))
        rest = h[:, part:] if mixed.shape[2] == h.shape[2] else self.halve(h[:, part:])
        return (
            torch.cat((mixed, rest), 1).unflatten(1, (PROPORTION, -1)).transpose(1, 2).flatten(1, 2)
        )

    def pairs(self, shares: Tensor):
        return zip(shares, self.branches, strict=True)


class Block(nn.Module):
    """A search cell."""

    def __init__(self, nodes, outputs, before, last, width, shrinks, after_shrinking) -> None:
        super().__init__()
        self.shrinks, self.nodes, self.outputs = shrinks, nodes, outputs
        self.fit_0 = Shrink(before, width) if after_shrinking else _fit(last=before, width=width)
        self.fit_1 = _fit(last, width)
        self._bns = nn.ModuleList()
        self.mixture = nn.ModuleList(
            Mixture(width, 2 if shrinks and source < 2 else 1)
            for node in range(nodes)
            for source in range(2 + node)
        )

    def forward(self, older: Tensor, newer: Tensor, shares: Tensor, strengths: Tensor) -> Tensor:
        made, edge = [self.fit_0(older), self.fit_1(newer)], 0
        for _ in range(self.nodes):
            terms = []
            for h in made:
                where = self.mixture[edge](h, shares[edge]).device
                terms.append(strengths[edge].to(where) * self.mixture[edge](h, shares[edge]))
                edge += 1
            made.append(sum(terms))
        return torch.cat(made[len(made) - self.outputs :], 1)


def _fit(last: int, width: int) -> Stack:
    return Stack([nn.Conv2d(last, width, 1, bias=False)])


class Supernet(nn.Module):
    def __init__(self, width, classes, depth, criterion, nodes=4, outputs=4) -> None:
        super().__init__()
        self.built_with = (width, classes, depth, criterion, nodes, outputs)
        self.criterion = criterion
        start = 3 * width
        self.stem_0 = nn.Sequential(
            nn.Conv2d(3, start // 2, 3, 2, 1, bias=False),
            nn.BatchNorm2d(start // 2),
            nn.ReLU(inplace=True),
            nn.Conv2d(start // 2, start, 3, 2, 1, bias=False),
            nn.BatchNorm2d(start),
        )
        self.stem_1 = nn.Sequential(
            nn.ReLU(inplace=True),
            nn.Conv2d(start, start, 3, 2, 1, bias=False),
            nn.BatchNorm2d(start),
        )
        self.blocks = nn.ModuleList()
        before, last, after_shrinking = start, start, True
        for place in range(depth):
            shrinks = place in (depth // 3, 2 * depth // 3)
            width *= 2 if shrinks else 1
            self.blocks.append(Block(nodes, outputs, before, last, width, shrinks, after_shrinking))
            before, last, after_shrinking = last, outputs * width, shrinks
        self.head = nn.Linear(last, classes)
        edges = len(self.blocks[0].mixture)
        shapes = {"plain": (edges, 8), "shrinking": (edges, 8)}
        self.alphas = {
            kind: (1e-3 * torch.randn(shape)).requires_grad_() for kind, shape in shapes.items()
        }
        self.betas = {kind: (1e-3 * torch.randn(edges)).requires_grad_() for kind in shapes}

    def arch_parameters(self) -> list[Tensor]:
        return [*self.alphas.values(), *self.betas.values()]

    def new(self) -> Supernet:
        made = Supernet(*self.built_with)
        for theirs, own in zip(made.arch_parameters(), self.arch_parameters(), strict=True):
            theirs.data.copy_(own.data)
        return made

    def shares_of(self, kind: str) -> tuple[Tensor, Tensor]:
        per_node = self.betas[kind].split([2 + node for node in range(self.blocks[0].nodes)])
        return self.alphas[kind].softmax(-1), torch.cat([node.softmax(-1) for node in per_node])

    def forward(self, images: Tensor) -> Tensor:
        older = self.stem_0(images)
        newer = self.stem_1(older)  # which changes ``older`` in place
        for block in self.blocks:
            kind = "shrinking" if block.shrinks else "plain"
            older, newer = newer, block(older, newer, *self.shares_of(kind))
        return self.head(newer.mean(dim=(2, 3)))

    def _loss(self, images: Tensor, target: Tensor) -> Tensor:
        return self.criterion(self(images), target)

    def genotype(self) -> dict[str, list[tuple[int, int]]]:
        """The best branch of every edge, and the edge, for both kinds of block."""
        found = {}
        for kind in self.alphas:
            shares, strengths = self.shares_of(kind)
            best = (shares * strengths[:, None])[:, 1:].argmax(dim=1) + 1
            found[kind] = list(enumerate(best.tolist()))
        return found
