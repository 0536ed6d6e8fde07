"""The precision of a network's passes: float32, or bfloat16 by torch's autocast."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

PRECISIONS = ("fp32", "bf16")


def set_precision(network: nn.Module, precision: str) -> None:
    """Let a network compute its passes in a precision from now on, wherever it is called.

    With ``"fp32"`` they are its own. With ``"bf16"`` its forward pass, and so its backward pass,
    runs under ``torch.autocast`` to bfloat16. Weights, their gradients and BatchNorms' statistics
    stay float32, and so do what it returns and the loss made of it. Copies of the network keep the
    precision.

    Args:
        network: A network that takes images, and returns logits or a tuple of them.
        precision: One of :data:`PRECISIONS`.

    Example:
        >>> network = nn.Linear(4, 2)
        >>> set_precision(network, "bf16")
        >>> logits = network(torch.full((1, 4), 1 / 3))
        >>> logits.dtype, bool((logits == logits.bfloat16()).all())
        (torch.float32, True)
    """
    vars(network).pop("forward", None)  # that of another precision
    if precision == "bf16":
        # A partial: unlike a closure, it is copied with the network that its method belongs to.
        network.forward = partial(_in_bfloat16, network.forward)


def _in_bfloat16(forward: Callable[..., Any], images: Tensor) -> Any:
    with torch.autocast(images.device.type, torch.bfloat16):
        outputs = forward(images)
    if isinstance(outputs, tuple):
        return tuple(output.float() for output in outputs)
    return outputs.float()
