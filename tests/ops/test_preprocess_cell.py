from __future__ import annotations

import pytest
import torch
from comparison import Errors, assert_exact
from torch.utils.flop_counter import FlopCounterMode

from adarts_ext import _library, ops, reference
from adarts_ext.nn.operations import FactorizedReduce, ReLUConvBN
from adarts_ext.ops import from_image_blocks, to_image_blocks
from adarts_ext.ops.preprocess_cell import preprocess_inputs
from adarts_ext.ops.processes import ALONE


def operands(batch=5, channels=(6, 4), size=(4, 6)):
    x = torch.randn(batch, channels[0], *size, dtype=torch.float64)
    weights = torch.randn(channels[1], channels[0], dtype=torch.float64)
    return x, weights, torch.randn(batch, channels[1], *size, dtype=torch.float64)


def some_norms(channels: int):
    mean = torch.linspace(-1, 1, channels, dtype=torch.float64)
    variance = mean.square() + 0.5
    return torch.stack([mean, (variance + 1e-5).rsqrt(), variance])


def run(function, operands, stride, dtype, norms=None):
    x, weights, direction = operands
    leaves = [tensor.detach().to(dtype).requires_grad_() for tensor in (x, weights)]
    norms = None if norms is None else norms.to(torch.promote_types(dtype, torch.float32))
    blocks = to_image_blocks(leaves[0])
    h, statistics = function(blocks, leaves[1], x.size(0), stride, norms)
    h = from_image_blocks(h, x.size(0))
    direction = direction[..., : h.size(2), : h.size(3)].to(dtype)
    of_x, of_weights = torch.autograd.grad(h, leaves, direction)
    return {"h": h.detach(), "norms": statistics, "of x": of_x, "of weights": of_weights}


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("batch", [1, 5, 16, 17, 33])
def test_matches_reference(batch, stride, training):
    drawn = operands(batch)
    norms = None if training else some_norms(4)
    actual = run(ops.preprocess_cell, drawn, stride, torch.float64, norms)
    assert_exact(actual, run(reference.preprocess_cell, drawn, stride, torch.float64, norms))


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(
    ("channels", "size"),
    [
        ((2, 2), (2, 2)),
        ((70, 20), (2, 4)),
        ((3, 8), (34, 2)),
        ((264, 76), (4, 4)),
        ((9, 12), (20, 22)),
    ],
)
def test_any_size(channels, size, stride):
    drawn = operands(3, channels, size)
    actual = run(ops.preprocess_cell, drawn, stride, torch.float64)
    assert_exact(actual, run(reference.preprocess_cell, drawn, stride, torch.float64))


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_lower_precision_is_as_exact_as_plain_torch(dtype, stride):
    errors = Errors()
    for seed in errors.until_clear():
        torch.manual_seed(seed)
        drawn = [tensor.to(dtype).double() for tensor in operands()]
        truth = run(reference.preprocess_cell, drawn, stride, torch.float64)
        actual = run(ops.preprocess_cell, drawn, stride, dtype)
        plain = run(reference.preprocess_cell, drawn, stride, dtype)
        for name, expected in truth.items():
            errors.add(name, actual[name], plain[name], expected)
    errors.assert_at_most_twice()


@pytest.mark.parametrize("stride", [1, 2])
def test_result_does_not_depend_on_threads(stride):
    drawn = operands(33, (6, 4), (20, 22))
    threads = torch.get_num_threads()
    try:
        results = []
        for count in (1, 4):
            torch.set_num_threads(count)
            results.append(run(ops.preprocess_cell, drawn, stride, torch.float32))
    finally:
        torch.set_num_threads(threads)
    for name, result in results[0].items():
        assert torch.equal(result, results[1][name]), name


@pytest.mark.parametrize("stride", [1, 2])
def test_the_definition_is_what_the_modules_compute(stride):
    module = (FactorizedReduce if stride == 2 else ReLUConvBN)(6, 4, affine=False).double()
    weights = torch.cat([weight.flatten(1) for weight in module.parameters()])
    x = operands()[0]
    h, norms = reference.preprocess_cell(to_image_blocks(x), weights, 5, stride)
    torch.testing.assert_close(from_image_blocks(h, 5), module(x))
    running = list(module.buffers())
    torch.testing.assert_close(running[0], 0.1 * norms[0])
    torch.testing.assert_close(running[1], 0.9 + 0.1 * norms[2])


@pytest.mark.usefixtures("torch_device")
@pytest.mark.parametrize("stride", [1, 2])
def test_gradients(stride):
    x, weights, _ = operands(2, (3, 2), (2, 4))

    def preprocess(x, weights):
        h, _ = ops.preprocess_cell(to_image_blocks(x), weights, 2, stride)
        return from_image_blocks(h, 2)

    assert torch.autograd.gradcheck(preprocess, (x.requires_grad_(), weights.requires_grad_()))


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("needed", [(True, False), (False, True)])
def test_only_needed_gradients(needed):
    x, weights, _ = operands()
    leaves = [t.requires_grad_(need) for t, need in zip((x, weights), needed, strict=True)]
    h, _ = ops.preprocess_cell(to_image_blocks(x), weights, 5, 2)
    h.sum().backward()
    assert [leaf.grad is not None for leaf in leaves] == list(needed)


@pytest.mark.usefixtures("torch_device")
def test_nothing_but_input_and_output_is_kept():
    kept = []
    blocks = to_image_blocks(operands()[0]).requires_grad_()
    weights = torch.randn(4, 6, dtype=torch.float64)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.shape), lambda t: t):
        h, norms = ops.preprocess_cell(blocks, weights, 5, 1)
    assert kept == [blocks.shape, weights.shape, h.shape, (1, *norms.shape)]


@pytest.mark.usefixtures("torch_device")
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("stride", [1, 2])
def test_operator_contract(stride, training):
    xs, weights, strides = two_inputs(5, stride)
    xs = [to_image_blocks(x) for x in xs]
    norms = [] if training else [some_norms(4)] * 2
    operator = torch.ops.adarts_ext.preprocess_cell
    leaves = [[t.clone().requires_grad_() for t in some] for some in (xs, weights)]
    torch.library.opcheck(operator, (*leaves, norms, 5, strides, 1e-5, *ALONE[1:]))
    h, batch_norms = operator(xs, weights, norms, 5, strides, 1e-5, *ALONE[1:])
    used = list(batch_norms) if training else norms
    grads = [torch.randn_like(one) for one in h]
    needed = [True, True], True
    torch.library.opcheck(
        torch.ops.adarts_ext.preprocess_cell_backward,
        (grads, xs, weights, h, used, 5, strides, training, *needed, *ALONE[1:]),
    )


def two_inputs(batch=5, stride=2, channels=(6, 10, 4), size=(4, 6)):
    """Draw two inputs of a cell, the first ``stride`` times as large, their weights and strides."""
    first, second, outputs = channels
    xs = [
        torch.randn(batch, first, *(stride * n for n in size), dtype=torch.float64),
        torch.randn(batch, second, *size, dtype=torch.float64),
    ]
    weights = [torch.randn(outputs, n, dtype=torch.float64) for n in (first, second)]
    return xs, weights, [stride, 1]


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("batch", "channels"), [(5, (6, 10, 4)), (17, (72, 130, 40))])
def test_two_inputs_at_once_are_as_each_for_itself(batch, channels, stride, training):
    xs, weights, strides = two_inputs(batch, stride, channels, (2, 6))
    leaves = [t.requires_grad_() for t in (*xs, *weights)]
    norms = None if training else [some_norms(channels[2]), some_norms(channels[2]) * 2]
    blocks = [to_image_blocks(x) for x in xs]
    h, statistics = preprocess_inputs(blocks, weights, batch, strides, norms)
    directions = [torch.randn_like(one) for one in h]
    grads = torch.autograd.grad(h, leaves, directions)
    for i, (x, weight, stride_of) in enumerate(zip(xs, weights, strides, strict=True)):
        given = None if norms is None else norms[i]
        expected, of_batch = reference.preprocess_cell(
            to_image_blocks(x), weight, batch, stride_of, given
        )
        of_x, of_weight = torch.autograd.grad(expected, (x, weight), directions[i])
        actual = {"h": h[i], "of x": grads[i], "of weights": grads[2 + i]}
        truth = {"h": expected, "of x": of_x, "of weights": of_weight}
        if training:
            actual["norms"], truth["norms"] = statistics[i], of_batch
        assert_exact(
            {name: tensor.detach() for name, tensor in actual.items()},
            {name: tensor.detach() for name, tensor in truth.items()},
        )


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("needed", range(4))
def test_gradients_of_one_input_or_its_weights_alone(needed):
    xs, weights, strides = two_inputs()
    blocks = [to_image_blocks(x) for x in xs]
    every = [t.clone().requires_grad_() for t in (*blocks, *weights)]
    h, _ = preprocess_inputs(every[:2], every[2:], 5, strides)
    whole = torch.autograd.grad(h[0].square().sum() + h[1].square().sum(), every)
    leaves = [t.clone().requires_grad_(i == needed) for i, t in enumerate((*blocks, *weights))]
    h, _ = preprocess_inputs(leaves[:2], leaves[2:], 5, strides)
    (h[0].square().sum() + h[1].square().sum()).backward()
    assert [leaf.grad is not None for leaf in leaves] == [i == needed for i in range(4)]
    assert torch.equal(leaves[needed].grad, whole[needed])


@pytest.mark.usefixtures("device")
def test_an_output_without_a_gradient():
    xs, weights, strides = two_inputs()
    leaves = [to_image_blocks(x).requires_grad_() for x in xs]
    h, _ = preprocess_inputs(leaves, weights, 5, strides)
    h[1].square().sum().backward()
    assert not leaves[0].grad.any()
    assert leaves[1].grad.any()


def test_two_inputs_of_other_shapes_are_refused():
    xs, weights, _ = two_inputs()
    blocks = [to_image_blocks(x) for x in xs]
    with pytest.raises(ValueError, match="preprocess_cell: the results of two inputs have shapes"):
        preprocess_inputs(blocks, weights, 5, [1, 1])
    with pytest.raises(TypeError, match="preprocess_cell: input 1 has dtype"):
        preprocess_inputs([blocks[0], blocks[1].float()], weights, 5, [2, 1])


@pytest.mark.usefixtures("torch_device")
def test_compiles_without_graph_break():
    x, weights, _ = operands()
    leaves = to_image_blocks(x).requires_grad_(), weights.requires_grad_()

    def preprocess(x, weights):
        return ops.preprocess_cell(x, weights, 5, 2)[0]

    compiled = torch.compile(preprocess, fullgraph=True, backend="aot_eager")
    grads = [torch.autograd.grad(f(*leaves).square().sum(), leaves) for f in (compiled, preprocess)]
    assert all(torch.equal(a, b) for a, b in zip(*grads, strict=True))


def test_where_there_are_no_kernels_the_definition_runs(monkeypatch):
    x, weights, _ = operands()
    blocks = to_image_blocks(x)
    expected = reference.preprocess_cell(blocks, weights, 5, 2)
    monkeypatch.setattr(_library, "has_kernels", lambda tensor: False)
    actual = ops.preprocess_cell(blocks, weights, 5, 2)
    assert all(torch.equal(a, b) for a, b in zip(actual, expected, strict=True))


@pytest.mark.parametrize("stride", [1, 2])
def test_arithmetic_is_that_of_the_convolutions(stride):
    x, weights, _ = operands()
    blocks = to_image_blocks(x).requires_grad_()
    counts = []
    for module in (ops, reference):
        with FlopCounterMode(display=False) as counter:
            h, _ = module.preprocess_cell(blocks, weights.requires_grad_(), 5, stride)
            h.sum().backward()
        counts.append(counter.get_total_flops())
    assert counts[0] == counts[1]


X = to_image_blocks(torch.zeros(5, 6, 4, 4))
W = torch.zeros(4, 6)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((X[0], W, 5, 1), ValueError, r"x has shape .* expected \(1, C, H, W, 16\) for 5 images"),
        ((X, W, 17, 1), ValueError, r"expected \(2, C, H, W, 16\) for 17 images"),
        ((X, W, 5, 3), ValueError, "stride is 3, expected 1 or 2"),
        ((X[:, :, :3], W, 5, 2), ValueError, "expected even H and W at stride 2"),
        ((X, W[:, :5], 5, 1), ValueError, r"weights have shape \(4, 5\), expected \(C, 6\)"),
        ((X, W[:3], 5, 2), ValueError, r"weights have shape \(3, 6\), expected .* even C"),
        ((X.half(), W, 5, 1), TypeError, "x has dtype torch.float16, expected float32, float64 or"),
        ((X, W.int(), 5, 1), TypeError, "weights has dtype torch.int32"),
        ((X, W.to("meta"), 5, 1), ValueError, "weights is on meta, expected cpu like x"),
        ((X, W, 5, 1, W), ValueError, r"norms has shape \(4, 6\), expected \(3, 4\)"),
        ((X[:, :, :1, :1], W, 1, 1), ValueError, "more than one value per channel"),
    ],
)
def test_bad_arguments(arguments, error, message):
    with pytest.raises(error, match=f"preprocess_cell: .*{message}"):
        ops.preprocess_cell(*arguments)
