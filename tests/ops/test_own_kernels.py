"""Every operator's kernels at the shapes that take their wide accesses, against plain torch's CPU.

On a GPU nothing but these kernels, copies and fills runs there, so compute-sanitizer, which may be
slow, looks at little else (tests/sanitize.py).
"""

from __future__ import annotations

import pytest
import torch
from cell_case import CellCase
from conftest import DTYPES, feature_map, seed_of_run
from torch import Tensor
from torch.utils._pytree import tree_map_only

from adarts_ext import ops, reference
from adarts_ext.ops import to_image_blocks
from adarts_ext.ops.common import CELL_DTYPES

N, C, H, W, K = 3, 16, 8, 16, 8
TOLERANCE = {
    torch.float32: 1e-4,
    torch.float64: 1e-10,
    torch.bfloat16: 5e-2,
    torch.float16: 1e-2,
}


def gather(functions, layout, stride):
    return functions.gather_channels, [maps(layout, C), index(), scores()]


def scatter(functions, layout, stride):
    def call(x, index, update, scale):
        return functions.scatter_channels(x, index, update, scale, stride)

    return call, [maps(layout, C), index(), maps(layout, K, stride), scores()]


def attention(functions, layout, stride):
    weights = torch.randn(K, C) / C**0.5, torch.randn(C, K) / K**0.5
    return functions.channel_attention, [maps(layout, C), *weights]


def mixed(functions, layout, stride):
    def call(weights, *inputs):
        return functions.mixed_sum(inputs, weights)

    return call, [torch.rand(7), *(maps(layout, K) for _ in range(7))]


def normalized(functions, layout, stride):
    def call(weights, *inputs):
        return functions.normalized_mixed_sum(inputs, weights, [True] * 6 + [False]).out

    return call, [torch.rand(7), *(maps(layout, K) for _ in range(7))]


def preprocess(functions, layout, stride):
    def call(x, weights):
        return functions.preprocess_cell(x, weights, N, stride)[0]

    return call, [to_image_blocks(maps(layout, C)), torch.randn(K, C)]


def cell(functions, layout, stride):
    case = CellCase(N, C, K // 2, K, stride, 1, size=(H // 2, W // 2))
    states = [to_image_blocks(state) for state in case.states]

    def call(first, second, alphas, betas, *weights):
        states = [first, second]
        return functions.search_cell(
            states, weights, alphas, betas, case.layout, case.index().to(alphas.device)
        ).nodes

    return call, [*states, case.alphas, case.betas, *case.weights]


def maps(layout: str, channels: int, stride: int = 1) -> Tensor:
    return feature_map(N, channels, H // stride, W // stride, layout=layout)


def index() -> Tensor:
    return torch.randperm(C)[:K]


def scores() -> Tensor:
    return torch.rand(N, C)


MADE = [gather, scatter, attention, mixed, normalized, preprocess, cell]
CELL = (preprocess, cell)


def run(make, functions, layout, stride, drawn_dtype, dtype, device) -> list[Tensor]:
    """Result and gradients, computed on a device from what is drawn, and rounded, on the CPU."""

    def rounded(tensor: Tensor) -> Tensor:
        return tensor.to(drawn_dtype) if tensor.is_floating_point() else tensor

    torch.manual_seed(seed_of_run())
    with torch.device("cpu"):
        call, drawn = make(functions, layout, stride)
        drawn = tree_map_only(Tensor, lambda t: on(rounded(t), dtype, device), drawn)
        needed = [t.requires_grad_() for t in drawn if t.is_floating_point()]
        out = call(*drawn)
        grad = on(rounded(torch.randn(out.shape)), dtype, device)
        if make in CELL:
            grad[..., N:] = 0
    return [result.double().cpu() for result in (out, *torch.autograd.grad(out, needed, grad))]


def on(tensor: Tensor, dtype: torch.dtype, device: str) -> Tensor:
    tensor = tensor.to(dtype) if tensor.is_floating_point() else tensor
    return tensor.detach().to(device)


CASES = [
    (make, layout, stride, dtype)
    for make in MADE
    for layout in (("contiguous",) if make in CELL else ("contiguous", "channels_last"))
    for stride in ((1, 2) if make in (scatter, *CELL) else (1,))
    for dtype in (CELL_DTYPES if make in CELL else DTYPES)
]


def name_of(case) -> str:
    make, layout, stride, dtype = case
    return f"{make.__name__}-{layout}-{stride}-{str(dtype).removeprefix('torch.')}"


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_wide_accesses(device, case):
    make, layout, stride, dtype = case
    actual = run(make, ops, layout, stride, dtype, dtype, "cuda" if device == "cuda" else "cpu")
    expected = run(make, reference, layout, stride, dtype, torch.float64, "cpu")
    if make is cell and dtype == torch.bfloat16:  # rounding decides over maxima and ReLUs within
        actual, expected = actual[:1], expected[:1]
    for one, two in zip(actual, expected, strict=True):
        assert (one - two).norm() <= TOLERANCE[dtype] * two.norm()
