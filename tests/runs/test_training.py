from __future__ import annotations

import pytest
import torch

from adarts_ext.runs.progress import Progress
from adarts_ext.runs.training import REFRESH_STEPS, TrainingEpoch

LOGITS, LABELS = torch.tensor([[2.0, 0.0], [0.0, 2.0], [1.0, 0.0]]), torch.tensor([0, 0, 0])
STEPS = 2 * REFRESH_STEPS + 3


@pytest.fixture
def training():
    with Progress("retrain", epochs=4, epochs_done=2, steps=STEPS) as progress:
        yield TrainingEpoch(3, STEPS, progress)


def test_the_means_weigh_images(training):
    training.step(torch.tensor(1.0), LOGITS, LABELS)
    training.step(torch.tensor(5.0), LOGITS[:1], LABELS[:1])
    assert training.means() == {"train_loss": 2.0, "train_accuracy": pytest.approx(0.75, rel=1e-7)}


def test_another_loss_is_watched_but_not_in_the_mean(training):
    for _ in range(STEPS):
        training.step(torch.tensor(1.0), LOGITS, LABELS, torch.tensor(7.0))
    assert training.means()["train_loss"] == 1.0


@pytest.mark.parametrize("other", [False, True])
@pytest.mark.parametrize(
    ("broken_step", "told_in"),
    [(1, REFRESH_STEPS), (REFRESH_STEPS + 2, 2 * REFRESH_STEPS), (STEPS, STEPS)],
)
def test_the_first_step_whose_loss_is_not_finite_is_told(training, broken_step, told_in, other):
    def step(number):
        broken = torch.tensor(float("inf" if number >= broken_step else "1"))
        fine = torch.tensor(1.0)
        losses = (fine, broken) if other else (broken, None)
        training.step(losses[0], LOGITS, LABELS, losses[1])

    for number in range(1, told_in):
        step(number)
    with pytest.raises(ValueError, match=f"in epoch 3, step {broken_step}: .* not finite"):
        step(told_in)


def test_an_epoch_goes_on_where_it_was(training):
    for loss, other in ((1.0, None), (3.0, torch.tensor(7.0))):
        training.step(torch.tensor(loss), LOGITS, LABELS, other)
    assert training.other_loss() == 7.0
    state = training.state_dict()
    assert (state["epoch"], state["step"]) == (3, 2)
    again = TrainingEpoch(3, STEPS, training.progress, state)
    for number in (training, again):
        number.step(torch.tensor(8.0), LOGITS[:1], LABELS[:1], torch.tensor(9.0))
    assert again.means() == training.means()
    assert again.means()["train_loss"] == pytest.approx((3 * 1 + 3 * 3 + 8) / 7)
    assert again.other_loss() == 8.0
    again.step(torch.tensor(float("nan")), LOGITS, LABELS)
    with pytest.raises(ValueError, match=r"in epoch 3, step 4: .* not finite"):
        again.check_finite()


def test_there_is_no_mean_of_another_loss_without_one(training):
    training.step(torch.tensor(1.0), LOGITS, LABELS)
    assert training.other_loss() is None
