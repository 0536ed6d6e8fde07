"""The search cell with some candidates left out: against its definition, and what it saves."""

from __future__ import annotations

import random

import pytest
import torch
from cell_case import CellCase, leaves, run
from comparison import Errors, assert_exact
from conftest import seed_of_run
from test_search_cell import SELECTIONS, given_index, kept, kind_of

from adarts_ext import ops, reference
from adarts_ext.ops import CellLayout, from_image_blocks, to_image_blocks

EDGES, ALL = 5, 0b11111111
ONE_EACH = {
    "none": (1,) * EDGES,
    "max_pool_3x3": (2,) * EDGES,
    "avg_pool_3x3": (4,) * EDGES,
    "skip_connect": (8,) * EDGES,
    "sep_conv_3x3": (16,) * EDGES,
    "sep_conv_5x5": (32,) * EDGES,
    "dil_conv_3x3": (64,) * EDGES,
    "dil_conv_5x5": (128,) * EDGES,
}
MASKS = ONE_EACH | {
    "nothing on some edges": (0, 16, 0, 8, 0),
    "another one on each edge": (2, 128, 32, 16, 8),
    "three on each edge": (0b00101010, 0b11001000, 0b01010100, 0b00011010, 0b10000110),
    "all but none": (0b11111110,) * EDGES,
}


def draw_masks(seed: int) -> tuple[int, ...]:
    generator = random.Random(seed_of_run(seed))
    return tuple(generator.randrange(ALL + 1) for _ in range(EDGES))


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("mask", MASKS)
def test_matches_the_definition(mask):
    case = CellCase(stride=2, size=(3, 4), active=MASKS[mask])  # within, edges have stride 1
    actual = run(ops.search_cell, case, torch.float64)
    assert_exact(actual, run(reference.search_cell, case, torch.float64))


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("selection", SELECTIONS)
def test_random_masks_of_any_cell(selection, stride, training):
    masks = draw_masks(stride + 2 * training)
    case = CellCase(stride=stride, active=masks, batch=17, size=(2, 3), **SELECTIONS[selection])
    choices = given_index(case), None if training else case.norms()
    actual = run(ops.search_cell, case, torch.float64, *choices)
    assert_exact(actual, run(reference.search_cell, case, torch.float64, *choices))
    again = run(ops.search_cell, case, torch.float64, *choices, store=False)
    assert all(torch.equal(again[name], actual[name]) for name in actual)


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_lower_precision_is_as_exact_as_plain_torch(dtype):
    errors = Errors()
    for seed in errors.until_clear():
        case = CellCase(stride=2, size=(4, 3), seed=seed, active=MASKS["three on each edge"])
        for tensors in (case.states, case.weights, [case.alphas, case.betas, case.direction]):
            for tensor in tensors:  # what the dtype can hold, for the truth too
                tensor.copy_(tensor.to(dtype))
        truth = run(reference.search_cell, case, torch.float64)
        index = truth.pop("index")  # rounding must not choose other channels
        actual = run(ops.search_cell, case, dtype, index)
        plain = run(reference.search_cell, case, dtype, index)
        for name in truth.keys() - {"norms"}:
            errors.add(kind_of(case, name), actual[name], plain[name], truth[name])
    errors.assert_at_most_twice()


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("stride", [1, 2])
def test_everything_active_changes_no_bit(stride):
    every, masked = (CellCase(stride=stride, active=active) for active in ((), (ALL,) * EDGES))
    expected, actual = (run(ops.search_cell, case, torch.float32) for case in (every, masked))
    assert all(torch.equal(actual[name], expected[name]) for name in expected)


@pytest.mark.usefixtures("device")
def test_weights_that_are_no_numbers_are_not_read_where_nothing_is_active():
    case = CellCase(active=MASKS["three on each edge"])
    expected = run(ops.search_cell, case, torch.float64)
    for edge, mask in enumerate(case.active):
        for candidate in range(8):
            if not mask >> candidate & 1:
                case.alphas[edge, candidate] = torch.nan
    actual = run(ops.search_cell, case, torch.float64)
    assert all(torch.equal(actual[name], expected[name]) for name in expected)
    assert (actual["gradient of alphas"][case.alphas.isnan()] == 0).all()


@pytest.mark.usefixtures("torch_device")
@pytest.mark.parametrize("mask", ["three on each edge", "nothing on some edges"])
def test_gradients(mask):
    case = CellCase(batch=2, channels=4, hidden=2, size=(2, 3), active=MASKS[mask], stride=2)
    operands = leaves([*case.states, *case.weights, case.alphas, case.betas], torch.float64)

    def nodes(*operands):
        states, weights = operands[:2], operands[2:-2]
        blocks = [to_image_blocks(state) for state in states]
        out = ops.search_cell(blocks, weights, *operands[-2:], case.layout)
        return from_image_blocks(out.nodes, case.batch)

    assert torch.autograd.gradcheck(nodes, operands, fast_mode=True)


@pytest.mark.usefixtures("torch_device")
@pytest.mark.parametrize(("name", "maps"), [("sep_conv_5x5", 2), ("dil_conv_3x3", 1)])
def test_what_is_left_out_is_not_kept(name, maps):
    small = {"batch": 16, "size": (16, 16), "channels": 4, "hidden": 1}
    candidate = 16 * 2 * 16 * 16 * 8
    for active, each in ((ONE_EACH[name], maps), (ONE_EACH["none"], 0), ((), 6)):
        case = CellCase(**small, active=active)
        assert kept(case, store=True) - kept(case, store=False) == EDGES * each * candidate


@pytest.mark.parametrize("active", [(1, 2), (ALL + 1,), (-1,)])
def test_masks_that_do_not_fit_are_refused(active):
    layout = CellLayout(2, 1, 1, 0, 1, (0,), (0,), False, active)
    blocks = to_image_blocks(torch.ones(2, 2, 2, 2))
    with pytest.raises(ValueError, match=r"layout\.active is .* expected a number from 0 to 255"):
        ops.search_cell([blocks], [], torch.ones(1, 8), None, layout, torch.zeros(1, 1).long())
