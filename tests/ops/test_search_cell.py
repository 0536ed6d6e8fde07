"""The fused search cell: float64 against its definition, lower precisions, gradients, memory."""

from __future__ import annotations

import itertools

import pytest
import torch
from cell_case import CellCase, leaves, run
from comparison import Errors, assert_exact

from adarts_ext import ops, reference
from adarts_ext.ops import from_image_blocks, to_image_blocks

SELECTIONS = {
    "attention": {},
    "first": {"hidden": 0, "shuffle": True},
    "random": {"hidden": 0},
    "attention by taps": {"hidden": 0, "taps": 3},
}
CASES = {
    "one image": {"batch": 1},
    "a full block": {"batch": 16},
    "a second block": {"batch": 17, "stride": 2},
    "a third block": {"batch": 33, "size": (4, 4)},
    "one edge": {"inputs": 1, "steps": 1},
    "three inputs": {"inputs": 3, "stride": 2, "steps": 1},
    "all channels": {"channels": 4, "selected": 4, "stride": 2},
    "half": {"selected": 4, "stride": 2},
    "an eighth": {"channels": 16, "hidden": 8, "steps": 1, "stride": 2},
    "one channel": {"channels": 4, "selected": 1, "hidden": 1},
    "more channels than a tile": {"channels": 24, "selected": 24, "steps": 1, "batch": 3},
    "more channels than two convolutions share": {
        "channels": 66,
        "selected": 66,
        "inputs": 1,
        "steps": 1,
        "batch": 2,
        "size": (2, 3),
        "stride": 2,
    },
    "one pixel": {"size": (1, 1), "stride": 2},
    "a row": {"size": (1, 9)},
    "one tap": {"hidden": 0, "taps": 1, "stride": 2},
    "more taps than channels": {"hidden": 0, "taps": 19, "batch": 17},
    "a wide plane": {"size": (3, 33), "stride": 2, "steps": 1, "batch": 2},
    "pools in ten parts": {
        "inputs": 1,
        "steps": 2,
        "channels": 4,
        "hidden": 1,
        "size": (20, 29),
        "batch": 2,
    },
    "no betas": {"normalized": False, "stride": 2},
    "more than eight edges into a node": {
        "steps": 8,
        "channels": 2,
        "hidden": 1,
        "size": (3, 2),
        "batch": 3,
    },
}


def given_index(case: CellCase):
    return None if case.layout.attends else case.index()


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("selection", SELECTIONS)
def test_matches_reference(selection, stride, training):
    case = CellCase(stride=stride, **SELECTIONS[selection])
    choices = given_index(case), None if training else case.norms()
    actual = run(ops.search_cell, case, torch.float64, *choices)
    assert_exact(actual, run(reference.search_cell, case, torch.float64, *choices))


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("store", [True, False])
@pytest.mark.parametrize("name", CASES)
def test_any_structure_and_size(name, store):
    case = CellCase(**CASES[name])
    actual = run(ops.search_cell, case, torch.float64, store=store)
    assert_exact(actual, run(reference.search_cell, case, torch.float64))


@pytest.mark.usefixtures("device")
def test_a_given_index_is_used_in_place_of_the_choice():
    case = CellCase()
    chosen = run(ops.search_cell, case, torch.float64)
    again = run(ops.search_cell, case, torch.float64, chosen["index"])
    assert all(torch.equal(again[name], chosen[name]) for name in chosen)
    other = run(ops.search_cell, case, torch.float64, case.index())
    assert torch.equal(other["index"], case.index())
    assert_exact(other, run(reference.search_cell, case, torch.float64, case.index()))


def kind_of(case: CellCase, name: str) -> str:
    if not name.startswith("gradient of weight"):
        return name.rstrip("0123456789")
    return f"gradient of weights {tuple(case.weights[int(name.split()[-1])].shape)}"


def check_precision(dtype: torch.dtype, **choices) -> None:
    """Compare with plain torch in a precision, by the errors of both."""
    errors = Errors()
    for seed in errors.until_clear():
        case = CellCase(seed=seed, **choices)
        for tensors in (case.states, case.weights, [case.alphas], [case.betas]):
            for tensor in tensors:  # what the dtype can hold, for the truth too
                tensor.copy_(tensor.to(dtype))
        case.direction.copy_(case.direction.to(dtype))
        truth = run(reference.search_cell, case, torch.float64)
        index = truth.pop("index")  # rounding must not choose other channels
        actual = run(ops.search_cell, case, dtype, index)
        plain = run(reference.search_cell, case, dtype, index)
        # Statistics count by the deviation of their own channel: others may be 100 times larger.
        _, rstd, variance = truth["norms"].unbind(1)
        units = torch.stack([rstd, 1 / rstd, 1 / variance], dim=1)
        for results in (truth, actual, plain):
            results["norms"] = results["norms"].double() * units
        for name, expected in truth.items():
            errors.add(kind_of(case, name), actual[name], plain[name], expected)
    errors.assert_at_most_twice()


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_lower_precision_is_as_exact_as_plain_torch(dtype, stride):
    check_precision(dtype, stride=stride, size=(4, 3))


@pytest.mark.usefixtures("device")
def test_several_tiles_are_as_exact_as_plain_torch():
    one_edge = {"inputs": 1, "steps": 1, "channels": 4, "hidden": 1, "batch": 2}
    check_precision(torch.float32, size=(5, 18), **one_edge)


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("stride", [1, 2])
def test_recomputing_changes_no_bit(stride, dtype):
    case = CellCase(stride=stride, batch=17, size=(2, 3))
    stored, recomputed = (run(ops.search_cell, case, dtype, store=s) for s in (True, False))
    assert all(torch.equal(recomputed[name], stored[name]) for name in stored)


NEEDED = ("state 0", "state 1", "weights", "alphas", "betas")


def check_needed(case: CellCase, full: dict, store: bool, needed: tuple[bool, ...]) -> None:
    groups = [[state] for state in case.states] + [case.weights, [case.alphas], [case.betas]]
    groups = [
        [tensor.clone().requires_grad_(need) for tensor in group]
        for need, group in zip(needed, groups, strict=True)
    ]
    (first,), (second,), weights, (alphas,), (betas,) = groups
    states = [to_image_blocks(first), to_image_blocks(second)]
    out = ops.search_cell(states, weights, alphas, betas, case.layout, store=store)
    from_image_blocks(out.nodes, case.batch).backward(case.direction)
    for name, need, group in zip(NEEDED, needed, groups, strict=True):
        for i, tensor in enumerate(group):
            assert (tensor.grad is not None) == need, f"{name} of {needed}"
            expected = full[f"gradient of {f'weight {i}' if name == 'weights' else name}"]
            assert not need or torch.equal(tensor.grad, expected), f"{name} of {needed}"


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("store", [True, False])
def test_what_a_search_step_does_not_need_changes_no_bit_of_the_rest(store):
    case = CellCase(batch=2, channels=4, hidden=2, size=(2, 2), stride=2)
    full = run(ops.search_cell, case, torch.float64, store=store)
    check_needed(case, full, store, (False, True, False, True, True))  # the step on alpha and beta
    check_needed(case, full, store, (True, True, True, False, False))  # the step on the weights


@pytest.mark.usefixtures("torch_device")
@pytest.mark.parametrize("store", [True, False])
def test_only_needed_gradients(store):
    case = CellCase(batch=2, channels=4, hidden=2, size=(2, 2), stride=2)
    full = run(ops.search_cell, case, torch.float64, store=store)
    for needed in itertools.product([True, False], repeat=len(NEEDED)):
        if any(needed):
            check_needed(case, full, store, needed)


@pytest.mark.usefixtures("torch_device")
@pytest.mark.parametrize("choices", [{}, {"stride": 2, "hidden": 0, "shuffle": True}])
def test_gradients(choices):
    small = {"batch": 2, "channels": 4, "hidden": 2, "size": (2, 3), "steps": 1}
    case = CellCase(**small | choices)
    operands = leaves([*case.states, *case.weights, case.alphas, case.betas], torch.float64)

    def nodes(*operands):
        states, weights = operands[:2], operands[2:-2]
        blocks = [to_image_blocks(state) for state in states]
        out = ops.search_cell(blocks, weights, *operands[-2:], case.layout, given_index(case))
        return from_image_blocks(out.nodes, case.batch)

    assert torch.autograd.gradcheck(nodes, operands, fast_mode=True)


def kept(case: CellCase, store: bool, **flags: bool) -> int:
    """Bytes that autograd keeps beyond the states, the weights and the nodes."""
    states = [to_image_blocks(state).requires_grad_(True) for state in case.states]
    storages = {}

    def pack(tensor):
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        out = ops.search_cell(
            states, case.weights, case.alphas, case.betas, case.layout, store=store
        )
    for tensor in (*states, *case.weights, case.alphas, case.betas, out.nodes):
        storages.pop(tensor.untyped_storage().data_ptr(), None)
    return sum(storage.nbytes() for storage in storages.values())


@pytest.mark.usefixtures("torch_device")
def test_storing_keeps_what_enters_the_batchnorms_and_recomputing_nearly_nothing():
    case = CellCase(batch=16, size=(16, 16), channels=4, hidden=1)
    candidate = 16 * case.selected * 16 * 16 * 8
    assert kept(case, store=True) - kept(case, store=False) == 5 * 6 * candidate
    assert kept(case, store=False) < candidate


@pytest.mark.usefixtures("torch_device")
def test_nothing_is_kept_without_gradients():
    case = CellCase(batch=16)
    states = [to_image_blocks(state) for state in case.states]
    weights = leaves(case.weights, torch.float64)
    with torch.no_grad():
        out = ops.search_cell(states, weights, case.alphas, case.betas, case.layout)
    assert out.nodes.grad_fn is None


def test_result_does_not_depend_on_threads():
    case = CellCase(batch=33)
    results = []
    threads = torch.get_num_threads()
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            results.append(run(ops.search_cell, case, torch.float32))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(results[0][name], results[1][name]) for name in results[0])
