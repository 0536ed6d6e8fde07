"""What every epoch of training keeps an eye on: loss, accuracy, and whether it diverged."""

from __future__ import annotations

import torch
from torch import Tensor

from adarts_ext.arguments import naming
from adarts_ext.runs.metrics import RunningMean, accuracy
from adarts_ext.runs.progress import Progress

REFRESH_STEPS = 10  # steps between two readings of the loss, each of which waits for the device


class TrainingEpoch:
    """The loss and the accuracy of an epoch's steps, as far as it has come.

    Args:
        epoch: The epoch, counted from 1.
        steps: Its steps.
        progress: The bars of the run, which get every step.

    Example:
        >>> logits, labels = torch.tensor([[2.0, 0.0], [0.0, 2.0]]), torch.tensor([0, 0])
        >>> with Progress("search", epochs=1, epochs_done=0, steps=1) as progress:
        ...     training = TrainingEpoch(1, 1, progress)
        ...     training.step(torch.tensor(0.5), logits, labels)
        >>> training.means()
        {'train_loss': 0.5, 'train_accuracy': 0.5}
    """

    def __init__(self, epoch: int, steps: int, progress: Progress) -> None:
        self.epoch = epoch
        self.steps = steps
        self.progress = progress
        self._loss, self._accuracy = RunningMean(), RunningMean()
        self._losses: list[Tensor] = []  # of each step, left on the device until they are looked at
        progress.begin_epoch(epoch)

    def step(
        self, loss: Tensor, logits: Tensor, labels: Tensor, other_loss: Tensor | None = None
    ) -> None:
        """Count a step, and look at the losses from time to time.

        Args:
            loss: The loss of the batch, a scalar.
            logits: (N, classes).
            labels: (N,) int64.
            other_loss: Another loss of the step, which must be finite too.

        Raises:
            ValueError: If a loss is not finite; the message names the first such step, from 1 on.
        """
        self._losses.append(loss.detach() if other_loss is None else (loss + other_loss).detach())
        self._loss.add(loss, len(labels))
        self._accuracy.add(accuracy(logits, labels), len(labels))
        if len(self._losses) % REFRESH_STEPS == 0 or len(self._losses) == self.steps:
            self._check_finite()
            self.progress.step(self._loss.value(), self._accuracy.value())
        else:
            self.progress.step()

    def means(self) -> dict[str, float]:
        """Return ``train_loss`` and ``train_accuracy``, the means over the images so far."""
        return {"train_loss": self._loss.value(), "train_accuracy": self._accuracy.value()}

    def _check_finite(self) -> None:
        finite = torch.stack(self._losses).isfinite().tolist()
        if not all(finite):
            message = (
                f"the training diverged in epoch {self.epoch}, step {finite.index(False) + 1}: its "
                "loss is not finite; a lower learning_rate may help; the last checkpoint is as "
                "it was"
            )
            raise naming(ValueError(message), "learning_rate")
