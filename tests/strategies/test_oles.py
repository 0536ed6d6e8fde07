"""Operations that OLES freezes: which weights they have, when they count, how a run goes on."""

from __future__ import annotations

import pytest
import torch
from image_folder import write_images
from run_state import assert_same_run, interrupted_in
from small_runs import small_search
from torch.nn.functional import cross_entropy

from adarts_ext.nn import SearchNetwork
from adarts_ext.runs.checkpoint import load_checkpoint
from adarts_ext.search import loop, search
from adarts_ext.strategies import Oles
from adarts_ext.strategies.oles import operations_of

CONVOLUTIONS = (4, 5, 6, 7)


def make_network() -> SearchNetwork:
    torch.manual_seed(0)
    return SearchNetwork(4, 3, 3, proportion=2, steps=2)


def test_every_convolution_of_every_cell_is_an_operation():
    network = make_network()
    owners, count = operations_of(network, list(network.parameters()))
    assert count == 3 * 5 * 4  # cells, edges, convolutions
    assert all(cell.flat is None for cell in network.cells)  # to look changes nothing
    flat = network.flat_parameters()
    flat_owners, flat_count = operations_of(network, flat)
    assert (flat_count, len(flat_owners)) == (count, len(flat))
    assert [one.shape for one in flat_owners] == [(weight.numel(),) for weight in flat]
    sizes = [
        sum(weight.numel() for weight in edge._ops[k].parameters())
        for cell in network.cells
        for edge in cell._ops
        for k in CONVOLUTIONS
    ]
    for found in (owners, flat_owners):
        assert torch.cat(found).bincount()[:-1].tolist() == sizes
    # Marked in the flat weights, an operation's elements are marked in its own weights.
    with torch.no_grad():
        for weight, owner in zip(flat, flat_owners, strict=True):
            weight.copy_((owner == 7).view_as(weight))
    marked = [
        (edge, k)
        for edge in range(5)
        for k, operation in enumerate(network.cells[0]._ops[edge]._ops)
        if any(bool(one.any()) for one in operation.parameters())
    ]
    assert marked == [(1, 7)]
    assert all(bool(one.all()) for one in network.cells[0]._ops[1]._ops[7].parameters())


def test_a_step_without_validation_gradients_does_not_count():
    network, strategy = make_network(), Oles()
    weights = list(network.parameters())
    strategy.begin(network, weights)
    images, labels = torch.randn(4, 3, 16, 16), torch.arange(4) % 3
    cross_entropy(network(images), labels).backward()
    for step in range(3):
        if step == 1:
            opposite = [-one.grad for one in weights]
            strategy.after_architecture_backward(network, weights, opposite)
        strategy.after_backward(network, (images, labels), weights)
        assert strategy.counted == (step >= 1)
    torch.testing.assert_close(strategy.total[:-1], torch.full((60,), -1.0).double())
    assert not strategy.frozen.any()


def test_a_search_goes_on_with_what_is_frozen(tmp_path, monkeypatch):
    monkeypatch.setattr(Oles, "steps", 3)
    images = write_images(tmp_path / "images", 16, 2)
    config = small_search(images, strategy="oles", learning_rate=0.05, epochs=3)
    search(config, tmp_path / "whole")
    kept = load_checkpoint(tmp_path / "whole" / "checkpoint.pt")["strategy"]
    assert 0 < kept["frozen"].sum() < len(kept["frozen"]) - 1
    with interrupted_in(3, loop), pytest.raises(KeyboardInterrupt):
        search(config, tmp_path / "again")
    search(config, tmp_path / "again", resume=True)
    assert_same_run(tmp_path / "again", tmp_path / "whole")


def test_the_second_order_is_refused(tmp_path):
    images = write_images(tmp_path / "images", 16, 2)
    config = small_search(images, strategy="darts,oles", unrolled=True)
    with pytest.raises(ValueError, match="unrolled: expected another strategy than darts,oles"):
        search(config, tmp_path / "run")
