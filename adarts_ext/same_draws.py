"""Random numbers that are the same in every pass that is compared with others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch


@contextmanager
def same_draws(device: torch.device | None = None, seed: int = 0) -> Iterator[None]:
    """Have torch's generators begin anew, always alike; afterwards they go on as before.

    Args:
        device: Where the numbers are drawn; None for the CPU and all GPUs in use.
        seed: What they begin with.

    Example:
        >>> drawn = []
        >>> for _ in range(2):
        ...     with same_draws(torch.device("cpu")):
        ...         drawn.append(torch.rand(3))
        >>> torch.equal(*drawn)
        True
    """
    gpus: Sequence[int | torch.device] = ()
    if device is not None:
        gpus = [device] if device.type == "cuda" else ()
    elif torch.cuda.is_initialized():
        gpus = range(torch.cuda.device_count())
    with torch.random.fork_rng(gpus):
        # Without a GPU, torch.manual_seed looks for one at every call, for a millisecond.
        torch.default_generator.manual_seed(seed)
        if gpus:
            torch.cuda.manual_seed_all(seed)
        yield
