from __future__ import annotations

import pytest
import torch

from adarts_ext import ops, reference


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("shape", [(1, 1), (3, 8), (64, 64), (5, 4096)])
def test_matches_reference(dtype, shape):
    channels = shape[1]
    # sums a whole unit apart: no rounding can change their order
    scores = torch.randperm(channels).to(dtype).div(8).expand(shape)
    if dtype in (torch.bfloat16, torch.float16):
        scores = scores[:, :8]
    for k in {0, 1, scores.size(1) // 4, scores.size(1)}:
        expected = reference.select_channels(scores.double(), k)
        assert torch.equal(ops.select_channels(scores, k), expected)


@pytest.mark.usefixtures("device")
def test_sums_over_the_batch():
    scores = torch.tensor([[0.9, 0.5, 0.0], [0.0, 0.5, 0.3]])
    assert ops.select_channels(scores, 2).tolist() == [1, 0]


@pytest.mark.usefixtures("device")
def test_ties_go_to_the_lower_index():
    assert ops.select_channels(torch.full((4, 6), 0.5), 4).tolist() == [0, 1, 2, 3]
    scores = torch.tensor([[1.0, 2.0, 1.0, 2.0, 0.0]])
    assert ops.select_channels(scores, 4).tolist() == [1, 3, 0, 2]


@pytest.mark.usefixtures("device")
def test_not_a_number_comes_first_as_in_topk():
    scores = torch.tensor([[1.0, float("nan"), 3.0]])
    assert ops.select_channels(scores, 3).tolist() == scores[0].topk(3)[1].tolist() == [1, 2, 0]


@pytest.mark.usefixtures("device")
def test_empty_batch_takes_the_first_channels():
    assert ops.select_channels(torch.zeros(0, 5), 2).tolist() == [0, 1]


@pytest.mark.usefixtures("device")
def test_any_memory():
    scores = torch.rand(8, 6)
    expected = ops.select_channels(scores, 3)
    assert torch.equal(ops.select_channels(scores.t().contiguous().t(), 3), expected)
    assert torch.equal(ops.select_channels(torch.rand(8, 12)[:, ::2].copy_(scores), 3), expected)


def test_is_not_differentiable():
    index = ops.select_channels(torch.rand(2, 4, requires_grad=True), 2)
    assert index.dtype == torch.int64
    assert not index.requires_grad


@pytest.mark.usefixtures("torch_device")
def test_operator_contract():
    torch.library.opcheck(torch.ops.adarts_ext.select_channels, (torch.rand(4, 8), 2))


@pytest.mark.usefixtures("torch_device")
def test_compiles_without_graph_break():
    scores = torch.rand(4, 8)
    compiled = torch.compile(ops.select_channels, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(scores, 2), ops.select_channels(scores, 2))


@pytest.mark.parametrize(
    ("scores", "k", "error", "message"),
    [
        (torch.rand(2, 4), 5, ValueError, r"k is 5, expected 0 to 4 for scores of shape \(2, 4\)"),
        (torch.rand(2, 4), -1, ValueError, "k is -1"),
        (torch.rand(4), 1, ValueError, r"scores has shape \(4,\), expected \(N, C\)"),
        (torch.ones(2, 4).long(), 1, TypeError, "dtype torch.int64"),
    ],
)
def test_bad_arguments(scores, k, error, message):
    with pytest.raises(error, match=message):
        ops.select_channels(scores, k)


def test_bad_arguments_of_the_bare_operator():
    with pytest.raises(RuntimeError, match="k is 9, expected 0 to 4"):
        torch.ops.adarts_ext.select_channels(torch.rand(2, 4), 9)
