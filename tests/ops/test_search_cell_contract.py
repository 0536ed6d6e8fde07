"""What torch asks of the search cell's operators, and what their public function refuses."""

from __future__ import annotations

import pytest
import torch
from cell_case import CellCase, leaves
from torch.utils.flop_counter import FlopCounterMode

from adarts_ext import _library, ops, reference
from adarts_ext.nn import SearchCell
from adarts_ext.ops import CellLayout, to_image_blocks
from adarts_ext.ops.processes import ALONE

SMALL = {"batch": 2, "channels": 4, "hidden": 2, "size": (2, 2), "steps": 1}


def operator_arguments(
    case: CellCase,
    training: bool,
    store: bool,
    requires_grad: bool,
    dropout: torch.Tensor | None = None,
) -> tuple:
    states, weights = (
        [t.clone().requires_grad_(requires_grad) for t in tensors]
        for tensors in (
            [to_image_blocks(state) for state in case.states],
            [torch.cat([weight.flatten() for weight in case.weights]), case.alphas, case.betas],
        )
    )
    index = None if case.layout.attends else case.index()
    norms = None if training else case.norms()
    layout = case.layout._replace(active=case.layout.edge_active())
    return states, *weights, index, norms, dropout, *layout, store, 1e-5, *ALONE


@pytest.mark.usefixtures("torch_device")
@pytest.mark.parametrize("store", [True, False])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    "choices",
    [
        {},
        {"stride": 2, "hidden": 0, "shuffle": True},
        {"stride": 2, "active": (0b10010010, 8)},
        {"stride": 2, "hidden": 0, "taps": 3},
        {"dropout": torch.tensor([[5, 2**31], [-6, 2**30]])},
    ],
)
def test_operator_contract(choices, training, store):
    case = CellCase(**SMALL | {name: one for name, one in choices.items() if name != "dropout"})
    dropout = choices.get("dropout")
    operator = torch.ops.adarts_ext.search_cell
    torch.library.opcheck(operator, operator_arguments(case, training, store, True, dropout))
    arguments = operator_arguments(case, training, store, False, dropout)
    nodes, stored, norms, scores, _, maps, pools, position = operator(*arguments)
    states, weights, alphas, betas, _, given, *_ = arguments
    norms = norms if training else given
    batch, stride, selected, hidden, _, sources, targets, _, _, taps = case.layout
    for needed in [([True, True], True, True, True), ([False, True], False, True, False)]:
        torch.library.opcheck(
            torch.ops.adarts_ext.search_cell_backward,
            (
                torch.randn_like(nodes),
                states,
                nodes,
                weights,
                alphas,
                betas,
                stored,
                norms,
                scores,
                maps,
                pools,
                position,
                dropout,
                batch,
                stride,
                selected,
                hidden,
                sources,
                targets,
                case.layout.edge_active(),
                taps,
                training,
                1e-5,
                *needed,
                *ALONE[1:],
            ),
        )


@pytest.mark.usefixtures("torch_device")
@pytest.mark.parametrize("store", [True, False])
def test_compiles_without_graph_break(store):
    case = CellCase(**SMALL)
    operands = leaves([*case.states, *case.weights, case.alphas, case.betas], torch.float32)

    def cell(operands):
        states = [to_image_blocks(state) for state in operands[:2]]
        layout = case.layout
        return ops.search_cell(states, operands[2:-2], *operands[-2:], layout, store=store)

    grads = []
    for function in (torch.compile(cell, fullgraph=True, backend="aot_eager"), cell):
        out = function(operands)
        grads.append((*out, *torch.autograd.grad(out.nodes.square().sum(), operands)))
    for one, two in zip(*grads, strict=True):
        assert torch.equal(one, two)


def test_where_there_are_no_kernels_the_definition_runs(monkeypatch):
    case = CellCase(**SMALL)
    arguments = (
        [to_image_blocks(state) for state in case.states],
        case.weights,
        case.alphas,
        case.betas,
        case.layout,
    )
    expected = reference.search_cell(*arguments)
    monkeypatch.setattr(_library, "has_kernels", lambda tensor: False)
    assert all(
        torch.equal(a, b) for a, b in zip(ops.search_cell(*arguments), expected, strict=True)
    )


@pytest.mark.parametrize("reduction", [False, True])
@pytest.mark.parametrize("selection", ["attention", "all"])
def test_arithmetic_is_counted_as_in_the_plain_modules(selection, reduction):
    counts = []
    for backend, memory in (("reference", "store"), ("fused", "store"), ("fused", "recompute")):
        cell = SearchCell(6, 10, 8, reduction, False, 2, 4, selection, backend, memory)
        s0, s1 = torch.randn(3, 6, 8, 8), torch.randn(3, 10, 8, 8)
        s0.requires_grad_(), s1.requires_grad_()
        with FlopCounterMode(display=False) as forward:
            out = cell(s0, s1, torch.full((5, 8), 0.1))
        with FlopCounterMode(display=False) as backward:
            out.sum().backward()
        counts.append((forward.get_total_flops(), backward.get_total_flops()))
    (plain, _), (stored, stored_backward), (recomputed, recomputed_backward) = counts
    assert plain == stored == recomputed
    assert stored_backward == 2 * plain
    assert stored_backward < recomputed_backward < 3 * plain


CASE = CellCase(**SMALL)
X = to_image_blocks(torch.zeros(2, 4, 2, 2))
LAYOUT = CASE.layout
INDEX = torch.zeros(2, 2, dtype=torch.int64)


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"states": []}, ValueError, "states is empty, expected at least one input"),
        ({"states": [X[0], X]}, ValueError, r"state 0 has shape .* expected \(1, C, H, W, 16\)"),
        ({"states": [X[:, :, :0]] * 2}, ValueError, "none of them empty"),
        ({"states": [X, X[:, :2]]}, ValueError, r"state 1 has shape .* expected \(1, 4, 2, 2, 16"),
        ({"states": [X.half()] * 2}, TypeError, "torch.float16, expected float32, float64 or bf"),
        (
            {"states": [X, X.double()]},
            TypeError,
            "state 1 has dtype torch.float64, .* like state 0",
        ),
        ({"weights": CASE.weights[1:]}, ValueError, "got 27 weights, expected 28"),
        (
            {"weights": [w.flatten() for w in CASE.weights]},
            ValueError,
            r"weight 0 has shape \(8,\), expected \(2, 4, 1, 1\)",
        ),
        ({"alphas": torch.zeros(2, 7)}, ValueError, r"alphas has shape \(2, 7\), expected \(2, 8"),
        ({"alphas": torch.zeros(2, 8).int()}, TypeError, "alphas has dtype torch.int32"),
        ({"betas": torch.zeros(3)}, ValueError, r"betas has shape \(3,\), expected \(2,\)"),
        ({"betas": torch.zeros(2, device="meta")}, ValueError, "betas is on meta, expected cpu"),
        ({"index": INDEX.int()}, TypeError, "index has dtype torch.int32, expected torch.int64"),
        ({"index": INDEX[:1]}, ValueError, r"index has shape \(1, 2\), expected \(2, 2\)"),
        ({"index": INDEX}, RuntimeError, r"index\[0\]\[1\] is 0, expected different channels"),
        ({"norms": torch.zeros(16, 2, 2)}, ValueError, r"norms has shape .* expected \(16, 3, 2\)"),
        ({"layout": LAYOUT._replace(batch=17)}, ValueError, "for 17 images"),
        ({"layout": LAYOUT._replace(stride=3)}, ValueError, "stride is 3, expected 1 or 2"),
        ({"layout": LAYOUT._replace(selected=3)}, ValueError, "expected a divisor of 4 channels"),
        ({"layout": LAYOUT._replace(hidden=-1)}, ValueError, "hidden is -1, expected at least 0"),
        (
            {"layout": LAYOUT._replace(taps=3)},
            ValueError,
            "taps is 3 and layout.hidden 2, expected",
        ),
        ({"layout": LAYOUT._replace(hidden=0, taps=2)}, ValueError, "taps is 2 .* an odd"),
        ({"layout": LAYOUT._replace(nodes=2)}, ValueError, "an edge into each of 2 nodes"),
        ({"layout": LAYOUT._replace(sources=(0,))}, ValueError, "one of each for every edge"),
        ({"layout": LAYOUT._replace(sources=(0, 2))}, ValueError, "one of 2 inputs or an earlier"),
        (
            {"layout": CellLayout(2, 2, 1, 2, 1, (0, 1), (0, 0), False)},
            ValueError,
            "expected a divisor of 4 channels, even",
        ),
        (
            {
                "layout": LAYOUT._replace(hidden=0),
                "weights": CASE.weights[2:14] + CASE.weights[16:],
            },
            ValueError,
            "index is None, .* no attention",
        ),
        (
            {"states": [X[:, :, :1, :1].contiguous()] * 2, "layout": LAYOUT._replace(batch=1)},
            ValueError,
            "more than one value per channel for batch statistics, got 1 image of 1 x 1 pixels",
        ),
    ],
)
def test_bad_arguments(changed, error, message):
    arguments = {
        "states": [X, X],
        "weights": CASE.weights,
        "alphas": CASE.alphas,
        "betas": CASE.betas,
        "layout": LAYOUT,
    }
    with pytest.raises(error, match=f"search_cell: .*{message}"):
        ops.search_cell(**arguments | changed)


def test_an_odd_plane_is_refused_at_stride_two():
    x = to_image_blocks(torch.zeros(2, 4, 3, 2))
    case = CellCase(**SMALL | {"stride": 2})
    with pytest.raises(ValueError, match="expected even H and W at stride 2"):
        ops.search_cell([x, x], case.weights, case.alphas, None, case.layout)
