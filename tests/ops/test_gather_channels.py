from __future__ import annotations

import pytest
import torch
from comparison import compare
from conftest import as_index, feature_map

from adarts_ext import ops, reference

INDEX = [4, 0, 3]
REPEATED = [1, 4, 1, 1]


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize(
    "index", [INDEX, REPEATED, INDEX[:0]], ids=["distinct", "repeated", "none"]
)
def test_matches_reference(dtype, layout, index):
    compare(
        lambda x, s: ops.gather_channels(x, as_index(index), s),
        lambda x, s: reference.gather_channels(x, as_index(index), s),
        [feature_map(3, 5, 7, 6, dtype, layout), torch.rand(3, 5, dtype=dtype)],
        feature_map(3, len(index), 7, 6, dtype),
    )


@pytest.mark.usefixtures("device")
def test_matches_reference_without_scale(dtype, layout):
    compare(
        lambda x: ops.gather_channels(x, as_index(REPEATED)),
        lambda x: reference.gather_channels(x, as_index(REPEATED)),
        [feature_map(3, 5, 7, 6, dtype, layout)],
        feature_map(3, 4, 7, 6, dtype),
    )


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("grad_layout", ["channels_last", "channel_slice", "pixel_slice"])
def test_any_gradient_layout(layout, grad_layout):
    compare(
        lambda x, s: ops.gather_channels(x, as_index(INDEX), s),
        lambda x, s: reference.gather_channels(x, as_index(INDEX), s),
        [feature_map(3, 5, 7, 6, layout=layout), torch.rand(3, 5)],
        feature_map(3, 3, 7, 6, layout=grad_layout),
    )


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("shape", [(2, 5, 1, 1), (2, 5, 1, 9), (1, 5, 9, 1), (0, 5, 4, 4)])
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_any_shape(shape, layout):
    compare(
        lambda x, s: ops.gather_channels(x, as_index(INDEX), s),
        lambda x, s: reference.gather_channels(x, as_index(INDEX), s),
        [feature_map(*shape, layout=layout), torch.rand(shape[:2])],
        torch.randn(shape[0], 3, *shape[2:]),
    )


@pytest.mark.usefixtures("device")
def test_keeps_channels_last():
    x = feature_map(2, 8, 4, 4, layout="channels_last")
    assert ops.gather_channels(x, as_index(INDEX)).is_contiguous(memory_format=torch.channels_last)
    assert ops.gather_channels(x[:, :6], as_index(INDEX)).is_contiguous(
        memory_format=torch.channels_last
    )


@pytest.mark.usefixtures("device")
def test_gradients():
    x = torch.randn(2, 5, 2, 3, dtype=torch.double, requires_grad=True)
    scale = torch.rand(2, 5, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda x, s: ops.gather_channels(x, as_index(REPEATED), s), (x, scale)
    )


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("needed", [(True, False), (False, True)])
def test_only_needed_gradients(needed):
    x, scale = torch.randn(2, 5, 3, 3), torch.rand(2, 5)
    x.requires_grad_(needed[0])
    scale.requires_grad_(needed[1])
    ops.gather_channels(x, as_index(INDEX), scale).sum().backward()
    assert (x.grad is not None, scale.grad is not None) == needed


def test_feature_map_is_not_kept_without_need():
    kept = []
    x = torch.randn(2, 5, 3, 3, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.shape), lambda t: t):
        ops.gather_channels(x, as_index(INDEX), torch.rand(2, 5))
    assert x.shape not in kept


@pytest.mark.usefixtures("torch_device")
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_operator_contract(layout):
    x = feature_map(2, 5, 3, 4, layout=layout).requires_grad_()
    scale = torch.rand(2, 5, requires_grad=True)
    torch.library.opcheck(torch.ops.adarts_ext.gather_channels, (x, as_index(INDEX), scale))
    torch.library.opcheck(torch.ops.adarts_ext.gather_channels, (x, as_index(INDEX), None))
    grad = feature_map(2, 3, 3, 4, layout=layout)
    torch.library.opcheck(
        torch.ops.adarts_ext.gather_channels_backward,
        (grad, x.detach(), as_index(INDEX), scale.detach(), 5, True, True),
    )


@pytest.mark.usefixtures("torch_device")
def test_compiles_without_graph_break():
    x, scale = torch.randn(2, 5, 3, 4, requires_grad=True), torch.rand(2, 5)
    compiled = torch.compile(ops.gather_channels, fullgraph=True, backend="aot_eager")
    grads = [
        torch.autograd.grad(f(x, as_index(INDEX), scale).square().sum(), x)[0]
        for f in (compiled, ops.gather_channels)
    ]
    assert torch.equal(*grads)


X = torch.zeros(2, 4, 3, 3)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((X[0], as_index(INDEX)), ValueError, r"x has shape \(4, 3, 3\), expected \(N, C, H, W\)"),
        ((X.long(), as_index(INDEX)), TypeError, "x has dtype torch.int64, expected float32"),
        (
            (X, as_index(INDEX).int()),
            TypeError,
            "index has dtype torch.int32, expected torch.int64",
        ),
        ((X, as_index(INDEX)[None]), ValueError, r"index has shape \(1, 3\), expected \(k,\)"),
        (
            (X, as_index(INDEX), torch.rand(2, 5)),
            ValueError,
            r"scale has shape \(2, 5\), expected \(2, 4\)",
        ),
        (
            (X, as_index(INDEX), torch.rand(2, 4).double()),
            TypeError,
            "scale has dtype torch.float64",
        ),
        ((X, torch.tensor([0, 4])), RuntimeError, r"index\[1\] is 4, expected 0 to 3"),
        ((X, torch.tensor([-1])), RuntimeError, r"index\[0\] is -1, expected 0 to 3"),
        ((X, torch.tensor([0], device="meta")), ValueError, "index is on meta, expected cpu"),
    ],
)
def test_bad_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        ops.gather_channels(*arguments)
