"""The supernets of DARTS, PC-DARTS and ADARTS in plain torch: the baseline of the benchmarks.

They compute as the code that the methods' authors released does, with nothing of this package:
every candidate makes its output, every weight a product, every sum a pass, and the zeros of
``none`` take part.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

STYLES = ("adarts", "pc-darts", "darts")


def separable(channels: int, kernel: int, stride: int, dilation: int) -> list[nn.Module]:
    """ReLU, depthwise convolution, 1x1 convolution, BatchNorm."""
    padding = dilation * (kernel // 2)
    return [
        nn.ReLU(),
        nn.Conv2d(
            channels, channels, kernel, stride, padding, dilation, groups=channels, bias=False
        ),
        nn.Conv2d(channels, channels, 1, bias=False),
        nn.BatchNorm2d(channels, affine=False),
    ]


class Sequence(nn.Module):
    """Layers one after another, under the name ``op``."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.op = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.op(x)


class Nothing(nn.Module):
    """The candidate ``none``: the input times zero."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :, :: self.stride, :: self.stride].mul(0.0)


class Halve(nn.Module):
    """Half of the channels from the even pixels, half from the odd ones.

    The released code takes the pixels by the convolutions' stride, which in channels_last meets
    oneDNN's issue 6035; taking them first gives the same values.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.relu = nn.ReLU()
        self.conv_1 = nn.Conv2d(in_channels, out_channels // 2, 1, bias=False)
        self.conv_2 = nn.Conv2d(in_channels, out_channels // 2, 1, bias=False)
        self.bn = nn.BatchNorm2d(out_channels, affine=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(x)
        even, odd = self.conv_1(x[:, :, ::2, ::2]), self.conv_2(x[:, :, 1::2, 1::2])
        return self.bn(torch.cat([even, odd], dim=1))


def fit(in_channels: int, out_channels: int) -> nn.Module:
    """What a cell begins with where its input has the right size."""
    return Sequence(
        nn.ReLU(),
        nn.Conv2d(in_channels, out_channels, 1, bias=False),
        nn.BatchNorm2d(out_channels, affine=False),
    )


def candidates(channels: int, stride: int) -> nn.ModuleList:
    """The eight candidates of an edge."""
    normalized = nn.BatchNorm2d(channels, affine=False), nn.BatchNorm2d(channels, affine=False)
    return nn.ModuleList(
        [
            Nothing(stride),
            nn.Sequential(nn.MaxPool2d(3, stride, 1), normalized[0]),
            nn.Sequential(nn.AvgPool2d(3, stride, 1, count_include_pad=False), normalized[1]),
            nn.Identity() if stride == 1 else Halve(channels, channels),
            Sequence(*separable(channels, 3, stride, 1), *separable(channels, 3, 1, 1)),
            Sequence(*separable(channels, 5, stride, 1), *separable(channels, 5, 1, 1)),
            Sequence(*separable(channels, 3, stride, 2)),
            Sequence(*separable(channels, 5, stride, 2)),
        ]
    )


class WholeMixedOp(nn.Module):
    """DARTS: all channels go through the candidates."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self._ops = candidates(channels, stride)

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        return sum(weight * op(x) for weight, op in zip(weights, self._ops, strict=True))


class FirstMixedOp(nn.Module):
    """PC-DARTS: the first quarter of the channels, which are shuffled afterwards."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.k = 4
        self.mp = nn.MaxPool2d(2, 2)
        self._ops = candidates(channels // self.k, stride)

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        count = x.shape[1] // self.k
        taken, passing = x[:, :count], x[:, count:]
        mixed = sum(weight * op(taken) for weight, op in zip(weights, self._ops, strict=True))
        if mixed.shape[2] < x.shape[2]:
            passing = self.mp(passing)
        y = torch.cat([mixed, passing], dim=1)
        n, _, height, width = y.shape
        groups = y.view(n, self.k, count, height, width).transpose(1, 2).contiguous()
        return groups.view(n, -1, height, width)


class Attention(nn.Module):
    """ADARTS: CBAM's channel attention, with half as many hidden units as channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.avg_pool = nn.AdaptiveAvgPool2d(1)
        self.max_pool = nn.AdaptiveMaxPool2d(1)
        self.fc1 = nn.Conv2d(channels, channels // 2, 1, bias=False)
        self.relu1 = nn.ReLU()
        self.fc2 = nn.Conv2d(channels // 2, channels, 1, bias=False)
        self.sigmoid = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        average, maximum = (
            self.fc2(self.relu1(self.fc1(pool(x)))) for pool in (self.avg_pool, self.max_pool)
        )
        return self.sigmoid(average + maximum)


class AttentiveMixedOp(nn.Module):
    """ADARTS: the quarter of the channels that score best over the batch."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.k = 4
        self.mp = nn.MaxPool2d(2, 2)
        self.ca = Attention(channels)
        self._ops = candidates(channels // self.k, stride)

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        scores = self.ca(x)
        count = x.shape[1] // self.k
        x = x * scores
        best = scores.sum(dim=0).flatten().topk(count).indices
        taken = torch.index_select(x, 1, best)
        mixed = sum(weight * op(taken) for weight, op in zip(weights, self._ops, strict=True))
        if mixed.shape[2] < x.shape[2]:
            x = self.mp(x)
        x[:, best] = mixed
        return x


MIXED_OPS: dict[str, Callable[[int, int], nn.Module]] = {
    "adarts": AttentiveMixedOp,
    "pc-darts": FirstMixedOp,
    "darts": WholeMixedOp,
}


class Cell(nn.Module):
    """A search cell of so many nodes."""

    def __init__(
        self,
        style: str,
        before: int,
        last: int,
        channels: int,
        reduction: bool,
        after: bool,
        steps: int = 4,
    ) -> None:
        super().__init__()
        self.reduction = reduction
        self._steps = steps
        self._multiplier = steps
        self.preprocess0 = Halve(before, channels) if after else fit(before, channels)
        self.preprocess1 = fit(last, channels)
        self._ops = nn.ModuleList(
            MIXED_OPS[style](channels, 2 if reduction and source < 2 else 1)
            for node in range(self._steps)
            for source in range(2 + node)
        )

    def forward(self, s0: Tensor, s1: Tensor, weights: Tensor, edge_weights: Tensor | None = None):
        states = [self.preprocess0(s0), self.preprocess1(s1)]
        edge = 0
        for _ in range(self._steps):
            terms = []
            for state in states:
                term = self._ops[edge](state, weights[edge])
                terms.append(term if edge_weights is None else edge_weights[edge] * term)
                edge += 1
            states.append(sum(terms))
        return torch.cat(states[-self._multiplier :], dim=1)


class Network(nn.Module):
    """A supernet in plain torch.

    Args:
        style: ``"adarts"``, ``"pc-darts"`` (both with edge normalization) or ``"darts"``.
        channels: Channels of a node of the first cell.
        classes: Number of logits.
        layers: Number of cells.
        steps: Number of nodes of a cell.

    Example:
        >>> Network("darts", channels=4, layers=3)(torch.randn(2, 3, 16, 16)).shape
        torch.Size([2, 10])
    """

    def __init__(
        self,
        style: str = "adarts",
        channels: int = 16,
        classes: int = 10,
        layers: int = 8,
        steps: int = 4,
    ) -> None:
        super().__init__()
        if style not in STYLES:
            raise ValueError(f"Network: style must be one of {', '.join(STYLES)}, got {style!r}")
        self.stem = nn.Sequential(
            nn.Conv2d(3, 3 * channels, 3, padding=1, bias=False), nn.BatchNorm2d(3 * channels)
        )
        self.cells = nn.ModuleList()
        before = last = 3 * channels
        after = False
        for layer in range(layers):
            reduction = layer in (layers // 3, 2 * layers // 3)
            channels *= 2 if reduction else 1
            self.cells.append(Cell(style, before, last, channels, reduction, after, steps))
            before, last, after = last, steps * channels, reduction
        self.global_pooling = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(last, classes)
        self._edges = [2 + node for node in range(steps)]  # into each node
        edges = sum(self._edges)
        self.alphas_normal, self.alphas_reduce = (_leaf(edges, 8) for _ in range(2))
        self._arch_parameters = [self.alphas_normal, self.alphas_reduce]
        if style != "darts":
            self.betas_normal, self.betas_reduce = (_leaf(edges) for _ in range(2))
            self._arch_parameters += [self.betas_normal, self.betas_reduce]

    def arch_parameters(self) -> list[Tensor]:
        """Return alphas, and betas if there are any: leaf tensors outside ``parameters()``."""
        return self._arch_parameters

    def forward(self, x: Tensor) -> Tensor:
        s0 = s1 = self.stem(x)
        for cell in self.cells:
            kind = "reduce" if cell.reduction else "normal"
            arguments = [functional.softmax(getattr(self, f"alphas_{kind}"), dim=-1)]
            betas = getattr(self, f"betas_{kind}", None)
            if betas is not None:
                nodes = betas.split(self._edges)
                arguments.append(torch.cat([functional.softmax(node, dim=-1) for node in nodes]))
            s0, s1 = s1, cell(s0, s1, *arguments)
        return self.classifier(self.global_pooling(s1).flatten(1))


def _leaf(*shape: int) -> Tensor:
    return (1e-3 * torch.randn(*shape)).requires_grad_()
