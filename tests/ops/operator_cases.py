"""A small call of every public operator: keyword arguments in float64, and what has gradients."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from adarts_ext import ops

LAYOUT = ops.CellLayout(2, 1, 1, 0, 1, (0,), (0,), False)


def normal(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64)


def blocks(channels: int) -> Tensor:
    return ops.to_image_blocks(normal(2, channels, 2, 2))


def cell_weights() -> list[Tensor]:
    return [normal(*shape) for shape in LAYOUT.weight_shapes(inputs=1, channels=2)]


INDEX = torch.tensor([1, 0])
ARGUMENTS: dict[str, Callable[[], dict[str, Any]]] = {
    "channel_attention": lambda: {"x": normal(2, 3, 2, 2), "w1": normal(2, 3), "w2": normal(3, 2)},
    "from_image_blocks": lambda: {"blocks": blocks(2), "batch": 2},
    "gather_channels": lambda: {"x": normal(2, 3, 2, 2), "index": INDEX, "scale": normal(2, 3)},
    "mixed_sum": lambda: {"inputs": [normal(2, 3), normal(2, 3)], "weights": normal(2)},
    "normalized_mixed_sum": lambda: {
        "inputs": [normal(2, 2, 2, 2), normal(2, 2, 2, 2)],
        "weights": normal(2),
        "normalized": [True, False],
        "norms": None,
    },
    "preprocess_cell": lambda: {
        "x": blocks(3),
        "weights": normal(2, 3),
        "batch": 2,
        "stride": 1,
        "norms": None,
    },
    "scatter_channels": lambda: {
        "x": normal(2, 3, 2, 2),
        "index": INDEX,
        "update": normal(2, 2, 2, 2),
        "scale": normal(2, 3),
    },
    "search_cell": lambda: {
        "states": [blocks(2)],
        "weights": cell_weights(),
        "alphas": normal(1, 8).softmax(1),
        "betas": normal(1),
        "layout": LAYOUT,
        "index": torch.tensor([[1]]),
        "norms": None,
    },
    "select_channels": lambda: {"scores": normal(2, 3), "k": 2},
    "to_image_blocks": lambda: {"x": normal(2, 3, 2, 2)},
}
FUNCTIONS = [name for name in ops.__all__ if inspect.isfunction(getattr(ops, name))]


def first_input(arguments: dict[str, Any]) -> tuple[Tensor, Callable[[Tensor], dict[str, Any]]]:
    """Return the first tensor of a call, and the call's arguments with another in its place."""
    name, value = next(iter(arguments.items()))
    if isinstance(value, Tensor):
        return value, lambda x: arguments | {name: x}
    return value[0], lambda x: arguments | {name: [x, *value[1:]]}


def first_output(output: Any) -> Tensor:
    return output if isinstance(output, Tensor) else output[0]
