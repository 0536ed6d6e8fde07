"""Runs that diverge among many: they end, the others go on."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from adarts_ext.runs import processes


class DivergedError(ValueError):
    """A training whose loss is no longer finite."""


class DivergedRuns:
    """Which of many runs, made one after another, diverged.

    Attributes:
        names: What they are called.

    Example:
        >>> diverged = DivergedRuns()
        >>> with diverged.passed_over("seed 3"):
        ...     raise DivergedError("the training diverged in epoch 1, step 2")
        >>> diverged.names
        ['seed 3']
    """

    def __init__(self) -> None:
        self.names: list[str] = []

    @contextmanager
    def passed_over(self, name: str) -> Iterator[None]:
        """Make a run; where it diverges, say so on stderr, and let the caller go on.

        Under torchrun the run's processes end together, so there the error goes on.
        """
        try:
            yield
        except DivergedError as error:
            if processes.count() > 1:
                raise
            print(f"{name}: {error}", file=sys.stderr)
            self.names.append(name)

    def check(self, runs: int) -> None:
        """Tell them all, once every run has been made.

        Args:
            runs: How many runs there were.

        Raises:
            ValueError: If any diverged.
        """
        if self.names:
            message = f"{len(self.names)} of {runs} runs diverged: {'; '.join(self.names)}"
            raise ValueError(f"{message}; those that did not are kept, and are not made again")
