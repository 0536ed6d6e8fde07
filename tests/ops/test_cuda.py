"""What only a GPU can show: streams, graphs, determinism, tensors beyond 2^31 elements."""

from __future__ import annotations

import pytest
import torch
from conftest import seed_of_run

from adarts_ext import ops
from adarts_ext.nn import SearchNetwork

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

N, C, SIZE, K = 16, 32, 16, 8


@pytest.fixture
def tensors():
    generator = torch.Generator("cuda").manual_seed(seed_of_run())

    def draw(*shape):
        return torch.randn(shape, device="cuda", generator=generator).requires_grad_()

    w1, w2 = draw(C // 2, C), draw(C, C // 2)
    return [draw(N, C, SIZE, SIZE), w1, w2, torch.full((3,), 1 / 3, device="cuda").requires_grad_()]


def edge(x, w1, w2, weights):
    """One edge of a search cell, from all operators."""
    scores = ops.channel_attention(x, w1, w2)
    index = ops.select_channels(scores, K)
    chosen = ops.gather_channels(x, index, scores)
    candidates = [chosen.relu(), chosen.tanh()]
    normalized = ops.normalized_mixed_sum(candidates, weights[1:], [True, False]).out
    mixed = ops.mixed_sum([chosen, normalized], weights[:2])
    return ops.scatter_channels(x, index, mixed, scores)


def run(tensors):
    out = edge(*tensors)
    return [out.detach(), *torch.autograd.grad(out.square().sum(), tensors)]


def test_two_runs_are_bit_identical(tensors):
    for one, two in zip(run(tensors), run(tensors), strict=True):
        assert torch.equal(one, two)


def network_gradients(device: str, dtype: torch.dtype = torch.float32) -> list[torch.Tensor]:
    """Every gradient of a small fused network, from the same weights and images."""
    torch.manual_seed(seed_of_run())
    network = SearchNetwork(init_channels=8, layers=3, steps=2, proportion=2)
    images = torch.randn(20, 3, 16, 16)
    network.to(device, dtype)
    inputs = [*network.parameters(), *network.arch_parameters()]
    loss = network(images.to(device, dtype)).square().mean()
    return [gradient.cpu() for gradient in torch.autograd.grad(loss, inputs)]


def test_a_network_is_bit_identical_in_two_runs():
    for one, two in zip(network_gradients("cuda"), network_gradients("cuda"), strict=True):
        assert torch.equal(one, two)


def test_a_network_agrees_with_the_cpu_in_float64():
    actual = network_gradients("cuda", torch.float64)
    expected = network_gradients("cpu", torch.float64)
    for one, two in zip(actual, expected, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-9, atol=1e-9)


def test_side_stream(tensors):
    expected = run(tensors)
    torch.cuda.synchronize()
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        actual = run(tensors)
    stream.synchronize()
    for one, two in zip(actual, expected, strict=True):
        assert torch.equal(one, two)


def test_graph_capture_and_replay(tensors):
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            run(tensors)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        results = run(tensors)
    with torch.no_grad():
        tensors[0].copy_(torch.randn_like(tensors[0]))
    graph.replay()
    for one, two in zip(results, run(tensors), strict=True):
        assert torch.equal(one, two)


def test_more_than_2_to_the_31_elements():
    x = torch.zeros(3, 4, 16384, 16384, device="cuda", dtype=torch.bfloat16)
    assert x.numel() > 2**31
    x[2, 3, -1, -1] = 3.0
    index = torch.tensor([3], device="cuda")
    chosen = ops.gather_channels(x, index, torch.full((3, 4), 2.0, device="cuda").bfloat16())
    assert chosen[2, 0, -1, -1].item() == 6.0
    assert ops.scatter_channels(x, index, chosen)[2, 3, -1, -1].item() == 6.0
    weights = torch.full((2,), 0.5, device="cuda", dtype=torch.bfloat16)
    assert ops.mixed_sum([x, x], weights)[2, 3, -1, -1].item() == 3.0
    w1 = torch.ones(1, 4, device="cuda", dtype=torch.bfloat16)
    scores = ops.channel_attention(x, w1, w1.t().contiguous())
    assert scores[2, 0].item() == pytest.approx(torch.tensor(3.0).sigmoid().item(), rel=1e-2)
