"""Search cells to try the fused operators on: structure, operands, results with their gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from conftest import seed_of_run
from torch import Tensor

from adarts_ext.ops import CellLayout, CellOutput, from_image_blocks, to_image_blocks


@dataclass
class CellCase:
    """A cell and its operands as float64 feature maps and weights, drawn by ``seed``.

    Every node takes all earlier states. ``hidden`` and ``taps`` are 0 for a cell without attention.
    """

    batch: int = 5
    channels: int = 8
    selected: int = 2
    hidden: int = 4
    stride: int = 1
    steps: int = 2
    inputs: int = 2
    size: tuple[int, int] = (6, 4)  # of the nodes
    shuffle: bool = False
    normalized: bool = True
    active: tuple[int, ...] = ()
    taps: int = 0
    seed: int = 0
    layout: CellLayout = field(init=False)
    states: list[Tensor] = field(init=False)
    weights: list[Tensor] = field(init=False)
    alphas: Tensor = field(init=False)
    betas: Tensor | None = field(init=False)
    direction: Tensor = field(init=False)  # gradient of the nodes

    def __post_init__(self):
        edges = [(i, node) for node in range(self.steps) for i in range(self.inputs + node)]
        sources, targets = zip(*edges, strict=True)
        self.layout = CellLayout(
            self.batch,
            self.stride,
            self.selected,
            self.hidden,
            self.steps,
            sources,
            targets,
            self.shuffle,
            self.active,
            self.taps,
        )
        generator = torch.Generator().manual_seed(seed_of_run(self.seed))

        def normal(*shape: int) -> Tensor:
            drawn = torch.randn(shape, generator=generator, dtype=torch.float64, device="cpu")
            return drawn.to(torch.get_default_device())

        height, width = self.size
        maps = (self.batch, self.channels, height * self.stride, width * self.stride)
        self.states = [normal(*maps) for _ in range(self.inputs)]
        shapes = self.layout.weight_shapes(self.inputs, self.channels)
        self.weights = [normal(*shape) / torch.Size(shape[1:]).numel() ** 0.5 for shape in shapes]
        self.alphas = normal(len(edges), 8).softmax(-1)
        self.betas = normal(len(edges)).sigmoid() if self.normalized else None
        self.direction = normal(self.batch, self.steps * self.channels, height, width)

    def index(self) -> Tensor:
        """Some channels for every edge: the last ones, backwards."""
        last = torch.arange(self.channels - 1, self.channels - 1 - self.selected, -1)
        return last.expand(len(self.layout.sources), -1)

    def norms(self) -> Tensor:
        """Some statistics for every BatchNorm."""
        count = self.layout.count_norms(self.inputs)
        mean = torch.linspace(-1, 1, count * self.selected, dtype=torch.float64)
        variance = mean.square() + 0.5
        rows = mean, (variance + 1e-5).rsqrt(), variance
        return torch.stack([row.reshape(count, self.selected) for row in rows], 1)


def run(
    function: Callable[..., CellOutput],
    case: CellCase,
    dtype: torch.dtype,
    index: Tensor | None = None,
    norms: Tensor | None = None,
    store: bool = True,
) -> dict[str, Tensor]:
    """Give nodes, statistics and all gradients that ``function`` computes in ``dtype``."""
    states, weights = (leaves(tensors, dtype) for tensors in (case.states, case.weights))
    (alphas,) = leaves([case.alphas], dtype)
    betas = None if case.betas is None else leaves([case.betas], dtype)[0]
    norms = None if norms is None else norms.to(torch.promote_types(dtype, torch.float32))
    out = function(
        [to_image_blocks(state) for state in states],
        weights,
        alphas,
        betas,
        case.layout,
        index,
        norms,
        store,
    )
    nodes = from_image_blocks(out.nodes, case.batch)
    named = {f"state {i}": state for i, state in enumerate(states)}
    named |= {f"weight {i}": weight for i, weight in enumerate(weights)}
    named |= {"alphas": alphas} | ({} if betas is None else {"betas": betas})
    gradients = torch.autograd.grad(
        nodes, list(named.values()), case.direction.to(dtype), materialize_grads=True
    )
    found = {f"gradient of {name}": g for name, g in zip(named, gradients, strict=True)}
    return {"nodes": nodes.detach(), "norms": out.norms, "index": out.index} | found


def leaves(tensors: Sequence[Tensor], dtype: torch.dtype) -> list[Tensor]:
    return [tensor.detach().to(dtype).requires_grad_() for tensor in tensors]
