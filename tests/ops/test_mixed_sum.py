from __future__ import annotations

import pytest
import torch
from comparison import compare
from conftest import feature_map

from adarts_ext import ops, reference


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("count", [1, 3, 4, 7, 16])
def test_matches_reference(dtype, layout, count):
    inputs = [feature_map(3, 5, 7, 6, dtype, layout) for _ in range(count)]
    weights = torch.rand(count, dtype=dtype)
    compare(
        lambda w, *x: ops.mixed_sum(x, w),
        lambda w, *x: reference.mixed_sum(x, w),
        [weights, *inputs],
        feature_map(3, 5, 7, 6, dtype),
    )


def test_large_sum_is_as_exact_as_torch():
    inputs = [torch.rand(16, 8, 64, 64) for _ in range(4)]
    compare(
        lambda w, *x: ops.mixed_sum(x, w),
        lambda w, *x: reference.mixed_sum(x, w),
        [torch.rand(4), *inputs],
        torch.rand(16, 8, 64, 64),
    )


@pytest.mark.usefixtures("device")
def test_mixed_memory_formats():
    inputs = [feature_map(2, 4, 3, 5, layout=layout) for layout in ("channels_last", "contiguous")]
    out = ops.mixed_sum(inputs, torch.tensor([0.25, 0.75]))
    torch.testing.assert_close(out, 0.25 * inputs[0] + 0.75 * inputs[1])
    assert out.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("shape", [(0, 4, 8, 8), (2, 0, 8, 8), (3,), ()])
def test_any_shape(shape):
    inputs = [torch.randn(shape) for _ in range(2)]
    out = ops.mixed_sum(inputs, torch.tensor([2.0, 3.0]))
    torch.testing.assert_close(out, 2 * inputs[0] + 3 * inputs[1])


@pytest.mark.usefixtures("device")
def test_gradients():
    inputs = [torch.randn(2, 2, 2, 2, dtype=torch.double, requires_grad=True) for _ in range(3)]
    weights = torch.rand(3, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(lambda w, *x: ops.mixed_sum(x, w), (weights, *inputs))


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize(
    "needed", [(True, False, False), (False, True, False), (False, False, True)]
)
def test_only_needed_gradients(needed):
    a, b = (torch.randn(2, 3, requires_grad=flag) for flag in needed[:2])
    weights = torch.rand(2, requires_grad=needed[2])
    ops.mixed_sum([a, b], weights).sum().backward()
    assert [t.grad is not None for t in (a, b, weights)] == list(needed)


@pytest.mark.usefixtures("device")
def test_inputs_are_not_kept_when_weights_need_no_gradient():
    kept = []
    inputs = [torch.randn(4, 4, requires_grad=True) for _ in range(2)]
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.shape), lambda t: t):
        ops.mixed_sum(inputs, torch.rand(2))
    assert kept == [(2,)]


def test_result_does_not_depend_on_threads():
    inputs = [torch.randn(8, 4, 32, 32, requires_grad=True) for _ in range(3)]
    weights = torch.rand(3, requires_grad=True)
    results = []
    threads = torch.get_num_threads()
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            out = ops.mixed_sum(inputs, weights)
            results.append((out, *torch.autograd.grad(out.square().sum(), [weights, *inputs])))
    finally:
        torch.set_num_threads(threads)
    for one, two in zip(*results, strict=True):
        assert torch.equal(one, two)


@pytest.mark.usefixtures("torch_device")
def test_operator_contract():
    inputs = [feature_map(2, 4, 3, 5).requires_grad_() for _ in range(3)]
    weights = torch.rand(3, requires_grad=True)
    torch.library.opcheck(torch.ops.adarts_ext.mixed_sum, (inputs, weights))
    detached = [t.detach() for t in inputs]
    torch.library.opcheck(
        torch.ops.adarts_ext.mixed_sum_backward,
        (torch.randn(2, 4, 3, 5), detached, weights.detach(), [True, False, True], True),
    )


@pytest.mark.usefixtures("torch_device")
def test_compiles_without_graph_break():
    inputs = [torch.randn(2, 4, 3, 5, requires_grad=True) for _ in range(3)]
    weights = torch.rand(3, requires_grad=True)
    compiled = torch.compile(ops.mixed_sum, fullgraph=True, backend="aot_eager")
    for function in (compiled, ops.mixed_sum):
        function(inputs, weights).square().sum().backward()
        weights.grad_list = [*getattr(weights, "grad_list", []), weights.grad.clone()]
        weights.grad = None
    assert torch.equal(*weights.grad_list)


@pytest.mark.usefixtures("device")
def test_weights_of_another_dtype_are_converted():
    inputs = [torch.ones(2, dtype=torch.bfloat16) for _ in range(2)]
    weights = torch.tensor([0.5, 2.0], requires_grad=True)
    out = ops.mixed_sum(inputs, weights)
    assert out.dtype == torch.bfloat16
    out.sum().backward()
    assert weights.grad.dtype == torch.float32


@pytest.mark.parametrize(
    ("inputs", "weights", "error", "message"),
    [
        ([], torch.rand(0), ValueError, "inputs is empty"),
        (
            [torch.zeros(8, 4), torch.zeros(8, 2)],
            torch.rand(2),
            ValueError,
            r"input 1 has shape \(8, 2\), expected \(8, 4\) like input 0",
        ),
        ([torch.zeros(3)], torch.rand(2), ValueError, r"weights has shape \(2,\), expected \(1,\)"),
        ([torch.zeros(3).int()], torch.rand(1), TypeError, "dtype torch.int32, expected float32"),
        ([torch.zeros(3)], torch.ones(1).int(), TypeError, "weights has dtype torch.int32"),
        (
            [torch.zeros(3), torch.zeros(3).double()],
            torch.rand(2),
            TypeError,
            "input 1 has dtype torch.float64, expected torch.float32 like input 0",
        ),
    ],
)
def test_bad_arguments(inputs, weights, error, message):
    with pytest.raises(error, match=message):
        ops.mixed_sum(inputs, weights)


def test_bad_arguments_of_the_bare_operator():
    with pytest.raises(RuntimeError, match=r"weights has shape \(3,\), expected \(1,\)"):
        torch.ops.adarts_ext.mixed_sum([torch.zeros(3)], torch.rand(3))
