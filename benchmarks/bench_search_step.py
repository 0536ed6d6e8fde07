"""One whole search step: alphas and betas on one batch, then the weights on another."""

import pytest
import torch

from adarts_ext.bench.parts.step import PRECISIONS, arms, group_name, prepare

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@pytest.mark.parametrize(
    ("precision", "arm"), [(one, arm) for one in PRECISIONS for arm in arms(one, DEVICE)]
)
def test_search_step(time_call, size, precision, arm):
    step = prepare(arm, size, DEVICE, precision)
    step()
    time_call(group_name(size, precision), step)
