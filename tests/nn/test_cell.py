"""The search cell: its nodes restated edge by edge, the two memory modes, its checks."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from adarts_ext.nn import SearchCell
from adarts_ext.nn.operations import FactorizedReduce, ReLUConvBN

SELECTIONS = ["attention", "first", "random", "all", "attention-random", "attention-all"]


def make(reduction=False, reduction_previous=False, steps=2, **choices) -> SearchCell:
    return SearchCell(6, 10, 8, reduction, reduction_previous, steps, **choices).double()


def operands(cell: SearchCell, reduction_previous=False, batch=3) -> list[Tensor]:
    edges = len(cell._ops)
    first = 16 if reduction_previous else 8
    s0 = torch.randn(batch, 6, first, first, dtype=torch.float64)
    s1 = torch.randn(batch, 10, 8, 8, dtype=torch.float64)
    alphas = torch.randn(edges, 8, dtype=torch.float64).softmax(-1)
    betas = torch.rand(edges, dtype=torch.float64)
    return [tensor.requires_grad_() for tensor in (s0, s1, alphas, betas)]


@pytest.mark.parametrize("backend", ["fused", "reference"])
@pytest.mark.parametrize("reduction", [False, True])
@pytest.mark.parametrize("normalized", [False, True])
def test_a_node_sums_its_edges(normalized, reduction, backend):
    cell = make(reduction, steps=3, backend=backend)
    s0, s1, alphas, betas = operands(cell)
    actual = cell(s0, s1, alphas, betas if normalized else None)
    states, edge = [cell.preprocess0(s0), cell.preprocess1(s1)], 0
    for _ in range(3):
        node = 0
        for state in list(states):
            output = cell._ops[edge](state, alphas[edge])
            node = node + (betas[edge] * output if normalized else output)
            edge += 1
        states.append(node)
    assert edge == len(cell._ops) == 9
    torch.testing.assert_close(actual, torch.cat(states[2:], 1))


def test_only_the_edges_from_the_inputs_of_a_reduction_cell_halve_the_size():
    strides = [edge.stride for edge in make(reduction=True, steps=4)._ops]
    assert strides == [2, 2, 2, 2, 1, 2, 2, 1, 1, 2, 2, 1, 1, 1]
    assert {edge.stride for edge in make(reduction=False, steps=4)._ops} == {1}


@pytest.mark.parametrize("reduction_previous", [False, True])
def test_the_first_input_is_halved_after_a_reduction_cell(reduction_previous):
    cell = make(reduction_previous=reduction_previous)
    expected = FactorizedReduce if reduction_previous else ReLUConvBN
    assert isinstance(cell.preprocess0, expected)
    assert isinstance(cell.preprocess1, ReLUConvBN)
    assert cell(*operands(cell, reduction_previous)).shape == (3, 16, 8, 8)


def run(cell: SearchCell, operands: list[Tensor]) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    torch.manual_seed(5)
    output = cell(*operands)
    direction = torch.linspace(-1, 1, output.numel(), dtype=output.dtype).reshape(output.shape)
    gradients = torch.autograd.grad(output, [*operands, *cell.parameters()], direction)
    return output, list(gradients), list(cell.buffers())


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("reduction", [False, True])
@pytest.mark.parametrize("selection", SELECTIONS)
def test_recomputing_changes_no_output_gradient_or_buffer(selection, reduction, training):
    store = make(reduction, selection=selection).train(training)
    recompute = make(reduction, selection=selection, memory="recompute").train(training)
    recompute.load_state_dict(store.state_dict())
    inputs = operands(store)
    output, gradients, buffers = run(store, inputs)
    actual = run(recompute, inputs)
    assert torch.equal(actual[0], output)
    torch.testing.assert_close(actual[1], gradients)
    assert all(torch.equal(a, b) for a, b in zip(actual[2], buffers, strict=True))
    momenta = {m.momentum for m in recompute.modules() if isinstance(m, torch.nn.BatchNorm2d)}
    assert momenta == {0.1}


def test_an_error_while_recomputing_leaves_the_batchnorms_as_they_were():
    cell = make(memory="recompute", backend="reference")
    output = cell(*operands(cell))
    cell._ops[-1]._ops[4].op[2].weight = torch.nn.Parameter(torch.zeros(2, 3, 1, 1).double())
    with pytest.raises(RuntimeError):
        output.sum().backward()
    norms = [module for module in cell.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert all(norm.momentum == 0.1 and norm.num_batches_tracked == 1 for norm in norms)


BATCH = 16  # a whole image block


def kept_bytes(memory: str, backend: str) -> int:
    cell = make(steps=4, memory=memory, backend=backend)
    inputs = operands(cell, batch=BATCH)
    own = {t.untyped_storage().data_ptr() for t in (*inputs, *cell.parameters(), *cell.buffers())}
    storages: dict[int, torch.UntypedStorage] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            storages[storage.data_ptr()] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        cell(*inputs)
    return sum(storage.nbytes() for storage in storages.values())


@pytest.mark.parametrize(
    ("backend", "stored"),
    [("reference", 20), ("fused", 4)],  # times the states
)
def test_recomputing_keeps_little_but_the_states(backend, stored):
    states = 6 * BATCH * 8 * 8 * 8 * 8  # two inputs and four nodes of 8 x 8 x 8 float64
    inputs = BATCH * 16 * 8 * 8 * 8  # as image blocks
    assert kept_bytes("recompute", backend) < 1.5 * states + inputs
    assert kept_bytes("store", backend) > stored * states


@pytest.mark.slow
@pytest.mark.parametrize(("selection", "memory"), [("attention", "store"), ("random", "recompute")])
def test_torch_compile_changes_nothing(selection, memory):
    eager = make(steps=1, selection=selection, memory=memory)
    compiled = copy.deepcopy(eager)
    inputs = operands(eager)
    expected = run(eager, inputs)
    actual = run(torch.compile(compiled, backend="aot_eager", fullgraph=True), inputs)
    torch.testing.assert_close(actual, expected)
    torch.testing.assert_close(compiled.state_dict(), eager.state_dict())


@pytest.mark.parametrize(
    ("arguments", "choices", "message"),
    [
        ((6, 10, 8, False, False, 0), {}, "steps must be at least 1, got 0"),
        ((0, 10, 8, False, False), {}, "previous_previous_channels must be at least 1, got 0"),
        ((6, 10, 8, False, False), {"memory": "disk"}, "one of store, recompute, got 'disk'"),
        ((6, 10, 6, False, False), {}, "divisible by proportion 4, got 6"),
        ((6, 10, 7, False, True), {"selection": "all"}, "out_channels must be even, got 7"),
    ],
)
def test_impossible_arguments_are_refused(arguments, choices, message):
    with pytest.raises(ValueError, match=message):
        SearchCell(*arguments, **choices)


@pytest.mark.parametrize(
    ("changed", "shape", "message"),
    [
        (0, (3, 5, 8, 8), r"first input: expected \(N, 6, H, W\), got shape \(3, 5, 8, 8\)"),
        (1, (3, 6, 8, 8), r"second input: expected \(N, 10, H, W\), got shape \(3, 6, 8, 8\)"),
        (1, (3, 10, 4, 4), r"inputs \(3, 6, 8, 8\) and \(3, 10, 4, 4\) do not fit"),
        (2, (4, 8), r"expected alphas \(5, 8\), got shape \(4, 8\)"),
        (3, (4,), r"expected betas \(5,\), got \(4,\)"),
    ],
)
def test_inputs_of_another_shape_are_refused(changed, shape, message):
    cell = make()
    inputs = operands(cell)
    inputs[changed] = torch.zeros(shape, dtype=torch.float64)
    with pytest.raises(ValueError, match=message):
        cell(*inputs)
