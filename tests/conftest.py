"""Fixtures shared by the operator tests: devices, dtypes and memory layouts."""

from __future__ import annotations

import os
import sys

# Small tensors gain nothing from threads, and waiting threads take the time from other work. Set
# before torch is imported, and inherited by the commands that tests run.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch
from torch import Tensor

DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]
OPERATOR_MODULES = [
    f"adarts_ext.ops.{name}"
    for name in (
        "_common",
        "channel_attention",
        "gather_channels",
        "mixed_sum",
        "normalized_mixed_sum",
        "preprocess_cell",
        "scatter_channels",
        "search_cell",
        "select_channels",
    )
]
EMULATED = ("emulated", "sanitized")
LAYOUTS = ["contiguous", "channels_last", "channel_slice", "last_slice", "pixel_slice", "expanded"]


def pytest_addoption(parser):
    parser.addoption(
        "--device",
        action="append",
        choices=("cpu", *EMULATED, "cuda"),
        help="where the operator tests run; cpu and emulated if none is given; sanitized is for "
        "tests/emulator/test_asan.py",
    )


def pytest_generate_tests(metafunc):
    chosen = metafunc.config.getoption("device") or ["cpu", "emulated"]
    if "device" in metafunc.fixturenames:
        metafunc.parametrize("device", chosen, indirect=True)
    if "torch_device" in metafunc.fixturenames:
        torch_devices = [device for device in chosen if device not in EMULATED]
        metafunc.parametrize("torch_device", torch_devices, indirect=True)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture
def emulated(monkeypatch):
    """Put the CUDA kernels under the emulator in the place of the compiled operators."""
    emulate(monkeypatch, sanitize=False)


def emulate(monkeypatch, sanitize: bool) -> None:
    from emulator import library

    for module in OPERATOR_MODULES:
        monkeypatch.setattr(sys.modules[module], "kernels", library.load(sanitize))


@pytest.fixture
def device(request, monkeypatch):
    """Run a test on the CPU, on the CUDA kernels under the emulator, or on a GPU.

    On a GPU all tensors are made there. The emulated operators take CPU tensors; here they stand in
    for the CPU's.
    """
    if request.param in EMULATED:
        emulate(monkeypatch, sanitize=request.param == "sanitized")
    with torch.device("cuda" if request.param == "cuda" else "cpu"):
        yield request.param


@pytest.fixture
def torch_device(request):
    """Run a test on the devices that torch knows: the CPU, and a GPU."""
    with torch.device(request.param):
        yield request.param


@pytest.fixture(params=DTYPES, ids=lambda dtype: str(dtype).removeprefix("torch."))
def dtype(request) -> torch.dtype:
    return request.param


@pytest.fixture(params=LAYOUTS)
def layout(request) -> str:
    return request.param


def as_index(channels) -> Tensor:
    """The channels as the operators take them."""
    return torch.tensor(channels, dtype=torch.int64)


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
