"""The operators at the sizes of the published search, on a batch of 64."""

from __future__ import annotations

import pytest
import torch
from comparison import compare

from adarts_ext import ops, reference
from adarts_ext.bench.operators import OPERATORS, PROPORTION, STAGES

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("torch_device")]

BATCH = 64


@pytest.mark.parametrize(("channels", "side"), STAGES)
@pytest.mark.parametrize("name", sorted(set(OPERATORS) - {"select_channels"}))
def test_matches_plain_torch(name, channels, side):
    module = OPERATORS[name]
    drawn = module.arguments(BATCH, channels, side, PROPORTION)
    places = [i for i, one in enumerate(drawn) if torch.is_tensor(one) and one.is_floating_point()]

    def call(function):
        def with_leaves(*leaves):
            given = list(drawn)
            for place, leaf in zip(places, leaves, strict=True):
                given[place] = leaf
            return function(*given)

        return with_leaves

    tensors, fused = [drawn[place] for place in places], call(module.fused)
    grad = torch.randn_like(fused(*tensors))
    plain = call(lambda *given: module.plain(*given).view_as(grad))  # attention's is (N, C, 1, 1)
    compare(fused, plain, tensors, grad)


@pytest.mark.parametrize(("channels", "side"), STAGES)
def test_selects_as_exact_sums_would(channels, side):
    scores = torch.randn(BATCH, channels).sigmoid()
    chosen = ops.select_channels(scores, channels // PROPORTION)
    exact = reference.select_channels(scores.double(), channels // PROPORTION)
    assert torch.equal(chosen, exact)
