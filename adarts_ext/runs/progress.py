"""Showing how a run gets on: two bars on a terminal, one line an epoch anywhere else."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from tqdm import tqdm

from adarts_ext.runs import processes
from adarts_ext.runs.clock import duration


class Progress:
    """The bars of a run: one over all its steps, with the time left, and one over the epoch's.

    Of several processes of a run the first one has them.

    Args:
        kind: The kind of the run, which the bar is labelled with.
        epochs: Epochs of the run.
        epochs_done: How many of them lie behind, when a run goes on.
        steps: Steps of an epoch.
        epochs_before: Epochs of the runs that went before, where the bar is over several.
        epochs_after: Epochs of the runs that follow.

    Example:
        >>> with Progress("search", epochs=1, epochs_done=0, steps=2) as progress:
        ...     progress.begin_epoch(1)
        ...     progress.step(loss=2.3, accuracy=0.1)
        ...     progress.step()
        ...     progress.end_epoch(1, seconds=0.5, line="epoch 1/1")
    """

    def __init__(
        self,
        kind: str,
        epochs: int,
        epochs_done: int,
        steps: int,
        epochs_before: int = 0,
        epochs_after: int = 0,
    ) -> None:
        self.epochs = epochs
        self.epochs_after = epochs_after
        self.steps = steps
        self._run = tqdm(
            desc=kind,
            total=(epochs_before + epochs + epochs_after) * steps,
            initial=(epochs_before + epochs_done) * steps,
            unit="step",
            position=0,
            dynamic_ncols=True,
            disable=None if processes.is_first() else True,  # None: off where stderr is no terminal
        )
        self._epoch: tqdm | None = None

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *error: object) -> None:
        if self._epoch is not None:
            self._epoch.close()
        self._run.close()

    def begin_epoch(self, epoch: int, steps_done: int = 0) -> None:
        """Start the bar of an epoch, counted from 1, that may have come some steps already."""
        self._run.update(steps_done)
        self._epoch = tqdm(
            desc=f"epoch {epoch}/{self.epochs}",
            total=self.steps,
            initial=steps_done,
            unit="step",
            position=1,
            leave=False,
            dynamic_ncols=True,
            disable=self._run.disable,
        )

    def step(self, loss: float | None = None, accuracy: float | None = None) -> None:
        """Count a step, and show the loss and the accuracy where they are given."""
        if loss is not None and accuracy is not None:
            self._epoch.set_postfix_str(f"loss {loss:.3f}, accuracy {accuracy:.3f}", refresh=False)
        self._epoch.update()
        self._run.update()

    def end_epoch(
        self, epoch: int, seconds: float, line: str, warnings: Sequence[str] = ()
    ) -> None:
        """Close the epoch's bar and print one line about the epoch on stderr.

        Args:
            epoch: The epoch, counted from 1.
            seconds: What it took; the epochs that are left are taken to be as long.
            line: What to say of it, before these seconds and the time left.
            warnings: What to warn of, at the end of the line and on the bar of the run.
        """
        self._epoch.close()
        self._run.set_postfix_str("; ".join(warnings))
        if not processes.is_first():
            return
        left = seconds * (self.epochs - epoch + self.epochs_after)
        warning = f"; warning: {'; '.join(warnings)}" if warnings else ""
        tqdm.write(f"{line}, {seconds:.1f} s, {duration(left)} left{warning}", file=sys.stderr)
