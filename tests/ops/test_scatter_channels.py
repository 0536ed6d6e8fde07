from __future__ import annotations

import pytest
import torch
from comparison import compare
from conftest import as_index, feature_map

from adarts_ext import ops, reference

INDEX = [4, 0, 3]


def arguments(stride, dtype=torch.float32, layout="contiguous", shape=(3, 5, 8, 6)):
    n, c, h, w = shape
    return [
        feature_map(n, c, h, w, dtype, layout),
        feature_map(n, len(INDEX), h // stride, w // stride, dtype),
        torch.randn(n, c, dtype=dtype),  # also negative: the maximum is taken after scaling
    ]


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("stride", [1, 2])
def test_matches_reference(dtype, layout, stride):
    compare(
        lambda x, u, s: ops.scatter_channels(x, as_index(INDEX), u, s, stride),
        lambda x, u, s: reference.scatter_channels(x, as_index(INDEX), u, s, stride),
        arguments(stride, dtype, layout),
        feature_map(3, 5, 8 // stride, 6 // stride, dtype),
    )


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("stride", [1, 2])
def test_matches_reference_without_scale(dtype, layout, stride):
    compare(
        lambda x, u: ops.scatter_channels(x, as_index(INDEX), u, None, stride),
        lambda x, u: reference.scatter_channels(x, as_index(INDEX), u, None, stride),
        arguments(stride, dtype, layout)[:2],
        feature_map(3, 5, 8 // stride, 6 // stride, dtype),
    )


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("other", ["channels_last", "channel_slice", "pixel_slice"])
def test_any_update_and_gradient_layout(layout, other, stride):
    x, _, scale = arguments(stride, layout=layout)
    compare(
        lambda x, u, s: ops.scatter_channels(x, as_index(INDEX), u, s, stride),
        lambda x, u, s: reference.scatter_channels(x, as_index(INDEX), u, s, stride),
        [x, feature_map(3, 3, 8 // stride, 6 // stride, layout=other), scale],
        feature_map(3, 5, 8 // stride, 6 // stride, layout=other),
    )


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("shape", [(2, 5, 2, 2), (2, 5, 2, 8), (0, 5, 4, 4), (1, 5, 34, 2)])
def test_any_shape(shape, stride):
    n, c, h, w = shape
    compare(
        lambda x, u, s: ops.scatter_channels(x, as_index(INDEX), u, s, stride),
        lambda x, u, s: reference.scatter_channels(x, as_index(INDEX), u, s, stride),
        arguments(stride, shape=shape),
        torch.randn(n, c, h // stride, w // stride),
    )


@pytest.mark.usefixtures("device")
def test_ties_and_not_a_number_are_pooled_as_torch_does():
    x = torch.randint(0, 2, (4, 5, 16, 16)).float()
    x[0, 1, 2, 3] = float("nan")
    update = torch.zeros(4, 3, 8, 8)
    results = []
    grad = torch.rand(4, 5, 8, 8)
    for module in (ops, reference):
        leaf = x.clone().requires_grad_()
        out = module.scatter_channels(leaf, as_index(INDEX), update, None, 2)
        results.append((out.detach(), torch.autograd.grad(out, leaf, grad)[0]))
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True)


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("stride", [1, 2])
def test_gradients(stride):
    tensors = [t.double().requires_grad_() for t in arguments(stride, shape=(2, 5, 4, 2))]
    assert torch.autograd.gradcheck(
        lambda x, u, s: ops.scatter_channels(x, as_index(INDEX), u, s, stride), tensors
    )


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("needed", [0, 1, 2])
def test_only_needed_gradients(needed, stride):
    tensors = arguments(stride)
    tensors[needed].requires_grad_()
    x, update, scale = tensors
    ops.scatter_channels(x, as_index(INDEX), update, scale, stride).sum().backward()
    assert [t.grad is not None for t in tensors] == [i == needed for i in range(3)]


def test_feature_map_is_not_kept_without_need():
    kept = []
    x, update, scale = arguments(1)
    x.requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.shape), lambda t: t):
        ops.scatter_channels(x, as_index(INDEX), update, scale)
    assert x.shape not in kept


@pytest.mark.usefixtures("torch_device")
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_operator_contract(layout, stride):
    x, update, scale = (t.requires_grad_() for t in arguments(stride, layout=layout))
    operator = torch.ops.adarts_ext.scatter_channels
    torch.library.opcheck(operator, (x, as_index(INDEX), update, scale, stride))
    torch.library.opcheck(operator, (x, as_index(INDEX), update, None, stride))
    grad = feature_map(3, 5, 8 // stride, 6 // stride, layout=layout)
    torch.library.opcheck(
        torch.ops.adarts_ext.scatter_channels_backward,
        (grad, x.detach(), as_index(INDEX), scale.detach(), stride, True, True, True),
    )


@pytest.mark.usefixtures("torch_device")
@pytest.mark.parametrize("stride", [1, 2])
def test_compiles_without_graph_break(stride):
    x, update, scale = (t.requires_grad_() for t in arguments(stride))
    compiled = torch.compile(ops.scatter_channels, fullgraph=True, backend="aot_eager")
    grads = [
        torch.autograd.grad(
            f(x, as_index(INDEX), update, scale, stride).square().sum(), [x, update, scale]
        )
        for f in (compiled, ops.scatter_channels)
    ]
    for a, b in zip(*grads, strict=True):
        assert torch.equal(a, b)


X = torch.zeros(2, 4, 6, 6)
U = torch.zeros(2, 2, 6, 6)
I = torch.tensor([1, 3])  # noqa: E741


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((X[0], I, U), ValueError, r"x has shape \(4, 6, 6\), expected \(N, C, H, W\)"),
        ((X, I.int(), U), TypeError, "index has dtype torch.int32"),
        ((X, I, U[:, :1]), ValueError, r"update has shape \(2, 1, 6, 6\), expected \(2, 2, 6, 6\)"),
        ((X, I, U, None, 2), ValueError, r"update has shape .* expected \(2, 2, 3, 3\)"),
        ((X[..., :5], I, U, None, 2), ValueError, r"\(2, 4, 6, 5\), expected even H and W"),
        ((X, I, U, None, 3), ValueError, "stride is 3, expected 1 or 2"),
        ((X, I, U.double()), TypeError, "update has dtype torch.float64, expected torch.float32"),
        ((X, I, U, torch.rand(4)), ValueError, r"scale has shape \(4,\), expected \(2, 4\)"),
        ((X, torch.tensor([1, 4]), U), RuntimeError, r"index\[1\] is 4, expected 0 to 3"),
        ((X, torch.tensor([1, 1]), U), RuntimeError, "index holds 1 twice"),
    ],
)
def test_bad_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        ops.scatter_channels(*arguments)
