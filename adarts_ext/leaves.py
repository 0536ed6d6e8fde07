"""Leaf tensors, such as parameters, without gradients or at other values for a while."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor


@contextmanager
def without_gradient(tensors: Iterator[Tensor] | Sequence[Tensor]) -> Iterator[None]:
    """Switch off the gradients of leaf tensors for a while."""
    tensors = list(tensors)
    for tensor in tensors:
        tensor.requires_grad_(False)
    try:
        yield
    finally:
        for tensor in tensors:
            tensor.requires_grad_(True)


@contextmanager
def put_back(tensors: Iterator[Tensor] | Sequence[Tensor]) -> Iterator[None]:
    """Give tensors their present values back, bit for bit, however the block ends."""
    tensors = list(tensors)
    kept = [tensor.detach().clone() for tensor in tensors]
    try:
        yield
    finally:
        with torch.no_grad():
            for tensor, value in zip(tensors, kept, strict=True):
                tensor.copy_(value)
