"""What only a GPU shows of the operators: streams, graphs, determinism, memory, large tensors."""

from __future__ import annotations

import pytest
import torch
from conftest import feature_map, run_program

from adarts_ext import ops

pytestmark = pytest.mark.usefixtures("gpu")

N, C, SIZE, K = 16, 32, 16, 8
KINDS = [
    (torch.float32, "contiguous"),
    (torch.bfloat16, "contiguous"),
    (torch.float32, "channels_last"),
    (torch.bfloat16, "channels_last"),
]


@pytest.fixture(params=KINDS, ids=lambda kind: f"{str(kind[0])[6:]}-{kind[1]}")
def tensors(request, gpu):
    dtype, layout = request.param
    # as small as a network's: no sigmoid saturates
    w1 = torch.randn(C // 2, C, dtype=dtype) / C**0.5
    w2 = torch.randn(C, C // 2, dtype=dtype) / C**0.5
    weights = torch.full((3,), 1 / 3, dtype=dtype)
    x = feature_map(N, C, SIZE, SIZE, dtype, layout)
    return [tensor.requires_grad_() for tensor in (x, w1, w2, weights)]


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


def assert_equal(actual, expected):
    for one, two in zip(actual, expected, strict=True):
        assert torch.equal(one, two)


def test_two_runs_are_bit_identical(tensors):
    assert_equal(run(tensors), run(tensors))


def test_side_stream(tensors):
    expected = run(tensors)
    torch.cuda.synchronize()
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        actual = run(tensors)
    stream.synchronize()
    assert_equal(actual, expected)


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
    assert_equal(results, run(tensors))


def test_inductor(tensors):
    pytest.importorskip("triton")
    expected = run(tensors)
    out = torch.compile(edge, fullgraph=True)(*tensors)
    actual = [out.detach(), *torch.autograd.grad(out.square().sum(), tensors)]
    tolerance = 1e-4 if tensors[0].dtype == torch.float32 else 5e-2
    for one, two in zip(actual, expected, strict=True):
        assert (one.float() - two.float()).norm() <= tolerance * two.float().norm()


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_another_device_than_the_current_one(tensors):
    expected = run(tensors)
    others = [tensor.detach().to("cuda:1").requires_grad_() for tensor in tensors]
    assert torch.cuda.current_device() == 0
    assert_equal([result.to("cuda:0") for result in run(others)], expected)


def test_out_of_memory_has_torchs_class_and_ends_nothing():
    x = torch.zeros(1).expand(2**43)
    with pytest.raises(torch.OutOfMemoryError):
        ops.mixed_sum([x, x], torch.ones(2))
    leaf = torch.ones(1, 4, 8, 2**20).expand(2**12, 4, 8, 2**20).requires_grad_()
    with pytest.raises(torch.OutOfMemoryError):  # in the backward pass, which makes 512 GiB of it
        ops.channel_attention(leaf, torch.ones(2, 4), torch.ones(4, 2)).sum().backward()
    assert ops.mixed_sum([torch.ones(2)] * 2, torch.ones(2)).tolist() == [2.0, 2.0]


def test_an_index_out_of_range_is_an_assertion_on_the_device():
    """In a process of its own, whose GPU nothing can use afterwards."""
    program = (
        "import torch; from adarts_ext import ops\n"
        "x = torch.ones(1, 4, 2, 2, device='cuda')\n"
        "ops.gather_channels(x, torch.tensor([0, 4], device='cuda'))\n"
        "torch.cuda.synchronize()"
    )
    made = run_program(program)
    assert made.returncode != 0
    assert "device-side assert" in made.stderr


def large() -> torch.Tensor:
    """More than 2^31 elements, of which the last is 3 and the others are 0."""
    x = torch.zeros(3, 4, 16384, 16384, dtype=torch.bfloat16)
    assert x.numel() > 2**31
    x[2, 3, -1, -1] = 3.0
    return x.requires_grad_()


def test_more_than_2_to_the_31_elements():
    x = large()
    index = torch.tensor([3])
    scale = torch.full((3, 4), 2.0, dtype=torch.bfloat16)
    chosen = ops.gather_channels(x, index, scale)
    assert chosen[2, 0, -1, -1].item() == 6.0
    (grad,) = torch.autograd.grad(chosen, x, torch.ones_like(chosen))
    assert (grad[2, 3, -1, -1].item(), grad[2, 2, -1, -1].item()) == (2.0, 0.0)
    del grad
    chosen = chosen.detach()
    out = ops.scatter_channels(x, index, chosen)
    assert out[2, 3, -1, -1].item() == 6.0
    (grad,) = torch.autograd.grad(out, x, torch.ones_like(out))
    assert (grad[2, 3, -1, -1].item(), grad[2, 2, -1, -1].item()) == (0.0, 1.0)


def test_sums_of_more_than_2_to_the_31_elements():
    x = large()
    weights = torch.full((2,), 0.5, dtype=torch.bfloat16).requires_grad_()
    out = ops.mixed_sum([x, x], weights)
    assert out[2, 3, -1, -1].item() == 3.0
    of_x, of_weights = torch.autograd.grad(out, (x, weights), torch.ones_like(out))
    assert of_x[2, 3, -1, -1].item() == 1.0
    assert of_weights.tolist() == [3.0, 3.0]


def test_attention_over_more_than_2_to_the_31_elements():
    x = large()
    w1 = torch.ones(1, 4, dtype=torch.bfloat16)
    scores = ops.channel_attention(x, w1, w1.t().contiguous())
    assert scores[2, 0].item() == pytest.approx(torch.tensor(3.0).sigmoid().item(), rel=1e-2)
    (grad,) = torch.autograd.grad(scores[2, 0], x)
    assert grad[2, 3, -1, -1].item() > 0.01
    assert grad[2, 3, 0, 0].item() < 1e-6
