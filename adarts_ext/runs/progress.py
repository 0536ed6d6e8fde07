"""Showing how a run gets on: two bars on a terminal, one line an epoch anywhere else."""

from __future__ import annotations

import sys

from tqdm import tqdm


class Progress:
    """The bars of a run: one over all its steps, with the time left, and one over the epoch's.

    Args:
        kind: The kind of the run, which the bar is labelled with.
        epochs: Epochs of the run.
        epochs_done: How many of them lie behind, when a run goes on.
        steps: Steps of an epoch.

    Example:
        >>> with Progress("search", epochs=1, epochs_done=0, steps=2) as progress:
        ...     progress.begin_epoch(1)
        ...     progress.step(loss=2.3, accuracy=0.1)
        ...     progress.step()
        ...     progress.end_epoch("epoch 1/1")
    """

    def __init__(self, kind: str, epochs: int, epochs_done: int, steps: int) -> None:
        self.epochs = epochs
        self.steps = steps
        self._run = tqdm(
            desc=kind,
            total=epochs * steps,
            initial=epochs_done * steps,
            unit="step",
            position=0,
            dynamic_ncols=True,
            disable=None,  # off where stderr is no terminal
        )
        self._epoch: tqdm | None = None

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *error: object) -> None:
        if self._epoch is not None:
            self._epoch.close()
        self._run.close()

    def begin_epoch(self, epoch: int) -> None:
        """Start the bar of an epoch; epochs count from 1."""
        self._epoch = tqdm(
            desc=f"epoch {epoch}/{self.epochs}",
            total=self.steps,
            unit="step",
            position=1,
            leave=False,
            dynamic_ncols=True,
            disable=None,
        )

    def step(self, loss: float | None = None, accuracy: float | None = None) -> None:
        """Count a step, and show the loss and the accuracy where they are given."""
        if loss is not None and accuracy is not None:
            self._epoch.set_postfix_str(f"loss {loss:.3f}, accuracy {accuracy:.3f}", refresh=False)
        self._epoch.update()
        self._run.update()

    def end_epoch(self, line: str) -> None:
        """Close the epoch's bar and print one line about the epoch on stderr."""
        self._epoch.close()
        tqdm.write(line, file=sys.stderr)
