"""What only a GPU can show: streams, graphs, determinism, tensors beyond 2^31 elements."""

from __future__ import annotations

import pytest
import torch

from adarts_ext import ops

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

N, C, SIZE, K = 16, 32, 16, 8


@pytest.fixture
def tensors():
    generator = torch.Generator("cuda").manual_seed(0)

    def draw(*shape):
        return torch.randn(shape, device="cuda", generator=generator).requires_grad_()

    w1, w2 = draw(C // 2, C), draw(C, C // 2)
    return [draw(N, C, SIZE, SIZE), w1, w2, torch.full((3,), 1 / 3, device="cuda").requires_grad_()]


def edge(x, w1, w2, weights):
    """One edge of a search cell, from all five operators."""
    scores = ops.channel_attention(x, w1, w2)
    index = ops.select_channels(scores, K)
    chosen = ops.gather_channels(x, index, scores)
    mixed = ops.mixed_sum([chosen, chosen.relu(), chosen.tanh()], weights)
    return ops.scatter_channels(x, index, mixed, scores)


def run(tensors):
    out = edge(*tensors)
    return [out.detach(), *torch.autograd.grad(out.square().sum(), tensors)]


def test_two_runs_are_bit_identical(tensors):
    for one, two in zip(run(tensors), run(tensors), strict=True):
        assert torch.equal(one, two)


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
