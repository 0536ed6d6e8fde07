from __future__ import annotations

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR

from adarts_ext.runs.schedule import cosine_learning_rate, set_learning_rate


@pytest.mark.parametrize(
    ("start", "end", "epochs"), [(0.025, 0.0, 80), (0.1, 0.003, 600), (1.0, 1.0, 1)]
)
def test_the_learning_rate_is_that_of_torchs_scheduler(start, end, epochs):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=start)
    scheduler = CosineAnnealingLR(optimizer, epochs, eta_min=end)
    for epoch in range(1, epochs + 1):
        # Torch multiplies factors epoch by epoch, so that its rounding errors add up.
        expected = scheduler.get_last_lr()[0]
        bound = 4 * epoch * torch.finfo(torch.float64).eps * start
        assert abs(cosine_learning_rate(start, end, epoch, epochs) - expected) <= bound
        optimizer.step()
        scheduler.step()


def test_the_learning_rate_begins_at_the_start_and_nears_the_end():
    rates = [cosine_learning_rate(0.1, 0.01, epoch, 1000) for epoch in range(1, 1001)]
    assert rates[0] == 0.1
    assert sorted(rates, reverse=True) == rates
    assert 0.01 < rates[-1] < 0.010001


def test_all_groups_of_an_optimizer_get_the_learning_rate():
    groups = [{"params": [torch.zeros(1)]}, {"params": [torch.zeros(2)], "lr": 3.0}]
    optimizer = torch.optim.SGD(groups, lr=1.0)
    set_learning_rate(optimizer, 0.5)
    assert [group["lr"] for group in optimizer.param_groups] == [0.5, 0.5]
