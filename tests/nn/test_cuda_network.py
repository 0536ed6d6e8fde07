"""Whole networks on a GPU: their gradients, determinism, streams, graphs and autocast."""

from __future__ import annotations

import pytest
import torch
from conftest import seed_of_run
from torch import Tensor
from torch.nn.functional import cross_entropy

import adarts_ext
from adarts_ext.bench.arms import ARMS, SearchStep
from adarts_ext.bench.groups import Size
from adarts_ext.cuda_graph import WARM_UP
from adarts_ext.nn import SearchNetwork
from adarts_ext.reference import networks

pytestmark = pytest.mark.usefixtures("gpu")

SMALL = {"init_channels": 8, "layers": 3, "steps": 2, "proportion": 2}
FUSED = "fused cell"


def gradients(
    device: str, dtype: torch.dtype = torch.float32, autocast: bool = False, **choices
) -> list[Tensor]:
    """The loss of a small network and all its gradients, from the same weights and images."""
    torch.manual_seed(seed_of_run())
    with torch.device("cpu"):
        network = SearchNetwork(**SMALL | choices)
        images = torch.randn(20, 3, 16, 16)
    network.to(device, dtype)
    assert choices or all(cell.kernels() == FUSED for cell in network.cells)
    inputs = [*network.parameters(), *network.arch_parameters()]
    with torch.autocast(device, torch.bfloat16, enabled=autocast):
        loss = network(images.to(device, dtype)).to(dtype).square().mean()
    return [part.detach().cpu() for part in (loss, *torch.autograd.grad(loss, inputs))]


def assert_equal(actual, expected):
    for one, two in zip(actual, expected, strict=True):
        assert torch.equal(one, two)


@pytest.mark.parametrize("memory", ["store", "recompute"])
@pytest.mark.parametrize("autocast", [False, True])
def test_two_runs_are_bit_identical(memory, autocast):
    once, again = (gradients("cuda", autocast=autocast, memory=memory) for _ in range(2))
    assert_equal(once, again)


def test_agrees_with_the_cpu_in_float64():
    actual, expected = (gradients(device, torch.float64) for device in ("cuda", "cpu"))
    for one, two in zip(actual, expected, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-9, atol=1e-9)


def test_autocast_to_bfloat16_is_near():
    low, full = gradients("cuda", autocast=True), gradients("cuda")
    torch.testing.assert_close(low[0], full[0], rtol=0.1, atol=0.01)
    assert all(gradient.isfinite().all() for gradient in low)


def test_a_side_stream():
    expected = gradients("cuda")
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        actual = gradients("cuda")
    stream.synchronize()
    assert_equal(actual, expected)


@pytest.mark.parametrize("arm", ["ours, store", "ours, recompute"])
def test_a_search_step_as_a_graph_makes_the_same_steps(arm):
    size = Size(batch=20, channels=8, layers=3, image=16)
    graphed, eager = (SearchStep(ARMS[arm], size, "cuda") for _ in range(2))
    graphed.as_graph()
    for step in (graphed, eager):
        for _ in range(WARM_UP + 2):
            step()
    assert_equal([graphed.loss], [eager.loss])
    assert_equal(graphed.network.parameters(), eager.network.parameters())
    assert_equal(graphed.network.arch_parameters(), eager.network.arch_parameters())
    assert_equal(graphed.network.buffers(), eager.network.buffers())


def of_default_size(network, images, labels) -> list[Tensor]:
    loss = cross_entropy(network(images), labels)
    return [loss, *torch.autograd.grad(loss, network.arch_parameters())]


@pytest.mark.parametrize("kind", ["ours", "drop-in"])
def test_the_published_network_agrees_with_plain_torch(kind):
    """C = 16, eight cells, 32x32, in float64: the loss and the gradients of alphas and betas."""
    torch.manual_seed(seed_of_run())
    plain = networks.Network("adarts", 16, 10, 8).double()
    images, labels = torch.randn(20, 3, 32, 32).double(), torch.randint(10, (20,))
    expected = of_default_size(plain, images, labels)
    if kind == "ours":
        network = SearchNetwork(16, 10, 8).double()
        network.load_state_dict(plain.state_dict())
        with torch.no_grad():
            for to, values in zip(network.arch_parameters(), plain.arch_parameters(), strict=True):
                to.copy_(values)
        assert all(cell.kernels() == FUSED for cell in network.cells)
    else:
        network = adarts_ext.accelerate(plain)
    for one, two in zip(of_default_size(network, images, labels), expected, strict=True):
        # plain torch keeps alphas and betas in float32
        torch.testing.assert_close(one.double(), two.double(), rtol=1e-4, atol=1e-7)
