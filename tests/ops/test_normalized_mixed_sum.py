from __future__ import annotations

import pytest
import torch
from comparison import Errors, assert_exact, compare, run
from conftest import feature_map
from torch import Tensor, nn

from adarts_ext import ops, reference


def flags(count: int) -> list[bool]:
    """All but every third, as in a mixed operation some candidates have no BatchNorm."""
    return [i % 3 != 2 for i in range(count)]


def given_norms(normalized: list[bool], channels: int, dtype: torch.dtype) -> Tensor:
    mean, variance = torch.randn(2, sum(normalized), channels).unbind()
    variance = 0.5 + variance.square()
    return torch.stack([mean, (variance + 1e-5).rsqrt(), variance], 1).to(
        torch.float64 if dtype == torch.float64 else torch.float32
    )


def compare_both(tensors, grad, normalized, norms=None) -> None:
    """Compare result and gradients with the definition; ``tensors`` are weights and inputs."""
    functions = [
        lambda w, *x, f=module.normalized_mixed_sum: f(x, w, normalized, norms).out
        for module in (ops, reference)
    ]
    if grad.dtype == torch.float64:  # whose yardstick would be float32 with sums in float64
        results = [run(function, tensors, grad, torch.float64) for function in functions]
        assert_exact(*({"result": out, "weights": w, **name(x)} for out, w, *x in results))
        return
    # The weighted sum of the absolute values of what is summed: BatchNorm takes no part in that.
    weights, *inputs = (tensor.double() for tensor in tensors)
    terms = [
        reference.normalized_mixed_sum(inputs, chosen, normalized, norms).out.abs()
        for chosen in torch.eye(len(inputs), dtype=torch.double)
    ]
    sizes = run(
        lambda w, *x: reference.mixed_sum(x, w), [weights, *terms], grad.abs(), torch.double
    )
    compare(*functions, tensors, grad, sizes)


def name(inputs: list[Tensor]) -> dict[str, Tensor]:
    return {f"input {i}": x for i, x in enumerate(inputs)}


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("count", [1, 7, 20])
def test_matches_reference(dtype, layout, count, training):
    inputs = [feature_map(3, 5, 7, 6, dtype, layout) for _ in range(count)]
    weights = torch.rand(count, dtype=dtype)
    norms = None if training else given_norms(flags(count), 5, dtype)
    compare_both([weights, *inputs], feature_map(3, 5, 7, 6, dtype), flags(count), norms)


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("count", [8, 33])
@pytest.mark.parametrize("shape", [(6, 3, 4, 4), (9, 2, 1, 1), (2, 1, 33, 31)])
def test_many_inputs_and_small_planes(dtype, count, shape):
    inputs = [feature_map(*shape, dtype) for _ in range(count)]
    weights = torch.rand(count, dtype=dtype)
    compare_both([weights, *inputs], feature_map(*shape, dtype), flags(count))


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("offset", [1, 2])
def test_misaligned_memory(dtype, offset):
    inputs = [feature_map(3, 4, 8, 4, dtype)]
    inputs += [torch.randn(3 * 4 * 8 * 4 + offset, dtype=dtype)[offset:].view(3, 4, 8, 4)]
    compare_both([torch.rand(2, dtype=dtype), *inputs], feature_map(3, 4, 8, 4, dtype), [True] * 2)


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("normalized", [[True, True], [False, False]])
def test_all_or_none_normalized(normalized):
    inputs = [feature_map(3, 4, 5, 4) for _ in range(2)]
    compare_both([torch.rand(2), *inputs], torch.randn(3, 4, 5, 4), normalized)


@pytest.mark.parametrize("shape", [(16, 8, 64, 64), (300, 2, 3, 3)])
def test_large_sum_is_as_exact_as_torch(shape):
    inputs = [torch.randn(shape) for _ in range(4)]
    compare_both([torch.rand(4), *inputs], torch.randn(shape), flags(4))


@pytest.mark.usefixtures("device")
def test_mean_far_from_zero():
    """Channels whose mean is a thousand deviations away, one of them with a far first value."""
    errors = Errors()  # the rounding of two means is luck
    for seed in errors.until_clear():
        torch.manual_seed(seed)
        x = torch.randn(20, 3, 6, 8) + 1000 * torch.tensor([1.0, -1.0, 0.0])[:, None, None]
        x[0, 2, 0, 0] = 500.0
        tensors, grad = [torch.rand(2), x, torch.randn_like(x)], torch.randn_like(x)
        actual, plain, truth = (
            run(lambda w, *x, f=module.normalized_mixed_sum: f(x, w, [True, True]).out, *given)
            for module, *given in (
                (ops, tensors, grad, torch.float32),
                (reference, tensors, grad, torch.float32),
                (reference, tensors, grad, torch.float64),
            )
        )
        kinds = "result", "weights", "far", "near"
        for kind, *results in zip(kinds, actual, plain, truth, strict=True):
            errors.add(kind, *results)
    errors.assert_at_most_twice()
    norms = ops.normalized_mixed_sum([x], torch.ones(1), [True]).norms.double()
    variance, mean = torch.var_mean(x.double(), (0, 2, 3))
    torch.testing.assert_close(norms[0, 0], mean, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(norms[0, 2], variance, rtol=1e-5, atol=0)


@pytest.mark.usefixtures("device")
def test_statistics_are_those_of_batch_norm(dtype):
    x, y = feature_map(4, 6, 5, 3, dtype), feature_map(4, 6, 5, 3, dtype, "channels_last")
    out, norms = ops.normalized_mixed_sum([x, y], torch.ones(2), [False, True], eps=1e-3)
    exact = torch.float64 if dtype == torch.float64 else torch.float32
    assert norms.shape == (1, 3, 6)
    assert norms.dtype == exact
    assert out.is_contiguous()
    assert not norms.requires_grad
    norm = nn.BatchNorm2d(6, eps=1e-3, affine=False, momentum=1.0, dtype=exact)
    norm(y.to(exact))
    mean, rstd, variance = norms[0]
    torch.testing.assert_close(mean, norm.running_mean)
    torch.testing.assert_close(variance, norm.running_var)
    biased = y.to(exact).var((0, 2, 3), correction=0)
    torch.testing.assert_close(rstd, (biased + 1e-3).rsqrt())


@pytest.mark.usefixtures("device")
def test_given_norms_are_used_and_none_are_returned():
    x, norms = feature_map(2, 3, 4, 4), given_norms([True], 3, torch.float32)
    out, returned = ops.normalized_mixed_sum([x], torch.tensor([2.0]), [True], norms)
    mean, rstd, _ = norms[0][:, :, None, None]
    torch.testing.assert_close(out, 2 * (x - mean) * rstd)
    assert returned.numel() == 0


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("shape", [(0, 4, 8, 8), (2, 0, 8, 8), (2, 4, 0, 8)])
def test_empty_with_given_norms(shape):
    inputs = [torch.randn(shape, requires_grad=True) for _ in range(2)]
    weights = torch.rand(2, requires_grad=True)
    norms = given_norms([True], shape[1], torch.float32)
    out = ops.normalized_mixed_sum(inputs, weights, [True, False], norms).out
    out.sum().backward()
    assert out.shape == shape
    assert inputs[0].grad.shape == shape
    assert weights.grad.tolist() == [0.0, 0.0]


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("training", [True, False])
def test_gradients(training):
    inputs = [torch.randn(2, 2, 2, 3, dtype=torch.double, requires_grad=True) for _ in range(3)]
    weights = torch.rand(3, dtype=torch.double, requires_grad=True)
    norms = None if training else given_norms(flags(3), 2, torch.double)
    assert torch.autograd.gradcheck(
        lambda w, *x: ops.normalized_mixed_sum(x, w, flags(3), norms).out, (weights, *inputs)
    )


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("needed", [(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 0, 1)])
def test_only_needed_gradients(needed, training):
    a, b = (torch.randn(2, 3, 4, 5, requires_grad=bool(flag)) for flag in needed[:2])
    weights = torch.rand(2, requires_grad=bool(needed[2]))
    norms = None if training else given_norms([True], 3, torch.float32)
    grads = []
    for functions in (ops, reference):
        out = functions.normalized_mixed_sum([a, b], weights, [True, False], norms).out
        leaves = [t for t in (a, b, weights) if t.requires_grad]
        grads.append(torch.autograd.grad(out.square().sum(), leaves))
    torch.testing.assert_close(*grads)


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize(
    ("training", "weights_need", "inputs_kept"),
    [(True, False, 2), (True, True, 2), (False, True, 2), (False, False, 0)],
)
def test_keeps_nothing_but_what_backward_reads(training, weights_need, inputs_kept):
    kept = []
    inputs = [torch.randn(2, 3, 4, 4, requires_grad=True) for _ in range(2)]
    norms = None if training else given_norms([True], 3, torch.float32)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.shape), lambda t: t):
        ops.normalized_mixed_sum(
            inputs, torch.rand(2, requires_grad=weights_need), [True, False], norms
        )
    assert sorted(kept) == sorted([(2,), (1, 3, 3)] + [(2, 3, 4, 4)] * inputs_kept)


def test_result_does_not_depend_on_threads():
    inputs = [torch.randn(40, 4, 16, 16, requires_grad=True) for _ in range(3)]
    weights = torch.rand(3, requires_grad=True)
    results = []
    threads = torch.get_num_threads()
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            out, norms = ops.normalized_mixed_sum(inputs, weights, flags(3))
            grads = torch.autograd.grad(out.square().sum(), [weights, *inputs])
            results.append((out, norms, *grads))
    finally:
        torch.set_num_threads(threads)
    for one, two in zip(*results, strict=True):
        assert torch.equal(one, two)


@pytest.mark.usefixtures("torch_device")
@pytest.mark.parametrize("training", [True, False])
def test_operator_contract(training):
    inputs = [feature_map(2, 4, 3, 5).requires_grad_() for _ in range(3)]
    weights = torch.rand(3, requires_grad=True)
    norms = given_norms(flags(3), 4, torch.float32)
    given = None if training else norms
    operator = torch.ops.adarts_ext.normalized_mixed_sum
    torch.library.opcheck(operator, (inputs, weights, flags(3), given, 1e-5))
    detached = [t.detach() for t in inputs]
    torch.library.opcheck(
        torch.ops.adarts_ext.normalized_mixed_sum_backward,
        (
            torch.randn(2, 4, 3, 5),
            detached,
            weights.detach(),
            flags(3),
            norms,
            training,
            [True, False, True],
            True,
        ),
    )


@pytest.mark.usefixtures("torch_device")
def test_compiles_without_graph_break():
    inputs = [torch.randn(2, 4, 3, 5, requires_grad=True) for _ in range(3)]
    weights = torch.rand(3, requires_grad=True)
    compiled = torch.compile(ops.normalized_mixed_sum, fullgraph=True, backend="aot_eager")
    grads = []
    for function in (compiled, ops.normalized_mixed_sum):
        out = function(inputs, weights, flags(3)).out
        grads.append(torch.autograd.grad(out.square().sum(), [weights, *inputs]))
    for one, two in zip(*grads, strict=True):
        assert torch.equal(one, two)


@pytest.mark.usefixtures("device")
def test_weights_of_another_dtype_are_converted():
    inputs = [torch.randn(2, 3, 4, 4, dtype=torch.bfloat16) for _ in range(2)]
    weights = torch.tensor([0.5, 2.0], dtype=torch.float64, requires_grad=True)
    out = ops.normalized_mixed_sum(inputs, weights, [True, False]).out
    assert out.dtype == torch.bfloat16
    out.sum().backward()
    assert weights.grad.dtype == torch.float64


X = torch.zeros(2, 3, 4, 4)


@pytest.mark.parametrize(
    ("inputs", "weights", "normalized", "norms", "error", "message"),
    [
        ([], torch.rand(0), [], None, ValueError, "inputs is empty"),
        ([X[0]], torch.rand(1), [True], None, ValueError, r"shape \(3, 4, 4\), expected \(N, C,"),
        (
            [X, X[:1]],
            torch.rand(2),
            [True, True],
            None,
            ValueError,
            r"input 1 has shape \(1, 3, 4, 4\), expected \(2, 3, 4, 4\) like input 0",
        ),
        ([X], torch.rand(2), [True], None, ValueError, r"weights has shape \(2,\), expected \(1,"),
        ([X], torch.rand(1), [True] * 2, None, ValueError, "normalized has 2 flags, expected 1"),
        (
            [X],
            torch.rand(1),
            [True],
            torch.rand(3, 3),
            ValueError,
            r"norms has shape \(3, 3\), expected \(1, 3, 3\)",
        ),
        ([X.int()], torch.rand(1), [True], None, TypeError, "dtype torch.int32, expected float32"),
        ([X], torch.ones(1).int(), [True], None, TypeError, "weights has dtype torch.int32"),
        (
            [X, X.double()],
            torch.rand(2),
            [True, True],
            None,
            TypeError,
            "input 1 has dtype torch.float64, expected torch.float32 like input 0",
        ),
        (
            [X[:1, :, :1, :1]],
            torch.rand(1),
            [True],
            None,
            ValueError,
            "more than one value per channel .* got 1 image of 1 x 1 pixels",
        ),
        ([X[:0]], torch.rand(1), [True], None, ValueError, "more than one value per channel"),
    ],
)
def test_bad_arguments(inputs, weights, normalized, norms, error, message):
    with pytest.raises(error, match=message):
        ops.normalized_mixed_sum(inputs, weights, normalized, norms)


@pytest.mark.parametrize(
    ("weights", "normalized", "message"),
    [
        (torch.rand(3), [True], r"weights has shape \(3,\), expected \(1,\)"),
        (torch.rand(1), [True, True], "got 1 inputs and 2 flags"),
        (torch.rand(1).double(), [True], "in float32"),
    ],
)
def test_bad_arguments_of_the_bare_operator(weights, normalized, message):
    with pytest.raises(RuntimeError, match=message):
        torch.ops.adarts_ext.normalized_mixed_sum([X], weights, normalized, None, 1e-5)
