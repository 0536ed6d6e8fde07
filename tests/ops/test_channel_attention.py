from __future__ import annotations

import pytest
import torch
from comparison import compare
from conftest import feature_map

from adarts_ext import ops, reference


def weights(channels, hidden, dtype=torch.float32):
    # small enough that no sigmoid saturates, also for absolute values (see comparison.py)
    w1 = torch.randn(hidden, channels, dtype=dtype) / (2 * channels)
    return [w1, torch.randn(channels, hidden, dtype=dtype) / (2 * hidden)]


@pytest.mark.usefixtures("device")
def test_matches_reference(dtype, layout):
    compare(
        ops.channel_attention,
        reference.channel_attention,
        [feature_map(3, 8, 7, 6, dtype, layout), *weights(8, 4, dtype)],
        torch.randn(3, 8, dtype=dtype),
    )


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("shape", [(2, 6, 1, 1), (5, 4, 1, 300), (2, 6, 32, 32), (1, 70, 65, 3)])
def test_any_shape(shape, layout):
    channels = shape[1]
    compare(
        ops.channel_attention,
        reference.channel_attention,
        [feature_map(*shape, layout=layout), *weights(channels, channels // 2)],
        torch.randn(shape[:2]),
    )


@pytest.mark.usefixtures("device")
def test_convolution_weights_are_taken():
    x, (w1, w2) = torch.randn(2, 8, 4, 4), weights(8, 4)
    expected = ops.channel_attention(x, w1, w2)
    assert torch.equal(ops.channel_attention(x, w1[..., None, None], w2[..., None, None]), expected)


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_empty_batch(layout):
    x = feature_map(0, 8, 4, 4, layout=layout).requires_grad_()
    scores = ops.channel_attention(x, *weights(8, 4))
    assert scores.shape == (0, 8)
    scores.sum().backward()
    assert x.grad.shape == x.shape


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_gradient_of_a_tied_maximum_goes_to_the_first_pixel(layout):
    x = torch.zeros(2, 4, 3, 3)
    x[:, :, 1, 1:] = 1.0
    if layout == "channels_last":
        x = x.contiguous(memory_format=torch.channels_last)
    grads = []
    for module in (ops, reference):
        leaf = x.clone().requires_grad_()
        scores = module.channel_attention(leaf, torch.ones(2, 4), torch.ones(4, 2))
        grads.append(torch.autograd.grad(scores.sum(), leaf)[0])
    torch.testing.assert_close(*grads)


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("special", [float("nan"), float("inf"), float("-inf")])
def test_special_values(layout, special):
    x = feature_map(2, 4, 9, 9, layout=layout)
    x[0, 1, 3, 4] = special
    w1, w2 = weights(4, 2)
    actual, expected = (m.channel_attention(x, w1, w2) for m in (ops, reference))
    torch.testing.assert_close(actual, expected, equal_nan=True)


@pytest.mark.usefixtures("device")
def test_gradients():
    x = torch.randn(2, 4, 3, 3, dtype=torch.double, requires_grad=True)
    w1, w2 = (w.requires_grad_() for w in weights(4, 3, torch.double))
    assert torch.autograd.gradcheck(ops.channel_attention, (x, w1, w2))


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("needed", [0, 1, 2])
def test_only_needed_gradients(needed):
    tensors = [torch.randn(2, 4, 3, 3), *weights(4, 2)]
    tensors[needed].requires_grad_()
    ops.channel_attention(*tensors).sum().backward()
    assert [t.grad is not None for t in tensors] == [i == needed for i in range(3)]


def test_feature_map_is_not_kept():
    kept = []
    x = torch.randn(2, 4, 3, 3, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.shape), lambda t: t):
        ops.channel_attention(x, *weights(4, 2))
    assert x.shape not in kept


@pytest.mark.usefixtures("torch_device")
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_operator_contract(layout):
    x = feature_map(2, 4, 3, 5, layout=layout).requires_grad_()
    w1, w2 = (w.requires_grad_() for w in weights(4, 2))
    operator = torch.ops.adarts_ext.channel_attention
    torch.library.opcheck(operator, (x, w1, w2))
    scores, pooled, hidden, position = operator(x.detach(), w1.detach(), w2.detach())
    torch.library.opcheck(
        torch.ops.adarts_ext.channel_attention_backward,
        (
            torch.randn(2, 4),
            scores,
            w1.detach(),
            w2.detach(),
            pooled,
            hidden,
            position,
            3,
            5,
            layout == "channels_last",
            True,
            True,
            True,
        ),
    )


@pytest.mark.usefixtures("torch_device")
def test_compiles_without_graph_break():
    tensors = [t.requires_grad_() for t in (torch.randn(2, 4, 3, 3), *weights(4, 2))]
    compiled = torch.compile(ops.channel_attention, fullgraph=True, backend="aot_eager")
    grads = [
        torch.autograd.grad(f(*tensors).square().sum(), tensors)
        for f in (compiled, ops.channel_attention)
    ]
    for a, b in zip(*grads, strict=True):
        assert torch.equal(a, b)


def test_result_does_not_depend_on_threads():
    tensors = [t.requires_grad_() for t in (torch.randn(16, 8, 32, 32), *weights(8, 4))]
    results = []
    threads = torch.get_num_threads()
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            scores = ops.channel_attention(*tensors)
            results.append((scores, *torch.autograd.grad(scores.square().sum(), tensors)))
    finally:
        torch.set_num_threads(threads)
    for one, two in zip(*results, strict=True):
        assert torch.equal(one, two)


X = torch.zeros(2, 4, 3, 3)
W1, W2 = torch.zeros(2, 4), torch.zeros(4, 2)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((X[0], W1, W2), ValueError, r"x has shape \(4, 3, 3\), expected \(N, C, H, W\)"),
        ((X[..., :0], W1, W2), ValueError, "expected at least one pixel"),
        ((X, W1[:, :3], W2), ValueError, r"w1 has shape \(2, 3\), expected \(2, 4\)"),
        ((X, W1, W2[:, :1]), ValueError, r"w2 has shape \(4, 1\), expected \(4, 2\)"),
        ((X.int(), W1, W2), TypeError, "x has dtype torch.int32"),
        ((X, W1.int(), W2), TypeError, "w1 has dtype torch.int32"),
        ((X, W1, W2.to("meta")), ValueError, "w2 is on meta, expected cpu like x"),
    ],
)
def test_bad_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        ops.channel_attention(*arguments)
