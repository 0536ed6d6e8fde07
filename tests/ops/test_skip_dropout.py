"""The search cell's dropout of skip connections: against its definition, and what it draws."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace

import pytest
import torch
from cell_case import CellCase, run
from comparison import assert_exact
from test_search_cell import SELECTIONS, given_index

from adarts_ext import ops, reference
from adarts_ext.nn import skip_dropout
from adarts_ext.reference.skip_dropout import WORD, kept_values


def draw(case: CellCase, rate: float) -> torch.Tensor:
    edges = len(case.layout.sources)
    generator = torch.Generator().manual_seed(5)
    seeds = torch.randint(-(2**63), 2**63 - 1, (edges,), generator=generator, device="cpu")
    shares = torch.full((edges,), round(rate * WORD), device="cpu")
    return torch.stack([seeds, shares], 1).to(torch.get_default_device())


CASES = {name: {"active": ()} | one for name, one in SELECTIONS.items()}
CASES["some candidates"] = {"hidden": 0, "active": (8, 255, 24, 16, 9)}
CASES["stride 1"] = {"hidden": 0, "stride": 1}


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("name", CASES)
def test_matches_the_definition(name):
    # Within a cell of stride 2, edges have stride 1.
    case = CellCase(**{"stride": 2, "batch": 17, "size": (2, 3)} | CASES[name])
    index, dropout = given_index(case), draw(case, 0.4)
    fused, plain = (partial(one.search_cell, dropout=dropout) for one in (ops, reference))
    actual = run(fused, case, torch.float64, index)
    assert_exact(actual, run(plain, case, torch.float64, index))
    if name != "some candidates":
        return
    again = run(fused, case, torch.float64, index, store=False)
    assert all(torch.equal(again[name], actual[name]) for name in actual)
    without = run(ops.search_cell, case, torch.float64, index)
    assert not torch.allclose(without["nodes"], actual["nodes"])
    of_none = run(partial(ops.search_cell, dropout=draw(case, 0.0)), case, torch.float64, index)
    assert all(torch.equal(of_none[name], without[name]) for name in without)


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_in_lower_precision_the_same_values_are_dropped(dtype):
    layout = ops.CellLayout(20, 1, 4, 0, 1, (0,), (0,), False, (8,))
    x = torch.ones(20, 4, 5, 3, dtype=dtype, requires_grad=True)
    index, skip = torch.arange(4)[None], torch.eye(8)[3:4]
    dropout = torch.tensor([[-12345678901, WORD // 2]])
    given = [ops.to_image_blocks(x)], [], skip, None, layout, index
    nodes = ops.search_cell(*given, dropout=dropout).nodes
    found = ops.from_image_blocks(nodes, 20)
    assert torch.equal(found, kept_values(dropout[0], x.detach()))
    (gradient,) = torch.autograd.grad(found.sum(), x)
    assert torch.equal(gradient, found)


def test_values_are_dropped_at_random():
    x = torch.zeros(64, 8, 16, 16)
    for rate in (0.1, 0.4, 0.7):
        kept = [kept_values(torch.tensor([seed, round(rate * WORD)]), x) for seed in range(4)]
        deviation = (rate * (1 - rate) / x.numel()) ** 0.5
        for one in kept:
            assert abs(one.mean().item() - (1 - rate)) < 5 * deviation
        # Neither neighbours nor edges nor passes hang together.
        one, other = kept[0], kept[1]
        pairs = [(one, other), (one, kept[2])]
        for axis in range(4):
            pairs.append((one, one.roll(1, axis)))
        for a, b in pairs:
            assert_unrelated(a, b, rate)


def assert_unrelated(a: torch.Tensor, b: torch.Tensor, rate: float) -> None:
    correlation = ((a - a.mean()) * (b - b.mean())).mean() / (rate * (1 - rate))
    assert abs(correlation.item()) < 5 / a.numel() ** 0.5


def test_processes_drop_other_places(monkeypatch):
    x, drawn = torch.zeros(64, 8, 16, 16), []
    for rank in (None, 0, 1, 2, 7, 1000):
        group = None if rank is None else SimpleNamespace(rank=lambda rank=rank: rank)
        monkeypatch.setattr(skip_dropout, "batch_group", lambda group=group: group)
        torch.manual_seed(3)  # all processes draw from one state
        drawn.append(skip_dropout.draw_dropout(torch.tensor(0.4), [[1, 2]])[0])
    assert torch.equal(drawn[0], drawn[1])
    assert all(torch.equal(one[:, 1], drawn[0][:, 1]) for one in drawn)
    kept = [kept_values(one[0], x) for one in drawn[1:]]
    for place, one in enumerate(kept):
        assert abs(one.mean().item() - 0.6) < 5 * (0.4 * 0.6 / x.numel()) ** 0.5
        for other in kept[:place]:
            assert_unrelated(one, other, 0.4)


@pytest.mark.parametrize(
    ("dropout", "error", "message"),
    [
        (torch.zeros(4, 2, dtype=torch.int64), ValueError, r"dropout has shape \(4, 2\), expected"),
        (torch.zeros(5, 2), TypeError, "dropout has dtype torch.float32, expected torch.int64"),
    ],
)
def test_a_wrong_dropout_is_refused(dropout, error, message):
    with pytest.raises(error, match=message):
        run(partial(ops.search_cell, dropout=dropout), CellCase(), torch.float64)
