"""Random numbers that are the same in every pass that is compared with others."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def same_draws(device: torch.device) -> Iterator[None]:
    """Have torch's generators begin anew, always alike; afterwards they go on as before.

    Args:
        device: Where the numbers are drawn.

    Example:
        >>> drawn = []
        >>> for _ in range(2):
        ...     with same_draws(torch.device("cpu")):
        ...         drawn.append(torch.rand(3))
        >>> torch.equal(*drawn)
        True
    """
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(0)
        yield
