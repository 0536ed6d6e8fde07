"""Accelerated networks of old code, as exact as they are themselves in the same precision.

Logits, the gradients of all parameters and all buffers are compared with the unchanged network in
float64. Where a near-tie of scores would decide which channels an edge selects, no two precisions
need agree: all networks get the choice of the float64 one.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable

import pytest
import torch
from acceleration_case import STYLES, convert, images, make, results
from comparison import Errors, assert_exact
from old_code import adarts
from pinned_selection import pin_selection
from torch import Tensor, nn

from adarts_ext import accelerate
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


def pinned(run: Callable[[], dict[str, Tensor]], chosen: list[Tensor] | None):
    """Run with these channels selected, edge by edge, or record those that are selected."""
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
        return run(), record


def kind_of(name: str) -> str:
    part = next(part for pattern, part in PARTS.items() if re.search(pattern, name))
    what = "gradient" if name.startswith("gradient") else name.split(".")[-1]
    return f"{what} of {part}"


def compare(errors: Errors, ours: nn.Module, recomputing: nn.Module, network, x: Tensor) -> None:
    """Count in the errors of accelerated networks, in both memory modes, and of a plain one."""
    exact = convert(copy.deepcopy(network), torch.float64)
    for accelerated in (ours, recomputing):
        accelerated.train(network.training).load_state_dict(network.state_dict())
        for to, value in zip(accelerated.arch_parameters(), network.arch_parameters(), strict=True):
            to.data.copy_(value.data)
    truth, chosen = pinned(lambda: results(exact, x.double()), None)
    plain, _ = pinned(lambda: results(network, x), chosen)
    actual, _ = pinned(lambda: results(ours, x), chosen)
    again, _ = pinned(lambda: results(recomputing, x), chosen)
    assert actual.keys() == truth.keys()
    for name, expected in truth.items():
        assert torch.equal(again[name], actual[name]), f"{name}: recomputing changes it"
        if name.endswith("num_batches_tracked"):
            assert torch.equal(actual[name], expected), name
        else:
            errors.add(kind_of(name), actual[name], plain[name], expected)
    assert all(truth[name].any() for name in truth if re.search("gradient of .*stem", name))


def both(network: nn.Module) -> list[nn.Module]:
    """Accelerated copies of a network, in both memory modes."""
    modes = ("store", "recompute")
    return [accelerate(copy.deepcopy(network), memory=memory) for memory in modes]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("style", STYLES)
def test_as_exact_as_the_plain_network(style, training):
    errors, accelerated = Errors(), both(make(style))
    for seed in errors.until_clear():
        compare(errors, *accelerated, make(style, seed).train(training), images(style, batch=5))
    errors.assert_at_most_twice()


def test_more_images_than_a_block_and_four_nodes():
    errors, accelerated = Errors(), both(make("pc_darts", steps=4))
    for seed in errors.until_clear():
        compare(errors, *accelerated, make("pc_darts", seed, steps=4), images("pc_darts", batch=17))
    errors.assert_at_most_twice()


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("style", STYLES)
def test_in_double_precision_the_difference_is_rounding(style, training):
    network = make(style, dtype=torch.float64).train(training)
    ours = accelerate(copy.deepcopy(network))
    x = images(style, dtype=torch.float64)
    assert_exact(results(ours, x), results(network, x))


@pytest.mark.parametrize("style", STYLES)
def test_every_cell_runs_on_the_fused_kernels(style, monkeypatch):
    network = accelerate(make(style))
    report = acceleration_report(network)
    assert report.levels() == {"cell": 3}
    assert all(not entry.reason for entry in report.entries)
    edges, mix = [], fused.mix
    monkeypatch.setattr(fused, "mix", lambda *given: edges.append(given[3]) or mix(*given))
    network(images(style))
    assert edges == [fused.complete_edges(2)] * 3
