"""What every epoch of training keeps an eye on: loss, accuracy, and whether it diverged."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from adarts_ext.arguments import naming
from adarts_ext.nn.processes import whole_batch
from adarts_ext.runs import processes
from adarts_ext.runs.diverged import DivergedError
from adarts_ext.runs.metrics import RunningMean, accuracy
from adarts_ext.runs.progress import Progress

REFRESH_STEPS = 10  # steps between two readings of the loss, each of which waits for the device


class TrainingEpoch:
    """The loss and the accuracy of an epoch's steps, as far as it has come.

    Args:
        epoch: The epoch, counted from 1.
        steps: Its steps.
        progress: The bars of the run, which get every step.
        under_way: What :meth:`state_dict` gave, when the epoch goes on.

    Attributes:
        steps_done: How many of the steps lie behind.

    Example:
        >>> logits, labels = torch.tensor([[2.0, 0.0], [0.0, 2.0]]), torch.tensor([0, 0])
        >>> with Progress("search", epochs=1, epochs_done=0, steps=1) as progress:
        ...     training = TrainingEpoch(1, 1, progress)
        ...     training.step(torch.tensor(0.5), logits, labels)
        >>> training.means()
        {'train_loss': 0.5, 'train_accuracy': 0.5}
    """

    def __init__(
        self,
        epoch: int,
        steps: int,
        progress: Progress,
        under_way: dict[str, Any] | None = None,
    ) -> None:
        self.epoch = epoch
        self.steps = steps
        self.steps_done = 0
        self.progress = progress
        self._means = {name: RunningMean() for name in ("loss", "accuracy", "other_loss")}
        self._unchecked: list[Tensor] = []  # losses, left on the device until they are looked at
        if under_way is not None:
            self.steps_done = under_way["step"]
            for name, mean in self._means.items():
                mean.load_state_dict(under_way["means"][name])
        progress.begin_epoch(epoch, self.steps_done)

    def step(
        self, loss: Tensor, logits: Tensor, labels: Tensor, other_loss: Tensor | None = None
    ) -> None:
        """Count a step, and look at the losses from time to time.

        Of several processes each gives its part of the batch, and all count the whole of it.

        Args:
            loss: The loss of the batch, a scalar.
            logits: (N, classes).
            labels: (N,) int64.
            other_loss: Another loss of the step, which must be finite too.

        Raises:
            ValueError: If a loss is not finite; the message names the first such step, from 1 on.
        """
        fraction = accuracy(logits, labels)
        loss, fraction, other_loss = processes.means(loss, fraction, other_loss)
        self._unchecked.append(
            loss.detach() if other_loss is None else (loss + other_loss).detach()
        )
        images, _ = whole_batch(len(labels))
        self._means["loss"].add(loss, images)
        self._means["accuracy"].add(fraction, images)
        if other_loss is not None:
            self._means["other_loss"].add(other_loss)
        self.steps_done += 1
        if self.steps_done % REFRESH_STEPS == 0 or self.steps_done == self.steps:
            self.check_finite()
            self.progress.step(self._means["loss"].value(), self._means["accuracy"].value())
        else:
            self.progress.step()

    def means(self) -> dict[str, float]:
        """Return ``train_loss`` and ``train_accuracy``, the means over the images so far."""
        return {f"train_{name}": self._means[name].value() for name in ("loss", "accuracy")}

    def other_loss(self) -> float | None:
        """Return the mean of the other loss over the steps that had one; None if none had."""
        mean = self._means["other_loss"]
        return mean.value() if mean.weight else None

    def state_dict(self) -> dict[str, Any]:
        """Return how far the epoch has come: ``epoch``, ``step`` (how many are done), ``means``."""
        means = {name: mean.state_dict() for name, mean in self._means.items()}
        return {"epoch": self.epoch, "step": self.steps_done, "means": means}

    def check_finite(self) -> None:
        """Look at the losses since the last look.

        Raises:
            DivergedError: If one is not finite; the message names the first such step, from 1 on.
        """
        if not self._unchecked:
            return
        finite = torch.stack(self._unchecked).isfinite().tolist()
        if not all(finite):
            step = self.steps_done - len(finite) + finite.index(False) + 1
            message = (
                f"the training diverged in epoch {self.epoch}, step {step}: its loss is not "
                "finite; a lower learning_rate may help; the last checkpoint is as it was"
            )
            raise naming(DivergedError(message), "learning_rate")
        self._unchecked.clear()
