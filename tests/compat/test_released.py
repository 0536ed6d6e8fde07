"""The classes to import in place of one's own: they are drop-in for the plain networks."""

from __future__ import annotations

import importlib

import pytest
import torch
from torch.nn.functional import cross_entropy

from adarts_ext.compat.verify import distances
from adarts_ext.reference import networks as plain

MODULES = {"adarts": "adarts", "pc-darts": "pc_darts", "darts": "darts"}


def classes(style: str):
    return importlib.import_module(f"adarts_ext.compat.{MODULES[style]}")


def pair(style: str):
    """A plain network, and one of our classes with the same weights, alphas and betas."""
    torch.manual_seed(0)
    theirs = plain.Network(style, 8, 10, 3)
    ours = classes(style).Network(8, 10, 3, cross_entropy)
    ours.load_state_dict(theirs.state_dict())
    for to, value in zip(ours.arch_parameters(), theirs.arch_parameters(), strict=True):
        to.data.copy_(value.data)
    return theirs, ours


@pytest.mark.slow
@pytest.mark.parametrize("style", plain.STYLES)
def test_networks_compute_what_the_plain_ones_do(style):
    theirs, ours = pair(style)
    found = distances(theirs, ours, torch.randn(6, 3, 16, 16))
    assert len(found) == 3
    for name, (own, before) in found.items():
        assert own <= 2 * before, name
    assert set(theirs.state_dict()) == {
        key for key in ours.state_dict() if not key.startswith(("alphas", "betas"))
    }


@pytest.mark.slow
@pytest.mark.parametrize("style", plain.STYLES)
def test_second_order_search_finds_what_it_calls(style):
    _, ours = pair(style)
    images, labels = torch.randn(2, 3, 16, 16), torch.tensor([1, 2])
    other = ours.new()
    assert type(other) is type(ours)
    other.load_state_dict(ours.state_dict())
    assert torch.equal(other._loss(images, labels), ours._loss(images, labels))
    assert other.genotype() == ours.genotype()
    assert other.arch_parameters()[0] is not ours.arch_parameters()[0]


@pytest.mark.parametrize("style", plain.STYLES)
@pytest.mark.parametrize("reduction", [False, True])
@pytest.mark.parametrize("multiplier", [2, 4])
def test_cells_fit_into_ones_own_network(style, reduction, multiplier):
    torch.manual_seed(0)
    theirs = plain.Cell(style, 8, 12, 8, reduction, True)
    theirs._multiplier = multiplier
    ours = classes(style).Cell(4, multiplier, 8, 12, 8, reduction, True)
    ours.load_state_dict(theirs.state_dict())
    theirs, ours = theirs.double(), ours.double()
    inputs = [torch.randn(3, 8, 16, 16), torch.randn(3, 12, 8, 8), torch.rand(14, 8)]
    if style != "darts":
        inputs.append(torch.rand(14))
    inputs = [x.double() for x in inputs]
    expected = theirs(*inputs)
    torch.testing.assert_close(ours(*inputs), expected)
    assert expected.size(1) == multiplier * 8


@pytest.mark.parametrize("style", plain.STYLES)
@pytest.mark.parametrize("stride", [1, 2])
def test_mixed_ops_fit_into_ones_own_cell(style, stride):
    torch.manual_seed(0)
    theirs = plain.MIXED_OPS[style](8, stride)
    ours = classes(style).MixedOp(8, stride)
    ours.load_state_dict(theirs.state_dict())
    x, weights = torch.randn(3, 8, 8, 8).double(), torch.rand(8).double()
    torch.testing.assert_close(ours.double()(x, weights), theirs.double()(x, weights))


def test_bad_arguments():
    darts = classes("darts")
    with pytest.raises(ValueError, match="multiplier of 1 to 4 steps, got 5"):
        darts.Cell(4, 5, 8, 8, 8, False, False)
    with pytest.raises(ValueError, match="stem_multiplier of 3, got 4 and 1"):
        darts.Network(8, 10, 3, cross_entropy, stem_multiplier=1)
