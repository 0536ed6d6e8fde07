"""A stage of a search: a part of its epochs that has a network of its own."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Stage:
    """What the network of a stage is; all else is as the options of the search say.

    Args:
        candidates: How many candidates an edge has, at most: those of the largest alphas of the
            stage before. Of no meaning in the first stage, which has all.
        more_layers: Cells beyond the ``layers`` of the search.
        proportion: K; None for the ``proportion`` of the search.
        skip_dropout: The part of the values that skip connections drop at the stage's start.

    Raises:
        ValueError: If a number is out of its range.

    Example:
        >>> Stage(candidates=5, more_layers=6).proportion is None
        True
    """

    candidates: int = 8
    more_layers: int = 0
    proportion: int | None = None
    skip_dropout: float = 0.0

    def __post_init__(self) -> None:
        # Of two candidates one is not none.
        for name, low in (("candidates", 2), ("more_layers", 0), ("proportion", 1)):
            value = getattr(self, name)
            if value is not None and value < low:
                raise ValueError(f"Stage: {name}: expected at least {low}, got {value}")
        if not 0 <= self.skip_dropout < 1:
            raise ValueError(
                f"Stage: skip_dropout: expected at least 0 and less than 1, got {self.skip_dropout}"
            )
