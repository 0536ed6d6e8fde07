"""Trading time for memory: forget what a function computed and compute it again for backward."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

#: ``store`` keeps every intermediate tensor for backward, ``recompute`` only a few.
MEMORY_MODES = ("store", "recompute")


def recompute(
    function: Callable[..., Tensor],
    modules: Iterable[nn.Module],
    *inputs: Tensor | None,
    random: bool,
) -> Tensor:
    """Call ``function(*inputs)``, keeping only ``inputs`` for backward, which calls it again.

    Outputs, gradients and BatchNorm buffers are those of a plain call: the second call leaves the
    running statistics alone.

    Args:
        function: What to call; its result must depend on nothing but ``inputs``, the modules and,
            if ``random``, torch's generators.
        modules: All modules that ``function`` calls.
        inputs: Arguments of ``function``.
        random: Whether ``function`` draws random numbers; the second call then draws the same.

    Example:
        >>> norm = nn.BatchNorm2d(3)
        >>> x = torch.randn(2, 3, 4, 4, requires_grad=True)
        >>> recompute(norm, [norm], x, random=False).sum().backward()
        >>> norm.num_batches_tracked
        tensor(1)
    """
    keep = functools.partial(
        checkpoint, function, *inputs, use_reentrant=False, preserve_rng_state=random
    )
    if torch.compiler.is_compiling():  # a compiled graph updates the statistics once anyway
        return keep()
    return keep(context_fn=lambda: (nullcontext(), _keep_running_statistics(modules)))


@contextmanager
def _keep_running_statistics(modules: Iterable[nn.Module]) -> Iterator[None]:
    # Momentum 0 rather than track_running_stats=False: BatchNorm must save as many tensors for
    # backward as it did the first time.
    norms = [
        norm for module in modules for norm in module.modules() if isinstance(norm, nn.BatchNorm2d)
    ]
    before = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    try:
        for norm in norms:
            norm.momentum, norm.num_batches_tracked = 0.0, None
        yield
    finally:
        for norm, (momentum, count) in zip(norms, before, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, count
