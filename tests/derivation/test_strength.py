"""Strengths of operations: against plain torch, candidates taken out, and slopes of the loss."""

from __future__ import annotations

import copy

import pytest
import torch
from small_supernet import make_batches, make_supernet
from torch import nn
from torch.nn.functional import cross_entropy

from adarts_ext.derivation import exact_strengths, measure, operation_strengths
from adarts_ext.genotype import PRIMITIVES, derive_from_scores
from adarts_ext.nn import OperationWeights

NONE = PRIMITIVES.index("none")
BATCHES = make_batches(6, 4)


class Zeros(nn.Module):
    """Zeros in the place of another candidate."""

    def __init__(self, operation: nn.Module):
        super().__init__()
        self.operation = operation

    def forward(self, x):
        return torch.zeros_like(self.operation(x))


@pytest.mark.parametrize("selection", ["attention", "all"])
@pytest.mark.parametrize("strengths", [operation_strengths, exact_strengths])
def test_fused_strengths_are_those_of_plain_torch(strengths, selection):
    steps = 2 if strengths is operation_strengths else 1
    fused, plain = (
        make_supernet(selection=selection, backend=backend, steps=steps, layers=3)
        for backend in ("fused", "reference")
    )
    assert all(cell.is_fused for cell in fused.cells)
    found, expected = strengths(fused, BATCHES), strengths(plain, BATCHES)
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == torch.float64
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)
        assert (one[:, NONE] == 0).all()
        assert (one[:, NONE + 1 :].abs() > 1e-6).all()


def test_the_exact_strength_is_what_the_loss_rises_by_with_zeros_for_the_candidate():
    network = make_supernet(backend="reference", steps=1, layers=3)
    found = exact_strengths(network, BATCHES)
    whole = mean_loss(network)
    for reduction, strengths in zip((False, True), found, strict=True):
        for edge, operation in ((0, 1), (1, 4)):
            without = copy.deepcopy(network)
            for cell in without.cells:
                if cell.reduction == reduction:
                    candidates = cell._ops[edge]._ops
                    candidates[operation] = Zeros(candidates[operation])
            expected = mean_loss(without) - whole
            assert strengths[edge, operation].item() == pytest.approx(expected, abs=1e-12)


def mean_loss(network) -> float:
    """The mean loss over all images, as training sees them."""
    with torch.no_grad():
        losses = [len(y) * cross_entropy(network(x), y).item() for x, y in BATCHES]
    return sum(losses) / sum(len(y) for _, y in BATCHES)


def test_the_strength_is_the_slope_of_the_loss():
    network = make_supernet(steps=1, layers=3)
    found = operation_strengths(network, BATCHES)
    normal, reduce = network.operation_weights()
    for edge, operation in ((0, 3), (1, 6)):
        losses = []
        for part in (1 + 1e-4, 1 - 1e-4):
            scaled = reduce.detach().clone()
            scaled[edge, operation] *= part
            losses.append(measure(network, BATCHES, OperationWeights(normal, scaled)).loss)
        slope = (losses[0] - losses[1]) / 2e-4
        assert found.reduce[edge, operation].item() == pytest.approx(-slope, rel=1e-5, abs=1e-9)


@pytest.mark.parametrize("strengths", [operation_strengths, exact_strengths])
def test_the_network_is_left_as_it_was(strengths):
    network = make_supernet(steps=1, layers=3).eval()
    network.classifier.bias.requires_grad_(False)
    before = copy.deepcopy(network.state_dict())
    strengths(network, BATCHES)
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert not network.training
    trained = {name for name, one in network.named_parameters() if one.requires_grad}
    assert trained == {name for name, _ in network.named_parameters()} - {"classifier.bias"}
    assert all(one.grad is None for one in (*network.parameters(), *network.arch_parameters()))


def test_measures_are_means_over_the_images_of_all_batches():
    network = make_supernet(steps=1, layers=3)
    with torch.no_grad():
        right = sum((network(x).argmax(1) == y).sum().item() for x, y in BATCHES)
    measured = measure(network.eval(), BATCHES)
    assert measured.loss == pytest.approx(mean_loss(network.train()), rel=1e-12)
    assert measured.accuracy == pytest.approx(right / 10, abs=0)


@pytest.mark.parametrize("function", [operation_strengths, exact_strengths, measure])
def test_no_batches_are_refused(function):
    with pytest.raises(ValueError, match="expected at least one batch, got none"):
        function(make_supernet(steps=1, layers=3), [])


@pytest.mark.parametrize("strengths", [operation_strengths, exact_strengths])
def test_what_is_no_candidate_is_worth_nothing_and_never_derived(strengths):
    names = ("avg_pool_3x3", "sep_conv_5x5")
    network = make_supernet(layers=3, candidates=names)
    found = strengths(network, BATCHES)
    absent = [place for place, name in enumerate(PRIMITIVES) if name not in names]
    for one in found:
        assert (one[:, absent] == 0).all()
        assert (one[:, [PRIMITIVES.index(name) for name in names]].abs() > 1e-9).all()
    worthless = (one - 100 * (one != 0) for one in found)  # all are below what there is not
    genotype = derive_from_scores(*worthless, candidates=names)
    assert {name for name, _ in genotype.normal + genotype.reduce} <= set(names)
