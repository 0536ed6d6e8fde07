"""The mixed operation of an edge: its equation restated in float64, its gradients, its checks."""

from __future__ import annotations

import copy

import pytest
import torch
from comparison import Errors
from test_operations import normalise, restate
from torch import Tensor

from adarts_ext.genotype import PRIMITIVES
from adarts_ext.nn import PartialMixedOp

BACKENDS = ["fused", "reference"]
SELECTIONS = [
    "attention",
    "first",
    "random",
    "all",
    "first-unshuffled",
    "attention-random",
    "attention-all",
]
CHANNELS, PROPORTION = 12, 3


def restate_edge(edge: PartialMixedOp, x: Tensor, weights: Tensor) -> Tensor:
    """The output of one edge, channel by channel."""
    channels = x.shape[1]
    count = channels if edge.selection.endswith("all") else channels // edge.proportion
    parameters = dict(edge.named_parameters())
    chosen = list(range(count))
    if edge.selection.startswith("attention"):
        w1, w2 = (parameters[f"ca.{name}.weight"].flatten(1) for name in ("fc1", "fc2"))
        hidden = (x.mean((2, 3)) @ w1.T).relu(), (x.amax((2, 3)) @ w1.T).relu()
        scores = torch.sigmoid(hidden[0] @ w2.T + hidden[1] @ w2.T)
        total = scores.sum(0).tolist()
        if edge.selection == "attention":
            chosen = sorted(range(channels), key=lambda channel: (-total[channel], channel))[:count]
        x = x * scores[:, :, None, None]
    if edge.selection.endswith("random"):
        chosen = torch.rand(channels).argsort()[:count].tolist()

    part = torch.stack([x[:, channel] for channel in chosen], 1)
    mixed = 0
    for number, name in enumerate(PRIMITIVES):
        prefix = f"_ops.{number}."
        own = {
            key.removeprefix(prefix): value
            for key, value in parameters.items()
            if key.startswith(prefix)
        }
        output = restate(name, own, part, edge.stride)
        mixed = mixed + weights[number] * (normalise(output) if "pool" in name else output)

    outputs = []
    for channel in range(channels):
        if channel in chosen:
            outputs.append(mixed[:, chosen.index(channel)])
        elif edge.stride == 1:
            outputs.append(x[:, channel])
        else:
            blocks = x[:, channel].unflatten(2, (-1, 2)).unflatten(1, (-1, 2))
            outputs.append(blocks.amax((2, 4)))
    if edge.selection == "first":
        # Shuffled in K groups: one channel of each group in turn.
        outputs = [
            outputs[group * count + member]
            for member in range(count)
            for group in range(edge.proportion)
        ]
    return torch.stack(outputs, 1)


def make(selection: str, stride: int, backend: str, dtype=torch.float64) -> PartialMixedOp:
    edge = PartialMixedOp(CHANNELS, stride, PROPORTION, selection, backend).to(dtype)
    if selection.startswith("attention"):
        with torch.no_grad():  # scores far from each other, so that rounding selects no others
            for parameter in edge.ca.parameters():
                parameter.mul_(8)
    return edge


def operands(dtype=torch.float64) -> tuple[Tensor, Tensor]:
    x = torch.randn(4, CHANNELS, 8, 6, dtype=dtype, requires_grad=True)
    weights = torch.randn(8, dtype=dtype).softmax(0).requires_grad_()
    return x, weights


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("selection", SELECTIONS)
def test_output_and_gradients_follow_the_equation(selection, stride, backend):
    edge = make(selection, stride, backend)
    x, weights = operands()
    leaves = [x, weights, *edge.parameters()]
    torch.manual_seed(7)
    actual = edge(x, weights)
    torch.manual_seed(7)
    expected = restate_edge(edge, x, weights)
    torch.testing.assert_close(actual, expected)
    direction = torch.randn_like(expected)
    gradients = torch.autograd.grad(actual, leaves, direction)
    for gradient, truth in zip(
        gradients, torch.autograd.grad(expected, leaves, direction), strict=True
    ):
        torch.testing.assert_close(gradient, truth)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("selection", SELECTIONS)
def test_fused_is_as_exact_as_plain_torch_in_float32(selection, stride):
    errors = Errors()
    for seed in errors.until_clear():
        torch.manual_seed(seed)
        plain = make(selection, stride, "reference", torch.float32)
        fused = make(selection, stride, "fused", torch.float32)
        fused.load_state_dict(plain.state_dict())
        exact = copy.deepcopy(plain).double()
        drawn = operands(torch.float32)
        results = [results_of(edge, *drawn) for edge in (exact, plain, fused)]
        for i, (truth, p, f) in enumerate(zip(*results, strict=True)):
            kind = "gradients of weights" if i > 2 else ("output", "input", "operations")[i]
            errors.add(kind, f, p, truth)
    errors.assert_at_most_twice()


def results_of(edge: PartialMixedOp, x: Tensor, weights: Tensor) -> list[Tensor]:
    """Output and gradients of x, the operations' weights and the edge's, for one seed."""
    dtype = edge._ops[4].op[1].weight.dtype
    leaves = [tensor.detach().to(dtype).requires_grad_() for tensor in (x, weights)]
    torch.manual_seed(7)
    y = edge(*leaves)
    direction = torch.linspace(-1, 1, y.numel(), dtype=dtype).reshape(y.shape)
    return [y, *torch.autograd.grad(y, [*leaves, *edge.parameters()], direction)]


@pytest.mark.parametrize("backend", BACKENDS)
def test_none_gives_nothing_but_takes_its_share(backend):
    edge = make("all", 1, backend)
    x, weights = operands()
    only_none = torch.zeros_like(weights)
    only_none[0] = 1.0
    assert torch.equal(edge(x, only_none), torch.zeros_like(x))
    alphas = torch.randn(8, dtype=torch.float64, requires_grad=True)
    y = edge(x, alphas.softmax(0))
    (gradient,) = torch.autograd.grad(y.square().sum(), alphas)
    # Moving all alphas alike moves no weight; more `none` makes the output smaller.
    torch.testing.assert_close(gradient.sum(), torch.zeros((), dtype=torch.float64))
    assert gradient[0] < 0


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_attention_output_depends_on_the_batch_in_evaluation_too(backend):
    depends = []
    for _ in range(20):  # one image alone may by luck choose the same channels
        edge = make("attention", 1, backend).eval()
        x, weights = operands()
        with torch.no_grad():
            together, alone = edge(x, weights), edge(x[:1], weights)
            assert torch.equal(together, edge(x, weights))
        depends.append(not torch.allclose(together[:1], alone))
    assert any(depends)


@pytest.mark.parametrize("selection", ["first", "all"])
def test_other_outputs_do_not_depend_on_the_batch_in_evaluation(selection):
    edge = make(selection, 1, "fused").eval()
    x, weights = operands()
    with torch.no_grad():
        torch.testing.assert_close(edge(x, weights)[:1], edge(x[:1], weights))


def test_random_selection_differs_from_call_to_call_and_follows_the_seed():
    edge = make("random", 1, "fused").eval()
    x, weights = operands()
    with torch.no_grad():
        torch.manual_seed(1)
        first, second = edge(x, weights), edge(x, weights)
        torch.manual_seed(1)
        assert torch.equal(first, edge(x, weights))
    assert not torch.allclose(first, second)
    kept = [int(torch.isclose(y, x).all((0, 2, 3)).sum()) for y in (first, second)]
    assert kept == [CHANNELS - CHANNELS // PROPORTION] * 2


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("selection", ["first", "all"])
def test_with_a_proportion_of_one_first_is_all(selection, stride):
    edge = PartialMixedOp(4, stride, 1, selection).double()
    x, weights = torch.randn(2, 4, 8, 8, dtype=torch.float64), torch.full((8,), 1 / 8)
    torch.testing.assert_close(edge(x, weights.double()), restate_edge(edge, x, weights))


@pytest.mark.parametrize("selection", SELECTIONS)
def test_names_and_selected_channels(selection):
    edge = PartialMixedOp(16, 2, selection=selection)
    state = edge.state_dict()
    selected = 16 if selection.endswith("all") else 4
    assert state["_ops.4.op.1.weight"].shape == (selected, 1, 3, 3)
    assert state["_ops.1.1.running_mean"].shape == (selected,)
    assert state["_ops.3.conv_2.weight"].shape == (selected // 2, selected, 1, 1)
    assert not any(key.startswith("_ops.0") for key in state)
    assert ("ca.fc1.weight" in state) == selection.startswith("attention")
    assert f"selection={selection}, backend=fused" in repr(edge)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((10, 1), "channels must be divisible by proportion 4, got 10"),
        ((2, 1), "channels must be divisible by proportion 4, got 2"),
        ((4, 2), "out_channels must be even, got 1"),
        ((16, 3), "stride must be 1 or 2, got 3"),
        ((16, 1, 0), "proportion must be at least 1, got 0"),
        ((0, 1), "channels must be at least 1, got 0"),
        (
            (16, 1, 4, "last"),
            "selection must be one of attention, first, random, all, .*, got 'last'",
        ),
        ((16, 1, 4, "all", "cuda"), "backend must be one of fused, reference, got 'cuda'"),
    ],
)
def test_impossible_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        PartialMixedOp(*arguments)


@pytest.mark.parametrize(
    ("shape", "weights", "message"),
    [
        ((2, 8, 8, 8), 8, r"expected \(N, 16, H, W\), got shape \(2, 8, 8, 8\)"),
        ((16, 8, 8), 8, r"expected \(N, 16, H, W\), got shape \(16, 8, 8\)"),
        ((2, 16, 8, 8), 7, r"expected 8 weights, got \(7,\)"),
        ((2, 16, 7, 8), 8, r"even height and width, got shape \(2, 16, 7, 8\)"),
    ],
)
def test_inputs_of_another_shape_are_refused(shape, weights, message):
    with pytest.raises(ValueError, match=message):
        PartialMixedOp(16, 2)(torch.zeros(shape), torch.zeros(weights))


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("selection", SELECTIONS)
def test_it_runs_under_autocast_and_torch_compile(selection, backend):
    edge = make(selection, 2, backend, torch.float32)
    x, weights = operands(torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        y = edge(x.bfloat16(), weights)
    assert y.dtype == torch.bfloat16
    y.float().sum().backward()
    assert all(torch.isfinite(leaf.grad).all() for leaf in (x, weights, *edge.parameters()))

    compiled = torch.compile(edge, backend="aot_eager", fullgraph=True)
    torch.manual_seed(7)
    expected = edge(x, weights)
    torch.manual_seed(7)
    torch.testing.assert_close(compiled(x, weights), expected)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("name", ["max_pool_3x3", "avg_pool_3x3", "skip_connect", "sep_conv_3x3"])
def test_a_not_a_number_goes_where_it_does_in_plain_torch(name, stride):
    weights = torch.zeros(8)
    weights[PRIMITIVES.index(name)] = 1
    for pixel in range(64):
        x = torch.randn(3, 4, 8, 8)
        x[1, 2].view(-1)[pixel] = torch.nan
        found = []
        for backend in ("fused", "reference"):
            mixed_op = PartialMixedOp(4, stride, 1, "all", backend, candidates=(name,))
            found.append(mixed_op(x, weights).isnan())
        assert torch.equal(*found), pixel
