"""Fixtures shared by the operator tests: devices, dtypes and memory layouts."""

from __future__ import annotations

import os

# Small tensors gain nothing from threads, and waiting threads take the time from other work. Set
# before torch is imported, and inherited by the commands that tests run.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch
from torch import Tensor

DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]
LAYOUTS = ["contiguous", "channels_last", "channel_slice", "last_slice", "pixel_slice", "expanded"]


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture(params=DTYPES, ids=lambda dtype: str(dtype).removeprefix("torch."))
def dtype(request) -> torch.dtype:
    return request.param


@pytest.fixture(params=LAYOUTS)
def layout(request) -> str:
    return request.param


def feature_map(n, c, h, w, dtype=torch.float32, layout="contiguous") -> Tensor:
    """Random numbers of the shape (n, c, h, w) that lie in memory as ``layout`` says."""
    if layout == "contiguous":
        return torch.randn(n, c, h, w, dtype=dtype)
    if layout == "channels_last":
        return torch.randn(n, h, w, c, dtype=dtype).permute(0, 3, 1, 2)
    if layout == "channel_slice":
        return torch.randn(n, c + 3, h, w, dtype=dtype)[:, 2 : 2 + c]
    if layout == "last_slice":
        return torch.randn(n, h, w, c + 3, dtype=dtype).permute(0, 3, 1, 2)[:, 2 : 2 + c]
    if layout == "pixel_slice":
        return torch.randn(n, c, h, 2 * w, dtype=dtype)[..., ::2]
    assert layout == "expanded"
    return torch.randn(n, c, 1, 1, dtype=dtype).expand(n, c, h, w)
