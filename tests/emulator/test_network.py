"""The CUDA kernels inside a whole small network, and how many launches they take."""

from __future__ import annotations

import copy

import pytest
import torch
from conftest import seed_of_run

from adarts_ext import ops
from adarts_ext.nn import SearchNetwork
from emulator import library

pytestmark = pytest.mark.slow

SMALL = {"init_channels": 8, "layers": 3}
CHOICES = [
    SMALL | {"memory": "recompute", "steps": 2},
    SMALL | {"selection": "first", "steps": 2},
    SMALL | {"selection": "random", "steps": 2, "init_channels": 4, "proportion": 2},
    SMALL | {"selection": "all", "steps": 1, "init_channels": 4, "edge_normalization": False},
    SMALL | {"steps": 1, "candidates": ("skip_connect", "sep_conv_3x3")},
]


@pytest.mark.usefixtures("emulated")
@pytest.mark.parametrize("choices", CHOICES)
def test_search_network(choices):
    fused = SearchNetwork(**choices)
    exact = SearchNetwork(**choices | {"backend": "reference"})
    exact.load_state_dict(copy.deepcopy(fused.state_dict()))
    images = torch.randn(3, 3, 16, 16)
    torch.manual_seed(seed_of_run(1))  # of a random selection
    with library.launches() as launches:
        logits = fused.double()(images.double())
        logits.square().sum().backward()
    torch.manual_seed(seed_of_run(1))
    expected = exact.double()(images.double())
    expected.square().sum().backward()
    torch.testing.assert_close(logits, expected)
    pairs = [*zip(fused.parameters(), exact.parameters(), strict=True)]
    pairs += zip(fused.arch_parameters(), exact.arch_parameters(), strict=True)
    for one, two in pairs:
        torch.testing.assert_close(one.grad, two.grad)
    for one, two in zip(fused.buffers(), exact.buffers(), strict=True):
        torch.testing.assert_close(one, two)
    assert all(cell.kernels() == "fused cell" for cell in fused.cells)
    assert launches.total() > 0


@pytest.mark.usefixtures("emulated")
def test_launches():
    x = torch.randn(4, 8, 8, 8)
    scores = torch.rand(4, 8)
    index = torch.tensor([5, 1])
    inputs = [torch.randn(4, 2, 8, 8) for _ in range(7)]
    calls = {
        "mixed_sum": lambda: ops.mixed_sum(inputs, torch.rand(7)),
        "select_channels": lambda: ops.select_channels(scores, 2),
        "gather_channels": lambda: ops.gather_channels(x, index, scores),
        "scatter_channels": lambda: ops.scatter_channels(x, index, inputs[0], scores),
    }
    for name, call in calls.items():
        with library.launches() as launches:
            call()
        assert launches.total() == 1, f"{name}: {dict(launches)}"
    with library.launches() as launches:
        ops.channel_attention(x, torch.randn(4, 8), torch.randn(8, 4))
    assert launches.total() == 2, dict(launches)  # pool, score
    with library.launches() as launches:
        ops.normalized_mixed_sum(inputs, torch.rand(7), [True] * 6 + [False])
    assert launches.total() == 3, dict(launches)  # moments, statistics, sum
