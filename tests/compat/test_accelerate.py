"""Accelerated networks of old code, as exact as they are themselves in the same precision.

Logits, the gradients of all parameters and all buffers are compared with the unchanged network in
float64. Where a near-tie of scores would decide which channels an edge selects, no two precisions
need agree: all networks get the choice of the float64 one.
"""

from __future__ import annotations

import re

import pytest
import torch
from acceleration_case import (
    SIZES,
    STYLES,
    convert,
    images,
    make,
    make_accelerated,
    results,
    scramble,
)
from comparison import Errors, assert_exact
from old_code import adarts
from pinned_selection import pin_selection
from redraw import draw_weights
from torch import Tensor, nn

from adarts_ext.compat import acceleration_report
from adarts_ext.nn import fused

pytestmark = pytest.mark.slow

PARTS = {  # small tensors are judged with their like
    "logits": "network",
    r"arch\.": "architecture parameters",
    r"\.ca\.": "attention",
    r"(_ops|mixture)\.\d+\.(_ops|branches)": "candidates",
    "preprocess|fit_": "preprocessings",
    "stem|classifier|head": "network",
}


def pinned(network: nn.Module, x: Tensor, chosen: list[Tensor] | None):
    """Results with these channels selected, edge by edge, or with those that are recorded."""
    record = [] if chosen is None else list(chosen)
    left = iter(record)
    select = adarts.best_channels

    def recording(scores: Tensor, count: int) -> Tensor:
        record.append(select(scores, count))
        return record[-1]

    with pytest.MonkeyPatch.context() as patch:
        if chosen is None:
            patch.setattr(adarts, "best_channels", recording)
        else:
            patch.setattr(adarts, "best_channels", lambda scores, count: next(left))
            pin_selection(patch, left)
        return results(network, x), record


def kind_of(name: str) -> str:
    part = next(part for pattern, part in PARTS.items() if re.search(pattern, name))
    what = "gradient" if name.startswith("gradient") else name.split(".")[-1]
    return f"{what} of {part}"


def assert_exact_over_draws(style: str, batch: int, steps: int = 2, training: bool = True) -> None:
    """Assert that accelerated networks, in both memory modes, are as exact as the plain one."""
    errors = Errors()
    network = make(style, steps=steps).train(training)
    exact = convert(make(style, steps=steps), torch.float64)
    ours, recomputing = (
        make_accelerated(style, steps=steps, memory=memory) for memory in ("store", "recompute")
    )
    x = images(style, batch)
    for seed in errors.until_clear():
        torch.manual_seed(seed)
        draw_weights(network)
        scramble(network, size=SIZES[style])
        for other in (exact, ours, recomputing):
            other.train(training).load_state_dict(network.state_dict())
            for to, value in zip(other.arch_parameters(), network.arch_parameters(), strict=True):
                to.data.copy_(value.data)
        truth, chosen = pinned(exact, x.double(), None)
        plain, actual, again = (pinned(each, x, chosen)[0] for each in (network, ours, recomputing))
        assert actual.keys() == truth.keys()
        for name, expected in truth.items():
            assert torch.equal(again[name], actual[name]), f"{name}: recomputing changes it"
            if name.endswith("num_batches_tracked"):
                assert torch.equal(actual[name], expected), name
            else:
                errors.add(kind_of(name), actual[name], plain[name], expected)
        assert all(truth[name].any() for name in truth if re.search("gradient of .*stem", name))
    errors.assert_at_most_twice()


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("style", STYLES)
def test_as_exact_as_the_plain_network(style, training):
    assert_exact_over_draws(style, batch=5, training=training)


def test_more_images_than_a_block_and_four_nodes():
    assert_exact_over_draws("pc_darts", batch=17, steps=4)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("style", STYLES)
def test_in_double_precision_the_difference_is_rounding(style, training):
    network, ours = (
        each(style, dtype=torch.float64).train(training) for each in (make, make_accelerated)
    )
    x = images(style, dtype=torch.float64)
    assert_exact(results(ours, x), results(network, x))


@pytest.mark.parametrize("style", STYLES)
def test_every_cell_runs_on_the_fused_kernels(style, monkeypatch):
    network = make_accelerated(style)
    report = acceleration_report(network)
    assert report.levels() == {"cell": 3}
    assert all(not entry.reason for entry in report.entries)
    edges, mix = [], fused.mix
    monkeypatch.setattr(fused, "mix", lambda *g, **more: edges.append(g[3]) or mix(*g, **more))
    network(images(style))
    assert edges == [fused.complete_edges(2)] * 3
